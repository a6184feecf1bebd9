"""The tables of the SQLite store, each with its reason.

Rules:
  1. Keys are integers (a text key costs four times as much, measured). Attempts and outputs make
     theirs from the job's, so each is one B-tree that grows at its end.
  2. No foreign key where a lookup a row would be the price of a whole statement and the number
     came from the row itself a moment ago: the audit looks for such orphans instead.
  3. Absent is NULL here and 0 or `b""` in the values: NULL takes no room in a partial index.
Not here: indexes and how an older file becomes a newer one (`schema`).
"""

from __future__ import annotations

from typing import Final

#: Wallets by number, since 32 bytes in every row and index would double the file. Beside each
#: the sums that are asked for often: open jobs, bytes of blobs, receipts, all posts ever.
WALLETS: Final = """
CREATE TABLE wallets (
    id INTEGER PRIMARY KEY,
    address BLOB NOT NULL UNIQUE,
    open_jobs INTEGER NOT NULL DEFAULT 0 CHECK (open_jobs >= 0),
    blob_bytes INTEGER NOT NULL DEFAULT 0,
    receipts INTEGER NOT NULL DEFAULT 0,
    cumulative INTEGER NOT NULL DEFAULT 0
) STRICT"""

#: Agents. `earned` grows in the same transaction as the ledger.
NODES: Final = """
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY,
    wallet INTEGER NOT NULL REFERENCES wallets,
    node_key BLOB UNIQUE,
    key_expires_ms INTEGER NOT NULL,
    hostname TEXT NOT NULL,
    gpu TEXT NOT NULL,
    os TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    last_heartbeat_ms INTEGER NOT NULL,
    earned INTEGER NOT NULL DEFAULT 0,
    is_revoked INTEGER NOT NULL,
    inventory BLOB NOT NULL
) STRICT"""

#: Jobs. A job's row is its hold too: `budget` is held while it is open, and resolved where it ends
#: (posted if `paid` is more than 0, else voided). `is_open` says `state` is not final: a column of
#: its own, because an index over `state` would be written at every transition. `operator` is the
#: wallet of `node`, for its listing. `spec` is absent where it is large.
JOBS: Final = """
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
    fee INTEGER NOT NULL,
    spec BLOB
) STRICT"""

#: Large specifications, apart from the jobs: up to 64 KiB that would be rewritten at every
#: transition. Small ones stand in the job's row, and cost no row of their own.
SPECS: Final = """
CREATE TABLE specs (job INTEGER PRIMARY KEY, spec BLOB NOT NULL) STRICT"""

#: How many jobs are in each state: counting them would read every job.
JOB_COUNTS: Final = """
CREATE TABLE job_counts (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL CHECK (jobs >= 0))
STRICT, WITHOUT ROWID"""

#: Attempts that their jobs' rows do not tell of (`rows.is_told`): those that came to nothing;
#: id = job · 4096 + fence. A job's row tells of its last attempt, which is the only one of most.
ATTEMPTS: Final = """
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL,
    state TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER NOT NULL,
    code TEXT NOT NULL
) STRICT"""

#: Outputs of attempts, where some are blobs; id = attempt · 256 + index. Small ones inline, others
#: by their blob's hash.
OUTPUTS: Final = """
CREATE TABLE outputs (
    id INTEGER PRIMARY KEY,
    dtype TEXT NOT NULL,
    shape TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 BLOB,
    data BLOB NOT NULL
) STRICT"""

#: Results whose outputs are all small, by attempt (its id): one row instead of one an output.
#: `outputs` is a MessagePack list of (dtype, shape, size, data), in order.
RESULTS: Final = """
CREATE TABLE results (id INTEGER PRIMARY KEY, outputs BLOB NOT NULL) STRICT"""

#: Texts that wait for a signature.
CHALLENGES: Final = """
CREATE TABLE challenges (
    id INTEGER PRIMARY KEY,
    nonce TEXT NOT NULL UNIQUE,
    wallet INTEGER NOT NULL REFERENCES wallets,
    scope TEXT NOT NULL,
    node_key BLOB NOT NULL,
    text TEXT NOT NULL,
    sign_by_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT"""

#: Tokens; a spent one stays, so that it is known to be spent.
TOKENS: Final = """
CREATE TABLE tokens (
    nonce TEXT PRIMARY KEY,
    wallet INTEGER NOT NULL REFERENCES wallets,
    node_key BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    node INTEGER REFERENCES nodes,
    is_revoked INTEGER NOT NULL
) STRICT, WITHOUT ROWID"""

#: HTTP bearers, by their hash: this file opens no session.
SESSIONS: Final = """
CREATE TABLE sessions (
    bearer_hash BLOB PRIMARY KEY,
    scope TEXT NOT NULL,
    wallet INTEGER NOT NULL REFERENCES wallets,
    node INTEGER REFERENCES nodes,
    expires_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL DEFAULT 0,
    used_ms INTEGER NOT NULL DEFAULT 0,
    opened_from TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID"""

#: Accounts of the ledger, by number for the same reason as wallets.
ACCOUNTS: Final = """
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    code TEXT NOT NULL UNIQUE,
    debits INTEGER NOT NULL CHECK (debits >= 0),
    credits INTEGER NOT NULL CHECK (credits >= 0)
) STRICT"""

#: Links of the hash chain; the batch's transfers have numbers from `first_transfer` on. Those of
#: jobs are packed in `journal` (see there), others are rows of `transfers`.
LEDGER_BATCHES: Final = """
CREATE TABLE ledger_batches (
    number INTEGER PRIMARY KEY,
    previous BLOB NOT NULL,
    link BLOB NOT NULL,
    posted_ms INTEGER NOT NULL,
    transfers INTEGER NOT NULL,
    first_transfer INTEGER NOT NULL,
    moves BLOB NOT NULL DEFAULT x'',
    journal BLOB NOT NULL DEFAULT x''
) STRICT"""

#: Movements of money that are not of a job, never changed; id is the order of posting.
TRANSFERS: Final = """
CREATE TABLE transfers (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    reference INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    debit INTEGER NOT NULL REFERENCES accounts,
    credit INTEGER NOT NULL REFERENCES accounts,
    amount INTEGER NOT NULL CHECK (amount > 0)
) STRICT"""

#: What operators earned, by the hour: `amount` is still withheld, `total` is all of that hour
#: and stays when the bucket is dropped, so that the last day's earnings can be told.
BUCKETS: Final = """
CREATE TABLE buckets (
    wallet INTEGER NOT NULL REFERENCES wallets,
    hour INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    total INTEGER NOT NULL,
    release_ms INTEGER NOT NULL,
    PRIMARY KEY (wallet, hour)
) STRICT, WITHOUT ROWID"""

#: What test jobs earned, by the day: one global cap is checked against it.
TEST_PAY: Final = """
CREATE TABLE test_pay (day INTEGER PRIMARY KEY, amount INTEGER NOT NULL) STRICT"""

#: Signed roots over the receipts of one batch.
RECEIPT_ROOTS: Final = """
CREATE TABLE receipt_roots (
    batch INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    root BLOB NOT NULL,
    signature BLOB NOT NULL,
    signed_ms INTEGER NOT NULL
) STRICT"""

#: How each node's attempts ended, in all: counting them would read every attempt.
NODE_WORK: Final = """
CREATE TABLE node_work (
    node INTEGER PRIMARY KEY REFERENCES nodes,
    done INTEGER NOT NULL,
    failed INTEGER NOT NULL
) STRICT"""

#: Receipts: one a paid job.
RECEIPTS: Final = """
CREATE TABLE receipts (
    job INTEGER PRIMARY KEY,
    fence INTEGER NOT NULL,
    node INTEGER NOT NULL,
    wallet INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    position INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT"""

#: Who is named in a receipt batch, and its counter-signature once it came.
RECEIPT_SIGNERS: Final = """
CREATE TABLE receipt_signers (
    batch INTEGER NOT NULL REFERENCES receipt_roots,
    node INTEGER NOT NULL REFERENCES nodes,
    signature BLOB,
    PRIMARY KEY (batch, node)
) STRICT, WITHOUT ROWID"""

#: Blobs that were uploaded, a row for each wallet that did, against its quota. `open_jobs` counts
#: the wallet's open jobs that name it as an input: no row a job, whatever number names one blob.
BLOBS: Final = """
CREATE TABLE blobs (
    sha256 BLOB NOT NULL,
    wallet INTEGER NOT NULL REFERENCES wallets,
    size INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    open_jobs INTEGER NOT NULL CHECK (open_jobs >= 0),
    PRIMARY KEY (sha256, wallet)
) STRICT, WITHOUT ROWID"""

#: Blobs that no wallet has any longer and whose files are not yet known to be deleted.
DROPPED_BLOBS: Final = """
CREATE TABLE dropped_blobs (sha256 BLOB PRIMARY KEY) STRICT, WITHOUT ROWID"""

#: Jobs that were given up because they ended their hosts: a list for administrators.
QUARANTINE: Final = """
CREATE TABLE quarantine (
    job INTEGER PRIMARY KEY,
    ended_ms INTEGER NOT NULL,
    hosts INTEGER NOT NULL
) STRICT"""

#: Nodes that get no jobs for a while. A row stays when that is over: `count` remembers how often,
#: and `until_ms` is 0 then.
NODE_DRAINS: Final = """
CREATE TABLE node_drains (
    node INTEGER PRIMARY KEY REFERENCES nodes,
    began_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT"""

#: What was read of each owner's deposit record on the chain, as far as the ledger has booked it:
#: `deposited` and `exited` never fall. `exit_requested_s` is the chain's time, 0: not asked.
DEPOSITS: Final = """
CREATE TABLE deposits (
    wallet INTEGER PRIMARY KEY REFERENCES wallets,
    deposited INTEGER NOT NULL CHECK (deposited >= 0),
    exited INTEGER NOT NULL CHECK (exited >= 0),
    exit_requested_s INTEGER NOT NULL,
    slot INTEGER NOT NULL
) STRICT"""

#: What each wallet was paid on the chain, as far as the ledger has booked it.
CLAIMS: Final = """
CREATE TABLE claims (
    wallet INTEGER PRIMARY KEY REFERENCES wallets,
    claimed INTEGER NOT NULL CHECK (claimed >= 0),
    slot INTEGER NOT NULL
) STRICT"""

#: Settlement periods. Leaves have no rows: `last_transfer` says up to which transfer they count,
#: and transfers never change, so that a million wallets cost an epoch one row.
EPOCHS: Final = """
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
) STRICT"""

#: Owners that had asked to leave when an epoch was closed: their held money is in no exit leaf.
EPOCH_EXITS: Final = """
CREATE TABLE epoch_exits (
    epoch INTEGER NOT NULL REFERENCES epochs,
    wallet INTEGER NOT NULL REFERENCES wallets,
    PRIMARY KEY (epoch, wallet)
) STRICT, WITHOUT ROWID"""

#: Credit that its owner made earnings, with what the wallet signed: guardians check it.
WITHDRAWALS: Final = """
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
) STRICT"""

#: The highest voucher that each wallet was given.
VOUCHERS: Final = """
CREATE TABLE vouchers (
    wallet INTEGER PRIMARY KEY REFERENCES wallets,
    cumulative INTEGER NOT NULL CHECK (cumulative > 0),
    expires_s INTEGER NOT NULL,
    issued_ms INTEGER NOT NULL
) STRICT"""

#: Claims whose fee and rents the house pays. None is ever deleted: a token account is paid for once
#: in a wallet's life.
SPONSORED: Final = """
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
) STRICT, WITHOUT ROWID"""

#: One row: to which ledger of the chain the books belong, and until when credit may be spent.
SETTLEMENT: Final = """
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
) STRICT"""

#: Keys of the house.
SECRETS: Final = """
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID"""

TABLES: Final = (
    WALLETS, NODES, JOBS, SPECS, JOB_COUNTS, ATTEMPTS, OUTPUTS, CHALLENGES, TOKENS, SESSIONS,
    ACCOUNTS, LEDGER_BATCHES, TRANSFERS, BUCKETS, TEST_PAY, RECEIPT_ROOTS, RECEIPTS,
    RECEIPT_SIGNERS, BLOBS, DROPPED_BLOBS, QUARANTINE, NODE_DRAINS, NODE_WORK, DEPOSITS, CLAIMS,
    EPOCHS, EPOCH_EXITS, WITHDRAWALS, VOUCHERS, SETTLEMENT, SPONSORED, RESULTS,
    SECRETS,
)  # fmt: skip
