"""Transfers of jobs, packed: one text of bytes a ledger batch instead of four rows a job.

In:   the transfers of one batch that jobs' holds guard, and the numbers of their accounts.
Out:  the batch's `journal`, and `moves`: what the journal did to each account, in all.
Layout, little-endian, one entry after the other:
  journal  kind u8 | reference u64 | sequence u32 | debit u32 | credit u32 | amount u64
  moves    account u32 | debits u64 | credits u64
Rules:
  1. Packed is a transfer whose hold was made (`hold`) or ended (`pay`, `fee`, `return`) in the same
     transaction: a hold is made and ended once, by the job's own row, and so such a transfer
     happens once. Any other transfer is a row, under a unique index.
  2. A batch's transfers have numbers in the order of posting. Those that are rows say theirs; the
     packed ones have the others, in order.
  3. `moves` come from the journal alone: the audit adds them up again.
Why: a row and its entry in the index cost eight times as much as an entry here (measured).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Final

from coordinator.store.values import Transfer, TransferKind

_ENTRY: Final = Struct("<BQIIIQ")
_MOVE: Final = Struct("<IQQ")
ENTRY_BYTES: Final = _ENTRY.size
#: Kind, reference and sequence: what names a transfer.
NAME_BYTES: Final = 13
#: Numbers of kinds; one is never used again.
NUMBERS: Final = {
    TransferKind.HOLD: 1,
    TransferKind.PAY: 2,
    TransferKind.FEE: 3,
    TransferKind.RETURN: 4,
}
_KINDS: Final = {number: kind for kind, number in NUMBERS.items()}
#: Debits and credits by account number.
Sums = dict[int, list[int]]

pack_entry: Final = _ENTRY.pack


def sums_of(journal: bytes) -> Sums:
    """What a journal does to each account."""
    sums: Sums = {}
    for _, _, _, debit, credit, amount in _ENTRY.iter_unpack(journal):
        sums.setdefault(debit, [0, 0])[0] += amount
        sums.setdefault(credit, [0, 0])[1] += amount
    return sums


def moves_of_pairs(pairs: Mapping[tuple[int, int], int]) -> bytes:
    """What so much moved from the first account to the second of each pair did to each of them."""
    sums: Sums = {}
    for (debit, credit), amount in pairs.items():
        sums.setdefault(debit, [0, 0])[0] += amount
        sums.setdefault(credit, [0, 0])[1] += amount
    return pack_moves(sums)


def pack_moves(sums: Mapping[int, Sequence[int]]) -> bytes:
    """Sums as they are kept beside their journal."""
    return b"".join([_MOVE.pack(account, *sums[account]) for account in sorted(sums)])


def unpack_moves(moves: bytes) -> Iterator[tuple[int, int, int]]:
    """Account, debits and credits."""
    return _MOVE.iter_unpack(moves)


def holds_name(journal: bytes, transfer: Transfer) -> bool:
    """Whether a transfer of this name is in a journal."""
    number = NUMBERS.get(transfer.kind)
    name = (number, transfer.reference, transfer.sequence)
    return any(entry[:3] == name for entry in _ENTRY.iter_unpack(journal))


def transfers_of(journal: bytes, code_of: Mapping[int, str]) -> Iterator[Transfer]:
    """The transfers of a journal, in order.

    Raises:
        KeyError: it names a kind or an account that there is not.
    """
    for kind, reference, sequence, debit, credit, amount in _ENTRY.iter_unpack(journal):
        yield Transfer(
            _KINDS[kind], reference, code_of[debit], code_of[credit], amount, sequence
        )  # fmt: skip


def in_order(
    first: int, count: int, rows: Iterable[tuple[int, Transfer]], packed: Iterator[Transfer]
) -> Iterator[Transfer]:
    """A batch's transfers in the order of posting.

    Args:
        first: The batch's first number.
        count: How many it has.
        rows: Those that are rows, with their numbers, ascending.
        packed: Those of its journal.
    """
    by_number = dict(rows)
    for number in range(first, first + count):
        transfer = by_number.get(number) or next(packed, None)
        if transfer is not None:
            yield transfer
