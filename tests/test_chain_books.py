"""What the chain says is booked once, whatever is repeated, reordered or lied about.

Each test ends with an audit of the whole store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from coordinator import chain_events as cev, events as ev
from coordinator.chain_books import Booked
from coordinator.ledger import credit_of, earned_of
from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import EpochState
from coordinator.store.values import Job
from onchain.amounts import AMOUNT_MAX, UNITS
from tests.build import ALICE, BOB, CREDIT, NODE, OPERATOR, Market, montecarlo_spec, wish
from tests.chain_market import EXIT_AFTER_S, LEDGER, TREASURY_WALLET, ChainMarket

CAROL = NODE.address


@pytest.fixture
def market() -> Iterator[ChainMarket]:
    made = ChainMarket()
    yield made
    made.close()


def code_of(call: object) -> str:
    with pytest.raises(Refusal) as caught:
        call()  # type: ignore[operator]
    return caught.value.code


# ---- deposits -----------------------------------------------------------------------------------
def test_a_deposit_is_credited_once_and_its_difference_later(market: ChainMarket) -> None:
    assert market.deposit(CAROL, 70) == Booked(credited=70)
    assert market.deposit(CAROL, 70) == Booked()
    assert market.deposit(CAROL, 100) == Booked(credited=30)

    assert market.balance(credit_of(CAROL)) == 100
    assert market.balance("chain") == -(100 + 2 * CREDIT)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 30))
def test_whatever_order_records_are_told_in_the_newest_one_is_booked(
    order: list[int], step: int
) -> None:
    market = ChainMarket()
    # Ten reads of one record, each with its slot: deposits and exits rise, a wish comes and goes.
    reads = [
        cev.DepositSeen(CAROL, step * (i + 1), step * (i // 3), (i % 4) * 1_000, 1_000 + i)
        for i in range(10)
    ]
    for index in [*order, 9, *order]:
        market.ask(reads[index])

    record = market.reader.deposit(CAROL)
    assert (record.deposited, record.exited) == (10 * step, 3 * step)
    assert record.exit_requested_s == reads[9].exit_requested_s
    assert market.balance(credit_of(CAROL)) == 7 * step
    assert market.balance("loss") == 0
    market.close()


def test_the_same_news_twice_in_one_batch_counts_once(market: ChainMarket) -> None:
    seen = cev.DepositSeen(CAROL, 5, 0, 0, 200)

    assert [each.value for each in market.apply(seen, seen)] == [Booked(5), Booked()]


def test_a_chain_that_shows_less_is_a_named_alarm(market: ChainMarket) -> None:
    market.deposit(CAROL, 50, exited=20)

    assert market.refused(cev.DepositSeen(CAROL, 49, 20, 0, 10**6)) == "chain_went_back"
    assert market.refused(cev.DepositSeen(CAROL, 50, 19, 0, 10**6)) == "chain_went_back"
    assert market.refused(cev.DepositSeen(CAROL, 60, 61, 0, 10**6)) == "chain_went_back"
    assert market.refused(cev.DepositSeen(CAROL, AMOUNT_MAX + 1, 20, 0, 10**6)) == "bad_amount"
    market.claim(CAROL, 5)
    assert market.refused(cev.ClaimSeen(CAROL, 4, 10**6)) == "chain_went_back"
    # A read of before is no alarm.
    assert market.ask(cev.DepositSeen(CAROL, 49, 20, 0, 1)) == Booked()


def test_the_ledgers_own_deposit_is_the_reserve(market: ChainMarket) -> None:
    assert market.deposit(LEDGER, 900) == Booked(credited=900)
    assert market.balance("reserve") == 900

    assert market.ask(cev.ReserveSeen(300, 5)) == Booked(paid=300)
    assert market.ask(cev.ReserveSeen(300, 6)) == Booked()
    assert market.balance("reserve") == 600
    assert market.refused(cev.ReserveSeen(299, 7)) == "chain_went_back"
    assert market.refused(cev.ReserveSeen(901, 7)) == "out_of_order"


def test_the_treasury_wallets_deposit_is_the_treasurys(market: ChainMarket) -> None:
    market.deposit(TREASURY_WALLET.address, 40)

    assert market.balance("treasury") == 40
    assert market.balance(credit_of(TREASURY_WALLET.address)) == 0


# ---- claims, and what was stolen ----------------------------------------------------------------
def test_a_claim_leaves_the_books_once(market: ChainMarket) -> None:
    earned = market.earn()

    assert market.claim(OPERATOR.address, earned - 1) == Booked(paid=earned - 1)
    assert market.claim(OPERATOR.address, earned - 1) == Booked()
    assert market.balance(earned_of(OPERATOR.address)) == 1
    assert market.claim(OPERATOR.address, 1, slot=1) == Booked(), "an older read"


def test_what_was_stolen_is_a_loss_and_the_wallet_keeps_a_leaf_of_it(market: ChainMarket) -> None:
    earned = market.earn()

    assert market.claim(OPERATOR.address, earned + 700) == Booked(paid=earned + 700, loss=700)
    assert market.claim(CAROL, 300) == Booked(paid=300, loss=300)

    assert market.balance("loss") == -1_000
    assert market.refused(cev.EpochClosed(1)) == "insolvent"
    market.deposit(TREASURY_WALLET.address, 1_000)
    market.ask(cev.EpochClosed(1))
    earnings, _ = market.leaves()
    assert earnings[OPERATOR.address] == earned + 700
    assert earnings[CAROL] == 300


def test_a_loss_is_made_good_by_the_treasury_wallet_before_anything_else(
    market: ChainMarket,
) -> None:
    market.claim(CAROL, 300)
    market.deposit(TREASURY_WALLET.address, 200)
    assert (market.balance("loss"), market.balance("treasury")) == (-100, 0)
    market.deposit(TREASURY_WALLET.address, 350)

    assert (market.balance("loss"), market.balance("treasury")) == (0, 50)
    assert market.reader.deposit(TREASURY_WALLET.address).deposited == 350


def test_an_exit_of_what_was_spent_since_is_a_loss(market: ChainMarket) -> None:
    market.deposit(CAROL, 100)
    market.ask(ev.JobsSubmitted(CAROL, (wish("k", montecarlo_spec(paths=2), 90),)))

    assert market.deposit(CAROL, 100, exited=40) == Booked(paid=40, loss=30)
    assert market.balance(credit_of(CAROL)) == 0


# ---- spending stops -----------------------------------------------------------------------------
def submission(market: Market, key: str = "next") -> Job | Refusal:
    (answer,) = market.submit(wish(key, montecarlo_spec(), UNITS))
    return answer


def stop_of(market: Market, key: str = "next") -> str:
    answer = submission(market, key)
    assert isinstance(answer, Refusal)
    return answer.code


def test_who_asked_to_leave_spends_nothing_and_may_stay_after_all(market: ChainMarket) -> None:
    kept = submission(market, "kept")
    market.deposit(ALICE.address, CREDIT, asked_s=5)

    assert stop_of(market) == "exit_pending"
    assert submission(market, "kept") == kept, "what was accepted is answered as before"
    withdrawal = market.wish_to_withdraw(ALICE, 5)
    assert market.refused(withdrawal) == "exit_pending"
    (of_bob,) = market.submit(wish("b", montecarlo_spec(), UNITS), submitter=BOB.address)
    assert isinstance(of_bob, Job)

    market.deposit(ALICE.address, CREDIT, asked_s=0)
    assert isinstance(submission(market), Job)


def test_spending_stops_at_two_thirds_of_the_time_to_the_door(market: ChainMarket) -> None:
    two_thirds_ms = EXIT_AFTER_S * 2 // 3 * 1_000
    market.now_ms += two_thirds_ms - 1
    assert isinstance(submission(market, "just in time"), Job)
    market.now_ms += 1
    assert stop_of(market) == "settlement_late"

    # By the chain's clock, whatever ours says.
    market.look(now_s=50, last_activation_s=50 - EXIT_AFTER_S * 2 // 3)
    assert stop_of(market) == "settlement_late"
    market.look(now_s=50, last_activation_s=49)
    assert isinstance(submission(market), Job)


def test_spending_stops_when_more_is_earned_than_the_reserve_backs(market: ChainMarket) -> None:
    market.look(unrooted=100, promise=100)
    assert isinstance(submission(market, "backed"), Job)
    market.look(unrooted=101, promise=100)
    assert stop_of(market) == "reserve_exceeded"
    market.look(unrooted=10**9, promise=0)
    assert isinstance(submission(market), Job), "nothing is promised, so nothing is broken"


def test_nothing_is_spent_before_the_chain_was_looked_at() -> None:
    market = ChainMarket()
    settlement = market.reader.settlement()
    assert settlement is not None
    market.write(lambda batch: batch.save_settlement(type(settlement)(LEDGER)))

    assert stop_of(market) == "settlement_unread"
    market.close()


def test_a_house_without_a_chain_books_nothing_of_one() -> None:
    market = Market()
    for event in (
        cev.DepositSeen(ALICE.address, 5, 0, 0, 1),
        cev.ClaimSeen(ALICE.address, 5, 1),
        cev.ReserveSeen(5, 1),
        cev.ChainLooked(1, 1, 1, 0, 0),
        cev.VoucherAsked(ALICE.address, 1),
        cev.EpochClosed(1),
        cev.EpochSealed(1, b"", b"", 0, 0, 0),
        cev.EpochMoved(1, EpochState.ACTIVE, 1, b""),
        cev.WithdrawAsked(ALICE.address, 5, "k", market.now_ms, bytes(64)),
    ):
        assert code_of(lambda event=event: market.ask(event)) == "no_chain"
    market.close()


def test_the_faucet_gives_nothing_where_a_chain_is(market: ChainMarket) -> None:
    assert market.refused(ev.FaucetAsked(ALICE.address, 5, "k")) == "faucet_off"


# ---- vouchers -----------------------------------------------------------------------------------
def test_a_voucher_proves_what_was_earned_but_not_what_waits_to_be_withdrawn(
    market: ChainMarket,
) -> None:
    assert code_of(lambda: market.ask(cev.VoucherAsked(OPERATOR.address, 9))) == "not_found"
    earned = market.earn()
    market.withdraw(ALICE, 70)
    assert code_of(lambda: market.ask(cev.VoucherAsked(ALICE.address, 9))) == "not_found"

    voucher = market.ask(cev.VoucherAsked(OPERATOR.address, 9))
    assert (voucher.cumulative, voucher.expires_s) == (earned, 9)
    assert market.reader.voucher(OPERATOR.address) == voucher
    market.activate()
    assert market.ask(cev.VoucherAsked(ALICE.address, 9)).cumulative == 70
    market.move_epoch(1, EpochState.REVOKED)
    assert market.ask(cev.VoucherAsked(ALICE.address, 9)).cumulative == 70, "it is out already"
