"""The short cuts between scheduler and rows: a commit saved, and never a place lost or given twice.

Each test ends with the same question: how many jobs does the node take after all that?
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from coordinator import events as ev
from coordinator.matching import Matching
from coordinator.metrics import Metrics
from coordinator.protocol.errors import Refusal
from coordinator.scheduler import Capability, Demand, DeviceKind, Scheduler, Waiting
from coordinator.store.values import Job, JobState
from onchain.amounts import UNITS
from tests.build import ALICE, NOW_MS, OPERATOR, Market, montecarlo_spec, wish
from tests.store_values import a_job

NODE, OTHER = 1, 2
WINDOW = 4
SEARCH = Demand("hashsearch", is_timed=False, gpu=False, vram_gib=0, sandbox=0)
COMMAND = Demand("command", is_timed=True, gpu=False, vram_gib=0, sandbox=0)
CAPABILITY = Capability(
    kinds=frozenset({"hashsearch", "command"}),
    has_gpu=False,
    vram_gib=0,
    sandbox=0,
    worker_sandbox=0,
    slots=2,
    window=WINDOW,
)


class StillClock:
    """Time stands still."""

    def wall_ms(self) -> int:
        return NOW_MS

    def monotonic(self) -> float:
        return 0.0


class Bench:
    """A matching with one node, and what it told the writer."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.matching = Matching(
            self.scheduler, StillClock(), Metrics(version="test"), self.scheduler.add
        )
        self.matching.set_node(NODE, CAPABILITY, 0)

    def wait(self, *jobs: int) -> None:
        for job in jobs:
            self.scheduler.add(Waiting(job, ALICE.address, SEARCH), NOW_MS)

    def match(self, outcome: ev.Outcome) -> list[tuple[int, int]]:
        """Match now; every assignment ends like this."""
        told: list[tuple[int, int]] = []

        def tell(event: ev.Event, then: Callable[[ev.Outcome], None]) -> None:
            assert isinstance(event, ev.JobMatched)
            told.append((event.job, event.node))
            then(outcome)

        self.matching.match(tell)
        return told

    def room(self) -> int:
        """Places that are left."""
        return sum(node != 0 for node in self.scheduler.place([SEARCH] * (WINDOW + 1)))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_places_are_given_while_there_is_room_and_nothing_waits(bench: Bench) -> None:
    assert bench.matching.place([SEARCH] * 6) == (NODE,) * WINDOW + (0, 0)

    bench.matching.free(NODE)
    bench.wait(7)
    assert bench.matching.place([SEARCH]) == (0,), "whoever came before has the turn"


def test_a_command_gets_an_idle_slot_only(bench: Bench) -> None:
    assert bench.matching.place([COMMAND] * 3) == (NODE, NODE, 0)


def test_places_go_to_the_least_loaded_node(bench: Bench) -> None:
    bench.matching.set_node(OTHER, CAPABILITY, 2)

    assert bench.matching.place([SEARCH] * 4) == (NODE, NODE, OTHER, NODE)


def test_places_of_a_refused_submission_are_free_again(bench: Bench) -> None:
    nodes = bench.matching.place([SEARCH] * 3)
    bench.matching.note_placed(nodes, is_kept=False)

    assert bench.room() == WINDOW


def test_places_of_a_submission_on_its_way_count_for_a_node_that_comes_back(bench: Bench) -> None:
    nodes = bench.matching.place([SEARCH] * 3)
    bench.matching.drop_node(NODE)
    bench.matching.set_node(NODE, CAPABILITY, 0)

    assert bench.room() == WINDOW - 3
    bench.matching.note_placed(nodes, is_kept=True)


def test_an_answer_frees_its_place_once(bench: Bench) -> None:
    nodes = bench.matching.place([SEARCH] * WINDOW)
    bench.matching.note_placed(nodes, is_kept=True)
    bench.matching.note_answer(NODE, (1, 1))
    bench.matching.note_answer(NODE, (1, 1))
    bench.matching.end(NODE, (1, 1))

    assert bench.room() == 1


def test_an_answer_that_was_lost_with_its_connection_frees_its_place_at_the_end(
    bench: Bench,
) -> None:
    bench.matching.note_answer(NODE, (1, 1))
    bench.matching.drop_node(NODE)
    bench.matching.set_node(NODE, CAPABILITY, attempts=1)
    assert bench.room() == WINDOW - 1
    bench.matching.set_node(NODE, CAPABILITY, attempts=1)

    bench.matching.end(NODE, (1, 1))
    assert bench.room() == 1 + WINDOW - 1


@pytest.mark.parametrize(
    ("outcome", "left", "waits"),
    [
        (ev.Outcome(a_job(5)), WINDOW - 1, False),
        (ev.Outcome(None), WINDOW, False),
        (ev.Outcome(refusal=Refusal("unavailable")), WINDOW, True),
    ],
    ids=["assigned", "too late", "not written"],
)
def test_a_match_keeps_its_place_only_if_the_job_was_assigned(
    bench: Bench, outcome: ev.Outcome, left: int, *, waits: bool
) -> None:
    bench.wait(5)

    assert bench.match(outcome) == [(5, NODE)]
    assert bench.scheduler.waits(5) is waits
    bench.scheduler.remove(5)
    assert bench.room() == left


# ---- the same in the engine -------------------------------------------------------------------


@pytest.fixture
def market() -> Iterator[Market]:
    made = Market()
    yield made
    made.close()


def submit(market: Market, *wishes: ev.Wish) -> list[Job | Refusal]:
    nodes = (market.node.id,) * len(wishes)
    answers: list[Job | Refusal] = market.ask(ev.JobsSubmitted(ALICE.address, wishes, nodes))
    return answers


def test_a_job_with_a_place_is_queued_and_assigned_in_one_transaction(market: Market) -> None:
    (job,) = submit(market, wish("a", montecarlo_spec(), 10_000))

    assert isinstance(job, Job)
    assert (job.state, job.node, job.fence) == (JobState.ASSIGNED, market.node.id, 1)
    assert market.job(job) == job
    assert [sent.job for sent in market.of(ev.JobSent)] == [job]
    assert not market.of(ev.JobQueued)
    assert not market.of(ev.PlaceFree)


def test_a_place_that_no_new_job_took_is_free_again(market: Market) -> None:
    spec = montecarlo_spec()
    first, again, conflict, poor = submit(
        market,
        wish("a", spec, 10_000),
        wish("a", spec, 10_000),
        wish("a", spec, 20_000),
        wish("b", spec, 10**6 * UNITS),
    )

    assert isinstance(first, Job)
    assert again is first or again == first
    assert isinstance(conflict, Refusal)
    assert isinstance(poor, Refusal)
    assert (conflict.code, poor.code) == ("key_conflict", "insufficient_credit")
    assert [each.node for each in market.of(ev.PlaceFree)] == [market.node.id] * 3


def test_a_place_at_a_node_that_was_revoked_meanwhile_is_not_taken(market: Market) -> None:
    market.ask(ev.NodeRevoked(OPERATOR.address, market.node.id))

    (job,) = submit(market, wish("a", montecarlo_spec(), 10_000))

    assert isinstance(job, Job)
    assert job.state is JobState.QUEUED
    assert [each.job for each in market.of(ev.JobQueued)] == [job]
    assert [each.node for each in market.of(ev.PlaceFree)] == [market.node.id]


def test_a_job_that_was_matched_to_a_revoked_node_waits_again(market: Market) -> None:
    job = market.queued()
    market.ask(ev.NodeRevoked(OPERATOR.address, market.node.id))
    market.effects.clear()

    assert market.ask(ev.JobMatched(job.id, market.node.id)) is None
    assert [each.job for each in market.of(ev.JobQueued)] == [job]


def test_devices_that_differ_are_given_their_own_part_of_the_window() -> None:
    bench = Bench()
    devices = (DeviceKind(True, 24, 90, 1), DeviceKind(False, 0, 0, 3))
    mixed = msgspec.structs.replace(
        CAPABILITY, has_gpu=True, vram_gib=24, slots=4, window=8, devices=devices
    )
    bench.matching.set_node(NODE, mixed, 0)
    gpu = msgspec.structs.replace(SEARCH, gpu=True)

    assert bench.scheduler.place([gpu] * 5) == (NODE, NODE, 0, 0, 0)
