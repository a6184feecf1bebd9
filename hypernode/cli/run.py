"""The one entry into Trio: signals end a command cleanly, without a traceback.

Rules:
  1. SIGINT cancels at once (exit status 130): every `finally` runs.
  2. SIGTERM lets a service drain and exit with its own status; other commands are cancelled (143).
  3. A second signal of either kind does not wait: what is left is cancelled, or left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from hypernode.cli.exit import Exit, Interrupted

T = TypeVar("T")


def run_service(serve: Callable[[trio.Event], Awaitable[int]]) -> int:
    """Run a service until it ends by itself or a signal ends it.

    Args:
        serve: Gets an event that asks it to drain; returns an exit status.
    """

    async def main() -> int:
        return await _under_signals(serve, can_drain=True)

    return _run(main)


def run_command(ask: Callable[[], Awaitable[T]]) -> T:
    """Run one command to its end.

    Raises:
        Interrupted: a signal came first.
    """

    async def main() -> T:
        return await _under_signals(lambda _drain: ask(), can_drain=False)

    return _run(main)


def _run(main: Callable[[], Awaitable[T]]) -> T:
    try:
        return trio.run(main)
    except BaseExceptionGroup as group:
        raise _only_one(group) from None


async def _under_signals(work: Callable[[trio.Event], Awaitable[T]], *, can_drain: bool) -> T:
    drain = trio.Event()
    came: list[int] = []

    async def listen(scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                came.append(number)
                if scope.cancel_called and len(came) > 1:
                    # What hangs in its `finally` does not answer a second request either.
                    os._exit(_status_of(came[0]))
                if number == signal.SIGTERM and can_drain and len(came) == 1:
                    drain.set()
                else:
                    scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(listen, scope)
            result = await work(drain)
            nursery.cancel_scope.cancel()
            return result
        nursery.cancel_scope.cancel()
    raise Interrupted(_status_of(came[0]))


def _status_of(number: int) -> Exit:
    return Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED


def _only_one(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The single exception of nested groups: a nursery wraps what a plain call would raise."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found
