"""Every bound of the house, each with its reason.

Past a limit comes a named refusal, never a crash and never silence. Units stand last in the names.
Relations between bounds are asserted at the end: a change that breaks one does not import.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# ---- the wire ---------------------------------------------------------------------------------
#: A frame after authentication. An image goes by blob; 1 MiB is trio-websocket's own default.
FRAME_BYTES_MAX: Final = 1 * MIB
#: A frame before authentication: a register with a 2 KiB token and the seed's host information.
FRAME_BYTES_MAX_BEFORE_AUTH: Final = 4 * KIB
#: Nesting of a JSON document. Ours nest six deep; a parser recursing 100,000 deep is an attack.
JSON_DEPTH_MAX: Final = 32
#: Largest integer on the wire: what JavaScript holds exactly, below SQLite's signed 64 bits.
INTEGER_MAX: Final = 2**53 - 1
#: An array that rides in the message; larger ones go by blob.
INLINE_ARRAY_BYTES_MAX: Final = 4 * KIB
#: Dimensions of an array: tiles, channels, batch, and one to spare.
ARRAY_DIMENSIONS_MAX: Final = 8
#: Jobs or results in one message; a frame of small ones holds about this many.
ITEMS_PER_MESSAGE_MAX: Final = 1000
#: Jobs in one HTTP submission (the seed's API, batched).
JOBS_PER_REQUEST_MAX: Final = 10_000
#: A name, a host name, a GPU's name: longer is noise on a screen.
NAME_CHARS_MAX: Final = 128
#: A caller's key for a job.
KEY_CHARS_MAX: Final = 128
#: GPUs announced by one agent: a large server has 16.
DEVICES_MAX: Final = 16
#: Remarks for the operator in one inventory.
REMARKS_MAX: Final = 16
#: A transaction of Solana (a packet less its headers); a Ledger holds that much too.
TRANSACTION_BYTES_MAX: Final = 1232
#: A token: the signed text is under 1 KiB, base64 adds a third, a memo transaction some more.
TOKEN_BYTES_MAX: Final = 2 * KIB

# ---- connections and rates --------------------------------------------------------------------
#: Open connections in all: about 22 KB each (measured on trio-websocket), 220 MB.
CONNECTIONS_MAX: Final = 10_000
#: Connections from one address (a /64 for IPv6): a farm behind one NAT, not a flood.
CONNECTIONS_PER_ADDRESS_MAX: Final = 64
#: Connections that have not authenticated, in all.
CONNECTIONS_BEFORE_AUTH_MAX: Final = 1_000
#: Sessions of one wallet, over HTTP and as open WebSockets alike.
SESSIONS_PER_WALLET_MAX: Final = 50
#: Nodes of one wallet that are connected at once: a large farm.
NODES_PER_WALLET_MAX: Final = 1_000
#: Head of an HTTP request (h11's own limit).
HEAD_BYTES_MAX: Final = 16 * KIB
#: Time for the head, and for the WebSocket handshake: slow senders hold a socket no longer.
HEAD_S: Final = 10.0
#: Time from the handshake to a registered session.
AUTH_S: Final = 10.0
#: Silence after which an authenticated connection is closed: three heartbeats.
IDLE_S: Final = 45.0
#: Time to send one frame to a peer; slower ones are closed, their jobs go elsewhere.
SEND_S: Final = 10.0
#: Handshakes of TLS from one address, beside its WebSockets: 0.18 ms of a core each with a key on
#: P-256, 0.35 ms with RSA of 2048 bits (measured).
TLS_HANDSHAKES_PER_S: Final = 20.0
TLS_HANDSHAKES_BURST: Final = 60
#: A chain of certificates in PEM, or a key: 256 KiB hold a hundred of them.
PEM_BYTES_MAX: Final = 256 * KIB
#: A certificate that ends so soon is told of in the log: people renew a month before.
CERTIFICATE_WARN_S: Final = 14 * 24 * 3600.0
#: How often that is looked at.
CERTIFICATE_LOOK_S: Final = 12 * 3600.0
#: Networks of reverse proxies that are believed.
TRUSTED_PROXIES_MAX: Final = 64
#: Hops of a forwarded request that are looked at, from the nearest: chains have two or three.
FORWARDED_HOPS_MAX: Final = 16
#: Frames waiting for one peer.
OUTBOX_FRAMES_MAX: Final = 256
#: Bytes of frames that gather before they are sent; small ones gather by the dozen.
HELD_BYTES_MAX: Final = 64 * KIB
#: Frames that a WebSocket reads ahead of its handler: past them the peer waits.
READ_AHEAD_FRAMES_MAX: Final = 16
#: Time for the body of an HTTP request: 10 MiB at 1.4 Mbit/s.
BODY_S: Final = 60.0
#: Time for a blob's body, one way: 256 MiB at 3.6 Mbit/s.
BLOB_S: Final = 600.0
#: Time to read what is left of a body that nobody wants, so that its sender sees our answer.
DISCARD_S: Final = 2.0
#: Connections that are being told that they are too many; past it they are closed without a word.
REFUSING_MAX: Final = 100
#: Time to tell one so.
REFUSE_S: Final = 1.0
#: Time for the last bytes to somebody who has left already, or half: places are few.
LEFT_S: Final = 0.5
#: Pieces of a blob on its way out: a slow reader takes one of them in `SEND_S`.
BLOB_CHUNK_BYTES: Final = 64 * KIB
#: Lag of the event loop above which `/livez` fails.
LOOP_LAG_S_MAX: Final = 1.0
#: Body of an HTTP request other than a blob: 10,000 jobs of a kilobyte.
BODY_BYTES_MAX: Final = 10 * MIB
#: A blob: 256 MiB, what one agent uploads in a minute on a home line.
BLOB_BYTES_MAX: Final = 256 * MIB
#: Blobs kept for one wallet.
BLOB_QUOTA_BYTES: Final = 4 * 1024 * MIB
#: A blob stays this long after it was last noted, and the withholding window besides: time to
#: fetch a result.
BLOB_KEEP_MS: Final = 24 * 3600 * 1000
#: Uploads of one wallet that are not finished: a few clients, some arrays each.
UPLOADS_OPEN_PER_WALLET_MAX: Final = 16
#: Bytes of all of them, whole lengths: a disk's worth beside what is stored.
UPLOADS_OPEN_BYTES_MAX: Final = 64 * 1024 * MIB
#: An unfinished upload stays this long after its last byte: over a night.
UPLOAD_KEEP_S: Final = 16 * 3600
#: Blobs above this come in parts, which go on where they stopped: 8 MiB are seconds of a home line.
UPLOAD_WHOLE_BYTES_MAX: Final = 8 * MIB
#: Old blobs deleted in one go.
BLOBS_DROPPED_MAX: Final = 256
#: HTTP requests a second from one address, and the burst above it.
REQUESTS_PER_S: Final = 20.0
REQUESTS_BURST: Final = 60
#: Challenges a minute for one wallet: a person signs a few.
CHALLENGES_PER_MINUTE: Final = 20
#: Challenges that one wallet has open; the oldest one gives way. As many as one address may ask for
#: while a challenge lasts: a stranger alone cannot make a wallet's own give way before its time.
CHALLENGES_OPEN_PER_WALLET_MAX: Final = 200
#: Messages a second from one session, and the burst above it; past it the session is slowed down.
MESSAGES_PER_S: Final = 2_000.0
MESSAGES_BURST: Final = 4_000
#: Control frames and small fragments a second from one connection, and the burst above it: a peer
#: of ours pings every 15 s, and a browser cuts a message into a few large fragments.
PIECES_PER_S: Final = 50.0
PIECES_BURST: Final = 256
#: Addresses and wallets that the rate limiter remembers; the least recent is forgotten.
RATE_KEYS_MAX: Final = 50_000
#: HYPER in one gift of the development faucet.
FAUCET_HYPER_MAX: Final = 1_000_000
#: Rows in a listing: the newest.
LISTING_ROWS_MAX: Final = 50

# ---- tokens and sessions ----------------------------------------------------------------------
#: Time to sign a challenge.
CHALLENGE_MS: Final = 10 * 60 * 1000
#: Life of a token that has not registered.
TOKEN_MS: Final = 24 * 3600 * 1000
#: Life of a delegation: a wallet's permission for one node key.
DELEGATION_MS: Final = 30 * 24 * 3600 * 1000
#: Life of an HTTP session.
SESSION_MS: Final = 12 * 3600 * 1000
#: How often the last use of a session is written down.
SESSION_USED_MS: Final = 60 * 1000
#: Allowed difference of two clocks.
CLOCK_SKEW_MS: Final = 60 * 1000

# ---- settlement -------------------------------------------------------------------------------
#: Withdrawals of one wallet that no epoch counts yet: each is a row that every guardian checks.
WITHDRAWALS_OPEN_MAX: Final = 20
#: Characters of a withdrawal's key.
WITHDRAWAL_KEY_CHARS_MAX: Final = 64
#: Time to send a signed withdrawal: as long as a challenge lasts.
WITHDRAWAL_MS: Final = CHALLENGE_MS
#: Withdrawals in one answer to a guardian: half a megabyte with hardware wallets' transactions.
WITHDRAWALS_PER_PAGE: Final = 256
#: Highest number of an epoch that is looked for: one an hour for a million years.
EPOCH_MAX: Final = 10**10
#: Life of a voucher: longer than any outage of ours that hosts should bridge with one.
VOUCHER_LIFE_S: Final = 30 * 24 * 3600
#: A wallet's voucher is signed and noted again after so long: each is a row of the engine.
VOUCHER_AGAIN_MS: Final = 60_000
#: Vouchers that are held so: as many as hosts that ask in one minute.
VOUCHERS_HELD_MAX: Final = 10_000
#: Days of test pay that stay in the treasury when an epoch is closed: today's, and tomorrow's.
TREASURY_KEPT_DAYS: Final = 2

# ---- time in a job's life ---------------------------------------------------------------------
#: Our agents' heartbeat, and the seed's.
HEARTBEAT_S: Final = 10.0
SEED_HEARTBEAT_S: Final = 15.0
#: A node is offline after this much silence.
OFFLINE_S: Final = 30.0
#: A lease; each heartbeat renews all leases of its session.
LEASE_S: Final = 45.0
#: After a lease ends, before the job goes elsewhere.
LEASE_GRACE_S: Final = 5.0
#: After a socket closed, before its jobs go elsewhere: time to resume.
RESUME_S: Final = 20.0
#: An agent says that a job runs once it has run this long: shorter ones cost no message.
STARTED_AFTER_S: Final = 1.0
#: Seed clients get our test job this long after they register.
TEST_JOB_AFTER_S: Final = 3.0
#: Attempts of one job, whatever the submitter asks for.
ATTEMPTS_MAX: Final = 10
#: Attempts after which a job ends although only agents were lost or gave it back.
LOST_ATTEMPTS_MAX: Final = 5
#: Operators whose hosts a job may end before it is quarantined: one may be bad luck, and two; and
#: such attempts in all, where there are fewer operators.
KILLED_OPERATORS_MAX: Final = 3
KILLED_ATTEMPTS_MAX: Final = 5
#: Ends of jobs that are remembered of a node: half of them must be failures before it is drained.
OUTCOMES_PER_NODE: Final = 20
#: Failures that count before a node is drained, and the submitters that they must come from; one
#: of them counts twice at most, so that nobody drains a competitor's node alone.
STRIKES_MIN: Final = 5
STRIKING_SUBMITTERS_MIN: Final = 3
STRIKES_PER_SUBMITTER_MAX: Final = 2
#: A node's first drain: time to look at it; each further one is twice as long.
DRAIN_FIRST_MS: Final = 10 * 60 * 1000
DRAIN_MAX_MS: Final = 6 * 3600 * 1000
#: A drain longer ago than this is no longer held against the node.
DRAIN_MEMORY_MS: Final = 24 * 3600 * 1000
#: Test jobs in a row that show that a drained node is well.
PROBES_MIN: Final = 3
#: Longest drain that an administrator may order: a month.
DRAIN_BY_ADMIN_S_MAX: Final = 30 * 24 * 3600
#: Wait before attempt n + 1: doubles from the first to the second.
BACKOFF_FIRST_MS: Final = 500
BACKOFF_MAX_MS: Final = 60_000
#: Agents reconnect after a random time up to this, doubling (full jitter).
RECONNECT_FIRST_S: Final = 0.5
RECONNECT_MAX_S: Final = 30.0
#: New WebSockets of one address: as many as it may hold, again after this long.
RECONNECT_ALL_S: Final = 4.0
#: Time for a drain: results come in, then the process ends; and what its end may take beyond it.
DRAIN_S: Final = 25.0
DRAIN_SPARE_S: Final = 5.0

#: A session that lasted this long was a good one: the next reconnect begins with a short wait.
RECONNECT_RESET_S: Final = 30.0

# ---- the agent --------------------------------------------------------------------------------
#: Results that an agent keeps until they are acknowledged; past it it starts no job.
AGENT_RESULTS_MAX: Final = 2048
#: Bytes of those results: a few of the largest, and thousands of common ones.
AGENT_RESULTS_BYTES_MAX: Final = 1024 * MIB
#: Jobs that an agent of ours holds at once; with its results it stays within one `resume`.
AGENT_WINDOW_MAX: Final = 2048
#: Jobs that wait for each slot of an agent: a round trip of 50 ms, at 3 ms a job.
AGENT_WINDOW_PER_SLOT: Final = 16
#: Large outputs on their way to the coordinator at the same time.
UPLOADS_MAX: Final = 2
#: One piece of an upload.
UPLOAD_CHUNK_BYTES: Final = 1 * MIB
#: Inputs of jobs on their way to an agent at the same time.
AGENT_DOWNLOADS_MAX: Final = 4
#: Inputs that an agent keeps on its disk: eight of the largest jobs'.
AGENT_INPUTS_BYTES_MAX: Final = 4 * 1024 * MIB
#: Time until an input has come, all tries and sessions included; the longest answer is 600 s.
AGENT_INPUT_WAIT_S: Final = 1200.0
#: Time without any progress of an upload or its answer.
UPLOAD_IDLE_S: Final = 30.0
#: Between two messages of results: what finishes meanwhile shares a frame.
RESULTS_GAP_S: Final = 0.01
#: The same after a message of one result: a thousand single ones a second, then they share.
RESULT_GAP_S: Final = 0.001
#: Between two messages of receipts: what an agent is paid for meanwhile shares a frame.
RECEIPTS_GAP_S: Final = 0.5
#: Batches in one message of receipts, which one signature answers for: a millisecond's work for who
#: sends it and for who checks the answer.
RECEIPT_BATCHES_TOGETHER_MAX: Final = 16
#: Between two messages of logs and progress.
PROGRESS_GAP_S: Final = 0.5
#: Log text of one attempt in one message: six bytes a character at worst, 192 KiB.
LOG_CHARS_PER_MESSAGE: Final = 32 * KIB
#: Time for the closing handshake of a connection.
CLOSE_S: Final = 2.0

# ---- a job ------------------------------------------------------------------------------------
#: Bytes of a specification: parameters, not data.
SPEC_BYTES_MAX: Final = 64 * KIB
#: Seconds that one attempt may run.
EXECUTION_S_MAX: Final = 24 * 3600
EXECUTION_S_DEFAULT: Final = 300
#: Seconds that a job may wait.
QUEUE_S_MAX: Final = 7 * 24 * 3600
QUEUE_S_DEFAULT: Final = 24 * 3600
#: Seconds from submission to the end, all attempts and waits between them: a week in the queue and
#: some whole attempts. Whoever asks for nothing may wait as long as the queue lets a job wait.
TOTAL_S_MAX: Final = 14 * 24 * 3600
TOTAL_S_DEFAULT: Final = 7 * 24 * 3600
#: Compute capability that a job may ask for: 12.1 is today's newest (121); room for what comes.
COMPUTE_CAPABILITY_MAX: Final = 999
#: Memory of one attempt.
MEMORY_MB_MAX: Final = 1024 * 1024
MEMORY_MB_DEFAULT: Final = 2048
#: All outputs of one job.
OUTPUT_BYTES_MAX: Final = 256 * MIB
#: Outputs of one job.
OUTPUTS_MAX: Final = 16
#: Input arrays of one job: a kernel's arguments; some drivers take 4 KiB of arguments in all.
INPUTS_MAX: Final = 16
#: Letters of an input's name: a parameter of a Python function.
INPUT_NAME_CHARS_MAX: Final = 64
#: All inputs of one job: the two matrices of 8192 x 8192 float32 (each is a blob at most), which
#: leaves three quarters of an attempt's default memory for what is computed from them.
INPUTS_BYTES_MAX: Final = 512 * MIB
#: A command's line.
COMMAND_CHARS_MAX: Final = 8 * KIB
#: A command's output that is kept; twice as much ends the command.
LOG_BYTES_MAX: Final = 1 * MIB
#: Characters that an attempt may say in a second, and at once: an agent of ours tells less.
LIVE_LOG_CHARS_PER_S: Final = 96 * KIB
LIVE_LOG_CHARS_BURST: Final = 256 * KIB
#: Characters of a running job's log that are kept for who comes late, and of all jobs together:
#: 64 MiB of memory at worst.
LIVE_LOG_CHARS_KEPT: Final = 64 * KIB
LIVE_LOGS_CHARS_MAX: Final = 16 * MIB
#: Log text that waits for one peer, of one job and in all: a peer that reads too slowly loses some.
LOG_CHARS_WAITING_PER_JOB: Final = 4 * LOG_CHARS_PER_MESSAGE
LOG_CHARS_WAITING_MAX: Final = 1 * MIB
#: Characters of a log in one answer: 6 bytes each at worst stay below a frame.
LOG_VIEW_CHARS_MAX: Final = 128 * KIB
#: Seconds that a question for more of a log may wait, and that a stream of it may last.
LOG_WAIT_S_MAX: Final = 20.0
LOG_STREAM_S_MAX: Final = 600.0
#: Log text in a seed client's message.
SEED_LOG_CHARS_MAX: Final = 256 * KIB
#: Open jobs of one wallet, and of the house: rows in memory are an index of these.
OPEN_JOBS_PER_WALLET_MAX: Final = 200_000
OPEN_JOBS_MAX: Final = 1_000_000
#: Blocks of a job, the parts that are recomputed alone: 2^22 rows of 16 bytes are 64 MiB.
BLOCKS_MAX: Final = 2**22
#: Blocks recomputed for one result: at some 10 ms each, 40 s of one core. A result of which a
#: hundredth is wrong passes that many checks with probability 1e-18.
SAMPLED_BLOCKS_MAX: Final = 4096
#: Chunk of an output under its Merkle root.
OUTPUT_CHUNK_BYTES: Final = 64 * KIB

#: Decoded specifications and parameters that are remembered, each of at most so many bytes: those
#: of the jobs that move now, 8 MiB.
CACHED_SPECS_MAX: Final = 8_192
CACHED_SPEC_BYTES: Final = 1 * KIB
#: Public ids that are remembered: those of the jobs that move now.
CACHED_IDS_MAX: Final = 16_384

# ---- the log ----------------------------------------------------------------------------------
#: Lines of one event about one peer, a second and the burst above it: who is refused a thousand
#: times a second is known by the first twenty.
LOG_LINES_PER_S: Final = 1.0
LOG_LINES_BURST: Final = 20
#: Lines of one event in all: a line has some 300 bytes, so that is half a gigabyte a day at worst.
LOG_LINES_PER_S_IN_ALL: Final = 20.0
LOG_LINES_BURST_IN_ALL: Final = 500
#: Peers that the log remembers.
LOG_PEERS_MAX: Final = 4_096
#: Characters of one value, and of a traceback; items of a list.
LOG_TEXT_CHARS_MAX: Final = 2_000
LOG_TRACE_CHARS_MAX: Final = 20_000
LOG_ITEMS_MAX: Final = 50

# ---- the engine -------------------------------------------------------------------------------
#: Events in one transaction: at 100 a row costs 5 µs (measured), more only adds latency.
BATCH_EVENTS_MAX: Final = 512
#: Events waiting for the writer; past it submissions are refused (`busy`), results wait.
QUEUE_EVENTS_MAX: Final = 50_000
#: A commit that takes longer hangs: the slowest honest one writes 16 MiB of log to a bad disk.
COMMIT_STUCK_S: Final = 5.0

# ---- the store --------------------------------------------------------------------------------
#: Jobs that the writer remembers: a wallet's worth of open ones; the others are read again.
CACHED_JOBS_MAX: Final = 200_000
#: Bytes of specifications among them.
CACHED_SPEC_BYTES_MAX: Final = 256 * MIB
#: Accounts, wallets and nodes that it remembers, each.
CACHED_ROWS_MAX: Final = 100_000
#: Results that are remembered on their way to their submitters, and their bytes: a second's worth.
RECENT_OUTPUTS_MAX: Final = 8_192
RECENT_OUTPUT_BYTES_MAX: Final = 32 * MIB
#: Batches of receipts that are remembered for their submitters and signers: 64 of 512 are 9 MB.
RECENT_BATCHES_MAX: Final = 64
#: Rows that a reader takes at once, so that no walk over a table holds a lock or a snapshot long.
READ_ROWS_MAX: Final = 1_000
#: Wait for a lock that another program holds on the database.
DATABASE_BUSY_MS: Final = 5_000

# ---- the chain --------------------------------------------------------------------------------
#: Transactions that a chain in process remembers, and slots whose times it does: some 2 KB each.
CHAIN_HISTORY_MAX: Final = 20_000
#: An answer of a node. A program with 10,000 accounts of 1 KiB is 14 MB in base64.
CHAIN_ANSWER_BYTES_MAX: Final = 64 * MIB
#: Time of one question to a node: public ones answer in 0.1 to 2 s.
CHAIN_CALL_S: Final = 10.0
#: Time that one read may take in all, over several nodes and their requests for patience.
CHAIN_PATIENCE_S: Final = 30.0
#: A node that asks for patience is asked again after its own `Retry-After`, but not later.
CHAIN_RETRY_AFTER_S_MAX: Final = 60.0
#: First wait after a failed question, doubled each time, and its end.
CHAIN_BACKOFF_S: Final = 0.25
CHAIN_BACKOFF_S_MAX: Final = 8.0
#: Nodes of one cluster that are asked in turn.
CHAIN_NODES_MAX: Final = 16
#: Deeds whose signatures a journal of ours remembers after they are done.
JOURNAL_ENDED_MAX: Final = 10_000
#: The dev node's bounds. A body: what a validator takes. It holds some 30 transactions.
DEVNODE_BODY_BYTES_MAX: Final = 50 * KIB
#: Calls in one body: what clients put together, not what a body holds.
DEVNODE_BATCH_MAX: Final = 64
#: Connections of each of its two ports: a page opens six, a demo has a few pages and agents.
DEVNODE_CONNECTIONS_MAX: Final = 256
#: Subscriptions of one WebSocket; each is looked at whenever something happens.
DEVNODE_SUBSCRIPTIONS_MAX: Final = 100
#: Silence after which an HTTP connection is closed.
DEVNODE_IDLE_S: Final = 60.0
#: Slots that one call may skip: a week of them.
DEVNODE_WARP_SLOTS_MAX: Final = 2_000_000
#: How often what has changed is saved, where a folder is given.
DEVNODE_SAVE_S: Final = 2.0

assert HEARTBEAT_S * 3 <= OFFLINE_S <= IDLE_S <= LEASE_S
assert SEED_HEARTBEAT_S * 2 <= OFFLINE_S
assert RESUME_S < LEASE_S
assert STRIKES_MIN <= STRIKING_SUBMITTERS_MIN * STRIKES_PER_SUBMITTER_MAX
assert STRIKES_MIN <= OUTCOMES_PER_NODE
assert DRAIN_FIRST_MS < DRAIN_MAX_MS < DRAIN_MEMORY_MS
assert AGENT_RESULTS_MAX + AGENT_WINDOW_MAX <= 4096
assert 6 * LOG_CHARS_PER_MESSAGE < FRAME_BYTES_MAX
assert 6 * max(LOG_VIEW_CHARS_MAX, LOG_CHARS_WAITING_PER_JOB) < FRAME_BYTES_MAX - 64 * KIB
assert LOG_CHARS_PER_MESSAGE / PROGRESS_GAP_S <= LIVE_LOG_CHARS_PER_S
assert LIVE_LOG_CHARS_KEPT < LIVE_LOG_CHARS_BURST <= LOG_BYTES_MAX
assert RESULT_GAP_S <= RESULTS_GAP_S
assert 1 / RESULT_GAP_S + 1 / PROGRESS_GAP_S < MESSAGES_PER_S
assert FRAME_BYTES_MAX_BEFORE_AUTH < FRAME_BYTES_MAX
assert TOKEN_BYTES_MAX + KIB < FRAME_BYTES_MAX_BEFORE_AUTH
assert 4 * TRANSACTION_BYTES_MAX // 3 + 8 < TOKEN_BYTES_MAX
assert OUTPUT_CHUNK_BYTES <= OUTPUT_BYTES_MAX <= BLOB_BYTES_MAX
assert INPUTS_BYTES_MAX <= AGENT_INPUTS_BYTES_MAX
assert BLOB_S < AGENT_INPUT_WAIT_S
assert INPUTS_BYTES_MAX < MEMORY_MB_DEFAULT * MIB
assert CHALLENGES_OPEN_PER_WALLET_MAX * 60_000 >= CHALLENGES_PER_MINUTE * CHALLENGE_MS
assert CHALLENGE_MS < TOKEN_MS < DELEGATION_MS
assert EXECUTION_S_MAX < QUEUE_S_MAX
assert EXECUTION_S_DEFAULT + QUEUE_S_DEFAULT < TOTAL_S_DEFAULT
assert QUEUE_S_MAX <= TOTAL_S_DEFAULT <= TOTAL_S_MAX
assert CHAIN_BACKOFF_S < CHAIN_BACKOFF_S_MAX < CHAIN_PATIENCE_S
assert CHAIN_CALL_S < CHAIN_PATIENCE_S
assert 4 * TRANSACTION_BYTES_MAX // 3 + KIB < DEVNODE_BODY_BYTES_MAX
