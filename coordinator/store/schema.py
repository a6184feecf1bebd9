"""How a file gets its tables and indexes, and how an older file becomes a newer one.

In:   an open database. Out: the same database with every migration applied, once.
Rules:
  1. A migration that was released never changes; the next change is a migration of its own.
  2. Every listing has an index that ends in the job's id; every index is written at the fewest
     transitions it can be.
Not here: what the tables are for (`tables`).
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from coordinator.store.tables import TABLES

migrations: Final = Migrations("hypernode.coordinator")

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
    "CREATE INDEX blobs_age ON blobs (created_ms)",
    "CREATE INDEX outputs_blob ON outputs (sha256) WHERE sha256 IS NOT NULL",
    # What is forgotten by time.
    "CREATE INDEX challenges_wallet ON challenges (wallet)",
    "CREATE INDEX challenges_expiry ON challenges (sign_by_ms)",
    "CREATE INDEX tokens_expiry ON tokens (expires_ms) WHERE node IS NULL",
    "CREATE INDEX sessions_wallet ON sessions (wallet, expires_ms)",
    "CREATE INDEX sessions_expiry ON sessions (expires_ms)",
)


@migrations(name="0001 the first tables")
def first_tables(db: Database) -> None:
    """Everything that the first release keeps."""
    for statement in TABLES + INDEXES:
        db.execute(statement)
