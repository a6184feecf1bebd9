"""A job's way: submission, attempt, result, verdict, end; and every refusal on it.

Each test ends with an audit of the whole store (`Market.close`): sums, holds, chain and counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator import events as ev
from coordinator.limits import BACKOFF_FIRST_MS, LOG_BYTES_MAX, OPEN_JOBS_PER_WALLET_MAX
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Limits, Unverified, hash_spec
from coordinator.store.values import AttemptState, Job, JobState as S, Output
from onchain.amounts import UNITS
from tests.build import (
    ALICE,
    BOB,
    CREDIT,
    NODE,
    NOW_MS,
    OPERATOR,
    Market,
    answer,
    command_spec,
    failure,
    montecarlo_spec,
    wish,
)

PRICE, FEE = 6601, 165
PAID = {"credit": -PRICE, "withheld": PRICE - FEE, "fees": FEE}
#: A command's price for a second.
SECOND = UNITS // 100


@pytest.fixture
def market() -> Iterator[Market]:
    made = Market()
    yield made
    made.close()


def code_of(answered: Job | Refusal) -> str:
    return answered.code if isinstance(answered, Refusal) else answered.state


def refused(market: Market, event: ev.Event) -> str:
    with pytest.raises(Refusal) as caught:
        market.ask(event)
    return caught.value.code


# ---- submission ---------------------------------------------------------------------------------


def test_a_submission_holds_its_budget_and_waits(market: Market) -> None:
    job = market.queued(budget=10_000)

    assert (job.state, job.price, job.paid, job.created_ms) == (S.QUEUED, PRICE, 0, NOW_MS)
    assert market.money() == {"credit": -10_000, "hold": 10_000}
    assert market.of(ev.JobQueued) == [ev.JobQueued(job)]
    assert market.job(job) == job


def test_the_bytes_of_a_specification_are_kept_as_they_came(market: Market) -> None:
    spec = montecarlo_spec() + b"\n "
    job = market.queued(spec)

    assert (market.job(job).spec, job.spec_hash) == (spec, hash_spec(spec))


def test_the_same_key_and_content_give_the_same_job_once_paid_for(market: Market) -> None:
    job = market.queued(budget=10_000)
    again = market.queued(budget=10_000)

    assert again == job
    assert market.money() == {"credit": -10_000, "hold": 10_000}
    assert len(market.of(ev.JobQueued)) == 1


def test_a_submission_repeated_at_the_end_gives_the_job_as_it_is_now(market: Market) -> None:
    job = market.judge(market.verifying(budget=10_000))
    again = market.queued(budget=10_000)

    assert (again, again.state) == (job, S.COMPLETED)
    assert market.money() == PAID


@pytest.mark.parametrize(
    "other",
    [wish("k", montecarlo_spec(seed=1), 10_000), wish("k", montecarlo_spec(), 10_001)],
    ids=["another specification", "another budget"],
)
@pytest.mark.parametrize("is_together", [False, True], ids=["later", "together"])
def test_the_same_key_with_other_content_is_a_conflict(
    market: Market, other: ev.Wish, *, is_together: bool
) -> None:
    first = wish("k", montecarlo_spec(), 10_000)
    if is_together:
        answers = market.submit(first, other, first)
    else:
        answers = [*market.submit(first), *market.submit(other), *market.submit(first)]

    assert [code_of(each) for each in answers] == ["queued", "key_conflict", "queued"]
    assert answers[0] == answers[2]
    assert market.money() == {"credit": -10_000, "hold": 10_000}


def test_two_submissions_of_one_key_in_one_batch_are_one_job(market: Market) -> None:
    one = ev.JobsSubmitted(ALICE.address, (wish("k", montecarlo_spec(), 10_000),))

    first, second = market.apply(one, one)

    assert first.value == second.value
    assert len(market.of(ev.JobQueued)) == 1


def test_a_key_belongs_to_its_submitter(market: Market) -> None:
    mine = market.queued(budget=10_000)
    theirs = market.queued(montecarlo_spec(seed=1), budget=20_000, submitter=BOB.address)

    assert mine.id != theirs.id
    assert market.money(BOB.address) == {"credit": -20_000, "hold": 20_000}


def test_credit_that_does_not_suffice_refuses_this_job_and_not_the_next_one(
    market: Market,
) -> None:
    answers = market.submit(
        wish("a", montecarlo_spec(), CREDIT - 10_000),
        wish("b", montecarlo_spec(), 10_001),
        wish("c", montecarlo_spec(), 10_000),
        wish("d", montecarlo_spec(), 10_000),
    )

    assert [code_of(each) for each in answers] == [
        "queued",
        "insufficient_credit",
        "queued",
        "insufficient_credit",
    ]
    assert market.money() == {"credit": -CREDIT, "hold": CREDIT}
    # Nothing is left of a refused one: its key is free.
    market.fund(ALICE.address, 10_001)
    assert code_of(market.submit(wish("b", montecarlo_spec(), 10_001))[0]) == "queued"


def test_a_stranger_has_no_credit(market: Market) -> None:
    (answered,) = market.submit(wish("k", montecarlo_spec(), 10_000), submitter=NODE.address)

    assert code_of(answered) == "insufficient_credit"


def test_open_jobs_are_bounded_and_ended_ones_make_room(market: Market) -> None:
    first = market.queued(budget=10_000, key="0")
    # A wallet at its bound, by its own count: 200,000 rows would take a second.
    market.store._memory.open_jobs.put(ALICE.address, OPEN_JOBS_PER_WALLET_MAX - 1)
    wishes = [wish(key, montecarlo_spec(), 10_000) for key in ("0", "1", "2", "0")]

    answers = market.submit(*wishes)

    assert [code_of(each) for each in answers] == [
        "queued",
        "queued",
        "too_many_open_jobs",
        "queued",
    ]
    market.ask(ev.CancelAsked(ALICE.address, first.id))
    assert code_of(market.submit(wishes[2])[0]) == "queued"


# ---- assignment ---------------------------------------------------------------------------------


def test_an_assignment_begins_an_attempt_under_a_new_fence(market: Market) -> None:
    job = market.assigned(budget=10_000)

    assert (job.state, job.fence, job.node, job.assigned_ms) == (S.ASSIGNED, 1, 1, NOW_MS)
    assert [(each.fence, each.state) for each in market.attempts(job)] == [(1, AttemptState.OPEN)]
    assert market.of(ev.JobSent) == [ev.JobSent(job)]
    assert market.of(ev.JobChanged) == [ev.JobChanged(job)]
    assert market.money() == {"credit": -10_000, "hold": 10_000}


@pytest.mark.parametrize("state", ["assigned", "verifying", "completed", "cancelled"])
def test_a_match_that_comes_too_late_does_nothing(market: Market, state: str) -> None:
    job = market.in_state(state)
    effects = len(market.effects)

    for number in (job.id, 999):
        assert market.ask(ev.JobMatched(number, market.node.id)) is None
    assert market.job(job) == job
    assert len(market.effects) == effects


def test_an_agent_says_once_that_it_computes(market: Market) -> None:
    job = market.assigned()
    started = ev.AttemptStarted(job.id, job.fence, job.node)
    for event in (started, started):
        market.ask(event)

    assert market.job(job).state is S.RUNNING
    assert [each.job.state for each in market.of(ev.JobChanged)] == [S.ASSIGNED, S.RUNNING]


@pytest.mark.parametrize("wrong", [{"fence": 2}, {"node": 2}, {"job": 9}], ids=str)
def test_only_the_holder_of_the_attempt_says_so(market: Market, wrong: dict[str, int]) -> None:
    job = market.assigned()
    market.ask(replace(ev.AttemptStarted(job.id, job.fence, job.node), **wrong))

    assert market.job(job).state is S.ASSIGNED


# ---- results and verdicts -----------------------------------------------------------------------


def test_an_accepted_result_is_paid_from_the_hold_and_the_rest_returned(market: Market) -> None:
    job = market.judge(market.verifying(budget=10_000))

    assert (job.state, job.paid, job.fee, job.finished_ms) == (S.COMPLETED, PRICE, FEE, NOW_MS)
    assert market.money() == PAID
    assert [each.state for each in market.attempts(job)] == [AttemptState.ACCEPTED]
    node = market.reader.node(market.node.id)
    assert node is not None
    assert node.earned == PRICE - FEE
    assert market.reader.earnings_of(OPERATOR.address, NOW_MS).total == PRICE - FEE


def test_between_result_and_verdict_the_outputs_are_durable_and_nothing_is_paid(
    market: Market,
) -> None:
    job = market.verifying(budget=10_000)

    assert job.state is S.VERIFYING
    assert [each.data for each in market.reader.outputs(job.id, 1)] == [b"log"]
    assert market.money() == {"credit": -10_000, "hold": 10_000}
    (due,) = market.of(ev.VerificationDue)
    assert (due.job, due.root) == (job, output_root([b"log"]))
    assert market.of(ev.AttemptOver) == [ev.AttemptOver(job.id, 1, 1, "", stop=False)]


def test_an_unverified_result_is_paid_and_its_receipt_says_so(market: Market) -> None:
    spec = montecarlo_spec(verify=Unverified())
    job = market.judge(market.verifying(spec=spec), "unverified")

    (receipt,) = market.receipts()
    assert job.state is S.COMPLETED
    assert (receipt.policy, receipt.verdict) == ("none", "unverified")


@pytest.mark.parametrize("wrong", [{"fence": 2}, {"job": 9}], ids=str)
def test_a_verdict_on_another_attempt_does_nothing(market: Market, wrong: dict[str, int]) -> None:
    job = market.verifying()
    verdict = ev.VerdictReached(job.id, job.fence, "accepted", "", bytes(32))
    market.ask(replace(verdict, **wrong))

    assert market.job(job).state is S.VERIFYING


def test_a_verdict_that_is_told_twice_pays_once(market: Market) -> None:
    job = market.verifying()
    verdict = ev.VerdictReached(job.id, job.fence, "accepted", "", bytes(32))
    market.apply(verdict, verdict)
    market.ask(verdict)

    assert market.money() == PAID
    assert len(market.receipts()) == 1


def test_a_rejected_result_is_forgotten_and_the_job_tried_elsewhere(market: Market) -> None:
    job = market.judge(market.verifying(budget=10_000), "rejected", "block 3 is wrong")

    assert (job.state, job.failures, job.code) == (S.QUEUED, 1, "rejected")
    assert job.not_before_ms == NOW_MS + BACKOFF_FIRST_MS
    assert market.reader.outputs(job.id, 1) == []
    assert [each.state for each in market.attempts(job)] == [AttemptState.REJECTED]
    assert market.of(ev.JobQueued)[-1] == ev.JobQueued(job, avoid=market.node.id)
    assert market.money() == {"credit": -10_000, "hold": 10_000}


def test_a_result_whose_files_we_lost_counts_against_nobody(market: Market) -> None:
    job = market.verifying(spec=montecarlo_spec(retries=1))

    after = market.judge(job, "unreadable")

    assert (after.state, after.failures, after.losses) == ("queued", 0, 1)
    (attempt,) = market.attempts(job)
    assert (attempt.state, attempt.code) == ("lost", "outputs_lost")
    assert market.reader.outputs(job.id, job.fence) == []
    assert market.ask(answer(job)) == "accepted", "if it is still there, it is as good as new"


def test_a_job_that_is_rejected_at_every_attempt_fails_and_its_hold_is_returned(
    market: Market,
) -> None:
    job = market.queued(montecarlo_spec(retries=2), budget=10_000)
    for fence in (1, 2, 3):
        job = market.assign(job)
        assert job.fence == fence
        market.ask(answer(job))
        job = market.judge(job, "rejected", f"attempt {fence}")

    assert (job.state, job.code, job.detail) == (S.FAILED, "rejected", "attempt 3")
    assert (job.paid, market.money()) == (0, {})
    assert market.receipts() == []


def test_a_failed_attempt_is_tried_again_and_may_succeed(market: Market) -> None:
    job = market.assigned(budget=10_000)
    assert market.ask(failure(job, "out_of_memory")) == "accepted"
    waits = market.job(job)
    assert (waits.state, waits.code, waits.failures) == (S.QUEUED, "out_of_memory", 1)

    second = market.assign(waits, market.add_node(BOB.address))
    market.ask(answer(second))
    done = market.judge(second)

    assert (done.state, done.fence, done.code) == (S.COMPLETED, 2, "")
    assert market.money(operator=BOB.address) == PAID
    states = [each.state for each in market.attempts(job)]
    assert states == [AttemptState.FAILED, AttemptState.ACCEPTED]


def test_an_agent_that_invents_a_code_does_not_reach_the_submitter_with_it(
    market: Market,
) -> None:
    job = market.assigned(montecarlo_spec(retries=0))
    market.ask(failure(job, "you owe me"))

    assert market.job(job).code == "agent_error"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({}, "accepted"),
        ({"fence": 2}, "stale"),
        ({"fence": 0}, "stale"),
        ({"fence": 4096}, "stale"),
        ({"fence": 2**53 - 1}, "stale"),
        ({"node": 2}, "stale"),
        ({"node": 0}, "stale"),
        ({"job": 0}, "stale"),
        ({"job": 2**53 - 1}, "stale"),
    ],
    ids=str,
)
def test_a_result_counts_under_its_own_job_fence_and_node_only(
    market: Market, wrong: dict[str, Any], code: str
) -> None:
    job = market.assigned()

    assert market.ask(answer(job, **wrong)) == code
    assert market.job(job).state == (S.VERIFYING if code == "accepted" else S.ASSIGNED)


@pytest.mark.parametrize(
    ("verdict", "state"), [("", S.VERIFYING), ("accepted", S.COMPLETED), ("rejected", S.QUEUED)]
)
def test_a_result_that_comes_again_gets_its_first_answer_and_no_second_payment(
    market: Market, verdict: str, state: S
) -> None:
    job = market.assigned()
    first = market.ask(answer(job))
    if verdict:
        market.judge(job, verdict)
    money = market.money()
    effects = len(market.effects)

    assert [market.ask(answer(job)) for _ in range(2)] == [first, first] == ["accepted"] * 2
    assert (market.job(job).state, market.money()) == (state, money)
    assert len(market.effects) == effects


def test_a_result_twice_in_one_batch_is_taken_once(market: Market) -> None:
    job = market.assigned()

    assert [each.value for each in market.apply(answer(job), answer(job))] == ["accepted"] * 2
    assert len(market.reader.outputs(job.id, 1)) == 1
    assert len(market.of(ev.VerificationDue)) == 1


@pytest.mark.parametrize("retries", [0, 2])
def test_a_failure_that_is_told_again_gets_its_first_answer(market: Market, retries: int) -> None:
    job = market.assigned(montecarlo_spec(retries=retries))

    assert [market.ask(failure(job)) for _ in range(2)] == ["accepted", "accepted"]
    assert market.job(job).failures == (1 if retries else 0)


@pytest.mark.parametrize("verdict", ["failed", "rejected"])
def test_once_another_attempt_began_whatever_comes_of_the_first_is_stale(
    market: Market, verdict: str
) -> None:
    first = market.assigned()
    if verdict == "failed":
        market.ask(failure(first))
        # What failed once has not succeeded since.
        assert market.ask(answer(first)) == "stale"
    else:
        market.ask(answer(first))
        market.judge(first, verdict)
        assert market.ask(failure(first)) == "stale"
    second = market.assign(market.job(first), market.add_node(BOB.address))

    assert [market.ask(failure(first)), market.ask(answer(first))] == ["stale", "stale"]
    assert market.job(second) == second


def test_a_result_after_the_lease_is_taken_while_nobody_else_has_the_job(market: Market) -> None:
    job = market.assigned(budget=10_000)
    market.ask(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    after = market.job(job)

    assert (after.state, after.code, after.losses) == (S.QUEUED, "lease_lost", 1)
    assert market.of(ev.AttemptOver) == [ev.AttemptOver(job.id, 1, 1, "lease_lost", stop=True)]
    assert market.ask(failure(job)) == "stale"
    assert market.ask(answer(job)) == "accepted"
    market.judge(market.job(job), "accepted")
    assert market.job(job).state is S.COMPLETED
    assert [each.state for each in market.attempts(job)] == [AttemptState.ACCEPTED]


def test_a_result_after_the_lease_is_stale_once_another_attempt_began(market: Market) -> None:
    job = market.assigned(budget=10_000)
    market.ask(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    second = market.assign(market.job(job))

    assert market.ask(answer(job)) == "stale"
    assert market.job(second) == second
    assert [each.state for each in market.attempts(job)] == [AttemptState.LOST, AttemptState.OPEN]


@pytest.mark.parametrize(
    ("change", "sizes"),
    [
        pytest.param({"dtype": "float64"}, (8,), id="not bytes"),
        pytest.param({}, (10, 10), id="two outputs"),
        pytest.param({}, (LOG_BYTES_MAX + 1,), id="too long"),
    ],
)
def test_a_commands_output_is_one_bounded_log(
    market: Market, change: dict[str, Any], sizes: tuple[int, ...]
) -> None:
    job = command(market)
    outputs = tuple(
        replace(Output(job.id, 1, index, "uint8", (size,), bytes(size), size=size), **change)
        for index, size in enumerate(sizes)
    )
    code = market.ask(replace(answer(job), outputs=outputs))

    assert code == "accepted"
    after = market.job(job)
    assert (after.state, after.code, after.paid) == (S.QUEUED, "rejected", 0)


@pytest.mark.parametrize("state", ["queued", "verifying", "completed", "failed", "cancelled"])
def test_a_lease_that_is_over_already_is_not_lost(market: Market, state: str) -> None:
    job = market.in_state(state)
    market.ask(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    market.ask(ev.TimePaidUp(job.id, job.fence))

    assert market.job(job) == job


@pytest.mark.parametrize(("has_begun", "code"), [(False, "abandoned"), (True, "lease_lost")])
def test_an_agent_that_comes_back_without_a_job_it_had_begun_has_died(
    market: Market, code: str, *, has_begun: bool
) -> None:
    job = market.assigned()
    if has_begun:
        market.ask(ev.AttemptStarted(job.id, job.fence, job.node))
    market.ask(ev.AttemptLost(job.id, job.fence, "abandoned"))

    (attempt,) = market.attempts(job)
    assert (attempt.state, attempt.code, market.job(job).losses) == (AttemptState.LOST, code, 1)


def test_a_lost_attempt_of_an_older_fence_is_not_the_current_one(market: Market) -> None:
    first = market.assigned()
    market.ask(failure(first))
    second = market.assign(market.job(first))
    market.ask(ev.AttemptLost(first.id, first.fence, "lease_lost"))

    assert market.job(second) == second


def test_a_job_that_nobody_takes_in_time_fails_and_costs_nothing(market: Market) -> None:
    job = market.queued(budget=10_000)
    market.ask(ev.QueueTimedOut(job.id))
    after = market.job(job)

    assert (after.state, after.code, after.paid) == (S.FAILED, "queue_timeout", 0)
    assert market.money() == {}


@pytest.mark.parametrize("state", ["assigned", "running", "verifying", "completed", "failed"])
def test_a_job_that_was_taken_has_not_waited_too_long(market: Market, state: str) -> None:
    job = market.in_state(state)
    market.ask(ev.QueueTimedOut(job.id))

    assert market.job(job) == job


def timed_out(market: Market, state: str, spec: bytes | None = None, budget: int = 10_000) -> Job:
    """A job that took 60 s in all, the most it may, and what became of it."""
    limits = Limits(total_s=60)
    job = market.queued(spec or montecarlo_spec(limits=limits), budget)
    if state != "queued":
        job = market.assign(job)
    if state == "running":
        market.ask(ev.AttemptStarted(job.id, job.fence, job.node))
    market.now_ms += 60_000
    market.ask(ev.TotalTimedOut(job.id))
    return market.job(job)


@pytest.mark.parametrize("state", ["queued", "assigned", "running"])
def test_a_job_whose_total_time_is_over_ends_wherever_it_is_and_costs_nothing(
    market: Market, state: str
) -> None:
    after = timed_out(market, state)

    assert (after.state, after.code, after.paid) == (S.FAILED, "total_timeout", 0)
    assert after.detail == "the job may take 60 s in all"
    assert market.money() == {}
    stops = [over for over in market.of(ev.AttemptOver) if over.stop]
    is_out = state != "queued"
    assert stops == [ev.AttemptOver(after.id, 1, 1, "total_timeout", stop=True)] * is_out
    # The agent did nothing wrong: its attempt was ended, it did not fail.
    assert {each.state for each in market.attempts(after)} <= {AttemptState.CANCELLED}
    if is_out:
        assert market.ask(answer(after)) == "stale"
    market.ask(ev.TotalTimedOut(after.id))
    assert market.job(after) == after


def test_a_command_whose_total_time_is_over_is_stopped_and_what_ran_is_paid(
    market: Market,
) -> None:
    job = market.queued(command_spec(execution_s=300, total_s=60), UNITS)
    market.now_ms += 50_000
    job = market.assign(job)
    market.now_ms += 10_000
    market.ask(ev.TotalTimedOut(job.id))
    after = market.job(job)

    assert (after.state, after.code, after.paid) == (S.FAILED, "total_timeout", 10 * SECOND)
    assert market.money() == {"credit": -100_000, "withheld": 97_500, "fees": 2_500}
    assert [over.stop for over in market.of(ev.AttemptOver)] == [True]
    assert [each.state for each in market.attempts(job)] == [AttemptState.CANCELLED]


def test_a_result_that_came_in_time_gets_its_verdict_however_late(market: Market) -> None:
    job = market.assigned(montecarlo_spec(limits=Limits(total_s=60)))
    market.ask(answer(job))
    market.now_ms += 3_600_000
    market.ask(ev.TotalTimedOut(job.id))
    assert market.job(job).state is S.VERIFYING

    assert market.judge(job).state is S.COMPLETED
    assert market.money() == PAID


@pytest.mark.parametrize("how", ["rejected", "failed", "lost"])
def test_after_its_total_time_a_job_is_not_tried_again(market: Market, how: str) -> None:
    job = market.assigned(montecarlo_spec(limits=Limits(total_s=60)))
    if how == "rejected":
        market.ask(answer(job))
    market.now_ms += 60_000
    if how == "rejected":
        market.judge(job, "rejected", "wrong")
    elif how == "failed":
        market.ask(failure(job))
    else:
        market.ask(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    after = market.job(job)

    assert (after.state, after.code, market.money()) == (S.FAILED, "total_timeout", {})
    code = {"rejected": "rejected", "failed": "agent_error", "lost": "lease_lost"}[how]
    assert after.detail == f"the job may take 60 s in all; its last attempt: {code}"


# ---- cancelling ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("queued", None),
        ("assigned", None),
        ("running", None),
        ("cancelled", None),
        ("verifying", "too_late"),
        ("completed", "too_late"),
        ("failed", "too_late"),
    ],
)
def test_a_job_may_be_withdrawn_until_its_result_is_in(
    market: Market, state: str, code: str | None
) -> None:
    job = market.in_state(state)
    event = ev.CancelAsked(ALICE.address, job.id)
    if code is not None:
        assert refused(market, event) == code
        assert market.job(job) == job
        return

    after = market.ask(event)

    assert (after.state, after.paid, market.money()) == (S.CANCELLED, 0, {})
    assert market.ask(event) == after
    stops = [over for over in market.of(ev.AttemptOver) if over.stop]
    is_out = state in {"assigned", "running"}
    assert stops == [ev.AttemptOver(job.id, 1, 1, "cancelled", stop=True)] * is_out
    assert {each.state for each in market.attempts(job)} <= {AttemptState.CANCELLED}
    if is_out:
        assert market.ask(answer(job)) == "stale"


@pytest.mark.parametrize("job", [1, 999])
def test_another_ones_job_looks_like_none(market: Market, job: int) -> None:
    market.queued()

    assert refused(market, ev.CancelAsked(BOB.address, job)) == "not_found"


# ---- commands -----------------------------------------------------------------------------------


def command(market: Market, budget: int = UNITS) -> Job:
    return market.assigned(command_spec(execution_s=30), budget)


@pytest.mark.parametrize(
    ("elapsed_ms", "budget", "price"),
    [
        (0, UNITS, 1),
        (1, UNITS, 10),
        (5_999, UNITS, 59_990),
        (6_000, UNITS, 60_000),
        (5_000, 50_000, 50_000),
        # Whole seconds are paid for: four of them.
        (3_999, 49_999, 39_990),
        (5_000, 49_999, 40_000),
        (900, 9_999, 9_000),
        (5_000, 9_999, 9_999),
        (5_000, 1, 1),
        # Its limit is 30 s; a late clock of ours, or a restart, is not the submitter's to pay.
        (31_000, UNITS, 30 * SECOND),
        (86_400_000, UNITS, 30 * SECOND),
        # A wall clock that was set back.
        (-5_000, UNITS, 1),
    ],
)
def test_a_command_is_paid_by_our_clock_rounded_down_and_within_limit_and_budget(
    market: Market, elapsed_ms: int, budget: int, price: int
) -> None:
    job = command(market, budget)
    market.now_ms += elapsed_ms
    assert market.ask(answer(job)) == "accepted"
    after = market.job(job)

    fee = price * 250 // 10_000
    assert (after.state, after.paid, after.fee) == (S.COMPLETED, price, fee)
    money = {"credit": -price, "withheld": price - fee, "fees": fee}
    assert market.money() == {name: amount for name, amount in money.items() if amount}
    (receipt,) = market.receipts()
    assert (receipt.policy, receipt.verdict) == ("none", "unverified")
    assert receipt.output_root == output_root([b"log"])
    assert market.of(ev.VerificationDue) == []


def test_a_command_whose_result_comes_again_is_paid_once(market: Market) -> None:
    job = command(market)
    market.now_ms += 5_000
    market.ask(answer(job))
    market.now_ms += 5_000

    assert market.ask(answer(job)) == "accepted"
    assert market.money()["credit"] == -5 * SECOND


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("exit_nonzero", S.FAILED),
        ("output_too_large", S.FAILED),
        ("out_of_memory", S.FAILED),
        ("execution_timeout", S.CANCELLED),
    ],
)
def test_a_command_that_ended_badly_by_its_own_doing_is_paid_and_not_repeated(
    market: Market, code: str, state: S
) -> None:
    job = command(market)
    market.now_ms += 2_000
    outputs = answer(job).outputs
    assert market.ask(failure(job, code, outputs=outputs)) == "accepted"
    after = market.job(job)

    # Of its time we know more than the agent: what the budget paid for.
    told = "the command may run for 30 s" if code == "execution_timeout" else "it broke"
    assert (after.state, after.code, after.detail) == (state, code, told)
    assert after.paid == 2 * SECOND
    assert market.money() == {"credit": -20_000, "withheld": 19_500, "fees": 500}
    assert [each.data for each in market.reader.outputs(job.id, 1)] == [b"log"]
    assert [each.verdict for each in market.receipts()] == ["unverified"]
    assert market.ask(failure(job, code)) == "accepted"
    assert market.money()["credit"] == -20_000


def test_a_kernel_does_not_exit_and_is_not_paid_for_saying_so(market: Market) -> None:
    job = market.assigned(montecarlo_spec(retries=0))
    market.ask(failure(job, "exit_nonzero"))

    assert (market.job(job).state, market.money()) == (S.FAILED, {})


@pytest.mark.parametrize("code", ["agent_error", "sandbox_unavailable", "abandoned"])
def test_a_command_that_the_agent_could_not_run_is_not_paid(market: Market, code: str) -> None:
    job = market.assigned(command_spec(retries=0), UNITS)
    market.now_ms += 5_000
    market.ask(failure(job, code))

    assert (market.job(job).state, market.job(job).paid, market.money()) == (S.FAILED, 0, {})


def test_a_command_whose_time_is_up_is_stopped_and_its_time_paid(market: Market) -> None:
    job = command(market, budget=50_000)
    market.now_ms += 5_700
    market.ask(ev.TimePaidUp(job.id, job.fence))
    after = market.job(job)

    assert (after.state, after.code, after.paid) == (S.CANCELLED, "execution_timeout", 50_000)
    assert market.money() == {"credit": -50_000, "withheld": 48_750, "fees": 1_250}
    (over,) = market.of(ev.AttemptOver)
    assert (over.stop, over.code) == (True, "execution_timeout")
    assert market.ask(answer(job)) == "stale"


def test_a_withdrawn_command_pays_for_the_time_that_it_took(market: Market) -> None:
    job = command(market)
    market.now_ms += 1_500
    after = market.ask(ev.CancelAsked(ALICE.address, job.id))

    assert (after.state, after.paid) == (S.CANCELLED, 15_000)
    assert market.money() == {"credit": -15_000, "withheld": 14_625, "fees": 375}
    (receipt,) = market.receipts()
    assert receipt.output_root == output_root(())


def test_a_command_that_never_began_costs_nothing(market: Market) -> None:
    job = market.queued(command_spec(), UNITS)
    market.now_ms += 60_000

    assert market.ask(ev.CancelAsked(ALICE.address, job.id)).paid == 0
    assert market.money() == {}


def test_a_command_that_was_lost_is_paid_for_the_attempt_that_ended_only(market: Market) -> None:
    job = command(market)
    market.now_ms += 9_000
    market.ask(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    second = market.assign(market.job(job), market.add_node(BOB.address))
    market.now_ms += 2_000
    market.ask(answer(second))

    assert market.job(job).paid == 2 * SECOND
    assert "withheld" not in market.money()
    assert market.money(operator=BOB.address)["withheld"] == 19_500
