"""Receipts: what an operator was paid for one job, provable without us. The layout is a promise.

Integers are little-endian; keys, wallets and hashes raw bytes; amounts base units.

| offset | bytes | field           | meaning                                                    |
|-------:|------:|-----------------|------------------------------------------------------------|
|      0 |     1 | version         | 1                                                          |
|      1 |     8 | job             | u64: number of the job                                     |
|      9 |     4 | fence           | u32: which attempt of it                                   |
|     13 |    32 | coordinator_key | who pays                                                   |
|     45 |    32 | node_key        | who computed; zeros for a seed client                      |
|     77 |    32 | wallet          | who earns                                                  |
|    109 |    32 | submitter       | who paid                                                   |
|    141 |    32 | spec_hash       | SHA-256 of the specification's bytes                       |
|    173 |    32 | input_root      | zeros while a specification has no input arrays            |
|    205 |    32 | output_root     | Merkle root of the outputs (`commitment.py`)               |
|    237 |     1 | policy          | 0 none, 1 sample                                           |
|    238 |     1 | verdict         | 1 accepted, 2 unverified                                   |
|    239 |     8 | paid            | u64: to the wallet; the submitter paid this and the fee    |
|    247 |     8 | fee             | u64: to the coordinator                                    |
|    255 |     8 | cumulative      | u64: all that the wallet was ever paid here, this included |
|    263 |     8 | time_ms         | i64: Unix ms on the coordinator's clock                    |

271 bytes. A batch of receipts is one RFC 6962 tree; a leaf's data are `0x11 | receipt`. Its root is
signed by the coordinator (`coordinator_text`), then by each node key in it (`node_text`).
Rules: bytes that are not exactly this layout are refused; a new field is a new version.
Source: Certificate Transparency (tree, signed head); Lightning-like cumulative amounts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.messages import ReceiptBatch, ReceiptItem
from coordinator.protocol.signing import SIGNATURE_BYTES, verify
from onchain.merkle import hash_leaf, is_included, levels_of, path_of, paths_of, root_at

VERSION: Final = 1
_LAYOUT: Final = struct.Struct("<BQI32s32s32s32s32s32s32sBBQQQq")
RECEIPT_BYTES: Final = _LAYOUT.size
_SEVEN_KEYS: Final = [32] * 7
#: Verification policies, in the words of a specification. A number is never used again.
POLICIES: Final = {"none": 0, "sample": 1}
VERDICTS: Final = {"accepted": 1, "unverified": 2}
_POLICY_NAMES: Final = {number: name for name, number in POLICIES.items()}
_VERDICT_NAMES: Final = {number: name for name, number in VERDICTS.items()}

#: A tree over a batch, from its leaf hashes up to its root.
Levels: TypeAlias = list[list[bytes]]

_LEAF: Final = b"\x11"
# 0xff first: no transaction begins so. Two domains: neither signature can stand for the other.
_COORDINATOR_DOMAIN: Final = b"\xffhyper.receipts.v1:coordinator\x00"
_NODE_DOMAIN: Final = b"\xffhyper.receipts.v1:node\x00"
_HEAD: Final = struct.Struct("<32sQQ32s")

assert RECEIPT_BYTES == 271


class Receipt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One payment for one attempt; the fields are explained in the module's table."""

    job: int
    fence: int
    coordinator_key: bytes
    node_key: bytes
    wallet: bytes
    submitter: bytes
    spec_hash: bytes
    input_root: bytes
    output_root: bytes
    #: A key of `POLICIES`.
    policy: str
    #: A key of `VERDICTS`.
    verdict: str
    paid: int
    fee: int
    cumulative: int
    time_ms: int

    def pack(self) -> bytes:
        """The receipt's bytes."""
        keys = (self.coordinator_key, self.node_key, self.wallet, self.submitter)
        hashes = (self.spec_hash, self.input_root, self.output_root)
        assert [*map(len, keys + hashes)] == _SEVEN_KEYS, "struct would pad or cut"
        assert self.paid <= self.cumulative
        return _LAYOUT.pack(
            VERSION,
            self.job,
            self.fence,
            *keys,
            *hashes,
            POLICIES[self.policy],
            VERDICTS[self.verdict],
            self.paid,
            self.fee,
            self.cumulative,
            self.time_ms,
        )


def unpack(data: bytes) -> Receipt:
    """The receipt of exactly these bytes.

    Raises:
        ProtocolError: `malformed` for another size, version, policy or verdict.
    """
    if len(data) != RECEIPT_BYTES or data[0] != VERSION:
        raise ProtocolError("malformed", f"a receipt has {RECEIPT_BYTES} bytes, the first one is 1")
    _, job, fence, *raws, policy, verdict, paid, fee, cumulative, time_ms = _LAYOUT.unpack(data)
    if policy not in _POLICY_NAMES or verdict not in _VERDICT_NAMES or paid > cumulative:
        raise ProtocolError("malformed", "the receipt's policy, verdict or sums are not valid")
    coordinator_key, node_key, wallet, submitter, spec_hash, input_root, output_root = raws
    return Receipt(
        job=job,
        fence=fence,
        coordinator_key=coordinator_key,
        node_key=node_key,
        wallet=wallet,
        submitter=submitter,
        spec_hash=spec_hash,
        input_root=input_root,
        output_root=output_root,
        policy=_POLICY_NAMES[policy],
        verdict=_VERDICT_NAMES[verdict],
        paid=paid,
        fee=fee,
        cumulative=cumulative,
        time_ms=time_ms,
    )


def leaf_of(data: bytes) -> bytes:
    """The leaf hash of a packed receipt."""
    return hash_leaf(_LEAF + data)


def build_batch(receipts: Iterable[bytes]) -> tuple[bytes, Levels]:
    """Root and levels of the tree over packed receipts (see `onchain.merkle.path_of`)."""
    levels = levels_of([leaf_of(data) for data in receipts])
    return root_at(levels), levels


def coordinator_text(coordinator_key: bytes, batch: int, count: int, root: bytes) -> bytes:
    """What the coordinator signs: the number, size and root of one of its batches."""
    assert len(coordinator_key) == len(root) == 32
    return _COORDINATOR_DOMAIN + _HEAD.pack(coordinator_key, batch, count, root)


def node_text(coordinator_key: bytes, batch: int, count: int, root: bytes) -> bytes:
    """What a node key signs: that it has seen this root, and its receipts under it."""
    assert len(coordinator_key) == len(root) == 32
    return _NODE_DOMAIN + _HEAD.pack(coordinator_key, batch, count, root)


class SignedRoot(msgspec.Struct, frozen=True, gc=False):
    """A batch's root and the coordinator's signature of it."""

    coordinator_key: bytes
    batch: int
    count: int
    root: bytes
    signature: bytes

    def verify(self) -> None:
        """Check the coordinator's signature.

        Raises:
            Refusal: `bad_signature`.
        """
        _verify_root(self)


@lru_cache(maxsize=64)
def _verify_root(signed: SignedRoot) -> None:
    # The receipts of one batch may come one by one: the signature holds for all or for none.
    text = coordinator_text(signed.coordinator_key, signed.batch, signed.count, signed.root)
    verify(signed.coordinator_key, text, signed.signature)


def verify_receipt(data: bytes, index: int, path: Sequence[bytes], signed: SignedRoot) -> Receipt:
    """Check one receipt against a root that the coordinator signed; the signature comes first.

    Raises:
        Refusal: `bad_signature` if the coordinator did not sign the root, if the path does not
            lead from this receipt at this index to it, or if another coordinator is named.
        ProtocolError: `malformed` for bytes that are no receipt.
    """
    signed.verify()
    return _included(data, index, path, signed)


def _included(data: bytes, index: int, path: Sequence[bytes], signed: SignedRoot) -> Receipt:
    if not is_included(leaf_of(data), index, signed.count, path, signed.root):
        raise Refusal("bad_signature", "the receipt is not under the root that was signed")
    receipt = unpack(data)
    if receipt.coordinator_key != signed.coordinator_key:
        raise Refusal("bad_signature", "the receipt names another coordinator")
    return receipt


def to_wire(
    signed: SignedRoot,
    receipts: Sequence[bytes],
    indexes: Iterable[int],
    levels: Levels | None = None,
) -> ReceiptBatch:
    """The message with some of a batch's receipts.

    Args:
        signed: The batch's root.
        receipts: All packed receipts of the batch, in order.
        indexes: Which of them to send.
        levels: The tree over them, if it is at hand.
    """
    if levels is None:
        levels = build_batch(receipts)[1]
    return batch_message(signed, [item_of(receipts[index], levels, index) for index in indexes])


def item_of(receipt: bytes, levels: Levels, index: int) -> ReceiptItem:
    """A packed receipt as it travels: with its path through the batch's tree."""
    return ReceiptItem(receipt.hex(), index, [raw.hex() for raw in path_of(levels, index)])


def items_of(receipts: Sequence[bytes], levels: Levels) -> list[ReceiptItem]:
    """All receipts of a batch as they travel (see `item_of`), each hash written once."""
    written = [[raw.hex() for raw in level] for level in levels]
    return [
        ReceiptItem(receipt.hex(), index, path)
        for index, (receipt, path) in enumerate(zip(receipts, paths_of(written), strict=True))
    ]


def batch_message(signed: SignedRoot, receipts: list[ReceiptItem]) -> ReceiptBatch:
    """Some receipts of one batch, under its signed root."""
    return ReceiptBatch(
        batch=signed.batch,
        count=signed.count,
        root=signed.root.hex(),
        signature=encode_base64url(signed.signature),
        receipts=receipts,
    )


def from_wire(message: ReceiptBatch, coordinator_key: bytes) -> tuple[SignedRoot, list[Receipt]]:
    """Check a message of receipts: signature, paths, layout.

    Raises:
        Refusal: `bad_signature` (see `verify_receipt`).
        ProtocolError: `malformed` for what is neither hexadecimal nor a receipt.
    """
    try:
        signature = decode_base64url(message.signature, size=SIGNATURE_BYTES)
        packed = [bytes.fromhex(item.receipt) for item in message.receipts]
    except ValueError as error:
        raise ProtocolError("malformed", f"not a batch of receipts: {error}") from error
    root = bytes.fromhex(message.root)
    signed = SignedRoot(coordinator_key, message.batch, message.count, root, signature)
    signed.verify()
    receipts = [
        _included(data, item.index, [bytes.fromhex(raw) for raw in item.path], signed)
        for data, item in zip(packed, message.receipts, strict=True)
    ]
    return signed, receipts
