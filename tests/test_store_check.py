"""The audit of the SQLite store finds every fault it names; no statement scans; caches are bounded.

Each fault is made by hand, in a file that was sound a moment ago.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from coordinator import ledger
from coordinator.store import sqlite_connection as connections
from coordinator.store.rows import INSERT_JOB, JOBS_BY_ID, JOBS_BY_KEY
from coordinator.store.sqlite import SqliteStore, open_sqlite
from coordinator.store.sqlite_memory import Cache
from onchain.address import encode_address
from tests.store_settlement import settled
from tests.store_values import ALICE, NOW_MS, OPERATOR, added_node, live, submitted


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = open_sqlite(path)
    yield opened
    opened.close()


#: The last amount in the first batch's journal becomes one base unit.
CHEAPER = (
    "UPDATE ledger_batches SET journal = CAST(substr(journal, 1, length(journal) - 8)"
    " || x'0100000000000000' AS BLOB) WHERE number = 1"
)


# ---- the audit --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("UPDATE accounts SET debits = debits + 1 WHERE code = 'fees'", "debits are not the sum"),
        ("UPDATE accounts SET credits = credits + 1 WHERE code = 'fees'", "add up to zero"),
        ("UPDATE transfers SET amount = amount + 1", "credits are not the sum"),
        (
            "UPDATE transfers SET reference = 77 WHERE id = (SELECT max(id) FROM transfers)",
            "chain breaks at ledger batch",
        ),
        ("UPDATE ledger_batches SET journal = x'00' WHERE number = 1", "batch 1 cannot be read"),
        (
            CHEAPER,
            "chain breaks at ledger batch 1",
        ),
        (
            CHEAPER,
            "debits are not the sum",
        ),
        ("UPDATE ledger_batches SET journal = x'' WHERE number = 1", "chain breaks at ledger b"),
        ("UPDATE ledger_batches SET moves = x'' WHERE number = 1", "what is said of the journal"),
        ("UPDATE ledger_batches SET first_transfer = 9 WHERE number = 1", "what is said of"),
        ("UPDATE ledger_batches SET link = x'00' WHERE number = 2", "chain breaks at ledger b"),
        ("DELETE FROM ledger_batches WHERE number = 1", "ledger batch 1 is missing"),
        ("DELETE FROM ledger_batches WHERE number = 4", "after the last ledger batch"),
        ("UPDATE jobs SET state = 'failed', is_open = 0 WHERE id = 1", "holds do not add up"),
        ("UPDATE jobs SET state = 'queued', is_open = 1 WHERE id = 2", "holds do not add up"),
        ("UPDATE jobs SET budget = 1 WHERE id = 1", "holds do not add up"),
        ("UPDATE accounts SET code = 'hold:x' WHERE code LIKE 'hold:%'", "holds do not add up"),
        ("UPDATE jobs SET is_open = 1 WHERE id = 2", "being open disagree"),
        ("UPDATE jobs SET spec = NULL WHERE id = 1", "no specification"),
        ("UPDATE job_counts SET jobs = 9 WHERE state = 'failed'", "count of a state"),
        ("UPDATE job_counts SET jobs = 9 WHERE state = 'queued'", "count of a state"),
        ("UPDATE wallets SET open_jobs = 9", "count of open jobs"),
        ("UPDATE wallets SET receipts = 9", "count of receipts"),
        ("UPDATE wallets SET blob_bytes = 9", "bytes of blobs"),
        ("INSERT INTO attempts VALUES (4096 * 99 + 1, 1, 'open', 0, 0, '')", "attempt is of no"),
        ("INSERT INTO outputs VALUES (256, '<f4', '[]', 0, NULL, x'')", "output is of no"),
        ("INSERT INTO results VALUES (1, x'90')", "output is of no"),
        ("UPDATE receipts SET batch = 99", "receipt is of no"),
        ("UPDATE deposits SET deposited = deposited + 1", "deposits on the chain are not"),
        ("UPDATE deposits SET exited = 1", "exits on the chain are not"),
        ("UPDATE claims SET claimed = 1", "claims on the chain are not"),
        ("DELETE FROM withdrawals WHERE key = 'first'", "withdrawals to the chain are not"),
        ("UPDATE settlement SET reserve_withdrawn = 1", "from the reserve on the chain are not"),
        ("UPDATE epochs SET total = total + 1", "newest epoch does not promise"),
        ("DELETE FROM epochs", "refers to no row of epochs"),
        ("UPDATE jobs SET submitter = 99 WHERE id = 1", "refers to no row"),
    ],
)
def test_the_audit_finds(store: SqliteStore, path: Path, sql: str, sentence: str) -> None:
    node = added_node(store)
    jobs = submitted(store, 2)
    live(store, jobs[1], node)
    settled(store)
    store.close()
    connection = connections.connect(path, is_writer=True)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("INSERT OR IGNORE INTO job_counts VALUES ('failed', 0)")
    connection.execute(sql)
    connection.close()

    reopened = open_sqlite(path)
    faults = reopened.check()
    reopened.close()
    assert any(sentence in fault for fault in faults), faults


# ---- plans and caches -------------------------------------------------------------------------
def test_no_statement_of_a_reader_or_a_batch_scans_the_jobs(store: SqliteStore) -> None:
    node = added_node(store)
    jobs = submitted(store, 3)
    live(store, jobs[0], node)
    seen: list[str] = []
    reader = store.reader()
    connection = reader._connection
    connection.set_trace_callback(seen.append)
    reader.job(1)
    reader.jobs_of_submitter(ALICE, 50, before=9)
    reader.jobs_of_operator(OPERATOR, 50)
    reader.jobs_by_state()
    reader.earnings_of(OPERATOR, NOW_MS)
    reader.may_read_blob(bytes(32), submitter=ALICE, node=1)
    reader.unsigned_batches(1, 9)
    [*reader.open_jobs()]
    [*reader.held_jobs()]
    reader.waiting_jobs(0, 9)
    connection.set_trace_callback(None)
    statements = [*seen, JOBS_BY_ID.replace("?", "'[1]'")]
    statements.append(JOBS_BY_KEY.replace("= ?", "= 1").replace("?", "'[]'"))

    plans = {
        statement: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        for statement in statements
    }
    allowed = ("jobs_open", "json_each", "job_counts")
    scans = [
        (statement, step)
        for statement, steps in plans.items()
        for step in steps
        if "TEMP B-TREE" in step or ("SCAN" in step and not any(each in step for each in allowed))
    ]
    assert len(plans) >= 10
    assert scans == []


def test_an_insert_names_a_value_for_every_column(store: SqliteStore) -> None:
    columns = Database(store.reader()._connection)["jobs"].columns
    assert INSERT_JOB.count("?") == len(columns)


def test_the_cache_forgets_what_came_first_past_its_rows_and_bytes() -> None:
    cache: Cache[int, bytes] = Cache(3, 100, len)
    for key in range(4):
        cache.put(key, bytes(10))
    assert [cache.get(key) is not None for key in range(4)] == [False, True, True, True]

    cache.put(2, bytes(85))
    assert [cache.get(key) is not None for key in range(4)] == [False, False, True, True]
    cache.drop(2)
    cache.put(5, bytes(90))
    assert [cache.get(key) is not None for key in (3, 5)] == [True, True]
    cache.clear()
    cache.put(6, bytes(100))
    assert len(cache) == 1


def test_earnings_are_read_from_the_accounts_that_the_ledger_names() -> None:
    # The store may not import the ledger; it spells the two names again.
    address = encode_address(OPERATOR)
    assert ledger.withheld_of(OPERATOR) == f"withheld:{address}"
    assert ledger.earned_of(OPERATOR) == f"earned:{address}"
