"""What the coordinator asks of its store: intents and values, whichever engine is below.

A `Batch` is one transaction. Inside it: load what the events touch, decide (elsewhere, purely),
save under a condition. `save_job` writes only if the row still has the state and fence that the
decision was made on, and says whether it did; a lost row is decided again.
Reads for listings go through `Reader`: committed data only, never inside a batch.
Rules:
  1. Values only; nothing of SQL or of a driver crosses this line.
  2. What a batch did is durable when `__exit__` returns without an exception, and undone otherwise.
  3. No transition and no amount is decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from coordinator.store.settlement_interface import SettlementBatch, SettlementReader
from coordinator.store.values import (
    Account,
    Attempt,
    Blob,
    BookSums,
    Bucket,
    Challenge,
    CounterSignature,
    Earnings,
    Job,
    JobRow,
    JobState,
    LedgerBatch,
    Node,
    NodeDrain,
    NodeWork,
    Output,
    Receipt,
    ReceiptRoot,
    Session,
    Token,
    Totals,
    Transfer,
)


class StoreError(Exception):
    """The engine below failed (disk full, I/O error): nothing of the batch was written."""


class StoreConflict(Exception):
    """A write contradicts the rows (a key or transfer twice, a row gone): nothing was written.

    We are wrong, not the engine below: the events of the batch may be tried one by one.
    """


class Batch(SettlementBatch, Protocol):
    """One transaction, used as a context manager on the store's own thread."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    # jobs and attempts
    def next_job_id(self) -> int:
        """A fresh id; ids grow. An id of a batch that failed may be given again."""
        ...

    def jobs(self, ids: Iterable[int]) -> Mapping[int, Job]:
        """The jobs that exist among `ids`, this batch's own writes included."""
        ...

    def job(self, number: int) -> Job | None:
        """One job, this batch's own writes included."""
        ...

    def jobs_by_key(self, submitter: bytes, keys: Sequence[str]) -> Mapping[str, Job]:
        """A submitter's jobs by its own keys."""
        ...

    def open_jobs_of(self, submitter: bytes) -> int:
        """Number of a submitter's jobs that are not final."""
        ...

    def add_job(self, job: Job) -> None: ...
    def save_job(self, job: Job, *, was: Job) -> bool:
        """Write `job` if the row still has `was.state` and `was.fence`; whether it was written."""
        ...

    def add_attempt(self, attempt: Attempt) -> None: ...
    def save_attempt(self, attempt: Attempt) -> None:
        """Write an attempt's end, by (job, fence)."""
        ...

    def attempt(self, job: int, fence: int) -> Attempt | None: ...
    def add_outputs(self, outputs: Sequence[Output]) -> None: ...
    def drop_outputs(self, job: int, fence: int) -> None:
        """Forget the outputs of a rejected attempt."""
        ...

    def outputs(self, job: int, fence: int) -> Sequence[Output]: ...
    def add_quarantined(self, job: int, ended_ms: int, hosts: int) -> None:
        """Note a job that was given up since it ended so many hosts; once a job."""
        ...

    # who is who
    def add_challenge(self, challenge: Challenge, *, keep: int) -> None:
        """Keep a challenge; of the same wallet only the newest `keep` stay."""
        ...

    def take_challenge(self, nonce: str) -> Challenge | None:
        """Remove a challenge and return it: it can be taken once."""
        ...

    def drop_challenges(self, wallet: bytes) -> None:
        """Forget a wallet's challenges: what was signed for them proves nothing any longer."""
        ...

    def add_token(self, token: Token) -> None: ...
    def token(self, nonce: str) -> Token | None: ...
    def save_token(self, token: Token) -> None: ...
    def revoke_tokens(self, wallet: bytes, node_key: bytes | None = None) -> int:
        """Revoke a wallet's unspent tokens (or those that name this node key); how many."""
        ...

    def next_node_id(self) -> int: ...
    def node(self, node: int) -> Node | None: ...
    def node_by_key(self, node_key: bytes) -> Node | None: ...
    def add_node(self, node: Node) -> None: ...
    def save_node(self, node: Node) -> None:
        """Write a node; `earned` is left alone (see `add_earned`)."""
        ...

    def live_nodes_of(self, wallet: bytes) -> Sequence[int]:
        """Nodes of a wallet that have a node key which was not revoked."""
        ...

    def add_earned(self, node: int, amount: int) -> None:
        """Add to a node's `earned`; one update a node and batch."""
        ...

    def node_drain(self, node: int) -> NodeDrain | None: ...
    def save_node_drain(self, drain: NodeDrain) -> None:
        """Write a node's drain over the one before it."""
        ...

    def add_session(self, session: Session) -> None: ...
    def session(self, bearer_hash: bytes) -> Session | None: ...
    def trim_sessions(self, wallet: bytes, keep: int) -> Sequence[bytes]:
        """Forget a wallet's sessions but the `keep` that last longest; which were forgotten."""
        ...

    def drop_session(self, bearer_hash: bytes) -> None: ...
    def touch_session(self, bearer_hash: bytes, used_ms: int) -> None:
        """Note when a session was used; harmless if it is gone."""
        ...

    def sessions_of(self, wallet: bytes) -> Sequence[Session]:
        """Every session of a wallet, this batch's own writes included."""
        ...

    def drop_expired(self, now_ms: int) -> int:
        """Forget expired challenges, sessions and unspent tokens; how many."""
        ...

    # the ledger
    def account(self, code: str) -> Account:
        """An account as of this batch; a new one has two zeros."""
        ...

    def save_account(self, account: Account) -> None: ...
    def has_transfer(self, transfer: Transfer) -> bool:
        """Whether a transfer of this kind, reference and sequence exists."""
        ...

    def add_transfers(self, transfers: Sequence[Transfer], ledger_batch: LedgerBatch) -> None: ...
    def last_ledger_batch(self) -> LedgerBatch | None: ...
    def add_to_bucket(self, bucket: Bucket) -> None:
        """Add `bucket.amount` to the wallet's bucket of that hour."""
        ...

    def due_buckets(self, now_ms: int, limit: int) -> Sequence[Bucket]: ...
    def drop_bucket(self, wallet: bytes, hour: int) -> None: ...
    def paid_to_tests(self, day: int) -> int:
        """Base units that test jobs earned on a day (days since 1970)."""
        ...

    def add_paid_to_tests(self, day: int, amount: int) -> None: ...

    # receipts and blobs
    def cumulative_of(self, wallet: bytes) -> int:
        """All posts ever made to a wallet, base units, this batch's `add_cumulative` included."""
        ...

    def add_cumulative(self, wallet: bytes, amount: int) -> None: ...
    def next_receipt_batch(self) -> int: ...
    def add_receipts(self, root: ReceiptRoot, receipts: Sequence[Receipt]) -> None: ...
    def add_counter_signature(self, signature: CounterSignature) -> None: ...
    def receipt_root(self, batch: int) -> ReceiptRoot | None: ...
    def add_blob(self, blob: Blob) -> None:
        """Note a blob of a wallet's; noting it again makes it young."""
        ...

    def touch_blob(self, sha256: bytes, wallet: bytes, now_ms: int) -> bool:
        """Make a wallet's blob young; whether it has it."""
        ...

    def drop_old_blobs(self, before_ms: int, limit: int) -> Sequence[bytes]:
        """Forget the oldest blobs last noted before that time that no open job names.

        Returns:
            Hashes that no wallet has any longer: their files may go. They are told again until
            `forget_dropped_blobs`.
        """
        ...

    def forget_dropped_blobs(self, digests: Iterable[bytes]) -> None:
        """The files of dropped blobs are gone."""
        ...

    def blob_size(self, sha256: bytes, wallet: bytes) -> int | None:
        """Bytes of a wallet's blob; None if it has uploaded none of this hash."""
        ...

    def name_blobs(self, wallet: bytes, digests: Iterable[bytes], now_ms: int, change: int) -> None:
        """Count one more open job (`change` 1), or one less (-1), that names these blobs.

        They are noted as of now too: each has been looked up by `blob_size` before.
        """
        ...

    def blob_bytes_of(self, wallet: bytes) -> int: ...

    # small facts of the house
    def probe(self) -> None:
        """Write something that changes nothing: the commit proves that the disk takes writes."""
        ...

    def secret(self, name: str, fresh: bytes) -> bytes:
        """The stored secret of this name; `fresh` is stored if there is none."""
        ...

    def skip_numbers(self, count: int) -> None:
        """Give no number of a job, node or receipt batch again that a lost batch may have given.

        Args:
            count: How many numbers above the largest in use are left out.
        """
        ...


class Reader(SettlementReader, Protocol):
    """Committed data, for listings; safe to call from any thread, one call at a time each."""

    def open_jobs(self) -> Iterator[Job]:
        """Every job that is not final, oldest first."""
        ...

    def held_jobs(self) -> Iterator[Job]:
        """Open jobs that are with a node, oldest first."""
        ...

    def waiting_jobs(self, after: int, limit: int) -> Sequence[Job]:
        """Open jobs that wait for a node or a verdict: the oldest with ids above `after`."""
        ...

    def job(self, job: int) -> JobRow | None: ...
    def jobs_of_submitter(
        self, wallet: bytes, limit: int, *, before: int | None = None
    ) -> Sequence[Job]:
        """A submitter's newest jobs, with ids below `before`."""
        ...

    def jobs_of_operator(self, wallet: bytes, limit: int) -> Sequence[Job]:
        """Newest jobs whose current or last attempt ran on a node of this wallet."""
        ...

    def all_jobs(self, limit: int) -> Sequence[Job]: ...
    def quarantined_jobs(self, limit: int) -> Sequence[Job]:
        """The newest jobs that were quarantined."""
        ...

    def outputs(self, job: int, fence: int) -> Sequence[Output]: ...
    def node(self, node: int) -> Node | None: ...
    def nodes_of(self, wallet: bytes, limit: int) -> Sequence[Node]: ...
    def all_nodes(self, limit: int) -> Sequence[Node]: ...
    def node_drains(self) -> Sequence[NodeDrain]:
        """The drains of nodes that are not over."""
        ...

    def node_work(self, nodes: Sequence[int]) -> Mapping[int, NodeWork]:
        """How the attempts of these nodes ended; a node without any is left out."""
        ...

    def session(self, bearer_hash: bytes) -> Session | None: ...
    def sessions_of(self, wallet: bytes, limit: int) -> Sequence[Session]:
        """A wallet's sessions, the one that lasts longest first."""
        ...

    def tokens_of(self, wallet: bytes, now_ms: int, limit: int) -> Sequence[Token]:
        """A wallet's tokens that may still register a node, the one that lasts longest first."""
        ...

    def receipt(self, job: int) -> Receipt | None: ...
    def receipts_in(self, batch: int) -> Sequence[Receipt]:
        """All receipts of a batch, by index."""
        ...

    def receipt_root(self, batch: int) -> ReceiptRoot | None: ...
    def receipt_roots(self) -> Iterator[ReceiptRoot]:
        """All roots, in order."""
        ...

    def last_receipt_root(self) -> ReceiptRoot | None: ...

    def unsigned_batches(self, node: int, limit: int, after: int = 0) -> Sequence[int]:
        """Receipt batches of this node behind `after` that it has not counter-signed, ascending."""
        ...

    def counter_signatures(self, batch: int) -> Sequence[CounterSignature]: ...
    def account(self, code: str) -> Account: ...
    def accounts(self) -> Iterator[Account]: ...
    def imbalance(self) -> int:
        """Debits less credits over all accounts, seen at one moment: 0, or the books are wrong."""
        ...

    def book_sums(self, outside: Collection[str]) -> BookSums:
        """All accounts added up by class; those of `outside` may be overdrawn."""
        ...

    def transfers(self) -> Iterator[Transfer]:
        """All transfers, in the order in which they were posted."""
        ...

    def ledger_batches(self) -> Iterator[LedgerBatch]: ...
    def last_ledger_batch(self) -> LedgerBatch | None: ...
    def earnings_of(self, wallet: bytes, now_ms: int) -> Earnings: ...
    def blob(self, sha256: bytes, wallet: bytes) -> Blob | None: ...
    def has_blob(self, sha256: bytes) -> bool:
        """Whether any wallet has this blob."""
        ...

    def blob_hashes(self, after: bytes, limit: int) -> Sequence[bytes]:
        """Hashes of blobs in order, each once, from above `after`."""
        ...

    def blob_bytes_of(self, wallet: bytes) -> int: ...
    def may_read_blob(self, sha256: bytes, *, submitter: bytes = b"", node: int = 0) -> bool:
        """Whether it is the submitter's, an output of its jobs, or one of the node's leases."""
        ...

    def jobs_by_state(self) -> Mapping[JobState, int]: ...
    def totals(self) -> Totals: ...
    def secret(self, name: str) -> bytes | None:
        """A secret of the house, if it has been made."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """The store of one coordinator."""

    def batch(self) -> Batch:
        """A transaction; only one is open at a time."""
        ...

    def reader(self) -> Reader:
        """A reader with a connection of its own."""
        ...

    def check(self) -> Sequence[str]:
        """What is wrong with the rows (integrity, balances, chain); empty if nothing is."""
        ...

    def close(self) -> None: ...
