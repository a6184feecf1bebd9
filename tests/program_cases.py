"""Cases of the settlement program's tests: one changed thing, and what comes of it.

In:   tables (`program_cases_*`) of `ok` and `no`, a base outcome for each instruction.
Out:  `told(world, case)`: None, or what was otherwise than the table says.
Rules:
  1. What a case does not name stays as it was: every field of ledger and record, every token
     account, the lamports of records and of who pays for them.
  2. A refused case has its error's name; a successful one its events too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from solders.pubkey import Pubkey

from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD, LEDGER as LEDGER_LAYOUT
from onchain.program.refusals import CODES
from tests.program_bytes import unpack_account
from tests.program_changes import Up
from tests.program_scenes import Change, Scene
from tests.program_tokens import amount_of
from tests.program_world import FEE_PAYER, Outcome, World

#: The runtime itself refuses, by whatever name.
RUNTIME: Final = "(the runtime)"
#: Value of a field that is not there: an account that does not exist has none.
GONE: Final = "(gone)"
_LAYOUTS: Final = {
    "ledger": LEDGER_LAYOUT,
    "claim_record": CLAIM_RECORD,
    "deposit_record": DEPOSIT_RECORD,
}
Then = Mapping[str, Any]


class Case(NamedTuple):
    instruction: str
    name: str
    changes: tuple[Change, ...]
    error: str | None
    #: Values after it by flat name (`ledger.advance`, `tokens.vault`, `lamports.payer`), `Up(n)`
    #: relative to before; on top of what the instruction's base case does unless `alone`.
    then: Then
    alone: bool

    @property
    def id(self) -> str:
        return f"{self.instruction}: {self.name}"


class Told(NamedTuple):
    """A row before it knows its instruction."""

    name: str
    changes: tuple[Change, ...]
    error: str | None
    then: Then
    alone: bool


def ok(name: str, *changes: Change, then: Then | None = None, alone: Then | None = None) -> Told:
    """Succeeds. `then` goes on top of the base outcome, `alone` in its place."""
    return Told(name, changes, None, alone if alone is not None else then or {}, alone is not None)


def no(error: str, name: str, *changes: Change) -> Told:
    """Is refused by that name."""
    assert error in CODES or error == RUNTIME or error.startswith("Custom("), error
    return Told(name, changes, error, {}, False)


class Base(NamedTuple):
    """An instruction's scene, what it does there, and its events."""

    scene: Callable[[], Scene]
    then: Then
    events: Callable[[Scene, dict[str, Any], dict[str, Any]], list[tuple[str, dict[str, Any]]]]


BASES: Final[dict[str, Base]] = {}


def table(instruction: str, *rows: Told | Iterable[Told]) -> list[Case]:
    """Rows of one instruction, flattened."""
    flat = [one for row in rows for one in ([row] if isinstance(row, Told) else row)]
    names = [row.name for row in flat]
    assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]
    return [Case(instruction, *row) for row in flat]


def observe(world: World, scene: Scene) -> dict[str, Any]:
    """Everything that an instruction may change, by flat name."""
    seen: dict[str, Any] = {}
    for name, key in scene.keys.items():
        account = world.account(key)
        if account is None:
            continue
        if name in _LAYOUTS:
            seen[f"lamports.{name}"] = account.lamports
            if len(account.data) == _LAYOUTS[name].size:
                values = unpack_account(_LAYOUTS[name], bytes(account.data))
                seen |= {f"{name}.{field}": value for field, value in values.items()}
        elif name in {"vault", "destination", "source"} and len(account.data) >= 165:
            seen[f"tokens.{name}"] = amount_of(bytes(account.data))
        elif name == "payer" and key != FEE_PAYER:
            seen["lamports.payer"] = account.lamports
    return seen


def expected(before: Mapping[str, Any], then: Then) -> dict[str, Any]:
    after = dict(before)
    for name, value in then.items():
        if isinstance(value, Up):
            after[name] = after.get(name, 0) + int(value)
        elif value is GONE:
            after.pop(name, None)
        else:
            after[name] = bytes(value) if isinstance(value, Pubkey) else value
    return after


def differences(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {seen.get(name, GONE)} instead of {wanted.get(name, GONE)}"
        for name in sorted({*wanted, *seen})
        if wanted.get(name, GONE) != seen.get(name, GONE)
    ]


def stage(world: World, scene: Scene, put: set[Pubkey]) -> set[Pubkey]:
    """Put a scene on the chain; accounts of the last one (`put`) that it has not are removed."""
    accounts = scene.accounts_put()
    for key in put - set(accounts):
        world.remove(key)
    for key, account in accounts.items():
        world.put(key, account)
    world.set_clock(scene.now, scene.slot)
    world.set_rent(*scene.rent)
    return set(accounts) | {key for name, key in scene.keys.items() if name in _LAYOUTS}


class Stage:
    """A world that cases are played on, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._put: set[Pubkey] = set()

    def told(self, case: Case) -> str | None:
        """None if the case goes as its table says, else how it went."""
        scene = BASES[case.instruction].scene()
        for change in case.changes:
            change(scene)
        self._put = stage(self.world, scene, self._put)
        before = observe(self.world, scene) if case.error is None else {}
        outcome = self.world.send(scene.instructions(), scene.tables)
        if case.error is not None:
            return _refused(case.error, outcome)
        if outcome.error is not None:
            return f"{outcome.error} instead of success"
        return self._succeeded(case, scene, before, outcome)

    def _succeeded(
        self, case: Case, scene: Scene, before: dict[str, Any], outcome: Outcome
    ) -> str | None:
        base = BASES[case.instruction]
        after = observe(self.world, scene)
        then = case.then if case.alone else {**base.then, **case.then}
        wrong = differences(expected(before, then), after)
        events = base.events(scene, before, after)
        if len(scene.before) + len(scene.after) == 0 or scene.voucher is not None:
            wrong += [] if outcome.events == events else [f"{outcome.events} instead of {events}"]
        return "; ".join(wrong) or None


def _refused(error: str, outcome: Outcome) -> str | None:
    seen = outcome.error
    by_runtime = seen is not None and seen not in CODES
    fits = by_runtime if error == RUNTIME else seen == error
    return None if fits else f"{seen or 'success'} instead of {error}"
