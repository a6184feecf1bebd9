"""One transaction on the SQLite store: begun, filled by its parts, flushed, committed or undone."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from coordinator.store.sqlite_connection import Connection, DriverError
from coordinator.store.sqlite_memory import Memory
from coordinator.store.sqlite_sponsored import SponsoredPart


class Lock(Protocol):
    """What `threading.Lock` and `RLock` share."""

    def acquire(self) -> bool: ...
    def release(self) -> None: ...


class SqliteBatch(SponsoredPart):
    """A `Batch`; used once.

    Args:
        connection: The writer's.
        memory: What the writer remembers of committed rows.
        lock: Held from `__enter__` to `__exit__`: one batch at a time, and no reader that shares
            the connection in between.
    """

    def __init__(self, connection: Connection, memory: Memory, lock: Lock) -> None:
        super().__init__(connection, memory)
        self._lock = lock

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            assert not self._connection.in_transaction, "batches do not nest"
            # IMMEDIATE: a lock that cannot be had is known now, not at the first write.
            self._run("BEGIN IMMEDIATE")
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and not self._is_lost:
                self._commit()
            else:
                self._undo()
        finally:
            self._lock.release()
        if kind is None and self._failure is not None:
            # Somebody caught it inside: the batch must not look as if it had been kept.
            raise self._failure

    def _commit(self) -> None:
        try:
            self._flush()
            self._run("COMMIT")
        except BaseException:
            self._undo()
            raise
        self._remember()

    def _undo(self) -> None:
        if self._is_lost:
            # The engine failed: what it holds is read again rather than trusted.
            self._memory.clear()
        self._is_lost = True
        # SQLite ends the transaction by itself after some failures (disk full, I/O error).
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except DriverError as error:
                raise self._lost(error) from error
