"""Results on their way to one submitter: each alone, or as many as fit a frame together.

A parcel is one job's outputs and receipt. One alone travels as `result`; several share an `outputs`
message, in which a signed root of receipts stands once, whatever number of them is under it.
Not here: where outputs and receipts come from (delivery), when they leave (outgoing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from coordinator.protocol.messages import (
    Array,
    JobOutput,
    JobOutputs,
    OutputItem,
    ReceiptBatch,
    ReceiptItem,
)
from coordinator.protocol.receipts import SignedRoot, batch_message

#: Bytes of a parcel beside its data: id, receipt and a path of up to ten hashes.
PARCEL_BYTES = 2_000
#: Bytes of one array's description.
ARRAY_BYTES = 250


class Parcel(NamedTuple):
    """One job's result."""

    #: The job's public id.
    job: str
    arrays: list[Array]
    #: Inline arrays, one after the other.
    data: bytes
    #: The batch of its receipt, and the receipt with its path; None where nothing was paid.
    signed: SignedRoot | None = None
    receipt: ReceiptItem | None = None

    @property
    def size(self) -> int:
        """About how many bytes it takes of a frame, rather more than fewer."""
        return PARCEL_BYTES + ARRAY_BYTES * len(self.arrays) + len(self.data)


def alone(parcel: Parcel) -> tuple[JobOutput, bytes]:
    """The message of one parcel, and its data."""
    receipt = None
    if parcel.signed is not None and parcel.receipt is not None:
        receipt = batch_message(parcel.signed, [parcel.receipt])
    return JobOutput(parcel.job, parcel.arrays, receipt), parcel.data


def together(parcels: Sequence[Parcel]) -> tuple[JobOutputs, bytes]:
    """One message of several parcels, and its data."""
    items: list[OutputItem] = []
    data = bytearray()
    batches: dict[int, tuple[SignedRoot, list[ReceiptItem]]] = {}
    for job, arrays, own, signed, receipt in parcels:
        batch = index = 0
        if signed is not None and receipt is not None:
            batch, index = signed.batch, receipt.index
            batches.setdefault(batch, (signed, []))[1].append(receipt)
        items.append(OutputItem(job, arrays, len(data), batch, index))
        data += own
    receipts = [batch_message(signed, some) for signed, some in batches.values()]
    return JobOutputs(items, receipts), bytes(data)


def apart(message: JobOutputs, data: memoryview) -> list[tuple[JobOutput, memoryview]]:
    """The results of one message, each as if it had come alone: the other side of `together`."""
    receipts = {
        (batch.batch, item.index): (batch, item)
        for batch in message.receipts
        for item in batch.receipts
    }
    return [
        (JobOutput(item.id, item.outputs, _own(receipts.get((item.batch, item.index)))),
         data[item.at :])
        for item in message.results
    ]  # fmt: skip


def _own(found: tuple[ReceiptBatch, ReceiptItem] | None) -> ReceiptBatch | None:
    if found is None:
        return None
    batch, item = found
    return ReceiptBatch(batch.batch, batch.count, batch.root, batch.signature, [item])
