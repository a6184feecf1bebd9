"""An opened file gets the present schema: made whole if it is empty, step by step if it is older.

In:   the writer's connection. Out: the same file in the present schema, or as it was.
Rules:
  1. All steps are one transaction: a process that dies in it leaves the file as it was.
  2. Before the first step the file is copied beside itself (`NAME.before-0002`), durably.
  3. A file of a newer program, or of another one, is refused by name and not touched.
Not here: the steps (`steps`), the fresh schema (`schema`).
"""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from coordinator.log import get_log
from coordinator.store import schema
from coordinator.store.interface import StoreError
from coordinator.store.sqlite_connection import Connection, DriverError
from coordinator.store.sqlite_copy import copy_file
from coordinator.store.steps import migrations

_log = get_log("store")


def migrate(connection: Connection, path: Path | None) -> None:
    """Bring the tables up to date.

    Args:
        connection: The writer's, outside a transaction.
        path: Its file, copied before it is changed; None for a database in memory.

    Raises:
        StoreError: a newer program or another one wrote this file, the copy cannot be made, or the
            engine failed.
    """
    try:
        database = Database(connection)
        _refuse_strangers(database)
        pending = [migration.name for migration in migrations.pending(database)]
        if not pending:
            return
        is_fresh = not migrations.applied(database)
        if not is_fresh and path is not None:
            _keep_old(connection, path, pending[0])
        _take(connection, database, is_fresh=is_fresh)
    except DriverError as error:
        msg = f"cannot bring the tables up to date: {error}"
        raise StoreError(msg) from error
    if not is_fresh:
        _log.info("migrated", steps=pending, db=str(path))


def _take(connection: Connection, database: Database, *, is_fresh: bool) -> None:
    """Make or change the tables, in one transaction."""
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if is_fresh:
                schema.make_fresh(database)
            else:
                migrations.apply(database)
                _require_references(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def _require_references(connection: Connection) -> None:
    row = connection.execute("PRAGMA foreign_key_check").fetchone()
    if row is not None:
        msg = f"after the steps a row of {row[0]} refers to no row of {row[2]}: nothing was changed"
        raise StoreError(msg)


def _keep_old(connection: Connection, path: Path, step: str) -> None:
    """Copy the file as it is now; an older copy stays."""
    name = f"{path.name}.before-{schema.number_of(step):04}"
    target, again = path.with_name(name), 1
    while target.exists():
        again += 1
        target = path.with_name(f"{name}.{again}")
    copy_file(connection, target)
    _log.info("kept the older database", copy=str(target), step=step)


def _refuse_strangers(database: Database) -> None:
    applied = [migration.name for migration in migrations.applied(database)]
    unknown = sorted(set(applied) - set(schema.names_of_steps()))
    if unknown:
        msg = f"a newer program wrote this database: {', '.join(unknown)}"
        raise StoreError(msg)
    tables = [name for name in database.table_names() if name != migrations.migrations_table]
    if tables and not applied:
        msg = f"this is the database of another program: it has tables {', '.join(tables[:3])}"
        raise StoreError(msg)


def require_migrated(connection: Connection) -> None:
    """Check a file that may not be written.

    Raises:
        StoreError: its tables are not those of this program.
    """
    try:
        database = Database(connection)
        _refuse_strangers(database)
        pending = [migration.name for migration in migrations.pending(database)]
    except DriverError as error:
        msg = f"cannot read the database: {error}"
        raise StoreError(msg) from error
    if pending:
        msg = f"an older program wrote this database; it waits for: {', '.join(pending)}"
        raise StoreError(msg)
