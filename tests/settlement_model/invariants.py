"""The invariants of docs/program.md, as checks that say which numbers disagree.

Invariants 1 to 4 hold of a world; 5 of two worlds, one after the other; 6 of a list of payments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Final

from tests.settlement_model.addresses import claim_record_address, deposit_record_address
from tests.settlement_model.state import ClaimRecord, DepositRecord, Ledger, copied
from tests.settlement_model.world import World


class Broken(AssertionError):
    """An invariant does not hold; its argument names it and the numbers."""


def check(holds: bool, number: str, **numbers: int) -> None:
    if not holds:
        said = ", ".join(f"{name}={value}" for name, value in numbers.items())
        message = f"invariant {number}: {said}"
        raise Broken(message)


@dataclass(frozen=True)
class Books:
    """One ledger, its vault, and the records that belong to it, by their addresses."""

    ledger: Ledger
    vault_balance: int
    claims: Mapping[bytes, ClaimRecord]
    deposits: Mapping[bytes, DepositRecord]
    #: Brought in by the ledger itself: what the reserve was before anything was withdrawn.
    own_deposited: int


def books_of(
    world: World, program: bytes, key: bytes, wallets: Iterable[bytes] | None = None
) -> Books:
    """Copies of the ledger's records.

    Args:
        world: the world.
        program: the settlement program's address.
        key: the ledger's address.
        wallets: everybody who may have a claim record with it; not given where the world has one
            ledger only (a claim record does not say whose it is).
    """
    known = None if wallets is None else {claim_record_address(program, key, w) for w in wallets}
    claims, deposits = {}, {}
    for address, account in world.accounts.items():
        data = account.data
        if isinstance(data, ClaimRecord) and (known is None or address in known):
            claims[address] = copy(data)
        elif isinstance(data, DepositRecord) and data.ledger == key:
            deposits[address] = copy(data)
    ledger = copied(world.ledger(key))
    assert isinstance(ledger, Ledger)
    own = deposits.get(deposit_record_address(program, key, key))
    balance = world.tokens(ledger.vault).amount
    return Books(ledger, balance, claims, deposits, own.deposited if own else 0)


def check_books(books: Books, donations: int) -> None:
    """Invariants 1 to 4.

    Args:
        books: the ledger and all of its records.
        donations: what came into the vault past the program, less what was swept.

    Raises:
        Broken: with the numbers.
    """
    ledger = books.ledger
    paid = ledger.total_claimed + ledger.total_exited + ledger.total_withdrawn
    owed = ledger.total_deposited - paid
    check(
        books.vault_balance == owed + donations and donations >= 0,
        "1, vault",
        balance=books.vault_balance,
        owed=owed,
        donations=donations,
    )
    _check_sums(books)
    active = ledger.active
    covered = ledger.total_claimed - ledger.advance
    check(covered <= active.total, "3, claimed", covered=covered, total=active.total)
    exited, exitable = ledger.total_exited, active.total_exitable
    check(exited <= exitable, "3, exited", exited=exited, exitable=exitable)
    check(ledger.advance <= ledger.reserve, "4", advance=ledger.advance, reserve=ledger.reserve)
    check(owed >= 0, "4, paid", paid=paid, deposited=ledger.total_deposited)
    _check_promises(ledger)


def _check_sums(books: Books) -> None:
    ledger, claims, deposits = books.ledger, books.claims.values(), books.deposits.values()
    advance = sum(max(0, one.claimed - one.covered) for one in claims)
    claimed = sum(one.claimed for one in claims)
    exited = sum(one.exited for one in deposits)
    deposited = sum(one.deposited for one in deposits)
    check(advance == ledger.advance, "2, advance", sum=advance, ledger=ledger.advance)
    check(claimed == ledger.total_claimed, "2, claimed", sum=claimed, ledger=ledger.total_claimed)
    check(exited == ledger.total_exited, "2, exited", sum=exited, ledger=ledger.total_exited)
    check(
        deposited == ledger.total_deposited,
        "2, deposited",
        sum=deposited,
        ledger=ledger.total_deposited,
    )
    own = books.own_deposited - ledger.total_withdrawn
    check(own == ledger.reserve, "2, reserve", own=own, ledger=ledger.reserve)


def _check_promises(ledger: Ledger) -> None:
    held_back = ledger.reserve + ledger.total_withdrawn
    for name, root in (("active", ledger.active), ("pending", ledger.pending)):
        promised = root.total + root.total_exitable + held_back
        if root is ledger.active or root.epoch != 0:
            check(
                promised <= ledger.total_deposited,
                f"4, {name} root",
                total=root.total,
                exitable=root.total_exitable,
                held_back=held_back,
                deposited=ledger.total_deposited,
            )
    if ledger.pending.epoch != 0:
        pending = ledger.pending
        check(
            pending.total >= ledger.active.total and pending.total_exitable >= ledger.total_exited,
            "4, pending root beside active",
            pending=pending.total,
            active=ledger.active.total,
            exitable=pending.total_exitable,
            exited=ledger.total_exited,
        )


NEVER_FALL: Final = (
    *("total_deposited", "total_claimed", "total_exited", "total_withdrawn"),
    *("last_epoch", "proposal_number", "key_epoch"),
)


def check_nothing_fell(before: Books, after: Books) -> None:
    """Invariant 5.

    Raises:
        Broken: with the numbers.
    """
    for name in NEVER_FALL:
        _check_not_below(name, getattr(before.ledger, name), getattr(after.ledger, name))
    for address, claim in before.claims.items():
        _check_not_below("claimed", claim.claimed, after.claims[address].claimed)
        _check_not_below("covered", claim.covered, after.claims[address].covered)
    for address, deposit in before.deposits.items():
        _check_not_below("deposited", deposit.deposited, after.deposits[address].deposited)
        _check_not_below("exited", deposit.exited, after.deposits[address].exited)


def _check_not_below(name: str, was: int, now: int) -> None:
    check(now >= was, f"5, {name}", was=was, now=now)


def check_windows(payments: Iterable[tuple[int, int]], limit: int, window_secs: int) -> None:
    """Invariant 6, of payments under limits that did not change in between.

    Args:
        payments: (moment, amount), moments never falling.
        limit: of the breaker.
        window_secs: its window; both of its ends count.

    Raises:
        Broken: with the numbers.
    """
    window: list[tuple[int, int]] = []
    for moment, amount in payments:
        window = [one for one in window if one[0] >= moment - window_secs]
        window.append((moment, amount))
        out = sum(amount for _, amount in window)
        check(out <= 2 * limit, "6", until=moment, out=out, limit=limit)
