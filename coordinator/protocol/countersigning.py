"""Counter-signatures: a node key says which roots of receipts it has seen, one or several at once.

One root: `receipts.node_text`. Several: one signature of the root of an RFC 6962 tree over them,
whose leaves are `0x12 | coordinator_key | batch u64 | count u64 | root`, in the order of the
message; integers are little-endian. What is kept of it for one of the roots is a proof that stands
alone:

| offset | bytes | field                                                                       |
|-------:|------:|-----------------------------------------------------------------------------|
|      0 |    64 | signature; nothing more follows where it is of one root                     |
|     64 |    32 | root of the tree                                                            |
|     96 |     4 | u16: leaves of the tree, u16: index of this one                             |
|    100 | 32 ea | path from the leaf to the root                                              |

Why: a check takes 50 µs and a message as much, several times a millisecond on a busy house; a tree
takes a few.
Source: RFC 6962, 2.1; RFC 9162, 2.1.3.2.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from coordinator.protocol.errors import Refusal
from coordinator.protocol.receipts import Levels, node_text
from coordinator.protocol.signing import SIGNATURE_BYTES, Keypair, verify
from onchain.merkle import HASH_BYTES, hash_leaf, is_included, levels_of, path_of, root_at

_LEAF: Final = b"\x12"
#: Its own domain: no other signature of a node key can stand for this one.
_DOMAIN: Final = b"\xffhyper.receipts.v1:nodes\x00"
_HEAD: Final = struct.Struct("<32sQQ32s")
_TEXT: Final = struct.Struct("<32sQ32s")
_PLACE: Final = struct.Struct("<HH")
_PATH_AT: Final = SIGNATURE_BYTES + HASH_BYTES + _PLACE.size


class Seen(NamedTuple):
    """A signed root of receipts, as a node has seen it."""

    batch: int
    #: Receipts under it.
    size: int
    root: bytes


def sign_seen(keypair: Keypair, coordinator_key: bytes, seen: Sequence[Seen]) -> bytes:
    """The node key's signature of all these roots."""
    return keypair.sign(_text_of(coordinator_key, seen, _levels(coordinator_key, seen)))


def check_seen(
    node_key: bytes, coordinator_key: bytes, seen: Sequence[Seen], signature: bytes
) -> list[bytes]:
    """Check a node key's signature of all these roots.

    Returns:
        A proof of each (see the module).

    Raises:
        Refusal: `bad_signature`.
    """
    levels = _levels(coordinator_key, seen)
    verify(node_key, _text_of(coordinator_key, seen, levels), signature)
    if len(seen) == 1:
        return [signature]
    head = signature + root_at(levels)
    return [
        b"".join((head, _PLACE.pack(len(seen), index), *path_of(levels, index)))
        for index in range(len(seen))
    ]


def verify_proof(node_key: bytes, coordinator_key: bytes, seen: Seen, proof: bytes) -> None:
    """Check that a node key has signed a root.

    Raises:
        Refusal: `bad_signature`, whatever is wrong with the proof.
    """
    signature = proof[:SIGNATURE_BYTES]
    if len(proof) <= SIGNATURE_BYTES:
        verify(node_key, node_text(coordinator_key, *seen), signature)
        return
    if len(proof) < _PATH_AT or (len(proof) - _PATH_AT) % HASH_BYTES:
        raise Refusal("bad_signature")
    root = proof[SIGNATURE_BYTES : SIGNATURE_BYTES + HASH_BYTES]
    count, index = _PLACE.unpack_from(proof, SIGNATURE_BYTES + HASH_BYTES)
    path = [proof[at : at + HASH_BYTES] for at in range(_PATH_AT, len(proof), HASH_BYTES)]
    if not is_included(_leaf_of(coordinator_key, seen), index, count, path, root):
        raise Refusal("bad_signature")
    verify(node_key, _DOMAIN + _TEXT.pack(coordinator_key, count, root), signature)


def _leaf_of(coordinator_key: bytes, seen: Seen) -> bytes:
    return hash_leaf(_LEAF + _HEAD.pack(coordinator_key, *seen))


def _levels(coordinator_key: bytes, seen: Sequence[Seen]) -> Levels:
    return levels_of([_leaf_of(coordinator_key, each) for each in seen])


def _text_of(coordinator_key: bytes, seen: Sequence[Seen], levels: Levels) -> bytes:
    assert seen, "a signature of nothing"
    if len(seen) == 1:
        return node_text(coordinator_key, *seen[0])
    return _DOMAIN + _TEXT.pack(coordinator_key, len(seen), root_at(levels))
