"""A paced load: jobs come one by one at random moments, whatever the house does.

The latency of each counts from the moment when it was due to its `completed`, so that a house that
falls behind is charged for the wait, and not spared the jobs that it would have been sent.
Source: Schroeder et al., "Open versus closed".
"""

from __future__ import annotations

import itertools
import random  # noqa: TID251 - a seeded generator: the same moments in each run
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from benchmarks.alarm import Alarm
from benchmarks.cpu import Others
from benchmarks.house import House
from benchmarks.record import Record, Where, record

#: Jobs a second, on average.
RATES: Final = (200, 500, 1000, 2000)
#: A rate is kept while so much of it comes back, and p99 stays below this.
KEEPS_UP: Final = 0.97
LATENCY_S_MAX: Final = 1.0


class Paced(msgspec.Struct, frozen=True):
    """What one rate gave; latencies in s."""

    rate: float
    achieved: float
    latencies: list[float]
    server: float
    generator: float
    others: float

    @property
    def is_kept(self) -> bool:
        return (
            self.achieved >= KEEPS_UP * self.rate
            and percentile(self.latencies, 99) <= LATENCY_S_MAX
        )


async def pace_all(here: Where, house: House, seconds: float) -> list[Record]:
    """Records of each rate that the house kept, and of the highest one."""
    records: list[Record] = []
    highest, end = 0.0, "all were kept"
    await pace(house, RATES[0], seconds=1.0)
    for rate in RATES:
        paced = await pace(house, rate, seconds)
        if not paced.is_kept:
            p99_ms = 1000 * percentile(paced.latencies, 99)
            end = f"at {rate} / s {paced.achieved:.0f} / s came back, with a p99 of {p99_ms:.0f} ms"
            break
        highest = rate
        records += _records(here, paced)
    note = f"of {', '.join(map(str, RATES))} jobs a second the highest with p99 below 1 s; {end}"
    records.append(
        record(here, "dispatch paced, highest rate kept", "jobs / s", [highest], n=1, note=note)
    )
    return records


def _records(here: Where, paced: Paced) -> list[Record]:
    note = (
        f"one job a message, 2 submitters, 2 agents; {paced.achieved:.0f} / s came back; "
        f"the server used {paced.server:.0%} of a core, the load {paced.generator:.0%}"
    )
    n = len(paced.latencies)
    return [
        record(
            here,
            f"dispatch paced {paced.rate:g} / s, p{percent}",
            "ms",
            [1000 * percentile(paced.latencies, percent)],
            n=n,
            note=note,
            others=paced.others,
        )
        for percent in (50, 99)
    ]


async def pace(house: House, rate: float, seconds: float) -> Paced:
    """Jobs at this rate for so long; waits for the last of them."""
    for submitter in house.submitters:
        submitter.latencies.clear()
    rng = random.Random(rate)
    turns = itertools.cycle(house.submitters)
    others, server_s, generator_s = Others(), house.cpu_s(), time.process_time()
    began = due = trio.current_time()
    with Alarm() as alarm:
        while due < began + seconds:
            due += rng.expovariate(rate)
            await alarm.until(due)
            next(turns).submit(1, due)
    with trio.move_on_after(10 * LATENCY_S_MAX):
        while house.open:
            house.check()
            await trio.sleep(0.01)
    latencies = [each for submitter in house.submitters for each in submitter.latencies]
    wall_s = trio.current_time() - began
    return Paced(
        rate=rate,
        achieved=len(latencies) / wall_s,
        latencies=latencies,
        server=(house.cpu_s() - server_s) / wall_s,
        generator=(time.process_time() - generator_s) / wall_s,
        others=others.cores(),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of the values do not exceed.

    Source: the nearest-rank definition. A p99 of fewer than 100 values is the largest one.
    """
    assert values, "a percentile of nothing"
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]
