"""Drills without a stolen key: a coordinator that is gone or lies, wrong roots, old backups, false
leaf files, drained sponsors, clocks. What is lost, and when all is well again."""

from __future__ import annotations

import pytest
from solders.pubkey import Pubkey

from tests.program_drills import CREDIT, EARNED, HYPER, THIEVES, WINDOW, Drill
from tests.settlement_model.calls import Argument
from tests.settlement_model.market import no, ok
from tests.settlement_model.setting import DAY, HOUR, key

THIEF = THIEVES[0]


@pytest.fixture
def drill() -> Drill:
    return Drill()


def all_left(drill: Drill, who: str, due: int) -> bool:
    """That owner exits window after window, until it has what it is due."""
    while drill.balance(who) < due:
        ok(drill.leave(who))
        drill.wait(DAY)
    return drill.balance(who) == due


# ---- the coordinator ----------------------------------------------------------------------------
def test_coordinator_gone_for_ever_costs_what_was_deposited_after_its_last_root(
    drill: Drill,
) -> None:
    """Depositors leave after ten days; wallets have leaves, and vouchers for what came since."""
    ok(drill.deposit("alice", 5 * HYPER))
    shown = drill.voucher("wally", 203 * HYPER, drill.now + 30 * DAY)
    no(drill.leave("alice"), "ExitClosed")
    drill.wait(9 * DAY - 1)
    no(drill.leave("alice"), "ExitClosed")
    drill.wait(1)
    assert all_left(drill, "alice", CREDIT["alice"])
    no(drill.leave("alice"), "NothingToExit")
    args: dict[str, Argument] = {"cumulative": 203 * HYPER, "expires_at": drill.start + 30 * DAY}
    ok(drill.send("redeem", args, drill.wallet_accounts("wally"), shown))
    assert drill.balance("wally") == 5 * HYPER
    # The leaf pays the rest of its 200; the voucher, again, the three beyond it.
    drill.wait(DAY)
    ok(drill.claim("wally"))
    drill.wait(DAY)
    ok(drill.claim("wally"))
    ok(drill.send("redeem", args, drill.wallet_accounts("wally"), shown))
    assert drill.balance("wally") == 203 * HYPER

    stuck = drill.deposit_record("alice").deposited - 1_000 * HYPER
    assert stuck == 5 * HYPER
    assert drill.stolen == 0


def test_hostile_coordinator_that_lives_on_cannot_keep_who_asks_to_leave(drill: Drill) -> None:
    """It publishes each day: the first door stays shut, the second opens ten days after asking."""
    ok(drill.ask("alice"))
    asked = drill.now
    for _ in range(10):
        no(drill.leave("alice"), "ExitClosed")
        ok(drill.settle(EARNED, CREDIT))
        drill.wait(18 * HOUR)
    ok(drill.leave("alice"))

    assert drill.now - asked == 10 * DAY
    assert drill.balance("alice") == WINDOW
    drill.wait(DAY)
    assert all_left(drill, "alice", CREDIT["alice"])


# ---- wrong roots --------------------------------------------------------------------------------
def test_a_wrong_root_is_taken_back_and_the_right_one_follows_in_six_hours(drill: Drill) -> None:
    """As large as can be: most leaves, the highest totals, and nobody's leaf in it."""
    epoch = drill.ledger.last_epoch + 1
    wrong: dict[str, Argument] = {
        "epoch": epoch,
        "root": key("nobody's"),
        "data_hash": key("data"),
        "total": 600 * HYPER,
        "total_exitable": 400 * HYPER,
        "leaf_count": 2**32 - 1,
    }
    ok(drill.by("publisher", "publish_root", **wrong))
    ok(drill.approve())
    drill.wait(6 * HOUR)
    ok(drill.activate())
    # The root before still pays.
    ok(drill.claim("wanda", epoch=1))
    noticed = drill.now
    ok(drill.by("guardian", "revoke_root", epoch=epoch))
    no(drill.by("guardian", "revoke_root", epoch=1), "NotRevocable")
    earned = {**EARNED, "wally": 250 * HYPER}
    ok(drill.settle(earned, {"alice": 600 * HYPER}))

    assert drill.now - noticed == 6 * HOUR
    assert drill.stolen == 0
    assert drill.paid_out(earned)


def test_an_old_backup_publishes_nothing_and_pays_nobody_twice(drill: Drill) -> None:
    """The settler restarts with the books of an epoch before: the chain knows better."""
    now = {**EARNED, "wally": 260 * HYPER}
    ok(drill.settle(now, {"alice": 590 * HYPER}))
    assert drill.paid_out({"wally": 260 * HYPER})
    old_epoch: dict[str, Argument] = {
        "epoch": 2,
        "root": key("old"),
        "data_hash": key("data"),
        "leaf_count": 3,
        "total": 300 * HYPER,
        "total_exitable": 650 * HYPER,
    }
    no(drill.by("publisher", "publish_root", **old_epoch), "BadEpoch")
    no(drill.publish(EARNED, CREDIT), "TotalDecreased")
    # Books that have forgotten a deposit and an exit of it.
    drill.wait(10 * DAY)
    ok(drill.leave("alice"))
    no(drill.publish(now, {"alice": WINDOW - 1}), "TotalDecreased")
    # The same totals, but what wally has already is given to wanda: no more than the total leaves.
    ok(drill.settle({"wally": 200 * HYPER, "wanda": 160 * HYPER}, {"alice": 590 * HYPER}))
    no(drill.claim("wally"), "NothingToClaim")
    drill.wait(DAY)
    ok(drill.claim("wanda"))
    drill.wait(DAY)
    no(drill.claim("wanda"), "ExceedsTotal")

    assert (drill.balance("wally"), drill.balance("wanda")) == (260 * HYPER, 100 * HYPER)
    assert drill.stolen == 0


def test_a_false_leaf_file_that_agrees_with_its_root_is_the_guardians_to_see(drill: Drill) -> None:
    """A wallet's earnings are a thief's: sum, count and hash are right, so it is accepted."""
    false = {"wally": 100 * HYPER, "wanda": 100 * HYPER, THIEF: 100 * HYPER}
    ok(drill.publish(false, CREDIT))
    drill.wait(3 * DAY)
    ok(drill.claim(THIEF, epoch=2))
    # Until it is noticed, the root before pays the robbed wallet what it always did.
    drill.wait(DAY)
    ok(drill.claim("wally", epoch=1))
    noticed = drill.now
    ok(drill.by("guardian", "revoke_root", epoch=2))
    ok(drill.deposit("operator", drill.stolen))
    ok(drill.settle(drill.root_after_theft(), CREDIT))

    assert drill.stolen == WINDOW
    assert drill.now - noticed == 6 * HOUR
    drill.wait(DAY)
    assert drill.paid_out(EARNED)


# ---- sponsors -----------------------------------------------------------------------------------
def lamports(drill: Drill, name: bytes) -> int:
    account = drill.chain.account(Pubkey.from_bytes(name))
    return account.lamports if account is not None else 0


def test_a_sponsor_pays_once_for_a_wallet_however_often_it_claims(drill: Drill) -> None:
    """A record is never closed, so its rent is paid once; claims that pay nothing are refused."""
    before = lamports(drill, key("payer"))
    for units in (1, 2, 3):
        earned = {**EARNED, "tiny": units}
        ok(drill.settle(earned, {"alice": 600 * HYPER}))
        ok(drill.claim("tiny"))
        for _ in range(3):
            no(drill.claim("tiny"), "NothingToClaim")
        drill.wait(DAY)

    assert drill.balance("tiny") == 3
    assert before - lamports(drill, key("payer")) == (128 + 32) * 3_480 * 2
    # Its token account is not the program's to make: a wallet that closes it gets nothing paid.
    address = drill.token_account_of(key("tiny"))
    ok(drill.settle({**EARNED, "tiny": 4}, {"alice": 600 * HYPER}))
    del drill.model.world.accounts[address]
    drill.chain.remove(Pubkey.from_bytes(address))
    args: dict[str, Argument] = {"epoch": 5, **drill.trees[5].earned("tiny")}
    accounts = {"wallet": key("tiny"), "claim_record": drill.claim_record_of("tiny")}
    no(drill.send("claim", args, {**accounts, "destination": address}), "InvalidTokenAccount")


# ---- clocks -------------------------------------------------------------------------------------
def test_a_cluster_that_stands_still_does_not_use_up_the_guardians_time(drill: Drill) -> None:
    ok(drill.publish({**EARNED, THIEF: 250 * HYPER}, {"alice": 450 * HYPER}))
    drill.model.world.now += 5 * DAY
    no(drill.activate(), "NotDue")
    ok(drill.by("guardian", "cancel_root", epoch=2))

    assert drill.stolen == 0


def test_a_clock_that_jumps_ahead_opens_no_door_for_a_root_that_waits(drill: Drill) -> None:
    """A leap of 30 days: the breaker is empty again, as after 30 days, and lets one window out."""
    ok(drill.claim("wally"))
    no(drill.claim("wally"), "RateLimited")
    drill.model.world.now += 30 * DAY
    ok(drill.claim("wally"))
    no(drill.claim("wanda"), "RateLimited")
    drill.model.world.now -= 30 * DAY

    # Back where it was: what was paid is paid, and time stands still for the breaker.
    no(drill.claim("wanda"), "RateLimited")
    drill.wait(30 * DAY)
    no(drill.claim("wanda"), "RateLimited")
    drill.wait(DAY)
    ok(drill.claim("wanda"))
    assert (drill.balance("wally"), drill.balance("wanda")) == (200 * HYPER, 100 * HYPER)


def test_a_clock_that_goes_back_pays_nothing_twice_and_ends_no_pause(drill: Drill) -> None:
    ok(drill.claim("wanda"))
    ok(drill.by("guardian", "set_paused", flags=2))
    drill.model.world.now -= 2 * DAY
    no(drill.claim("wanda"), "Paused")
    drill.wait(5 * DAY)
    no(drill.claim("wanda"), "NothingToClaim")

    assert drill.balance("wanda") == EARNED["wanda"]
