"""Money follows the job: fees, test pay, what is withheld, receipts, and the faucet.

Each test ends with an audit of the whole store (`Market.close`): sums, holds, chain and counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator import events as ev
from coordinator.ledger import HOUSE, TREASURY
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.receipts import Receipt, SignedRoot, verify_receipt
from coordinator.store.values import CounterSignature, Job, JobState as S, Node
from onchain.amounts import AMOUNT_MAX, UNITS
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


def refused(market: Market, event: ev.Event) -> str:
    with pytest.raises(Refusal) as caught:
        market.ask(event)
    return caught.value.code


# ---- fees and wallets ---------------------------------------------------------------------------


@pytest.mark.parametrize(("fee_bp", "fee"), [(0, 0), (1, 0), (250, 165), (10_000, 6601)])
def test_the_fee_is_taken_out_of_the_price(fee_bp: int, fee: int) -> None:
    market = market_of(fee_bp=fee_bp)
    job = market.judge(market.verifying(budget=10_000))

    assert (job.paid, job.fee) == (PRICE, fee)
    money = {"credit": -PRICE, "withheld": PRICE - fee, "fees": fee}
    assert market.money() == {name: amount for name, amount in money.items() if amount}
    (receipt,) = market.receipts()
    assert (receipt.paid, receipt.fee) == (PRICE - fee, fee)
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


# ---- test jobs ----------------------------------------------------------------------------------

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
    assert market.receipts() == []
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


# ---- what is withheld ---------------------------------------------------------------------------


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


# ---- receipts -----------------------------------------------------------------------------------


def test_a_receipt_names_what_was_paid_for_what_and_to_whom(market: Market) -> None:
    node = market.add_node(node_key=NODE.address)
    job = market.assign(market.queued(budget=10_000), node)
    market.ask(answer(job))
    market.now_ms += 7
    market.judge(job)

    (receipt,) = market.receipts()
    assert receipt == Receipt(
        job=job.id, fence=1, coordinator_key=COORDINATOR.address, node_key=NODE.address,
        wallet=OPERATOR.address, submitter=ALICE.address, spec_hash=job.spec_hash,
        input_root=bytes(32), output_root=output_root([b"log"]), policy="sample",
        verdict="accepted", paid=PRICE - FEE, fee=FEE, cumulative=PRICE - FEE,
        time_ms=NOW_MS + 7,
    )  # fmt: skip


def test_a_seed_clients_receipt_has_zeros_for_its_node_key(market: Market) -> None:
    market.judge(market.verifying())

    assert [each.node_key for each in market.receipts()] == [bytes(32)]


def test_what_was_ever_paid_grows_within_a_batch_and_across_batches(market: Market) -> None:
    for keys in ("abc", "de"):
        jobs = [market.verifying(key=key) for key in keys]
        market.apply(*(ev.VerdictReached(job.id, 1, "accepted", "", bytes(32)) for job in jobs))

    receipts = market.receipts()
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
        verify_receipt(ready.receipts[0].data, 0, [], replace(signed, count=2))


def test_a_counter_signature_is_kept(market: Market) -> None:
    market.judge(market.verifying())
    assert market.reader.unsigned_batches(market.node.id, 9) == [1]
    market.ask(ev.CounterSigned((CounterSignature(1, market.node.id, b"s" * 64),)))

    assert market.reader.unsigned_batches(market.node.id, 9) == []
    assert [each.signature for each in market.reader.counter_signatures(1)] == [b"s" * 64]


# ---- the faucet ---------------------------------------------------------------------------------


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
    market = Market(replace(RULES, faucet=False))

    assert refused(market, ev.FaucetAsked(ALICE.address, 500, "k")) == "faucet_off"
    market.close()


def test_the_faucet_gives_no_more_than_the_books_can_count(market: Market) -> None:
    all_there_is, one = (
        ev.FaucetAsked(NODE.address, amount, f"{amount}") for amount in (AMOUNT_MAX, 1)
    )

    assert refused(market, all_there_is) == "bad_amount"
    market.ask(one)
    assert market.money(NODE.address)["credit"] == 1 - CREDIT
