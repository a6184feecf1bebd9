"""A map over many inputs: its memory, here and at the coordinator, and how fast it is.

`Client.map` as people call it, over tiny searches that are verified and paid; the inputs come from
a generator, the results are thrown away. The coordinator is a process of its own; the client shares
this one with light agents, which keep nothing of a job.
Flat means: what is there at two thirds of the way is there at its end. Before that caches fill,
each up to its bound in `coordinator/limits.py`; the last one is full after some 65,000 jobs, so
fewer inputs than 100,000 show less.
Not covered: large results, which are the caller's to keep or to drop; many clients at once.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from benchmarks.cpu import Others, rss_bytes
from benchmarks.house import House, open_house
from benchmarks.hub import Hub
from benchmarks.keep import add_options, finish
from benchmarks.record import Record, Where, record, where
from benchmarks.wire import spec_of
from coordinator.limits import MIB
from coordinator.protocol.signing import generate
from coordinator.protocol.spec import decode_spec
from hypernode.client import AsyncClient

_AGENTS: Final = 4
_IN_FLIGHT: Final = 1024
#: Points on the way at which memory is read; the first ones are of caches that fill.
_POINTS: Final = 30
_FILLING: Final = 20


def add_command(commands: Any) -> None:
    """Add `map` to the command line."""
    parser = commands.add_parser(
        "map",
        help="memory and speed of one map over many inputs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--folder", type=Path, help="where the database lies (a temporary folder)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        here = where(f"python -m benchmarks map --inputs {options.inputs}", folder)
        records = trio.run(measure, here, folder, options.inputs)
    return finish("map", records, options)


async def measure(here: Where, folder: Path, inputs: int) -> list[Record]:
    """One map, from its first input to its last result."""
    hub = Hub()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        async with open_house(folder, hub) as house:
            await house.add_agents(_AGENTS, batch=100)
            records = await _map(here, house, inputs)
        nursery.cancel_scope.cancel()
    return records


def _inputs(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        params: dict[str, Any] = msgspec.json.decode(bytes(decode_spec(spec_of(number)).params))
        yield params


async def _map(here: Where, house: House, inputs: int) -> list[Record]:
    others, began, done = Others(), trio.current_time(), 0
    ours: list[float] = []
    theirs: list[float] = []
    url = house.socket_url.replace("ws", "http", 1)
    async with AsyncClient(url, generate()) as client:
        await client.faucet("100000")
        results = client.map(
            "hashsearch", _inputs(inputs), budget="1", order=False, max_in_flight=_IN_FLIGHT
        )
        async for _ in results:
            done += 1
            if done % max(inputs // _POINTS, 1) == 0:
                house.check()
                ours.append(rss_bytes(os.getpid()) / MIB)
                theirs.append(house.rss_bytes() / MIB)
    seconds = trio.current_time() - began
    if done != inputs:
        msg = f"{done} results for {inputs} inputs"
        raise RuntimeError(msg)
    note = f"{_IN_FLIGHT} jobs open at most, {_AGENTS} light agents"
    one = partial(record, here, n=inputs, note=note, others=others.cores())
    return [
        one(f"map of {inputs}, results", "results / s", [inputs / seconds]),
        *_memory(one, f"map of {inputs}, coordinator", theirs),
        *_memory(one, f"map of {inputs}, client with agents", ours),
    ]


def _memory(one: Any, name: str, points: list[float]) -> list[Record]:
    """Memory once the caches are full, and by how much it grew from then on."""
    full = points[min(_FILLING, len(points) - 1) :]
    return [
        one(f"{name}, memory", "MiB", full),
        one(f"{name}, memory grown in the last third", "MiB", [full[-1] - full[0]]),
    ]
