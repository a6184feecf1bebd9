"""Bounds of what proves earnings: papers that agents keep, receipts that guardians keep.

As `coordinator.limits`: each with its reason, past each a named refusal.
"""

from __future__ import annotations

from typing import Final

from coordinator.limits import (
    BODY_BYTES_MAX,
    CONNECTIONS_MAX,
    FRAME_BYTES_MAX,
    MIB,
    VOUCHER_AGAIN_MS,
    VOUCHER_LIFE_S,
)

# ---- proofs and vouchers on their way to agents -------------------------------------------------
#: A wallet whose agents are here is looked at again after so long, whether it needs a voucher: if
#: we vanish, it loses what it earned since (and what was withheld) until the leaf file is found.
VOUCHER_LOOK_S: Final = 600.0
#: It needs one once more than one part in so many of what no root covers is not vouched for: less
#: is not worth a row and a signature, and so a wallet's vouchers grow rarer until the next root.
VOUCHER_UNVOUCHED_PART: Final = 20
#: Or once the one that it has ends so soon: half its life, so that an outage finds a long one.
VOUCHER_RENEW_S: Final = VOUCHER_LIFE_S // 2
#: Between two wallets whose proofs and vouchers are looked up and sent: 10,000 agents of as many
#: wallets have theirs in 200 s. One of a million leaves takes 0.1 ms of the loop's thread and 1 ms
#: of another, 0.1 ms where the neighbour's was asked before (measured).
PAPERS_GAP_S: Final = 0.02
#: Agents of one wallet that are sent its papers between two such gaps: 1,000 nodes take 1.3 s.
PAPERS_TOGETHER_MAX: Final = 16
#: Proofs that an agent keeps: the chain pays the active root and the one before.
PROOFS_KEPT: Final = 2
#: Vouchers that it keeps, one a key epoch: each lives for a month, and keys change by a proposal
#: that takes days.
VOUCHERS_KEPT_MAX: Final = 8

# ---- receipts on their way to guardians ---------------------------------------------------------
#: Guardians to which an agent sends its receipts.
GUARDIANS_MAX: Final = 4
#: Between two posts to one: what was paid meanwhile shares a request, a handshake and a write.
GUARDIAN_EVERY_S: Final = 30.0
#: Longest wait after a failed one, doubled each time: a guardian that was away for a night is told
#: soon after.
GUARDIAN_RETRY_S_MAX: Final = 600.0
#: Receipts in one post: the longest line that a frame of receipts can become, and as much again.
GUARDIAN_BODY_BYTES_MAX: Final = 2 * FRAME_BYTES_MAX
#: Lines of one post that may not hold before the rest is left for the next one: each costs a check
#: of a signature, and an agent that was killed leaves half a line.
GUARDIAN_BAD_LINES_MAX: Final = 64
#: Posts of one network, and the burst above it: a farm of 1,000 nodes behind one address sends 33 a
#: second where each has earned.
GUARDIAN_POSTS_PER_S: Final = 50.0
GUARDIAN_POSTS_BURST: Final = 200
#: Connections at a time, and of one network.
GUARDIAN_CONNECTIONS_MAX: Final = 128
GUARDIAN_CONNECTIONS_PER_NETWORK_MAX: Final = 32
#: Nodes whose receipts a guardian keeps: as many as a coordinator has connections, twice.
GUARDIAN_NODES_MAX: Final = 20_000
#: Bytes of one node's receipts, a million of them (some 800 bytes each, four a batch), and of all:
#: a disk of today.
GUARDIAN_NODE_BYTES_MAX: Final = 1024 * MIB
GUARDIAN_STORE_BYTES_MAX: Final = 64 * 1024 * MIB

assert VOUCHER_AGAIN_MS / 1000 < VOUCHER_LOOK_S < VOUCHER_RENEW_S < VOUCHER_LIFE_S
assert CONNECTIONS_MAX * PAPERS_GAP_S < VOUCHER_LOOK_S
assert FRAME_BYTES_MAX < GUARDIAN_BODY_BYTES_MAX <= BODY_BYTES_MAX
assert GUARDIAN_EVERY_S < GUARDIAN_RETRY_S_MAX
