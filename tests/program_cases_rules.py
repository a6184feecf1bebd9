"""Cases of set_paused, tighten_limits and void_vouchers: what takes effect at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.program_cases import BASES, Base, Told, no, ok, table
from tests.program_cases_doors import doors
from tests.program_cases_initialize import bad_limits
from tests.program_changes import Up, account, args, ledger, limit_args
from tests.program_scenes import (
    ADMIN,
    DAY,
    GUARDIAN,
    LIMITS,
    NOW,
    PUBLISHER,
    STRANGER,
    Scene,
    bare_scene,
)

EVER: Final = 2**63 - 1


# ---- set_paused ---------------------------------------------------------------------------------
def _pausing() -> Scene:
    scene = bare_scene("set_paused", {"flags": 5})
    scene.keys["authority"] = GUARDIAN
    return scene


BASES["set_paused"] = Base(
    _pausing,
    {
        "ledger.guardian_paused_at": NOW,
        "ledger.paused_until": (NOW + 3 * DAY, 0, NOW + 3 * DAY, 0),
    },
    lambda scene, *_: [
        ("PausedSet", {"flags": scene.args["flags"], "by": bytes(scene.keys["authority"])})
    ],
)

by_admin: Final = account("authority", ADMIN)


def until(deposit: int = 0, claim: int = 0, publish: int = 0, redeem: int = 0) -> dict[str, Any]:
    """`then` of pauses that end at these seconds."""
    return {"ledger.paused_until": (deposit, claim, publish, redeem)}


def _guardian_pauses() -> Iterator[Told]:
    end = NOW + 3 * DAY
    claims = {"ledger.claim_paused_at": NOW}
    yield ok("deposits", args(flags=1), then=until(deposit=end))
    yield ok("claims", args(flags=2), then={**until(claim=end), **claims})
    yield ok("roots", args(flags=4), then=until(publish=end))
    yield ok("vouchers", args(flags=8), then=until(redeem=end))
    yield ok("everything", args(flags=15), then={**until(end, end, end, end), **claims})
    for flags in (0, 16, 17, 255):
        yield no("BadArgs", f"the guardian, flags {flags}", args(flags=flags))

    def since(seconds: int) -> Any:
        return ledger(guardian_paused_at=NOW - seconds)

    runs = until(deposit=NOW + 1, publish=NOW + 1)
    yield ok(
        "a second before its pause lapses: the end stays",
        since(3 * DAY - 1),
        then={**runs, "ledger.guardian_paused_at": NOW - 3 * DAY + 1},
    )
    yield ok("at once again: the end stays", since(0))
    yield no("PauseSpent", "at the second at which it lapses", since(3 * DAY))
    yield no("PauseSpent", "a second before its rest is over", since(10 * DAY - 1))
    yield ok("after its rest", since(10 * DAY))
    ahead = ledger(guardian_paused_at=NOW + 50)
    later = until(deposit=NOW + 50 + 3 * DAY, publish=NOW + 50 + 3 * DAY)
    yield ok(
        "where the clock went back", ahead, then={**later, "ledger.guardian_paused_at": NOW + 50}
    )
    longer = ledger(paused_until=(end + 1, 0, end - 1, 0))
    yield ok("what lasts longer already stays so", longer, then=until(deposit=end + 1, publish=end))


def _claim_pauses() -> Iterator[Told]:
    """A pause of claims of n seconds is followed by n seconds in which there is none."""

    def held(since: int, end: int) -> Any:
        return ledger(claim_paused_at=NOW - since, paused_until=(0, NOW + end, 0, 0))

    claims = args(flags=2)
    new = {**until(claim=NOW + 3 * DAY), "ledger.claim_paused_at": NOW}
    yield ok("claims, after a rest as long as the pause", claims, held(6 * DAY, -3 * DAY), then=new)
    yield no(
        "PauseSpent",
        "claims, a second before the rest is over",
        claims,
        held(6 * DAY + 1, -3 * DAY),
    )
    yield no("PauseSpent", "claims, at the second at which a pause ended", claims, held(5 * DAY, 0))
    yield ok("claims, a pause lifted at the second it began", claims, held(0, 0), then=new)
    yield ok(
        "claims, a second before the pause ends",
        claims,
        held(12 * DAY, 1),
        then=until(claim=NOW + 2 * DAY),
    )
    yield ok(
        "claims, the last of 14 days", claims, held(14 * DAY - 1, 1), then=until(claim=NOW + 1)
    )
    yield ok(
        "claims, a pause of 14 days is not made longer",
        claims,
        held(13 * DAY, DAY),
        then=until(claim=NOW + DAY),
    )
    yield no(
        "PauseSpent", "all but claims may be paused", args(flags=15), held(6 * DAY + 1, -3 * DAY)
    )
    yield ok(
        "others while claims rest",
        held(6 * DAY + 1, -3 * DAY),
        then=until(NOW + 3 * DAY, NOW - 3 * DAY, NOW + 3 * DAY),
    )
    long = {**until(EVER, NOW + 14 * DAY, EVER, EVER), "ledger.claim_paused_at": NOW}
    yield ok(
        "administrator: everything",
        by_admin,
        args(flags=15),
        then={**long, "ledger.guardian_paused_at": 0},
    )
    yield ok(
        "administrator: longer than the guardian's",
        *(by_admin, claims, held(DAY, 2 * DAY), ledger(guardian_paused_at=NOW - DAY)),
        then={**until(claim=NOW + 13 * DAY), "ledger.guardian_paused_at": 0},
    )
    yield no(
        "PauseSpent",
        "administrator: claims, before the rest is over",
        by_admin,
        claims,
        held(6 * DAY + 1, -3 * DAY),
    )


def _admin_pauses() -> Iterator[Told]:
    none = {"ledger.guardian_paused_at": 0}
    yield ok("administrator", by_admin, then={**until(deposit=EVER, publish=EVER), **none})
    yield ok(
        "administrator: vouchers", by_admin, args(flags=8), then={**until(redeem=EVER), **none}
    )
    ends = {**none, "ledger.paused_until": (0, 0, 0, 0)}
    yield ok(
        "administrator: nothing, but the guardian may pause again",
        by_admin,
        args(flags=0),
        ledger(guardian_paused_at=NOW - 4 * DAY),
        then=ends,
    )
    yield no("BadArgs", "administrator, flags 16", by_admin, args(flags=16))
    for said, key in (("publisher", PUBLISHER), ("stranger", STRANGER)):
        yield no("Unauthorized", f"by the {said}", account("authority", key))


# ---- tighten_limits -----------------------------------------------------------------------------
def _tightening() -> Scene:
    return bare_scene("tighten_limits", {"limits": {**LIMITS, "window_limit": 9_000_000}})


BASES["tighten_limits"] = Base(
    _tightening,
    {"ledger.limits.window_limit": 9_000_000},
    lambda _, __, after: [
        ("LimitsTightened", {f"limits.{name}": after[f"ledger.limits.{name}"] for name in LIMITS})
    ],
)
_LESS: Final = (
    *("max_epoch_increase", "window_limit", "advance_cap", "wallet_advance_cap"),
    "voucher_limit",
)
_MORE: Final = ("min_epoch_interval", "slow_delay", "fast_delay", "config_delay")
_SAME: Final = ("min_deposit", "window_secs", "exit_after")


def _one_limit(name: str, by: int) -> tuple[Any, dict[str, int]]:
    """Only that field is changed; and what the ledger then holds."""
    value = LIMITS[name] + by
    change = args(limits={**LIMITS, name: value})
    return change, {f"ledger.limits.{name}": value}


def _tighter() -> Iterator[Told]:
    not_tighter = "NotTightening"
    same = {"ledger.limits.window_limit": LIMITS["window_limit"]}
    yield ok("the same limits", args(limits=dict(LIMITS)), then=same)
    for name in LIMITS:
        tighter = -1 if name in _LESS else 1
        change, then = _one_limit(name, tighter)
        if name in _SAME:
            yield no(not_tighter, f"{name} one more", change)
        else:
            yield ok(f"{name} one stricter", change, then={**same, **then})
        yield no(not_tighter, f"{name} one looser or less", _one_limit(name, -tighter)[0])
    yield ok(
        "no vouchers in a window",
        args(limits={**LIMITS, "voucher_limit": 0}),
        then={**same, "ledger.limits.voucher_limit": 0},
    )
    for said, values in bad_limits():
        yield no("BadLimits", said, limit_args(**values))
    for said, key in (("guardian", GUARDIAN), ("publisher", PUBLISHER), ("stranger", STRANGER)):
        yield no("Unauthorized", f"by the {said}", account("authority", key))


# ---- void_vouchers ------------------------------------------------------------------------------
BASES["void_vouchers"] = Base(
    lambda: bare_scene("void_vouchers", {"key_epoch": 4}),
    {"ledger.key_epoch": Up(1)},
    lambda scene, *_: [("VouchersVoided", {"key_epoch": scene.args["key_epoch"]})],
)


def _voided() -> Iterator[Told]:
    most = 2**32 - 1
    for number in (0, 2, 3, 5, most):
        yield no("KeyEpochDecreased", f"key epoch {number} after 3", args(key_epoch=number))
    yield ok("the last key epoch", ledger(key_epoch=most - 1), args(key_epoch=most))
    yield no("KeyEpochDecreased", "none after the last", ledger(key_epoch=most), args(key_epoch=0))
    yield no("KeyEpochDecreased", "the last again", ledger(key_epoch=most), args(key_epoch=most))
    for said, key in (("guardian", GUARDIAN), ("publisher", PUBLISHER), ("stranger", STRANGER)):
        yield no("Unauthorized", f"by the {said}", account("authority", key))


RULES: Final = [
    *table("set_paused", doors("set_paused"), _guardian_pauses(), _claim_pauses(), _admin_pauses()),
    *table("tighten_limits", doors("tighten_limits"), _tighter()),
    *table("void_vouchers", doors("void_vouchers"), _voided()),
]
