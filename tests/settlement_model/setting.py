"""Where the stories of the model play: one program, one mint, names for keys, limits, trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from tests.settlement_model.calls import Argument
from tests.settlement_model.state import Limits
from tests.settlement_model.tree import earnings_leaf, exit_leaf, proof_of

HOUR: Final = 3_600
DAY: Final = 86_400
START: Final = 1_800_000_000
DECIMALS: Final = 6
#: Slots a second while all is well.
SLOTS_PER_SECOND: Final = 2.5
LIMITS: Final = Limits(
    max_epoch_increase=1_000_000,
    window_limit=1_000_000,
    advance_cap=500,
    wallet_advance_cap=200,
    voucher_limit=1_000_000,
    min_deposit=10,
    min_epoch_interval=HOUR,
    slow_delay=DAY,
    fast_delay=HOUR,
    window_secs=100,
    exit_after=7 * DAY,
    config_delay=2 * DAY,
)


def key(name: str) -> bytes:
    """The key of somebody or something of that name."""
    return sha256(name.encode()).digest()


PROGRAM: Final = key("the program")
MINT: Final = key("the mint")
ROLE_NAMES: Final = ("admin", "publisher", "guardian", "voucher_key")


@dataclass
class Tree:
    """The leaves of one root, by name: earnings first, then exits."""

    ledger: bytes
    earnings: Mapping[str, int]
    exits: Mapping[str, int]

    @cached_property
    def leaves(self) -> list[bytes]:
        paid = [earnings_leaf(self.ledger, key(who), sum_) for who, sum_ in self.earnings.items()]
        return paid + [exit_leaf(self.ledger, key(who), sum_) for who, sum_ in self.exits.items()]

    def proof(self, index: int) -> dict[str, Argument]:
        return {"index": index, "proof": proof_of(self.leaves, index)}

    def earned(self, who: str) -> dict[str, Argument]:
        """Arguments of claim and cover, but for the epoch."""
        index = list(self.earnings).index(who)
        return {**self.proof(index), "lifetime": self.earnings[who]}

    def exitable(self, who: str) -> dict[str, Argument]:
        """Arguments of exit, but for the epoch."""
        index = len(self.earnings) + list(self.exits).index(who)
        return {**self.proof(index), "exitable": self.exits[who]}
