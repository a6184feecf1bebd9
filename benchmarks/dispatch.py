"""Durable round trips of a coordinator: how many for a CPU-second, and how long one takes.

One round trip: a job is submitted over a WebSocket, held and queued; matched and sent to an agent;
its result comes back, is verified (the default policy, by recomputing), paid, receipted; and result
and receipt reach the submitter. Each step is on the disk (`synchronous=FULL`) before the next one.
The workload is the smallest there is, a search over one nonce: what is measured is the house.
Loads:
  - batched: 100 jobs a message from each submitter, results in groups of 100 every 10 ms, as our
    own agents send them; a thousand jobs of each submitter in flight;
  - unbatched: one job a message, one result a message; 1 or 16 jobs in flight;
  - paced: jobs come one by one at random moments, at a fixed rate on average, whatever the house
    does; the latency of each counts from the moment when it was due to its `completed`.
Not covered: large outputs, many connections, PostgreSQL, the agents' own work.
Source: Schroeder et al., "Open versus closed" (why the paced load does not wait for answers).
"""

from __future__ import annotations

import argparse
import itertools
import random  # noqa: TID251 - a seeded generator: the same moments in each run
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from benchmarks.house import House, open_house
from benchmarks.record import RECORDS, Record, Where, record, where, write
from benchmarks.wire import LightSubmitter
from coordinator.limits import RESULTS_GAP_S

#: Until caches are filled and batches have their size.
WARM_UP_S: Final = 1.0
#: Each measurement is cut into so many repetitions.
SLICES: Final = 5
#: The rate is doubled while the house keeps up with so much of it, and its p99 stays below.
KEEPS_UP: Final = 0.97
LATENCY_S_MAX: Final = 1.0
RATE_FIRST: Final = 200


class Load(msgspec.Struct, frozen=True):
    """A closed load: each submitter keeps `window` jobs in flight."""

    name: str
    batch: int
    window: int
    submitters: int
    agents: int

    @property
    def what(self) -> str:
        flight = self.window * self.submitters
        return f"{self.batch} a message, {flight} in flight, {self.agents} agents"


def add_command(commands: Any) -> None:
    """Add `dispatch` to the command line."""
    parser = commands.add_parser(
        "dispatch",
        help="durable round trips per CPU-second of the coordinator, and their latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (10)")
    parser.add_argument("--agents", type=int, default=2, help="agents of the batched load (2)")
    parser.add_argument("--only", default="", help="loads whose name begins like this")
    parser.add_argument("--folder", type=Path, help="where the database lies (a temporary folder)")
    parser.add_argument("--json", action="store_true", help="print records, not a table")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/records")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        here = where(f"python -m benchmarks dispatch --seconds {options.seconds:g}", folder)
        records = trio.run(_measure_all, here, folder, options)
    if options.keep:
        RECORDS.mkdir(exist_ok=True)
        write(RECORDS / "dispatch.json", records)
    if options.json:
        print(msgspec.json.encode(records).decode())
    else:
        _print_table(records)
    return 0


async def _measure_all(here: Where, folder: Path, options: argparse.Namespace) -> list[Record]:
    loads = (
        Load("batched", batch=100, window=1000, submitters=2, agents=options.agents),
        Load("unbatched 16", batch=1, window=16, submitters=1, agents=1),
        Load("unbatched 1", batch=1, window=1, submitters=1, agents=1),
    )
    records: list[Record] = []
    for load in loads:
        if load.name.startswith(options.only):
            records += await _measure(here, _fresh(folder, load.name), load, options.seconds)
    if "paced".startswith(options.only[:5]):
        records += await _pace_all(here, _fresh(folder, "paced"), options.seconds)
    return records


def _fresh(folder: Path, name: str) -> Path:
    fresh = folder / name.replace(" ", "-")
    fresh.mkdir()
    return fresh


# ---- closed loads -----------------------------------------------------------------------------


async def _measure(here: Where, folder: Path, load: Load, seconds: float) -> list[Record]:
    async with open_house(folder) as house:
        gap_s = RESULTS_GAP_S if load.batch > 1 else 0.0
        await house.add_agents(load.agents, batch=load.batch, gap_s=gap_s)
        await house.add_submitters(load.submitters)
        over = trio.Event()
        async with trio.open_nursery() as nursery:
            for submitter in house.submitters:
                nursery.start_soon(_keep_full, submitter, load, over)
            await trio.sleep(WARM_UP_S)
            slices = [await _slice(house, seconds / SLICES) for _ in range(SLICES)]
            over.set()
    n = sum(count for count, _, _ in slices)
    per_cpu = [count / cpu_s for count, cpu_s, _ in slices]
    rates = [count / wall_s for count, _, wall_s in slices]
    busy = sum(cpu_s for _, cpu_s, _ in slices) / sum(wall_s for _, _, wall_s in slices)
    note = f"{load.what}; the coordinator used {busy:.0%} of a core"
    name = f"dispatch {load.name}"
    return [
        record(here, name, "round trips / CPU-s", per_cpu, n=n, note=note),
        record(here, f"{name}, rate", "round trips / s", rates, n=n, note=note),
    ]


async def _keep_full(submitter: LightSubmitter, load: Load, over: trio.Event) -> None:
    """Keep jobs in flight until it is over; not cancelled, since half a frame ends a connection."""
    while not over.is_set():
        while submitter.open + load.batch > load.window:
            await submitter.changed()
        await submitter.submit(load.batch, trio.current_time())


async def _slice(house: House, seconds: float) -> tuple[int, float, float]:
    """Results, CPU seconds and seconds of a stretch of time."""
    results, cpu_s, began = house.results, house.cpu_s(), trio.current_time()
    await trio.sleep(seconds)
    house.check()
    return house.results - results, house.cpu_s() - cpu_s, trio.current_time() - began


# ---- the paced load ---------------------------------------------------------------------------


async def _pace_all(here: Where, folder: Path, seconds: float) -> list[Record]:
    """Double the rate until the house no longer keeps up; records of each rate that it kept."""
    records: list[Record] = []
    async with open_house(folder) as house:
        await house.add_agents(2, batch=100)
        await house.add_submitters(2)
        await _pace(house, RATE_FIRST, WARM_UP_S)
        rate = RATE_FIRST
        while True:
            latencies, achieved = await _pace(house, rate, seconds)
            p50, p99 = _percentile(latencies, 50), _percentile(latencies, 99)
            if records and (achieved < KEEPS_UP * rate or p99 > LATENCY_S_MAX):
                return records
            note = f"one job a message, 2 submitters, 2 agents; {achieved:.0f} / s came back"
            for name, value in (("p50", p50), ("p99", p99)):
                full = f"dispatch paced {rate} / s, {name}"
                records.append(
                    record(here, full, "ms", [1000 * value], n=len(latencies), note=note)
                )
            rate *= 2


async def _pace(house: House, rate: float, seconds: float) -> tuple[list[float], float]:
    """Latencies, s, of jobs that came at this rate; and the rate at which they were completed."""
    for submitter in house.submitters:
        submitter.latencies.clear()
    rng = random.Random(rate)
    turns = itertools.cycle(house.submitters)
    began = due = trio.current_time()
    while due < began + seconds:
        due += rng.expovariate(rate)
        await trio.sleep_until(due)
        await next(turns).submit(1, due)
    with trio.move_on_after(10 * LATENCY_S_MAX):
        while any(submitter.open for submitter in house.submitters):
            house.check()
            await trio.sleep(0.01)
    latencies = [each for submitter in house.submitters for each in submitter.latencies]
    return latencies, len(latencies) / (trio.current_time() - began)


def _percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _print_table(records: Sequence[Record]) -> None:
    width = max(len(each.name) for each in records)
    for each in records:
        low, high = each.spread
        spread = f"{low:,g} to {high:,g}" if low != high else ""
        print(f"{each.name:<{width}}  {each.value:>10,g} {each.unit:<20} {spread:<22} n={each.n}")
    for note in dict.fromkeys(f"{each.name.split(',')[0]}: {each.note}" for each in records):
        print(note)
    here = records[0].where
    machine = here.machine
    print(f"{machine.cpu}, {machine.cores} cores, {machine.filesystem}; load before {machine.load}")
    print(f"commit {here.commit}; {', '.join(f'{k} {v}' for k, v in here.versions.items())}")
