"""Poison jobs and failing hosts: who is given up, who is drained, and who cannot make it happen.

In the market tests every row is audited at the end (`Market.close`): sums, holds, chain, counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from coordinator import events as ev, quarantine
from coordinator.limits import (
    DRAIN_FIRST_MS,
    DRAIN_MAX_MS,
    DRAIN_MEMORY_MS,
    KILLED_ATTEMPTS_MAX,
    KILLED_OPERATORS_MAX,
    OUTCOMES_PER_NODE,
    STRIKES_MIN,
)
from coordinator.protocol.signing import from_seed
from coordinator.protocol.spec import Limits, Unverified
from coordinator.quarantine import Hosts, Strike, hosts_killed, is_hosts_fault, reason_to_drain
from coordinator.store.values import Job, JobState as S, Node, NodeDrain
from onchain.amounts import UNITS
from tests.build import ALICE, BOB, NOW_MS, Market, answer, command_spec, failure, montecarlo_spec

WALLETS = [from_seed(bytes([100 + i]) * 32).address for i in range(10)]
SPEC = montecarlo_spec(retries=9)


@pytest.fixture
def market() -> Iterator[Market]:
    made = Market()
    yield made
    made.close()


def killed_on(market: Market, job: Job, node: Node, how: str = "lease_lost") -> Job:
    """The job's next attempt, on this node, ends with the host."""
    out = market.assign(job, node)
    if how == "lease_lost":
        market.ask(ev.AttemptLost(out.id, out.fence, how))
    else:
        market.ask(failure(out, how))
    return market.job(out)


# ---- jobs that end their hosts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kills", "hosts"),
    [
        ("", 0),
        ("ab", 0),
        ("aaaa", 0),
        ("abc", 3),
        ("aab", 0),
        ("aaaaa", 5),
        ("aabab", 5),
        ("abbc", 4),
    ],
)
def test_three_operators_or_five_attempts_are_too_many(kills: str, hosts: int) -> None:
    assert (KILLED_OPERATORS_MAX, KILLED_ATTEMPTS_MAX) == (3, 5)
    assert hosts_killed([name.encode() for name in kills]) == hosts


@pytest.mark.parametrize("how", ["lease_lost", "worker_crashed"])
def test_a_job_that_ends_three_operators_hosts_is_given_up_and_refunded_once(
    market: Market, how: str
) -> None:
    job = market.queued(SPEC)
    for wallet in WALLETS[:3]:
        assert market.job(job).state is S.QUEUED
        job = killed_on(market, market.job(job), market.add_node(wallet), how)

    assert (job.state, job.code, job.paid) == (S.FAILED, "quarantined", 0)
    assert job.detail == f"3 attempts ended with their agent or its worker; the last one: {how}"
    assert market.money() == {}
    assert list(market.reader.quarantined_jobs(9)) == [job]
    # Whatever still comes changes nothing: no dispatch, no payment, no second refund.
    assert market.ask(ev.JobMatched(job.id, market.node.id)) is None
    assert market.ask(answer(job)) == "stale"
    market.ask(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    market.ask(ev.QueueTimedOut(job.id))
    market.ask(ev.TotalTimedOut(job.id))
    assert (market.job(job), market.money()) == (job, {})
    assert list(market.reader.open_jobs()) == []


def test_one_operator_with_many_nodes_does_not_end_a_strangers_job_sooner(market: Market) -> None:
    job = market.queued(SPEC)
    for _ in range(KILLED_ATTEMPTS_MAX):
        assert job.state is S.QUEUED
        job = killed_on(market, job, market.add_node(WALLETS[0]))

    assert (job.state, job.code) == (S.FAILED, "quarantined")


def test_what_a_job_did_to_its_hosts_is_remembered_between_other_failures(market: Market) -> None:
    job = market.queued(SPEC)
    for wallet, how in zip(
        WALLETS,
        ["lease_lost", "agent_error", "abandoned", "worker_crashed", "agent_error", "lease_lost"],
        strict=False,
    ):
        assert job.state is S.QUEUED
        job = killed_on(market, job, market.add_node(wallet), how)

    assert (job.state, job.code) == (S.FAILED, "quarantined")


@pytest.mark.parametrize("code", ["agent_error", "sandbox_unavailable", "out_of_memory"])
def test_failures_that_leave_the_host_alive_are_not_held_against_the_job(
    market: Market, code: str
) -> None:
    job = market.queued(SPEC)
    for wallet in WALLETS[:5]:
        job = killed_on(market, job, market.add_node(wallet), code)

    assert (job.state, job.code) == (S.QUEUED, code)


@pytest.mark.parametrize("code", ["lease_lost", "quarantined", "total_timeout", "cancelled"])
def test_an_agent_does_not_say_what_only_the_house_knows(market: Market, code: str) -> None:
    job = market.assigned(montecarlo_spec(retries=0))
    market.ask(failure(job, code))

    assert (market.job(job).code, list(market.reader.quarantined_jobs(9))) == ("agent_error", [])


def test_a_command_that_ends_its_hosts_is_given_up_too(market: Market) -> None:
    job = market.queued(command_spec(retries=9), UNITS)
    for wallet in WALLETS[:3]:
        market.now_ms += 7_000
        job = killed_on(market, job, market.add_node(wallet))

    assert (job.code, job.paid, market.money()) == ("quarantined", 0, {})


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["lease_lost", "worker_crashed", "agent_error", "abandoned", "rejected", "accepted"]
        ),
        st.integers(0, 4),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(STEPS, STEPS)
def test_however_attempts_end_money_is_whole_and_the_quarantined_stay_where_they_are(
    first: list[tuple[str, int]], second: list[tuple[str, int]]
) -> None:
    market = Market()
    nodes = [market.add_node(wallet) for wallet in WALLETS[:5]]
    jobs = [market.queued(SPEC, key=str(number)) for number in range(2)]
    ends: dict[int, Job] = {}
    for number, steps in enumerate((first, second)):
        for how, place in steps:
            _end_attempt(market, market.job(jobs[number]), nodes[place], how)
            now = market.job(jobs[number])
            if now.id in ends:
                assert now == ends[now.id], "a final state accepts nothing"
            elif now.state is not S.QUEUED:
                ends[now.id] = now
    _check_quarantine(market, jobs)
    market.close()  # the audit: debits are credits, each hold resolved once


def _end_attempt(market: Market, job: Job, node: Node, how: str) -> None:
    if market.ask(ev.JobMatched(job.id, node.id)) is None:
        assert job.state is not S.QUEUED, "only what has ended is not dispatched"
        return
    if how in {"accepted", "rejected"}:
        out = market.job(job)
        market.ask(answer(out))
        market.judge(market.job(out), how, "wrong")
    else:
        out = market.job(job)
        event = ev.AttemptLost(out.id, out.fence, how)
        market.ask(event if how == "lease_lost" else failure(out, how))


def _check_quarantine(market: Market, jobs: list[Job]) -> None:
    listed = {job.id for job in market.reader.quarantined_jobs(9)}
    for job in map(market.job, jobs):
        kills = [each for each in market.attempts(job) if each.code in quarantine.KILLS]
        owners = [WALLETS[each.node - 2] for each in kills]
        assert (job.code == "quarantined") == (job.id in listed)
        assert not hosts_killed(owners) or job.state is not S.QUEUED
        if job.code == "quarantined":
            assert hosts_killed(owners) == len(kills)
            assert (job.state, job.paid) == (S.FAILED, 0)


# ---- what counts against a host -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "limits", "is_fault"),
    [
        ("rejected", Limits(), True),
        ("worker_crashed", Limits(), True),
        ("lease_lost", Limits(), True),
        ("agent_error", Limits(execution_s=1, memory_mb=16), True),
        ("execution_timeout", Limits(), True),
        ("out_of_memory", Limits(), True),
        # What the submitter made tight says nothing about the host.
        ("execution_timeout", Limits(execution_s=299), False),
        ("out_of_memory", Limits(memory_mb=2047), False),
        ("output_too_large", Limits(output_bytes=1024), False),
        ("abandoned", Limits(), False),
        ("exit_nonzero", Limits(), False),
        ("", Limits(), False),
        ("total_timeout", Limits(), False),
    ],
)
def test_which_failures_may_count(code: str, limits: Limits, *, is_fault: bool) -> None:
    assert is_hosts_fault(code, limits) is is_fault


def strikes(market: Market) -> list[Strike]:
    return [effect.strike for effect in market.of(ev.HostFailed)]


def test_a_failure_counts_once_another_operators_result_was_verified(market: Market) -> None:
    bad, good = market.add_node(WALLETS[0]), market.add_node(WALLETS[1])
    job = killed_on(market, market.queued(SPEC), bad, "agent_error")
    assert strikes(market) == []
    out = market.assign(job, good)
    market.ask(answer(out))
    assert strikes(market) == []
    market.judge(market.job(out))

    assert strikes(market) == [Strike(bad.id, ALICE.address, "agent_error", WALLETS[1])]


@pytest.mark.parametrize("how", ["fails everywhere", "same operator", "unverified", "command"])
def test_a_failure_that_nobody_puts_to_shame_does_not_count(market: Market, how: str) -> None:
    bad, good = market.add_node(WALLETS[0]), market.add_node(WALLETS[1])
    spec, state = SPEC, "accepted"
    if how == "fails everywhere":
        spec = montecarlo_spec(retries=1)
    elif how == "same operator":
        good = market.add_node(WALLETS[0])
    elif how == "unverified":
        spec, state = montecarlo_spec(retries=9, verify=Unverified()), "unverified"
    elif how == "command":
        spec = command_spec(retries=9)
    out = market.assign(killed_on(market, market.queued(spec), bad, "agent_error"), good)
    if how == "fails everywhere":
        market.ask(failure(out))
    else:
        market.ask(answer(out))
        market.judge(market.job(out), state)

    assert market.job(out).state is (S.FAILED if how == "fails everywhere" else S.COMPLETED)
    assert strikes(market) == []


def a_strike(submitter: int, completer: int = 0, code: str = "agent_error") -> Strike:
    return Strike(7, WALLETS[submitter], code, WALLETS[5 + completer % 5])


FIVE = [a_strike(n % 3, n) for n in range(5)]


def test_five_failures_of_three_submitters_drain_a_node_and_it_is_told_why() -> None:
    hosts = Hosts()
    reasons = [hosts.note_strike(strike) for strike in FIVE]

    assert reasons[:-1] == [""] * 4
    assert reasons[-1] == (
        "5 of its last 5 jobs failed here (agent_error) and were completed elsewhere"
    )


@pytest.mark.parametrize(
    "strikes_",
    [
        FIVE[:4],
        # One submitter, two submitters: as many jobs as they like.
        [a_strike(0, n) for n in range(20)],
        [a_strike(n % 2, n) for n in range(20)],
        # Three, of whom one does nearly everything.
        [*(a_strike(0, n) for n in range(9)), a_strike(1), a_strike(2, 1)],
        # One accomplice who completes them all.
        [a_strike(n % 3, 0) for n in range(20)],
    ],
    ids=["few", "one wallet", "two wallets", "one of three", "one accomplice"],
)
def test_less_than_that_does_not(strikes_: list[Strike]) -> None:
    assert reason_to_drain(strikes_) == ""


def test_wrong_results_that_we_recomputed_need_no_second_witness() -> None:
    assert reason_to_drain([a_strike(n % 3, 0, "rejected") for n in range(5)])


def test_honest_work_outweighs_a_campaign() -> None:
    hosts = Hosts()
    told = []
    for number in range(100):
        told.append(hosts.note_strike(a_strike(number % 3, number)))
        hosts.note_success(7)
        hosts.note_success(7)

    assert set(told) == {""}


def test_of_a_node_without_failures_nothing_is_kept_and_of_a_bad_one_the_last_outcomes() -> None:
    hosts = Hosts()
    hosts.note_success(7)
    assert not hosts.is_watched(7)
    hosts.note_strike(FIVE[0])
    for _ in range(OUTCOMES_PER_NODE):
        assert hosts.is_watched(7)
        hosts.note_success(7)
    assert not hosts.is_watched(7)


OUTCOMES = st.lists(
    st.one_of(
        st.none(),
        st.builds(
            a_strike,
            st.integers(0, 4),
            st.integers(0, 2),
            st.sampled_from(["rejected", "lease_lost", "agent_error"]),
        ),
    ),
    max_size=OUTCOMES_PER_NODE,
)


@given(OUTCOMES)
def test_no_mix_of_outcomes_drains_a_node_unless_every_condition_holds(
    outcomes: list[Strike | None],
) -> None:
    found = [outcome for outcome in outcomes if outcome is not None]
    is_drained = bool(reason_to_drain(outcomes))

    submitters = {strike.submitter for strike in found}
    without_one = [
        [strike for strike in found if strike.submitter != wallet] for wallet in submitters
    ]
    if is_drained:
        assert len(found) >= STRIKES_MIN
        assert len(submitters) >= 3
        assert len(found) * 2 >= len(outcomes)
        assert len({s.completer for s in found}) > 1 or {s.code for s in found} == {"rejected"}
        # Nobody decides alone: without any one wallet there still are failures of two others.
        assert all(len({s.submitter for s in left}) >= 2 for left in without_one)


@pytest.mark.parametrize(
    ("drained", "online", "may"),
    [(0, 1, False), (0, 2, True), (1, 2, False), (0, 4, True), (1, 7, False), (1, 8, True),
     (24, 100, True), (25, 100, False)],
)  # fmt: skip
def test_never_more_than_a_quarter_of_the_nodes_and_never_the_last(
    drained: int, online: int, *, may: bool
) -> None:
    assert quarantine.may_drain(drained, online) is may


def test_a_drain_doubles_up_to_a_bound_and_is_forgiven_after_a_day() -> None:
    drained, now_ms, lengths = None, NOW_MS, []
    for _ in range(8):
        drained = quarantine.drain(7, drained, now_ms, "why")
        lengths.append(drained.until_ms - now_ms)
        now_ms = drained.until_ms
    assert lengths[:3] == [DRAIN_FIRST_MS, 2 * DRAIN_FIRST_MS, 4 * DRAIN_FIRST_MS]
    assert lengths[-1] == DRAIN_MAX_MS
    assert drained is not None
    later = drained.began_ms + DRAIN_MEMORY_MS
    assert quarantine.drain(7, drained, later, "why") == NodeDrain(
        7, later, later + DRAIN_FIRST_MS, 1, "why"
    )


# ---- the attack ---------------------------------------------------------------------------------


def test_a_poison_submitter_with_an_accomplice_does_not_drain_the_host_next_door(
    market: Market,
) -> None:
    """Jobs that fail on the victim, by tight limits or otherwise, and succeed at a friend's.

    The victim works for others meanwhile, as hosts do; then even three wallets do not suffice.
    """
    victim, friend = market.add_node(WALLETS[0]), market.add_node(WALLETS[1])
    hosts, told = Hosts(), list[str]()
    tight = montecarlo_spec(retries=9, limits=Limits(execution_s=1, memory_mb=16))
    for number, code in enumerate(["execution_timeout", "out_of_memory"] * 10):
        out = market.queued(tight, key=f"tight {number}")
        out = market.assign(killed_on(market, out, victim, code), friend)
        market.ask(answer(out))
        market.judge(market.job(out))
    assert strikes(market) == [], "what a submitter made tight does not count"

    for wallet in WALLETS[2:5]:
        market.fund(wallet)
    for number, (wallet, _) in enumerate(product(WALLETS[2:5], range(4))):
        seen = len(strikes(market))
        poison = market.queued(SPEC, key=f"poison {number}", submitter=wallet)
        out = market.assign(killed_on(market, poison, victim, "worker_crashed"), friend)
        market.ask(answer(out))
        market.judge(market.job(out))
        told += [hosts.note_strike(strike) for strike in strikes(market)[seen:]]
        # The accomplice is one operator: that alone is not enough, and honest work goes on.
        hosts.note_success(victim.id)
    assert len(strikes(market)) == 12
    assert set(told) == {""}


# ---- rows ---------------------------------------------------------------------------------------


def test_a_drain_is_a_row_and_ends_once(market: Market) -> None:
    node = market.node.id
    drained = market.ask(ev.NodeFailing(node, "it fails"))
    assert list(market.reader.node_drains()) == [drained]
    assert drained.until_ms == NOW_MS + DRAIN_FIRST_MS
    market.now_ms = drained.until_ms
    again = market.ask(ev.NodeFailing(node, "it fails still"))
    assert (again.count, again.until_ms - again.began_ms) == (2, 2 * DRAIN_FIRST_MS)

    for _ in range(2):
        market.ask(ev.NodeWell(node))
    assert list(market.reader.node_drains()) == []
    assert [effect.drain for effect in market.of(ev.NodeDrained)] == [drained, again, None]


@pytest.mark.parametrize("event", [ev.NodeFailing(99, "why"), ev.NodeWell(99)])
def test_there_is_no_drain_of_a_node_that_does_not_exist(market: Market, event: Any) -> None:
    with pytest.raises(Exception, match="not_found"):
        market.ask(event)


def test_an_administrators_drain_lasts_as_long_as_was_said(market: Market) -> None:
    drained = market.ask(ev.NodeFailing(market.node.id, "look at it", 5_000))

    assert drained.until_ms == NOW_MS + 5_000


def test_a_test_job_of_a_drained_node_earns_nothing() -> None:
    made = Market()
    spec = b'{"kind":"command","params":{"command":"true"},"retries":0}'
    job = made.ask(ev.TestJobDue(made.node.id, spec, is_paid=False))
    made.now_ms += 3_000
    made.ask(answer(job))

    assert (made.job(job).state, made.job(job).paid) == (S.COMPLETED, 0)
    assert made.money(BOB.address) == {}
    made.close()
