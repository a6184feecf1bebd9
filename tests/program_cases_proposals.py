"""Cases of proposals: made, applied, accepted, paid out, cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from onchain.program.instructions import PROPOSALS
from tests.program_cases import BASES, RUNTIME, Base, Then, Told, no, ok, table
from tests.program_cases_doors import doors, own_destinations, token_programs
from tests.program_cases_initialize import bad_limits, good_limits
from tests.program_cases_roots import MOST
from tests.program_cases_rules import EVER
from tests.program_changes import Up, account, args, at, ledger, limit_args, limits, token
from tests.program_scenes import (
    ADMIN,
    DAY,
    GUARDIAN,
    LEDGER,
    LIMITS,
    NO_LIMITS,
    NOBODY,
    NOW,
    PUBLISHER,
    STRANGER,
    VOUCHER_KEY,
    WALLET,
    Change,
    Scene,
    bare_scene,
)
from tests.program_world import key_of

KINDS: Final = {name: kind for kind, (name, _) in PROPOSALS.items()}
NEW: Final = key_of("a new role")
ROLES: Final = {
    "PUBLISHER": "publisher",
    "GUARDIAN": "guardian",
    "VOUCHER": "voucher_key",
    "ADMIN": "admin",
}
_HOLDERS: Final = {
    "admin": ADMIN,
    "publisher": PUBLISHER,
    "guardian": GUARDIAN,
    "voucher_key": VOUCHER_KEY.pubkey(),
}
LIFE: Final = 14 * DAY


def proposal(kind: str, **values: Any) -> dict[str, Any]:
    """Arguments of a proposal of that kind, as they have to be."""
    nothing = {"key": NOBODY, "amount": 0, "flags": 0, "limits": dict(NO_LIMITS)}
    usual: dict[str, dict[str, Any]] = {
        "LIMITS": {"limits": {**LIMITS, "window_limit": 20_000_000}},
        "UNPAUSE": {"flags": 5},
        "SWEEP": {"amount": 500, "key": WALLET},
        "RESERVE": {"amount": 25_000_000, "key": WALLET},
    }
    return {"kind": KINDS[kind], **nothing, **usual.get(kind, {"key": NEW}), **values}


def standing(kind: str, **values: Any) -> dict[str, Any]:
    """Values of a ledger with that proposal, due to the second."""
    given = proposal(kind, **values)
    chosen = given.pop("limits")
    return {
        **{f"proposal_{name}": value for name, value in given.items()},
        **{f"proposal_limits.{name}": value for name, value in chosen.items()},
        "proposal_due_at": NOW,
    }


def gone() -> Then:
    """A proposal's fields are zero but its number and moment."""
    zeros = {"proposal_kind": 0, "proposal_amount": 0, "proposal_flags": 0, "proposal_key": NOBODY}
    return {
        **{f"ledger.{name}": value for name, value in zeros.items()},
        **{f"ledger.proposal_limits.{name}": 0 for name in LIMITS},
    }


# ---- propose_config -----------------------------------------------------------------------------
def _proposed(given: dict[str, Any], due: int = NOW + 4 * DAY) -> Then:
    rest = {**given}
    chosen = rest.pop("limits")
    return {
        **{f"ledger.proposal_{name}": bytes(v) if name == "key" else v for name, v in rest.items()},
        **{f"ledger.proposal_limits.{name}": value for name, value in chosen.items()},
        "ledger.proposal_number": 5,
        "ledger.proposal_due_at": due,
    }


BASES["propose_config"] = Base(
    lambda: bare_scene("propose_config", proposal("PUBLISHER")),
    _proposed(proposal("PUBLISHER")),
    lambda _, __, after: [
        (
            "ConfigProposed",
            {
                "number": after["ledger.proposal_number"],
                "kind": after["ledger.proposal_kind"],
                "due_at": after["ledger.proposal_due_at"],
            },
        )
    ],
)


def _of(kind: str, **values: Any) -> Change:
    return args(**proposal(kind, **values))


def _kinds() -> Iterator[Told]:
    owned = {
        "LIMITS": {"limits"},
        "UNPAUSE": {"flags"},
        "SWEEP": {"amount", "key"},
        "RESERVE": {"amount", "key"},
    }
    strays = {"key": NEW, "amount": 1, "flags": 1, "limits": {**NO_LIMITS, "config_delay": 1}}
    for kind in KINDS:
        due = NOW + (7 if kind == "GUARDIAN" else 4) * DAY
        yield ok(f"{kind}", _of(kind), then=_proposed(proposal(kind), due))
        for name in {*strays} - owned.get(kind, {"key"}):
            yield no("BadArgs", f"{kind} with {name}", _of(kind, **{name: strays[name]}))
    for name in LIMITS:
        stray = {**NO_LIMITS, name: 1}
        yield no("BadArgs", f"PUBLISHER with a limit, {name}", _of("PUBLISHER", limits=stray))
    for number in (0, 9, 63, 64, 65, 66, 70, 129, 255):
        yield no("BadArgs", f"kind {number}", args(kind=number))
        nothing = args(kind=number, key=NOBODY)
        yield no("BadArgs", f"kind {number} with nothing", nothing)
    for kind, field in ROLES.items():
        for holder, key in _HOLDERS.items():
            if holder != field:
                yield no("RoleConflict", f"{kind}: who is {holder} already", _of(kind, key=key))
        due = NOW + (7 if kind == "GUARDIAN" else 4) * DAY
        same = proposal(kind, key=_HOLDERS[field])
        yield ok(f"{kind}: who is it already", args(**same), then=_proposed(same, due))
        if kind != "VOUCHER":
            yield no("RoleConflict", f"{kind}: nobody", _of(kind, key=NOBODY))
    off = proposal("VOUCHER", key=NOBODY)
    yield ok("VOUCHER: nobody", args(**off), then=_proposed(off))


def _contents() -> Iterator[Told]:
    for said, values in bad_limits():
        yield no("BadLimits", f"LIMITS: {said}", _of("LIMITS"), limit_args(**values))
    for said, values in good_limits():
        chosen = proposal("LIMITS", limits={**LIMITS, **values})
        yield ok(f"LIMITS: {said}", args(**chosen), then=_proposed(chosen))
    for flags in (1, 15):
        given = proposal("UNPAUSE", flags=flags)
        yield ok(f"UNPAUSE {flags}", args(**given), then=_proposed(given))
    for flags in (0, 16, 255):
        yield no("BadArgs", f"UNPAUSE {flags}", _of("UNPAUSE", flags=flags))
    for kind in ("SWEEP", "RESERVE"):
        yield no("BadArgs", f"{kind} of nothing", _of(kind, amount=0))
        yield no("BadArgs", f"{kind} to nobody", _of(kind, key=NOBODY))
        one = proposal(kind, amount=1)
        yield ok(f"{kind} of a unit", args(**one), then=_proposed(one))


def _moments() -> Iterator[Told]:
    def pending(due: int) -> Change:
        return ledger({**standing("LIMITS"), "proposal_due_at": due})

    yield no("ProposalPending", "another is not due yet", pending(NOW + 1))
    yield no("ProposalPending", "another is due", pending(NOW))
    yield no("ProposalPending", "another can be applied for this second", pending(NOW - LIFE))
    yield ok("another has expired: nothing of it is left", pending(NOW - LIFE - 1))
    for delay, due in ((7 * DAY - 1, 7 * DAY), (7 * DAY + 1, 7 * DAY + 1)):
        slow = limits(config_delay=delay)
        given = proposal("GUARDIAN")
        yield ok(
            f"GUARDIAN where proposals take {delay} s",
            slow,
            args(**given),
            then=_proposed(given, NOW + due),
        )
    slow = limits(config_delay=30 * DAY)
    yield ok("where proposals take 30 days", slow, then={"ledger.proposal_due_at": NOW + 30 * DAY})
    for said, key in (("guardian", GUARDIAN), ("publisher", PUBLISHER), ("stranger", STRANGER)):
        yield no("Unauthorized", f"by the {said}", account("authority", key))


# ---- apply_config -------------------------------------------------------------------------------
def _applied(_: Scene, before: dict[str, Any], __: dict[str, Any]) -> Any:
    told = {"number": before["ledger.proposal_number"], "kind": before["ledger.proposal_kind"]}
    return [("ConfigApplied", told)]


def _applying() -> Scene:
    scene = bare_scene("apply_config", {})
    ledger(standing("PUBLISHER"))(scene)
    return scene


BASES["apply_config"] = Base(_applying, {**gone(), "ledger.publisher": NEW}, _applied)


def _stands(kind: str, **values: Any) -> Change:
    return ledger(standing(kind, **values))


def times() -> Iterator[Told]:
    """When a proposal can be applied."""
    yield no("NotDue", "a second early", at(NOW - 1))
    yield ok("on its last second", at(NOW + LIFE))
    yield no("ProposalExpired", "a second after its last", at(NOW + LIFE + 1))
    yield no("NoProposal", "there is none", ledger(proposal_kind=0))


def _applications() -> Iterator[Told]:
    yield from times()
    for kind in ("ADMIN", "SWEEP", "RESERVE"):
        yield no("NoProposal", f"a proposal of kind {kind}", _stands(kind))
    yield no("NoProposal", "a proposal of kind 9", ledger(proposal_kind=9))
    chosen = {"ledger.limits.window_limit": 20_000_000}
    yield ok("LIMITS", _stands("LIMITS"), alone={**gone(), **chosen})
    for said, values in bad_limits():
        yield no("BadLimits", f"LIMITS: {said}", _stands("LIMITS", limits={**LIMITS, **values}))
    yield ok("GUARDIAN", _stands("GUARDIAN"), alone={**gone(), "ledger.guardian": NEW})
    voucher = {**gone(), "ledger.key_epoch": 4}
    yield ok("VOUCHER", _stands("VOUCHER"), alone={**voucher, "ledger.voucher_key": NEW})
    off = {**voucher, "ledger.voucher_key": NOBODY}
    yield ok("VOUCHER: nobody", _stands("VOUCHER", key=NOBODY), alone=off)
    yield no(
        "Overflow",
        "VOUCHER after the last key epoch",
        _stands("VOUCHER"),
        ledger(key_epoch=2**32 - 1),
    )
    yield ok(
        "VOUCHER before the last key epoch",
        _stands("VOUCHER"),
        ledger(key_epoch=2**32 - 2),
        alone={**voucher, "ledger.voucher_key": NEW, "ledger.key_epoch": 2**32 - 1},
    )
    for kind in ("PUBLISHER", "GUARDIAN", "VOUCHER"):
        for holder, key in _HOLDERS.items():
            if holder != ROLES[kind]:
                yield no(
                    "RoleConflict", f"{kind}: who became {holder} since", _stands(kind, key=key)
                )
    for flags in (1, 2, 4, 8, 5, 15):
        before = (NOW + 1, NOW + 5, EVER, NOW + 9)
        after = tuple(NOW if flags >> at & 1 else end for at, end in enumerate(before))
        yield ok(
            f"UNPAUSE {flags}",
            _stands("UNPAUSE", flags=flags),
            ledger(paused_until=before),
            alone={**gone(), "ledger.paused_until": after},
        )
    past = (NOW - 1, NOW, 0, -5)
    yield ok(
        "UNPAUSE what has ended",
        _stands("UNPAUSE", flags=15),
        ledger(paused_until=past),
        alone={**gone()},
    )


# ---- accept_admin -------------------------------------------------------------------------------
def _accepting() -> Scene:
    scene = bare_scene("accept_admin", {})
    scene.keys["authority"] = NEW
    ledger(standing("ADMIN"))(scene)
    return scene


BASES["accept_admin"] = Base(_accepting, {**gone(), "ledger.admin": NEW}, _applied)


def _acceptances() -> Iterator[Told]:
    yield from times()
    for kind in {*KINDS} - {"ADMIN"}:
        yield no("NoProposal", f"a proposal of kind {kind}", _stands(kind))
    for said, key in (
        ("administrator of before", ADMIN),
        ("guardian", GUARDIAN),
        ("stranger", STRANGER),
    ):
        yield no("Unauthorized", f"by the {said}", account("authority", key))
    for holder, key in _HOLDERS.items():
        if holder != "admin":
            yield no(
                "RoleConflict",
                f"who became {holder} since",
                _stands("ADMIN", key=key),
                account("authority", key),
            )


# ---- sweep_excess, withdraw_reserve -------------------------------------------------------------
def _paying_out(name: str, kind: str) -> Scene:
    scene = bare_scene(name, {})
    scene.tokens["destination"] = {"owner": WALLET, "amount": 11}
    scene.tokens["vault"]["amount"] = 75_000_500
    ledger(standing(kind))(scene)
    return scene


def _moved(pay: int) -> Then:
    return {**gone(), "tokens.vault": Up(-pay), "tokens.destination": Up(pay)}


def _withdrawn(pay: int) -> Then:
    return {**_moved(pay), "ledger.reserve": Up(-pay), "ledger.total_withdrawn": Up(pay)}


BASES["sweep_excess"] = Base(lambda: _paying_out("sweep_excess", "SWEEP"), _moved(500), _applied)
BASES["withdraw_reserve"] = Base(
    lambda: _paying_out("withdraw_reserve", "RESERVE"), _withdrawn(25_000_000), _applied
)


def _for_ledger(kind: str) -> Change:
    return _stands(kind, key=LEDGER)


def _payouts(kind: str) -> Iterator[Told]:
    yield from times()
    for other in {*KINDS} - {kind}:
        yield no("NoProposal", f"a proposal of kind {other}", _stands(other))
    yield from token_programs()
    yield from own_destinations(_for_ledger(kind))
    yield no("WrongTokenOwner", "to another wallet than was proposed", _stands(kind, key=STRANGER))


def _sweeps() -> Iterator[Told]:
    yield from _payouts("SWEEP")
    yield no("NotExcess", "a unit more than is there", _stands("SWEEP", amount=501))
    yield no("NotExcess", "a vault a unit short", token("vault", amount=75_000_499))
    yield no("NotExcess", "a vault with less than it owes", token("vault", amount=74_999_999))
    yield no("NotExcess", "2^64 - 1", _stands("SWEEP", amount=MOST))
    for name, by in (
        ("total_deposited", 1),
        ("total_claimed", -1),
        ("total_exited", -1),
        ("total_withdrawn", -1),
    ):
        yield no("NotExcess", f"{name} a unit otherwise", ledger({name: Up(by)}))
    yield ok("a part of it", _stands("SWEEP", amount=499), then=_moved(499))


def _withdrawals() -> Iterator[Told]:
    yield from _payouts("RESERVE")
    in_use = "ReserveInUse"
    yield no(in_use, "a unit more than backs nothing", _stands("RESERVE", amount=25_000_001))
    yield no(in_use, "a unit more advanced", ledger(advance=5_000_001))
    yield no(in_use, "a unit less in the reserve", ledger(reserve=29_999_999))
    yield no(in_use, "less in the reserve than advanced", ledger(reserve=4_999_999))
    yield no(in_use, "2^64 - 1", _stands("RESERVE", amount=MOST))
    yield ok("a part of it", _stands("RESERVE", amount=1), then=_withdrawn(1))
    yield no(RUNTIME, "a vault a unit short", token("vault", amount=24_999_999))


# ---- cancel_config ------------------------------------------------------------------------------
def _withdrawing() -> Scene:
    scene = bare_scene("cancel_config", {"number": 4})
    scene.keys["authority"] = GUARDIAN
    ledger({**standing("LIMITS"), "proposal_due_at": NOW + DAY})(scene)
    return scene


def _cancelled(_: Scene, before: dict[str, Any], __: dict[str, Any]) -> Any:
    told = {"number": before["ledger.proposal_number"], "kind": before["ledger.proposal_kind"]}
    return [("ConfigCancelled", told)]


BASES["cancel_config"] = Base(_withdrawing, gone(), _cancelled)


def _cancellations() -> Iterator[Told]:
    by_admin = account("authority", ADMIN)
    for number in (0, 3, 5):
        yield no("NoProposal", f"proposal {number} where it is 4", args(number=number))
    yield no("NoProposal", "there is none", ledger(proposal_kind=0))
    for kind in KINDS:
        yield ok(f"{kind} by the administrator", by_admin, _stands(kind))
        if kind == "GUARDIAN":
            yield no("Unauthorized", "GUARDIAN by the guardian", _stands(kind))
        else:
            yield ok(f"{kind} by the guardian", _stands(kind))
    yield ok("one that has expired", ledger(proposal_due_at=NOW - 2 * LIFE))
    for said, key in (("publisher", PUBLISHER), ("stranger", STRANGER), ("proposed key", NEW)):
        yield no("Unauthorized", f"by the {said}", account("authority", key))


CONFIG: Final = [
    *table("propose_config", doors("propose_config"), _kinds(), _contents(), _moments()),
    *table("apply_config", doors("apply_config"), _applications()),
    *table("accept_admin", doors("accept_admin"), _acceptances()),
    *table("sweep_excess", doors("sweep_excess"), _sweeps()),
    *table("withdraw_reserve", doors("withdraw_reserve"), _withdrawals()),
    *table("cancel_config", doors("cancel_config"), _cancellations()),
]
