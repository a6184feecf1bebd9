"""Waiting to a fraction of a millisecond, for jobs that are due at a moment.

Why: Trio's own sleep ends on the next whole millisecond, and that wait would be told as latency.
The kernel's timer of this process (timerfd) is as good as its scheduler: some 50 µs.
"""

from __future__ import annotations

import ctypes
import os
from types import TracebackType
from typing import Final, Self

import trio

_CLOCK_MONOTONIC: Final = 1
_NONBLOCK: Final = os.O_NONBLOCK
_NS_PER_S: Final = 1_000_000_000
_libc: Final = ctypes.CDLL(None, use_errno=True)


#: `struct itimerspec`: no repetition (s, ns), then the time to the end (s, ns).
_Times: Final = ctypes.c_long * 4


class Alarm:
    """One timer of the kernel's."""

    def __init__(self) -> None:
        self._descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "no timer")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    async def until(self, moment: float) -> None:
        """Wait until this moment of Trio's clock; one that has passed is a checkpoint."""
        wait_ns = int((moment - trio.current_time()) * _NS_PER_S)
        if wait_ns <= 0:
            await trio.lowlevel.checkpoint()
            return
        times = _Times(0, 0, *divmod(wait_ns, _NS_PER_S))
        if _libc.timerfd_settime(self._descriptor, 0, ctypes.byref(times), None):
            raise OSError(ctypes.get_errno(), "no time")
        await trio.lowlevel.wait_readable(self._descriptor)
        os.read(self._descriptor, 8)
