"""Drills of the roles: stolen, offline, malicious. What is lost, and when all is well again."""

from __future__ import annotations

import pytest

from tests.program_drills import CREDIT, EARNED, HYPER, RESERVE, THIEVES, WINDOW, Drill
from tests.program_twin import kind_of, voucher_pair
from tests.settlement_model.market import no, ok
from tests.settlement_model.setting import DAY, HOUR, key
from tests.settlement_model.state import I64_MAX

THIEF = THIEVES[0]
FALSE = {**EARNED, THIEF: 250 * HYPER}


@pytest.fixture
def drill() -> Drill:
    return Drill()


def replaced(drill: Drill, kind: str, name: str, delay: int) -> None:
    """A role goes to the key of that name, by a proposal that takes so long."""
    ok(drill.propose(kind_of(kind), key=key(name)))
    drill.wait(delay)
    ok(drill.send("apply_config"))


# ---- the publisher's key is stolen --------------------------------------------------------------
def test_stolen_publisher_while_the_guardian_watches_takes_nothing(drill: Drill) -> None:
    """It publishes until the key is replaced, two days later; the guardian cancels each root."""
    ok(drill.propose(kind_of("PUBLISHER"), key=key("new publisher")))
    for _ in range(3):
        ok(drill.publish(FALSE, {"alice": 450 * HYPER}))
        drill.wait(16 * HOUR)
        no(drill.claim(THIEF, epoch=drill.ledger.last_epoch), "StaleEpoch")
        ok(drill.by("guardian", "cancel_root", epoch=drill.ledger.pending.epoch))
    ok(drill.send("apply_config"))
    no(drill.send("publish_root", _a_root(drill), {"authority": key("publisher")}), "Unauthorized")
    ok(drill.send("publish_root", _a_root(drill), {"authority": key("new publisher")}))
    ok(drill.approve())
    drill.wait(6 * HOUR)
    ok(drill.activate())

    assert drill.stolen == 0
    assert drill.passed == 2 * DAY + 6 * HOUR
    assert drill.ledger.active.epoch == 5


def _a_root(drill: Drill) -> dict[str, int | bytes]:
    """A root of the same totals as the active one."""
    active = drill.ledger.active
    return {
        "epoch": drill.ledger.last_epoch + 1,
        "root": active.root,
        "data_hash": key("data"),
        "total": active.total,
        "total_exitable": active.total_exitable,
        "leaf_count": active.leaf_count,
    }


@pytest.mark.parametrize("windows", [0, 1, 2])
def test_stolen_publisher_that_nobody_watches_takes_a_window_more_than_go_unnoticed(
    drill: Drill, windows: int
) -> None:
    ok(drill.publish(FALSE, {"alice": 450 * HYPER}))
    drill.wait(3 * DAY)
    ok(drill.claim(THIEF, epoch=2))
    for _ in range(windows):
        drill.wait(DAY)
        ok(drill.claim(THIEF, epoch=2))
    noticed = drill.now
    ok(drill.by("admin", "revoke_root", epoch=2))
    no(drill.claim(THIEF, epoch=2), "StaleEpoch")

    assert drill.stolen == min((windows + 1) * WINDOW, 250 * HYPER)
    # What was taken is booked as the operator's loss, and deposited by it.
    ok(drill.deposit("operator", drill.stolen))
    ok(drill.settle(drill.root_after_theft(), CREDIT))
    assert drill.now - noticed == 6 * HOUR
    drill.wait(DAY)
    assert drill.paid_out(EARNED)
    drill.wait(10 * DAY)
    for _ in range(7):
        ok(drill.leave("alice"))
        drill.wait(DAY)
    assert drill.balance("alice") == CREDIT["alice"]


def test_stolen_publisher_gets_no_more_than_the_cap_of_an_epoch_into_a_root(drill: Drill) -> None:
    no(drill.publish({**EARNED, THIEF: 301 * HYPER}, {"alice": 300 * HYPER}), "ExceedsEpochCap")
    no(drill.publish({**EARNED, THIEF: 299 * HYPER}, CREDIT), "Insolvent")
    assert drill.stolen == 0


# ---- the administrator's key is stolen, or lost -------------------------------------------------
def test_stolen_administrator_can_take_nothing_that_the_guardian_cancels(drill: Drill) -> None:
    for kind, more in {
        "SWEEP": {"key": key(THIEF), "amount": 1},
        "RESERVE": {"key": key(THIEF), "amount": RESERVE},
        "PUBLISHER": {"key": key(THIEF)},
        "VOUCHER": {"key": key(THIEF)},
        "ADMIN": {"key": key(THIEF)},
    }.items():
        ok(drill.propose(kind_of(kind), **more))  # type: ignore[arg-type]
        other = kind in {"SWEEP", "RESERVE", "ADMIN"}
        no(drill.send("apply_config"), "NoProposal" if other else "NotDue")
        drill.wait(DAY)
        ok(drill.by("guardian", "cancel_config", number=drill.ledger.proposal_number))
    assert drill.stolen == 0
    assert drill.paid_out(EARNED)


def test_stolen_administrator_takes_the_reserve_after_nine_days_and_no_sooner(drill: Drill) -> None:
    """A new guardian after seven, whom nobody cancels; the reserve two days later."""
    ok(drill.propose(kind_of("GUARDIAN"), key=key(THIEF)))
    no(drill.by("guardian", "cancel_config", number=drill.ledger.proposal_number), "Unauthorized")
    drill.wait(7 * DAY - 1)
    no(drill.send("apply_config"), "NotDue")
    drill.wait(1)
    # Within these days wallets take what is their own: a window each day.
    ok(drill.claim("wally"))
    assert drill.balance("wally") == WINDOW
    ok(drill.send("apply_config"))
    ok(drill.propose(kind_of("RESERVE"), key=key(THIEF), amount=RESERVE))
    drill.wait(2 * DAY)
    ok(drill.pay_proposed("withdraw_reserve", THIEF))

    assert drill.passed == 9 * DAY
    assert drill.stolen == RESERVE
    # What wallets and depositors were promised is all there.
    assert drill.paid_out(EARNED)


def test_stolen_administrator_stops_claims_for_two_weeks_of_four(drill: Drill) -> None:
    ok(drill.by("admin", "set_paused", flags=15))
    no(drill.claim("wally"), "Paused")
    drill.wait(14 * DAY - 1)
    no(drill.claim("wally"), "Paused")
    drill.wait(1)
    no(drill.by("admin", "set_paused", flags=2), "PauseSpent")
    assert drill.paid_out(EARNED)

    assert drill.passed == 14 * DAY + 3 * DAY
    drill.model.world.now = drill.start + 28 * DAY - 1
    no(drill.by("admin", "set_paused", flags=2), "PauseSpent")
    drill.wait(1)
    ok(drill.by("admin", "set_paused", flags=2))


def test_stolen_administrator_locks_no_depositor_in(drill: Drill) -> None:
    """Limits are tightened as far as they go, deposits and roots paused for ever."""
    tight = drill.ledger.limits
    tight.max_epoch_increase, tight.advance_cap, tight.voucher_limit = 0, 0, 0
    tight.config_delay, tight.min_epoch_interval = 30 * DAY, 6 * DAY
    ok(drill.by("admin", "tighten_limits", limits=tight))
    ok(drill.by("admin", "set_paused", flags=13))
    drill.wait(9 * DAY)
    for _ in range(7):
        ok(drill.leave("alice"))
        drill.wait(DAY)

    assert drill.balance("alice") == CREDIT["alice"]
    assert drill.passed == 16 * DAY


def test_lost_administrator_is_missed_by_nobody(drill: Drill) -> None:
    """Roots, claims, vouchers and exits go on; the guardian's pause lapses by itself."""
    earned = dict(EARNED)
    for _ in range(5):
        earned["wally"] += 10 * HYPER
        ok(drill.settle(earned, {"alice": 600 * HYPER}))
        drill.wait(DAY)
    ok(drill.by("guardian", "set_paused", flags=15))
    no(drill.claim("wally"), "Paused")
    drill.wait(3 * DAY)

    assert drill.paid_out(earned)
    assert drill.stolen == 0


# ---- the guardian -------------------------------------------------------------------------------
def test_malicious_guardian_holds_roots_back_until_it_is_replaced(drill: Drill) -> None:
    ok(drill.propose(kind_of("GUARDIAN"), key=key("new guardian")))
    no(drill.by("guardian", "cancel_config", number=drill.ledger.proposal_number), "Unauthorized")
    for _ in range(7):
        ok(drill.publish(EARNED, CREDIT))
        drill.wait(DAY)
        ok(drill.by("guardian", "cancel_root", epoch=drill.ledger.pending.epoch))
    ok(drill.send("apply_config"))
    ok(drill.publish(EARNED, CREDIT))
    pending = drill.ledger.pending
    args = {"epoch": pending.epoch, "root": pending.root}
    ok(drill.send("approve_root", args, {"authority": key("new guardian")}))
    drill.wait(6 * HOUR)
    ok(drill.activate())

    assert drill.stolen == 0
    assert drill.passed == 7 * DAY + 6 * HOUR


def test_malicious_guardian_pauses_three_days_of_ten(drill: Drill) -> None:
    ok(drill.by("guardian", "set_paused", flags=15))
    drill.wait(3 * DAY)
    no(drill.by("guardian", "set_paused", flags=15), "PauseSpent")
    ok(drill.claim("wanda"))
    drill.wait(7 * DAY)
    ok(drill.by("guardian", "set_paused", flags=13))

    assert drill.balance("wanda") == EARNED["wanda"]
    assert drill.passed == 10 * DAY


def test_absent_guardian_costs_three_days_a_root(drill: Drill) -> None:
    earned = {**EARNED, "wally": 250 * HYPER}
    ok(drill.publish(earned, {"alice": 600 * HYPER}))
    drill.wait(3 * DAY - 1)
    no(drill.activate(), "NotDue")
    drill.wait(1)
    ok(drill.activate())

    assert drill.passed == 3 * DAY
    assert drill.paid_out(earned)


def test_guardian_and_publisher_together_take_a_window_a_day_after_six_hours(drill: Drill) -> None:
    ok(drill.publish(FALSE, {"alice": 450 * HYPER}))
    ok(drill.approve())
    drill.wait(6 * HOUR)
    ok(drill.claim(THIEF, epoch=2))
    no(drill.claim(THIEF, epoch=2), "RateLimited")
    ok(drill.by("admin", "revoke_root", epoch=2))

    assert drill.stolen == WINDOW
    assert drill.passed == 6 * HOUR


# ---- the voucher key ----------------------------------------------------------------------------
def test_stolen_voucher_key_takes_the_cap_of_the_operators_money(drill: Drill) -> None:
    for name in THIEVES[:4]:
        ok(drill.redeem(name, 400 * HYPER))
        no(drill.redeem(name, 400 * HYPER), "AdvanceExhausted")
    no(drill.redeem(THIEVES[4], 1), "AdvanceExhausted")

    assert drill.stolen == 20 * HYPER
    assert drill.ledger.advance == 20 * HYPER
    # Nobody else's: every wallet and depositor is paid, and what is left of the reserve is bound.
    assert drill.paid_out(EARNED)
    ok(drill.propose(kind_of("RESERVE"), key=key("operator"), amount=RESERVE - 20 * HYPER + 1))
    drill.wait(2 * DAY)
    no(drill.pay_proposed("withdraw_reserve", "operator"), "ReserveInUse")


def test_stolen_voucher_key_is_stopped_at_once_and_replaced_in_two_days(drill: Drill) -> None:
    ok(drill.redeem(THIEF, 400 * HYPER))
    ok(drill.by("guardian", "set_paused", flags=8))
    no(drill.redeem(THIEVES[1], 400 * HYPER), "Paused")
    new = bytes(voucher_pair("second voucher key").pubkey())
    ok(drill.propose(kind_of("VOUCHER"), key=new))
    drill.wait(2 * DAY)
    ok(drill.send("apply_config"))
    drill.wait(DAY)
    no(drill.redeem(THIEVES[1], 400 * HYPER), "BadVoucher")
    shown = drill.signed_voucher("wally", 201 * HYPER, drill.now + HOUR, "second voucher key")
    ok(drill.redeem("wally", 201 * HYPER, shown))

    assert drill.stolen == 5 * HYPER
    assert drill.balance("wally") == 5 * HYPER


def test_voided_vouchers_are_void_at_once(drill: Drill) -> None:
    end = I64_MAX // 2
    shown = drill.signed_voucher(THIEF, 400 * HYPER, end, "voucher key")
    ok(drill.by("admin", "void_vouchers", key_epoch=drill.ledger.key_epoch + 1))
    args = {"cumulative": 400 * HYPER, "expires_at": end}
    no(drill.send("redeem", args, drill.wallet_accounts(THIEF), shown), "BadVoucher")

    assert drill.stolen == 0
