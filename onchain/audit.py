"""One wallet's sums on every side: that they agree, or which two do not, and by how much. Pure.

In:   what the coordinator's books, the wallet's receipts, its voucher, the leaf files and the chain
      say of one wallet; whatever is not at hand is left out.
Out:  `Difference`s, none where all agree.
Rules (amounts are base units, cumulative):
  1. Receipts count on from each other, and end at what the books say was earned.
  2. Lifetime in the books = earned less withheld less taken back, and approved withdrawals.
  3. A wallet's leaf never falls from epoch to epoch, and is at most the lifetime in the books.
  4. A voucher is at most the lifetime in the books.
  5. The chain paid at most what the highest leaf or the voucher promised, and covered no more than
     the highest leaf; a leaf that it covered must be one of those in the files, where no epoch is
     missing among them at which another leaf may have been covered.
Why only "at most" in 3 to 5: leaves and vouchers are made now and then, the books go on.
Not covered: who is right; a receipt that neither side has.
Source: `docs/program.md`, "Invariants"; `coordinator/protocol/receipts.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from coordinator.protocol.receipts import Receipt
from onchain.views import ClaimRecord
from onchain.vouchers import Voucher


class Side(Enum):
    """Who says something about a wallet's money."""

    BOOKS = "books"
    RECEIPTS = "receipts"
    VOUCHER = "voucher"
    LEAVES = "leaves"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the coordinator's ledger says of a wallet."""

    #: Sum of all posts to it.
    earned: int
    #: Of these, what is still withheld.
    withheld: int = 0
    #: Of these, what a failed audit took back.
    taken_back: int = 0
    #: Credit that became earnings by an approved withdrawal.
    withdrawn: int = 0
    #: All credits ever made to its earnings: what its next leaf will be.
    lifetime: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Two sides that do not agree."""

    #: This one says more …
    more: Side
    #: … than this one allows.
    less: Side
    #: By so many base units, above 0.
    by: int
    said: str

    def __str__(self) -> str:
        return f"{self.more.value} above {self.less.value} by {self.by}: {self.said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletFacts:
    """What is at hand about one wallet."""

    books: Books | None = None
    #: Of all the wallet's nodes, in the order in which they were made; others may lie before.
    receipts: Sequence[Receipt] = ()
    voucher: Voucher | None = None
    #: (epoch, lifetime) in each published leaf file, in the order of epochs; 0: it had no leaf.
    leaves: Sequence[tuple[int, int]] = ()
    record: ClaimRecord | None = None


def audit(facts: WalletFacts) -> tuple[Difference, ...]:
    """Every difference, in the order of the module's rules."""
    return (
        *_receipts(facts),
        *_books(facts),
        *_leaves(facts),
        *_voucher(facts),
        *_chain(facts),
    )


def _unequal(one: Side, first: int, two: Side, second: int, said: str) -> Iterator[Difference]:
    if first > second:
        yield Difference(one, two, first - second, said)
    elif second > first:
        yield Difference(two, one, second - first, said)


def _above(one: Side, first: int, two: Side, second: int, said: str) -> Iterator[Difference]:
    if first > second:
        yield Difference(one, two, first - second, said)


def _receipts(facts: WalletFacts) -> Iterator[Difference]:
    for before, after in pairwise(facts.receipts):
        said = f"the receipt of job {after.job} does not count on from that of job {before.job}"
        missing = after.cumulative - after.paid - before.cumulative
        if missing:
            yield Difference(Side.RECEIPTS, Side.RECEIPTS, abs(missing), said)
    if facts.receipts and facts.books is not None:
        last = facts.receipts[-1]
        said = f"the last receipt (job {last.job}) and what the books say was earned"
        yield from _unequal(Side.RECEIPTS, last.cumulative, Side.BOOKS, facts.books.earned, said)


def _books(facts: WalletFacts) -> Iterator[Difference]:
    if facts.books is None:
        return
    books = facts.books
    sums = books.earned - books.withheld - books.taken_back + books.withdrawn
    said = "lifetime and the sums that it is made of"
    yield from _unequal(Side.BOOKS, books.lifetime, Side.BOOKS, sums, said)


def _leaves(facts: WalletFacts) -> Iterator[Difference]:
    for (before, earlier), (epoch, later) in pairwise(facts.leaves):
        assert before < epoch
        said = f"the leaf of epoch {epoch} is below that of epoch {before}"
        yield from _above(Side.LEAVES, earlier, Side.LEAVES, later, said)
    if facts.leaves and facts.books is not None:
        epoch, last = facts.leaves[-1]
        said = f"the leaf of epoch {epoch} is above the lifetime in the books"
        yield from _above(Side.LEAVES, last, Side.BOOKS, facts.books.lifetime, said)


def _voucher(facts: WalletFacts) -> Iterator[Difference]:
    if facts.voucher is not None and facts.books is not None:
        said = "the voucher is above the lifetime in the books"
        yield from _above(
            Side.VOUCHER, facts.voucher.cumulative, Side.BOOKS, facts.books.lifetime, said
        )


def _chain(facts: WalletFacts) -> Iterator[Difference]:
    """A record is judged only where the leaf files are at hand: without them nothing is known."""
    record = facts.record
    if record is None or not facts.leaves:
        return
    highest = max(amount for _, amount in facts.leaves)
    promised = max(highest, facts.voucher.cumulative if facts.voucher else 0)
    yield from _above(
        Side.CHAIN, record.claimed, Side.LEAVES, promised, "paid beyond every leaf and the voucher"
    )
    yield from _above(Side.CHAIN, record.covered, Side.LEAVES, highest, "covered beyond every leaf")
    yield from _covered_unknown(facts.leaves, record.covered)


def _covered_unknown(leaves: Sequence[tuple[int, int]], covered: int) -> Iterator[Difference]:
    """A leaf between those of two epochs that follow each other was of no epoch (rule 5)."""
    for (before, lower), (epoch, higher) in pairwise(((0, 0), *leaves)):
        if lower < covered < higher and epoch == before + 1:
            said = "covered a leaf that is in no file"
            yield Difference(Side.CHAIN, Side.LEAVES, covered - lower, said)
