"""What may be promised, and when credit is spent no longer: rules over numbers, nothing else.

In:   sums of the books, times. Out: nothing, or the first refusal that applies.
Not here: where the numbers come from (store, the chain's reader), what follows (epochs), leaf files
against each other (`onchain.publication`).
Rules:
  1. Lifetimes, exits, the reserve and what was taken out of it are never more than was deposited.
  2. Credit is not spent while hosts have earned more than the reserve promises to back, nor once
     two thirds of the time to the depositors' door have passed without an active root.
Not covered: jobs that are out when spending stops are paid; so what is backed may be passed by
what they earn.
Source: the program's own `publish_root` (docs/program.md), of which rule 1 is the same sum.
"""

from __future__ import annotations

from typing import Final

import msgspec

from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import Settlement
from onchain.amounts import format_hyper

#: Codes of why no credit is spent at all.
SPENDING_STOPS: Final = ("settlement_unread", "settlement_late", "reserve_exceeded")


class Promised(msgspec.Struct, frozen=True):
    """What a root would promise, and what is there; base units."""

    #: Sum of the earnings leaves, and of the exit leaves.
    total: int
    total_exitable: int
    reserve: int
    reserve_withdrawn: int
    deposited: int


def check_solvent(promised: Promised) -> None:
    """Rule 1.

    Raises:
        Refusal: `insolvent`, with the numbers.
    """
    wanted = (
        promised.total + promised.total_exitable + promised.reserve + promised.reserve_withdrawn
    )
    if wanted > promised.deposited:
        raise Refusal(
            "insolvent",
            f"earned {format_hyper(promised.total)}, exitable "
            f"{format_hyper(promised.total_exitable)}, reserve {format_hyper(promised.reserve)}, "
            f"taken out of it {format_hyper(promised.reserve_withdrawn)}: "
            f"{format_hyper(wanted - promised.deposited)} HYPER more than the "
            f"{format_hyper(promised.deposited)} that were deposited",
        )


def spend_until_ms(now_ms: int, now_s: int, last_activation_s: int, exit_after_s: int) -> int:
    """Until when credit is spent, Unix ms on our clock (rule 2).

    Args:
        now_ms: Our clock.
        now_s: The chain's, at the same moment: only its differences are used.
        last_activation_s: When a root last became active, on the chain's clock.
        exit_after_s: Seconds without one after which depositors may leave.
    """
    left_s = last_activation_s + 2 * exit_after_s // 3 - now_s
    return max(0, now_ms + 1000 * left_s)


def why_no_spending(settlement: Settlement | None, now_ms: int) -> Refusal | None:
    """Rule 2: why no credit is spent now, if it is not."""
    if settlement is None or not settlement.told_ms:
        return Refusal("settlement_unread")
    if now_ms >= settlement.spend_until_ms:
        return Refusal("settlement_late")
    if settlement.promise and settlement.unrooted > settlement.promise:
        return Refusal(
            "reserve_exceeded",
            f"hosts have earned {format_hyper(settlement.unrooted)} HYPER that no root covers; the "
            f"reserve backs {format_hyper(settlement.promise)}",
        )
    return None
