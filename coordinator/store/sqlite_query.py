"""A connection for reading: one call at a time, errors translated, long walks in short steps.

Rules:
  1. Never inside a batch: with a shared connection (memory, old SQLite) a reader waits for the
     batch of another thread; in the batch's own thread it is a mistake and asserted.
  2. A walk over a table takes `READ_ROWS_MAX` rows at a time and no snapshot over all of them: it
     sees each row as it is when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from coordinator.limits import READ_ROWS_MAX
from coordinator.store.interface import StoreError
from coordinator.store.rows import Row
from coordinator.store.sqlite_batch import Lock
from coordinator.store.sqlite_connection import Connection, DriverError


class Query:
    """Runs statements that read.

    Args:
        connection: Its own, or the writer's.
        lock: Held during each call: an RLock, and the batches' if the connection is the writer's.
        is_shared: Whether the connection is the writer's; then closing leaves it open.
    """

    def __init__(self, connection: Connection, lock: Lock, *, is_shared: bool) -> None:
        self._connection = connection
        self._lock = lock
        self._is_shared = is_shared
        self.is_closed = False

    def _all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        self._lock.acquire()
        try:
            assert not (self._is_shared and self._connection.in_transaction), "read after the batch"
            rows: list[Row] = self._connection.execute(sql, parameters).fetchall()
        except DriverError as error:
            msg = f"{type(error).__name__}: {error}"
            raise StoreError(msg) from error
        finally:
            self._lock.release()
        return rows

    def _one(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        rows = self._all(sql, parameters)
        return rows[0] if rows else None

    def _number(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """The one number that a statement gives; 0 for NULL and for no row."""
        row = self._one(sql, parameters)
        return int(row[0] or 0) if row else 0

    def _walk(
        self, sql: str, column: int, *, after: int = 0, step: int = READ_ROWS_MAX
    ) -> Iterator[Row]:
        """All rows of a statement that ends in `id > ? ORDER BY id LIMIT ?`.

        Args:
            sql: The statement.
            column: Where its id stands in a row.
            after: Where to start.
            step: Rows at a time: fewer where they are large.
        """
        while True:
            rows = self._all(sql, (after, step))
            yield from rows
            if len(rows) < step:
                return
            after = rows[-1][column]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One state of the database for several statements, for `check`: use `_rows` inside."""
        self._lock.acquire()
        try:
            is_inside = self._connection.in_transaction
            assert not is_inside, "read after the batch"
            try:
                self._connection.execute("BEGIN")
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except DriverError as error:
            msg = f"{type(error).__name__}: {error}"
            raise StoreError(msg) from error
        finally:
            self._lock.release()

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[Row]:
        """Rows one by one, inside `_snapshot`."""
        yield from self._connection.execute(sql, parameters)

    def close(self) -> None:
        """Close the connection, unless it is the writer's."""
        self.is_closed = True
        if not self._is_shared:
            self._lock.acquire()
            try:
                self._connection.close()
            finally:
                self._lock.release()
