"""Listings of committed rows: the `Reader` of the SQLite store.

Every listing is answered by an index and ends at its limit; none reads every job. The walks
(`open_jobs`, `accounts`, `transfers`, …) are for a start and for audits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from coordinator.store.rows import (
    FENCES_MAX,
    OUTPUT_INDEXES_MAX,
    SELECT_ATTEMPTS,
    SELECT_JOBS,
    SELECT_NODES,
    attempt_of,
    job_of,
    node_of,
    outputs_in,
    told_attempt,
)
from coordinator.store.sqlite_journal import (
    BATCHES_AT_ONCE,
    POSTED_AFTER,
    SELECT_POSTED,
    AccountCodes,
    posted_in,
)
from coordinator.store.sqlite_people import (
    SELECT_NODE_DRAINS,
    SELECT_SESSIONS,
    SELECT_TOKENS,
    token_of,
)
from coordinator.store.sqlite_receipts import SELECT_ROOT, SELECT_ROOTS
from coordinator.store.sqlite_sponsored_reader import SponsoredQuery
from coordinator.store.values import (
    Account,
    Blob,
    BookSums,
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
from onchain.address import encode_address

_HOUR_MS = 3_600_000
_ID_MAX: Final = 2**62
_HELD = "(j.state IN ('assigned', 'running'))"
_HELD_OR_VERIFIED = "(j.state IN ('assigned', 'running', 'verifying'))"
_SELECT_OPEN = SELECT_JOBS + "WHERE j.is_open = 1 AND {} AND j.id > ? ORDER BY j.id LIMIT ?"
_WALLET = "(SELECT id FROM wallets WHERE address = ?)"
_SELECT_RECEIPTS = (
    "SELECT r.job, r.fence, r.node, w.address, r.batch, r.position, r.data"
    " FROM receipts r CROSS JOIN wallets w ON w.id = r.wallet "
)
_SELECT_LEDGER_BATCHES = "SELECT number, previous, link, posted_ms, transfers FROM ledger_batches "
#: The number of the last transfer: batches have theirs one after the other.
_SELECT_LAST_TRANSFER = (
    "SELECT first_transfer + transfers - 1 FROM ledger_batches ORDER BY number DESC LIMIT 1"
)


class SqliteReader(SponsoredQuery):
    """A `Reader`."""

    # jobs
    def open_jobs(self) -> Iterator[Job]:
        sql = SELECT_JOBS + "WHERE j.is_open = 1 AND j.id > ? ORDER BY j.id LIMIT ?"
        return map(job_of, self._walk(sql, 0))

    def held_jobs(self) -> Iterator[Job]:
        return map(job_of, self._walk(_SELECT_OPEN.format(_HELD), 0))

    def waiting_jobs(self, after: int, limit: int) -> Sequence[Job]:
        rows = self._all(_SELECT_OPEN.format(f"NOT {_HELD}"), (after, limit))
        return list(map(job_of, rows))

    def job(self, job: int) -> JobRow | None:
        row = self._one(SELECT_JOBS + "WHERE j.id = ?", (job,))
        if row is None:
            return None
        attempts = self._all(
            SELECT_ATTEMPTS + "WHERE id >= ? AND id < ? ORDER BY id",
            (job * FENCES_MAX, (job + 1) * FENCES_MAX),
        )
        found = list(map(attempt_of, attempts))
        told = told_attempt(job_of(row))
        if told is not None and all(each.fence != told.fence for each in found):
            found.append(told)
        return JobRow(job_of(row), tuple(sorted(found, key=lambda each: each.fence)))

    def jobs_of_submitter(
        self, wallet: bytes, limit: int, *, before: int | None = None
    ) -> Sequence[Job]:
        rows = self._all(
            SELECT_JOBS + f"WHERE j.submitter = {_WALLET} AND j.id < ? ORDER BY j.id DESC LIMIT ?",
            (wallet, _ID_MAX if before is None else before, limit),
        )
        return list(map(job_of, rows))

    def jobs_of_operator(self, wallet: bytes, limit: int) -> Sequence[Job]:
        rows = self._all(
            SELECT_JOBS + f"WHERE j.operator = {_WALLET} ORDER BY j.id DESC LIMIT ?",
            (wallet, limit),
        )
        return list(map(job_of, rows))

    def all_jobs(self, limit: int) -> Sequence[Job]:
        return list(map(job_of, self._all(SELECT_JOBS + "ORDER BY j.id DESC LIMIT ?", (limit,))))

    def quarantined_jobs(self, limit: int) -> Sequence[Job]:
        newest = "(SELECT job FROM quarantine ORDER BY job DESC LIMIT ?)"
        sql = SELECT_JOBS + f"WHERE j.id IN {newest} ORDER BY j.id DESC"
        return list(map(job_of, self._all(sql, (limit,))))

    def jobs_by_state(self) -> Mapping[JobState, int]:
        counts = dict.fromkeys(JobState, 0)
        for state, count in self._all("SELECT state, jobs FROM job_counts"):
            counts[JobState(state)] = count
        return counts

    def outputs(self, job: int, fence: int) -> Sequence[Output]:
        return outputs_in(self._all, job, fence)

    # nodes and sessions
    def node(self, node: int) -> Node | None:
        row = self._one(SELECT_NODES + "WHERE n.id = ?", (node,))
        return None if row is None else node_of(row)

    def nodes_of(self, wallet: bytes, limit: int) -> Sequence[Node]:
        sql = SELECT_NODES + f"WHERE n.wallet = {_WALLET} ORDER BY n.id DESC LIMIT ?"
        return list(map(node_of, self._all(sql, (wallet, limit))))

    def all_nodes(self, limit: int) -> Sequence[Node]:
        return list(map(node_of, self._all(SELECT_NODES + "ORDER BY n.id DESC LIMIT ?", (limit,))))

    def node_drains(self) -> Sequence[NodeDrain]:
        rows = self._all(SELECT_NODE_DRAINS + "WHERE until_ms > 0 ORDER BY node")
        return [NodeDrain(*row) for row in rows]

    def node_work(self, nodes: Sequence[int]) -> Mapping[int, NodeWork]:
        marks = ", ".join("?" * len(nodes))
        rows = self._all(f"SELECT node, done, failed FROM node_work WHERE node IN ({marks})", nodes)
        return {row[0]: NodeWork(*row[1:]) for row in rows}

    def session(self, bearer_hash: bytes) -> Session | None:
        row = self._one(SELECT_SESSIONS + "WHERE s.bearer_hash = ?", (bearer_hash,))
        return None if row is None else Session(*row)

    def sessions_of(self, wallet: bytes, limit: int) -> Sequence[Session]:
        sql = SELECT_SESSIONS + f"WHERE s.wallet = {_WALLET} ORDER BY s.expires_ms DESC LIMIT ?"
        return [Session(*row) for row in self._all(sql, (wallet, limit))]

    def tokens_of(self, wallet: bytes, now_ms: int, limit: int) -> Sequence[Token]:
        sql = SELECT_TOKENS + (
            f"WHERE t.wallet = {_WALLET} AND t.node IS NULL AND t.is_revoked = 0"
            " AND t.expires_ms >= ? ORDER BY t.expires_ms DESC LIMIT ?"
        )
        return list(map(token_of, self._all(sql, (wallet, now_ms, limit))))

    # receipts
    def receipt(self, job: int) -> Receipt | None:
        row = self._one(_SELECT_RECEIPTS + "WHERE r.job = ?", (job,))
        return None if row is None else Receipt(*row)

    def receipts_in(self, batch: int) -> Sequence[Receipt]:
        rows = self._all(_SELECT_RECEIPTS + "WHERE r.batch = ? ORDER BY r.position", (batch,))
        return [Receipt(*row) for row in rows]

    def receipt_root(self, batch: int) -> ReceiptRoot | None:
        row = self._one(SELECT_ROOT, (batch,))
        return None if row is None else ReceiptRoot(*row)

    def receipt_roots(self) -> Iterator[ReceiptRoot]:
        sql = SELECT_ROOTS + "WHERE batch > ? ORDER BY batch LIMIT ?"
        return (ReceiptRoot(*row) for row in self._walk(sql, 0))

    def last_receipt_root(self) -> ReceiptRoot | None:
        row = self._one(SELECT_ROOTS + "ORDER BY batch DESC LIMIT 1")
        return None if row is None else ReceiptRoot(*row)

    def unsigned_batches(self, node: int, limit: int, after: int = 0) -> Sequence[int]:
        rows = self._all(
            "SELECT batch FROM receipt_signers WHERE node = ? AND batch > ? AND signature IS NULL"
            " ORDER BY batch LIMIT ?",
            (node, after, limit),
        )
        return [row[0] for row in rows]

    def counter_signatures(self, batch: int) -> Sequence[CounterSignature]:
        rows = self._all(
            "SELECT batch, node, signature FROM receipt_signers"
            " WHERE batch = ? AND signature IS NOT NULL ORDER BY node",
            (batch,),
        )
        return [CounterSignature(*row) for row in rows]

    # the ledger
    def account(self, code: str) -> Account:
        row = self._one("SELECT code, debits, credits FROM accounts WHERE code = ?", (code,))
        return Account(code) if row is None else Account(*row)

    def accounts(self) -> Iterator[Account]:
        sql = "SELECT code, debits, credits, id FROM accounts WHERE id > ? ORDER BY id LIMIT ?"
        return (Account(*row[:3]) for row in self._walk(sql, 3))

    def transfers(self) -> Iterator[Transfer]:
        code_of = AccountCodes(self._all)
        for batch in self._walk(SELECT_POSTED + POSTED_AFTER, 0, step=BATCHES_AT_ONCE):
            yield from posted_in(self._all, batch, code_of)

    def ledger_batches(self) -> Iterator[LedgerBatch]:
        sql = _SELECT_LEDGER_BATCHES + "WHERE number > ? ORDER BY number LIMIT ?"
        return (LedgerBatch(*row) for row in self._walk(sql, 0))

    def last_ledger_batch(self) -> LedgerBatch | None:
        row = self._one(_SELECT_LEDGER_BATCHES + "ORDER BY number DESC LIMIT 1")
        return None if row is None else LedgerBatch(*row)

    def earnings_of(self, wallet: bytes, now_ms: int) -> Earnings:
        """Totals, and the posts of the last 24 hours: the buckets that began in them."""
        row = self._one("SELECT cumulative, receipts FROM wallets WHERE address = ?", (wallet,))
        total, jobs = (0, 0) if row is None else row
        last_day = self._number(
            f"SELECT sum(total) FROM buckets WHERE wallet = {_WALLET} AND hour > ?",
            (wallet, now_ms // _HOUR_MS - 24),
        )
        address = encode_address(wallet)
        return Earnings(
            total=total,
            withheld=self.account(f"withheld:{address}").balance,
            earned=self.account(f"earned:{address}").credits,
            last_day=last_day,
            jobs=jobs,
        )

    def imbalance(self) -> int:
        row = self._one("SELECT ifnull(sum(debits - credits), 0) FROM accounts", ())
        assert row is not None
        difference: int = row[0]
        return difference

    def book_sums(self, outside: Collection[str]) -> BookSums:
        # One statement, so that all accounts are seen at one moment.
        rows = self._all(
            "SELECT substr(code, 1, instr(code || ':', ':') - 1) AS class,"
            " sum(credits - debits), sum(debits > credits) FROM accounts GROUP BY class"
        )
        return BookSums(
            balances={name: balance for name, balance, _ in rows},
            overdrawn=sum(count for name, _, count in rows if name not in outside),
        )

    def totals(self) -> Totals:
        return Totals(
            self.jobs_by_state(),
            self._number("SELECT max(id) FROM nodes"),
            self._number(_SELECT_LAST_TRANSFER),
        )

    # blobs
    def blob(self, sha256: bytes, wallet: bytes) -> Blob | None:
        row = self._one(
            "SELECT size, created_ms, open_jobs FROM blobs"
            f" WHERE sha256 = ? AND wallet = {_WALLET}",
            (sha256, wallet),
        )
        return None if row is None else Blob(sha256, row[0], wallet, *row[1:])

    def has_blob(self, sha256: bytes) -> bool:
        return self._one("SELECT 1 FROM blobs WHERE sha256 = ?", (sha256,)) is not None

    def blob_hashes(self, after: bytes, limit: int) -> Sequence[bytes]:
        rows = self._all(
            "SELECT DISTINCT sha256 FROM blobs WHERE sha256 > ? ORDER BY sha256 LIMIT ?",
            (after, limit),
        )
        return [row[0] for row in rows]

    def blob_bytes_of(self, wallet: bytes) -> int:
        row = self._one("SELECT blob_bytes FROM wallets WHERE address = ?", (wallet,))
        return 0 if row is None else int(row[0])

    def may_read_blob(self, sha256: bytes, *, submitter: bytes = b"", node: int = 0) -> bool:
        if submitter and self.blob(sha256, submitter) is not None:
            return True
        row = self._one(
            "SELECT 1 FROM outputs o"
            f" CROSS JOIN jobs j ON j.id = o.id / {OUTPUT_INDEXES_MAX * FENCES_MAX}"
            f" LEFT JOIN attempts a ON a.id = o.id / {OUTPUT_INDEXES_MAX}"
            f" WHERE o.sha256 = ?1 AND (j.submitter = (SELECT id FROM wallets WHERE address = ?2)"
            " OR (a.node = ?3 AND a.state = 'open')"
            f" OR (a.id IS NULL AND j.node = ?3 AND {_HELD_OR_VERIFIED}"
            f" AND j.fence = o.id / {OUTPUT_INDEXES_MAX} % {FENCES_MAX})) LIMIT 1",
            (sha256, submitter, node),
        )
        return row is not None

    # small facts of the house
    def secret(self, name: str) -> bytes | None:
        row = self._one("SELECT value FROM secrets WHERE name = ?", (name,))
        return None if row is None else bytes(row[0])
