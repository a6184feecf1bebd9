"""Leaves of a settlement tree, and the file that holds them all: the layout is a promise.

Integers are little endian. A file is a head of 80 bytes, then a row of 40 for each leaf:
address[32], amount u64. First the earnings, sorted by wallet, then the exits, sorted by owner, each
address once in its kind, no amount zero. Leaves of the tree stand in the order of the rows.

| offset | bytes | field          | meaning                                                   |
|-------:|------:|----------------|-----------------------------------------------------------|
|      0 |     8 | magic          | `hyperlvs`                                                |
|      8 |     4 | version        | u32: 1                                                    |
|     12 |     4 | earnings       | u32: rows of earnings                                     |
|     16 |     4 | exits          | u32: rows of exits                                        |
|     20 |     4 | zero           | u32: 0                                                    |
|     24 |    32 | ledger         | the ledger's address                                      |
|     56 |     8 | epoch          | u64: number of the epoch                                  |
|     64 |     8 | total          | u64: sum of the earnings                                  |
|     72 |     8 | total_exitable | u64: sum of the exits                                     |

Rules:
  1. One list of leaves has one file: its SHA-256 is the `data_hash` that the chain holds.
  2. What `LeafFile.check` has passed, the program can pay: counts, order, sums, amounts, length.
  3. A file is read by pieces: a million leaves cost no more memory than a thousand.
Source: `docs/program.md`, "Leaves", which has the same layout for readers in other languages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from struct import Struct
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from onchain.leaf_errors import (
    LeafFileMalformed,
    LeafFileTooLarge,
    LeafIsZero,
    LeafSumWrong,
    LeavesUnsorted,
)

MAGIC: Final = b"hyperlvs"
VERSION: Final = 1
HEAD: Final = Struct("<8sIIII32sQQQ")
ROW: Final = Struct("<32sQ")
ROW_BYTES: Final = ROW.size
U64_MAX: Final = 2**64 - 1
#: A proof of more leaves than these has 25 hashes: with it a first claim that somebody else pays
#: for, with a priority fee, fits in no packet, even with a lookup table.
LEAVES_MAX: Final = 2**24
#: Rows that are read and checked at once: 640 KB.
_ROWS_AT_ONCE: Final = 16_384

_ROW_TYPE: Final = np.dtype([("address", ">u8", 4), ("amount", "<u8")])

assert HEAD.size == 80
assert _ROW_TYPE.itemsize == ROW_BYTES == 40


class Kind(Enum):
    """The two kinds of leaf, by the version byte that they are hashed with."""

    EARNINGS = 1
    EXIT = 2


def leaf_hash(kind: Kind, ledger: bytes, address: bytes, amount: int) -> bytes:
    """The hash of one leaf, 32 bytes.

    Args:
        kind: Earnings of a wallet, or what an owner may take out again.
        ledger: The ledger's address, 32 bytes.
        address: Wallet or owner, 32 bytes.
        amount: Base units, cumulative, below 2^64.
    """
    assert len(ledger) == len(address) == 32
    return sha256(leaf_prefix(kind, ledger) + ROW.pack(address, amount)).digest()


def leaf_prefix(kind: Kind, ledger: bytes) -> bytes:
    """What stands before a row where it is hashed: RFC 6962's zero, the kind, the ledger."""
    return bytes((0, kind.value)) + ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a file says of itself."""

    ledger: bytes
    epoch: int
    earnings: int
    exits: int
    total: int
    total_exitable: int

    @property
    def leaf_count(self) -> int:
        return self.earnings + self.exits

    @property
    def file_bytes(self) -> int:
        return HEAD.size + ROW_BYTES * self.leaf_count

    def pack(self) -> bytes:
        counts = (VERSION, self.earnings, self.exits, 0)
        sums = (self.epoch, self.total, self.total_exitable)
        return HEAD.pack(MAGIC, *counts, self.ledger, *sums)


def parse_head(raw: bytes) -> Head:
    """The head of a file.

    Raises:
        LeafFileMalformed: not a head of this version, or of no leaves.
        LeafFileTooLarge: it counts more than `LEAVES_MAX` leaves.
    """
    if len(raw) != HEAD.size:
        raise LeafFileMalformed(LeafFileMalformed.__doc__)
    magic, version, earnings, exits, zero, ledger, epoch, total, exitable = HEAD.unpack(raw)
    if (magic, version, zero) != (MAGIC, VERSION, 0) or earnings + exits == 0 or epoch == 0:
        msg = "not the head of a leaf file of version 1"
        raise LeafFileMalformed(msg)
    if earnings + exits > LEAVES_MAX:
        msg = f"{earnings + exits} leaves; a tree has at most {LEAVES_MAX}"
        raise LeafFileTooLarge(msg)
    return Head(
        ledger=ledger,
        epoch=epoch,
        earnings=earnings,
        exits=exits,
        total=total,
        total_exitable=exitable,
    )


class LeafFile:
    """A leaf file that is read by pieces; making one reads and checks the head alone.

    Args:
        file: Open for reading, seekable, and not written to meanwhile.

    Raises:
        LeafFileMalformed, LeafFileTooLarge: see `parse_head`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        self.head = parse_head(file.read(HEAD.size))

    def rows(self, start: int, stop: int) -> bytes:
        """The bytes of the rows from `start` to before `stop`.

        Raises:
            LeafFileMalformed: the file ends before them.
        """
        assert 0 <= start <= stop <= self.head.leaf_count
        self._file.seek(HEAD.size + ROW_BYTES * start)
        raw = self._file.read(ROW_BYTES * (stop - start))
        if len(raw) != ROW_BYTES * (stop - start):
            raise LeafFileMalformed(LeafFileMalformed.__doc__)
        return raw

    def span(self, kind: Kind) -> range:
        """The places of the leaves of a kind."""
        head = self.head
        return (
            range(head.earnings) if kind is Kind.EARNINGS else range(head.earnings, head.leaf_count)
        )

    def leaves(self, kind: Kind) -> Iterator[tuple[bytes, int]]:
        """Address and amount of each leaf of a kind, in order."""
        for piece in _pieces(self.span(kind)):
            yield from ROW.iter_unpack(self.rows(piece.start, piece.stop))

    def find(self, kind: Kind, address: bytes) -> tuple[int, int] | None:
        """Place and amount of an address's leaf; None where it has none. The file is checked."""
        span = self.span(kind)
        low, high = span.start, span.stop
        while low < high:
            middle = (low + high) // 2
            found, amount = ROW.unpack(self.rows(middle, middle + 1))
            if found == address:
                return middle, amount
            low, high = (middle + 1, high) if found < address else (low, middle)
        return None

    def check(self) -> bytes:
        """Check all that can be wrong with the file; returns its SHA-256, the `data_hash`.

        Raises:
            LeafFileMalformed: shorter or longer than its head says.
            LeavesUnsorted, LeafIsZero, LeafSumWrong: as they say.
        """
        digest = sha256(self.head.pack())
        for kind, total in (
            (Kind.EARNINGS, self.head.total),
            (Kind.EXIT, self.head.total_exitable),
        ):
            self._check_kind(kind, total, digest.update)
        self._file.seek(self.head.file_bytes)
        if self._file.read(1):
            raise LeafFileMalformed(LeafFileMalformed.__doc__)
        return digest.digest()

    def _check_kind(self, kind: Kind, total: int, update: Callable[[bytes], None]) -> None:
        found, last = 0, np.empty((0, 4), ">u8")
        for piece in _pieces(self.span(kind)):
            raw = self.rows(piece.start, piece.stop)
            update(raw)
            rows = np.frombuffer(raw, _ROW_TYPE)
            _check_order(np.concatenate([last, rows["address"]]).astype("u8"), kind)
            if not rows["amount"].all():
                raise LeafIsZero(LeafIsZero.__doc__)
            found += _sum(rows["amount"])
            last = rows["address"][-1:]
        if found != total or found > U64_MAX:
            msg = f"the {kind.name.lower()} leaves have the sum {found}, the head says {total}"
            raise LeafSumWrong(msg)


def _pieces(span: range) -> Iterator[range]:
    for start in range(span.start, span.stop, _ROWS_AT_ONCE):
        yield range(start, min(start + _ROWS_AT_ONCE, span.stop))


def _check_order(addresses: NDArray[np.uint64], kind: Kind) -> None:
    """Each row above the one before, by its bytes: as four big-endian numbers."""
    before, after = addresses[:-1], addresses[1:]
    below = np.zeros(len(before), bool)
    for column in (3, 2, 1, 0):
        one, two = before[:, column], after[:, column]
        below = (one < two) | ((one == two) & below)
    if not below.all():
        msg = f"the {kind.name.lower()} leaves are not sorted, or an address has two"
        raise LeavesUnsorted(msg)


def _sum(amounts: NDArray[np.uint64]) -> int:
    """The exact sum: both halves apart, for 16,384 of them do not fit into 64 bits."""
    return int((amounts >> np.uint64(32)).sum()) * 2**32 + int(
        (amounts & np.uint64(2**32 - 1)).sum()
    )


def write_leaves(
    file: BinaryIO,
    *,
    ledger: bytes,
    epoch: int,
    earnings: Iterable[tuple[bytes, int]],
    exits: Iterable[tuple[bytes, int]] = (),
) -> Head:
    """Write a leaf file from sorted leaves that may come one by one; the file is not closed.

    Nothing is judged here but what cannot be written at all: `LeafFile(file).check()` does that.

    Args:
        file: Open for writing, seekable, empty.
        ledger: The ledger's address, 32 bytes.
        epoch: Number of the epoch, at least 1.
        earnings: Wallet and lifetime amount, sorted by wallet.
        exits: Owner and exitable amount, sorted by owner.

    Raises:
        LeafFileMalformed, LeafFileTooLarge, LeafSumWrong: see `Head` and `parse_head`.
    """
    assert len(ledger) == 32
    file.write(bytes(HEAD.size))
    first, total = _write_rows(file, earnings)
    second, exitable = _write_rows(file, exits)
    if max(total, exitable) > U64_MAX:
        msg = f"a sum of leaves beyond 64 bits: {max(total, exitable)}"
        raise LeafSumWrong(msg)
    head = Head(
        ledger=ledger,
        epoch=epoch,
        earnings=first,
        exits=second,
        total=total,
        total_exitable=exitable,
    )
    file.seek(0)
    file.write(head.pack())
    file.seek(head.file_bytes)
    return parse_head(head.pack())


def _write_rows(file: BinaryIO, leaves: Iterable[tuple[bytes, int]]) -> tuple[int, int]:
    """Count and sum of the rows that were written."""
    count = total = 0
    waiting = bytearray()
    for address, amount in leaves:
        assert len(address) == 32
        waiting += ROW.pack(address, amount)
        count, total = count + 1, total + amount
        if len(waiting) >= _ROWS_AT_ONCE * ROW_BYTES:
            file.write(waiting)
            waiting.clear()
        if count > LEAVES_MAX:
            msg = f"more than {LEAVES_MAX} leaves"
            raise LeafFileTooLarge(msg)
    file.write(waiting)
    return count, total
