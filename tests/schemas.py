"""Files of every schema that ever was, as text: what an upgrade is tried on.

`python -m tests.schemas` writes `tests/vectors/schemas/NNNN.sql` for the present schema once
`steps` has a new number: a small filled database, dumped. One that is there is never written again:
it is what people's files look like. (While a step is being written, delete its file by hand.)
Those of 0001 were written by the programs of that time: it grew twice before it had a number.
In:   a database. Out: its dump, and its schema's statements in one normal form.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from coordinator.store.interface import Store
from coordinator.store.rows import SMALL_SPEC_BYTES_MAX
from coordinator.store.schema import SCHEMA_VERSION
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import (
    Attempt,
    AttemptState,
    Blob,
    CounterSignature,
    NodeDrain,
    Output,
    Session,
    Token,
)
from tests.store_settlement import settled
from tests.store_values import (
    ALICE,
    BOB,
    DAY_MS,
    NOW_MS,
    OPERATOR,
    a_challenge,
    added_node,
    assigned,
    live,
    post,
    submit,
    submitted,
)

FOLDER: Final = Path(__file__).parent / "vectors" / "schemas"
#: The migrations' own table notes when: it would differ each time.
_WHEN: Final = re.compile(r"'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00:00'")


def fill(store: Store) -> None:
    """Rows in every table: jobs in three states, money, receipts, people, a blob, a secret."""
    node = added_node(store)
    paid, running, _ = submitted(store, 3)
    with store.batch() as batch:
        large = submit(batch, spec=bytes(2 * SMALL_SPEC_BYTES_MAX))
        post(batch, [large[1]])
    submitted(store, 1, BOB)
    live(store, paid, node)
    settled(store)
    with store.batch() as batch:
        assert batch.save_job(assigned(running, node.id), was=running)
        batch.add_attempt(Attempt(running.id, 1, node.id, AttemptState.OPEN, NOW_MS))
        batch.add_outputs([Output(running.id, 1, 0, "|u1", (5_000,), b"", bytes(32), 5_000)])
        batch.add_counter_signature(CounterSignature(1, node.id, bytes(64)))
        batch.add_quarantined(paid.id, NOW_MS, 3)
        batch.save_node_drain(NodeDrain(node.id, NOW_MS, NOW_MS + DAY_MS, 2, "it fails"))
        batch.add_challenge(a_challenge("nonce"), keep=9)
        batch.add_token(Token("spent", OPERATOR, bytes(32), NOW_MS + DAY_MS, node.id))
        batch.add_session(Session(bytes(32), "wallet", ALICE, 0, NOW_MS + DAY_MS))
        batch.add_blob(Blob(bytes(32), 5_000, OPERATOR, NOW_MS))
        batch.add_blob(Blob(b"dropped".ljust(32), 7, OPERATOR, NOW_MS - 1))
        assert batch.drop_old_blobs(NOW_MS, 9)
        batch.add_paid_to_tests(NOW_MS // DAY_MS, 7)
        batch.secret("ids", bytes(32))


def dump(path: Path) -> str:
    """A database as the statements that make it."""
    with closing(sqlite3.connect(path)) as connection:
        lines = "\n".join(connection.iterdump())
    return _WHEN.sub("'then'", lines) + "\n"


def load(text: str, path: Path) -> None:
    """Make a database of a dump."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(text)


def schema_of(path: Path) -> dict[str, str]:
    """Name of a table or index → its statement, with spaces made alike."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: _normal(sql) for name, sql in rows}


def _normal(sql: str) -> str:
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split())).replace('"', "")


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Table and row of everything in a file but the migrations' own table, columns by name."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite_%'"
            " ORDER BY name"
        ).fetchall()
        for (name,) in names:
            cursor = connection.execute(f"SELECT * FROM {name}")
            columns = [column[0] for column in cursor.description]
            for row in cursor:
                yield name, dict(zip(columns, row, strict=True))


def write_new(folder: Path = FOLDER) -> Path:
    """Write the present schema's file, unless it is there; its path."""
    target = folder / f"{SCHEMA_VERSION:04}.sql"
    if not target.exists():
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "filled.db"
            store = open_sqlite(path)
            fill(store)
            store.close()
            target.write_text(dump(path), encoding="utf-8")
    return target


if __name__ == "__main__":
    print(write_new())
