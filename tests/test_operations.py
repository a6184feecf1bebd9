"""The house's index in memory: what it forgets, and when a wait is over.

Not here: the whole house at work (`test_world.py`).
"""

from __future__ import annotations

from msgspec.structs import replace

from coordinator import events as ev
from coordinator.metrics import Metrics
from coordinator.operations import QUEUE_ENDS_MIN, Operations
from coordinator.pricing import Rules
from coordinator.writer import Writer, run_inline
from tests.build import NOW_MS, Market, montecarlo_spec
from tests.store_values import a_job


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000


def operations(market: Market, clock: HandClock) -> Operations:
    made = Operations(rules=Rules(), clock=clock, metrics=Metrics(version="test"))
    made.writer = Writer(market.engine, clock, run_inline, made.carry_out)
    return made


async def test_the_end_of_a_wait_is_not_kept_for_jobs_that_wait_no_longer() -> None:
    market, clock = Market(), HandClock()
    made = operations(market, clock)
    node = market.node.id
    for number in range(1, 5 * QUEUE_ENDS_MIN):
        job = a_job(number, kind="montecarlo", spec=montecarlo_spec())
        made.carry_out([ev.JobQueued(job)])
        if number > 3:
            made.carry_out([ev.JobSent(replace(job, node=node, fence=1, assigned_ms=NOW_MS))])

    assert len(made.scheduler) == 3
    assert len(made._queue_ends) <= 2 * QUEUE_ENDS_MIN
    assert {job for _, job in made._queue_ends} >= {1, 2, 3}
    market.close()


async def test_a_job_that_waited_too_long_is_told_and_one_that_was_taken_is_not() -> None:
    market, clock = Market(), HandClock()
    made = operations(market, clock)
    waits, taken = market.queued(key="a"), market.queued(key="b")
    made.carry_out([ev.JobQueued(waits), ev.JobQueued(taken)])
    made.carry_out([ev.JobSent(market.assign(taken))])

    clock.now_ms += 24 * 3_600_000 - 1
    made._end_queued(clock.now_ms)
    assert len(made.writer) == 0
    clock.now_ms += 1
    made._end_queued(clock.now_ms)
    assert len(made.writer) == 1
    await made.writer.flush()

    assert (market.job(waits).code, market.job(taken).code) == ("queue_timeout", "")
    market.close()
