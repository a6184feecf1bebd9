"""What HTTP shows: the seed's shapes, and ours beside them.

JSON names are camelCase, times ISO 8601, amounts decimal text of HYPER; `earned` in a node is a
JSON number, as the seed has it (exact: it is written from base units, never from a float).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from coordinator.limits import (
    DRAIN_BY_ADMIN_S_MAX,
    JOBS_PER_REQUEST_MAX,
    SEED_LOG_CHARS_MAX,
)
from coordinator.protocol.messages import (
    Amount,
    Code,
    Count,
    Id,
    Key,
    Name,
    Submission,
    SubmissionAnswer,
    Transaction,
    Wallet,
)
from coordinator.protocol.signin import Fields


class View(msgspec.Struct, frozen=True, rename="camel"):
    """A document of the HTTP API."""


class NodeView(View, frozen=True):
    """A node, as the seed's table shows it."""

    id: Id
    hostname: Name
    gpu: Name
    status: Literal["online", "offline"]
    last_heartbeat: str
    #: HYPER earned by this node: the sum of its paid jobs, exact.
    earned: msgspec.Raw
    #: Level of the sandbox for commands, 0 to 2.
    sandbox: Count = 0
    kinds: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    #: Until when it gets no jobs (then test jobs follow), and why; absent where it gets jobs.
    drained_until: str | UnsetType = UNSET
    drain_reason: str | UnsetType = UNSET


class JobView(View, frozen=True):
    """A job, as the seed's table shows it, and a little more."""

    id: Id
    #: The job's kind; `test` for the coordinator's own test job.
    type: Name
    node_id: Id | None
    status: Code
    #: Seconds between assignment and end, on the coordinator's clock.
    duration: float | None
    created_at: str
    completed_at: str | None
    attempts: Count = 0
    #: What follows is for the job's submitter and administrators only.
    key: str | UnsetType = UNSET
    #: Seconds that it may wait, that one attempt may run, and that it may take in all.
    queue_timeout: Count | UnsetType = UNSET
    execution_timeout: Count | UnsetType = UNSET
    total_timeout: Count | UnsetType = UNSET
    retries: Count | UnsetType = UNSET
    code: Code | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    budget: Amount | UnsetType = UNSET
    paid: Amount | UnsetType = UNSET
    fee: Amount | UnsetType = UNSET


class LogView(View, frozen=True):
    """Part of a job's log."""

    #: The job's state.
    status: Code
    #: The attempt whose log it is; places count anew in each.
    attempt: Count
    #: Where `text` begins, characters; behind the place asked for if that is no longer kept.
    offset: Count
    text: str
    #: The place to ask for next.
    next_offset: Count
    #: From 0 to 1, if the agent tells.
    progress: float | None = None
    #: Whether nothing more will come.
    is_final: bool = False


class Challenged(View, frozen=True):
    """The answer to a request for a challenge."""

    #: The text to sign, UTF-8. Build it yourself from `fields` and compare.
    message: str
    fields: Fields
    nonce: str
    #: Last moment to sign, ISO 8601.
    expires_at: str


class TokenRequest(View, frozen=True):
    """The seed's request (`wallet` alone), and the proof that it lacks."""

    wallet: Wallet
    nonce: Name = ""
    #: Signature of the challenge's text, base58 or base64.
    signature: Name = ""
    #: In its place: a hardware wallet's signed memo transaction, base64 or base64url.
    transaction: Transaction = ""


class IssuedToken(View, frozen=True):
    token: str
    expires_at: str


class SessionRequest(View, frozen=True):
    wallet: Wallet
    nonce: Name
    #: One of these two, as in a token's request.
    signature: Name = ""
    transaction: Transaction = ""


class OpenedSession(View, frozen=True):
    #: Send it as `Authorization: Bearer …`.
    bearer: str
    scope: Code
    wallet: Wallet
    expires_at: str


class OpenThing(View, frozen=True):
    """Something that a wallet has given and that is good now; nothing in it opens anything."""

    #: `session-…`, `token-…` or `node-…`: what `DELETE /api/sessions/{name}` takes.
    id: Name
    kind: Literal["session", "admin session", "token", "delegation", "node key"]
    created_at: str
    expires_at: str
    #: When it was last used, to the minute; for a node its last sign of life.
    last_used_at: str | None = None
    #: The network address from which a session was opened.
    opened_from: Name = ""
    #: The node key of a delegation or a node, base58.
    node_key: str = ""
    #: Whether this very session asks.
    is_current: bool = False


class RevokedAll(View, frozen=True):
    """How much was revoked at once."""

    sessions: Count
    tokens: Count
    nodes: Count


class SubmitRequest(View, frozen=True):
    jobs: Annotated[list[Submission], Meta(min_length=1, max_length=JOBS_PER_REQUEST_MAX)]


class SubmitAnswer(View, frozen=True):
    jobs: list[SubmissionAnswer]


class QuoteRequest(View, frozen=True):
    specs: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=1000)]


class ReportRequest(View, frozen=True):
    """The seed's report of a job; `duration` is read and ignored."""

    job_id: Id
    node_id: Id
    status: Code
    logs: Annotated[str, Meta(max_length=SEED_LOG_CHARS_MAX)] = ""
    duration: float = 0.0


class DrainRequest(View, frozen=True):
    """An administrator's: no jobs for this node."""

    #: For its operator, a sentence.
    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    seconds: Annotated[int, Meta(ge=1, le=DRAIN_BY_ADMIN_S_MAX)] = 3600


class FaucetRequest(View, frozen=True):
    """Development only: HYPER out of nothing, once per key."""

    amount: Amount
    key: Key


class AccountView(View, frozen=True):
    """A wallet's money here."""

    wallet: Wallet
    #: Deposited and unspent.
    credit: Amount
    #: Held for open jobs.
    held: Amount
    #: Earned in all.
    earned_total: Amount
    #: Of it: still in the withholding window.
    withheld: Amount
    #: Of it: past the window.
    earned: Amount
    earned_last_day: Amount
    paid_jobs: Count


class ErrorView(View, frozen=True, omit_defaults=True):
    """Every refusal: a sentence, a stable code, and where to go."""

    error: str
    code: Code
    challenge: str | None = None
    #: The sentence again, where clients of Solana Actions look for it.
    message: str = ""


Status: TypeAlias = Literal["ok", "draining", "failing"]


class Health(View, frozen=True):
    """How the coordinator is, and why, by name."""

    status: Status
    detail: str = ""
    reasons: tuple[str, ...] = ()
