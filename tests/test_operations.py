"""The house's index in memory: what it forgets, and when a wait is over.

Not here: the whole house at work (`test_world.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from coordinator import events as ev, refill as refill_module
from coordinator.limits import LEASE_GRACE_S, LEASE_S
from coordinator.metrics import Metrics
from coordinator.operations import QUEUE_ENDS_MIN, Operations
from coordinator.pricing import Rules
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Limits, Sample
from coordinator.refill import refill
from coordinator.store.interface import Reader, StoreError
from coordinator.store.values import Attempt, AttemptState, Output
from coordinator.verifier import BLOCKS_PER_HOP_MAX, HELP_AFTER_S, Verifier
from coordinator.writer import Writer, run_inline
from onchain.amounts import UNITS
from tests.build import NOW_MS, Market, answer, command_spec, montecarlo_spec
from tests.store_values import a_job, assigned, post, submit


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
    made.verifier = Verifier(
        tell=made.writer.tell,
        run_thread=trio.to_thread.run_sync,
        random_bytes=bytes,
        open_blob=lambda digest: memoryview(Path(digest.hex()).read_bytes()),
        workers=1,
    )
    return made


async def _refilled(
    market: Market, made: Operations, between: Callable[[], object] = lambda: None
) -> None:
    """Refill `made`; `between` happens after a page was read and before it is used."""

    async def read(function: Callable[[Reader], Any]) -> Any:
        page = function(market.reader)
        between()
        return page

    await refill(made, read)


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


async def test_the_end_of_an_earlier_wait_says_nothing_about_a_job_that_waits_anew() -> None:
    market, clock = Market(), HandClock()
    made = operations(market, clock)
    job = market.queued()
    made.carry_out([ev.JobQueued(job)])
    later = replace(job, not_before_ms=NOW_MS + 3_600_000)
    made.carry_out([ev.JobQueued(later)])

    clock.now_ms += 24 * 3_600_000
    made._end_queued(clock.now_ms)
    assert len(made.writer) == 0
    clock.now_ms += 3_600_000
    made._end_queued(clock.now_ms)
    assert len(made.writer) == 1
    market.close()


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(queue_s=60, total_s=90), "queue_timeout"),
        (Limits(queue_s=90, total_s=60), "total_timeout"),
    ],
)
async def test_whichever_time_ends_first_ends_a_job_that_waits(limits: Limits, code: str) -> None:
    market, clock = Market(), HandClock()
    made = operations(market, clock)
    job = market.queued(montecarlo_spec(limits=limits))
    made.carry_out([ev.JobQueued(job)])

    clock.now_ms += 59_999
    made._end_queued(clock.now_ms)
    assert len(made.writer) == 0
    clock.now_ms += 1
    made._end_queued(clock.now_ms)
    await made.writer.flush()

    assert market.job(job).code == code
    market.close()


@pytest.mark.parametrize("spec", [montecarlo_spec(limits=Limits(total_s=60)),
                                  command_spec(execution_s=300, total_s=60)])  # fmt: skip
async def test_the_total_time_ends_a_job_that_is_out_before_its_own_limit_does(
    spec: bytes,
) -> None:
    market, clock = Market(), HandClock()
    made = operations(market, clock)
    job = market.queued(spec, 10 * UNITS)
    clock.now_ms += 30_000
    market.now_ms = clock.now_ms
    made.carry_out([ev.JobSent(market.assign(job))])
    made.registry.connect(market.node.id, clock.monotonic())

    for seconds in (29, 1):
        assert len(made.writer) == 0
        clock.now_ms += 1000 * seconds
        made.registry.hear(market.node.id, clock.monotonic())
        made._end_leases(clock.monotonic())
    await made.writer.flush()

    assert (market.job(job).state, market.job(job).code) == ("failed", "total_timeout")
    market.close()


async def test_after_a_restart_a_wait_goes_on_and_what_ended_meanwhile_has_a_lease_more() -> None:
    market, clock = Market(), HandClock()
    short = market.queued(montecarlo_spec(limits=Limits(queue_s=60)), key="short")
    long = market.queued(montecarlo_spec(limits=Limits(queue_s=7200)), key="long")
    clock.now_ms += 3_600_000
    made = operations(market, clock)
    made.restore(market.reader)
    await _refilled(market, made)

    lease_ms = int(1000 * (LEASE_S + LEASE_GRACE_S))
    assert made.scheduler.until_ms(short.id) == clock.now_ms + lease_ms
    assert made.scheduler.until_ms(long.id) == NOW_MS + 7_200_000
    clock.now_ms += lease_ms
    made._end_queued(clock.now_ms)
    await made.writer.flush()
    assert (market.job(short).code, market.job(long).code) == ("queue_timeout", "")
    market.close()


async def test_a_clock_that_was_set_back_before_a_restart_gives_no_more_than_the_whole_time() -> (
    None
):
    market, clock = Market(), HandClock()
    job = market.queued(montecarlo_spec(limits=Limits(queue_s=60)))
    clock.now_ms -= 3 * 24 * 3_600_000
    made = operations(market, clock)
    made.restore(market.reader)
    await _refilled(market, made)

    assert made.scheduler.until_ms(job.id) == clock.now_ms + 60_000
    market.close()


async def test_after_a_restart_an_attempt_has_a_whole_lease_to_be_told_of_its_end() -> None:
    market, clock = Market(), HandClock()
    job = market.assign(market.queued(command_spec(execution_s=1), UNITS))
    clock.now_ms += 3_600_000
    made = operations(market, clock)
    made.restore(market.reader)

    made._end_leases(clock.monotonic() + LEASE_S)
    assert len(made.writer) == 0
    made._end_leases(clock.monotonic() + LEASE_S + LEASE_GRACE_S)
    await made.writer.flush()
    assert market.job(job).code in {"execution_timeout", "lease_lost"}
    market.close()


async def test_after_a_restart_every_waiting_job_comes_back_and_an_attempt_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refill_module, "READ_ROWS_MAX", 2)
    market, clock = Market(), HandClock()
    jobs = [market.queued(key=f"key {number}") for number in range(5)]
    market.assign(jobs[1])
    assert market.ask(answer(market.assign(jobs[3]))) == "accepted"
    made = operations(market, clock)
    made.restore(market.reader)
    assert len(made.scheduler) == 0

    await _refilled(market, made)

    waiting = [job.id for job in jobs if made.scheduler.waits(job.id)]
    assert waiting == [jobs[0].id, jobs[2].id, jobs[4].id]
    assert [due.job for due in made.verifier._due] == [market.job(jobs[3])]
    assert made.verifier._due[0].outputs
    assert made.moved is None
    market.close()


async def test_a_job_that_moves_while_the_queue_comes_back_is_left_to_its_effects() -> None:
    market, clock = Market(), HandClock()
    stays, goes = market.queued(key="a"), market.queued(key="b")
    made = operations(market, clock)
    made.restore(market.reader)

    await _refilled(market, made, lambda: made.carry_out([ev.JobSent(market.assign(goes))]))

    assert made.scheduler.waits(stays.id)
    assert not made.scheduler.waits(goes.id), "the page was older than the effect"
    market.close()


async def test_jobs_of_a_kind_that_this_version_does_not_know_end_and_the_house_goes_on() -> None:
    market, clock = Market(), HandClock()
    with market.store.batch() as batch:
        pairs = [submit(batch), submit(batch)]
        post(batch, [transfer for _, transfer in pairs])
    waits, out = (job for job, _ in pairs)
    with market.store.batch() as batch:
        assert batch.save_job(assigned(out, market.node.id), was=out)
        batch.add_attempt(Attempt(out.id, 1, market.node.id, AttemptState.OPEN, NOW_MS))
    known = market.queued()
    made = operations(market, clock)

    made.restore(market.reader)
    await _refilled(market, made)
    for _ in range(3):
        await made.writer.flush()

    assert made.scheduler.waits(known.id)
    for job in (waits, out):
        ended = market.job(job)
        assert (ended.state, ended.code, ended.paid) == ("failed", "unknown_kind", 0)
    market.close()


async def test_a_queue_that_cannot_be_read_is_read_again(autojump_clock: MockClock) -> None:
    market, clock = Market(), HandClock()
    job = market.queued()
    made = operations(market, clock)
    made.restore(market.reader)
    answers: list[Exception | None] = [StoreError("disk I/O error"), None]

    async def read(function: Callable[[Reader], Any]) -> Any:
        error = answers.pop(0)
        if error is not None:
            raise error
        return function(market.reader)

    await refill(made, read)

    assert made.scheduler.waits(job.id)
    market.close()


async def test_a_lost_lease_is_told_once_however_long_the_store_takes() -> None:
    market, clock = Market(), HandClock()
    made = operations(market, clock)
    made.carry_out([ev.JobSent(market.assign(market.queued()))])

    for second in range(600):
        made._end_leases(clock.monotonic() + LEASE_S + LEASE_GRACE_S + second)

    assert len(made.writer) <= 2
    market.close()


async def test_a_result_whose_blob_is_gone_is_unreadable_and_not_rejected(tmp_path: Path) -> None:
    told: list[ev.Event] = []
    verifier = Verifier(
        tell=told.append,
        run_thread=run_inline,
        random_bytes=bytes,
        open_blob=lambda digest: memoryview((tmp_path / digest.hex()).read_bytes()),
        workers=1,
    )
    job = a_job(1, kind="montecarlo", spec=montecarlo_spec())
    gone = Output(1, 1, 0, "float64", (1024,), b"", bytes(32), 8192)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(verifier.run)
        verifier.add(ev.VerificationDue(job, (gone,), bytes(32)))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert told == [ev.VerdictReached(1, job.fence, "unreadable", "", bytes(32))]


#: As many blocks of it are checked as a hop has room for.
THOROUGH = montecarlo_spec(verify=Sample(rate=0.0, floor=BLOCKS_PER_HOP_MAX))


async def test_every_worker_of_the_verifier_hears_of_new_results(
    autojump_clock: MockClock,
) -> None:
    asked: list[int] = []
    running, most = 0, 0

    async def run_thread(
        call: Callable[[], list[ev.VerdictReached]],
    ) -> list[ev.VerdictReached]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asked.append(len(asked))
        # Longer than a short check: a second worker is wanted.
        await trio.sleep(10 * HELP_AFTER_S)
        running -= 1
        return []

    verifier = Verifier(
        tell=lambda _: None,
        run_thread=run_thread,
        random_bytes=bytes,
        open_blob=lambda digest: memoryview(Path(digest.hex()).read_bytes()),
        workers=2,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(verifier.run)
        for _ in range(3):
            # Two results of many blocks: one hop each, and so one worker each.
            for number in (1, 2):
                job = a_job(number, kind="montecarlo", spec=THOROUGH)
                verifier.add(ev.VerificationDue(job, (), bytes(32)))
            await trio.sleep(1.0)
        nursery.cancel_scope.cancel()

    assert (len(asked), most) == (6, 2)


class Connected:
    """An agent that is there and answers nothing."""

    def drain(self, seconds: int) -> None:
        self.told_s = seconds


@pytest.mark.parametrize(
    ("is_halted", "is_there", "took_s"), [(False, True, 25), (True, True, 0), (False, False, 0)]
)
async def test_a_drain_waits_for_nothing_that_cannot_end(
    autojump_clock: MockClock, is_halted: bool, is_there: bool, took_s: int
) -> None:
    """An attempt is out: its result is applied by no halted writer, and comes from nobody away."""
    market, clock = Market(), HandClock()
    made = operations(market, clock)
    job = market.queued(key="a")
    made.carry_out([ev.JobQueued(job)])
    made.carry_out([ev.JobSent(market.assign(job))])
    assert made.attempts_open == 1
    if is_halted:
        made.writer.halt(Refusal("read_only"))
    if is_there:
        made.agents[market.node.id] = cast(Any, Connected())

    began = trio.current_time()
    await made.drain(25.0)

    assert took_s <= trio.current_time() - began < took_s + 1
    market.close()
