"""Facts that the engine is told, and orders that it gives.

An event is a fact (past participle or "asked"), handled inside one transaction with others. An
effect is an order for the shell, carried out after the commit. Both are frozen values: no sockets,
no clocks. Wallets and keys are 32 bytes, times Unix ms, amounts base units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import HostInfo, ReceiptItem
from coordinator.protocol.receipts import Levels, items_of
from coordinator.quarantine import Strike
from coordinator.store.values import (
    Challenge,
    CounterSignature,
    Job,
    NodeDrain,
    Output,
    Receipt,
    ReceiptRoot,
)


class Event(msgspec.Struct, frozen=True, gc=False):
    """A fact."""


class Effect(msgspec.Struct, frozen=True, gc=False):
    """An order."""


# ---- jobs -------------------------------------------------------------------------------------


class Wish(Event, frozen=True):
    """One job that a submitter wants; the specification has been checked and priced."""

    key: str
    kind: str
    spec: bytes
    spec_hash: bytes
    budget: int
    #: Quoted price; 0 for a command.
    price: int
    #: Hash → size of the blobs that it names as inputs.
    blobs: dict[bytes, int] = {}


class JobsSubmitted(Event, frozen=True):
    """A submission; answered by one `Job` or `Refusal` a wish, in order."""

    submitter: bytes
    wishes: tuple[Wish, ...]
    #: Nodes whose places were taken for these wishes, 0 for none of them; or empty.
    nodes: tuple[int, ...] = ()


class JobMatched(Event, frozen=True):
    """The scheduler chose an agent; answered by the assigned `Job`, or `None` if it is too late."""

    job: int
    node: int


class AttemptStarted(Event, frozen=True):
    """The agent says that it computes."""

    job: int
    fence: int
    node: int


class ResultArrived(Event, frozen=True):
    """A result; answered by the code of its acknowledgement."""

    job: int
    fence: int
    node: int
    is_completed: bool
    code: str
    detail: str
    outputs: tuple[Output, ...]
    #: Root over the outputs, as computed here: what the receipt names.
    root: bytes


class VerdictReached(Event, frozen=True):
    """Verification has ended."""

    job: int
    fence: int
    #: `accepted`, `unverified`, `rejected`; or `unreadable`: its files are gone (a restore).
    state: str
    reason: str
    root: bytes


class AttemptLost(Event, frozen=True):
    """No result will come of this attempt: lease over, given back, or out of time."""

    job: int
    fence: int
    code: str


class TimePaidUp(Event, frozen=True):
    """A command has run for all that its budget or its limit allows."""

    job: int
    fence: int


class CancelAsked(Event, frozen=True):
    """The submitter withdraws a job; answered by the `Job`."""

    submitter: bytes
    job: int


class QueueTimedOut(Event, frozen=True):
    """The job waited longer than it may."""

    job: int


class TotalTimedOut(Event, frozen=True):
    """The job's total time is over, wherever it is."""

    job: int


class TestJobDue(Event, frozen=True):
    """A node gets the house's own short job; answered by the `Job`, already assigned."""

    node: int
    spec: bytes
    #: Whether it earns test pay; what shows that a drained node is well does not.
    is_paid: bool = True


# ---- money ------------------------------------------------------------------------------------


class ReleaseDue(Event, frozen=True):
    """Time to move withheld buckets whose window is past; answered by how many moved."""


class FaucetAsked(Event, frozen=True):
    """Development: give HYPER to a wallet, once per key."""

    wallet: bytes
    amount: int
    key: str


class CounterSigned(Event, frozen=True):
    """A node key's signatures of receipt batches, already checked."""

    signatures: tuple[CounterSignature, ...]


# ---- who is who -------------------------------------------------------------------------------


class ChallengeMade(Event, frozen=True):
    """A challenge waits for its signature."""

    challenge: Challenge


class TokenAsked(Event, frozen=True):
    """A signed challenge for a token; answered by the token's text."""

    wallet: bytes
    nonce: str
    signature: bytes
    #: A hardware wallet's signed memo transaction, in place of the signature.
    transaction: bytes = b""


class SessionAsked(Event, frozen=True):
    """A signed challenge for a session; answered by the `Session`."""

    wallet: bytes
    nonce: str
    signature: bytes
    bearer_hash: bytes
    transaction: bytes = b""
    #: The network address that asks, kept for the wallet's eyes.
    opened_from: str = ""


class SessionClosed(Event, frozen=True):
    """Whoever has this bearer ends its session."""

    bearer_hash: bytes


class SessionUsed(Event, frozen=True):
    """A session was used: told now and then, for listings."""

    bearer_hash: bytes


class SessionRevoked(Event, frozen=True):
    """A wallet ends one of its sessions; answered by nothing, or refused with `not_found`."""

    wallet: bytes
    #: As `revocation.session_name` writes it.
    name: str


class TokenRevoked(Event, frozen=True):
    """A wallet withdraws a token; if it has registered a node, that node's key with it."""

    wallet: bytes
    nonce: str


class NodeRevoked(Event, frozen=True):
    """A wallet withdraws a node's permission: its key, and tokens that name the key."""

    wallet: bytes
    node: int


class AllRevoked(Event, frozen=True):
    """A wallet ends all that is open; answered by a `revocation.Tally`."""

    wallet: bytes
    #: Node keys too, not only sessions and tokens that have not registered yet.
    with_nodes: bool


class NodeRegistered(Event, frozen=True):
    """A client registers: by token (seed), by token and node key, or by a bound node key alone."""

    #: `""` for a resume by node key.
    token: str
    #: `b""` for a seed client.
    node_key: bytes
    host: HostInfo


class InventoryReceived(Event, frozen=True):
    """What a node can do, as JSON, kept for listings."""

    node: int
    gpu: str
    inventory: bytes


class NodesSeen(Event, frozen=True):
    """Last heartbeats, kept now and then for listings after a restart."""

    #: (node, Unix ms) pairs.
    seen: tuple[tuple[int, int], ...]


class NodeFailing(Event, frozen=True):
    """A node is to get no jobs for a while: by its failures, or by an administrator."""

    node: int
    reason: str
    #: How long; 0: by how often it was drained before.
    ms: int = 0


class NodeWell(Event, frozen=True):
    """A drained node has passed its test jobs, or an administrator wants it back."""

    node: int


class BlobStored(Event, frozen=True):
    """A blob is on disk; refused with `quota` past the wallet's."""

    sha256: bytes
    size: int
    wallet: bytes


class BlobUsed(Event, frozen=True):
    """A wallet brings a blob that it may have already: whether it has."""

    sha256: bytes
    wallet: bytes


class BlobsDue(Event, frozen=True):
    """Time to forget blobs last noted before then; answered by those whose files may go."""

    before_ms: int


class BlobsGone(Event, frozen=True):
    """The files of forgotten blobs are deleted."""

    digests: tuple[bytes, ...]


class ExpiryDue(Event, frozen=True):
    """Time to forget expired challenges, sessions and tokens."""


class WriteProbed(Event, frozen=True):
    """Does the disk take writes? Nothing changes."""


#: What is still done once the house has stopped itself: people sign in and look; no job moves, no
#: money moves.
HARMLESS: Final = (ChallengeMade, SessionAsked, SessionClosed, ExpiryDue, WriteProbed)


# ---- orders -----------------------------------------------------------------------------------


class JobQueued(Effect, frozen=True):
    """The job waits for an agent: put it into the scheduler's index."""

    job: Job
    #: Node of the attempt that just failed, to be avoided; 0 for none.
    avoid: int = 0


class JobSent(Effect, frozen=True):
    """Send this attempt to its node."""

    job: Job


class AttemptOver(Effect, frozen=True):
    """The node no longer holds this attempt; tell it to stop if `stop`."""

    job: int
    fence: int
    node: int
    code: str
    stop: bool


class HostFailed(Effect, frozen=True):
    """A node failed a job that another operator has completed, verified."""

    strike: Strike


class NodeDrained(Effect, frozen=True):
    """The node gets no jobs until the drain is over; None: it gets jobs again."""

    node: int
    drain: NodeDrain | None


class JobChanged(Effect, frozen=True):
    """Tell who watches."""

    job: Job


class VerificationDue(Effect, frozen=True):
    """Verify this result, then tell `VerdictReached`."""

    job: Job
    outputs: tuple[Output, ...]
    root: bytes


class ResultChecked(Effect, frozen=True):
    """A result was checked as it came in; accepted outputs are on the disk."""

    job: Job
    outputs: tuple[Output, ...]
    #: As in `VerdictReached`.
    state: str


class PlaceFree(Effect, frozen=True):
    """A place that was taken for a job before its submission is not needed."""

    node: int


class ReceiptsReady(Effect, frozen=True):
    """A signed batch of receipts: send each node its own."""

    root: ReceiptRoot
    receipts: tuple[Receipt, ...]
    #: The tree over them (see `onchain.merkle.levels_of`).
    levels: Levels
    #: All of them as they travel, once one is asked for: each goes to its submitter and its node.
    items: list[ReceiptItem] = msgspec.field(default_factory=list)

    def item(self, index: int) -> ReceiptItem:
        """A receipt as it travels."""
        if not self.items:
            self.items.extend(items_of([each.data for each in self.receipts], self.levels))
        return self.items[index]


class AccessEnded(Effect, frozen=True):
    """What was taken back: end the connections that go on under it, give its jobs to others."""

    #: Bearers' hashes.
    sessions: tuple[bytes, ...] = ()
    nodes: tuple[int, ...] = ()
    #: Every node of this wallet, those without a key of their own included; or `b""`.
    wallet: bytes = b""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one event: a value, or a refusal."""

    value: Any = None
    refusal: Refusal | None = None


def jobs_in(effects: Iterable[Effect]) -> Iterator[int]:
    """Numbers of the jobs that these effects tell of."""
    for effect in effects:
        job: Job | int | None = getattr(effect, "job", None)
        if job is not None:
            yield job if isinstance(job, int) else job.id
