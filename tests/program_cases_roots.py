"""Cases of what happens to a published root: approve, activate, cancel, revoke."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.program_cases import BASES, Base, Then, Told, no, ok, table
from tests.program_cases_doors import doors
from tests.program_changes import account, args, at, ledger
from tests.program_scenes import (
    ADMIN,
    DAY,
    DUE,
    GUARDIAN,
    NOBODY,
    NOW,
    PENDING,
    PUBLISHER,
    SLOT,
    STRANGER,
    Scene,
    bare_scene,
    ledger_values,
    no_root,
    tree_of,
)
from tests.program_world import key_of

MOST: Final = 2**64 - 1
NEW_ROOT: Final = bytes(range(1, 33))
_OLD: Final = ledger_values()


def with_pending(scene: Scene) -> None:
    """Epoch 8 is pending, not due."""
    ledger(PENDING)(scene)


def due(scene: Scene) -> None:
    """Epoch 8 is pending, due to the second and the slot."""
    ledger(DUE)(scene)


def paused(index: int, until: int) -> Any:
    """Change: deposits (0), claims (1), roots (2) or vouchers (3) are paused before `until`."""
    return ledger(paused_until=tuple(until if at == index else 0 for at in range(4)))


def promoted(*, now: int = NOW) -> Then:
    """What happens to the ledger when the pending root becomes active."""
    fields = [name.split(".")[1] for name in PENDING if name.startswith("pending.")]
    old = {f"ledger.previous.{each}": _OLD[f"active.{each}"] for each in fields}
    new = {f"ledger.active.{each}": PENDING[f"pending.{each}"] for each in fields}
    gone = {f"ledger.{name}": value for name, value in no_root("pending").items()}
    rest = {"ledger.pending_min_slot": 0, "ledger.approved": 0, "ledger.revocable": 1}
    return {**old, **new, **gone, **rest, "ledger.active.active_at": now}


def activated(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The event of a promotion, if there was one."""
    if before["ledger.active.epoch"] == after["ledger.active.epoch"]:
        return []
    fields = ("epoch", "root", "total")
    return [("RootActivated", {name: after[f"ledger.active.{name}"] for name in fields})]


def named(
    event: str, values: dict[str, Any], root: str, *fields: str
) -> tuple[str, dict[str, Any]]:
    return event, {name: values[f"ledger.{root}.{name}"] for name in ("epoch", "root", *fields)}


# ---- approve_root -------------------------------------------------------------------------------
def _approving() -> Scene:
    scene = bare_scene("approve_root", {"epoch": 8, "root": tree_of(8).root})
    scene.keys["authority"] = GUARDIAN
    with_pending(scene)
    return scene


def _approve_events(scene: Scene, before: dict[str, Any], after: dict[str, Any]) -> Any:
    told = named("RootApproved", after, "pending")
    told[1]["activates_at"] = after["ledger.pending.active_at"]
    return [told]


BASES["approve_root"] = Base(
    _approving,
    {"ledger.pending.active_at": NOW + 7_200, "ledger.approved": 1},
    _approve_events,
)


def _approvals() -> Iterator[Told]:
    for said, key in (("administrator", ADMIN), ("publisher", PUBLISHER), ("stranger", STRANGER)):
        yield no("Unauthorized", f"by the {said}", account("authority", key))
    yield no("NoPendingRoot", "an epoch before", args(epoch=7))
    yield no("NoPendingRoot", "an epoch after", args(epoch=9))
    yield no("NoPendingRoot", "another root", args(root=NEW_ROOT))
    for byte in (0, 8, 16, 31):
        root = bytearray(tree_of(8).root)
        root[byte] ^= 1
        yield no("NoPendingRoot", f"a root with another byte {byte}", args(root=bytes(root)))
    none = ledger(no_root("pending"))
    yield no("NoPendingRoot", "nothing is pending", none)
    yield no(
        "NoPendingRoot",
        "nothing is pending: epoch and root of zeros",
        none,
        args(epoch=0, root=NOBODY),
    )
    for seconds in (7_199, 7_200, 7_201):
        soon = ledger({"pending.active_at": NOW + seconds})
        yield ok(
            f"{seconds} seconds before it would be active",
            soon,
            then={"ledger.pending.active_at": NOW + min(seconds, 7_200)},
        )
    yield ok(
        "again, later",
        ledger({"approved": 1, "pending.active_at": NOW + 60}),
        then={"ledger.pending.active_at": NOW + 60},
    )
    yield ok("while roots are paused", paused(2, NOW + 1))


# ---- activate_root ------------------------------------------------------------------------------
def _activating() -> Scene:
    scene = bare_scene("activate_root", {})
    due(scene)
    return scene


BASES["activate_root"] = Base(
    _activating, promoted(), lambda _, before, after: activated(before, after)
)


def _activations() -> Iterator[Told]:
    yield no("NotDue", "a second early", at(NOW - 1))
    yield no("NotDue", "a slot early", at(NOW, SLOT - 1))
    yield ok("long after", at(NOW + 9 * DAY, SLOT + 9 * DAY), then=promoted(now=NOW + 9 * DAY))
    approved = ledger(approved=1, pending_min_slot=SLOT + 10**6)
    yield ok("approved: slots do not matter", approved)
    yield no("NotDue", "approved: a second early", approved, at(NOW - 1))
    yield no("NotDue", "approved by a number that is not 1", ledger(approved=2), at(NOW, SLOT - 1))
    yield no("NoPendingRoot", "nothing is pending", ledger(no_root("pending")))
    yield no("Paused", "a second before the pause ends", paused(2, NOW + 1))
    yield ok("at the second at which the pause ends", paused(2, NOW))
    yield ok("while all else is paused", ledger(paused_until=(NOW + 1, NOW + 1, NOW, NOW + 1)))
    yield ok(
        "the first root of all",
        ledger(no_root("active")),
        then={
            f"ledger.previous.{name}": value
            for name, value in ((n.split(".")[1], v) for n, v in no_root("active").items())
        },
    )
    yield ok("after a revocation", ledger({**no_root("previous"), "revocable": 0}))


# ---- cancel_root --------------------------------------------------------------------------------
def _cancelling() -> Scene:
    scene = bare_scene("cancel_root", {"epoch": 8})
    scene.keys["authority"] = GUARDIAN
    with_pending(scene)
    ledger(approved=1)(scene)
    return scene


BASES["cancel_root"] = Base(
    _cancelling,
    {
        **{f"ledger.{name}": value for name, value in no_root("pending").items()},
        "ledger.pending_min_slot": 0,
        "ledger.approved": 0,
    },
    lambda _, before, __: [named("RootCancelled", before, "pending")],
)


def _by_guardian_or_admin() -> Iterator[Told]:
    yield ok("by the administrator", account("authority", ADMIN))
    yield no("Unauthorized", "by the publisher", account("authority", PUBLISHER))
    yield no("Unauthorized", "by a stranger", account("authority", STRANGER))
    yield no(
        "Unauthorized", "by the ledger's key unsigned roles", account("authority", key_of("x"))
    )


def _cancels() -> Iterator[Told]:
    yield from _by_guardian_or_admin()
    yield no("NoPendingRoot", "an epoch before", args(epoch=7))
    yield no("NoPendingRoot", "an epoch after", args(epoch=9))
    none = ledger(no_root("pending"))
    yield no("NoPendingRoot", "nothing is pending", none)
    yield no("NoPendingRoot", "nothing is pending: epoch 0", none, args(epoch=0))
    yield ok("while roots are paused", paused(2, NOW + 1))
    yield ok("when it is due already", ledger(DUE))


# ---- revoke_root --------------------------------------------------------------------------------
def _revoking() -> Scene:
    scene = bare_scene("revoke_root", {"epoch": 7})
    scene.keys["authority"] = GUARDIAN
    return scene


_FIELDS: Final = [name.split(".")[1] for name in no_root("active")]
BASES["revoke_root"] = Base(
    _revoking,
    {
        **{f"ledger.active.{each}": _OLD[f"previous.{each}"] for each in _FIELDS},
        **{f"ledger.{name}": value for name, value in no_root("previous").items()},
        "ledger.revocable": 0,
        "ledger.active.active_at": NOW,
    },
    lambda _, before, after: [
        (
            "RootRevoked",
            {
                "epoch": before["ledger.active.epoch"],
                "root": before["ledger.active.root"],
                "restored_epoch": after["ledger.active.epoch"],
            },
        )
    ],
)


def _revocations() -> Iterator[Told]:
    yield from _by_guardian_or_admin()
    yield no("NotRevocable", "the epoch before", args(epoch=6))
    yield no("NotRevocable", "an epoch after", args(epoch=8))
    yield no("NotRevocable", "a second time", ledger(revocable=0))
    nothing = ledger(no_root("active"))
    yield no("NotRevocable", "before there was a root", nothing, args(epoch=0))
    for claimed, total in (
        (34_999_999, 30_000_000),
        (35_000_000, 30_000_000),
        (35_000_001, 30_000_001),
    ):
        yield ok(
            f"where {claimed:,} are claimed already",
            ledger(total_claimed=claimed),
            then={"ledger.active.total": total},
        )
    for exited, total in ((7_999_999, 8_000_000), (8_000_000, 8_000_000), (8_000_001, 8_000_001)):
        yield ok(
            f"where {exited:,} have exited already",
            ledger(total_exited=exited),
            then={"ledger.active.total_exitable": total},
        )
    for values, total in (
        ({"reserve": 60_000_000}, 8_000_000),
        ({"reserve": 60_000_001}, 7_999_999),
        ({"total_withdrawn": 32_000_001}, 7_999_999),
        ({"total_deposited": 69_999_999}, 7_999_999),
        ({"total_claimed": 40_000_000, "reserve": 55_000_001}, 7_999_999),
        ({"reserve": 65_000_000}, 3_000_000),
        ({"reserve": 68_000_000}, 3_000_000),
        ({"reserve": 68_000_001}, 3_000_000),
        ({"reserve": 90_000_000, "total_withdrawn": 20_000_000}, 3_000_000),
    ):
        said = ", ".join(f"{name} {value:,}" for name, value in values.items())
        promised = {"ledger.active.total": 35_000_000} if "total_claimed" in values else {}
        yield ok(
            f"exitable is what is left of {said}",
            ledger(values),
            then={**promised, "ledger.active.total_exitable": total},
        )
    yield ok("the pending root stays", with_pending)
    yield ok("the first root of all", ledger(no_root("previous")), then=_first_revoked())


def _first_revoked() -> Then:
    """Nothing is restored; what was paid stays promised."""
    zeros = {
        f"ledger.active.{name.split('.')[1]}": value for name, value in no_root("active").items()
    }
    paid = {"ledger.active.total": 15_000_000, "ledger.active.total_exitable": 3_000_000}
    return {**zeros, **paid, "ledger.active.active_at": NOW}


ROOTS: Final = [
    *table("approve_root", doors("approve_root"), _approvals()),
    *table("activate_root", doors("activate_root"), _activations()),
    *table("cancel_root", doors("cancel_root"), _cancels()),
    *table("revoke_root", doors("revoke_root"), _revocations()),
]
