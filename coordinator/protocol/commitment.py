"""The Merkle root over a result's outputs: what an agent commits to before it is checked.

RFC 6962 tree; a leaf's data are `0x10 | output u32 | chunk u64 | chunk`, little-endian. Chunks are
64 KiB of an output's raw C-order data; outputs follow each other in declared order; an empty output
is one empty chunk. A failed job and a job without outputs have the empty tree's root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coordinator.limits import OUTPUT_CHUNK_BYTES
from onchain.merkle import hash_leaf, hash_node, root_of

_LEAF = b"\x10"
#: What the leaf of an output's first chunk begins with: most outputs have one chunk.
_FIRST = [_LEAF + index.to_bytes(4, "little") + bytes(8) for index in range(16)]


def output_leaves(outputs: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The leaf hashes of all outputs, in order."""
    for index, output in enumerate(outputs):
        if len(output) <= OUTPUT_CHUNK_BYTES and index < len(_FIRST):
            yield hash_leaf(_FIRST[index] + output)
            continue
        view = memoryview(output)
        prefix = _LEAF + index.to_bytes(4, "little")
        for chunk, start in enumerate(range(0, max(len(view), 1), OUTPUT_CHUNK_BYTES)):
            data = view[start : start + OUTPUT_CHUNK_BYTES]
            yield hash_leaf(prefix + chunk.to_bytes(8, "little") + data)


def output_root(outputs: Iterable[bytes | memoryview]) -> bytes:
    """Merkle root of a result's outputs (raw data each), 32 bytes."""
    leaves = list(output_leaves(outputs))
    if len(leaves) == 2:
        # A small output or two, as most jobs have.
        return hash_node(*leaves)
    return leaves[0] if len(leaves) == 1 else root_of(leaves)
