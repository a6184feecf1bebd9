"""Group commit: one transaction for whoever waits, and an answer that means: it is on the disk."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from coordinator import events as ev
from coordinator.engine import Engine
from coordinator.limits import BATCH_EVENTS_MAX, QUEUE_EVENTS_MAX
from coordinator.protocol.errors import Refusal
from coordinator.store.interface import StoreError
from coordinator.store.values import JobState
from coordinator.writer import STORE_RETRY_S, StoreThread, Writer, run_inline
from tests.build import ALICE, NOW_MS, OPERATOR, Market, answer, montecarlo_spec, wish

EXPIRY = ev.ExpiryDue()


class StillClock:
    def wall_ms(self) -> int:
        return NOW_MS

    def monotonic(self) -> float:
        return 0.0


class WatchedEngine(Engine):
    """Notes the size of each batch; fails as often as it is told to."""

    def __init__(self, market: Market) -> None:
        super().__init__(market.store, market.house)
        self.batches: list[int] = []
        self.failures = 0

    def apply(
        self, events: Sequence[ev.Event], now_ms: int
    ) -> tuple[list[ev.Outcome], list[ev.Effect]]:
        self.batches.append(len(events))
        if self.failures:
            self.failures -= 1
            msg = "disk full"
            raise StoreError(msg)
        return super().apply(events, now_ms)


class Desk:
    """A writer at work over a market."""

    def __init__(self, market: Market, run_sync: Callable[..., Any] = run_inline) -> None:
        self.market = market
        self.engine = WatchedEngine(market)
        #: What happened, in order: answers by name, effects by type.
        self.story: list[str] = []
        self.effects: list[ev.Effect] = []
        self.writer = Writer(self.engine, StillClock(), run_sync, self._carry_out)

    def _carry_out(self, effects: Sequence[ev.Effect]) -> None:
        self.effects += effects
        self.story += [type(effect).__name__ for effect in effects]

    def note(self, name: str) -> Callable[[ev.Outcome], None]:
        def then(result: ev.Outcome) -> None:
            self.story.append(f"{name}:{result.refusal.code if result.refusal else 'ok'}")

        return then


@pytest.fixture
def market() -> Any:
    made = Market()
    yield made
    made.close()


@pytest.fixture
async def desk(market: Market, nursery: trio.Nursery) -> AsyncIterator[Desk]:
    made = Desk(market)
    yield made
    nursery.cancel_scope.cancel()


async def settle(desk: Desk, nursery: trio.Nursery) -> None:
    """Run the writer until it has nothing more to do."""
    nursery.start_soon(desk.writer.run)
    await wait_all_tasks_blocked()


async def ask(desk: Desk, event: ev.Event, answers: list[Any]) -> None:
    try:
        answers.append(await desk.writer.ask(event))
    except Refusal as refusal:
        answers.append(refusal.code)


def submission(key: str) -> ev.JobsSubmitted:
    return ev.JobsSubmitted(ALICE.address, (wish(key, montecarlo_spec(), 10_000),))


# ---- batches ----------------------------------------------------------------------------------


async def test_what_is_queued_together_is_committed_together(
    desk: Desk, nursery: trio.Nursery
) -> None:
    answers: list[Any] = []
    for number in range(50):
        nursery.start_soon(ask, desk, submission(f"k{number}"), answers)
    await wait_all_tasks_blocked()
    assert len(desk.writer) == 50

    await settle(desk, nursery)

    assert desk.engine.batches == [50]
    assert len({job.id for (job,) in answers}) == 50


async def test_on_a_quiet_system_an_event_is_committed_alone_and_at_once(
    desk: Desk, nursery: trio.Nursery
) -> None:
    await settle(desk, nursery)
    for number in range(3):
        await desk.writer.ask(submission(f"k{number}"))

    assert desk.engine.batches == [1, 1, 1]


async def test_a_batch_is_bounded_and_nothing_is_left_behind(
    desk: Desk, nursery: trio.Nursery
) -> None:
    for _ in range(2 * BATCH_EVENTS_MAX + 1):
        desk.writer.tell(EXPIRY)

    await settle(desk, nursery)

    assert desk.engine.batches == [BATCH_EVENTS_MAX, BATCH_EVENTS_MAX, 1]
    assert len(desk.writer) == 0


async def test_an_empty_queue_is_not_committed(desk: Desk) -> None:
    await desk.writer.flush()

    assert desk.engine.batches == []


# ---- answers ----------------------------------------------------------------------------------


async def test_a_refusal_reaches_who_asked_and_nobody_else(
    desk: Desk, nursery: trio.Nursery
) -> None:
    answers: list[Any] = []
    nursery.start_soon(ask, desk, ev.CancelAsked(ALICE.address, 77), answers)
    nursery.start_soon(ask, desk, EXPIRY, answers)

    await settle(desk, nursery)

    assert sorted(answers, key=str) == [0, "not_found"]


async def test_answers_come_in_order_and_before_the_effects(
    desk: Desk, nursery: trio.Nursery
) -> None:
    desk.writer.tell(submission("a"), desk.note("a"))
    desk.writer.tell(ev.CancelAsked(OPERATOR.address, 1), desk.note("b"))
    desk.writer.tell(submission("c"), desk.note("c"))

    await settle(desk, nursery)

    assert desk.story == ["a:ok", "b:not_found", "c:ok", "JobQueued", "JobQueued"]


async def test_who_watches_a_job_from_its_answer_on_misses_no_change_of_it(
    desk: Desk, market: Market, nursery: trio.Nursery
) -> None:
    """A submitter that came back submits again; its job ends in the same batch, right after."""
    job = market.verifying()
    again = ev.JobsSubmitted(ALICE.address, (wish("k", montecarlo_spec(), job.budget),))
    watched: list[str] = []
    seen: list[str] = []

    def watch(answers: Any) -> None:
        watched.append(answers[0].state)
        seen.extend(
            effect.job.state for effect in desk.effects if isinstance(effect, ev.JobChanged)
        )

    nursery.start_soon(lambda: desk.writer.ask(again, on_value=watch))
    await wait_all_tasks_blocked()
    desk.writer.tell(ev.VerdictReached(job.id, job.fence, "accepted", "", bytes(32)))
    await settle(desk, nursery)

    assert (desk.engine.batches, watched, seen) == ([2], [JobState.VERIFYING], [])
    assert [e.job.state for e in desk.effects if isinstance(e, ev.JobChanged)] == ["completed"]


async def test_a_value_is_handed_over_at_the_commit_and_before_any_later_batch(
    desk: Desk, nursery: trio.Nursery
) -> None:
    values: list[int] = []

    def on_value(answers: Any) -> None:
        values.append(len(desk.engine.batches))
        desk.writer.tell(EXPIRY)

    nursery.start_soon(lambda: desk.writer.ask(submission("a"), on_value=on_value))
    await wait_all_tasks_blocked()
    await settle(desk, nursery)

    assert values == [1]
    assert desk.engine.batches == [1, 1]


async def test_a_refused_event_has_no_value_to_hand_over(desk: Desk, nursery: trio.Nursery) -> None:
    values: list[Any] = []
    nursery.start_soon(desk.writer.run)

    with pytest.raises(Refusal, match="not_found"):
        await desk.writer.ask(ev.CancelAsked(ALICE.address, 77), on_value=values.append)

    assert values == []


async def test_a_caller_that_is_cancelled_changes_nothing(
    desk: Desk, market: Market, nursery: trio.Nursery
) -> None:
    handed: list[Any] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await desk.writer.ask(submission("a"), on_value=handed.append)
    assert scope.cancelled_caught

    await settle(desk, nursery)

    assert [job.key for job in market.reader.open_jobs()] == ["a"]
    assert len(handed) == 1
    assert desk.story == ["JobQueued"]


async def test_past_the_bound_who_asks_hears_busy_and_who_waits_for_room_waits(
    desk: Desk, nursery: trio.Nursery
) -> None:
    for _ in range(QUEUE_EVENTS_MAX):
        desk.writer.tell(EXPIRY)
    went_on = trio.Event()

    async def feed() -> None:
        await desk.writer.room()
        went_on.set()

    nursery.start_soon(feed)
    await wait_all_tasks_blocked()
    with pytest.raises(Refusal, match="busy"):
        await desk.writer.ask(EXPIRY)
    assert not went_on.is_set()

    await desk.writer.flush()
    await wait_all_tasks_blocked()
    assert went_on.is_set()
    assert len(desk.writer) == QUEUE_EVENTS_MAX - BATCH_EVENTS_MAX


# ---- a store that fails -----------------------------------------------------------------------


async def test_while_the_store_fails_who_asks_hears_so_and_what_is_told_is_tried_again(
    desk: Desk, market: Market, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    job = market.verifying()
    answers: list[Any] = []
    nursery.start_soon(ask, desk, submission("a"), answers)
    await wait_all_tasks_blocked()
    desk.writer.tell(ev.VerdictReached(job.id, job.fence, "accepted", "", bytes(32)))
    desk.writer.tell(ev.CancelAsked(ALICE.address, 77), desk.note("asked"))
    desk.engine.failures = 3
    began = trio.current_time()

    await desk.writer.flush()
    assert (answers, desk.story, len(desk.writer)) == (["unavailable"], ["asked:unavailable"], 1)
    assert desk.writer.failure == "disk full"
    assert trio.current_time() - began == pytest.approx(STORE_RETRY_S)

    nursery.start_soon(desk.writer.run)
    await trio.sleep(3 * STORE_RETRY_S)

    assert desk.engine.batches == [3, 1, 1, 1]
    assert desk.writer.failure == ""
    assert market.job(job).state is JobState.COMPLETED
    assert [each.key for each in market.reader.open_jobs()] == []


async def test_what_is_tried_again_keeps_its_order(
    desk: Desk, market: Market, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    job = market.assigned()
    desk.writer.tell(ev.AttemptStarted(job.id, job.fence, job.node))
    desk.writer.tell(answer(job))
    desk.writer.tell(ev.VerdictReached(job.id, job.fence, "accepted", "", bytes(32)))
    desk.engine.failures = 1

    await desk.writer.flush()
    desk.writer.tell(EXPIRY)
    await desk.writer.flush()

    assert desk.engine.batches == [3, 4]
    assert market.job(job).state is JobState.COMPLETED


async def test_of_a_batch_that_failed_half_way_what_was_kept_is_told_and_the_rest_is_not(
    market: Market, autojump_clock: MockClock
) -> None:
    """A poisonous event has its batch tried one by one; then the disk is full."""
    desk = Desk(market)
    desk.engine = _FailingEngine(market, fail_at=4)
    desk.writer = Writer(desk.engine, StillClock(), run_inline, desk._carry_out)
    desk.writer.tell(submission("kept"), desk.note("kept"))
    desk.writer.tell(_Poison(), desk.note("poison"))
    desk.writer.tell(submission("lost"), desk.note("lost"))
    desk.writer.tell(EXPIRY)

    await desk.writer.flush()

    assert desk.story == ["kept:ok", "poison:internal", "JobQueued", "lost:unavailable"]
    assert [each.key for each in market.reader.open_jobs()] == ["kept"]
    assert len(desk.writer) == 1


class _Poison(ev.Event, frozen=True):
    """No handler knows it: a mistake of ours."""


class _FailingEngine(WatchedEngine):
    """The store fails at the n-th transaction, those of single events included."""

    def __init__(self, market: Market, fail_at: int) -> None:
        super().__init__(market)
        self._left = fail_at

    def _transact(
        self, events: Sequence[ev.Event], now_ms: int
    ) -> tuple[list[ev.Outcome], list[ev.Effect]]:
        self._left -= 1
        if not self._left:
            msg = "disk full"
            raise StoreError(msg)
        return super()._transact(events, now_ms)


# ---- threads ----------------------------------------------------------------------------------


async def test_a_commit_that_has_begun_is_carried_out_though_the_writer_is_cancelled(
    market: Market,
) -> None:
    entered, go_on = trio.Event(), trio.Event()

    async def slow(function: Callable[[], Any]) -> Any:
        entered.set()
        await go_on.wait()
        return function()

    desk = Desk(market, slow)
    desk.writer.tell(submission("a"), desk.note("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.writer.run)
        await entered.wait()
        nursery.cancel_scope.cancel()
        go_on.set()

    assert desk.story == ["a:ok", "JobQueued"]


async def test_the_stores_thread_is_one_and_tells_what_came_of_each_call() -> None:
    thread = StoreThread()
    try:
        names = {await thread.run(threading.get_ident) for _ in range(3)}
        assert len(names) == 1
        assert names != {threading.get_ident()}
        with pytest.raises(ZeroDivisionError):
            await thread.run(lambda: 1 // 0)
    finally:
        thread.close()


async def test_a_cancelled_caller_of_the_thread_waits_for_what_it_began() -> None:
    thread = StoreThread()
    done: list[int] = []
    try:
        with trio.move_on_after(0) as scope:
            await thread.run(lambda: done.append(1))
        assert done == [1]
        assert not scope.cancelled_caught
    finally:
        thread.close()
