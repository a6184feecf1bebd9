"""Reading the transfers of a ledger batch: its rows and its journal, in the order of posting.

In:   a function that runs a statement that reads.
Out:  transfers, and the sums that journals moved.
Not here: how a journal is packed, and which transfers are in one (`journal`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from coordinator.store.journal import (
    ENTRY_BYTES,
    Sums,
    in_order,
    sums_of,
    transfers_of,
    unpack_moves,
)
from coordinator.store.rows import Row, transfer_of
from coordinator.store.values import Transfer

Run: TypeAlias = Callable[[str, Sequence[object]], Iterable[Row]]

#: What is known of a batch before its transfers: number, first transfer, how many, journal.
SELECT_POSTED: Final = "SELECT number, first_transfer, transfers, journal FROM ledger_batches "
POSTED_AFTER: Final = "WHERE number > ? ORDER BY number LIMIT ?"
#: A journal of a full batch of submissions has some MB.
BATCHES_AT_ONCE: Final = 16
_ROWS_OF: Final = (
    "SELECT t.kind, t.reference, d.code, c.code, t.amount, t.sequence, t.id FROM transfers t"
    " CROSS JOIN accounts d ON d.id = t.debit CROSS JOIN accounts c ON c.id = t.credit"
    " WHERE t.id >= ? AND t.id < ? ORDER BY t.id"
)
_IDS_OF: Final = "SELECT id FROM transfers WHERE id >= ? AND id < ?"
_FIRST_OF: Final = "SELECT first_transfer FROM ledger_batches WHERE number = ?"


class AccountCodes(dict[int, str]):
    """Codes of accounts by number, each read once."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def __missing__(self, number: int) -> str:
        for row in self._run("SELECT code FROM accounts WHERE id = ?", (number,)):
            code: str = row[0]
            self[number] = code
            return code
        raise KeyError(number)


def posted_in(run: Run, batch: Row, code_of: AccountCodes) -> Iterator[Transfer]:
    """The transfers of a batch (a row of `SELECT_POSTED`), in the order of posting.

    Raises:
        KeyError, struct.error: its journal is damaged.
    """
    _, first, count, journal = batch
    packed = transfers_of(journal, code_of)
    if len(journal) == count * ENTRY_BYTES:
        return packed
    rows = ((row[6], transfer_of(row[:6])) for row in run(_ROWS_OF, (first, first + count)))
    return in_order(first, count, rows, packed)


def moved_after(run: Run, transfer: int) -> Sums:
    """What packed transfers behind this one moved."""
    batch = _batch_of(run, transfer)
    sums = _moved_in_rest(run, batch, transfer)
    for (moves,) in run("SELECT moves FROM ledger_batches WHERE number > ?", (batch,)):
        for account, debits, credits_ in unpack_moves(moves):
            into = sums.setdefault(account, [0, 0])
            into[0] += debits
            into[1] += credits_
    return sums


def _batch_of(run: Run, transfer: int) -> int:
    """The last batch that begins no later than this transfer; 0 if there is none.

    By halves: numbers of batches and of their first transfers grow together.
    """
    low, (high,) = 0, next(iter(run("SELECT ifnull(max(number), 0) FROM ledger_batches", ())))
    while low < high:
        middle = (low + high + 1) // 2
        (first,) = next(iter(run(_FIRST_OF, (middle,))))
        low, high = (middle, high) if first <= transfer else (low, middle - 1)
    return low


def _moved_in_rest(run: Run, number: int, transfer: int) -> Sums:
    """What this batch's packed transfers behind this one moved: an epoch may end within a batch."""
    for _, first, count, journal in run(SELECT_POSTED + "WHERE number = ?", (number,)):
        are_rows = {row[0] for row in run(_IDS_OF, (first, first + count))}
        later = sum(each not in are_rows for each in range(transfer + 1, first + count))
        return sums_of(journal[len(journal) - later * ENTRY_BYTES :])
    return {}
