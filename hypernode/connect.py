"""Tasks of a connection to a coordinator that fail alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from coordinator.protocol.streams import first_of


@asynccontextmanager
async def kept_apart(
    parent: trio.Nursery,
    kinds: tuple[type[Exception], ...],
    on_failure: Callable[[Exception], None],
) -> AsyncIterator[trio.Nursery]:
    """A nursery for the time of a block, below `parent`.

    Args:
        parent: Where it lives.
        kinds: Errors of its tasks that end it alone, and reach neither the parent nor the block.
        on_failure: Is told of the first of them.
    """

    async def hold(task_status: trio.TaskStatus[trio.Nursery]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await trio.sleep_forever()
        except* kinds as group:
            on_failure(first_of(group))

    nursery = await parent.start(hold)
    try:
        yield nursery
    finally:
        nursery.cancel_scope.cancel()
