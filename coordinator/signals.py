"""How the process ends: a drain that can be waited for, and the signals that begin it.

Rules:
  1. SIGTERM begins the drain; when the work has ended the exit code is 0.
  2. SIGINT (Ctrl-C) ends at once with 130; no traceback, since nothing went wrong.
  3. A second signal during the drain ends at once: 130 for SIGINT, 143 for SIGTERM.
  4. An exception of the work is not touched: it leaves `run_until_signal`.
  5. SIGHUP reads again what can be read again, as services do; but where it comes since the
     terminal on standard input is gone, it begins the drain.
  6. What hangs in its last breath (a disk that does not answer) is cut off: `END_S` after a second
     signal, `end_s` after the first one. The disk is then as after `kill -9`: nothing is lost.
Why: plain `trio.run` answers Ctrl-C with a traceback of exception groups, and SIGTERM with death.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import trio

#: For what must run at the end though nobody waits any more.
END_S: Final = 3.0
#: The exit status of a drain that hung.
HUNG: Final = 1


class Drain:
    """Begins once, by whoever wants the process to stop; everybody else looks or waits."""

    def __init__(self) -> None:
        self._event = trio.Event()

    @property
    def is_draining(self) -> bool:
        return self._event.is_set()

    def begin(self) -> None:
        """Stop taking work in; what runs may end."""
        self._event.set()

    async def wait(self) -> None:
        """Until the drain begins."""
        await self._event.wait()


def run_until_signal(
    main: Callable[[Drain], Awaitable[None]], *, end_s: float | None = None
) -> int:
    """Run `main` under Trio until it returns or a signal ends it.

    Args:
        main: The work; it returns by itself some time after the drain has begun.
        end_s: Seconds after the first signal at which a process that hangs is ended; None: never.

    Returns:
        The exit code of the process.
    """
    timers: list[threading.Timer] = []

    def cut_off(exit_code: int, seconds: float) -> None:
        # A thread, and no `finally`: Trio waits for a thread that waits for a disk.
        timer = threading.Timer(seconds, os._exit, (exit_code,))
        timer.daemon = True
        timer.start()
        timers.append(timer)

    try:
        return trio.run(partial(_supervise, main, end_s, cut_off))
    finally:
        for timer in timers:
            timer.cancel()


async def _supervise(
    main: Callable[[Drain], Awaitable[None]],
    end_s: float | None,
    cut_off: Callable[[int, float], None],
) -> int:
    drain = Drain()
    exit_code = 0

    async with trio.open_nursery() as nursery:

        async def heed(task_status: trio.TaskStatus[None]) -> None:
            nonlocal exit_code
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for number in signals:
                    if number == signal.SIGTERM and not drain.is_draining:
                        drain.begin()
                        if end_s is not None:
                            cut_off(HUNG, end_s)
                        continue
                    exit_code = 128 + number
                    cut_off(exit_code, END_S)
                    nursery.cancel_scope.cancel()

        await nursery.start(heed)
        await main(drain)
        nursery.cancel_scope.cancel()
    return exit_code


async def heed_hangups(
    hangups: AsyncIterator[int], drain: Drain, reload: Callable[[], Awaitable[None]]
) -> None:
    """Answer SIGHUP, for ever.

    Args:
        hangups: A receiver of that signal.
        drain: Begun when the terminal is gone.
        reload: Reads again what can be.
    """
    had_terminal = _has_terminal()
    async for _ in hangups:
        if had_terminal and not _has_terminal():
            drain.begin()
        else:
            await reload()


def _has_terminal() -> bool:
    try:
        return os.isatty(sys.stdin.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or a test's
        return False
