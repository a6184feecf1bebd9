"""The settlement program from its first deposit to the last exit, each instruction at work once.

Rules: what is asserted is what people see: balances, accounts byte by byte, events, and for every
instruction a refusal. The many ways to be refused are tried elsewhere.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("solders", reason="the extra `chain` is not installed")


from tests.program_market import (
    ADMIN,
    BASE,
    BUYER,
    CLUSTER,
    DAY,
    GUARDIAN,
    HOST,
    LIMITS,
    MINT,
    NO_KEY,
    PUBLISHER,
    STRANGER,
    VOUCHERS,
    Market,
    event,
    opened,
)
from tests.program_tokens import SPL_TOKEN, TOKEN_2022
from tests.program_trees import EARNINGS
from tests.program_world import World, found, program_file


@pytest.fixture
def empty() -> Market:
    """People and a mint, no ledger yet."""
    return Market(World(program_file()))


@pytest.fixture
def market() -> Market:
    return opened()


# ---- A ledger, and money in it.


def test_a_new_ledger_holds_what_it_was_given_and_nothing_else(empty: Market) -> None:
    assert empty.initialize().error is None

    written = {name: value for name, value in empty.state().items() if value not in (0, NO_KEY)}
    assert {name: value for name, value in written.items() if any_bit(value)} == {
        "base": bytes(BASE),
        "cluster_tag": CLUSTER,
        "mint": bytes(MINT),
        "vault": bytes(empty.vault),
        "token_program": bytes(SPL_TOKEN),
        "admin": bytes(ADMIN),
        "publisher": bytes(PUBLISHER),
        "guardian": bytes(GUARDIAN),
        "voucher_key": bytes(VOUCHERS.pubkey()),
        **{f"limits.{name}": value for name, value in LIMITS.items()},
        **dict.fromkeys(("active.active_at", "flow_updated_at"), empty.now),
        "voucher_flow_updated_at": empty.now,
        "bump": found([b"ledger", bytes(BASE)])[1],
        "version": 1,
        "decimals": 6,
    }


def any_bit(value: Any) -> bool:
    """Whether a field holds anything, arrays included."""
    return any(value) if isinstance(value, tuple | bytes) else bool(value)


def test_a_ledger_is_made_once_and_of_different_roles(empty: Market) -> None:
    assert empty.initialize(guardian=ADMIN).error == "RoleConflict"
    assert empty.initialize().error is None
    assert empty.initialize().error == "AlreadyInitialized"


def test_a_deposit_is_the_owners_and_the_ledgers_own_is_the_reserve(empty: Market) -> None:
    empty.initialize()

    assert event(empty.deposit(10_000_000)) == (
        "Deposited",
        {"owner": bytes(BUYER), "amount": 10_000_000, "deposited": 10_000_000},
    )
    assert event(empty.deposit(1_500_000))[1]["deposited"] == 11_500_000
    assert empty.deposit(2_000_000, empty.ledger).error is None

    record = empty.record("deposit", BUYER)
    bump = found([b"deposit", bytes(empty.ledger), bytes(BUYER)])[1]
    assert {name: value for name, value in record.items() if any_bit(value)} == {
        "ledger": bytes(empty.ledger),
        "owner": bytes(BUYER),
        "deposited": 11_500_000,
        "last_slot": empty.slot,
        "bump": bump,
    }
    state = empty.state()
    assert (state["total_deposited"], state["reserve"]) == (13_500_000, 2_000_000)
    assert empty.balance(empty.vault) == 13_500_000
    assert empty.balance(empty.account_of(BUYER)) == 50_000_000 - 13_500_000


def test_a_deposit_is_not_too_small(empty: Market) -> None:
    empty.initialize()

    assert empty.deposit(LIMITS["min_deposit"] - 1).error == "BelowMinimum"
    assert empty.balance(empty.vault) == 0


# ---- Roots.


def test_a_root_is_published_approved_and_active_after_the_fast_delay(market: Market) -> None:
    published = market.publish({HOST: 1_000_000}, {BUYER: 9_000_000})
    tree = market.trees[1]
    assert event(published) == (
        "RootPublished",
        {
            "epoch": 1,
            "root": tree.root,
            "total": 1_000_000,
            "activates_at": market.now + LIMITS["slow_delay"],
        },
    )
    assert market.run("activate_root").error == "NotDue"
    assert market.approve(PUBLISHER).error == "Unauthorized"
    approved = event(market.approve())
    assert approved[1]["activates_at"] == market.now + LIMITS["fast_delay"]

    market.wait(LIMITS["fast_delay"] - 1)
    assert market.run("activate_root").error == "NotDue"
    market.wait(1)
    assert event(market.run("activate_root")) == (
        "RootActivated",
        {"epoch": 1, "root": tree.root, "total": 1_000_000},
    )
    state = market.state()
    assert state["active.root"] == tree.root
    assert state["active.data_hash"] == tree.data_hash
    assert state["active.leaf_count"] == 2
    assert state["active.total_exitable"] == 9_000_000
    assert state["active.active_at"] == market.now
    assert (state["pending.epoch"], state["pending_min_slot"]) == (0, 0)
    assert (state["approved"], state["revocable"]) == (0, 1)


def test_a_root_that_nobody_approves_waits_for_time_and_slots(market: Market) -> None:
    assert market.publish({HOST: 1_000_000}).error is None
    slot = market.slot
    market.wait(LIMITS["slow_delay"])
    market.slot = slot + 2 * LIMITS["slow_delay"] - 1
    market.wait(0)
    assert market.run("activate_root").error == "NotDue"
    market.slot += 1
    market.wait(0)
    assert market.run("activate_root").error is None


def test_one_root_is_pending_and_none_promises_too_much(market: Market) -> None:
    assert market.publish({HOST: 5_000_001}).error == "ExceedsEpochCap"
    assert market.publish({HOST: 2_000_000}, {BUYER: 8_000_001}).error == "Insolvent"
    assert market.publish({HOST: 2_000_000}, {BUYER: 8_000_000}).error is None
    market.wait(LIMITS["min_epoch_interval"])
    assert market.publish({HOST: 2_000_000}).error == "RootPending"


def test_a_pending_root_is_cancelled_and_its_number_stays_used(market: Market) -> None:
    market.publish({HOST: 1_000_000})

    assert market.run("cancel_root", {"epoch": 2}, authority=GUARDIAN).error == "NoPendingRoot"
    assert event(market.run("cancel_root", {"epoch": 1}, authority=GUARDIAN)) == (
        "RootCancelled",
        {"epoch": 1, "root": market.trees[1].root},
    )
    state = market.state()
    assert (state["pending.epoch"], state["pending.root"], state["last_epoch"]) == (0, NO_KEY, 1)
    assert market.root({HOST: 1_000_000}) == 2


def test_an_active_root_is_revoked_once_and_the_one_before_serves_again(market: Market) -> None:
    market.root({HOST: 1_000_000})
    market.root({HOST: 1_000_000, STRANGER: 3_000_000})

    assert event(market.run("revoke_root", {"epoch": 2})) == (
        "RootRevoked",
        {"epoch": 2, "root": market.trees[2].root, "restored_epoch": 1},
    )
    assert market.run("revoke_root", {"epoch": 1}).error == "NotRevocable"
    assert market.state()["active.active_at"] == market.now
    assert market.claim(2, STRANGER).error == "StaleEpoch"
    assert market.claim(1).error is None
    assert market.balance(market.account_of(HOST)) == 1_000_000


# ---- Claims.


def test_a_claim_pays_what_the_leaf_proves_and_later_the_difference(market: Market) -> None:
    market.root({HOST: 1_000_000, STRANGER: 500_000, BUYER: 7})
    claimed = {"wallet": bytes(HOST), "amount": 1_000_000, "claimed": 1_000_000}

    assert event(market.claim(1)) == ("Claimed", claimed | {"covered": 1_000_000, "epoch": 1})
    assert market.balance(market.account_of(HOST)) == 1_000_000
    record = market.record("claim", HOST)
    assert record["bump"] == found([b"claim", bytes(market.ledger), bytes(HOST)])[1]
    assert (record["claimed"], record["covered"]) == (1_000_000, 1_000_000)
    assert record["ata_bump"] > 0
    assert market.claim(1).error == "NothingToClaim"

    market.root({HOST: 1_300_000, STRANGER: 500_000, BUYER: 7})
    assert event(market.claim(2))[1]["amount"] == 300_000
    assert market.balance(market.account_of(HOST)) == 1_300_000
    assert market.balance(market.vault) == 12_000_000 - 1_300_000
    state = market.state()
    assert (state["total_claimed"], state["advance"]) == (1_300_000, 0)


def test_the_root_before_is_still_good_and_older_ones_are_not(market: Market) -> None:
    for amount in (100_000, 200_000, 300_000):
        market.root({HOST: amount})

    assert market.claim(1).error == "StaleEpoch"
    assert event(market.claim(2))[1]["amount"] == 200_000
    assert event(market.claim(3))[1]["amount"] == 100_000


def test_a_claim_activates_a_due_root(market: Market) -> None:
    market.publish({HOST: 1_000_000})
    market.approve()
    market.wait(LIMITS["fast_delay"])

    assert [name for name, _ in market.claim(1).events] == ["RootActivated", "Claimed"]


def test_a_wallet_that_signs_chooses_where_the_money_goes(market: Market) -> None:
    market.root({HOST: 1_000_000})
    elsewhere = market.account_of(STRANGER)
    leaf = market.leaf(1, EARNINGS, HOST)
    unsigned = market.instruction(
        "claim_to", leaf, {"destination": elsewhere}, {"wallet": (False, False)}
    )

    assert market.claim(1, destination=elsewhere).error == "WrongTokenOwner"
    assert market.world.send([unsigned]).error == "MissingSigner"
    assert event(market.claim(1, name="claim_to", destination=elsewhere))[1]["amount"] == 1_000_000
    assert market.balance(elsewhere) == 1_000_000


def test_a_full_breaker_pays_a_part_and_the_rest_after_a_while(empty: Market) -> None:
    limit = 1_000 * LIMITS["window_secs"]
    empty.initialize(limits=LIMITS | {"window_limit": limit, "max_epoch_increase": 2 * limit})
    empty.world.put(empty.account_of(BUYER), empty.tokens(BUYER, 10 * limit))
    empty.deposit(2 * limit)
    empty.root({HOST: limit + 5_000})

    assert event(empty.claim(1))[1]["amount"] == limit
    assert empty.claim(1).error == "RateLimited"
    empty.wait(3)
    assert event(empty.claim(1))[1]["amount"] == 3_000
    assert empty.state()["flow_level"] == limit
    empty.wait(LIMITS["window_secs"])
    assert event(empty.claim(1))[1]["amount"] == 2_000
    assert empty.state()["flow_level"] == 2_000


def test_a_forged_amount_is_refused(market: Market) -> None:
    market.root({HOST: 1_000_000, STRANGER: 500_000})
    forged = market.leaf(1, EARNINGS, HOST) | {"lifetime": 1_000_001}

    assert market.run("claim", forged).error == "InvalidProof"
    assert market.run("cover", forged).error == "InvalidProof"


# ---- Vouchers.


def test_a_voucher_pays_from_the_reserve_and_a_later_leaf_covers_it(market: Market) -> None:
    assert event(market.redeem(600_000)) == (
        "Redeemed",
        {
            "wallet": bytes(HOST),
            "amount": 600_000,
            "claimed": 600_000,
            "advance": 600_000,
        },
    )
    assert market.balance(market.account_of(HOST)) == 600_000
    assert event(market.redeem(5_000_000))[1]["amount"] == 400_000  # the cap of one wallet
    assert market.redeem(5_000_000).error == "AdvanceExhausted"

    market.root({HOST: 700_000})
    assert event(market.claim(1, name="cover")) == (
        "Claimed",
        {
            "wallet": bytes(HOST),
            "amount": 0,
            "claimed": 1_000_000,
            "covered": 700_000,
            "epoch": 1,
        },
    )
    state = market.state()
    assert (state["advance"], state["total_claimed"]) == (300_000, 1_000_000)
    assert market.claim(1, name="cover").error == "NothingToClaim"


def test_a_voucher_says_what_its_check_has_checked(market: Market) -> None:
    assert market.redeem(600_000, says=600_001).error == "BadVoucher"
    assert market.balance(market.account_of(HOST)) == 0


def test_a_wallet_that_signs_redeems_into_any_account_but_the_vault(market: Market) -> None:
    elsewhere = market.account_of(STRANGER)

    assert market.redeem(600_000, name="redeem_to", destination=market.vault).error == (
        "WrongDestination"
    )
    done = market.redeem(600_000, name="redeem_to", destination=elsewhere)
    assert event(done)[1]["claimed"] == 600_000
    assert market.balance(elsewhere) == 600_000
    assert market.record("claim", HOST)["ata_bump"] == 0


def test_voided_vouchers_are_worth_nothing(market: Market) -> None:
    assert market.run("void_vouchers", {"key_epoch": 2}).error == "KeyEpochDecreased"
    assert market.redeem(1_000).error is None
    old = market.instruction("redeem", {"cumulative": 2_000, "expires_at": market.now}, {})
    assert event(market.run("void_vouchers", {"key_epoch": 1})) == (
        "VouchersVoided",
        {"key_epoch": 1},
    )
    assert market.world.send([old]).error == "BadVoucher"
    assert market.redeem(2_000).error is None


# ---- Exits.


def test_when_no_root_follows_depositors_take_their_credit_back(market: Market) -> None:
    epoch = market.root({HOST: 1_000_000}, {BUYER: 8_000_000})
    market.wait(LIMITS["exit_after"] - 1)
    assert market.exit(epoch).error == "ExitClosed"
    market.wait(1)

    before = market.balance(market.account_of(BUYER))
    assert event(market.exit(epoch)) == (
        "Exited",
        {"owner": bytes(BUYER), "amount": 8_000_000, "exited": 8_000_000},
    )
    assert market.balance(market.account_of(BUYER)) == before + 8_000_000
    assert market.record("deposit", BUYER)["exited"] == 8_000_000
    assert market.state()["total_exited"] == 8_000_000
    assert market.exit(epoch).error == "NothingToExit"


def test_a_depositor_who_asked_leaves_though_roots_follow(market: Market) -> None:
    market.root({HOST: 1_000_000}, {BUYER: 8_000_000})
    asked = market.now

    assert market.run("cancel_exit").error == "NoExitRequest"
    assert event(market.run("request_exit")) == (
        "ExitAsked",
        {"owner": bytes(BUYER), "requested_at": asked},
    )
    assert market.run("request_exit").error == "ExitRequested"
    market.wait(LIMITS["exit_after"] - DAY)
    epoch = market.root({HOST: 1_000_000}, {BUYER: 7_000_000})
    assert market.exit(epoch).error == "ExitClosed"
    market.wait(asked + LIMITS["exit_after"] - market.now)
    assert event(market.exit(epoch))[1]["amount"] == 7_000_000


def test_a_request_to_leave_is_taken_back(market: Market) -> None:
    market.run("request_exit")

    assert event(market.run("cancel_exit"))[1]["requested_at"] == 0
    assert market.record("deposit", BUYER)["exit_requested_at"] == 0


# ---- The other token program.


def test_a_market_of_token_2022_does_the_same() -> None:
    market = Market(World(program_file()), TOKEN_2022)
    assert market.initialize().error is None
    assert market.deposit(10_000_000).error is None
    assert market.deposit(2_000_000, market.ledger).error is None
    epoch = market.root({HOST: 1_000_000}, {BUYER: 1_000_000})

    assert market.claim(epoch).error is None
    assert market.redeem(1_200_000).error is None
    market.wait(LIMITS["exit_after"])
    assert market.exit(epoch).error is None
    assert market.balance(market.account_of(HOST)) == 1_200_000
