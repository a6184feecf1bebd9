"""The schema of a fresh file: every table and index at once, and which version that is.

In:   an empty database. Out: the same with the present schema, marked as having taken every step.
Rules:
  1. Every listing has an index that ends in the job's id; every index is written at the fewest
     transitions it can be.
  2. A change here or in `tables` is a new version: it needs a step in `steps`, where it says how.
Not here: what the tables are for (`tables`), how an older file becomes a newer one (`steps`).
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from coordinator.store.steps import migrations
from coordinator.store.tables import TABLES

INDEXES: Final = (
    # A repeated submission finds its first answer.
    "CREATE UNIQUE INDEX jobs_key ON jobs (submitter, key)",
    # Listings, newest first: SQLite appends the id to every index.
    "CREATE INDEX jobs_submitter ON jobs (submitter)",
    "CREATE INDEX jobs_operator ON jobs (operator) WHERE operator IS NOT NULL",
    # What a start reads: open jobs alone, oldest first, whatever number is finished.
    "CREATE INDEX jobs_open ON jobs (id) WHERE is_open = 1",
    "CREATE INDEX nodes_wallet ON nodes (wallet)",
    # A transfer happens once. The job first: its transfers lie together, at the end of the tree.
    "CREATE UNIQUE INDEX transfers_once ON transfers (reference, kind, sequence)",
    "CREATE INDEX buckets_due ON buckets (release_ms) WHERE amount > 0",
    "CREATE UNIQUE INDEX receipts_batch ON receipts (batch, position)",
    "CREATE INDEX receipt_signers_open ON receipt_signers (node, batch) WHERE signature IS NULL",
    # What a sweep may take: what an open job names is not even looked at.
    "CREATE INDEX blobs_age ON blobs (created_ms) WHERE open_jobs = 0",
    "CREATE INDEX outputs_blob ON outputs (sha256) WHERE sha256 IS NOT NULL",
    # What a wallet has open, to be shown and revoked.
    "CREATE INDEX tokens_wallet ON tokens (wallet, expires_ms) WHERE node IS NULL",
    # A repeated withdrawal finds its first answer; those of an epoch go to its guardians.
    "CREATE UNIQUE INDEX withdrawals_key ON withdrawals (wallet, key)",
    "CREATE INDEX withdrawals_epoch ON withdrawals (epoch)",
    # Who has asked to leave: few among all depositors.
    "CREATE INDEX deposits_leaving ON deposits (wallet) WHERE exit_requested_s > 0",
    # What the house paid for a wallet, for all since yesterday, and what is still out.
    "CREATE INDEX sponsored_wallet ON sponsored (wallet, taken_ms)",
    "CREATE INDEX sponsored_time ON sponsored (taken_ms)",
    "CREATE INDEX sponsored_out ON sponsored (taken_ms) WHERE ended_ms = 0",
    # What is forgotten by time.
    "CREATE INDEX challenges_wallet ON challenges (wallet)",
    "CREATE INDEX challenges_expiry ON challenges (sign_by_ms)",
    "CREATE INDEX tokens_expiry ON tokens (expires_ms) WHERE node IS NULL",
    "CREATE INDEX sessions_wallet ON sessions (wallet, expires_ms)",
    "CREATE INDEX sessions_expiry ON sessions (expires_ms)",
)


def names_of_steps() -> list[str]:
    """Every step of this program, in order; an empty database waits for them all."""
    empty = Database(memory=True)
    try:
        return [migration.name for migration in migrations.pending(empty)]
    finally:
        empty.close()


def number_of(name: str) -> int:
    """The number that a step's name begins with."""
    return int(name.split(maxsplit=1)[0])


#: What this program writes.
SCHEMA_VERSION: Final = number_of(names_of_steps()[-1])


def make_fresh(db: Database) -> None:
    """Make all tables in an empty database and note every step as taken."""
    for statement in TABLES + INDEXES:
        db.execute(statement)
    taken = Migrations(migrations.name)
    for name in names_of_steps():
        taken(name=name)(_nothing)
    taken.apply(db)


def _nothing(db: Database) -> None:
    """A step that needs no work."""
