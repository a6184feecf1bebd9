"""Moments as people read them: in UTC, and how far off they are on the clock that decides.

On a chain that is the chain's clock, which a development chain moves at will: without it only the
moment itself is told.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from hypernode.cli.agent_words import duration

#: What an administrator's pause lasts: until it is lifted.
FOR_EVER: Final = 2**63 - 1


def utc(unix_s: int) -> str:
    """A moment for people; a clock that no calendar has stays a number."""
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return f"{unix_s} s"


def moment(at_s: int, now_s: int | None) -> str:
    """`2026-11-25 10:00:00 UTC, in 3 h 20 min on the chain's clock`."""
    if now_s is None:
        return utc(at_s)
    away = at_s - now_s
    far = f"in {duration(away)}" if away > 0 else f"{duration(-away)} ago" if away else "now"
    return f"{utc(at_s)}, {far} on the chain's clock"


def again(at_s: int, now_s: int | None) -> str:
    """When something that is refused now is worth another try."""
    if at_s == FOR_EVER:
        return "until the administrator's proposal to lift it was applied"
    return f"not before {moment(at_s, now_s)}"
