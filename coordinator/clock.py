"""Where the time comes from: one place, so that tests own it.

Pure code receives `now_ms`; shells hold a `Clock`. Leases use `monotonic`, records use `wall_ms`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

import trio


class Clock(Protocol):
    def wall_ms(self) -> int:
        """Unix time, ms: for records, expiries and what people read."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump: for leases and deadlines."""
        ...


class SystemClock:
    """The machine's clocks; `monotonic` is Trio's, so that a mock clock of Trio is followed."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return trio.current_time()


class TrioClock:
    """Wall time that follows Trio's clock from a given start: for worlds under a mock clock."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._zero = trio.current_time()

    def wall_ms(self) -> int:
        return self._start_ms + int((trio.current_time() - self._zero) * 1000)

    def monotonic(self) -> float:
        return trio.current_time()


def iso(ms: int) -> str:
    """ISO 8601 in UTC, to the millisecond: `2026-11-24T08:00:00.000Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def iso_seconds(ms: int) -> str:
    """ISO 8601 in UTC, to the second, as signed texts have it."""
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat(timespec="seconds")[:-6] + "Z"
