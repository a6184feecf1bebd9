"""What the rows are, as frozen values. No row and no cursor leaves the store.

Times are Unix ms on the coordinator's clock, amounts base units, wallets and keys 32 raw bytes,
hashes 32 raw bytes. Ids are positive integers; public ids are made of them at the doors.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class _Word(StrEnum):
    """A word in a row, which hashes as the text that it is.

    An enumeration's own hash is a call of Python, thirty times a job.
    """

    __hash__ = str.__hash__


class JobState(_Word):
    """Where a job is in its life; `coordinator.jobs` holds the table of transitions."""

    #: Waiting for an agent; its budget is held.
    QUEUED = "queued"
    #: Sent to an agent under a lease.
    ASSIGNED = "assigned"
    #: The agent said that it computes.
    RUNNING = "running"
    #: A result is in and durable; its verdict is not.
    VERIFYING = "verifying"
    #: Accepted and paid. Final.
    COMPLETED = "completed"
    #: Given up; the hold is returned (a command's elapsed time is paid). Final.
    FAILED = "failed"
    #: Withdrawn by its submitter. Final.
    CANCELLED = "cancelled"


class AttemptState(_Word):
    """What became of one attempt."""

    #: The current one: under a lease, or its result is being verified.
    OPEN = "open"
    #: Its result was accepted.
    ACCEPTED = "accepted"
    #: Its result did not pass verification.
    REJECTED = "rejected"
    #: The agent said that it failed.
    FAILED = "failed"
    #: The lease ran out, or the agent gave it back.
    LOST = "lost"
    #: The submitter cancelled the job, or its time was over.
    CANCELLED = "cancelled"


class _Value(msgspec.Struct, frozen=True, gc=False):
    """A frozen value; change it with `msgspec.structs.replace`.

    Values hold values and no cycles: the search for cycles leaves them out (`gc=False`), here and
    wherever a thing is made by the thousand a second.
    """


class Job(_Value, frozen=True):
    id: int
    #: The wallet that pays.
    submitter: bytes
    #: The submitter's own key: unique per submitter.
    key: str
    kind: str
    #: The specification's bytes as received.
    spec: bytes
    spec_hash: bytes
    #: Most that may be paid, base units: what is held.
    budget: int
    #: Quoted price, base units; 0 for a command, whose price is its time.
    price: int
    state: JobState
    created_ms: int
    #: Number of attempts so far, and the fencing token of the current one.
    fence: int = 0
    #: Attempts that failed or were rejected.
    failures: int = 0
    #: Attempts whose agent fell silent or gave the job back.
    losses: int = 0
    #: Not to be assigned before this time.
    not_before_ms: int = 0
    #: Node of the current or last attempt; 0 for none.
    node: int = 0
    assigned_ms: int = 0
    finished_ms: int = 0
    #: Why it failed, or `""`.
    code: str = ""
    detail: str = ""
    #: What the submitter paid in all (fee included), base units.
    paid: int = 0
    fee: int = 0


class Attempt(_Value, frozen=True):
    job: int
    fence: int
    node: int
    state: AttemptState
    started_ms: int
    ended_ms: int = 0
    code: str = ""


class Output(_Value, frozen=True):
    """One output array of an attempt's result: inline data, or the hash of a blob."""

    job: int
    fence: int
    index: int
    dtype: str
    shape: tuple[int, ...]
    #: Raw C-order little-endian data; empty if it is a blob (or has no elements).
    data: bytes
    #: The blob's hash, or `b""`.
    sha256: bytes = b""
    #: Size of the data, bytes.
    size: int = 0


class Challenge(_Value, frozen=True):
    """A text to sign, waiting for its signature; used once."""

    #: The nonce in the text (alphanumeric).
    nonce: str
    wallet: bytes
    #: `token`, `wallet` or `admin`.
    scope: str
    #: The node key named in the text, or `b""`.
    node_key: bytes
    #: The exact text to sign.
    text: str
    #: Last moment to sign.
    sign_by_ms: int
    #: Expiration Time of the text.
    expires_ms: int


class Token(_Value, frozen=True):
    """A token that was issued; the nonce of its text names it."""

    nonce: str
    wallet: bytes
    node_key: bytes
    expires_ms: int
    #: The node that it registered; 0 while unspent.
    node: int = 0
    is_revoked: bool = False


class Node(_Value, frozen=True):
    id: int
    #: The operator's wallet.
    wallet: bytes
    #: The agent's node key, or `b""` for a seed client.
    node_key: bytes
    #: Until when the node key may open sessions.
    key_expires_ms: int
    hostname: str
    gpu: str
    os: str
    created_ms: int
    last_heartbeat_ms: int
    #: Sum of posts to the operator for this node's work, base units.
    earned: int = 0
    is_revoked: bool = False
    #: The last inventory, JSON, or `b""`.
    inventory: bytes = b""


class NodeWork(_Value, frozen=True):
    """How a node's attempts ended, in all."""

    #: Paid.
    done: int
    #: Failed, rejected or lost.
    failed: int


class NodeDrain(_Value, frozen=True):
    """A node that gets no jobs for a while, or the memory that it was one."""

    node: int
    began_ms: int
    #: When test jobs may show that it is well again; 0 once it is.
    until_ms: int
    #: How often in a row it was drained.
    count: int
    #: For the operator, a sentence.
    reason: str


class Session(_Value, frozen=True):
    """An HTTP bearer, kept as its hash."""

    bearer_hash: bytes
    #: `wallet`, `admin` or `node`.
    scope: str
    wallet: bytes
    #: The node of a node session; 0 otherwise.
    node: int
    expires_ms: int
    created_ms: int = 0
    #: When it was last used, to the minute.
    used_ms: int = 0
    #: The network address that opened it, for its wallet's eyes.
    opened_from: str = ""


class Account(_Value, frozen=True):
    """An account of the ledger: two numbers that only grow; the balance is their difference."""

    #: Such as `credit:<wallet>` or `fees`.
    code: str
    debits: int = 0
    credits: int = 0

    @property
    def balance(self) -> int:
        return self.credits - self.debits


class TransferKind(_Word):
    """Why money moved."""

    HOLD = "hold"
    PAY = "pay"
    FEE = "fee"
    RETURN = "return"
    RELEASE = "release"
    FAUCET = "faucet"
    #: Deposits that were seen on the chain, and what left it again: claims, exits, the reserve.
    DEPOSIT = "deposit"
    CLAIM = "claim"
    EXIT = "exit"
    RESERVE = "reserve"
    #: Credit that its owner made earnings.
    WITHDRAW = "withdraw"
    #: What was paid on the chain beyond what was owed, and the house's money that makes it good.
    LOSS = "loss"
    COVER = "cover"
    #: Fees and treasury that become earnings of the house's wallets.
    HOUSE = "house"


class Transfer(_Value, frozen=True):
    """An immutable movement. (kind, reference, sequence) is the caller's id: it happens once."""

    kind: TransferKind
    #: The job, or the caller's number for what is not of a job.
    reference: int
    #: Account codes.
    debit: str
    credit: str
    #: Base units, > 0.
    amount: int
    #: Tells transfers of one kind and reference apart.
    sequence: int = 0


class Bucket(_Value, frozen=True):
    """Withheld earnings of one wallet in one hour."""

    wallet: bytes
    #: Hours since 1970.
    hour: int
    amount: int
    #: When it moves to `earned`, Unix ms.
    release_ms: int


class LedgerBatch(_Value, frozen=True):
    """One link of the hash chain: all transfers of one transaction."""

    number: int
    previous: bytes
    link: bytes
    posted_ms: int
    transfers: int


class Receipt(_Value, frozen=True):
    """One paid job's receipt, a leaf of its batch's tree."""

    job: int
    fence: int
    node: int
    wallet: bytes
    batch: int
    index: int
    #: The receipt in its fixed layout.
    data: bytes


class ReceiptRoot(_Value, frozen=True):
    """The root over one batch's receipts, signed by the coordinator."""

    batch: int
    count: int
    root: bytes
    signature: bytes
    signed_ms: int


class CounterSignature(_Value, frozen=True):
    """A node key's signature of a receipt batch's root."""

    batch: int
    node: int
    #: A proof of `protocol.countersigning`.
    signature: bytes


class Blob(_Value, frozen=True):
    """A blob as one wallet has uploaded it."""

    sha256: bytes
    size: int
    #: Whose quota it counts against, and who may name it as an input.
    wallet: bytes
    #: When it was last noted.
    created_ms: int
    #: Open jobs of this wallet that name it.
    open_jobs: int = 0


class JobRow(_Value, frozen=True):
    """A job with what a listing shows beside it."""

    job: Job
    attempts: tuple[Attempt, ...]


class BookSums(_Value, frozen=True):
    """The whole ledger added up, base units, seen at one moment."""

    #: Balance of each class of accounts (`credit`, `hold`, `fees`, …), credits less debits.
    balances: Mapping[str, int]
    #: Accounts of ours with more debits than credits: there may be none.
    overdrawn: int

    @property
    def imbalance(self) -> int:
        """Debits less credits: 0, or the books are wrong."""
        return -sum(self.balances.values())


class Totals(_Value, frozen=True):
    """How much there is, seen at one moment; every number is found without walking a table."""

    jobs: Mapping[JobState, int]
    #: Nodes that ever registered.
    nodes: int
    #: Movements of money ever posted.
    transfers: int


class Earnings(_Value, frozen=True):
    """What a wallet earned as an operator, base units."""

    #: All posts ever.
    total: int
    #: Still in the withholding window.
    withheld: int
    #: Past the window: what settlement pays out.
    earned: int
    #: Posts of the last 24 hours.
    last_day: int
    #: Receipts of the wallet.
    jobs: int
