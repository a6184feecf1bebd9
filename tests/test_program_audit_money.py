"""Thefts and lock-outs by those who hold a role, and what holds against them.

Not here: thefts and losses that `docs/program.md` states ("Whom one trusts, with what").
"""

from __future__ import annotations

import pytest

pytest.importorskip("solders", reason="the extra `chain` is not installed")

from solders.pubkey import Pubkey

from tests.program_market import (
    ADMIN,
    BUYER,
    DAY,
    GUARDIAN,
    HOST,
    LIMITS,
    STRANGER,
    Market,
    opened,
)
from tests.program_world import key_of

CLAIMS, PUBLISHING = 2, 4


@pytest.fixture
def market() -> Market:
    return opened()


def with_account(market: Market, wallet: Pubkey) -> Pubkey:
    """A wallet and its token account."""
    market.world.put(market.account_of(wallet), market.tokens(wallet, 0))
    return wallet


# ---- The administrator's key is stolen.


def test_the_first_door_is_not_opened_at_once_to_credit_that_is_spent(market: Market) -> None:
    """A depositor has spent all; the thief drops the root that says so and shortens the wait."""
    epoch = market.root({HOST: 1}, {BUYER: 4_000_000})
    market.publish({HOST: 4_000_000}, {BUYER: 1})
    market.run("cancel_root", {"epoch": epoch + 1})
    shortest = LIMITS["slow_delay"] + LIMITS["min_epoch_interval"] + 1
    market.wait(shortest)

    sooner = LIMITS | {"exit_after": shortest}
    assert market.run("tighten_limits", {"limits": sooner}).error == "NotTightening"
    assert market.exit(epoch).error == "ExitClosed"
    # Only by a proposal, which everybody sees and the guardian cancels.
    assert market.propose(1, limits=sooner).error is None
    assert market.run("cancel_config", {"number": 1}, authority=GUARDIAN).error is None


def test_claims_are_open_half_of_the_time_whoever_pauses_them(market: Market) -> None:
    """Administrator and guardian together, each pausing as soon as the program lets them."""
    epoch = market.root({HOST: 1_000_000, STRANGER: 1_000_000})
    hours = 60 * 24
    is_open = 0
    for _ in range(hours):
        for authority in (GUARDIAN, ADMIN):
            market.run("set_paused", {"flags": CLAIMS}, authority=authority)
        refused = market.claim(epoch, STRANGER, name="cover").error
        is_open += refused == "InvalidRecord"  # there is none: all that is asked before is granted
        market.wait(3_600)

    assert is_open >= hours // 2 - 14 * 24


# ---- The publisher's key is stolen.


def test_exits_that_a_pending_root_shuts_are_opened_by_the_guardian(market: Market) -> None:
    """A pending root that promises depositors nothing stops their exits, and cancelled it is
    published again in the same moment: publishing is paused first."""
    epoch = market.root({HOST: 1_000_000}, {BUYER: 4_000_000})
    market.wait(LIMITS["exit_after"])
    assert market.publish({HOST: 1_000_000}).error is None
    assert market.exit(epoch).error == "ExceedsTotal"
    market.run("cancel_root", {"epoch": epoch + 1}, authority=GUARDIAN)
    assert market.publish({HOST: 1_000_000}).error is None
    assert market.exit(epoch).error == "ExceedsTotal"

    steps = [("set_paused", {"flags": PUBLISHING}), ("cancel_root", {"epoch": epoch + 2})]
    guardian = [market.instruction(name, args, {"authority": GUARDIAN}) for name, args in steps]
    assert market.world.send(guardian).error is None
    assert market.publish({HOST: 1_000_000}).error == "Paused"
    assert market.exit(epoch).error is None
    assert market.record("deposit", BUYER)["exited"] == 4_000_000


# ---- Nobody is there any more.


def test_a_due_root_that_nobody_activated_keeps_the_first_door_shut(market: Market) -> None:
    """An exit promotes it and is refused, which undoes the promotion: activate it first."""
    market.root({HOST: 1_000_000}, {BUYER: 4_000_000})
    market.publish({HOST: 1_000_000}, {BUYER: 3_000_000})
    market.wait(30 * DAY)
    assert [market.exit(epoch).error for epoch in (1, 2)] == ["StaleEpoch", "ExitClosed"]

    assert market.run("activate_root").error is None
    market.wait(LIMITS["exit_after"])
    assert market.exit(2).error is None


# ---- The voucher key is stolen.


def test_many_wallets_take_no_more_than_the_cap_though_honest_leaves_cover_others(
    market: Market,
) -> None:
    """Advances of honest wallets that roots cover make room; what thieves hold does not come back,
    not by new reserve either."""
    thieves = [with_account(market, key_of(f"thief {n}")) for n in range(4)]
    market.deposit(5_000_000, market.ledger)
    taken = 0
    for earned in (200_000, 400_000, 600_000):
        market.redeem(earned)
        for thief in thieves:
            market.redeem(10**12, wallet=thief)
        market.root({HOST: earned})
        market.claim(int(market.state()["active.epoch"]))
        for thief in thieves:
            market.redeem(10**12, wallet=thief)
        taken = sum(market.balance(market.account_of(thief)) for thief in thieves)
        market.wait(DAY)

    assert taken == market.state()["advance"] == LIMITS["advance_cap"]
    assert market.balance(market.account_of(HOST)) == 600_000
