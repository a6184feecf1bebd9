"""The store in one SQLite file: the default of one coordinator.

In:   a path, or ":memory:". Out: a `Store`.
Not here: the tables (`schema`), what a batch does (`sqlite_batch` and its parts), listings
(`sqlite_reader`), the audit (`sqlite_check`).
Threads: the writer's connection belongs to the thread that first calls `batch()`; give it a thread
of its own. Readers may be called from any thread; each serves one call at a time. With ":memory:",
or an SQLite that has the WAL-reset bug, readers share the writer's connection and wait for batches.
Rules:
  1. One coordinator has a file open; the second one gets `StoreInUse`.
  2. Only its owner may read the file: it holds the house's secrets.
"""

from __future__ import annotations

import threading
from pathlib import Path

from coordinator.log import get_log
from coordinator.store import sqlite_connection as connections
from coordinator.store.interface import StoreError
from coordinator.store.sqlite_batch import SqliteBatch
from coordinator.store.sqlite_check import Check
from coordinator.store.sqlite_connection import Connection, DriverError
from coordinator.store.sqlite_memory import Memory
from coordinator.store.sqlite_query import Query
from coordinator.store.sqlite_reader import SqliteReader


class SqliteStore:
    """A `Store`; made by `open_sqlite`."""

    def __init__(
        self, path: Path | None, file_lock: Connection | None, shared: Connection | None
    ) -> None:
        self._path = path
        self._file_lock = file_lock
        self._shared = shared
        self._writer: Connection | None = shared
        self._writer_thread: int | None = None
        self._memory = Memory()
        #: One batch at a time; and its readers, where they share the connection.
        self._lock = threading.RLock()
        self._queries: list[Query] = []
        self._is_closed = False

    def batch(self) -> SqliteBatch:
        """A transaction, on the thread that called first.

        Raises:
            StoreError: the store is read-only or closed, or the connection cannot be opened.
        """
        self._require_open()
        if self._path is not None and self._file_lock is None:
            msg = "this store was opened for reading"
            raise StoreError(msg)
        thread = threading.get_ident()
        if self._writer_thread is None:
            self._writer_thread = thread
            if self._writer is None:
                self._writer = connections.connect(self._path, is_writer=True)
        assert thread == self._writer_thread, "batches belong to one thread"
        assert self._writer is not None
        return SqliteBatch(self._writer, self._memory, self._lock)

    def reader(self) -> SqliteReader:
        """A reader; closed with the store at the latest."""
        return self._query(SqliteReader)

    def _query(self, kind: type[SqliteReader]) -> SqliteReader:
        self._require_open()
        if self._shared is not None:
            reader = kind(self._shared, self._lock, is_shared=True)
        else:
            is_readonly = self._file_lock is None
            connection = connections.connect(
                self._path, is_writer=False, is_readonly=is_readonly
            )
            reader = kind(connection, threading.RLock(), is_shared=False)
        self._queries.append(reader)
        return reader
