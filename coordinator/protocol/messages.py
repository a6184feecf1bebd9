"""Every message of the wire, as a type. JSON names are camelCase, tagged by `type`.

The seed's seven (`register registered heartbeat ack job job_result error`) keep the seed's shapes;
clients written for it ignore the fields that it does not have. Amounts are decimal text of HYPER,
times ISO 8601, hashes hexadecimal, keys and wallets base58, signatures and nonces base64url.
Which message may come when is `session.py`'s table.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from coordinator.limits import (
    ARRAY_DIMENSIONS_MAX,
    BLOB_BYTES_MAX,
    DEVICES_MAX,
    INTEGER_MAX,
    ITEMS_PER_MESSAGE_MAX,
    KEY_CHARS_MAX,
    NAME_CHARS_MAX,
    OUTPUTS_MAX,
    SEED_LOG_CHARS_MAX,
    TOKEN_BYTES_MAX,
)

Name: TypeAlias = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
Id: TypeAlias = Annotated[str, Meta(max_length=64)]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=KEY_CHARS_MAX)]
Wallet: TypeAlias = Annotated[str, Meta(min_length=32, max_length=44)]
Hex32: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Base64: TypeAlias = Annotated[str, Meta(max_length=128)]
Amount: TypeAlias = Annotated[str, Meta(max_length=48)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Code: TypeAlias = Annotated[str, Meta(max_length=40)]
Logs: TypeAlias = Annotated[str, Meta(max_length=SEED_LOG_CHARS_MAX)]
Detail: TypeAlias = Annotated[str, Meta(max_length=2000)]
ItemsMax = Meta(max_length=ITEMS_PER_MESSAGE_MAX)


class Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A piece of a message."""


class Message(msgspec.Struct, frozen=True, rename="camel", tag_field="type", omit_defaults=True):
    """A message of the wire."""


# ---- parts ------------------------------------------------------------------------------------


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
    log: Logs = ""


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


# ---- agent → coordinator ----------------------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """An agent of ours opens: the coordinator answers with `challenge`."""

    protocol: Count
    node_key: Wallet
    client_nonce: Base64


class Register(Message, frozen=True, tag="register"):
    """The seed's registration, or ours with the node key's `proof`."""

    token: Annotated[str, Meta(max_length=TOKEN_BYTES_MAX)] = ""
    host_info: HostInfo = HostInfo()
    #: Signature by the node key over `handshake.proof_text`.
    proof: Base64 = ""


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """I live: renews every lease of the session."""

    node_id: Id = ""
    telemetry: Annotated[list[Telemetry], Meta(max_length=DEVICES_MAX)] = []


class JobResult(Message, frozen=True, tag="job_result"):
    """The seed's result of the seed's one job."""

    id: Id
    status: Code
    logs: Logs = ""


class Inventory(Message, frozen=True, tag="inventory"):
    """What the agent is and can do; may come again when it changes."""

    devices: Annotated[list[Device], Meta(max_length=DEVICES_MAX)]
    #: Kinds that the agent runs.
    kinds: Annotated[list[Code], Meta(max_length=64)]
    #: Level of the sandbox for commands and strangers' code, 0 to 2.
    sandbox: Annotated[int, Meta(ge=0, le=2)]
    #: Jobs that compute at the same time.
    slots: Annotated[int, Meta(ge=1, le=256)]
    #: Jobs that the agent holds at once, those that wait included.
    window: Annotated[int, Meta(ge=1, le=4096)]
    #: Level of the sandbox in which our own kinds run.
    worker_sandbox: Annotated[int, Meta(ge=0, le=2)] = 0
    #: Why the level is not higher.
    remarks: Annotated[list[Detail], Meta(max_length=16)] = []
    version: Name = ""


class Resume(Message, frozen=True, tag="resume"):
    """The attempts that the agent still holds after a reconnect."""

    attempts: Annotated[list[Attempt], Meta(max_length=4096)] = []


class Results(Message, frozen=True, tag="results"):
    """Finished attempts."""

    results: Annotated[list[ResultItem], ItemsMax]


class ProgressItem(Part, frozen=True):
    """How far one attempt is."""

    job: Id
    fence: Count
    progress: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    log: Logs = ""


class Progress(Message, frozen=True, tag="progress"):
    """These attempts run."""

    attempts: Annotated[list[ProgressItem], ItemsMax]


class ReceiptsSigned(Message, frozen=True, tag="receipts_signed"):
    """The node key's counter-signature of a batch's root."""

    batch: Count
    signature: Base64


# ---- coordinator → agent ----------------------------------------------------------------------


class Challenge(Message, frozen=True, tag="challenge"):
    """Sign these: a fresh nonce, under the coordinator's own signature."""

    server_nonce: Base64
    coordinator_key: Wallet
    #: Signature by the coordinator over `handshake.challenge_text`.
    signature: Base64


class Registered(Message, frozen=True, tag="registered"):
    """The session is open."""

    node_id: Id
    message: Name = ""
    #: Bearer of this session's HTTP calls (reports, blobs).
    session_key: Base64 = ""
    heartbeat_s: Count = 0


class Ack(Message, frozen=True, tag="ack"):
    """The seed's answer to a heartbeat or a result."""

    message: Detail = ""


class Job(Message, frozen=True, tag="job"):
    """The seed's job: a command."""

    id: Id
    command: str


class Jobs(Message, frozen=True, tag="jobs"):
    """Jobs to run."""

    jobs: Annotated[list[JobItem], ItemsMax]


class Acks(Message, frozen=True, tag="acks"):
    """Answers to results: sent after the commit."""

    acks: Annotated[list[AckItem], ItemsMax]


class CancelAttempts(Message, frozen=True, tag="cancel"):
    """Stop these attempts; no result is wanted."""

    attempts: Annotated[list[Attempt], Meta(max_length=4096)]
    reason: Code = ""


class Resumed(Message, frozen=True, tag="resumed"):
    """What to go on with, and what to drop."""

    keep: Annotated[list[Attempt], Meta(max_length=4096)] = []
    abandon: Annotated[list[Attempt], Meta(max_length=4096)] = []


class Receipts(Message, frozen=True, tag="receipts"):
    """Proof of what the operator earned; answered by `receipts_signed`."""

    batches: Annotated[list[ReceiptBatch], Meta(max_length=64)]


class Drain(Message, frozen=True, tag="drain"):
    """The coordinator stops soon: finish, keep what is left, come back later."""

    seconds: Count


class Error(Message, frozen=True, tag="error"):
    """Something is wrong; `message` is the seed's field, `code` is stable."""

    message: Detail
    code: Code = ""
    ref: Count = 0


# ---- submitter ↔ coordinator ------------------------------------------------------------------


class Open(Message, frozen=True, tag="open"):
    """A submitter's first message: a bearer, or the proof that would buy one."""

    bearer: Base64 = ""
    scope: Literal["wallet", "admin"] = "wallet"
    wallet: Wallet | None = None
    nonce: Base64 = ""
    signature: Base64 = ""


class Opened(Message, frozen=True, tag="opened"):
    """The submitter's session is open."""

    wallet: Wallet
    scope: Code
    coordinator_key: Wallet


class Submit(Message, frozen=True, tag="submit"):
    """New jobs; answered by `submitted` after the commit."""

    jobs: Annotated[list[Submission], ItemsMax]
    ref: Count = 0


class Submitted(Message, frozen=True, tag="submitted"):
    """One answer a job, in order."""

    jobs: Annotated[list[SubmissionAnswer], ItemsMax]
    ref: Count = 0


class Watch(Message, frozen=True, tag="watch"):
    """Send updates and results of these jobs of mine on this connection too."""

    ids: Annotated[list[Id], ItemsMax]
    ref: Count = 0


class Cancel(Message, frozen=True, tag="cancel"):
    """Stop these jobs of mine."""

    ids: Annotated[list[Id], ItemsMax]
    ref: Count = 0


class Cancelled(Message, frozen=True, tag="cancelled"):
    """One update a job, in order: `cancelled`, or the code that says why not."""

    jobs: Annotated[list[JobUpdate], ItemsMax]
    ref: Count = 0


class Quote(Message, frozen=True, tag="quote"):
    """What would these cost?"""

    specs: Annotated[list[msgspec.Raw], ItemsMax]
    ref: Count = 0


class Quoted(Message, frozen=True, tag="quoted"):
    """One price a specification, in order."""

    prices: Annotated[list[Price], ItemsMax]
    ref: Count = 0


class Update(Message, frozen=True, tag="update"):
    """States that changed."""

    jobs: Annotated[list[JobUpdate], ItemsMax]


class JobOutput(Message, frozen=True, tag="result"):
    """The result of one job."""

    id: Id
    outputs: Annotated[list[Array], Meta(max_length=OUTPUTS_MAX)] = []
    receipt: ReceiptBatch | None = None


ToCoordinator: TypeAlias = (
    Hello | Register | Heartbeat | JobResult | Inventory | Resume | Results | Progress
    | ReceiptsSigned | Open | Submit | Watch | Cancel | Quote
)  # fmt: skip
ToAgent: TypeAlias = (
    Challenge | Registered | Ack | Job | Jobs | Acks | CancelAttempts | Resumed | Receipts
    | Drain | Error
)  # fmt: skip
ToSubmitter: TypeAlias = (
    Opened | Submitted | Cancelled | Quoted | Update | JobOutput | Drain | Error
)  # fmt: skip
AnyMessage: TypeAlias = ToCoordinator | ToAgent | ToSubmitter


def tag_of(message: type[msgspec.Struct]) -> str:
    """The `type` (or `policy`) that a tagged struct has on the wire."""
    tag = message.__struct_config__.tag
    assert isinstance(tag, str), "every message is tagged by a word"
    return tag
