"""A copy of the committed rows in a file of its own: whole and durable, or not there at all.

`VACUUM INTO` and not SQLite's backup interface, which starts anew at every write of another
connection: under load it never ends (measured).
Rules:
  1. The copy is written under another name, synced, and then gets its own; the folder is synced.
  2. A file that exists is never overwritten.
  3. Only the owner may read it: it holds the house's secrets.
  4. A copy that would not fit is refused before it takes the room that the database itself needs.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

from coordinator.limits import MIB
from coordinator.store.interface import StoreError
from coordinator.store.sqlite_connection import (
    Connection,
    DriverError,
    create_private,
    sync_folder,
)

#: Room that a copy leaves: the log of a busy coordinator grows by so much meanwhile, and more.
SPARE_BYTES: Final = 64 * MIB
#: Ends the names of files that are being written; a killed process leaves such a file behind.
PARTIAL: Final = ".partial"


def copy_file(connection: Connection, target: Path) -> None:
    """Copy what `connection` sees committed now to `target`.

    Args:
        connection: Outside a transaction; one that may only query has that lifted meanwhile.
        target: A new file.

    Raises:
        StoreError: the file exists, or cannot be written.
    """
    partial = target.with_name(target.name + PARTIAL)
    try:
        if target.exists():
            msg = f"{target} exists; a copy overwrites nothing"
            raise StoreError(msg)
        # Left by a process that was killed while it wrote it.
        partial.unlink(missing_ok=True)
        _require_room(connection, target.parent)
        create_private(partial)
        _vacuum_into(connection, partial)
        sync_file(partial)
        # A link and not a renaming: that would overwrite what has come there meanwhile.
        os.link(partial, target)
        partial.unlink()
        sync_folder(target.parent)
    except (DriverError, OSError) as error:
        partial.unlink(missing_ok=True)
        msg = f"cannot write the copy {target}: {error}"
        raise StoreError(msg) from error


def _require_room(connection: Connection, folder: Path) -> None:
    """Refuse a copy that may not fit.

    Raises:
        OSError: too little room.
    """
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    wanted, free = pages * size + SPARE_BYTES, shutil.disk_usage(folder).free
    if free < wanted:
        raise OSError(errno.ENOSPC, f"{wanted} bytes are needed and {free} are free", str(folder))


def _vacuum_into(connection: Connection, target: Path) -> None:
    # A connection that may only query refuses to write the copy too.
    (only,) = connection.execute("PRAGMA query_only").fetchone()
    connection.execute("PRAGMA query_only = OFF")
    try:
        connection.execute("VACUUM INTO ?", (str(target),))
    finally:
        connection.execute(f"PRAGMA query_only = {only}")


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
