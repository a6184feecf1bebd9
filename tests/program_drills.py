"""The market that the drills are held on, and how they are counted: tokens lost, time to recovery.

One depositor with 1,000 HYPER, a reserve of 50, two wallets with 300 in an active root; a window of
a day lets 100 out, a root nobody approves waits three days, an approved one six hours. The token
has six decimals. Each call of a drill happens on the chain and in the model (`Twin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tests.program_twin import Twin
from tests.settlement_model.market import ok
from tests.settlement_model.setting import DAY, HOUR, LIMITS

HYPER: Final = 1_000_000
THIEVES: Final = tuple(f"thief {n}" for n in range(6))
EARNED: Final = {"wally": 200 * HYPER, "wanda": 100 * HYPER}
CREDIT: Final = {"alice": 650 * HYPER}
RESERVE: Final = 50 * HYPER
WINDOW: Final = 100 * HYPER
DRILLED: Final = replace(
    LIMITS,
    max_epoch_increase=300 * HYPER,
    window_limit=WINDOW,
    advance_cap=20 * HYPER,
    wallet_advance_cap=5 * HYPER,
    voucher_limit=WINDOW,
    min_epoch_interval=DAY,
    slow_delay=3 * DAY,
    fast_delay=6 * HOUR,
    window_secs=DAY,
    exit_after=10 * DAY,
    config_delay=2 * DAY,
)


class Drill(Twin):
    """A market in good order; time is counted from here."""

    def __init__(self) -> None:
        super().__init__(replace(DRILLED))
        self.with_vouchers()
        ok(self.deposit("alice", 1_000 * HYPER))
        ok(self.deposit("reserve", RESERVE))
        ok(self.settle(EARNED, CREDIT))
        self.wait(DAY)
        self.start = self.now

    @property
    def passed(self) -> int:
        """Seconds since the drill began."""
        return self.now - self.start

    @property
    def stolen(self) -> int:
        """What thieves have in their accounts."""
        return sum(self.balance(name) for name in THIEVES)

    def paid_out(self, names: Mapping[str, int]) -> bool:
        """Every one of those wallets claims what it is due, window after window, and has it."""
        for name, due in names.items():
            for _ in range(20):
                if self.balance(name) >= due:
                    break
                ok(self.claim(name))
                self.wait(DAY)
        return all(self.balance(name) == due for name, due in names.items())

    def root_after_theft(self) -> dict[str, int]:
        """True earnings, and a leaf for each thief of what it took: the loss is booked."""
        taken = {name: self.balance(name) for name in THIEVES if self.balance(name)}
        return {**EARNED, **taken}
