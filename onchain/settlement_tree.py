"""The tree over a leaf file: its root, and a proof for any wallet, without holding its levels.

In:   a `LeafFile` that has passed its check.
Out:  the root; `Proof`s, which the program takes and anybody can check.
Rules:
  1. Root and paths are those of `merkle` over the same leaves.
  2. Only the roots of subtrees of 1,024 leaves are kept (32 KB for a million leaves), and the last
     subtree that was asked for; a proof in another one hashes its 1,024 leaves again, which takes a
     millisecond.
Why that works: a subtree of 2^k leaves that begins at a multiple of 2^k is a node of level k, and
so is the shorter last one, for its odd nodes are promoted up to that level.
Source: RFC 6962 2.1, RFC 9162 2.1.3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from onchain.leaf_errors import NoLeaf
from onchain.leaves import ROW_BYTES, Kind, LeafFile, leaf_hash, leaf_prefix
from onchain.merkle import HASH_BYTES, is_included, levels_of, path_of, root_at

#: Leaves of a subtree whose root is kept, a power of two: fewer would need more memory, more would
#: make a proof slower.
SUBTREE_LEAVES: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One leaf and its way to a root."""

    kind: Kind
    ledger: bytes
    #: Wallet or owner.
    address: bytes
    epoch: int
    index: int
    #: Lifetime or exitable amount, base units.
    amount: int
    path: tuple[bytes, ...]

    @property
    def leaf(self) -> bytes:
        return leaf_hash(self.kind, self.ledger, self.address, self.amount)

    def leads_to(self, root: bytes, leaf_count: int) -> bool:
        """Whether the program would take it for this root."""
        return is_included(self.leaf, self.index, leaf_count, self.path, root)


class SettlementTree:
    """The tree of one leaf file; making it hashes every leaf once (0.9 us a leaf)."""

    def __init__(self, file: LeafFile) -> None:
        self._file = file
        count = file.head.leaf_count
        subtrees = [
            _subtree_root(self._hashes(start, min(start + SUBTREE_LEAVES, count)))
            for start in range(0, count, SUBTREE_LEAVES)
        ]
        self._upper = levels_of(subtrees)
        #: The subtree that was asked for last, and its levels: whoever asks in the leaves' order,
        #: as for all wallets of an epoch, has each hashed once.
        self._held: tuple[int, list[list[bytes]]] | None = None

    @property
    def root(self) -> bytes:
        return root_at(self._upper)

    @property
    def leaf_count(self) -> int:
        return self._file.head.leaf_count

    def path(self, index: int) -> tuple[bytes, ...]:
        """The sibling hashes from a leaf up to the root."""
        subtree, place = divmod(index, SUBTREE_LEAVES)
        if self._held is None or self._held[0] != subtree:
            self._held = (subtree, self._levels(index - place))
        return (*path_of(self._held[1], place), *path_of(self._upper, subtree))

    def _levels(self, start: int) -> list[list[bytes]]:
        """The levels of the subtree that begins at this leaf."""
        hashes = self._hashes(start, min(start + SUBTREE_LEAVES, self.leaf_count))
        return levels_of(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))

    def proof(self, kind: Kind, address: bytes) -> Proof:
        """The proof of an address's leaf.

        Raises:
            NoLeaf: it has none in this epoch.
        """
        found = self._file.find(kind, address)
        if found is None:
            raise NoLeaf(NoLeaf.__doc__)
        index, amount = found
        head = self._file.head
        return Proof(
            kind=kind,
            ledger=head.ledger,
            address=address,
            epoch=head.epoch,
            index=index,
            amount=amount,
            path=self.path(index),
        )

    def _hashes(self, start: int, stop: int) -> bytes:
        """The leaf hashes from `start` to before `stop`, one after the other."""
        border = min(max(self._file.head.earnings, start), stop)
        rows, cut = self._file.rows(start, stop), ROW_BYTES * (border - start)
        return self._hash_rows(Kind.EARNINGS, rows[:cut]) + self._hash_rows(Kind.EXIT, rows[cut:])

    def _hash_rows(self, kind: Kind, rows: bytes) -> bytes:
        prefix = leaf_prefix(kind, self._file.head.ledger)
        return b"".join(
            [
                sha256(prefix + rows[at : at + ROW_BYTES]).digest()
                for at in range(0, len(rows), ROW_BYTES)
            ]
        )


def _subtree_root(level: bytes) -> bytes:
    """The root over leaf hashes that stand one after the other: as `merkle.root_of`, but flat."""
    while len(level) > HASH_BYTES:
        even = len(level) - len(level) % (2 * HASH_BYTES)
        above = [
            sha256(b"\x01" + level[at : at + 2 * HASH_BYTES]).digest()
            for at in range(0, even, 2 * HASH_BYTES)
        ]
        above.append(level[even:])
        level = b"".join(above)
    return level
