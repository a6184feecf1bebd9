from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.held import Held, Taken
from agent.places import Places
from agent.task import Task
from coordinator.protocol.messages import Attempt, Resumed


def task(name: str, fence: int = 1, kind: str = "matmul") -> Task:
    return Task(name, fence, kind, b"{}", 1.0, 16, 1)


def held(*names: str, slots: int = 1, window: int = 4) -> Held:
    table = Held(Places.alike(slots), window=window)
    for name in names:
        assert table.take(task(name)).is_held
    return table


def started(table: Held) -> str:
    """The job that starts now, if one does."""
    begun = table.start()
    return "" if begun is None else begun.job


def test_jobs_start_in_the_order_in_which_they_came() -> None:
    table = held("a", "b", slots=2)

    assert [started(table), started(table), started(table)] == ["a", "b", ""]


def test_the_same_attempt_again_is_nothing_new() -> None:
    table = held("a")

    assert table.take(task("a")) == Taken(is_held=False)
    table.start()
    assert table.take(task("a")) == Taken(is_held=False)
    table.finish(("a", 1))
    assert table.take(task("a")) == Taken(is_held=False)


@pytest.mark.parametrize(("starts", "stop"), [(False, None), (True, ("a", 1))])
def test_a_higher_fence_replaces_the_lower_one(starts: bool, stop: object) -> None:
    table = held("a")
    if starts:
        table.start()

    assert table.take(task("a", 2)) == Taken(is_held=True, stop=stop)  # type: ignore[arg-type]
    assert table.attempts() == [("a", 2)]


def test_a_command_goes_first() -> None:
    table = held("a", "b")
    assert table.take(task("x", kind="command")).is_held

    assert started(table) == "x"


def test_a_command_does_not_wait_for_a_slot() -> None:
    table = held("a")
    table.start()

    assert table.take(task("x", kind="command")) == Taken(is_held=False, code="abandoned")


def test_past_the_window_a_job_is_given_back() -> None:
    table = held("a", "b", "c", "d")

    assert table.take(task("e")) == Taken(is_held=False, code="abandoned")


def test_only_what_was_listed_and_is_not_kept_is_abandoned() -> None:
    table = held("a", "b", "c", "d", slots=2)
    table.start()
    table.start()
    table.finish(("b", 1))
    listed = [Attempt(name, 1) for name in "abc"]
    resumed = Resumed(keep=[Attempt("a", 1)])

    assert table.abandoned(resumed, listed) == [("c", 1)]


class HeldMachine(RuleBasedStateMachine):
    """Rules 1, 2 and 4, and: no more runs than places, those that are still ending included."""

    names = st.sampled_from("abcdef")
    kinds = st.sampled_from(["matmul", "command"])

    def __init__(self) -> None:
        super().__init__()
        self.table = Held(Places.alike(2), window=4)
        self.running: dict[str, int] = {}
        self.places: dict[str, int] = {}
        #: Places of tasks that were stopped and have not ended.
        self.ending: list[int] = []
        self.taken: set[tuple[str, int]] = set()

    @rule(name=names, fence=st.integers(1, 4), kind=kinds)
    def take(self, name: str, fence: int, kind: str) -> None:
        taken = self.table.take(task(name, fence, kind))
        if taken.stop is not None:
            assert self.running.pop(taken.stop[0]) == taken.stop[1] < fence
            self.ending.append(self.places.pop(taken.stop[0]))
        if taken.is_held:
            assert (name, fence) in self.table

    @rule()
    def start(self) -> None:
        started = self.table.start()
        if started is not None:
            assert started.job not in self.running
            self.running[started.job] = started.fence
            assert started.place is not None
            assert started.place not in {*self.places.values(), *self.ending}
            self.places[started.job] = started.place

    @rule()
    def end(self) -> None:
        if self.ending:
            self.table.places.release(self.ending.pop())

    @rule(name=names)
    def finish(self, name: str) -> None:
        if name in self.running:
            self.table.finish((name, self.running.pop(name)))
            self.table.places.release(self.places.pop(name))

    @rule(name=names, fence=st.integers(1, 4))
    def drop(self, name: str, fence: int) -> None:
        stopped = self.table.drop((name, fence))
        assert (stopped is not None) == (self.running.get(name) == fence)
        if stopped is not None:
            del self.running[name]
            self.ending.append(self.places.pop(name))

    @invariant()
    def bounds_hold(self) -> None:
        attempts = self.table.attempts()
        assert len({job for job, _ in attempts}) == len(attempts) == len(self.table) <= 4
        assert len(self.running) + len(self.ending) <= 2


TestHeld = HeldMachine.TestCase
TestHeld.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
