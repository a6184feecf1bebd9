"""After a restart the queue comes back page by page, while the house already works.

What must be known before the first agent speaks is read at once (`Operations.restore`): it is
bounded by what agents hold. Jobs that wait for a node or for a verdict may be hundreds of
thousands: they are read off Trio's loop, oldest first, and until their page has come new jobs
go ahead of them for some seconds.
Rules:
  1. A job that an effect told of since the start is left to its effects: the page may be older.
  2. A store that fails is asked again: no job waits for ever because of one bad read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from coordinator.limits import READ_ROWS_MAX
from coordinator.log import get_log
from coordinator.operations import Operations
from coordinator.store.interface import Reader, StoreError
from coordinator.store.values import Job, JobState, Output

log = get_log(__name__)

#: Wait after a read that failed.
RETRY_S: Final = 1.0
Page = list[tuple[Job, tuple[Output, ...]]]


async def refill(
    operations: Operations, read: Callable[[Callable[[Reader], Page]], Awaitable[Any]]
) -> None:
    """Bring the queue and the verifier's work back, then end.

    Args:
        operations: Just restored.
        read: Runs a function of the reader off Trio's loop.
    """
    began, last, count = operations.clock.monotonic(), 0, 0
    while True:
        try:
            page: Page = await read(lambda reader, after=last: _page(reader, after))  # type: ignore[misc]
        except StoreError as error:
            log.error("cannot read the queue", error=str(error), jobs=count)  # noqa: TRY400
            await trio.sleep(RETRY_S)
            continue
        for job, outputs in page:
            operations.take_back(job, outputs)
        count += len(page)
        if len(page) < READ_ROWS_MAX:
            break
        last = page[-1][0].id
        # A page is some milliseconds of work: whoever waits has a turn between two of them.
        await trio.lowlevel.checkpoint()
    operations.moved = None
    if count:
        seconds = round(operations.clock.monotonic() - began, 3)
        log.info("the queue is back", jobs=count, seconds=seconds)


def _page(reader: Reader, after: int) -> Page:
    return [
        (job, tuple(reader.outputs(job.id, job.fence)) if job.state is JobState.VERIFYING else ())
        for job in reader.waiting_jobs(after, READ_ROWS_MAX)
    ]
