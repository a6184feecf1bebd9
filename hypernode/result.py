"""A job's result: arrays, and the receipt that proves what was paid for them.

Covered: an array that is not the announced one (hash of a blob, size, type); a receipt that the
coordinator did not sign, or signed for other outputs than these.
Not covered: whether the numbers are right. That is the verification policy's work, and the receipt
says which one it was; an `unverified` receipt says that there was none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from coordinator.protocol.arrays import AnyArray, size_of, to_numpy
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import HypernodeError, Refusal
from coordinator.protocol.messages import Array, JobOutput, ReceiptBatch
from coordinator.protocol.receipts import Receipt, from_wire
from coordinator.protocol.spec import decode_spec
from coordinator.workloads.catalogue import get
from hypernode.errors import BadReceipt
from onchain.address import encode_address
from onchain.amounts import format_hyper


class Blobs(Protocol):
    """Where arrays come from that did not ride in the message."""

    #: The coordinator's public key, 32 bytes.
    coordinator_key: bytes

    async def blob(self, digest: str, size: int) -> bytes: ...


class Result(msgspec.Struct, frozen=True, eq=False):
    """What a completed job gave."""

    job: str
    #: Read-only arrays, in the order that the kind declares.
    outputs: tuple[AnyArray, ...]
    #: Signed by the coordinator, for exactly these outputs; `None` if none was sent.
    receipt: Receipt | None = None
    #: The job's specification; empty where it was submitted elsewhere.
    spec: bytes = b""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs; none where the job's specification is not known here."""
        return output_names(self.spec)

    def __getitem__(self, name: str) -> AnyArray:
        """An output by its name.

        Raises:
            KeyError: there is none; or the job was submitted elsewhere: see `outputs`.
        """
        if name not in self.names:
            msg = f"{name!r}: the outputs are {', '.join(self.names) or 'not named here'}"
            raise KeyError(msg)
        return self.outputs[self.names.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.outputs)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def keys(self) -> tuple[str, ...]:
        """The names of the outputs, so that `dict(result)` has them."""
        return self.names

    def items(self) -> Iterator[tuple[str, AnyArray]]:
        """The outputs with their names."""
        return zip(self.names, self.outputs, strict=True)

    def __repr__(self) -> str:
        """What came, not its numbers: those may be millions."""
        shapes = ", ".join(f"{array.dtype.name}{array.shape}" for array in self.outputs)
        paid = f", paid {self.paid} HYPER" if self.paid else ""
        return f"Result({self.job}: {shapes or 'no outputs'}{paid})"

    @property
    def output(self) -> AnyArray:
        """The first output: most kinds have one."""
        return self.outputs[0]

    @property
    def text(self) -> str:
        """The first output as text: a command's log."""
        return self.output.tobytes().decode(errors="replace")

    @property
    def paid(self) -> str:
        """What the submitter paid, decimal text of HYPER; "" without a receipt."""
        if self.receipt is None:
            return ""
        return format_hyper(self.receipt.paid + self.receipt.fee)


def output_names(spec: bytes) -> tuple[str, ...]:
    """The outputs' names of a job by its specification; none where it is empty or unknown."""
    if not spec:
        return ()
    try:
        decoded = decode_spec(spec)
        workload = get(decoded.kind)
        params = workload.decode(bytes(decoded.params))
        return tuple([each.name for each in workload.schema(params)])
    except Refusal:
        return ()


async def collect(message: JobOutput, data: memoryview, blobs: Blobs) -> Result:
    """The result of a message: its arrays fetched and checked, its receipt checked against them.

    Raises:
        BadReceipt: receipt and outputs do not belong together, or the coordinator's key did not
            sign.
        HypernodeError: an array could not be had, or is not what was announced.
    """
    raws = [await _raw_of(array, data, blobs) for array in message.outputs]
    outputs = tuple(
        to_numpy(array.dtype, array.shape, raw)
        for array, raw in zip(message.outputs, raws, strict=True)
    )
    receipt = None
    if message.receipt is not None:
        receipt = check_receipt(message.receipt, blobs.coordinator_key, raws)
    return Result(message.id, outputs, receipt)


async def _raw_of(array: Array, data: memoryview, blobs: Blobs) -> bytes | memoryview:
    size_of(array.dtype, array.shape)  # before anything is fetched: the bound of one array
    if array.offset is not None:
        return data[array.offset : array.offset + array.bytes]
    if array.sha256 is None:
        return b""
    return await blobs.blob(array.sha256, array.bytes)


def check_receipt(
    batch: ReceiptBatch, coordinator_key: bytes, raws: Sequence[bytes | memoryview]
) -> Receipt:
    """The one receipt of a result's batch, if it is signed and names these outputs.

    Raises:
        BadReceipt: it is not, or does not.
    """
    try:
        _signed, receipts = from_wire(batch, coordinator_key)
    except HypernodeError as error:
        raise BadReceipt(error.sentence) from error
    if len(receipts) != 1:
        raise BadReceipt("a result comes with one receipt")
    if receipts[0].output_root != output_root(raws):
        raise BadReceipt("the receipt was written for other outputs than these")
    return receipts[0]


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """A receipt as plain values, for `--json` and tables."""
    return {
        "policy": receipt.policy,
        "verdict": receipt.verdict,
        "paid": format_hyper(receipt.paid),
        "fee": format_hyper(receipt.fee),
        "operator": encode_address(receipt.wallet),
        "nodeKey": encode_address(receipt.node_key),
        "specHash": receipt.spec_hash.hex(),
        "outputRoot": receipt.output_root.hex(),
        "timeMs": receipt.time_ms,
    }
