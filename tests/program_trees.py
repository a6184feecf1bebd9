"""Trees of leaves as `docs/program.md` has them: what a wallet earned, what an owner may take back.

In:   ledger, wallets or owners, amounts.
Out:  leaf hashes, the root, proofs by index.
Source: RFC 6962 (the tree), RFC 9162 2.1.3.2 (inclusion), by `onchain.merkle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from struct import pack
from typing import Final

from onchain.merkle import hash_leaf, levels_of, path_of, root_at

EARNINGS: Final = 1
EXIT: Final = 2


def leaf_hash(kind: int, ledger: bytes, whose: bytes, amount: int) -> bytes:
    """Hash of one leaf, 32 bytes."""
    return hash_leaf(pack("<B32s32sQ", kind, bytes(ledger), bytes(whose), amount))


@dataclass(frozen=True)
class Tree:
    """Leaves in their order: (kind, wallet or owner, amount)."""

    ledger: bytes
    leaves: tuple[tuple[int, bytes, int], ...]

    @cached_property
    def levels(self) -> list[list[bytes]]:
        hashes = [leaf_hash(kind, self.ledger, whose, n) for kind, whose, n in self.leaves]
        return levels_of(hashes)

    @property
    def root(self) -> bytes:
        return root_at(self.levels)

    @property
    def data_hash(self) -> bytes:
        """Stands for the hash of the leaf file: the program keeps it and looks at it nowhere."""
        return sha256(b"leaf file" + self.root).digest()

    @property
    def count(self) -> int:
        return len(self.leaves)

    def total(self, kind: int) -> int:
        return sum(leaf[2] for leaf in self.leaves if leaf[0] == kind)

    def index(self, kind: int, whose: bytes) -> int:
        """Where that leaf stands.

        Raises:
            StopIteration: there is none.
        """
        return next(at for at, leaf in enumerate(self.leaves) if leaf[:2] == (kind, bytes(whose)))

    def proof(self, index: int) -> list[bytes]:
        return path_of(self.levels, index)
