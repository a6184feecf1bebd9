"""What the parts of a batch share: one connection, its errors, wallets and numbers.

A batch is one class made of parts, each for a group of tables (`sqlite_jobs`, `sqlite_people`,
`sqlite_ledger`, `sqlite_receipts`, `sqlite_settlement`). A part buffers what it is told and writes
it in `_flush`, so that a row changed five times in a batch is written once; `_remember` hands what
was committed to the caches.
Rules:
  1. After the first failed statement the batch is lost: nothing runs any more, and it cannot end
     well (SQLite may have ended the transaction by itself).
  2. What is read inside a batch includes what the batch did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from coordinator.store.interface import StoreConflict, StoreError
from coordinator.store.rows import Row
from coordinator.store.sqlite_connection import MISTAKES, Connection, DriverError
from coordinator.store.sqlite_memory import Memory

#: The statement that finds the largest number in use, by the name it is counted under.
_LARGEST = {
    "jobs": "SELECT max(id) FROM jobs",
    "nodes": "SELECT max(id) FROM nodes",
    "accounts": "SELECT max(id) FROM accounts",
    "transfers": (
        "SELECT first_transfer + transfers - 1 FROM ledger_batches ORDER BY number DESC LIMIT 1"
    ),
    "receipt_roots": "SELECT max(batch) FROM receipt_roots",
}
#: Numbers that others know: receipts, outboxes and texts name them.
_PUBLIC = ("jobs", "nodes", "receipt_roots")
#: Where the store keeps up to which number none is given again: a small fact of the house.
_SKIPPED = "skipped "


class Part:
    """The ground that a batch stands on."""

    def __init__(self, connection: Connection, memory: Memory) -> None:
        self._connection = connection
        self._memory = memory
        self._is_lost = False
        #: The failure that lost it, if a statement did.
        self._failure: StoreError | StoreConflict | None = None
        self._wallet_ids: dict[bytes, int] = {}
        self._next_ids: dict[str, int] = {}

    # running statements
    def _all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        assert not self._is_lost, "a statement failed: this batch is over"
        try:
            rows: list[Row] = self._connection.execute(sql, parameters).fetchall()
        except DriverError as error:
            raise self._lost(error) from error
        return rows

    def _one(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        rows = self._all(sql, parameters)
        return rows[0] if rows else None

    def _run(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement that writes; the number of rows it changed."""
        assert not self._is_lost, "a statement failed: this batch is over"
        try:
            return self._connection.execute(sql, parameters).rowcount
        except DriverError as error:
            raise self._lost(error) from error

    def _run_many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement once a row; each must change exactly one.

        Raises:
            StoreConflict: a row exists already, or is not as this writer remembers it.
            StoreError: the engine failed.
        """
        if not rows:
            return
        assert not self._is_lost, "a statement failed: this batch is over"
        try:
            changed = self._connection.executemany(sql, rows).rowcount
        except DriverError as error:
            raise self._lost(error) from error
        if changed != len(rows):
            self._refuse(f"{len(rows) - changed} rows were changed by somebody else: {sql[:40]}")

    def _refuse(self, why: str) -> NoReturn:
        """What was asked contradicts the rows: the batch is over."""
        self._is_lost = True
        self._failure = StoreConflict(why)
        raise self._failure

    def _lost(self, error: Exception) -> StoreError | StoreConflict:
        """What to raise for an error of the driver; the batch is over."""
        self._is_lost = True
        kind = StoreConflict if isinstance(error, MISTAKES) else StoreError
        self._failure = kind(f"{type(error).__name__}: {error}")
        return self._failure

    # numbers
    def _next_id(self, name: str) -> int:
        """A fresh number of `jobs`, `nodes`, …; kept by the store only if the batch is."""
        number = self._next_ids.get(name) or self._memory.next_ids.get(name)
        if number is None:
            row = self._one(_LARGEST[name])
            number = max((row and row[0]) or 0, self._skipped(name)) + 1
        self._next_ids[name] = number + 1
        return number

    def _skipped(self, name: str) -> int:
        """Numbers up to this one are not given again (see `skip_numbers`)."""
        row = self._one("SELECT value FROM secrets WHERE name = ?", (_SKIPPED + name,))
        return 0 if row is None else int.from_bytes(row[0], "little")

    def skip_numbers(self, count: int) -> None:
        for name in _PUBLIC:
            last = self._next_id(name) - 1 + count
            self._next_ids[name] = last + 1
            self._run(
                "INSERT INTO secrets VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2",
                (_SKIPPED + name, last.to_bytes(8, "little")),
            )

    def _known_wallet(self, address: bytes) -> int | None:
        """The number of a wallet, or None if there is none yet."""
        number = self._wallet_ids.get(address) or self._memory.wallet_ids.get(address)
        if number is None:
            row = self._one("SELECT id FROM wallets WHERE address = ?", (address,))
            if row is not None:
                number = self._wallet_ids[address] = row[0]
        return number

    def _wallet(self, address: bytes) -> int:
        """The number of a wallet; a new one gets its row at once."""
        number = self._known_wallet(address)
        if number is None:
            sql = "INSERT INTO wallets (address) VALUES (?) RETURNING id"
            row = self._one(sql, (address,))
            assert row is not None
            number = self._wallet_ids[address] = row[0]
        return number

    # the end of a batch; each part adds its own and calls the next
    def _flush(self) -> None:
        """Write what is buffered."""

    def _remember(self) -> None:
        """Hand what was committed to the caches."""
        self._memory.wallet_ids.put_all(self._wallet_ids)
        self._memory.next_ids.update(self._next_ids)
