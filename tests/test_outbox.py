from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings, strategies as st

from agent.disk import Disk, FolderDisk, MemoryDisk, inline
from agent.outbox import Kept, Outbox
from agent.results import failed
from coordinator.limits import AGENT_RESULTS_MAX
from coordinator.protocol.messages import Array, ResultItem


def small(name: str, fence: int = 1, data: bytes = b"12345678") -> Kept:
    array = Array("uint8", [len(data)], len(data), offset=0)
    return Kept(ResultItem(name, fence, "completed", outputs=[array]), data)


def large(name: str, data: bytes) -> tuple[Kept, dict[str, bytes]]:
    digest = sha256(data).hexdigest()
    array = Array("uint8", [len(data)], len(data), sha256=digest)
    return Kept(ResultItem(name, 1, "completed", outputs=[array])), {digest: data}


async def load(disk: Disk) -> Outbox:
    return await Outbox.load(disk, inline)


async def filled(disk: Disk, names: Sequence[str]) -> Outbox:
    outbox = await load(disk)
    for name in names:
        await outbox.put([small(name)], {})
    return outbox


def names_in(outbox: Outbox) -> list[str]:
    return [kept.item.job for kept in outbox]


@pytest.fixture(params=["folder", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return FolderDisk(tmp_path / "state") if request.param == "folder" else MemoryDisk()


async def test_what_was_put_is_there_after_a_restart_in_order(disk: Disk) -> None:
    await filled(disk, ["a", "b", "c"])

    again = await load(disk)
    assert list(again) == [small("a"), small("b"), small("c")]


async def test_what_was_forgotten_and_flushed_stays_forgotten(disk: Disk) -> None:
    outbox = await filled(disk, ["a", "b"])
    gone = outbox.forget([("a", 1), ("a", 2), ("z", 1)])
    await outbox.flush()

    assert gone == [("a", 1)]
    assert names_in(await load(disk)) == ["b"]


async def test_a_forget_rides_with_the_next_put(disk: Disk) -> None:
    outbox = await filled(disk, ["a"])
    outbox.forget([("a", 1)])
    assert names_in(await load(disk)) == ["a"]
    await outbox.put([small("b")], {})

    assert names_in(await load(disk)) == ["b"]


async def test_two_fences_of_a_job_are_two_results(disk: Disk) -> None:
    outbox = await load(disk)
    await outbox.put([small("a", 1), small("a", 2)], {})
    outbox.forget([("a", 1)])

    assert ("a", 2) in outbox
    assert ("a", 1) not in outbox


async def test_large_arrays_are_files_that_go_with_their_result(disk: Disk) -> None:
    data = bytes(range(256)) * 40
    kept, blobs = large("a", data)
    outbox = await load(disk)
    await outbox.put([kept], blobs)
    again = await load(disk)
    digest = kept.blobs[0]

    assert await again.read_blob(digest, 10, 20) == data[10:30]
    again.forget([("a", 1)])
    assert again.wants_flush
    await again.flush()
    assert not [name for name in disk.names() if name.startswith("blob-")]


async def test_a_blob_that_two_results_share_stays_until_the_second_goes(disk: Disk) -> None:
    data = bytes(5000)
    (first, blobs), (second, _) = large("a", data), large("b", data)
    outbox = await load(disk)
    await outbox.put([first, second], blobs)
    outbox.forget([("a", 1)])
    await outbox.flush()

    assert await outbox.read_blob(second.blobs[0], 0, 5000) == data


async def test_a_result_that_is_replaced_takes_its_blobs_away(disk: Disk) -> None:
    kept, blobs = large("a", bytes(5000))
    outbox = await load(disk)
    await outbox.put([kept], blobs)
    await outbox.put([failed("a", 1, "quota")], {})

    assert [r.item.code for r in await load(disk)] == ["quota"]
    assert not [name for name in disk.names() if name.startswith("blob-")]


async def test_a_result_whose_blob_is_lost_is_dropped_and_a_stray_blob_removed() -> None:
    disk = MemoryDisk()
    kept, blobs = large("a", bytes(5000))
    await (await load(disk)).put([kept], blobs)
    disk.files = {"outbox": disk.files["outbox"], "blob-stray": b"x"}

    assert names_in(await load(disk)) == []
    assert disk.names() == ["outbox"]


async def test_an_outbox_with_its_number_of_results_is_full() -> None:
    outbox = await load(MemoryDisk())
    results = [small(f"j{i}") for i in range(AGENT_RESULTS_MAX)]
    await outbox.put(results[:-1], {})
    assert not outbox.is_full
    await outbox.put(results[-1:], {})

    assert outbox.is_full


async def test_the_file_is_rewritten_when_most_of_it_is_dead() -> None:
    disk = MemoryDisk()
    outbox = await load(disk)
    for number in range(40):
        await outbox.put([small(f"j{number}", data=bytes(65536))], {})
        outbox.forget([(f"j{number}", 1)])
    await outbox.flush()

    assert len(disk.files["outbox"]) < 65536
    assert names_in(await load(disk)) == []


class FullDisk(MemoryDisk):
    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    def append(self, name: str, data: bytes) -> None:
        if self.is_full:
            raise OSError(28, "no space left on device")
        super().append(name, data)


async def test_a_put_that_fails_keeps_nothing_and_may_be_tried_again() -> None:
    disk = FullDisk()
    outbox = await filled(disk, ["a"])
    outbox.forget([("a", 1)])
    disk.is_full = True
    with pytest.raises(OSError, match="no space"):
        await outbox.put([small("b")], {})
    assert len(outbox) == 0
    disk.is_full = False
    await outbox.put([small("b")], {})

    assert names_in(await load(disk)) == ["b"]


def test_a_failed_append_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    disk = FolderDisk(tmp_path)
    disk.append("outbox", b"whole")
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from agent.disk import FolderDisk\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: FolderDisk(Path(sys.argv[1])).append('outbox', bytes(1000))\n"
        "except OSError: sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)

    assert done.returncode == 7
    assert disk.read("outbox") == b"whole"


def record_ends() -> tuple[bytes, list[int]]:
    """A log of five puts, and where each one ends."""

    async def write() -> tuple[bytes, list[int]]:
        disk = MemoryDisk()
        outbox = await load(disk)
        ends = []
        for number in range(5):
            await outbox.put([small(f"j{number}", data=bytes([number]) * 30)], {})
            ends.append(len(disk.files["outbox"]))
        return disk.files["outbox"], ends

    return trio.run(write)


LOG, ENDS = record_ends()


def names_after(log: bytes) -> list[str]:
    async def read() -> list[str]:
        disk = MemoryDisk()
        disk.files["outbox"] = log
        first = await load(disk)
        await first.put([small("new")], {})
        return names_in(await load(disk))

    return trio.run(read)


@given(cut=st.integers(0, len(LOG)), tail=st.binary(max_size=64))
@settings(max_examples=60, deadline=None)
def test_a_torn_tail_loses_what_was_never_whole_and_nothing_else(cut: int, tail: bytes) -> None:
    whole = [f"j{i}" for i, end in enumerate(ENDS) if end <= cut]
    torn = LOG[:cut] + tail

    names = names_after(torn)
    assert names[-1] == "new"
    assert names[: len(whole)] == whole


@given(at=st.integers(0, len(LOG) - 1), change=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_an_altered_byte_is_never_believed(at: int, change: int) -> None:
    altered = bytearray(LOG)
    altered[at] ^= change
    hit = next(i for i, end in enumerate(ENDS) if at < end)

    names = names_after(bytes(altered))
    assert f"j{hit}" not in names
    assert names[:hit] == [f"j{i}" for i in range(hit)]
    assert set(names) <= {*(f"j{i}" for i in range(5)), "new"}


async def _put_for_ever(folder: Path, start: int) -> None:
    outbox = await Outbox.load(FolderDisk(folder), inline)
    for number in range(start, start + 100_000):
        kept, blobs = large(f"j{number}", number.to_bytes(4, "little") * 2000)
        await outbox.put([kept] if number % 7 == 0 else [small(f"j{number}")], blobs)
        os.write(1, b"%d\n" % number)
        if number % 5 == 0:
            outbox.forget([(f"j{number - 3}", 1)])


@pytest.mark.slow
def test_no_kill_loses_a_result_whose_put_returned(tmp_path: Path) -> None:
    put: set[int] = set()
    for turn in range(6):
        start = turn * 100_000
        code = f"from tests.test_outbox import _main; _main({str(tmp_path)!r}, {start})"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(20 + 13 * turn)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        child.wait()
        child.stdout.close()
        put |= {int(line) for line in lines if line.endswith(b"\n")}

    outbox = trio.run(Outbox.load, FolderDisk(tmp_path), inline)
    forgotten = {number - 3 for number in put if number % 5 == 0}
    there = {int(name[1:]) for name in names_in(outbox)}
    assert len(put) > 150
    assert put - forgotten <= there


def _main(folder: str, start: int) -> None:
    trio.run(partial(_put_for_ever, Path(folder), start))


@pytest.mark.parametrize("torn", [b"", b"\x07\x00\x00", b"\xff" * 40])
async def test_at_a_start_on_a_full_disk_what_is_there_can_be_sent_and_nothing_is_lost_later(
    torn: bytes,
) -> None:
    disk = MemoryDisk()
    await filled(disk, ["a", "b"])
    disk.files["outbox"] += torn
    replace, is_full = disk.replace, True

    def refuse(name: str, data: bytes) -> None:
        if is_full:
            raise OSError(28, "No space left on device")
        replace(name, data)

    disk.replace = refuse  # type: ignore[method-assign]
    outbox = await load(disk)
    assert names_in(outbox) == ["a", "b"]
    outbox.forget([("a", 1)])
    with pytest.raises(OSError, match="No space"):
        await outbox.put([small("c")], {})
    is_full = False
    await outbox.put([small("d")], {})

    assert names_in(outbox) == ["b", "d"]
    assert names_in(await load(disk)) == ["b", "d"]
