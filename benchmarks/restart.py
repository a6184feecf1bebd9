"""How long a coordinator is away after kill -9: from the start of its process to `/readyz` 200.

The database is that of a busy year (`filled`): a million finished jobs and a hundred thousand open
ones unless told otherwise, with books, receipts and hash chain as the house itself makes them. The
coordinator runs on it, is killed with SIGKILL, and is started again; what is measured is the whole
process, interpreter and imports included. The queue comes back while it already works
(`coordinator/refill.py`): how long that takes is a record of its own, and so is its memory.
Afterwards the file must pass the store's audit, or no number is believed.
Not covered: a cold page cache (a machine that was restarted reads the file from the disk first).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from benchmarks.filled import fill
from benchmarks.keep import add_options, finish
from benchmarks.record import Record, Where, record, where
from coordinator.clock import SystemClock
from coordinator.store.sqlite import open_sqlite
from hypernode.children import Child, ChildFailed, running

#: What a restart may take: the goal is two seconds, this is when we give up.
GIVE_UP_S: Final = 60.0
#: Between two looks at `/readyz`.
LOOK_S: Final = 0.005
_LISTENING: Final = re.compile(r"listening on http://[^\s:]+:(\d+)")
_BACK: Final = re.compile(r'"seconds": ([\d.]+), "event": "the queue is back"')


class Start(msgspec.Struct, frozen=True):
    """One start: seconds to ready, seconds until the queue was back, and memory then, MiB."""

    ready_s: float
    queue_s: float
    memory_mib: float


def add_command(commands: Any) -> None:
    """Add `restart` to the command line."""
    parser = commands.add_parser(
        "restart",
        help="seconds from the start of a killed coordinator to /readyz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--finished", type=int, default=1_000_000, help="finished jobs (1000000)")
    parser.add_argument("--open", type=int, default=100_000, help="open jobs (100000)")
    parser.add_argument("--kills", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--folder", type=Path, help="where the database lies (a temporary folder)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        sizes = f"--finished {options.finished} --open {options.open} --kills {options.kills}"
        here = where(f"python -m benchmarks restart {sizes}", folder)
        database = folder / "market.db"
        fill(
            database,
            finished=options.finished,
            open_jobs=options.open,
            now_ms=SystemClock().wall_ms(),
        )
        size_mib = database.stat().st_size / 2**20
        starts = trio.run(_kill_all, database, options.kills)
        _audit(database)
    records = _records(here, starts, f"{options.finished} finished, {options.open} open jobs")
    records.append(record(here, "restart, database", "MiB", [size_mib], n=1))
    return finish("restart", records, options)


def _records(here: Where, starts: Sequence[Start], note: str) -> list[Record]:
    n = len(starts)
    return [
        record(here, "restart, ready", "s", [each.ready_s for each in starts], n=n, note=note),
        record(here, "restart, queue back", "s", [each.queue_s for each in starts], n=n, note=note),
        record(here, "restart, memory", "MiB", [each.memory_mib for each in starts], n=n),
    ]


async def _kill_all(database: Path, kills: int) -> list[Start]:
    """Start and kill, and measure each start after a kill."""
    starts = []
    for number in range(kills + 1):
        began = trio.current_time()
        arguments = ("coordinator", "--port", "0", "--db", str(database), "--log-json", "--faucet")
        async with running("coordinator", arguments, database.parent) as child:
            start = await _watch(child, began)
            if number:
                starts.append(start)
            os.kill(child.pid, signal.SIGKILL)
    return starts


async def _watch(child: Child, began: float) -> Start:
    with trio.move_on_after(GIVE_UP_S):
        port = int((await _said(child, _LISTENING))[1])
        while not await _is_ready(port):  # noqa: ASYNC110 (a process tells no event)
            await trio.sleep(LOOK_S)
        ready_s = trio.current_time() - began
        queue_s = float((await _said(child, _BACK))[1])
        return Start(ready_s, queue_s, _peak_mib(child.pid))
    child.check()
    msg = f"the coordinator was not ready after {GIVE_UP_S:g} s: see {child.log}"
    raise ChildFailed(msg)


async def _said(child: Child, words: re.Pattern[str]) -> re.Match[str]:
    while (match := words.search(child.text())) is None:
        child.check()
        await trio.sleep(LOOK_S)
    return match


async def _is_ready(port: int) -> bool:
    """Whether `/readyz` answers 200 now."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    async with stream:
        await stream.send_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return b" 200 " in (await stream.receive_some(200)).split(b"\r\n", 1)[0]


def _peak_mib(process: int) -> float:
    """The most memory that a process has had, resident."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def _audit(database: Path) -> None:
    store = open_sqlite(database)
    try:
        faults = list(store.check())
    finally:
        store.close()
    if faults:
        msg = f"the books are wrong after the kills: {faults}"
        raise RuntimeError(msg)
