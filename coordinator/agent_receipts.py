"""Receipts and counter-signatures on their way between the house and one agent.

In:   batches of receipts with some of this node's, what the node says it has signed.
Out:  messages that each fit a frame; counter-signatures that hold, each with its own proof.
Rule: one signature answers for a message's batches, so few batches share a message: whoever signs
      or checks it does so between two jobs.
Not here: when they leave (receipts_due), what is signed (protocol.countersigning).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from coordinator import events as ev
from coordinator.api import Api
from coordinator.limits import RECEIPT_BATCHES_TOGETHER_MAX
from coordinator.outgoing import split
from coordinator.protocol import messages as m
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.countersigning import Seen, check_seen
from coordinator.protocol.errors import Refusal
from coordinator.protocol.receipts import SignedRoot, batch_message, build_batch
from coordinator.protocol.signing import SIGNATURE_BYTES
from coordinator.store.interface import Reader
from coordinator.store.values import CounterSignature, Node, ReceiptRoot

#: Receipt batches offered again to an agent that comes back.
UNSIGNED_BATCHES_MAX: Final = 16
#: Bytes of one receipt in a message: hexadecimal, and a path of up to ten hashes.
RECEIPT_ITEM_BYTES: Final = 1500


def messages_of(api: Api, node: Node, batches: Sequence[ev.ReceiptsReady]) -> Iterator[m.Receipts]:
    """This node's receipts in these batches, as messages."""
    parts = [part for ready in batches for part in _parts_of(api, node, ready)]
    for group in split(parts, _size_of, RECEIPT_BATCHES_TOGETHER_MAX):
        yield m.Receipts(group, together=True)


def _parts_of(api: Api, node: Node, ready: ev.ReceiptsReady) -> Iterator[m.ReceiptBatch]:
    """This node's receipts of a batch, in parts that each fit a message."""
    root = ready.root
    signed = SignedRoot(api.coordinator_key, root.batch, root.count, root.root, root.signature)
    mine = [receipt.index for receipt in ready.receipts if receipt.node == node.id]
    for indexes in split(mine, lambda _: RECEIPT_ITEM_BYTES):
        yield batch_message(signed, [ready.item(index) for index in indexes])


def _size_of(batch: m.ReceiptBatch) -> int:
    """About how many bytes it takes of a message."""
    return RECEIPT_ITEM_BYTES * (1 + len(batch.receipts))


async def unsigned(api: Api, node: Node, after: int) -> list[ev.ReceiptsReady]:
    """The next batches behind this one that the node has not signed."""

    def load(reader: Reader) -> list[ev.ReceiptsReady]:
        batches = reader.unsigned_batches(node.id, UNSIGNED_BATCHES_MAX, after)
        return [ready for batch in batches if (ready := _load(reader, batch)) is not None]

    return await api.read(load)


def _load(reader: Reader, batch: int) -> ev.ReceiptsReady | None:
    root = reader.receipt_root(batch)
    if root is None:
        return None
    receipts = tuple(reader.receipts_in(batch))
    return ev.ReceiptsReady(root, receipts, build_batch([each.data for each in receipts])[1])


async def check(api: Api, node: Node, message: m.ReceiptsSigned) -> ev.CounterSigned:
    """The counter-signatures in a message of the node.

    Raises:
        Refusal: `not_found` if one of the batches has no receipt of this node; `bad_signature`.
    """
    batches = [message.batch, *message.others]
    if len(set(batches)) != len(batches):
        raise Refusal("bad_signature", "a batch is signed once")
    roots = await _roots(api, node, batches)
    try:
        signature = decode_base64url(message.signature, size=SIGNATURE_BYTES)
    except ValueError as error:
        raise Refusal("bad_signature") from error
    seen = [Seen(root.batch, root.count, root.root) for root in roots]
    proofs = check_seen(node.node_key, api.coordinator_key, seen, signature)
    return ev.CounterSigned(
        tuple(
            CounterSignature(root.batch, node.id, proof)
            for root, proof in zip(roots, proofs, strict=True)
        )
    )


async def _roots(api: Api, node: Node, batches: Sequence[int]) -> list[ReceiptRoot]:
    """The roots of batches in which the node has receipts, in order."""
    roots = []
    for batch in batches:
        root = api.operations.recent.root_for(batch, node.id)
        if root is None:
            root = await api.read(partial(_load_root, batch, node.id))
        if root is None:
            raise Refusal("not_found", "there is no such batch of receipts of this node")
        roots.append(root)
    return roots


def _load_root(batch: int, node: int, reader: Reader) -> ReceiptRoot | None:
    is_mine = any(row.node == node for row in reader.receipts_in(batch))
    return reader.receipt_root(batch) if is_mine else None
