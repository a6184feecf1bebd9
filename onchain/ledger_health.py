"""Whether a ledger is sound: the page's invariants over what the chain says. Pure.

In:   `LedgerNow`; the deposit records where they were read.
Out:  `Finding`s, each held or broken, with the numbers in base units.
Not covered: sums over claim records (they do not name their ledger); the tree of leaves (the
guardian recomputes it); what fell since an earlier look.
Source: `docs/program.md`, "Invariants".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onchain.reads import LedgerNow
from onchain.views import DepositRecord, Ledger, Root


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must hold."""

    name: str
    holds: bool
    #: The numbers that it is about.
    said: str


def findings(now: LedgerNow, deposits: Sequence[DepositRecord] | None = None) -> list[Finding]:
    """Everything that was looked at, in the order of the page."""
    ledger = now.ledger
    found = [
        _at_most("the vault holds what is owed", ledger.owed, now.vault_balance),
        _at_most(
            "claims are within the active root",
            ledger.total_claimed - ledger.advance,
            ledger.active.total,
        ),
        _at_most(
            "exits are within the active root", ledger.total_exited, ledger.active.total_exitable
        ),
        _at_most("the reserve backs the advance", ledger.advance, ledger.reserve),
        *_promises(ledger, "active", ledger.active),
    ]
    if ledger.pending.epoch:
        found += _promises(ledger, "pending", ledger.pending)
        found += _after_active(ledger)
    return found if deposits is None else [*found, *_deposits(ledger, deposits)]


def _promises(ledger: Ledger, name: str, root: Root) -> Iterator[Finding]:
    promised = root.total + root.total_exitable + ledger.reserve + ledger.total_withdrawn
    yield _at_most(f"the {name} root promises what came in", promised, ledger.total_deposited)


def _after_active(ledger: Ledger) -> Iterator[Finding]:
    pending = ledger.pending
    yield _at_most("the pending total does not fall", ledger.active.total, pending.total)
    yield _at_most("the pending root lets exits stand", ledger.total_exited, pending.total_exitable)


def _deposits(ledger: Ledger, records: Sequence[DepositRecord]) -> Iterator[Finding]:
    deposited = sum(each.deposited for each in records)
    exited = sum(each.exited for each in records)
    yield _equal("deposit records sum up", deposited, ledger.total_deposited)
    yield _equal("exits of the records sum up", exited, ledger.total_exited)


def _at_most(name: str, less: int, more: int) -> Finding:
    return Finding(name, less <= more, f"{less} ≤ {more}")


def _equal(name: str, one: int, other: int) -> Finding:
    return Finding(name, one == other, f"{one} = {other}")
