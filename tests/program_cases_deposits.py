"""Cases of deposit, exit, request_exit and cancel_exit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.program_cases import BASES, RUNTIME, Base, Then, Told, no, ok, table
from tests.program_cases_claims import LEVEL, pauses, proofs
from tests.program_cases_doors import (
    doors,
    for_ledger,
    missing,
    openings,
    own_destinations,
    records,
    token_programs,
)
from tests.program_cases_roots import MOST, activated, due, promoted, with_pending
from tests.program_changes import (
    Up,
    account,
    args,
    data_of,
    ledger,
    limits,
    record,
    token,
    under,
)
from tests.program_scenes import (
    DAY,
    EXITABLE,
    LEDGER,
    NOW,
    OWNER,
    SLOT,
    STRANGER,
    WALLET,
    Scene,
    bare_scene,
    deposit_values,
    no_root,
    record_of,
    tree_of,
)
from tests.program_tokens import TOKEN_2022, immutable_owner
from tests.program_trees import EXIT
from tests.program_world import key_of

AMOUNT: Final = 50_000


# ---- deposit ------------------------------------------------------------------------------------
def _depositing() -> Scene:
    scene = bare_scene("deposit", {"amount": AMOUNT})
    scene.keys["authority"] = STRANGER
    scene.tokens["source"] = {"owner": STRANGER, "amount": 1_000_000}
    scene.deposit_record = deposit_values(700_000, 100_000, exit_requested_at=NOW - 77)
    return scene


def deposited(amount: int) -> Then:
    """The base outcome of a deposit of so much."""
    return {
        "ledger.total_deposited": Up(amount),
        "deposit_record.deposited": Up(amount),
        "deposit_record.last_slot": SLOT,
        "tokens.vault": Up(amount),
        "tokens.source": Up(-amount),
    }


def _deposit_events(scene: Scene, before: dict[str, Any], after: dict[str, Any]) -> Any:
    all_so_far = after["deposit_record.deposited"]
    told = {
        "owner": bytes(scene.keys["owner"]),
        "deposited": all_so_far,
        "amount": all_so_far - before.get("deposit_record.deposited", 0),
    }
    return [("Deposited", told)]


BASES["deposit"] = Base(_depositing, deposited(AMOUNT), _deposit_events)


def _to_reserve(scene: Scene) -> None:
    """The ledger itself is the owner."""
    scene.keys["owner"] = LEDGER
    key, bump = record_of("deposit", LEDGER)
    scene.keys["deposit_record"] = key
    record(owner=LEDGER, bump=bump)(scene)


def _from_vault(scene: Scene) -> None:
    scene.keys["source"] = scene.keys["vault"]
    del scene.tokens["source"]


def _deposits() -> Iterator[Told]:
    yield no("BadArgs", "nothing", args(amount=0))
    yield from pauses(0)
    yield from token_programs()
    yield no("WrongVault", "from the vault to itself", _from_vault)
    yield ok("the smallest deposit", args(amount=1_000), then=deposited(1_000))
    yield no("BelowMinimum", "a unit below the smallest", args(amount=999))
    yield ok(
        "one unit where that is enough", limits(min_deposit=1), args(amount=1), then=deposited(1)
    )
    yield ok("into the reserve", _to_reserve, then={"ledger.reserve": Up(AMOUNT)})
    yield no("Overflow", "a total beyond 64 bits", ledger(total_deposited=MOST - AMOUNT + 1))
    yield ok("a total of 64 bits", ledger(total_deposited=MOST - AMOUNT))
    yield no("Overflow", "a record beyond 64 bits", record(deposited=MOST - AMOUNT + 1))
    yield ok("a record of 64 bits", record(deposited=MOST - AMOUNT))
    full = ledger(reserve=MOST - AMOUNT + 1)
    yield no("Overflow", "a reserve beyond 64 bits", _to_reserve, full)
    yield ok("a full reserve is not of others' deposits", full)
    yield no(RUNTIME, "more than the source holds", token("source", amount=AMOUNT - 1))
    yield no(RUNTIME, "a source of another owner", token("source", owner=WALLET))
    yield no(RUNTIME, "a source of another mint", token("source", mint=key_of("other mint")))
    yield no(RUNTIME, "a frozen source", token("source", state=2))
    yield ok("under Token-2022", under(TOKEN_2022))
    both = (data_of("vault", immutable_owner), data_of("source", immutable_owner))
    yield ok("under Token-2022, accounts of 170 bytes", under(TOKEN_2022), *both)
    yield from records("deposit_record", "deposit", OWNER)
    zeros = {"exited": 0, "exit_requested_at": 0, "last_slot": SLOT, "reserved": (0,) * 7}
    made = {"ledger": LEDGER, "owner": OWNER, "deposited": AMOUNT, **zeros}
    made["bump"] = record_of("deposit", OWNER)[1]
    new = {f"deposit_record.{name}": value for name, value in made.items()}
    yield from openings("deposit_record", "deposit", OWNER, new)
    yield no("InvalidRecord", "for another owner, into this record", account("owner", STRANGER))


# ---- exit ---------------------------------------------------------------------------------------
INDEX: Final = tree_of(7).index(EXIT, bytes(OWNER))


def _exit_args(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "index": INDEX,
        "exitable": EXITABLE[epoch],
        "proof": tree_of(epoch).proof(INDEX),
    }


def _exiting() -> Scene:
    scene = bare_scene("exit", _exit_args(7))
    scene.deposit_record = deposit_values(8_000_000, 1_000_000)
    scene.tokens["destination"] = {"owner": OWNER, "amount": 321}
    ledger({"active.active_at": NOW - 10 * DAY})(scene)
    return scene


def exited(pay: int, *, level: int = LEVEL) -> Then:
    return {
        "ledger.total_exited": Up(pay),
        "deposit_record.exited": Up(pay),
        "ledger.flow_level": level + pay,
        "ledger.flow_updated_at": NOW,
        "tokens.vault": Up(-pay),
        "tokens.destination": Up(pay),
    }


def _exit_events(scene: Scene, before: dict[str, Any], after: dict[str, Any]) -> Any:
    all_so_far = after["deposit_record.exited"]
    told = {
        "owner": bytes(scene.keys["owner"]),
        "exited": all_so_far,
        "amount": all_so_far - before["deposit_record.exited"],
    }
    return [*activated(before, after), ("Exited", told)]


BASES["exit"] = Base(_exiting, exited(3_000_000), _exit_events)


def _exit_epochs() -> Iterator[Told]:
    stale = "StaleEpoch"
    yield no(stale, "the epoch before", args(**_exit_args(6)))
    yield no(stale, "an epoch that is pending", with_pending, args(**_exit_args(8)))
    yield no(stale, "epoch 0 before there was a root", ledger(no_root("active")), args(epoch=0))
    yield no(stale, "a root that another one has followed", due)
    asked = (record(exit_requested_at=NOW - 10 * DAY), ledger({"pending.published_at": NOW - DAY}))
    yield ok(
        "a root that becomes active by it",
        *(due, args(**_exit_args(8)), *asked),
        then={
            **promoted(),
            "ledger.previous.active_at": NOW - 10 * DAY,
            "ledger.active.published_at": NOW - DAY,
            **exited(3_200_000),
        },
    )
    yield no(
        "ExitClosed", "a root that becomes active closes the first door", due, args(**_exit_args(8))
    )


def _doors_out() -> Iterator[Told]:
    """The first after 10 days without activation; the second 10 days after a request."""
    closed = "ExitClosed"
    yield no(
        closed,
        "a second before the first door opens",
        ledger({"active.active_at": NOW - 10 * DAY + 1}),
    )
    recent = ledger({"active.active_at": NOW - 100, "active.published_at": NOW - 5 * DAY})
    yield no(closed, "a recent root, no request", recent)
    yield ok("a request of 10 days ago", recent, record(exit_requested_at=NOW - 10 * DAY))
    yield no(
        closed, "a request a second younger", recent, record(exit_requested_at=NOW - 10 * DAY + 1)
    )
    for seconds, open_ in ((600, True), (599, False)):
        published = ledger(
            {"active.active_at": NOW - 100, "active.published_at": NOW - 10 * DAY + seconds}
        )
        changes = (published, record(exit_requested_at=NOW - 10 * DAY))
        said = f"a root published {seconds} seconds after the request"
        yield ok(said, *changes) if open_ else no(closed, said, *changes)
    long_ago = ledger({"active.active_at": NOW + 100, "active.published_at": NOW})
    yield no(closed, "where the clock went back", long_ago)
    since_ever = ledger({"active.active_at": NOW - 100, "active.published_at": 700})
    yield no(closed, "no request is not one at second 0", since_ever)


def _exit_amounts() -> Iterator[Told]:
    yield no("NothingToExit", "all is paid back", record(exited=4_000_000))
    yield no("NothingToExit", "more is paid back", record(exited=4_000_001))
    yield ok("one unit is left", record(exited=3_999_999), then=exited(1))
    for level, pay in ((10_000_998, 1), (7_001_000, 2_999_999), (7_000_999, 3_000_000)):
        flow = ledger(flow_level=level, flow_updated_at=NOW)
        yield ok(f"a breaker at {level:,}", flow, then=exited(pay, level=level))
    yield no("RateLimited", "a full breaker", ledger(flow_level=10_000_999, flow_updated_at=NOW))
    yield ok(
        "where the breaker's clock is ahead",
        ledger(flow_updated_at=NOW + 9),
        then={**exited(3_000_000, level=4_000_000), "ledger.flow_updated_at": NOW + 9},
    )
    yield ok("a window ago", ledger(flow_updated_at=NOW - 1_000), then=exited(3_000_000, level=0))
    yield ok("to the unit of what is exitable", ledger(total_exited=7_000_000))
    yield no("ExceedsTotal", "a unit beyond what is exitable", ledger(total_exited=7_000_001))
    yield no("ExceedsTotal", "a sum beyond 64 bits", ledger(total_exited=MOST))
    yield ok("to the unit of what a pending root has", with_pending, ledger(total_exited=6_500_000))
    yield no("ExceedsTotal", "a unit beyond it", with_pending, ledger(total_exited=6_500_001))
    yield no(RUNTIME, "a vault a unit short", token("vault", amount=2_999_999))
    yield no(
        "NothingToExit",
        "twice in one transaction",
        lambda scene: scene.after.append(lambda again: again.instruction()),
    )


def _exits() -> Iterator[Told]:
    yield from pauses(1)
    yield from token_programs()
    yield from _exit_epochs()
    yield from proofs(EXIT, bytes(OWNER), EXITABLE[7], "exitable")
    yield from _doors_out()
    yield from _exit_amounts()
    yield from records("deposit_record", "deposit", OWNER)
    yield from missing("deposit_record")
    yield no("InvalidProof", "another owner with this proof", account("owner", STRANGER))
    yield from own_destinations(for_ledger("deposit", tree_of(7).index(EXIT, bytes(LEDGER))))


# ---- request_exit, cancel_exit ------------------------------------------------------------------
def _asking(name: str, since: int) -> Scene:
    scene = bare_scene(name, {})
    scene.deposit_record = deposit_values(8_000_000, 1_000_000, exit_requested_at=since)
    return scene


def _asked_events(scene: Scene, before: dict[str, Any], after: dict[str, Any]) -> Any:
    at = after["deposit_record.exit_requested_at"]
    return [("ExitAsked", {"owner": bytes(scene.keys["owner"]), "requested_at": at})]


_ASKED = "deposit_record.exit_requested_at"
BASES["request_exit"] = Base(lambda: _asking("request_exit", 0), {_ASKED: NOW}, _asked_events)
BASES["cancel_exit"] = Base(lambda: _asking("cancel_exit", NOW - 9), {_ASKED: 0}, _asked_events)


def _requests(name: str) -> Iterator[Told]:
    yield from records("deposit_record", "deposit", OWNER)
    yield from missing("deposit_record")
    yield no("InvalidRecord", "by somebody else", account("owner", STRANGER))
    if name == "request_exit":
        yield no("ExitRequested", "a second time", record(exit_requested_at=NOW - 9))
        yield no("ExitRequested", "a second time, at once", record(exit_requested_at=NOW))
    else:
        yield no("NoExitRequest", "nothing was asked", record(exit_requested_at=0))
    yield ok("while all is paused", ledger(paused_until=(NOW + 1,) * 4))


DEPOSITS: Final = [
    *table("deposit", doors("deposit"), _deposits()),
    *table("exit", doors("exit"), _exits()),
    *table("request_exit", doors("request_exit"), _requests("request_exit")),
    *table("cancel_exit", doors("cancel_exit"), _requests("cancel_exit")),
]
