"""Whether a device may go on working, decided purely: by what NVML reads, and by how its jobs end.

In:   readings, ends of jobs, attempts to warm it up again; each with its time.
Out:  why the device is out, in words and with what to do; empty while it works.
Rules:
  1. Lost (NVML cannot reach it any more), memory errors that could not be corrected, and a driver
     that asks for a reset: out at once; what runs there is given back.
  2. Hotter than its own slow-down limit: out until it is `COOL_CELSIUS` below; what runs may end.
  3. `FAILURES_MAX` different jobs in a row that failed by the device's own fault: out.
  4. What is out by 1 or 3 is tried again, later each time: it is back when its worker warms up. The
     first failure after that puts it out again.
Not covered: a device that computes wrong results silently: verification finds those.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

#: Different jobs in a row: one may be a bad job, three are a bad device.
FAILURES_MAX: Final = 3
#: A device that ran hot must be this much below its limit, or it would come and go.
COOL_CELSIUS: Final = 10
#: Where a driver tells no limit: the slow-down temperature of common cards is 87 to 95.
LIMIT_CELSIUS: Final = 95
#: Before the first try to have it back, and the longest wait between two.
RETRY_FIRST_S: Final = 60.0
RETRY_MAX_S: Final = 3600.0

_LOST: Final = (
    "it fell off the bus ({}): look for `Xid` in `dmesg`, then reset it (`nvidia-smi -r`) or "
    "restart the machine"
)
_ERRORS: Final = (
    "its memory had {} errors that could not be corrected: reset it (`nvidia-smi -r`); if they "
    "come back, replace it"
)

State: TypeAlias = Literal["works", "hot", "lost", "memory errors", "fails"]


class Reading(msgspec.Struct, frozen=True):
    """What NVML says of a device now; None where it has no answer."""

    #: Why NVML cannot reach it; empty if it can.
    lost: str = ""
    celsius: int | None = None
    #: The card's own slow-down temperature.
    limit_celsius: int | None = None
    #: Memory errors that could not be corrected, since the driver was loaded.
    memory_errors: int | None = None


class Health:
    """One device's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.state: State = "works"
        #: Why it is out, and what to do; empty while it works.
        self.reason = ""
        self._why = ""
        self._failed: set[str] = set()
        self._last_failure = ""
        self._errors_known: int | None = None
        self._retries = 0
        self._retry_at = 0.0

    @property
    def works(self) -> bool:
        return self.state == "works"

    @property
    def is_gone(self) -> bool:
        """Whether what runs there cannot be trusted to end."""
        return self.state in {"lost", "memory errors"}

    def is_due(self, now: float) -> bool:
        """Whether to try to have it back."""
        return self.state in {"lost", "memory errors", "fails"} and now >= self._retry_at

    def see(self, reading: Reading, now: float) -> None:
        """What NVML says now."""
        if reading.lost:
            if self.state != "lost":
                self._put_out("lost", _LOST.format(reading.lost), now)
            return
        self._see_memory(reading.memory_errors, now)
        if self.state in {"works", "hot"}:
            self._see_heat(reading)

    def _see_memory(self, errors: int | None, now: float) -> None:
        if errors is None:
            return
        known, self._errors_known = self._errors_known, errors
        if known is not None and errors > known and self.works:
            self._put_out("memory errors", _ERRORS.format(errors - known), now)

    def _see_heat(self, reading: Reading) -> None:
        if reading.celsius is None:
            return
        limit = reading.limit_celsius or LIMIT_CELSIUS
        if self.works and reading.celsius >= limit:
            self.state = "hot"
            self.reason = (
                f"it is too hot ({reading.celsius} °C, its limit is {limit} °C): it takes jobs "
                f"again below {limit - COOL_CELSIUS} °C; check fans, dust and the power limit"
            )
        elif self.state == "hot" and reading.celsius <= limit - COOL_CELSIUS:
            self.state, self.reason = "works", ""

    def job_failed(self, job: str, detail: str, now: float) -> None:
        """A job ended by the device's fault, not its own."""
        self._failed.add(job)
        self._last_failure = detail
        if self.works and len(self._failed) >= (1 if self._retries else FAILURES_MAX):
            count = len(self._failed)
            told = (
                f"{count} jobs in a row failed on it" if count > 1 else "a job failed on it again"
            )
            self._put_out("fails", f"{told}, the last one with: {detail}", now)

    def job_ended(self) -> None:
        """A job ran to a good end, or failed by its own fault."""
        self._failed.clear()
        self._retries = 0

    def warmed(self) -> None:
        """Its worker has warmed up again: it may work."""
        self.state, self.reason = "works", ""
        self._failed.clear()

    def stayed_cold(self, why: str, now: float) -> None:
        """Its worker did not warm up."""
        if self.works:
            self._put_out("fails", f"its worker does not start: {why}", now)
        else:
            self._put_out(self.state, self._why, now)

    def _put_out(self, state: State, why: str, now: float) -> None:
        self.state, self._why = state, why
        wait_s = min(RETRY_FIRST_S * 2.0**self._retries, RETRY_MAX_S)
        self._retries += 1
        self._retry_at = now + wait_s
        self.reason = f"{why} (tried again in {wait_s:.0f} s)"

    def __str__(self) -> str:
        return f"{self._name} is out: {self.reason}" if self.reason else self._name
