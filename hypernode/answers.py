"""What the coordinator's HTTP API answers, as far as a submitter reads it.

Fields that only a newer coordinator knows are ignored; amounts stay the decimal text they travel
as, so that no float ever holds money. The coordinator's own side of these is `coordinator/views.py`
(a test marries the two); this package does not import it.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """A document of the HTTP API."""


class JobInfo(Answer, frozen=True):
    """A job as a listing shows it."""

    id: str
    #: The job's kind; `test` for the coordinator's own test job.
    type: str
    #: `queued assigned running verifying completed failed cancelled`.
    status: str
    node_id: str | None = None
    #: Seconds between assignment and end, on the coordinator's clock.
    duration: float | None = None
    created_at: str = ""
    completed_at: str | None = None
    key: str = ""
    code: str = ""
    detail: str = ""
    #: Money is shown to the submitter only: "" where it is not known.
    budget: str = ""
    paid: str = ""
    fee: str = ""
    attempts: int = 0
    #: Seconds that it may wait, that one attempt may run, and that it may take in all; 0 where it
    #: is not told.
    queue_timeout: int = 0
    execution_timeout: int = 0
    total_timeout: int = 0
    retries: int | None = None


class LogPart(Answer, frozen=True):
    """Part of a job's log."""

    status: str
    #: The attempt whose log it is; places count anew in each.
    attempt: int
    #: Where `text` begins, characters; behind the place asked for if that is no longer kept.
    offset: int
    text: str
    next_offset: int
    progress: float | None = None
    #: Whether nothing more will come.
    is_final: bool = False


class NodeInfo(Answer, frozen=True):
    """An agent's node as a listing shows it."""

    id: str
    status: str
    hostname: str = ""
    gpu: str = ""
    last_heartbeat: str = ""
    #: HYPER earned by this node, the number's own digits (never a float).
    earned: msgspec.Raw = msgspec.Raw(b"0")
    sandbox: int = 0
    kinds: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    #: Until when it gets no jobs, and why; "" where it gets jobs.
    drained_until: str = ""
    drain_reason: str = ""


class Account(Answer, frozen=True):
    """A wallet's money at this coordinator, decimal text of HYPER."""

    wallet: str
    #: Deposited and unspent.
    credit: str
    #: Held for open jobs.
    held: str
    #: Earned in all; `withheld` of it is still in the withholding window, `earned` is past it.
    earned_total: str = "0"
    withheld: str = "0"
    earned: str = "0"
    earned_last_day: str = "0"
    paid_jobs: int = 0


class SettlementInfo(Answer, frozen=True):
    """Where a coordinator settles, and how that stands."""

    chain_id: str
    #: Address of its ledger.
    ledger: str
    coordinator_key: str
    #: Epoch of the root that claims are checked against; 0: none yet.
    active_epoch: int = 0
    spend_until: str | None = None
    #: HYPER that hosts have earned and no root covers, and the reserve behind it.
    unrooted: str = "0"
    backed: str = "0"
    #: Code of why no credit is spent now; "" if it is.
    stopped: str = ""
    #: When the chain was last read, and the epochs of its active and pending roots then; 0: none.
    looked_at: str | None = None
    chain_epoch: int = 0
    pending_epoch: int = 0
    pending_at: str | None = None
    #: Whether it publishes roots, what went wrong last, and whether it has stopped for that.
    publishes: bool = False
    alarm: str = ""
    settler_stopped: bool = False
    #: In words: what went wrong, what the latest round did, what the next step waits for.
    said: str = ""
    did: tuple[str, ...] = ()
    waits: str = ""
    waits_until: str | None = None
    #: The chain's clock in that round: what `pending_at` and `waits_until` are on.
    clock: str | None = None


class EpochInfo(Answer, frozen=True):
    """A settlement period, and what became of its root."""

    number: int
    state: str
    closed_at: str
    total: str
    total_exitable: str
    leaves: int | None = None
    root: str | None = None
    data_hash: str | None = None
    published_at: str | None = None
    active_at: str | None = None
    ended_at: str | None = None
    transaction: str | None = None


class ProofInfo(Answer, frozen=True):
    """That a wallet's lifetime earnings are in a root: what a claim needs."""

    ledger: str
    wallet: str
    epoch: int
    root: str
    leaf_count: int
    index: int
    lifetime: str
    proof: list[str] = []


class ClaimInfo(Answer, frozen=True):
    """A claim that the coordinator's owner pays for."""

    claim: str
    wallet: str
    #: `building sent confirmed finalized expired failed`.
    state: str
    amount: str
    #: What it costs the owner, lamports.
    lamports: int
    #: While it waits for its wallet: the transaction to sign, base64.
    transaction: str = ""
    #: Base58, once it was sent.
    signature: str = ""
    taken_at: str = ""
    ended_at: str = ""


class VoucherInfo(Answer, frozen=True):
    """What a wallet may redeem on the chain though no root holds it yet."""

    wallet: str
    cumulative: str
    expires_at: str
    voucher: str


class Withdrawn(Answer, frozen=True):
    """Credit that became earnings: it leaves by the next root."""

    wallet: str
    amount: str
    key: str
    issued_at: str
    asked_at: str
    #: The epoch whose leaves count it first; None: the next one.
    epoch: int | None = None


class Challenged(Answer, frozen=True):
    """A text to sign. `fields` say what it must be made of; `message` is never signed unread."""

    message: str
    fields: msgspec.Raw
    nonce: str
    expires_at: str


class OpenedSession(Answer, frozen=True):
    bearer: str
    scope: str
    wallet: str
    expires_at: str


class IssuedToken(Answer, frozen=True):
    token: str
    expires_at: str


class OpenThing(Answer, frozen=True):
    """Something that a wallet has given and that is good now; nothing in it opens anything."""

    #: What `revoke` takes.
    id: str
    #: `session`, `admin session`, `token`, `delegation` or `node key`.
    kind: str
    created_at: str
    expires_at: str
    last_used_at: str | None = None
    opened_from: str = ""
    node_key: str = ""
    #: Whether this very session asked.
    is_current: bool = False


class RevokedAll(Answer, frozen=True):
    """How much was revoked at once."""

    sessions: int
    tokens: int
    nodes: int


class ErrorAnswer(Answer, frozen=True):
    error: str
    code: str = ""


def plain(answer: msgspec.Struct) -> dict[str, Any]:
    """An answer as plain values, for `--json` and tables."""
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
    return document
