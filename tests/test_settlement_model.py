"""The settlement model's money: deposits, roots, revocation, exits, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.settlement_model import TOKEN_REFUSES
from tests.settlement_model.calls import Argument
from tests.settlement_model.market import Market, no, ok
from tests.settlement_model.setting import DAY, HOUR, LIMITS, key
from tests.settlement_model.state import Root


@pytest.fixture
def market() -> Market:
    return Market()


# Deposits


def test_a_deposit_is_credited_to_its_owner_and_to_the_reserve_if_it_is_the_ledgers(
    market: Market,
) -> None:
    (event,) = ok(market.deposit("alice", 700)).events
    ok(market.deposit("alice", 30))
    ok(market.deposit("reserve", 50))

    assert event.fields == {"owner": key("alice"), "amount": 700, "deposited": 700}
    assert market.deposit_record("alice").deposited == 730
    assert market.deposit_record("alice").last_slot == 1_000
    assert (market.ledger.total_deposited, market.ledger.reserve) == (780, 50)
    assert market.vault_balance == 780


def test_a_deposit_that_is_too_small_unpaid_or_from_the_vault_is_refused(market: Market) -> None:
    no(market.deposit("alice", 0), "BadArgs")
    no(market.deposit("alice", 9), "BelowMinimum")
    assert market.balance("alice") == 9
    ok(market.deposit("alice", 10))
    record = market.wallet_accounts("alice")["claim_record"]
    accounts = {"authority": key("alice"), "owner": key("alice"), "deposit_record": record}
    source = market.token_account_of(key("alice"))

    no(
        market.send("deposit", {"amount": 10}, {**accounts, "source": source}),
        "InvalidRecord",
    )
    no(
        market.send("deposit", {"amount": 10}, {**accounts, "source": market.vault}),
        "WrongVault",
    )


def test_a_deposit_needs_the_tokens_and_their_owner_or_a_delegate(market: Market) -> None:
    market.account("alice").amount = 100
    ok(market.deposit("bob", 10))
    as_bob = {"authority": key("bob"), "owner": key("bob")}
    as_bob["source"] = market.token_account_of(key("alice"))
    as_bob["deposit_record"] = market.deposit_record_of("bob")
    call = market.call("deposit", {"amount": 60}, as_bob)

    no(market.model.apply(call), TOKEN_REFUSES)
    market.account("alice").delegate, market.account("alice").delegated_amount = key("bob"), 60
    ok(market.model.apply(call))
    no(market.model.apply(call), TOKEN_REFUSES)
    assert market.balance("alice") == 40
    assert market.account("alice").delegate is None
    assert market.ledger.total_deposited == 70


# Roots


def test_a_root_that_nobody_approves_waits_for_the_slow_delay_and_for_its_slots(
    market: Market,
) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.publish({"wally": 400}, {"alice": 600}))
    market.wait(DAY - 1)
    no(market.activate(), "NotDue")
    market.model.world.now += 1
    assert market.model.world.slot == 1_000 + int((DAY - 1) * 2.5)
    market.model.world.slot = 1_000 + 2 * DAY - 1
    no(market.activate(), "NotDue")
    market.model.world.slot += 1
    (event,) = ok(market.activate()).events

    assert event.name == "RootActivated"
    assert event.fields["total"] == 400
    assert market.ledger.active.active_at == market.now
    assert market.ledger.pending == Root()


def test_an_approved_root_waits_for_the_fast_delay_and_for_no_slot(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.publish({"wally": 400}, {"alice": 600}))
    no(market.by("guardian", "approve_root", epoch=1, root=key("other")), "NoPendingRoot")
    no(market.by("publisher", "approve_root", epoch=1, root=key("other")), "Unauthorized")
    ok(market.approve())
    market.model.world.now += HOUR - 1
    ok(market.approve())
    no(market.activate(), "NotDue")
    market.model.world.now += 1

    ok(market.activate())


def test_what_may_be_published(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.deposit("reserve", 100))
    good: dict[str, Argument] = {
        "epoch": 1,
        "root": key("root"),
        "data_hash": key("data"),
        "total": 400,
        "total_exitable": 600,
        "leaf_count": 2,
    }
    refusals: dict[str, dict[str, Argument]] = {
        "BadEpoch": {"epoch": 2},
        "EmptyRoot": {"leaf_count": 0},
        "Insolvent": {"total": 401},
        "ExceedsEpochCap": {"total": 1_000_001},
    }
    for error, wrong in refusals.items():
        no(market.by("publisher", "publish_root", **{**good, **wrong}), error)
    no(market.by("publisher", "publish_root", **{**good, "root": bytes(32)}), "EmptyRoot")
    no(market.by("admin", "publish_root", **good), "Unauthorized")

    ok(market.by("publisher", "publish_root", **good))
    no(market.by("publisher", "publish_root", **{**good, "epoch": 2}), "RootPending")
    ok(market.by("admin", "cancel_root", epoch=1))
    no(market.by("admin", "cancel_root", epoch=1), "NoPendingRoot")
    no(market.by("publisher", "publish_root", **good), "BadEpoch")
    ok(market.by("publisher", "publish_root", **{**good, "epoch": 2}))


def test_a_root_follows_another_after_the_interval_and_takes_nothing_back(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 400}, {"alice": 600}))
    no(market.publish({"wally": 399}, {"alice": 600}), "TotalDecreased")
    ok(market.publish({"wally": 450}, {"alice": 550}))
    ok(market.approve())
    market.wait(HOUR - 1)
    # The last one was published two hours less a second ago: the interval is over, yet one waits.
    no(market.publish({"wally": 460}, {"alice": 540}), "RootPending")
    market.wait(1)
    # Due: promoted first, then refused, so nothing of it lasts.
    no(market.publish({"wally": 449}, {"alice": 540}), "TotalDecreased")
    assert market.ledger.active.epoch == 1
    ok(market.publish({"wally": 460}, {"alice": 540}))

    assert (market.ledger.active.epoch, market.ledger.previous.epoch) == (2, 1)
    assert market.ledger.pending.epoch == 3


def test_the_cap_of_an_epoch_adds_up_for_seven_intervals() -> None:
    market = Market(replace(LIMITS, max_epoch_increase=100))
    ok(market.deposit("alice", 10_000))
    no(market.publish({"wally": 101}, {"alice": 5_000}), "ExceedsEpochCap")
    market.wait(2 * HOUR - 1)
    no(market.publish({"wally": 101}, {"alice": 5_000}), "ExceedsEpochCap")
    market.wait(1)
    no(market.publish({"wally": 201}, {"alice": 5_000}), "ExceedsEpochCap")
    market.wait(98 * HOUR)
    no(market.publish({"wally": 701}, {"alice": 5_000}), "ExceedsEpochCap")

    ok(market.publish({"wally": 700}, {"alice": 5_000}))


# Revocation


def test_a_revoked_root_leaves_what_was_paid_promised_and_nothing_else(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 100}, {"alice": 900}))
    ok(market.claim("wally"))
    ok(market.settle({"wally": 100, "thief": 500}, {"alice": 400}))
    ok(market.claim("thief"))
    (event,) = ok(market.by("guardian", "revoke_root", epoch=2)).events

    assert event.fields["restored_epoch"] == 1
    assert market.ledger.active.total == 600  # 100 were promised, 600 are paid
    assert market.ledger.active.total_exitable == 400  # of 900: more is not there
    assert market.ledger.active.active_at == market.now
    no(market.claim("thief", epoch=2), "StaleEpoch")
    no(market.by("guardian", "revoke_root", epoch=1), "NotRevocable")
    assert market.ledger.previous == Root()


def test_the_first_root_can_be_revoked_and_nothing_is_active_then(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 100}, {"alice": 900}))
    ok(market.by("admin", "revoke_root", epoch=1))
    no(market.claim("wally", epoch=1), "StaleEpoch")
    no(market.by("admin", "revoke_root", epoch=0), "NotRevocable")

    ok(market.settle({"wally": 100}, {"alice": 900}))
    ok(market.claim("wally"))
    assert market.ledger.active.epoch == 2


# Exits


def test_the_first_door_opens_when_no_root_has_come_for_long(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    no(market.ask("nobody"), "InvalidRecord")
    ok(market.settle({"wally": 100}, {"alice": 900}))
    market.wait(7 * DAY - 1)
    no(market.leave("alice"), "ExitClosed")
    market.wait(1)
    (event,) = ok(market.leave("alice")).events
    no(market.leave("alice"), "NothingToExit")

    assert event.fields == {"owner": key("alice"), "amount": 900, "exited": 900}
    assert (market.balance("alice"), market.ledger.total_exited) == (900, 900)
    ok(market.claim("wally"))
    assert market.vault_balance == 0


def test_the_second_door_opens_after_a_request_that_a_root_has_seen(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.deposit("bob", 500))
    no(market.ask("alice", "cancel_exit"), "NoExitRequest")
    ok(market.ask("alice"))
    no(market.ask("alice"), "ExitRequested")
    market.wait(599)
    ok(market.settle({"wally": 100}, {"alice": 900, "bob": 500}))
    market.wait(6 * DAY)
    ok(market.settle({"wally": 110}, {"alice": 900, "bob": 490}))
    market.wait(DAY - 2 * HOUR - 600)
    no(market.leave("alice"), "ExitClosed")
    market.wait(1)
    no(market.leave("bob"), "ExitClosed")
    ok(market.leave("alice"))
    assert market.balance("alice") == 900


def test_a_root_published_too_soon_after_the_request_does_not_open_the_second_door(
    market: Market,
) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.ask("alice"))
    market.wait(599)
    ok(market.publish({"wally": 100}, {"alice": 900}))
    market.wait(7 * DAY - 599 - 1)
    ok(market.activate())
    market.wait(1)
    no(market.leave("alice"), "ExitClosed")
    ok(market.settle({"wally": 110}, {"alice": 890}))
    ok(market.leave("alice"))
    ok(market.ask("alice", "cancel_exit"))
    assert market.balance("alice") == 890


def test_an_exit_keeps_within_a_root_that_is_pending(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 100}, {"alice": 900}))
    market.wait(7 * DAY - HOUR)
    ok(market.publish({"wally": 600}, {"alice": 400}))
    market.wait(HOUR)
    no(market.leave("alice"), "ExceedsTotal")
    ok(market.by("guardian", "cancel_root", epoch=2))

    ok(market.leave("alice"))
    assert market.ledger.total_exited == 900
    no(market.publish({"wally": 100}, {"alice": 899}), "TotalDecreased")
