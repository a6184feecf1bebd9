"""Where the time comes from: one place, so that tests own it.

Pure code receives `now_ms`; shells hold a `Clock`. Leases use `monotonic`, records use `wall_ms`.
The coordinator's own is a `SteadyClock`: timeouts, prices of commands and withholding windows count
on it, and it does not jump when somebody sets the system's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

import trio

#: How fast the coordinator's clock follows a system clock that was set: 1 ms a second. A command's
#: price or a wait of an hour is then 3.6 s off at most, whatever anybody does to the system clock.
CLOCK_SLEW: Final = 0.001


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


def _system_ms() -> int:
    return time.time_ns() // 1_000_000


class SteadyClock:
    """Unix time that never jumps and never falls: the system's at the start, then monotonic.

    A system clock that is set meanwhile is followed slowly (`CLOCK_SLEW`). A restart follows it at
    once: between two processes the system's clock is the only one that there is.
    """

    def __init__(
        self,
        system_ms: Callable[[], int] = _system_ms,
        monotonic: Callable[[], float] = trio.current_time,
    ) -> None:
        self._system_ms = system_ms
        self._monotonic = monotonic
        self._at = monotonic()
        self._ms = float(system_ms())

    def wall_ms(self) -> int:
        """Unix time, ms, as the house counts it."""
        now = self._monotonic()
        passed_ms = (now - self._at) * 1000
        self._at = now
        self._ms += passed_ms
        slew_ms = passed_ms * CLOCK_SLEW
        self._ms += max(-slew_ms, min(slew_ms, self._system_ms() - self._ms))
        return int(self._ms)

    def monotonic(self) -> float:
        """Trio's clock, or whatever stands for it."""
        return self._monotonic()

    def ahead_ms(self) -> int:
        """How far the house's time is ahead of the system's: some ms, or somebody has set it."""
        return self.wall_ms() - self._system_ms()


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
