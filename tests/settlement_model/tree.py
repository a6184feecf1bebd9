"""Leaves, trees and proofs of the settlement, written for being obvious.

Source: RFC 6962 section 2.1 (the tree, by its recursive definition), RFC 9162 section 2.1.3.2 (the
check of a proof), docs/program.md (the leaves).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256


def earnings_leaf(ledger: bytes, wallet: bytes, lifetime: int) -> bytes:
    """Hash of the leaf that says what a wallet ever earned."""
    return sha256(b"\x00\x01" + ledger + wallet + struct.pack("<Q", lifetime)).digest()


def exit_leaf(ledger: bytes, owner: bytes, exitable: int) -> bytes:
    """Hash of the leaf that says what an owner could ever take back."""
    return sha256(b"\x00\x02" + ledger + owner + struct.pack("<Q", exitable)).digest()


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def split(count: int) -> int:
    """The largest power of two below `count`: how many leaves stand on the left."""
    assert count > 1
    return 1 << (count - 1).bit_length() - 1


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Root over at least one leaf hash."""
    if len(leaves) == 1:
        return leaves[0]
    left = split(len(leaves))
    return node(root_of(leaves[:left]), root_of(leaves[left:]))


def proof_of(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Sibling hashes from the leaf at `index` up to the root."""
    assert 0 <= index < len(leaves)
    if len(leaves) == 1:
        return []
    left = split(len(leaves))
    if index < left:
        return [*proof_of(leaves[:left], index), root_of(leaves[left:])]
    return [*proof_of(leaves[left:], index - left), root_of(leaves[:left])]


def leads_to(root: bytes, leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bool:
    """Whether the leaf stands at `index` of `count` leaves under the root: RFC 9162, 2.1.3.2."""
    if index >= count:
        return False
    fn, sn, r = index, count - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node(p, r)
            while fn != 0 and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root
