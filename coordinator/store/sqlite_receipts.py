"""Receipts, their signatures, lifetime earnings and blobs, inside a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from coordinator.store.rows import Row
from coordinator.store.sqlite_connection import Connection
from coordinator.store.sqlite_ledger import LedgerPart
from coordinator.store.sqlite_memory import Memory
from coordinator.store.values import Blob, CounterSignature, Receipt, ReceiptRoot

SELECT_ROOTS = "SELECT batch, count, root, signature, signed_ms FROM receipt_roots "
TOUCH_BLOB = (
    "UPDATE blobs SET created_ms = max(created_ms, ?), open_jobs = open_jobs + ?"
    " WHERE sha256 = ? AND wallet = ?"
)
OLD_BLOBS = (
    "SELECT sha256, wallet, size FROM blobs WHERE created_ms < ? AND open_jobs = 0"
    " ORDER BY created_ms LIMIT ?"
)
ADD_BLOB_BYTES = "UPDATE wallets SET blob_bytes = blob_bytes + ? WHERE id = ?"
SELECT_ROOT = SELECT_ROOTS + "WHERE batch = ?"


class ReceiptsPart(LedgerPart):
    """Receipts and blobs of one batch."""

    def __init__(self, connection: Connection, memory: Memory) -> None:
        super().__init__(connection, memory)
        self._cumulative: dict[bytes, int] = defaultdict(int)
        self._roots: dict[int, ReceiptRoot] = {}
        self._receipts: list[Receipt] = []
        self._signatures: list[CounterSignature] = []

    def cumulative_of(self, wallet: bytes) -> int:
        total = self._memory.cumulative.get(wallet)
        if total is None:
            row = self._one("SELECT cumulative FROM wallets WHERE address = ?", (wallet,))
            total = 0 if row is None else row[0]
            self._memory.cumulative.put(wallet, total)
        return total + self._cumulative.get(wallet, 0)

    def add_cumulative(self, wallet: bytes, amount: int) -> None:
        self._cumulative[wallet] += amount

    def next_receipt_batch(self) -> int:
        return self._next_id("receipt_roots")

    def add_receipts(self, root: ReceiptRoot, receipts: Sequence[Receipt]) -> None:
        assert root.count == len(receipts)
        self._roots[root.batch] = root
        self._receipts += receipts

    def add_counter_signature(self, signature: CounterSignature) -> None:
        self._signatures.append(signature)

    def receipt_root(self, batch: int) -> ReceiptRoot | None:
        found = self._roots.get(batch)
        if found is None:
            row = self._one(SELECT_ROOT, (batch,))
            found = None if row is None else ReceiptRoot(*row)
        return found

    # blobs
    def add_blob(self, blob: Blob) -> None:
        if self.touch_blob(blob.sha256, blob.wallet, blob.created_ms):
            return
        wallet = self._wallet(blob.wallet)
        self._run(
            "INSERT INTO blobs VALUES (?, ?, ?, ?, 0)",
            (blob.sha256, wallet, blob.size, blob.created_ms),
        )
        self._run(ADD_BLOB_BYTES, (blob.size, wallet))

    def touch_blob(self, sha256: bytes, wallet: bytes, now_ms: int) -> bool:
        number = self._known_wallet(wallet)
        return number is not None and bool(self._run(TOUCH_BLOB, (now_ms, 0, sha256, number)))

    def drop_old_blobs(self, before_ms: int, limit: int) -> Sequence[bytes]:
        for sha256, wallet, size in self._all(OLD_BLOBS, (before_ms, limit)):
            self._run("DELETE FROM blobs WHERE sha256 = ? AND wallet = ?", (sha256, wallet))
            self._run(ADD_BLOB_BYTES, (-size, wallet))
            self._run("INSERT OR IGNORE INTO dropped_blobs VALUES (?)", (sha256,))
        self._run("DELETE FROM dropped_blobs WHERE sha256 IN (SELECT sha256 FROM blobs)", ())
        return [row[0] for row in self._all("SELECT sha256 FROM dropped_blobs LIMIT ?", (limit,))]

    def forget_dropped_blobs(self, digests: Iterable[bytes]) -> None:
        for sha256 in digests:
            self._run("DELETE FROM dropped_blobs WHERE sha256 = ?", (sha256,))

    def blob_size(self, sha256: bytes, wallet: bytes) -> int | None:
        number = self._known_wallet(wallet)
        row = self._one("SELECT size FROM blobs WHERE sha256 = ? AND wallet = ?", (sha256, number))
        return None if row is None else int(row[0])

    def name_blobs(self, wallet: bytes, digests: Iterable[bytes], now_ms: int, change: int) -> None:
        number = self._wallet(wallet)
        for sha256 in digests:
            found = self._run(TOUCH_BLOB, (now_ms, change, sha256, number))
            assert found, "what an open job names is not dropped"

    def blob_bytes_of(self, wallet: bytes) -> int:
        row = self._one("SELECT blob_bytes FROM wallets WHERE address = ?", (wallet,))
        return 0 if row is None else int(row[0])

    # the end
    def _flush(self) -> None:
        super()._flush()
        roots = [
            (root.batch, root.count, root.root, root.signature, root.signed_ms)
            for root in self._roots.values()
        ]
        self._run_many("INSERT INTO receipt_roots VALUES (?, ?, ?, ?, ?)", roots)
        self._flush_receipts()
        self._run_many(
            "INSERT INTO receipt_signers VALUES (?1, ?2, ?3)"
            " ON CONFLICT DO UPDATE SET signature = ?3",
            [(each.batch, each.node, each.signature) for each in self._signatures],
        )

    def _flush_receipts(self) -> None:
        wallet_id = self._wallet
        rows: list[Row] = []
        counts: dict[bytes, int] = defaultdict(int)
        for each in self._receipts:
            counts[each.wallet] += 1
            rows.append((
                each.job, each.fence, each.node, wallet_id(each.wallet), each.batch, each.index,
                each.data,
            ))  # fmt: skip
        self._run_many("INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        signers = sorted({(each.batch, each.node) for each in self._receipts})
        self._run_many("INSERT INTO receipt_signers VALUES (?, ?, NULL)", signers)
        sums = [
            (self._cumulative.get(wallet, 0), counts.get(wallet, 0), wallet_id(wallet))
            for wallet in {*self._cumulative, *counts}
        ]
        self._run_many(
            "UPDATE wallets SET cumulative = cumulative + ?, receipts = receipts + ? WHERE id = ?",
            sums,
        )

    def _remember(self) -> None:
        super()._remember()
        for wallet, amount in self._cumulative.items():
            total = self._memory.cumulative.get(wallet)
            if total is not None:
                self._memory.cumulative.put(wallet, total + amount)
