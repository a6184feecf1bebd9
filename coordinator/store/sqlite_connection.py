"""Connections of the SQLite store: how they are opened, and that one coordinator owns a file.

The driver is the module that sqlite-utils picked (`pysqlite3` where it is installed), so its errors
are caught and not those of a second copy of SQLite.
Settings, each with its reason:
  WAL                 readers never wait for the writer;
  synchronous=FULL    NORMAL loses acknowledged work at a power cut (measured: 77 of 500 cuts);
  foreign_keys        the file refuses what the code should never do;
  busy_timeout        another program (a backup, a shell) may hold the file for a moment;
  wal_autocheckpoint  16 MiB of log, then one pass over the table: fewer passes than by default.
SQLite before 3.51.3 can corrupt a file in WAL mode when two connections write or checkpoint at the
same time (the WAL-reset bug). With such a library the store opens one connection only, shared by
batches and readers, and says so in the log.
Not covered: network file systems, where SQLite's locks cannot be trusted.
"""

from __future__ import annotations

import os
import sqlite3 as standard
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from sqlite_utils import utils as sqlite_utils_module

from coordinator.limits import DATABASE_BUSY_MS
from coordinator.store.interface import StoreError

#: The module that sqlite-utils picked (its name there is not declared as exported).
driver: Final[ModuleType] = vars(sqlite_utils_module)["sqlite3"]
#: What the driver raises; its own classes, not the standard module's.
DriverError: Final[type[Exception]] = driver.Error
#: Those of its errors that say that a statement was wrong, rather than the engine or the disk.
MISTAKES: Final[tuple[type[Exception], ...]] = (
    driver.IntegrityError,
    driver.ProgrammingError,
    driver.InterfaceError,
    driver.DataError,
)
LIBRARY_VERSION: Final[tuple[int, ...]] = driver.sqlite_version_info
#: The first version without the WAL-reset bug.
SOUND_VERSION: Final = (3, 51, 3)
#: Pages of the log before it is copied into the table.
CHECKPOINT_PAGES: Final = 4_096
#: Page cache of the writer and of each reader, KiB.
WRITER_CACHE_KIB: Final = 64 * 1024
READER_CACHE_KIB: Final = 8 * 1024
#: Statements kept prepared: more than the store has.
STATEMENTS: Final = 256

#: For annotations only: pysqlite3's class has the same methods.
Connection = standard.Connection


class StoreInUse(StoreError):
    """Another coordinator has this database open."""


def is_sound(version: Sequence[int]) -> bool:
    """Whether several connections may be open on one file."""
    return tuple(version) >= SOUND_VERSION


def connect(path: Path | None, *, is_writer: bool, is_readonly: bool = False) -> Connection:
    """A connection to a file, or to a fresh database in memory for None.

    Raises:
        StoreError: it cannot be opened.
    """
    where = ":memory:" if path is None else path.absolute().as_uri()
    if is_readonly:
        where += "?mode=ro"
    try:
        connection: Connection = driver.connect(
            where,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
            timeout=DATABASE_BUSY_MS / 1000,
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        cache_kib = WRITER_CACHE_KIB if is_writer else READER_CACHE_KIB
        connection.execute(f"PRAGMA cache_size = {-cache_kib}")
        if is_writer:
            _set_up_writer(connection, in_memory=path is None)
        else:
            connection.execute("PRAGMA query_only = ON")
    except DriverError as error:
        msg = f"cannot open the database {path}: {error}"
        raise StoreError(msg) from error
    return connection


def _set_up_writer(connection: Connection, *, in_memory: bool) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal" and not in_memory:
        msg = f"this file system does not allow SQLite's write-ahead log (journal mode {mode})"
        raise StoreError(msg)
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")


def create_private(path: Path) -> None:
    """Make sure that the file exists and only its owner may read it.

    The log beside it gets the same mode from SQLite. An existing file is not opened here: closing
    it would drop the locks that SQLite holds on it in this process.
    """
    try:
        if path.exists():
            path.chmod(0o600)
        else:
            path.touch(mode=0o600)
            # SQLite syncs the folder only for files that it makes itself.
            sync_folder(path.parent)
    except OSError as error:
        msg = f"cannot create {path}: {error}"
        raise StoreError(msg) from error


def sync_folder(path: Path) -> None:
    """Wait until a folder's names are on the disk."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def lock_path(path: Path) -> Path:
    """The file beside the database at `path` that its owner holds."""
    return path.with_name(path.name + ".lock")


def lock(path: Path) -> Connection:
    """Own the database at `path` until the connection is closed or the process ends.

    A lock of SQLite on a file of its own beside the database: it works wherever SQLite does, holds
    between threads and processes alike, and is never left behind by a crash.

    Raises:
        StoreInUse: another coordinator owns it.
    """
    beside = lock_path(path)
    create_private(beside)
    connection: Connection = driver.connect(
        str(beside), isolation_level=None, check_same_thread=False, timeout=0
    )
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except DriverError as error:
        connection.close()
        msg = f"another coordinator has {path} open"
        raise StoreInUse(msg) from error
    return connection
