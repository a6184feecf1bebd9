"""Pieces of messages: what the wire's messages are made of, and the bounds of every field.

Not here: the messages themselves (`messages.py`).
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from coordinator.limits import (
    ARRAY_DIMENSIONS_MAX,
    BLOB_BYTES_MAX,
    COMPUTE_CAPABILITY_MAX,
    DEVICES_MAX,
    INTEGER_MAX,
    ITEMS_PER_MESSAGE_MAX,
    KEY_CHARS_MAX,
    LOG_CHARS_PER_MESSAGE,
    NAME_CHARS_MAX,
    OUTPUTS_MAX,
    SEED_LOG_CHARS_MAX,
    TOKEN_BYTES_MAX,
)

Name: TypeAlias = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
Id: TypeAlias = Annotated[str, Meta(max_length=64)]
#: Printable ASCII: a thousand keys and their answers fit a frame, and no log line breaks.
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=KEY_CHARS_MAX, pattern=r"^[ -~]+\Z")]
Wallet: TypeAlias = Annotated[str, Meta(min_length=32, max_length=44)]
Hex32: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Base64: TypeAlias = Annotated[str, Meta(max_length=128)]
#: A signed transaction, base64 or base64url.
Transaction: TypeAlias = Annotated[str, Meta(max_length=TOKEN_BYTES_MAX)]
Amount: TypeAlias = Annotated[str, Meta(max_length=48)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Code: TypeAlias = Annotated[str, Meta(max_length=40)]
Logs: TypeAlias = Annotated[str, Meta(max_length=SEED_LOG_CHARS_MAX)]
#: A piece of a running job's log: it is passed on, so it fits our frame if it fitted the agent's.
LogPiece: TypeAlias = Annotated[str, Meta(max_length=LOG_CHARS_PER_MESSAGE)]
Detail: TypeAlias = Annotated[str, Meta(max_length=2000)]
#: The 260 bytes of a voucher's file, base64url: 347 characters.
VoucherText: TypeAlias = Annotated[str, Meta(max_length=352)]
ItemsMax = Meta(max_length=ITEMS_PER_MESSAGE_MAX)


class Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """A piece of a message."""


class Array(Part, frozen=True):
    """An array: in the frame's data (`offset`), or a blob (`sha256`)."""

    #: NumPy's name of a listed type, such as `float64` (see `arrays.DTYPES`).
    dtype: Annotated[str, Meta(max_length=8)]
    shape: Annotated[list[Count], Meta(max_length=ARRAY_DIMENSIONS_MAX)]
    #: Size of the raw C-order little-endian data.
    bytes: Annotated[int, Meta(ge=0, le=BLOB_BYTES_MAX)]
    #: Where the data begin in the frame's data section.
    offset: Count | None = None
    sha256: Hex32 | None = None


class Attempt(Part, frozen=True):
    """One attempt of one job, named by its fencing token."""

    job: Id
    fence: Count


class GpuInfo(Part, frozen=True):
    """A GPU in the seed's words."""

    name: Name = ""
    memory: Name = ""


class HostInfo(Part, frozen=True):
    """A host in the seed's words."""

    hostname: Name = ""
    gpus: Annotated[list[GpuInfo], Meta(max_length=DEVICES_MAX)] = []
    os: Name = ""


class Device(Part, frozen=True):
    """One device that computes: a CUDA GPU, or the host's CPU."""

    #: NVML's UUID, or `cpu`.
    uuid: Name
    name: Name
    backend: Literal["cuda", "cpu"]
    memory_mb: Count = 0
    #: CUDA compute capability, as `[9, 0]`.
    capability: Annotated[list[Count], Meta(max_length=2)] = []
    driver: Name = ""


def compute_capability_of(device: Device) -> int:
    """The device's compute capability as one number: 90 is 9.0; 0 where it has none."""
    major, minor = (*device.capability, 0, 0)[:2]
    return min(10 * major + min(minor, 9), COMPUTE_CAPABILITY_MAX)


class Telemetry(Part, frozen=True):
    """One device's state at a heartbeat; a field that the driver does not give is left out."""

    uuid: Name
    utilization_percent: Count | None = None
    memory_used_mb: Count | None = None
    temperature_celsius: Count | None = None
    power_watts: Count | None = None


class JobItem(Part, frozen=True):
    """A job on its way to an agent."""

    id: Id
    fence: Count
    #: The specification, byte for byte as it was submitted.
    spec: msgspec.Raw
    #: Seconds that the attempt may run: the specification's limit, or what the budget pays for.
    execution_s: Count


class ResultItem(Part, frozen=True):
    """What became of one attempt."""

    job: Id
    fence: Count
    status: Literal["completed", "failed"]
    #: Why it failed: a code of `errors.CODES`.
    code: Code = ""
    detail: Detail = ""
    outputs: Annotated[list[Array], Meta(max_length=OUTPUTS_MAX)] = []
    #: Merkle root of the outputs, committed before the coordinator draws its sample.
    root: Hex32 | None = None
    #: The agent's own measure, ms: shown, never paid for.
    duration_ms: Count = 0


class AckItem(Part, frozen=True):
    """An answer to one result: after it the agent's outbox forgets the result."""

    job: Id
    fence: Count
    #: `accepted`, or the code of a refusal.
    code: Code = "accepted"


class Submission(Part, frozen=True):
    """One job in a submission."""

    #: The submitter's own key: the same key and content give the same answer.
    key: Key
    spec: msgspec.Raw
    #: At most this many HYPER.
    budget: Amount


class SubmissionAnswer(Part, frozen=True):
    """The id of a submitted job, or why there is none."""

    key: Key
    id: Id = ""
    price: Amount = ""
    code: Code = ""
    error: Detail = ""


class JobUpdate(Part, frozen=True):
    """A job's state, as its submitter sees it."""

    id: Id
    state: Code
    code: Code = ""
    detail: Detail = ""
    progress: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    log: LogPiece = ""


class Price(Part, frozen=True):
    """What one job would cost."""

    kind: Code = ""
    price: Amount = ""
    flop: Count = 0
    bytes: Count = 0
    #: Agents online that could take it.
    agents: Count = 0
    code: Code = ""
    error: Detail = ""


class ReceiptItem(Part, frozen=True):
    """One receipt: its bytes, and the path that ties them to the batch's root."""

    #: The receipt in its fixed layout (`receipts.py`), hexadecimal.
    receipt: Annotated[str, Meta(max_length=1024)]
    index: Count
    path: Annotated[list[Hex32], Meta(max_length=64)]


class ReceiptBatch(Part, frozen=True):
    """Receipts of one posted batch, under the coordinator's signature of their root."""

    batch: Count
    count: Count
    root: Hex32
    #: The coordinator's signature (`receipts.coordinator_text`).
    signature: Base64
    receipts: Annotated[list[ReceiptItem], ItemsMax]


class OutputItem(Part, frozen=True):
    """The result of one job among several in a message."""

    id: Id
    outputs: Annotated[list[Array], Meta(max_length=OUTPUTS_MAX)]
    #: Where this result's part of the message's data begins; its arrays' offsets count from here.
    at: Count = 0
    #: Batch and index of its receipt, which stands in the message's `receipts`; 0 for none.
    batch: Count = 0
    index: Count = 0


class ProgressItem(Part, frozen=True):
    """How far one attempt is."""

    job: Id
    fence: Count
    progress: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    log: LogPiece = ""


class EarningsProof(Part, frozen=True):
    """That a wallet's lifetime earnings are a leaf of a published root: what a claim needs."""

    ledger: Wallet
    wallet: Wallet
    epoch: Count
    #: The root that the chain holds for this epoch, and how many leaves it has.
    root: Hex32
    leaf_count: Count
    index: Count
    lifetime: Amount
    #: Hashes from the leaf up to the root: 32 for 2^32 leaves, which are more than there can be.
    path: Annotated[list[Hex32], Meta(max_length=32)] = []


class PapersKept(Part, frozen=True):
    """What an agent has on its disk: the coordinator sends it what is newer."""

    #: Of its newest proof; 0: none.
    epoch: Count = 0
    #: What its voucher of the newest key says that the wallet earned.
    vouched: Amount = "0"
    #: When that voucher ends, Unix s; and of which key epoch it is.
    vouched_until: Count = 0
    key_epoch: Count = 0


class RevokedItem(Part, frozen=True):
    """What became of one thing: no code, or why it was not revoked."""

    id: Code
    code: Code = ""


@cache
def tag_of(message: type[msgspec.Struct]) -> str:
    """The `type` (or `policy`) that a tagged struct has on the wire."""
    tag = message.__struct_config__.tag
    assert isinstance(tag, str), "every message is tagged by a word"
    return tag
