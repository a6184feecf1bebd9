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
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

from coordinator.log import get_log
from coordinator.store import sqlite_connection as connections
from coordinator.store.interface import StoreError
from coordinator.store.sqlite_batch import SqliteBatch
from coordinator.store.sqlite_check import Check
from coordinator.store.sqlite_connection import Connection
from coordinator.store.sqlite_copy import copy_file
from coordinator.store.sqlite_memory import Memory
from coordinator.store.sqlite_migrate import migrate, require_migrated
from coordinator.store.sqlite_reader import SqliteReader
from coordinator.store.sqlite_replace import require_whole

_log = get_log("store")

Q = TypeVar("Q", bound=SqliteReader)


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
        self._queries: list[SqliteReader] = []
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

    def check(self) -> Sequence[str]:
        """What is wrong with the rows; empty if nothing is. Reads the whole file."""
        audit = self._query(Check)
        try:
            return audit.faults()
        finally:
            audit.close()

    def backup(self, target: Path) -> None:
        """Copy the committed rows to a new file while the store goes on.

        Raises:
            StoreError: the file exists, or cannot be written.
        """
        self._require_open()
        source = self._shared or connections.connect(
            self._path, is_writer=False, is_readonly=self._file_lock is None
        )
        try:
            with self._lock if self._shared is not None else nullcontext():
                copy_file(source, target)
        finally:
            if source is not self._shared:
                source.close()

    def close(self) -> None:
        """Close every connection; harmless if repeated."""
        if self._is_closed:
            return
        self._is_closed = True
        for query in self._queries:
            query.close()
        # The writer last: the last connection to leave copies the log into the table.
        for connection in (self._writer, self._file_lock):
            if connection is not None:
                connection.close()

    def _query(self, kind: type[Q]) -> Q:
        self._require_open()
        self._queries = [query for query in self._queries if not query.is_closed]
        if self._shared is not None:
            query = kind(self._shared, self._lock, is_shared=True)
        else:
            connection = connections.connect(
                self._path, is_writer=False, is_readonly=self._file_lock is None
            )
            query = kind(connection, threading.RLock(), is_shared=False)
        self._queries.append(query)
        return query

    def _require_open(self) -> None:
        if self._is_closed:
            msg = "this store is closed"
            raise StoreError(msg)


def open_sqlite(
    path: Path | str,
    *,
    is_readonly: bool = False,
    keeps_older: bool = True,
    library_version: Sequence[int] = connections.LIBRARY_VERSION,
) -> SqliteStore:
    """Open the store in a file, made if there is none, or ":memory:".

    Args:
        path: The database; its log, index and lock lie beside it.
        is_readonly: Only read, also while a coordinator has it open: no lock is taken, no table
            changed.
        keeps_older: Copy a file of an older program before its tables are changed.
        library_version: Of SQLite; decides whether several connections are safe.

    Raises:
        StoreInUse: another coordinator has it open.
        StoreError: it cannot be opened, or another version of this program wrote it.
    """
    if str(path) == ":memory:":
        connection = connections.connect(None, is_writer=True)
        migrate(connection, None)
        return SqliteStore(None, None, connection)
    file = Path(path)
    require_whole(file)
    if is_readonly:
        return _open_readonly(file)
    connections.create_private(file)
    file_lock = connections.lock(file)
    try:
        writer = connections.connect(file, is_writer=True)
        try:
            migrate(writer, file if keeps_older else None)
        except BaseException:
            writer.close()
            raise
    except BaseException:
        file_lock.close()
        raise
    if connections.is_sound(library_version):
        # The thread that will write opens its own.
        writer.close()
        return SqliteStore(file, file_lock, None)
    _log.error(
        "old_sqlite",
        advice="install pysqlite3>=0.6.1: SQLite before 3.51.3 can corrupt a file that several"
        " connections write; until then reads wait for writes on one connection",
    )
    return SqliteStore(file, file_lock, writer)


def _open_readonly(file: Path) -> SqliteStore:
    connection = connections.connect(file, is_writer=False, is_readonly=True)
    try:
        require_migrated(connection)
    finally:
        connection.close()
    return SqliteStore(file, None, None)
