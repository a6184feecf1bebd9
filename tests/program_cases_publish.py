"""Cases of publish_root: epochs, intervals, totals, caps, solvency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.program_cases import BASES, Base, Told, no, ok, table
from tests.program_cases_doors import doors
from tests.program_cases_roots import (
    MOST,
    NEW_ROOT,
    activated,
    due,
    named,
    paused,
    promoted,
    with_pending,
)
from tests.program_changes import Up, account, args, ledger, limits, token
from tests.program_scenes import (
    ADMIN,
    DAY,
    GUARDIAN,
    NOBODY,
    NOW,
    PUBLISHER,
    SLOT,
    STRANGER,
    Scene,
    bare_scene,
)
from tests.program_world import key_of

_PUBLISHED: Final = {
    "epoch": 8,
    "root": NEW_ROOT,
    "data_hash": bytes(range(101, 133)),
    "total": 41_000_000,
    "total_exitable": 9_000_000,
    "leaf_count": 5,
}


def _publishing() -> Scene:
    scene = bare_scene("publish_root", dict(_PUBLISHED))
    scene.keys["authority"] = PUBLISHER
    return scene


def _publish_events(scene: Scene, before: dict[str, Any], after: dict[str, Any]) -> Any:
    told = named("RootPublished", after, "pending", "total")
    told[1]["activates_at"] = after["ledger.pending.active_at"]
    return [*activated(before, after), told]


BASES["publish_root"] = Base(
    _publishing,
    {
        **{f"ledger.pending.{name}": value for name, value in _PUBLISHED.items()},
        "ledger.pending.published_at": NOW,
        "ledger.pending.active_at": NOW + 3 * DAY,
        "ledger.pending_min_slot": SLOT + 6 * DAY,
        "ledger.last_epoch": 8,
    },
    _publish_events,
)


def _given(**values: Any) -> Any:
    """The row's `then` where those arguments are taken over."""
    return {f"ledger.pending.{name}": value for name, value in values.items()}


def _epochs() -> Iterator[Told]:
    yield no("BadEpoch", "the last epoch again", args(epoch=7))
    yield no("BadEpoch", "an epoch left out", args(epoch=9))
    yield no("BadEpoch", "epoch 0", args(epoch=0))
    yield ok(
        "after a cancelled epoch",
        *(ledger(last_epoch=8), args(epoch=9)),
        then={**_given(epoch=9), "ledger.last_epoch": 9},
    )
    yield no("BadEpoch", "the number of a cancelled epoch", ledger(last_epoch=8))
    yield no("RootPending", "another root is pending", with_pending, args(epoch=9))
    yield ok(
        "another root was due: it becomes active first",
        *(due, args(epoch=9, total=43_000_000)),
        then={
            **promoted(),
            **_given(**{**_PUBLISHED, "epoch": 9, "total": 43_000_000}),
            "ledger.pending.published_at": NOW,
            "ledger.pending.active_at": NOW + 3 * DAY,
            "ledger.pending_min_slot": SLOT + 6 * DAY,
            "ledger.last_epoch": 9,
        },
    )


def _intervals() -> Iterator[Told]:
    last = "active.published_at"
    yield ok("to the second after the interval", ledger({last: NOW - 3_600}))
    yield no("TooSoon", "a second before the interval", ledger({last: NOW - 3_599}))
    yield no("TooSoon", "at the same second as the last", ledger({last: NOW}))
    yield no("TooSoon", "where the clock went back", ledger({last: NOW + 7_200}))
    yield no("EmptyRoot", "a root of zeros", args(root=NOBODY))
    yield ok(
        "a root of which only the last byte is not zero",
        args(root=bytes(31) + b"\1"),
        then=_given(root=bytes(31) + b"\1"),
    )
    yield no("EmptyRoot", "no leaf", args(leaf_count=0))
    yield ok("one leaf", args(leaf_count=1), then=_given(leaf_count=1))
    yield ok("2^32 - 1 leaves", args(leaf_count=2**32 - 1), then=_given(leaf_count=2**32 - 1))
    yield no("Paused", "a second before the pause ends", paused(2, NOW + 1))
    yield ok("at the second at which the pause ends", paused(2, NOW))
    yield ok("while all else is paused", ledger(paused_until=(NOW + 1, NOW + 1, NOW, NOW + 1)))


def _totals() -> Iterator[Told]:
    yield ok("the same total", args(total=40_000_000), then=_given(total=40_000_000))
    yield no("TotalDecreased", "a total one below", args(total=39_999_999))
    yield ok(
        "all that left is exitable",
        args(total_exitable=3_000_000),
        then=_given(total_exitable=3_000_000),
    )
    yield no("TotalDecreased", "one less exitable than has left", args(total_exitable=2_999_999))
    yield from _caps()
    yield ok(
        "to the unit solvent",
        args(total_exitable=27_000_000),
        then=_given(total_exitable=27_000_000),
    )
    yield no("Insolvent", "promises a unit beyond", args(total_exitable=27_000_001))
    yield no(
        "Insolvent",
        "a reserve a unit beyond",
        args(total_exitable=27_000_000),
        ledger(reserve=Up(1)),
    )
    yield no(
        "Insolvent",
        "withdrawn a unit beyond",
        args(total_exitable=27_000_000),
        ledger(total_withdrawn=Up(1)),
        token("vault", amount=75_000_000),
    )
    yield no(
        "Insolvent",
        "a deposit a unit short",
        args(total_exitable=27_000_000),
        ledger(total_deposited=Up(-1)),
    )
    yield no("Insolvent", "exitable of 2^64 - 1", args(total_exitable=MOST))
    no_cap = limits(max_epoch_increase=MOST)
    yield no("Insolvent", "a total of 2^64 - 1", no_cap, args(total=MOST))
    yield no("Insolvent", "a reserve that makes the sum wrap", ledger(reserve=MOST - 60_000_000))
    yield no(
        "Insolvent", "withdrawals that make the sum wrap", ledger(total_withdrawn=MOST - 60_000_000)
    )
    yield no("Insolvent", "a vault a unit short", token("vault", amount=74_999_999))
    yield ok("a vault with a unit to spare", token("vault", amount=75_000_001))
    yield no(
        "WrongVault", "another account of the ledger", account("vault", key_of("second vault"))
    )


def _caps() -> Iterator[Told]:
    """max_epoch_increase is 2,000,000; whole intervals since the activation count, 1 to 7."""
    for seconds, intervals in (
        (0, 1),
        (3_600, 1),
        (7_199, 1),
        (7_200, 2),
        (25_200, 7),
        (28_800, 7),
    ):
        most = 40_000_000 + 2_000_000 * intervals
        since = ledger({"active.active_at": NOW - seconds})
        yield ok(
            f"the cap of {intervals} intervals after {seconds} s",
            *(since, args(total=most)),
            then={**_given(total=most)},
        )
        yield no(
            "ExceedsEpochCap",
            f"beyond the cap of {intervals} intervals after {seconds} s",
            *(since, args(total=most + 1)),
        )
    back = ledger({"active.active_at": NOW + 9_000})
    yield ok(
        "one interval where the clock went back",
        back,
        args(total=42_000_000),
        then=_given(total=42_000_000),
    )
    yield no("ExceedsEpochCap", "two where the clock went back", back, args(total=42_000_001))
    huge = limits(max_epoch_increase=2**63)
    yield ok(
        "a cap beyond 64 bits is none", huge, args(total=50_000_000), then=_given(total=50_000_000)
    )
    nothing = limits(max_epoch_increase=0)
    yield ok(
        "a cap of nothing, no rise", nothing, args(total=40_000_000), then=_given(total=40_000_000)
    )
    yield no("ExceedsEpochCap", "a cap of nothing, a rise of one", nothing, args(total=40_000_001))


def _publishers() -> Iterator[Told]:
    for said, key in (("administrator", ADMIN), ("guardian", GUARDIAN), ("stranger", STRANGER)):
        yield no("Unauthorized", f"by the {said}", account("authority", key))
    slower = limits(slow_delay=5 * DAY)
    later = {"ledger.pending.active_at": NOW + 5 * DAY, "ledger.pending_min_slot": SLOT + 10 * DAY}
    yield ok("with a longer delay", slower, then=later)
    yield ok(
        "an approval of before is forgotten",
        ledger(approved=1),
        then={"ledger.approved": 0},
    )


PUBLISH: Final = table(
    "publish_root", doors("publish_root"), _epochs(), _intervals(), _totals(), _publishers()
)
