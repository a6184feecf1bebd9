"""What the settlement program costs, as a table: `python -m tests.program_costs`.

Units are those of the whole transaction, its SetComputeUnitLimit included (150).
Bytes are those of the transaction, its fee paid by the payer of the records.
It needs solders and nothing else: the newest virtual machine and token program are asked
the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final, NamedTuple

from solders.compute_budget import set_compute_unit_limit
from solders.instruction import Instruction

from onchain.merkle import hash_node
from tests.program_market import (
    BUYER,
    DAY,
    GUARDIAN,
    HOST,
    LIMITS,
    NO_KEY,
    PAYER,
    PUBLISHER,
    Market,
    opened,
)
from tests.program_trees import EARNINGS, EXIT, leaf_hash

DEPTHS: Final = (1, 10, 17, 20)
LIMIT: Final = set_compute_unit_limit(1_400_000)


class Cost(NamedTuple):
    units: int
    size: int


def deep_root(market: Market, lifetime: int, depth: int) -> dict[str, Any]:
    """Publish and activate a root over 2^depth leaves; the arguments that claim the host's."""
    index = 0b1011 % (1 << depth)
    hash_ = leaf_hash(EARNINGS, bytes(market.ledger), bytes(HOST), lifetime)
    proof = [sha256(b"%d %d" % (level, lifetime)).digest() for level in range(depth)]
    for level, sibling in enumerate(proof):
        right = index >> level & 1
        hash_ = hash_node(sibling, hash_) if right else hash_node(hash_, sibling)
    root = {"epoch": market.state()["last_epoch"] + 1, "root": hash_}
    rest = {"data_hash": NO_KEY, "total": lifetime, "total_exitable": 0, "leaf_count": 1 << depth}
    done = [
        market.run("publish_root", root | rest, authority=PUBLISHER),
        market.run("approve_root", root, authority=GUARDIAN),
    ]
    market.wait(LIMITS["fast_delay"])
    done.append(market.run("activate_root"))
    assert [each.error for each in done] == [None, None, None]
    return {"epoch": root["epoch"], "index": index, "lifetime": lifetime, "proof": proof}


def cost(market: Market, *instructions: Instruction) -> Cost:
    """Run a transaction that must succeed."""
    whole = [LIMIT, *instructions]
    size = len(bytes(market.world.transaction(whole, fee_payer=PAYER)))
    done = market.world.send(whole, fee_payer=PAYER)
    assert done.error is None, done
    return Cost(done.units, size)


def claims(depth: int) -> Iterator[tuple[str, Cost]]:
    """A wallet's first claim, which makes its record, and a later one."""
    market = opened()
    for name, lifetime in (("first", 1_000_000), ("again", 1_500_000)):
        args = deep_root(market, lifetime, depth)
        yield f"claim, {name}, depth {depth}", cost(market, market.instruction("claim", args, {}))


def others() -> Iterator[tuple[str, Cost]]:
    """Money's other ways, on a tree of two leaves."""
    market = opened()
    deposit = market.instruction("deposit", {"amount": 1_000}, {"authority": BUYER})
    yield "deposit, again", cost(market, deposit)
    for name, amount in (("first", 100_000), ("again", 200_000)):
        yield f"redeem, {name}", cost(market, *market.voucher(amount))
    market.root({HOST: 1_000_000}, {BUYER: 8_000_000})
    for name in ("cover", "claim_to"):
        leaf = market.leaf(1, EARNINGS, HOST)
        yield name, cost(market, market.instruction(name, leaf, {}))
    market.wait(10 * DAY)
    yield "exit", cost(market, market.instruction("exit", market.leaf(1, EXIT, BUYER), {}))


def table() -> dict[str, Cost]:
    rows = [row for depth in DEPTHS for row in claims(depth)]
    return dict([*rows, *others()])


def main() -> int:
    """Print the table as JSON: row → units and bytes."""
    json.dump(table(), sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
