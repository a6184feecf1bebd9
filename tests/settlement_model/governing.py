"""set_paused, tighten_limits, void_vouchers: what takes effect at once."""

from __future__ import annotations

from typing import Final

from tests.settlement_model.making import require_limits
from tests.settlement_model.state import I64_MAX
from tests.settlement_model.step import CLAIM, Step, constant
from tests.settlement_model.world import require

FLAGS_MAX: Final = 15
MAY_FALL: Final = (
    *("max_epoch_increase", "window_limit", "advance_cap", "wallet_advance_cap"),
    "voucher_limit",
)
MAY_RISE: Final = ("min_epoch_interval", "slow_delay", "fast_delay", "config_delay")
FIXED: Final = ("min_deposit", "window_secs", "exit_after")


def set_paused(step: Step) -> None:
    step.role("admin", "guardian")
    ledger, flags, by = step.ledger, step.call.number("flags"), step.call.key("authority")
    require(flags <= FLAGS_MAX, "BadArgs")
    if by == ledger.admin:
        ledger.guardian_paused_at = 0
        until = I64_MAX
    else:
        require(flags != 0, "BadArgs")
        until = _guardian_pause(step)
    for flag in range(4):
        if flags & 1 << flag:
            end = _claim_pause(step, until) if flag == CLAIM else until
            ledger.paused_until[flag] = max(ledger.paused_until[flag], end)
    step.emit("PausedSet", flags=flags, by=by)


def _guardian_pause(step: Step) -> int:
    """When the guardian's pause ends: the one that runs, or a new one if it has rested."""
    ledger, pause = step.ledger, constant("GUARDIAN_PAUSE")
    began = ledger.guardian_paused_at
    if began == 0 or step.now >= began + pause:
        rested = began == 0 or step.now >= began + pause + constant("GUARDIAN_REST")
        require(rested, "PauseSpent")
        ledger.guardian_paused_at = step.now
    return ledger.guardian_paused_at + pause


def _claim_pause(step: Step, until: int) -> int:
    """When a pause of claims ends that would last until then; begins one if none runs."""
    ledger = step.ledger
    if not step.is_paused(CLAIM):
        ended, began = ledger.paused_until[CLAIM], ledger.claim_paused_at
        rested = began == 0 or step.now >= ended + max(0, ended - began)
        require(rested, "PauseSpent")
        ledger.claim_paused_at = step.now
        ledger.paused_until[CLAIM] = 0
    return min(until, ledger.claim_paused_at + constant("CLAIM_PAUSE"))


def tighten_limits(step: Step) -> None:
    step.role("admin")
    old, new = step.ledger.limits, step.call.limits()
    require_limits(new)
    tighter = (
        all(getattr(new, name) <= getattr(old, name) for name in MAY_FALL)
        and all(getattr(new, name) >= getattr(old, name) for name in MAY_RISE)
        and all(getattr(new, name) == getattr(old, name) for name in FIXED)
    )
    require(tighter, "NotTightening")
    step.ledger.limits = new
    step.emit("LimitsTightened", limits=new)


def void_vouchers(step: Step) -> None:
    step.role("admin")
    key_epoch = step.call.number("key_epoch")
    require(key_epoch == step.ledger.key_epoch + 1, "KeyEpochDecreased")
    step.ledger.key_epoch = key_epoch
    step.emit("VouchersVoided", key_epoch=key_epoch)
