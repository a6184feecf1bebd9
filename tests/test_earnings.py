from __future__ import annotations

from pathlib import Path

import pytest

from agent import earnings as earnings_of_agents
from agent.disk import FolderDisk, inline
from agent.earnings import Earnings, read_earnings
from agent.state import RECEIPTS_FILE, State
from coordinator.protocol.messages import ReceiptBatch
from coordinator.protocol.receipts import (
    Receipt,
    SignedRoot,
    build_batch,
    coordinator_text,
    to_wire,
)
from tests.fakes.scripted_coordinator import HOUSE, NODE, WALLET

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS + 5_000


def receipt(job: int, *, paid: int = 10, days_ago: int = 0) -> Receipt:
    return Receipt(
        job=job,
        fence=1,
        coordinator_key=HOUSE.address,
        node_key=NODE.address,
        wallet=WALLET.address,
        submitter=bytes(32),
        spec_hash=bytes(32),
        input_root=bytes(32),
        output_root=bytes(32),
        policy="sample",
        verdict="accepted",
        paid=paid,
        fee=1,
        cumulative=10 * job,
        time_ms=NOW_MS - days_ago * DAY_MS,
    )


def wired(number: int, receipts: list[Receipt]) -> ReceiptBatch:
    packed = [item.pack() for item in receipts]
    root, _levels = build_batch(packed)
    text = coordinator_text(HOUSE.address, number, len(packed), root)
    signed = SignedRoot(HOUSE.address, number, len(packed), root, HOUSE.sign(text))
    return to_wire(signed, packed, range(len(packed)))


async def keep(folder: Path, *batches: tuple[int, list[Receipt]]) -> None:
    state = await State.load(FolderDisk(folder), inline)
    for number, receipts in batches:
        await state.keep_receipts([wired(number, receipts)])


def test_a_batch_that_comes_again_counts_once() -> None:
    earnings = Earnings()
    for _ in range(3):
        earnings.add(1, [(0, receipt(1)), (1, receipt(2))])
    earnings.add(2, [(0, receipt(3))])

    assert (earnings.today(NOW_MS), earnings.total) == (30, 30)
    assert earnings.wallet == WALLET.address


def test_at_midnight_the_day_begins_anew() -> None:
    earnings = Earnings()
    earnings.add(1, [(0, receipt(1, days_ago=1))])
    assert (earnings.today(NOW_MS), earnings.today(NOW_MS - DAY_MS)) == (0, 10)
    earnings.add(2, [(0, receipt(2))])
    assert (earnings.today(NOW_MS), earnings.today(NOW_MS + DAY_MS)) == (10, 0)


async def test_after_a_restart_the_file_tells_the_same(tmp_path: Path) -> None:
    batches = [
        (1, [receipt(1, days_ago=2)]),
        (2, [receipt(2, days_ago=1), receipt(3)]),
        (3, [receipt(4), receipt(5, paid=7)]),
        (3, [receipt(4), receipt(5, paid=7)]),
    ]
    await keep(tmp_path, *batches)
    read = read_earnings(tmp_path, NOW_MS)

    assert (read.today(NOW_MS), read.total) == (27, 50)


@pytest.mark.parametrize(
    "torn", [b"", b'{"batch":9,"cou', b"\xff\xfe\n", b'{"batch":9}\n', b"\n\n"]
)
async def test_a_torn_end_is_skipped(tmp_path: Path, torn: bytes) -> None:
    await keep(tmp_path, (1, [receipt(1)]))
    with (tmp_path / RECEIPTS_FILE).open("ab") as file:
        file.write(torn)

    assert read_earnings(tmp_path, NOW_MS).today(NOW_MS) == 10


def test_without_a_file_nothing_was_earned(tmp_path: Path) -> None:
    assert read_earnings(tmp_path, NOW_MS).total == 0


async def test_a_long_history_is_read_back_to_today_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.earnings._CHUNK_BYTES", 4096)
    looked_at: list[bytes] = []
    batch_of = earnings_of_agents._batch_of

    def counted(line: bytes) -> ReceiptBatch | None:
        looked_at.append(line)
        return batch_of(line)

    monkeypatch.setattr(earnings_of_agents, "_batch_of", counted)
    old = [(n, [receipt(n, days_ago=3)]) for n in range(1, 40)]
    await keep(tmp_path, *old, *[(n, [receipt(n)]) for n in range(40, 60)])
    read = read_earnings(tmp_path, NOW_MS)
    assert (read.today(NOW_MS), read.total) == (200, 590)
    assert len(looked_at) == 21
