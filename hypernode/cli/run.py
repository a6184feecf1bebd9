"""The one entry of client commands into Trio: signals end a command cleanly, without a traceback.

Rules:
  1. SIGINT and SIGTERM cancel at once (exit statuses 130 and 143): every `finally` runs.
  2. A second signal does not wait for them.
Not here: services, which drain (`coordinator.signals`, `agent.main`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from hypernode.cli.exit import Exit, Interrupted, leaf_of

T = TypeVar("T")


def run_command(ask: Callable[[], Awaitable[T]]) -> T:
    """Run one command to its end.

    Raises:
        Interrupted: a signal came first.
    """
    try:
        return trio.run(_under_signals, ask)
    except BaseExceptionGroup as group:
        raise leaf_of(group) from None


async def _under_signals(ask: Callable[[], Awaitable[T]]) -> T:
    came: list[int] = []

    async def listen(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                if came:
                    # What hangs in its `finally` does not answer a second request either.
                    os._exit(_status_of(came[0]))
                came.append(number)
                scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            await nursery.start(listen, scope)
            result = await ask()
            nursery.cancel_scope.cancel()
            return result
        nursery.cancel_scope.cancel()
    raise Interrupted(_status_of(came[0]))


def _status_of(number: int) -> Exit:
    return Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED
