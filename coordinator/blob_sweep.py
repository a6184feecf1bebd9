"""Old blobs are deleted: rows in a transaction, then files, then the note of what was to go.

A crash in between leaves the note: the next sweep deletes the file.
Not here: which blobs are old (store), which files are too young to be meant (blobs).
"""

from __future__ import annotations

from typing import Final

import trio

from coordinator import events as ev
from coordinator.blobs import BlobFolder
from coordinator.limits import BLOB_KEEP_MS, UPLOAD_KEEP_S
from coordinator.log import get_log
from coordinator.operations import Operations
from coordinator.protocol.errors import Refusal
from coordinator.uploads import Uploads

log = get_log(__name__)

#: How often old blobs are looked for.
SWEEP_EVERY_S: Final = 600.0


async def sweep_blobs(operations: Operations, blobs: BlobFolder, uploads: Uploads) -> None:
    """Delete blobs past their time, for ever."""
    while True:
        try:
            await sweep_once(operations, blobs)
            uploads.sweep(operations.clock.wall_ms() / 1000 - UPLOAD_KEEP_S)
        except Refusal as refusal:
            # Full or stopped: who asks for more says so himself.
            log.warning("old blobs stay for now", code=refusal.code)
        except OSError as error:
            log.error("cannot delete old blobs", error=str(error))  # noqa: TRY400
        await trio.sleep(SWEEP_EVERY_S)


async def sweep_once(operations: Operations, blobs: BlobFolder) -> int:
    """Delete some blobs past their time; how many files could go."""
    before_ms = operations.clock.wall_ms() - BLOB_KEEP_MS - operations.rules.withhold_ms
    due = ev.BlobsDue(before_ms)
    gone: tuple[bytes, ...] = await operations.writer.ask(due)
    if gone:
        await trio.to_thread.run_sync(blobs.delete, gone, before_ms / 1000)
        operations.writer.tell(ev.BlobsGone(gone))
    return len(gone)
