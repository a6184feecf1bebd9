"""Accounts, transfers and buckets, inside a batch.

An account is written once a batch, whatever number of transfers touched it.
Not here: whether a transfer is allowed (`coordinator.ledger`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from coordinator.store.journal import (
    NAME_BYTES,
    NUMBERS,
    holds_name,
    moves_of_pairs,
    pack_entry,
)
from coordinator.store.rows import (
    FINAL,
    INSERT_TRANSFER,
    KIND_TEXT,
    Row,
)
from coordinator.store.sqlite_connection import Connection
from coordinator.store.sqlite_jobs import JobsPart
from coordinator.store.sqlite_memory import Memory
from coordinator.store.values import (
    Account,
    Bucket,
    LedgerBatch,
    Transfer,
    TransferKind,
)

_ADD_TO_BUCKET = (
    "INSERT INTO buckets VALUES (?1, ?2, ?3, ?3, ?4) ON CONFLICT DO UPDATE SET"
    " amount = amount + ?3, total = total + ?3, release_ms = max(release_ms, ?4)"
)


class LedgerPart(JobsPart):
    """The books of one batch."""

    def __init__(self, connection: Connection, memory: Memory) -> None:
        super().__init__(connection, memory)
        self._accounts: dict[str, Account] = {}
        self._account_ids: dict[str, int] = {}
        self._new_accounts: set[str] = set()
        self._posted: list[tuple[LedgerBatch, Sequence[Transfer]]] = []
        self._buckets: dict[tuple[bytes, int], tuple[int, int]] = {}

    # accounts
    def account(self, code: str) -> Account:
        found = self._accounts.get(code) or self._memory.accounts.get(code)
        if found is None:
            row = self._one("SELECT id, debits, credits FROM accounts WHERE code = ?", (code,))
            if row is None:
                return Account(code)
            found = Account(code, row[1], row[2])
            self._memory.accounts.put(code, found)
            self._memory.account_ids.put(code, row[0])
        return found

    def save_account(self, account: Account) -> None:
        self._accounts[account.code] = account

    def _account_id(self, code: str) -> int:
        """The number of an account; a new one gets its row when the batch is flushed."""
        number = self._account_ids.get(code) or self._memory.account_ids.get(code)
        if number is None:
            row = self._one("SELECT id FROM accounts WHERE code = ?", (code,))
            if row is None:
                self._new_accounts.add(code)
                number = self._next_id("accounts")
            else:
                number = row[0]
            self._account_ids[code] = number
        return number

    # transfers
    def has_transfer(self, transfer: Transfer) -> bool:
        name = (transfer.kind, transfer.reference, transfer.sequence)
        for _, posted in self._posted:
            if any((each.kind, each.reference, each.sequence) == name for each in posted):
                return True
        row = self._one(
            "SELECT 1 FROM transfers WHERE reference = ? AND kind = ? AND sequence = ?",
            (transfer.reference, KIND_TEXT[transfer.kind], transfer.sequence),
        )
        return row is not None or (transfer.kind in NUMBERS and self._is_packed(transfer))

    def _is_packed(self, transfer: Transfer) -> bool:
        """Whether it is in a journal. It reads them all: no handler asks this of a job."""
        rows = self._all("SELECT journal FROM ledger_batches WHERE length(journal) > 0")
        return any(holds_name(row[0], transfer) for row in rows)

    def add_transfers(self, transfers: Sequence[Transfer], ledger_batch: LedgerBatch) -> None:
        last = self.last_ledger_batch()
        assert ledger_batch.transfers == len(transfers)
        assert ledger_batch.number == (last.number if last else 0) + 1
        assert last is None or ledger_batch.previous == last.link
        self._posted.append((ledger_batch, transfers))

    def last_ledger_batch(self) -> LedgerBatch | None:
        if self._posted:
            return self._posted[-1][0]
        if self._memory.last_ledger_batch is None:
            row = self._one(
                "SELECT number, previous, link, posted_ms, transfers FROM ledger_batches"
                " ORDER BY number DESC LIMIT 1"
            )
            self._memory.last_ledger_batch = None if row is None else LedgerBatch(*row)
        return self._memory.last_ledger_batch

    # buckets
    def add_to_bucket(self, bucket: Bucket) -> None:
        key = (bucket.wallet, bucket.hour)
        amount, release_ms = self._buckets.get(key, (0, 0))
        self._buckets[key] = (amount + bucket.amount, max(release_ms, bucket.release_ms))

    def due_buckets(self, now_ms: int, limit: int) -> Sequence[Bucket]:
        self._flush_buckets()
        rows = self._all(
            "SELECT w.address, b.hour, b.amount, b.release_ms FROM buckets b"
            " CROSS JOIN wallets w ON w.id = b.wallet WHERE b.amount > 0 AND b.release_ms <= ?"
            " ORDER BY b.release_ms, b.wallet, b.hour LIMIT ?",
            (now_ms, limit),
        )
        return [Bucket(*row) for row in rows]

    def drop_bucket(self, wallet: bytes, hour: int) -> None:
        self._flush_buckets()
        self._run(
            "UPDATE buckets SET amount = 0, release_ms = 0 WHERE wallet = ? AND hour = ?",
            (self._known_wallet(wallet), hour),
        )

    def _flush_buckets(self) -> None:
        rows = [
            (self._wallet(wallet), hour, amount, release_ms)
            for (wallet, hour), (amount, release_ms) in self._buckets.items()
        ]
        self._buckets.clear()
        self._run_many(_ADD_TO_BUCKET, rows)

    # test jobs
    def paid_to_tests(self, day: int) -> int:
        row = self._one("SELECT amount FROM test_pay WHERE day = ?", (day,))
        return 0 if row is None else int(row[0])

    def add_paid_to_tests(self, day: int, amount: int) -> None:
        self._run(
            "INSERT INTO test_pay VALUES (?1, ?2) ON CONFLICT DO UPDATE SET amount = amount + ?2",
            (day, amount),
        )

    # the end
    def _flush(self) -> None:
        super()._flush()
        # Numbers first: a transfer may name an account that has no row yet.
        batches, transfers = self._transfer_rows()
        self._flush_accounts()
        self._run_many("INSERT INTO ledger_batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batches)
        self._run_many(INSERT_TRANSFER, transfers)
        self._flush_buckets()

    def _transfer_rows(self) -> tuple[list[Row], list[Row]]:
        """Rows of the batches, with the transfers of jobs in their journals; rows of the others."""
        batches: list[Row] = []
        rows: list[Row] = []
        names: set[bytes] = set()
        packed = 0
        guards = self._guards() if self._posted else {}
        ids: dict[str, int] = {}
        first = self._next_id("transfers") if self._posted else 0
        for batch, transfers in self._posted:
            entries: list[bytes] = []
            pairs: dict[tuple[int, int], int] = defaultdict(int)
            for number, each in enumerate(transfers, first):
                # Few accounts and many transfers.
                debit = ids.get(each.debit) or ids.setdefault(
                    each.debit, self._account_id(each.debit)
                )
                credit = ids.get(each.credit) or ids.setdefault(
                    each.credit, self._account_id(each.credit)
                )
                kind = NUMBERS.get(each.kind)
                if kind is not None and each.reference in guards[kind]:
                    entry = pack_entry(
                        kind, each.reference, each.sequence, debit, credit, each.amount
                    )
                    entries.append(entry)
                    pairs[debit, credit] += each.amount
                    continue
                if kind is not None:
                    self._require_strange(each.reference)
                rows.append((
                    number, KIND_TEXT[each.kind], each.reference, each.sequence, debit, credit,
                    each.amount,
                ))  # fmt: skip
            names.update([entry[:NAME_BYTES] for entry in entries])
            packed += len(entries)
            batches.append((
                batch.number, batch.previous, batch.link, batch.posted_ms, len(transfers), first,
                moves_of_pairs(pairs), b"".join(entries),
            ))  # fmt: skip
            first += len(transfers)
        if len(names) != packed:
            self._refuse("a transfer of a job happens once")
        if self._posted:
            self._next_ids["transfers"] = first
        return batches, rows

    def _guards(self) -> dict[int, set[int]]:
        """By kind of transfer, the jobs whose rows see to it that it happens once.

        A hold is made with the row of its job, and ended where the row becomes final: both are
        written under a condition, and once.
        """
        before, jobs = self._jobs_before, self._jobs
        added = {number for number, was in before.items() if was is None}
        ended = {
            number
            for number, was in before.items()
            if jobs[number].state in FINAL and (was is None or was.state not in FINAL)
        }
        return {
            kind: added if name is TransferKind.HOLD else ended for name, kind in NUMBERS.items()
        }

    def _require_strange(self, reference: int) -> None:
        """A job's money moves with its row: a transfer that comes apart from it is a mistake."""
        if self.jobs((reference,)):
            self._refuse("a transfer of a job came apart from it")

    def _flush_accounts(self) -> None:
        saved: list[Row] = []
        for code, account in self._accounts.items():
            number = self._account_id(code)
            if code not in self._new_accounts:
                saved.append((account.debits, account.credits, number))
        new: list[Row] = []
        for code in self._new_accounts:
            account = self._accounts.get(code) or Account(code)
            new.append((self._account_ids[code], code, account.debits, account.credits))
        self._run_many("INSERT INTO accounts VALUES (?, ?, ?, ?)", new)
        self._run_many("UPDATE accounts SET debits = ?, credits = ? WHERE id = ?", saved)

    def _remember(self) -> None:
        super()._remember()
        memory = self._memory
        memory.accounts.put_all(self._accounts)
        memory.account_ids.put_all(self._account_ids)
        if self._posted:
            memory.last_ledger_batch = self._posted[-1][0]
