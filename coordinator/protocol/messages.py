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

from coordinator.limits import DEVICES_MAX, OUTPUTS_MAX, REMARKS_MAX, TOKEN_BYTES_MAX
from coordinator.protocol.parts import (
    AckItem,
    Amount,
    Array,
    Attempt,
    Base64,
    Code,
    Count,
    Detail,
    Device,
    EarningsProof,
    GpuInfo,
    Hex32,
    HostInfo,
    Id,
    ItemsMax,
    JobItem,
    JobUpdate,
    Key,
    Logs,
    Name,
    OutputItem,
    PapersKept,
    Price,
    ProgressItem,
    ReceiptBatch,
    ReceiptItem,
    ResultItem,
    RevokedItem,
    Submission,
    SubmissionAnswer,
    Telemetry,
    Transaction,
    VoucherText,
    Wallet,
    tag_of,
)

__all__ = [
    "Ack",
    "AckItem",
    "Acks",
    "Amount",
    "AnyMessage",
    "Array",
    "Attempt",
    "Base64",
    "Cancel",
    "CancelAttempts",
    "Cancelled",
    "Challenge",
    "Code",
    "Count",
    "Detail",
    "Device",
    "Drain",
    "EarningsProof",
    "Error",
    "GpuInfo",
    "Heartbeat",
    "Hello",
    "Hex32",
    "HostInfo",
    "Id",
    "Inventory",
    "Job",
    "JobItem",
    "JobOutput",
    "JobOutputs",
    "JobResult",
    "JobUpdate",
    "Jobs",
    "Key",
    "Logs",
    "Message",
    "Name",
    "Open",
    "Opened",
    "OutputItem",
    "Papers",
    "PapersKept",
    "Price",
    "Progress",
    "ProgressItem",
    "Quote",
    "Quoted",
    "ReceiptBatch",
    "ReceiptItem",
    "Receipts",
    "ReceiptsSigned",
    "Register",
    "Registered",
    "ResultItem",
    "Results",
    "Resume",
    "Resumed",
    "Revoke",
    "Revoked",
    "RevokedItem",
    "Standing",
    "Submission",
    "SubmissionAnswer",
    "Submit",
    "Submitted",
    "Telemetry",
    "ToAgent",
    "ToCoordinator",
    "ToSubmitter",
    "Transaction",
    "Update",
    "Wallet",
    "Watch",
    "tag_of",
]


class Message(
    msgspec.Struct, frozen=True, rename="camel", tag_field="type", omit_defaults=True, gc=False
):
    """A message of the wire."""


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
    remarks: Annotated[list[Detail], Meta(max_length=REMARKS_MAX)] = []
    version: Name = ""


class Resume(Message, frozen=True, tag="resume"):
    """The attempts that the agent still holds after a reconnect."""

    attempts: Annotated[list[Attempt], Meta(max_length=4096)] = []
    #: Which earnings papers it keeps; None: it does not know of them, and is sent none.
    papers: PapersKept | None = None


class Results(Message, frozen=True, tag="results"):
    """Finished attempts."""

    results: Annotated[list[ResultItem], ItemsMax]


class Progress(Message, frozen=True, tag="progress"):
    """These attempts run."""

    attempts: Annotated[list[ProgressItem], ItemsMax]


class ReceiptsSigned(Message, frozen=True, tag="receipts_signed"):
    """The node key's counter-signature of a batch's root, or of several (`countersigning`)."""

    batch: Count
    signature: Base64
    #: The other batches that the signature is of, in the order of its tree behind `batch`.
    others: Annotated[list[Count], Meta(max_length=63)] = []


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
    #: Whether one signature may answer for all of them; who does not know of it signs each.
    together: bool = False


class Papers(Message, frozen=True, tag="papers"):
    """What its owner can claim by: the wallet's leaf in the active root, a voucher, or both."""

    proof: EarningsProof | None = None
    voucher: VoucherText = ""


class Drain(Message, frozen=True, tag="drain"):
    """The coordinator stops soon: finish, keep what is left, come back later."""

    seconds: Count


class Standing(Message, frozen=True, tag="standing"):
    """Whether this node gets jobs; `reason` says why not, `seconds` how long at least."""

    state: Literal["active", "drained"]
    reason: Detail = ""
    seconds: Count = 0


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
    #: In place of the signature: a hardware wallet's signed memo transaction.
    transaction: Transaction = ""


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


class Revoke(Message, frozen=True, tag="revoke"):
    """Take back what this wallet gave: things by their names, or all of them."""

    #: `session-…`, `token-…` or `node-…`, as the listing of open things names them.
    ids: Annotated[list[Code], Meta(max_length=100)] = []
    #: `sessions` ends all sessions and unspent tokens, `nodes` all node keys besides.
    all: Literal["", "sessions", "nodes"] = ""
    ref: Count = 0


class Revoked(Message, frozen=True, tag="revoked"):
    """One answer an id, in order; or how much was revoked at once."""

    items: Annotated[list[RevokedItem], Meta(max_length=100)] = []
    sessions: Count = 0
    tokens: Count = 0
    nodes: Count = 0
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


class JobOutputs(Message, frozen=True, tag="outputs"):
    """The results of several jobs that ended together."""

    results: Annotated[list[OutputItem], ItemsMax]
    #: Their receipts: a batch and its signed root stand once.
    receipts: Annotated[list[ReceiptBatch], ItemsMax] = []


ToCoordinator: TypeAlias = (
    Hello | Register | Heartbeat | JobResult | Inventory | Resume | Results | Progress
    | ReceiptsSigned | Open | Submit | Watch | Cancel | Quote | Revoke
)  # fmt: skip
ToAgent: TypeAlias = (
    Challenge | Registered | Ack | Job | Jobs | Acks | CancelAttempts | Resumed | Receipts
    | Papers | Drain | Standing | Error
)  # fmt: skip
ToSubmitter: TypeAlias = (
    Opened | Submitted | Cancelled | Quoted | Revoked | Update | JobOutput | JobOutputs | Drain
    | Error
)  # fmt: skip
AnyMessage: TypeAlias = ToCoordinator | ToAgent | ToSubmitter
