"""The steps from each earlier schema to the next one, numbered; the last number is the schema's.

In:   a file as an earlier program left it. Out: the same rows in the next schema's tables.
To change a table or an index:
  1. Change `tables` or `schema.INDEXES`. A new column comes last in its table, with a DEFAULT.
  2. Add a step at the end here, under the next number: `ALTER TABLE … ADD COLUMN` with the text of
     the new column, `CREATE TABLE`, `CREATE INDEX`; `rebuild` where a table must be made anew.
  3. `python -m tests.schemas` writes what the new schema looks like to `tests/vectors/schemas/`;
     `tests/test_steps.py` then takes a file of every earlier schema through the step.
Rules:
  1. A step keeps its own SQL and takes nothing from `tables`, which goes on changing.
  2. A step that was released never changes; a mistake in it is mended by the next one.
  3. A fresh file is made from `tables` at once and takes no step; both ways end in the same schema,
     letter by letter.
Not here: transactions, and who calls (`sqlite_migrate`): all steps of a start are one transaction,
without foreign keys until its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations: Final = Migrations("hypernode.coordinator")
step = migrations


def columns(db: Database, table: str) -> list[str]:
    """Names of a table's columns, in order."""
    return [column.name for column in db[table].columns]


def rebuild(
    db: Database, table: str, create: str, indexes: Sequence[str], **fresh: str | float
) -> None:
    """Make a table anew and take its rows over, for changes that ALTER TABLE cannot make.

    Args:
        db: Inside a transaction, with foreign keys off.
        table: Its name.
        create: The new table's statement.
        indexes: Statements of its indexes: the old table takes its own with it.
        **fresh: Values of columns that the old table lacks.
    """
    # Other tables go on naming the new one: without this SQLite renames in their text too.
    db.execute("PRAGMA legacy_alter_table = ON")
    db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    db.execute("PRAGMA legacy_alter_table = OFF")
    db.execute(create)
    kept = [name for name in columns(db, f"old_{table}") if name in columns(db, table)]
    names = ", ".join([*kept, *fresh])
    values = ", ".join([*kept, *("?" for _ in fresh)])
    db.execute(
        f"INSERT INTO {table} ({names}) SELECT {values} FROM old_{table}",
        [*fresh.values()],
    )
    db.execute(f"DROP TABLE old_{table}")
    for statement in indexes:
        db.execute(statement)


@step(name="0001 the first tables")
def first_tables(db: Database) -> None:
    """Never run: a file has either these tables already or none at all, and then gets all."""
    msg = f"a fresh file is made whole, not by steps: {db}"
    raise AssertionError(msg)


_JOBS_2: Final = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    submitter INTEGER NOT NULL REFERENCES wallets,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    spec_hash BLOB NOT NULL,
    budget INTEGER NOT NULL,
    price INTEGER NOT NULL,
    state TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL,
    node INTEGER,
    operator INTEGER,
    assigned_ms INTEGER NOT NULL,
    finished_ms INTEGER NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    paid INTEGER NOT NULL,
    fee INTEGER NOT NULL
) STRICT"""
_JOBS_2_INDEXES: Final = (
    "CREATE UNIQUE INDEX jobs_key ON jobs (submitter, key)",
    "CREATE INDEX jobs_submitter ON jobs (submitter)",
    "CREATE INDEX jobs_operator ON jobs (operator) WHERE operator IS NOT NULL",
    "CREATE INDEX jobs_open ON jobs (id) WHERE is_open = 1",
)


@step(name="0002 losses, ages of blobs")
def losses_and_ages_of_blobs(db: Database) -> None:
    """What was added to the first tables while they had no release: some files lack it."""
    if "losses" not in columns(db, "jobs"):
        rebuild(db, "jobs", _JOBS_2, _JOBS_2_INDEXES, losses=0)
    db.execute("CREATE INDEX IF NOT EXISTS blobs_age ON blobs (created_ms)")


@step(name="0003 quarantine, drains of nodes")
def quarantine_and_drains(db: Database) -> None:
    """Jobs that ended their hosts, and nodes that rest: new tables, empty."""
    db.execute(
        """
CREATE TABLE quarantine (
    job INTEGER PRIMARY KEY,
    ended_ms INTEGER NOT NULL,
    hosts INTEGER NOT NULL
) STRICT"""
    )
    db.execute(
        """
CREATE TABLE node_drains (
    node INTEGER PRIMARY KEY REFERENCES nodes,
    began_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT"""
    )


@step(name="0004 how attempts of nodes ended")
def work_of_nodes(db: Database) -> None:
    """A row a node, counted once from its attempts."""
    db.execute(
        """
CREATE TABLE node_work (
    node INTEGER PRIMARY KEY REFERENCES nodes,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL
) STRICT"""
    )
    db.execute(
        "INSERT INTO node_work SELECT node, sum(state = 'accepted'),"
        " sum(state IN ('failed', 'rejected', 'lost')) FROM attempts GROUP BY node"
    )


@step(name="0005 who opened which session")
def who_opened_which_session(db: Database) -> None:
    """Sessions say when they were opened and used and from where; unspent tokens by wallet."""
    db.execute("ALTER TABLE sessions ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE sessions ADD COLUMN used_ms INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE sessions ADD COLUMN opened_from TEXT NOT NULL DEFAULT ''")
    db.execute("CREATE INDEX tokens_wallet ON tokens (wallet, expires_ms) WHERE node IS NULL")


_SETTLEMENT: Final = (
    """
CREATE TABLE deposits (
    wallet INTEGER PRIMARY KEY REFERENCES wallets,
    deposited INTEGER NOT NULL CHECK (deposited >= 0),
    exited INTEGER NOT NULL CHECK (exited >= 0),
    exit_requested_s INTEGER NOT NULL,
    slot INTEGER NOT NULL
) STRICT""",
    """
CREATE TABLE claims (
    wallet INTEGER PRIMARY KEY REFERENCES wallets,
    claimed INTEGER NOT NULL CHECK (claimed >= 0),
    slot INTEGER NOT NULL
) STRICT""",
    """
CREATE TABLE epochs (
    number INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    closed_ms INTEGER NOT NULL,
    last_transfer INTEGER NOT NULL,
    total INTEGER NOT NULL,
    total_exitable INTEGER NOT NULL,
    leaf_count INTEGER NOT NULL,
    root BLOB NOT NULL,
    data_hash BLOB NOT NULL,
    published_s INTEGER NOT NULL,
    active_s INTEGER NOT NULL,
    ended_s INTEGER NOT NULL,
    signature BLOB NOT NULL
) STRICT""",
    """
CREATE TABLE epoch_exits (
    epoch INTEGER NOT NULL REFERENCES epochs,
    wallet INTEGER NOT NULL REFERENCES wallets,
    PRIMARY KEY (epoch, wallet)
) STRICT, WITHOUT ROWID""",
    """
CREATE TABLE withdrawals (
    id INTEGER PRIMARY KEY,
    wallet INTEGER NOT NULL REFERENCES wallets,
    key TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    issued_ms INTEGER NOT NULL,
    asked_ms INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    form TEXT NOT NULL,
    proof BLOB NOT NULL
) STRICT""",
    """
CREATE TABLE vouchers (
    wallet INTEGER PRIMARY KEY REFERENCES wallets,
    cumulative INTEGER NOT NULL CHECK (cumulative > 0),
    expires_s INTEGER NOT NULL,
    issued_ms INTEGER NOT NULL
) STRICT""",
    """
CREATE TABLE settlement (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    ledger BLOB NOT NULL,
    reserve_withdrawn INTEGER NOT NULL,
    reserve_slot INTEGER NOT NULL,
    told_ms INTEGER NOT NULL,
    spend_until_ms INTEGER NOT NULL,
    last_activation_s INTEGER NOT NULL,
    unrooted INTEGER NOT NULL,
    promise INTEGER NOT NULL
) STRICT""",
    "CREATE UNIQUE INDEX withdrawals_key ON withdrawals (wallet, key)",
    "CREATE INDEX withdrawals_epoch ON withdrawals (epoch)",
    "CREATE INDEX deposits_leaving ON deposits (wallet) WHERE exit_requested_s > 0",
)


@step(name="0006 settlement on a chain")
def settlement_on_a_chain(db: Database) -> None:
    """Deposits, claims, epochs, withdrawals, vouchers: new tables, empty."""
    for statement in _SETTLEMENT:
        db.execute(statement)


@step(name="0007 journals of jobs' transfers, results in one row")
def journals_and_results(db: Database) -> None:
    """What is written from now on; rows of before stay as they are."""
    db.execute("ALTER TABLE ledger_batches ADD COLUMN moves BLOB NOT NULL DEFAULT x''")
    db.execute("ALTER TABLE ledger_batches ADD COLUMN journal BLOB NOT NULL DEFAULT x''")
    db.execute("CREATE TABLE results (id INTEGER PRIMARY KEY, outputs BLOB NOT NULL) STRICT")


@step(name="0008 a job's row is its hold and its attempt, and has its small specification")
def one_row_a_job(db: Database) -> None:
    """Holds and most attempts said what their jobs say; specifications of before stay apart."""
    db.execute("ALTER TABLE jobs ADD COLUMN spec BLOB")
    db.execute("DROP TABLE holds")
    db.execute(
        "DELETE FROM attempts WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.id = attempts.id / 4096"
        " AND j.fence = attempts.id % 4096 AND j.node = attempts.node AND attempts.code = ''"
        " AND j.assigned_ms = attempts.started_ms AND (attempts.state = 'open'"
        " AND attempts.ended_ms = 0 AND j.state IN ('assigned', 'running', 'verifying')"
        " OR attempts.state = 'accepted' AND j.state = 'completed'"
        " AND attempts.ended_ms = j.finished_ms))"
    )


_SPONSORED: Final = (
    """
CREATE TABLE sponsored (
    name BLOB PRIMARY KEY,
    wallet INTEGER NOT NULL REFERENCES wallets,
    state TEXT NOT NULL,
    taken_ms INTEGER NOT NULL,
    pay INTEGER NOT NULL,
    lamports INTEGER NOT NULL CHECK (lamports >= 0),
    fee_lamports INTEGER NOT NULL,
    opens_token_account INTEGER NOT NULL,
    signature BLOB NOT NULL,
    last_height INTEGER NOT NULL,
    raw BLOB NOT NULL,
    ended_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX sponsored_wallet ON sponsored (wallet, taken_ms)",
    "CREATE INDEX sponsored_time ON sponsored (taken_ms)",
    "CREATE INDEX sponsored_out ON sponsored (taken_ms) WHERE ended_ms = 0",
)


@step(name="0009 claims that the house pays for")
def claims_that_the_house_pays_for(db: Database) -> None:
    """What was sponsored: a new table, empty."""
    for statement in _SPONSORED:
        db.execute(statement)


_BLOBS_10: Final = """
CREATE TABLE blobs (
    sha256 BLOB NOT NULL,
    wallet INTEGER NOT NULL REFERENCES wallets,
    size INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    open_jobs INTEGER NOT NULL CHECK (open_jobs >= 0),
    PRIMARY KEY (sha256, wallet)
) STRICT, WITHOUT ROWID"""


@step(name="0010 inputs of jobs")
def inputs_of_jobs(db: Database) -> None:
    """A blob belongs to each wallet that uploaded it; no job named any until now."""
    index = "CREATE INDEX blobs_age ON blobs (created_ms) WHERE open_jobs = 0"
    rebuild(db, "blobs", _BLOBS_10, (index,), open_jobs=0)
    db.execute("CREATE TABLE dropped_blobs (sha256 BLOB PRIMARY KEY) STRICT, WITHOUT ROWID")
