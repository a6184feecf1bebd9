from __future__ import annotations

from pathlib import Path

import pytest

from agent.disk import FolderDisk, MemoryDisk, inline
from agent.state import RECEIPTS_FILE, State, read_receipts
from coordinator.protocol.messages import ReceiptBatch

KEY = bytes(range(32))


def batch(number: int) -> ReceiptBatch:
    return ReceiptBatch(batch=number, count=1, root="ab" * 32, signature="x", receipts=[])


async def test_the_first_key_is_remembered_and_the_binding_with_it() -> None:
    disk = MemoryDisk()
    first = await State.load(disk, inline)
    assert (first.pinned, first.is_bound) == (None, False)
    await first.remember(KEY)

    again = await State.load(disk, inline)
    assert (again.pinned, again.is_bound) == (KEY, True)


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b'{"coordinatorKey":"0","isBound":true}'])
async def test_a_damaged_file_is_as_good_as_none(raw: bytes) -> None:
    disk = MemoryDisk()
    disk.files["coordinator.json"] = raw

    assert (await State.load(disk, inline)).pinned is None


async def test_receipts_are_read_as_they_were_kept_past_a_line_torn_by_a_kill(
    tmp_path: Path,
) -> None:
    disk = FolderDisk(tmp_path)
    await (await State.load(disk, inline)).keep_receipts([batch(1), batch(2)])
    disk.append(RECEIPTS_FILE, b'{"batch":3,"cou')
    state = await State.load(disk, inline)
    await state.keep_receipts([batch(4)])
    await state.keep_receipts([batch(5)])

    assert [b.batch for b in read_receipts(tmp_path / RECEIPTS_FILE)] == [1, 2, 4, 5]
