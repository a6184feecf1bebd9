"""All agents lose their connection at once, with jobs in their hands, and come back.

The agents are killed, in effect: what they were computing is gone. They dial again as ours do, at
random moments of half a second first (`agent/backoff.py`), prove their node keys, and say that they
hold nothing; the coordinator gives their jobs to whoever is there. Meanwhile two submitters go on.
Told: how long an agent is away, and until the last one is back; until every job that was in flight
has its result; and that no job was lost: each one submitted has ended, paid once, and the books
balance (the audit of every run).
Not covered: agents that keep their results over the break (they lose less), a coordinator that
restarts (`tests/` kills it), TLS.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from random import Random  # noqa: TID251 - a seeded generator of waiting times
from typing import Any, Final

import trio

from agent.backoff import Backoff
from benchmarks.cpu import Others
from benchmarks.house import House, open_house
from benchmarks.hub import Hub, LinkLost
from benchmarks.idle import raise_descriptors
from benchmarks.keep import add_options, finish
from benchmarks.paced import percentile
from benchmarks.record import Record, Where, record, where
from benchmarks.wire import WrongAnswer

#: Agents keep their jobs so long: enough are in flight when the connections end.
_GAP_S: Final = 0.5
_DESCRIPTORS: Final = 300
_ALL_BACK_S: Final = 120.0
#: Jobs that each submitter keeps in flight, and in one message.
_WINDOW: Final = 1000
_BATCH: Final = 100
_STEADY_S: Final = 3.0


def add_command(commands: Any) -> None:
    """Add `storm` to the command line."""
    parser = commands.add_parser(
        "storm",
        help="all agents lose their connections and come back, with jobs in flight",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--agents", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--folder", type=Path, help="where the database lies (a temporary folder)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    raise_descriptors(options.agents)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        here = where(f"python -m benchmarks storm --agents {options.agents}", folder)
        records = trio.run(_measure, here, folder, options.agents)
    return finish("storm", records, options)


async def _measure(here: Where, folder: Path, agents: int) -> list[Record]:
    hub = Hub()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        async with open_house(folder, hub, connections=agents + _DESCRIPTORS) as house:
            await house.add_agents(agents, batch=_BATCH, gap_s=_GAP_S)
            await house.add_submitters(2)
            for submitter in house.submitters:
                submitter.keep(_BATCH, _WINDOW)
            await trio.sleep(_STEADY_S)
            records = await _storm(here, house)
        nursery.cancel_scope.cancel()
    return records


async def _storm(here: Where, house: House) -> list[Record]:
    held = await _most_held(house)
    others, cpu_s, began = Others(), house.cpu_s(), trio.current_time()
    for submitter in house.submitters:
        submitter.keep(_BATCH, 0)
    in_flight, done = house.open, house.results
    away_s, tries = await _all_back(house)
    back_s = trio.current_time() - began
    used_s = house.cpu_s() - cpu_s
    await house.drained()
    drained_s = trio.current_time() - began
    assert house.results - done == in_flight, "a job has no result, or two"
    n = len(house.agents)
    note = (
        f"{n} agents cut off with {held} jobs in hand, {in_flight} in flight; "
        f"{tries - n} tries were refused; no job lost"
    )
    one = partial(record, here, note=note, others=others.cores())
    name = f"storm of {n} agents"
    return [
        one(f"{name}, away, p50", "s", [percentile(away_s, 50)], n=n),
        one(f"{name}, away, p99", "s", [percentile(away_s, 99)], n=n),
        one(f"{name}, until all are back", "s", [back_s], n=n),
        one(f"{name}, to come back", "CPU-ms an agent", [1000 * used_s / n], n=n),
        one(f"{name}, until every job has its result", "s", [drained_s], n=in_flight),
    ]


async def _most_held(house: House) -> int:
    """Wait until the agents hold most of the open jobs; how many."""
    with trio.fail_after(_ALL_BACK_S):
        while sum(agent.held for agent in house.agents) < house.open // 2:  # noqa: ASYNC110
            await trio.sleep(0.002)
    return sum(agent.held for agent in house.agents)


async def _all_back(house: House) -> tuple[list[float], int]:
    """Cut everybody off and wait until they are back: how long each was away, and all tries."""
    away_s: list[float] = []
    tries = [0]
    began = trio.current_time()
    for place, agent in enumerate(house.agents):
        agent.close()
        house.agents[place] = agent.renewed()

    async def come_back(place: int) -> None:
        backoff = Backoff(Random(place))
        while not house.agents[place].is_ready:
            await trio.sleep(backoff.next_s())
            tries[0] += 1
            try:
                await house.dial_agent(place)
            except (LinkLost, WrongAnswer):
                # Refused for the moment: too many at once.
                house.agents[place].close()
                house.agents[place] = house.agents[place].renewed()
        away_s.append(trio.current_time() - began)

    with trio.fail_after(_ALL_BACK_S):
        async with trio.open_nursery() as nursery:
            for place in range(len(house.agents)):
                nursery.start_soon(come_back, place)
    return away_s, tries[0]
