"""What agents cost that wait for work: memory of each, and the CPU time of their heartbeats.

A coordinator with its defaults, and many agents that have registered as ours do (a node key's
proof, an inventory, a resume) and send a heartbeat every 10 s, evenly spread. Some jobs run first,
so that what the coordinator needs once is there before anything is weighed.
The memory of an agent is what the coordinator's resident memory has grown by while they came.
Not covered: the kernel's socket buffers; TLS; agents behind one address (they come from several
loopback addresses, as a coordinator's bounds want it).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks.cpu import Others
from benchmarks.house import House, open_house
from benchmarks.hub import Hub
from benchmarks.keep import add_options, finish
from benchmarks.record import Record, Where, record, where
from coordinator.limits import HEARTBEAT_S, KIB

#: Descriptors beside one for each agent, in each of the two processes.
_DESCRIPTORS: Final = 300
_FIRST_JOBS: Final = 2000
_SETTLE_S: Final = 2.0
#: Heartbeats that may be missing from a measurement, as a part: they are not told in whole ones.
_MISSING: Final = 0.1


class TooFewDescriptors(Exception):
    """The system does not let one process have so many connections."""


def add_command(commands: Any) -> None:
    """Add `idle` to the command line."""
    parser = commands.add_parser(
        "idle",
        help="memory and CPU time of agents that wait for work",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--agents", type=int, default=5000, help="how many (5000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of heartbeats (20)")
    parser.add_argument("--folder", type=Path, help="where the database lies (a temporary folder)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    raise_descriptors(options.agents)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        command = f"python -m benchmarks idle --agents {options.agents}"
        here = where(f"{command} --seconds {options.seconds:g}", folder)
        records = trio.run(_measure, here, folder, options.agents, options.seconds)
    return finish("idle", records, options)


def raise_descriptors(agents: int) -> None:
    """Let this process and its children have so many connections.

    Raises:
        TooFewDescriptors: the system's hard limit is lower.
    """
    need = agents + _DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < need:
        msg = f"{agents} agents need {need} descriptors, this user may have {hard} (ulimit -Hn)"
        raise TooFewDescriptors(msg)
    if soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


async def _measure(here: Where, folder: Path, agents: int, seconds: float) -> list[Record]:
    hub = Hub()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        async with open_house(folder, hub, connections=agents + _DESCRIPTORS) as house:
            tokens = await house.tokens(agents)
            await _work_a_little(house)
            records = await _join(here, house, tokens, seconds)
            records += await _beat(here, house, agents, seconds)
            house.check()
        nursery.cancel_scope.cancel()
    return records


async def _work_a_little(house: House) -> None:
    """Some jobs, by an agent and a submitter that leave afterwards."""
    await house.add_agents(1, batch=100)
    await house.add_submitters(1)
    for _ in range(_FIRST_JOBS // 100):
        house.submitters[0].submit(100, trio.current_time())
    await house.drained()
    house.hang_up()
    house.agents.clear()
    await trio.sleep(_SETTLE_S)


async def _join(here: Where, house: House, tokens: list[str], seconds: float) -> list[Record]:
    before, others = house.rss_bytes(), Others()
    cpu_s, began = house.cpu_s(), trio.current_time()
    await house.add_agents(len(tokens), batch=1, tokens=tokens)
    wall_s, cpu_s = trio.current_time() - began, house.cpu_s() - cpu_s
    await trio.sleep(min(HEARTBEAT_S, seconds) + _SETTLE_S)
    n = len(tokens)
    note = f"{n} agents, all registered in {wall_s:.1f} s; the coordinator had {before >> 20} MiB"
    one = partial(record, here, n=n, note=note, others=others.cores())
    return [
        one("idle agent, memory", "KiB", [(house.rss_bytes() - before) / n / KIB]),
        one("idle agent, to register", "CPU-ms", [1000 * cpu_s / n]),
        one("idle agents, registered", "agents / s", [n / wall_s]),
    ]


async def _beat(here: Where, house: House, agents: int, seconds: float) -> list[Record]:
    """CPU time of a core that the heartbeats take, in slices of a period each."""
    shares: list[float] = []
    beats, slices = 0, max(1, round(seconds / HEARTBEAT_S))
    slice_s = min(HEARTBEAT_S, seconds)
    others, generator_s, began = Others(), time.process_time(), trio.current_time()
    for _ in range(slices):
        with _heartbeats(house) as heard, _share(house, shares):
            await trio.sleep(slice_s)
        beats += heard[0]
    expected = agents * slices * slice_s / HEARTBEAT_S
    if abs(beats - expected) > _MISSING * expected:
        msg = f"{beats} heartbeats were answered where {expected:.0f} are due"
        raise RuntimeError(msg)
    load = (time.process_time() - generator_s) / (trio.current_time() - began)
    every = f"a heartbeat every {HEARTBEAT_S:g} s"
    note = f"{agents} agents, {every}; the load used {load:.0%} of a core"
    one = partial(record, here, n=beats, note=note, others=others.cores())
    each_us = [share / 100 * HEARTBEAT_S / agents * 1e6 for share in shares]
    return [
        one(f"idle agents, CPU time of {agents}", "% of a core", shares),
        one("idle agent, a heartbeat", "CPU-µs", each_us),
    ]


@contextmanager
def _heartbeats(house: House) -> Iterator[list[int]]:
    """Heartbeats that are answered meanwhile."""
    heard = [-sum(agent.beats for agent in house.agents)]
    yield heard
    heard[0] += sum(agent.beats for agent in house.agents)


@contextmanager
def _share(house: House, shares: list[float]) -> Iterator[None]:
    """The part of a core that the coordinator uses meanwhile, percent."""
    cpu_s, began = house.cpu_s(), trio.current_time()
    yield
    shares.append(100 * (house.cpu_s() - cpu_s) / (trio.current_time() - began))
