"""A job's way through the engine: submission, result, verdict and pay, and every refusal on it.

Each test ends with an audit of the whole store (`Market.close`): sums, holds, chain and counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as change
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from coordinator import events as ev
from coordinator.ledger import HOUSE, TREASURY
from coordinator.limits import BACKOFF_FIRST_MS, OPEN_JOBS_PER_WALLET_MAX
from coordinator.pricing import Rules
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.receipts import Receipt, SignedRoot, build_batch, verify_receipt
from coordinator.protocol.spec import Unverified, hash_spec
from coordinator.store.interface import Batch, Store, StoreError
from coordinator.store.values import AttemptState, Job, JobState as S, Node
from onchain.amounts import AMOUNT_MAX, UNITS
from onchain.merkle import path_of
from tests.build import (
    ALICE,
    BOB,
    COORDINATOR,
    CREDIT,
    HOUR_MS,
    NODE,
    NOW_MS,
    OPERATOR,
    RULES,
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


def market_of(**rules: Any) -> Market:
    return Market(replace(RULES, **rules))


def code_of(answered: Job | Refusal) -> str:
    return answered.code if isinstance(answered, Refusal) else answered.state


def refused(market: Market, event: ev.Event) -> str:
    with pytest.raises(Refusal) as caught:
        market.ask(event)
    return caught.value.code


# ---- submission -------------------------------------------------------------------------------


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


# ---- assignment -------------------------------------------------------------------------------


def test_an_assignment_begins_an_attempt_under_a_new_fence(market: Market) -> None:
    job = market.assigned(budget=10_000)

    assert (job.state, job.fence, job.node, job.assigned_ms) == (S.ASSIGNED, 1, 1, NOW_MS)
    assert [(each.fence, each.state) for each in market.attempts(job)] == [(1, AttemptState.OPEN)]
    assert market.of(ev.JobSent) == [ev.JobSent(job)]
    assert market.of(ev.JobChanged) == [ev.JobChanged(job)]
    assert market.money() == {"credit": -10_000, "hold": 10_000}


@pytest.mark.parametrize("state", ["assigned", "verifying", "completed", "cancelled", "unknown"])
def test_a_match_that_comes_too_late_does_nothing(market: Market, state: str) -> None:
    job = _in_state(market, state)
    effects = len(market.effects)

    assert market.ask(ev.JobMatched(job.id if job else 999, market.node.id)) is None
    assert len(market.effects) == effects


def _in_state(market: Market, state: str) -> Job | None:
    match state:
        case "queued":
            return market.queued(budget=10_000)
        case "assigned":
            return market.assigned(budget=10_000)
        case "running":
            job = market.assigned(budget=10_000)
            market.ask(ev.AttemptStarted(job.id, job.fence, job.node))
            return market.job(job)
        case "verifying":
            return market.verifying(budget=10_000)
        case "completed":
            return market.judge(market.verifying(budget=10_000))
        case "failed":
            job = market.assigned(montecarlo_spec(retries=0), budget=10_000)
            market.ask(failure(job))
            return market.job(job)
        case "cancelled":
            job = market.queued(budget=10_000)
            market.ask(ev.CancelAsked(ALICE.address, job.id))
            return market.job(job)
        case _:
            return None


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


# ---- results and verdicts ---------------------------------------------------------------------


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

    (receipt,) = _receipts(market)
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
    assert len(_receipts(market)) == 1


def test_a_rejected_result_is_forgotten_and_the_job_tried_elsewhere(market: Market) -> None:
    job = market.judge(market.verifying(budget=10_000), "rejected", "block 3 is wrong")

    assert (job.state, job.failures, job.code) == (S.QUEUED, 1, "rejected")
    assert job.not_before_ms == NOW_MS + BACKOFF_FIRST_MS
    assert market.reader.outputs(job.id, 1) == []
    assert [each.state for each in market.attempts(job)] == [AttemptState.REJECTED]
    assert market.of(ev.JobQueued)[-1] == ev.JobQueued(job, avoid=market.node.id)
    assert market.money() == {"credit": -10_000, "hold": 10_000}


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
    assert _receipts(market) == []


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
    market: Market, wrong: dict[str, int], code: str
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


def test_after_another_attempt_began_the_first_ones_answer_is_still_the_same(
    market: Market,
) -> None:
    first = market.assigned()
    market.ask(failure(first))
    second = market.assign(market.job(first), market.add_node(BOB.address))

    assert market.ask(failure(first)) == "accepted"
    # What failed once has not succeeded since.
    assert market.ask(answer(first)) == "stale"
    assert market.job(second) == second


def test_a_result_after_the_lease_was_lost_is_stale(market: Market) -> None:
    job = market.assigned(budget=10_000)
    market.ask(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    after = market.job(job)

    assert (after.state, after.code, after.failures) == (S.QUEUED, "lease_lost", 1)
    assert market.of(ev.AttemptOver) == [ev.AttemptOver(job.id, 1, 1, "lease_lost", stop=True)]
    assert market.ask(answer(job)) == "stale"
    assert market.ask(failure(job)) == "stale"

    second = market.assign(after)
    assert market.ask(answer(job)) == "stale"
    assert market.job(second) == second
    assert [each.state for each in market.attempts(job)] == [AttemptState.LOST, AttemptState.OPEN]


@pytest.mark.parametrize("state", ["queued", "verifying", "completed", "failed", "cancelled"])
def test_a_lease_that_is_over_already_is_not_lost(market: Market, state: str) -> None:
    job = _in_state(market, state)
    assert job is not None
    market.ask(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    market.ask(ev.TimePaidUp(job.id, job.fence))

    assert market.job(job) == job


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
    job = _in_state(market, state)
    assert job is not None
    market.ask(ev.QueueTimedOut(job.id))

    assert market.job(job) == job


# ---- cancelling -------------------------------------------------------------------------------


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
    job = _in_state(market, state)
    assert job is not None
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


# ---- commands ---------------------------------------------------------------------------------


def command(market: Market, budget: int = UNITS, **limits: int) -> Job:
    return market.assigned(command_spec(**({"execution_s": 30} | limits)), budget)


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
    (receipt,) = _receipts(market)
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


def test_a_command_that_failed_by_its_own_doing_is_paid_and_not_repeated(market: Market) -> None:
    job = command(market)
    market.now_ms += 2_000
    outputs = answer(job).outputs
    assert market.ask(failure(job, "exit_nonzero", outputs=outputs)) == "accepted"
    after = market.job(job)

    assert (after.state, after.code, after.detail) == (S.FAILED, "exit_nonzero", "it broke")
    assert after.paid == 2 * SECOND
    assert market.money() == {"credit": -20_000, "withheld": 19_500, "fees": 500}
    assert [each.data for each in market.reader.outputs(job.id, 1)] == [b"log"]
    assert [each.verdict for each in _receipts(market)] == ["unverified"]
    assert market.ask(failure(job, "exit_nonzero")) == "accepted"
    assert market.money()["credit"] == -20_000


def test_a_kernel_does_not_exit_and_is_not_paid_for_saying_so(market: Market) -> None:
    job = market.assigned(montecarlo_spec(retries=0))
    market.ask(failure(job, "exit_nonzero"))

    assert (market.job(job).state, market.money()) == (S.FAILED, {})


@pytest.mark.parametrize("code", ["agent_error", "sandbox_unavailable", "out_of_memory"])
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
    (receipt,) = _receipts(market)
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


@pytest.mark.parametrize(("fee_bp", "fee"), [(0, 0), (1, 0), (250, 165), (10_000, 6601)])
def test_the_fee_is_taken_out_of_the_price(fee_bp: int, fee: int) -> None:
    market = market_of(fee_bp=fee_bp)
    job = market.judge(market.verifying(budget=10_000))

    assert (job.paid, job.fee) == (PRICE, fee)
    money = {"credit": -PRICE, "withheld": PRICE - fee, "fees": fee}
    assert market.money() == {name: amount for name, amount in money.items() if amount}
    (receipt,) = _receipts(market)
    assert (receipt.paid, receipt.fee) == (PRICE - fee, fee)
    market.close()


# ---- test jobs --------------------------------------------------------------------------------

TEST_SPEC = command_spec(retries=0, sandbox=0, execution_s=30)
TEST_BUDGET = 30 * SECOND


def test_without_a_daily_cap_a_test_job_is_done_for_nothing_and_has_no_receipt(
    market: Market,
) -> None:
    job = market.ask(ev.TestJobDue(market.node.id, TEST_SPEC))
    assert (job.submitter, job.state, job.budget, job.fence) == (HOUSE, S.ASSIGNED, 0, 1)
    market.now_ms += 5_000
    assert market.ask(answer(job)) == "accepted"

    assert (market.job(job).state, market.job(job).paid) == (S.COMPLETED, 0)
    assert _receipts(market) == []
    assert market.money() == {}


def test_test_jobs_are_paid_from_the_treasury_up_to_the_cap_of_the_day() -> None:
    market = market_of(test_pay_daily=2 * TEST_BUDGET + 1)
    market.fund(HOUSE, 10 * UNITS)
    due = ev.TestJobDue(market.node.id, TEST_SPEC)

    budgets = [each.value.budget for each in market.apply(due, due, due)]
    assert budgets == [TEST_BUDGET, TEST_BUDGET, 0]
    assert market.ask(due).budget == 0
    assert market.balance("hold:treasury") == 2 * TEST_BUDGET

    market.now_ms += 24 * HOUR_MS
    job = market.ask(due)
    assert job.budget == TEST_BUDGET
    market.now_ms += 5_000
    market.ask(answer(job))
    assert (market.job(job).paid, market.money()["withheld"]) == (50_000, 48_750)
    assert market.balance(TREASURY) == 10 * UNITS - 2 * TEST_BUDGET - 50_000
    market.close()


def test_an_empty_treasury_pays_nothing_and_owes_nothing() -> None:
    market = market_of(test_pay_daily=UNITS)
    market.fund(HOUSE, TEST_BUDGET)
    due = ev.TestJobDue(market.node.id, TEST_SPEC)

    assert [each.value.budget for each in market.apply(due, due)] == [TEST_BUDGET, 0]
    assert market.balance(TREASURY) == 0
    market.close()


def test_an_unpaid_test_job_may_fail_be_lost_or_run_out_of_time(market: Market) -> None:
    ends = []
    for end in (failure, _lost, _up):
        job = market.ask(ev.TestJobDue(market.node.id, TEST_SPEC))
        market.now_ms += 31_000
        market.ask(end(job))
        ends.append((market.job(job).state, market.job(job).code))

    assert ends == [
        (S.FAILED, "agent_error"),
        (S.FAILED, "lease_lost"),
        (S.CANCELLED, "execution_timeout"),
    ]
    assert market.money() == {}


def _lost(job: Job) -> ev.Event:
    return ev.AttemptLost(job.id, job.fence, "lease_lost")


def _up(job: Job) -> ev.Event:
    return ev.TimePaidUp(job.id, job.fence)


# ---- what is withheld -------------------------------------------------------------------------


def test_a_bucket_is_released_once_its_hour_and_window_are_past_and_not_before(
    market: Market,
) -> None:
    market.judge(market.verifying())
    end_ms = (NOW_MS // HOUR_MS + 1) * HOUR_MS + RULES.withhold_ms

    for now_ms, released in ((NOW_MS, 0), (end_ms - 1, 0), (end_ms, 1), (end_ms, 0)):
        market.now_ms = now_ms
        assert market.ask(ev.ReleaseDue()) == released
        name = "earned" if now_ms == end_ms else "withheld"
        assert market.money() == {"credit": -PRICE, name: PRICE - FEE, "fees": FEE}
    assert market.reader.earnings_of(OPERATOR.address, end_ms).total == PRICE - FEE


def test_an_hours_posts_share_a_bucket_and_another_hour_has_its_own(market: Market) -> None:
    for key in ("a", "b"):
        market.judge(market.verifying(key=key))
    market.now_ms += HOUR_MS
    market.judge(market.verifying(key="c"))
    market.now_ms = (NOW_MS // HOUR_MS + 1) * HOUR_MS + RULES.withhold_ms

    assert market.ask(ev.ReleaseDue()) == 1
    assert market.money()["earned"] == 2 * (PRICE - FEE)
    market.now_ms += HOUR_MS
    assert market.ask(ev.ReleaseDue()) == 1
    assert "withheld" not in market.money()


def test_without_a_window_pay_is_released_at_once() -> None:
    market = market_of(withhold_ms=0)
    market.judge(market.verifying())

    assert market.ask(ev.ReleaseDue()) == 1
    assert market.money() == {"credit": -PRICE, "earned": PRICE - FEE, "fees": FEE}
    market.close()


def test_two_releases_in_one_batch_with_pay_in_between_are_two_transfers() -> None:
    """As after a store that failed for a while: what is due by the clock piled up."""
    market = market_of(withhold_ms=0)
    one, other = market.verifying(key="a"), market.verifying(key="b")

    outcomes = market.apply(
        ev.VerdictReached(one.id, 1, "accepted", "", bytes(32)),
        ev.ReleaseDue(),
        ev.VerdictReached(other.id, 1, "accepted", "", bytes(32)),
        ev.ReleaseDue(),
    )

    assert [each.value for each in outcomes] == [None, 1, None, 1]
    assert market.money()["earned"] == 2 * (PRICE - FEE)
    assert len(list(market.reader.ledger_batches())) == 5
    market.close()


# ---- receipts ---------------------------------------------------------------------------------


def _receipts(market: Market) -> list[Receipt]:
    """All receipts so far, each proven against the root that the coordinator signed."""
    proven = []
    for ready in market.of(ev.ReceiptsReady):
        root = ready.root
        signed = SignedRoot(COORDINATOR.address, root.batch, root.count, root.root, root.signature)
        packed = [each.data for each in ready.receipts]
        _, levels = build_batch(packed)
        for each in ready.receipts:
            path = path_of(levels, each.index)
            receipt = verify_receipt(each.data, each.index, path, signed)
            assert (receipt.job, receipt.fence, receipt.wallet) == (
                each.job,
                each.fence,
                each.wallet,
            )
            assert market.reader.receipt(each.job) == each
            proven.append(receipt)
        assert market.reader.receipt_root(root.batch) == root
    return proven


def test_a_receipt_names_what_was_paid_for_what_and_to_whom(market: Market) -> None:
    node = market.add_node(node_key=NODE.address)
    job = market.assign(market.queued(budget=10_000), node)
    market.ask(answer(job))
    market.now_ms += 7
    market.judge(job)

    (receipt,) = _receipts(market)
    assert receipt == Receipt(
        job=job.id, fence=1, coordinator_key=COORDINATOR.address, node_key=NODE.address,
        wallet=OPERATOR.address, submitter=ALICE.address, spec_hash=job.spec_hash,
        input_root=bytes(32), output_root=output_root([b"log"]), policy="sample",
        verdict="accepted", paid=PRICE - FEE, fee=FEE, cumulative=PRICE - FEE,
        time_ms=NOW_MS + 7,
    )  # fmt: skip


def test_a_seed_clients_receipt_has_zeros_for_its_node_key(market: Market) -> None:
    market.judge(market.verifying())

    assert [each.node_key for each in _receipts(market)] == [bytes(32)]


def test_what_was_ever_paid_grows_within_a_batch_and_across_batches(market: Market) -> None:
    for keys in ("abc", "de"):
        jobs = [market.verifying(key=key) for key in keys]
        market.apply(*(ev.VerdictReached(job.id, 1, "accepted", "", bytes(32)) for job in jobs))

    receipts = _receipts(market)
    assert [each.cumulative for each in receipts] == [(PRICE - FEE) * n for n in range(1, 6)]
    assert len(market.of(ev.ReceiptsReady)) == 2
    assert sum(each.paid for each in receipts) == market.money()["withheld"]
    assert len(list(market.reader.ledger_batches())) == 2 + 5 + 2


def test_a_receipt_with_one_changed_byte_proves_nothing(market: Market) -> None:
    market.judge(market.verifying())
    (ready,) = market.of(ev.ReceiptsReady)
    root = ready.root
    signed = SignedRoot(COORDINATOR.address, root.batch, root.count, root.root, root.signature)
    data = bytearray(ready.receipts[0].data)
    data[239] ^= 1

    with pytest.raises(Refusal, match="bad_signature"):
        verify_receipt(bytes(data), 0, [], signed)
    with pytest.raises(Refusal, match="bad_signature"):
        verify_receipt(ready.receipts[0].data, 0, [], change(signed, count=2))


def test_a_counter_signature_is_kept(market: Market) -> None:
    market.judge(market.verifying())
    assert market.reader.unsigned_batches(market.node.id, 9) == [1]
    market.ask(ev.CounterSigned(1, market.node.id, b"s" * 64))

    assert market.reader.unsigned_batches(market.node.id, 9) == []
    assert [each.signature for each in market.reader.counter_signatures(1)] == [b"s" * 64]


# ---- the faucet -------------------------------------------------------------------------------


def test_the_faucet_gives_once_per_key_and_wallet(market: Market) -> None:
    ask = ev.FaucetAsked(NODE.address, 500, "morning")
    for _ in range(2):
        market.ask(ask)
    market.apply(replace(ask, key="noon"), replace(ask, key="noon"))
    market.ask(replace(ask, wallet=OPERATOR.address))

    assert market.money(NODE.address)["credit"] == 1_000 - CREDIT
    assert market.money(OPERATOR.address)["credit"] == 500 - CREDIT


def test_another_amount_under_the_same_key_gives_nothing_more_even_in_one_batch(
    market: Market,
) -> None:
    ask = ev.FaucetAsked(NODE.address, 500, "morning")
    outcomes = market.apply(ask, replace(ask, amount=900))

    assert [each.refusal for each in outcomes] == [None, None]
    assert market.money(NODE.address)["credit"] == 500 - CREDIT


def test_where_the_faucet_is_off_it_gives_nothing() -> None:
    market = Market(Rules())

    assert refused(market, ev.FaucetAsked(ALICE.address, 500, "k")) == "faucet_off"
    market.close()


# ---- batches ----------------------------------------------------------------------------------


class _Poison(ev.Event, frozen=True):
    """No handler knows it: a mistake of ours."""


def test_a_poisonous_event_harms_only_itself(market: Market) -> None:
    job = market.assigned()
    with capture_logs() as logs:
        outcomes = market.apply(
            ev.JobsSubmitted(BOB.address, (wish("b", montecarlo_spec(), 10_000),)),
            _Poison(),
            answer(job),
            ev.JobMatched(2, 999),
            ev.CancelAsked(BOB.address, 999),
        )

    assert [each["event_type"] for each in logs if each["event"] == "event failed"] == [
        "_Poison",
        "JobMatched",
    ]
    codes = [each.refusal.code if each.refusal else "" for each in outcomes]
    assert codes == ["", "internal", "", "internal", "not_found"]
    assert market.job(job).state is S.VERIFYING
    assert [each.job.submitter for each in market.of(ev.JobQueued)] == [
        ALICE.address,
        BOB.address,
    ]


def test_an_amount_beyond_every_account_harms_only_itself(market: Market) -> None:
    with capture_logs():
        outcomes = market.apply(
            ev.FaucetAsked(NODE.address, AMOUNT_MAX, "all"),
            ev.FaucetAsked(NODE.address, 1, "one"),
        )

    assert [each.refusal.code if each.refusal else "" for each in outcomes] == ["internal", ""]


def test_a_refused_event_leaves_its_neighbours_in_one_transaction(market: Market) -> None:
    before = len(list(market.reader.ledger_batches()))
    market.apply(
        ev.JobsSubmitted(ALICE.address, (wish("a", montecarlo_spec(), 10_000),)),
        ev.CancelAsked(ALICE.address, 999),
        ev.JobsSubmitted(ALICE.address, (wish("b", montecarlo_spec(), 10_000),)),
    )

    assert len(list(market.reader.ledger_batches())) == before + 1


def test_an_event_sees_what_those_before_it_in_its_batch_did(market: Market) -> None:
    outcomes = market.apply(
        ev.JobsSubmitted(ALICE.address, (wish("a", montecarlo_spec(), 10_000),)),
        ev.JobMatched(1, market.node.id),
        answer(Job(1, b"", "", "", b"", b"", 0, 0, S.ASSIGNED, 0, fence=1, node=1)),
        ev.VerdictReached(1, 1, "accepted", "", bytes(32)),
    )

    assert [each.refusal for each in outcomes] == [None] * 4
    assert market.money() == PAID


class _BrokenBatch:
    """A transaction whose commit fails, as on a full disk."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __enter__(self) -> Batch:
        return self._batch.__enter__()

    def __exit__(self, *_: object) -> None:
        error = StoreError("disk full")
        self._batch.__exit__(StoreError, error, None)
        raise error


class _FailingStore:
    """A store that fails as often as it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failures = 0

    def batch(self) -> Any:
        if self.failures:
            self.failures -= 1
            return _BrokenBatch(self._store.batch())
        return self._store.batch()


def test_a_store_that_fails_leaves_nothing_and_the_same_events_succeed_later() -> None:
    stores: list[_FailingStore] = []

    def wrap(store: Store) -> Any:
        stores.append(_FailingStore(store))
        return stores[0]

    market = Market(wrap=wrap)
    job = market.verifying(budget=10_000)
    events = (
        ev.VerdictReached(job.id, 1, "accepted", "", bytes(32)),
        ev.JobsSubmitted(BOB.address, (wish("b", montecarlo_spec(), 10_000),)),
    )
    stores[0].failures = 1

    with pytest.raises(StoreError):
        market.apply(*events)
    assert (market.job(job), market.money()) == (job, {"credit": -10_000, "hold": 10_000})
    assert market.money(BOB.address) == {}

    assert [each.refusal for each in market.apply(*events)] == [None, None]
    assert market.job(job).state is S.COMPLETED
    market.close()


def test_a_node_of_another_wallet_is_paid_to_that_wallet(market: Market) -> None:
    nodes: list[Node] = [market.node, market.add_node(BOB.address)]
    for key, node in zip("ab", nodes, strict=True):
        job = market.assign(market.queued(key=key), node)
        market.ask(answer(job))
        market.judge(job)

    for wallet in (OPERATOR.address, BOB.address):
        assert market.reader.earnings_of(wallet, NOW_MS).total == PRICE - FEE
    assert [node.earned for node in market.reader.all_nodes(9)] == [PRICE - FEE] * 2
