"""The life of a job: every state with every event, and what follows a failure."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from coordinator import jobs
from coordinator.jobs import (
    Accepted,
    Assigned,
    Cancelled,
    Exhausted,
    IllegalTransition,
    Requeued,
    ResultReceived,
    Started,
)
from coordinator.limits import (
    ATTEMPTS_MAX,
    BACKOFF_FIRST_MS,
    BACKOFF_MAX_MS,
    LOST_ATTEMPTS_MAX,
)
from coordinator.store.values import Job, JobState as S
from tests.store_values import NOW_MS, a_job

EVENTS: dict[type[Any], Any] = {
    Assigned: Assigned(NOW_MS, node=7),
    Started: Started(NOW_MS),
    ResultReceived: ResultReceived(NOW_MS),
    Accepted: Accepted(NOW_MS, paid=900, fee=22),
    Requeued: Requeued(NOW_MS, code="lease_lost", not_before_ms=NOW_MS + 500),
    Exhausted: Exhausted(NOW_MS, code="rejected", detail="block 3", paid=5, fee=1),
    Cancelled: Cancelled(NOW_MS, paid=5, fee=1, code="execution_timeout"),
}
#: The table as a drawing: a row a state, a column an event; a dot is refused.
DRAWING = """
            Assigned  Started  ResultReceived  Accepted   Requeued  Exhausted  Cancelled
queued      assigned  .        verifying       .          .         failed     cancelled
assigned    .         running  verifying       .          queued    failed     cancelled
running     .         running  verifying       .          queued    failed     cancelled
verifying   .         .        .               completed  queued    failed     .
completed   .         .        .               .          .         .          .
failed      .         .        .               .          .         .          .
cancelled   .         .        .               .          .         .          .
"""


def drawn() -> dict[tuple[str, str], str]:
    head, *rows = (line.split() for line in DRAWING.strip().splitlines())
    return {
        (row[0], event): state for row in rows for event, state in zip(head, row[1:], strict=True)
    }


def in_state(state: S) -> Job:
    job = a_job(1, state=state)
    if state is not S.QUEUED:
        job = replace(job, fence=3, node=5, assigned_ms=NOW_MS - 10, failures=2)
    return job


@pytest.mark.parametrize(("state", "event"), list(product(S, EVENTS)), ids=str)
def test_each_event_leads_where_the_drawing_says_or_nowhere(state: S, event: type[Any]) -> None:
    expected = drawn()[state.value, event.__name__]
    job, before = in_state(state), in_state(state)

    if expected == ".":
        with pytest.raises(IllegalTransition, match=f"is {state}: .*{event.__name__}"):
            jobs.advance(job, EVENTS[event])
    else:
        assert jobs.advance(job, EVENTS[event]).state == expected

    assert job == before


def test_the_drawing_has_every_state_and_every_event() -> None:
    assert set(drawn()) == {(state.value, event.__name__) for state in S for event in EVENTS}


def test_final_states_accept_nothing_and_leased_ones_are_those_that_an_agent_holds() -> None:
    assert {S.COMPLETED, S.FAILED, S.CANCELLED} == jobs.FINAL
    assert {S.ASSIGNED, S.RUNNING} == jobs.LEASED


@pytest.mark.parametrize(
    ("state", "event", "changes"),
    [
        (S.QUEUED, Assigned, {"fence": 1, "node": 7, "assigned_ms": NOW_MS}),
        (S.ASSIGNED, Started, {}),
        (S.RUNNING, ResultReceived, {}),
        (S.VERIFYING, Accepted, {"finished_ms": NOW_MS, "paid": 900, "fee": 22}),
        (
            S.RUNNING,
            Requeued,
            {"losses": 1, "not_before_ms": NOW_MS + 500, "code": "lease_lost"},
        ),
        (
            S.VERIFYING,
            Exhausted,
            {"finished_ms": NOW_MS, "code": "rejected", "detail": "block 3", "paid": 5, "fee": 1},
        ),
        (
            S.RUNNING,
            Cancelled,
            {"finished_ms": NOW_MS, "code": "execution_timeout", "paid": 5, "fee": 1},
        ),
    ],
    ids=str,
)
def test_an_event_changes_its_own_fields_and_no_others(
    state: S, event: type[Any], changes: dict[str, Any]
) -> None:
    job = in_state(state)

    after = jobs.advance(job, EVENTS[event])

    assert after == replace(job, state=after.state, **changes)


@given(st.lists(st.sampled_from(sorted(EVENTS, key=str)), max_size=30))
def test_on_any_walk_the_fence_never_falls_and_the_end_is_the_end(walk: list[type[Any]]) -> None:
    lives = [a_job(1)]
    for event in walk:
        try:
            lives.append(jobs.advance(lives[-1], EVENTS[event]))
        except IllegalTransition:
            continue

    for before, after in pairwise(lives):
        grew = after.fence - before.fence
        assert grew == (after.state is S.ASSIGNED)
        assert before.state not in jobs.FINAL
    assert (lives[-1].finished_ms > 0) == (lives[-1].state in jobs.FINAL)


# ---- after a failure --------------------------------------------------------------------------


@pytest.mark.parametrize("retries", range(ATTEMPTS_MAX))
def test_a_job_gets_one_attempt_and_its_retries_and_not_one_more(retries: int) -> None:
    job, attempts = a_job(1), 0
    while job.state is S.QUEUED:
        job = jobs.advance(job, EVENTS[Assigned])
        attempts += 1
        job = jobs.advance(job, jobs.after_failure(job, retries, NOW_MS, "agent_error", "why"))

    assert attempts == retries + 1
    assert (job.state, job.code, job.detail) == (S.FAILED, "agent_error", "why")
    assert job.paid == 0


def test_the_wait_doubles_from_the_first_bound_to_the_last() -> None:
    waits = []
    for failures in range(ATTEMPTS_MAX):
        job = a_job(1, failures=failures - failures // 2, losses=failures // 2)
        then = jobs.after_failure(job, 10, NOW_MS, "lease_lost")
        assert isinstance(then, Requeued)
        waits.append(then.not_before_ms - NOW_MS)

    assert waits[0] == BACKOFF_FIRST_MS
    assert waits[-1] == BACKOFF_MAX_MS
    assert all(after == min(2 * before, BACKOFF_MAX_MS) for before, after in pairwise(waits))


@pytest.mark.parametrize("code", ["lease_lost", "abandoned"])
@pytest.mark.parametrize(
    ("retries", "attempts"),
    [(0, 1), (1, LOST_ATTEMPTS_MAX), (2, LOST_ATTEMPTS_MAX), (ATTEMPTS_MAX - 1, ATTEMPTS_MAX)],
)
def test_agents_that_are_lost_end_a_job_later_than_its_own_failures_do(
    retries: int, attempts: int, code: str
) -> None:
    job, made = a_job(1), 0
    while job.state is S.QUEUED:
        job = jobs.advance(job, EVENTS[Assigned])
        made += 1
        job = jobs.advance(job, jobs.after_failure(job, retries, NOW_MS, code))

    assert (made, job.state, job.code) == (attempts, S.FAILED, code)


def test_lost_agents_do_not_use_up_a_jobs_retries() -> None:
    job = a_job(1, losses=LOST_ATTEMPTS_MAX - 1, failures=1)

    assert isinstance(jobs.after_failure(job, 2, NOW_MS, "agent_error"), Requeued)
    assert isinstance(jobs.after_failure(job, 1, NOW_MS, "agent_error"), Exhausted)
