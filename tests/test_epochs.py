"""Epochs: what is in a leaf, what never is, and that no root promises more than there is.

Each test ends with an audit of the whole store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coordinator import chain_events as cev
from coordinator.chain_place import OnChain
from coordinator.epochs import MOVES
from coordinator.ledger import earned_of
from coordinator.limits import BATCH_EVENTS_MAX
from coordinator.protocol.errors import Refusal
from coordinator.solvency import Promised, check_solvent
from coordinator.store.interface import Batch
from coordinator.store.settlement_values import Deposit, Epoch, EpochState as S
from coordinator.store.values import Bucket, Transfer, TransferKind
from onchain.amounts import UNITS
from tests.build import ALICE, BOB, CREDIT, NODE, OPERATOR
from tests.chain_market import (
    FEE_WALLET,
    LEDGER,
    TREASURY_WALLET,
    ChainMarket,
    root_of,
)
from tests.store_values import post

CAROL = NODE.address


@pytest.fixture
def market() -> Iterator[ChainMarket]:
    made = ChainMarket()
    yield made
    made.close()


# ---- leaves -------------------------------------------------------------------------------------
def test_a_leaf_is_all_that_was_ever_earned_and_an_exit_all_that_is_unspent(
    market: ChainMarket,
) -> None:
    earned = market.earn()
    spent = earned + market.balance("fees")
    market.withdraw(BOB, 1_000)
    market.deposit(BOB.address, CREDIT, exited=50)
    market.queued(key="waits", budget=UNITS)

    epoch = market.close_epoch()

    earnings, exits = market.leaves()
    fee = spent - earned
    assert earnings == {OPERATOR.address: earned, BOB.address: 1_000, FEE_WALLET.address: fee}
    assert exits == {ALICE.address: CREDIT - spent, BOB.address: CREDIT - 1_000}
    assert (epoch.total, epoch.total_exitable) == (sum(earnings.values()), sum(exits.values()))
    assert (epoch.number, epoch.state, epoch.root) == (1, S.CLOSED, b"")


def test_what_is_withheld_is_in_no_leaf_and_what_is_due_is_released_first(
    market: ChainMarket,
) -> None:
    market.judge(market.verifying(key="due"))
    market.now_ms += market.rules.withhold_ms + 2 * 3_600_000
    market.look()
    market.judge(market.verifying(key="withheld"))
    withheld = market.money()["withheld"]

    market.close_epoch()

    earnings, exits = market.leaves()
    assert earnings[OPERATOR.address] == withheld // 2
    assert market.money()["withheld"] == withheld // 2
    assert sum(earnings.values()) + sum(exits.values()) < 2 * CREDIT


def test_claims_do_not_lower_a_leaf(market: ChainMarket) -> None:
    earned = market.earn("a")
    market.activate()
    market.claim(OPERATOR.address, earned)
    more = market.earn("b")

    market.close_epoch(2, active_epoch=1, active_total=earned)
    assert market.leaves(2)[0][OPERATOR.address] == earned + more
    assert market.leaves(1)[0][OPERATOR.address] == earned


def test_what_is_held_for_who_leaves_is_promised_to_nobody(market: ChainMarket) -> None:
    market.queued(key="waits", budget=UNITS)
    market.deposit(ALICE.address, CREDIT, asked_s=5)

    epoch = market.close_epoch()
    assert market.leaves()[1][ALICE.address] == CREDIT - UNITS
    # It stays so when she thinks better of it: the root is made of these leaves.
    market.deposit(ALICE.address, CREDIT, asked_s=0)
    assert market.leaves()[1][ALICE.address] == CREDIT - UNITS
    assert sum(market.leaves()[1].values()) == epoch.total_exitable


def test_events_of_the_same_batch_count_if_they_come_before_the_close(
    market: ChainMarket,
) -> None:
    before, after = (market.wish_to_withdraw(ALICE, 10, key) for key in ("before", "after"))
    _, closed, _ = market.apply(before, cev.EpochClosed(1), after)

    epoch = closed.value
    assert market.leaves()[0] == {ALICE.address: 10}
    assert (epoch.total, epoch.total_exitable) == (10, 2 * CREDIT - 10)
    assert market.balance(earned_of(ALICE.address)) == 20
    ((_, counted),) = market.reader.withdrawals_in(1, 0, 9)
    assert counted.key == "before"
    ((_, waits),) = market.reader.withdrawals_in(0, 0, 9)
    assert waits.key == "after"


def test_the_treasury_beyond_two_days_of_test_pay_becomes_its_wallets_earnings() -> None:
    market = ChainMarket(test_pay_daily=100)
    market.deposit(TREASURY_WALLET.address, 1_000)

    market.close_epoch()
    assert market.balance("treasury") == 200
    assert market.leaves()[0] == {TREASURY_WALLET.address: 800}
    market.close()


def test_without_wallets_of_the_house_its_money_stays_where_it_is() -> None:
    market = ChainMarket(OnChain(LEDGER))
    earned = market.earn()
    market.close_epoch()

    assert market.leaves()[0] == {OPERATOR.address: earned}
    assert market.balance("fees") > 0
    market.close()


def test_the_houses_money_makes_a_loss_good_before_it_is_anybodys(market: ChainMarket) -> None:
    market.earn()
    fees = market.balance("fees")
    market.deposit(TREASURY_WALLET.address, 4)
    market.claim(CAROL, 10)

    market.close_epoch()
    assert (market.balance("loss"), market.balance("treasury")) == (0, 0)
    assert market.leaves()[0][FEE_WALLET.address] == fees - 6


def test_many_due_buckets_are_released_in_parts_before_anything_is_fixed(
    market: ChainMarket,
) -> None:
    wallets = [number.to_bytes(32, "little") for number in range(1, BATCH_EVENTS_MAX + 2)]

    def withhold(batch: Batch) -> None:
        transfers = []
        for number, wallet in enumerate(wallets):
            account = earned_of(wallet).replace("earned", "withheld")
            batch.add_to_bucket(Bucket(wallet, 1, 1, 5))
            transfers.append(
                Transfer(TransferKind.PAY, 10**6 + number, "hold:treasury", account, 1)
            )
        hold = Transfer(TransferKind.HOLD, 10**6, "treasury", "hold:treasury", len(wallets))
        gift = Transfer(TransferKind.DEPOSIT, 5, "chain", "treasury", len(wallets))
        batch.save_deposit(Deposit(TREASURY_WALLET.address, len(wallets)))
        post(batch, [gift, hold, *transfers])

    market.write(withhold)
    assert market.ask(cev.EpochClosed(1)) is None
    assert market.reader.epoch(1) is None

    market.close_epoch()
    assert len(market.leaves()[0]) == len(wallets)


# ---- what is refused ----------------------------------------------------------------------------
def test_more_than_was_deposited_is_never_promised(market: ChainMarket) -> None:
    market.earn()
    # The fees stand behind a loss, and no more than they.
    market.claim(CAROL, market.balance("fees") + 1)

    with pytest.raises(Refusal) as caught:
        market.close_epoch()
    assert caught.value.code == "insolvent"
    assert "0.000001 HYPER more than the 200 that were deposited" in caught.value.sentence
    assert market.reader.epoch(1) is None
    market.deposit(TREASURY_WALLET.address, 1)
    market.close_epoch()


@pytest.mark.parametrize("field", ["total", "total_exitable", "reserve", "reserve_withdrawn"])
def test_every_promise_counts(field: str) -> None:
    numbers = {"total": 4, "total_exitable": 3, "reserve": 2, "reserve_withdrawn": 1}
    check_solvent(Promised(**numbers, deposited=10))
    numbers[field] += 1

    with pytest.raises(Refusal) as caught:
        check_solvent(Promised(**numbers, deposited=10))
    assert caught.value.code == "insolvent"


def test_the_reserve_is_nobody_elses(market: ChainMarket) -> None:
    market.deposit(LEDGER, 500)
    market.ask(cev.ReserveSeen(200, 9))
    epoch = market.close_epoch()

    assert (epoch.total, epoch.total_exitable) == (0, 2 * CREDIT)
    assert LEDGER not in market.leaves()[1]


def test_money_of_the_faucet_reaches_no_root(market: ChainMarket) -> None:
    gift = Transfer(TransferKind.FAUCET, 1, "faucet", "credit:x", 5)
    market.write(lambda batch: post(batch, [gift]))

    assert market.refused(cev.EpochClosed(1)) == "faucet_money"


def test_a_total_below_the_active_root_stops(market: ChainMarket) -> None:
    earned = market.earn()
    market.activate()

    event = cev.EpochClosed(2, active_epoch=1, active_total=earned + 10**9)
    assert market.refused(event) == "leaf_below"
    assert market.refused(cev.EpochClosed(8, active_epoch=7)) == "epoch_unknown"


def test_there_is_no_epoch_of_nothing() -> None:
    market = ChainMarket()
    for owner in (ALICE.address, BOB.address):
        market.deposit(owner, CREDIT, exited=CREDIT)
    assert market.ask(cev.EpochClosed(1)).total_exitable == 2 * CREDIT
    market.close()


# ---- one epoch after the other ------------------------------------------------------------------
def test_a_closed_epoch_stays_as_it_is_until_it_is_closed_anew(market: ChainMarket) -> None:
    first = market.close_epoch()
    market.withdraw(ALICE, 10)
    assert market.close_epoch() == first
    assert market.refused(cev.EpochClosed(2)) == "epoch_pending"

    anew = market.close_epoch(is_anew=True)
    assert (anew.number, anew.total) == (1, 10)
    assert [each.key for _, each in market.reader.withdrawals_in(1, 0, 9)] == ["w"]


def test_an_epoch_is_decided_before_the_next_one(market: ChainMarket) -> None:
    market.close_epoch()
    market.seal_epoch()
    market.move_epoch(1, S.PUBLISHED)
    assert market.refused(cev.EpochClosed(2)) == "epoch_pending"
    assert market.refused(cev.EpochClosed(1)) == "epoch_state"
    assert market.refused(cev.EpochClosed(1, is_anew=True)) == "epoch_state"

    market.move_epoch(1, S.CANCELLED)
    # Somebody's false root took number 2 and was cancelled: our numbers are the chain's.
    assert market.close_epoch(3).number == 3


def test_a_tree_must_be_of_the_leaves_that_were_closed(market: ChainMarket) -> None:
    market.withdraw(ALICE, 10)
    epoch = market.close_epoch()
    sealed = cev.EpochSealed(1, root_of(1), root_of(2), 3, epoch.total, epoch.total_exitable)
    wrong = cev.EpochSealed(1, root_of(1), root_of(2), 3, epoch.total + 1, epoch.total_exitable)
    other = cev.EpochSealed(1, root_of(9), root_of(2), 3, epoch.total, epoch.total_exitable)

    assert market.refused(cev.EpochMoved(1, S.PUBLISHED, 5, b"")) == "epoch_state"
    assert market.refused(wrong) == "leaves_differ"
    assert market.ask(sealed) == market.ask(sealed)
    assert market.refused(other) == "root_mismatch"
    found = market.reader.epoch(1)
    assert found is not None
    assert (found.root, found.data_hash, found.leaf_count) == (root_of(1), root_of(2), 3)


@pytest.mark.parametrize("before", [*S])
@pytest.mark.parametrize("after", [S.PUBLISHED, S.ACTIVE, S.CANCELLED, S.REVOKED])
def test_an_epoch_moves_as_the_table_says(market: ChainMarket, before: S, after: S) -> None:
    market.close_epoch()
    market.seal_epoch()
    if before is not S.CLOSED:
        market.move_epoch(1, before)
    stale = {(S.ACTIVE, S.PUBLISHED), (S.REVOKED, S.PUBLISHED), (S.REVOKED, S.ACTIVE)}
    event = cev.EpochMoved(1, after, 77, root_of(1), b"signed")

    if after in MOVES[before]:
        moved: Epoch = market.ask(event)
        assert (moved.state, moved.signature) == (after, b"signed")
        times = {S.PUBLISHED: moved.published_s, S.ACTIVE: moved.active_s}
        assert times.get(after, moved.ended_s) == 77
    elif before is after or (before, after) in stale:
        assert market.ask(event).state is before
    else:
        assert market.refused(event) == "epoch_state"


def test_another_root_under_our_number_is_a_named_alarm(market: ChainMarket) -> None:
    market.close_epoch()
    market.seal_epoch()

    assert market.refused(cev.EpochMoved(1, S.ACTIVE, 5, root_of(6))) == "root_mismatch"
    assert market.refused(cev.EpochMoved(9, S.ACTIVE, 5, root_of(9))) == "not_found"


def test_a_revoked_root_makes_the_one_before_it_active_again(market: ChainMarket) -> None:
    market.withdraw(ALICE, 10)
    market.activate(1)
    market.now_ms += 9_000
    market.activate(2)
    active = market.reader.active_epoch()
    assert active is not None
    assert active.number == 2

    market.move_epoch(2, S.REVOKED)
    active = market.reader.active_epoch()
    assert active is not None
    assert active.number == 1
