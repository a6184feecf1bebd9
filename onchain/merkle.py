"""Merkle trees of RFC 6962 over SHA-256, with RFC 9162's check of inclusion.

A leaf is `sha256(0x00 || data)`, a node `sha256(0x01 || left || right)`; an odd node is promoted,
never duplicated, so a tree has exactly one root and a proof exactly one valid length and index.
What a leaf's data begin with (0x10 outputs, 0x11 receipts, 0x01 settlement) belongs to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")
HASH_BYTES = 32
#: The root of no leaves, as RFC 6962 has it.
EMPTY_ROOT = sha256(b"").digest()


def hash_leaf(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def levels_of(leaves: Iterable[bytes]) -> list[list[bytes]]:
    """All levels of the tree, from the leaf hashes to the root; one empty level for no leaves."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        # As `hash_node` has it, without a call a pair.
        pairs = zip(below[::2], below[1::2], strict=False)
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        if len(below) % 2:
            above.append(below[-1])
        levels.append(above)
    return levels


def root_at(levels: Sequence[Sequence[bytes]]) -> bytes:
    """The root of a tree whose levels are known, 32 bytes."""
    top = levels[-1]
    return top[0] if top else EMPTY_ROOT


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Root over leaf hashes (see `hash_leaf`), 32 bytes."""
    return root_at(levels_of(leaves))


def path_of(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """The sibling hashes from the leaf at `index` up to the root."""
    assert 0 <= index < len(levels[0])
    path = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index //= 2
    return path


def paths_of(levels: Sequence[Sequence[T]]) -> list[list[T]]:
    """The paths of all leaves, by index (see `path_of`): neighbours share most of theirs."""
    paths: list[list[T]] = [[]]
    for level in reversed(levels[:-1]):
        last = len(level) - 1
        paths = [
            [level[index ^ 1], *paths[index // 2]] if index ^ 1 <= last else paths[index // 2]
            for index in range(last + 1)
        ]
    return paths[: len(levels[0])]


def is_included(leaf: bytes, index: int, count: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a leaf hash stands at `index` of `count` leaves under `root` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < count:
        return False
    node, last, current = index, count - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node % 2 or node == last:
            current = hash_node(sibling, current)
            while not node % 2 and node:
                node //= 2
                last //= 2
        else:
            current = hash_node(current, sibling)
        node //= 2
        last //= 2
    return last == 0 and current == root
