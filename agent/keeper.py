"""Brings finished results into the outbox: those of a burst share one write.

In:   results, as attempts end.
Out:  the same in the outbox (fsync), and a call that says so.
Rules:
  1. A result that the disk does not take is tried again for ever: it is never dropped.
  2. When results pile up here, or the disk takes none, no job is started (`is_behind`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable
from typing import Final

import trio

from agent.bells import Bell
from agent.outbox import AttemptId, Kept, Outbox
from coordinator.limits import ITEMS_PER_MESSAGE_MAX, OUTPUT_BYTES_MAX
from coordinator.log import get_log

#: Wait before the disk is tried again.
_DISK_RETRY_S: Final = 1.0
_log = get_log("agent.keeper")


def disk_trouble(error: OSError) -> str:
    """What is wrong with the disk, and what to do."""
    return _TROUBLES.get(error.errno or 0, f"the state directory cannot be written: {error}")


_TROUBLES: Final = {
    errno.ENOSPC: "the disk of the state directory is full: make room; no job starts until then",
    errno.EDQUOT: "the quota of the state directory's disk is used up: no job starts until then",
    errno.EROFS: "the disk of the state directory is read-only: no job starts until that changes",
    errno.EIO: "the disk of the state directory fails (input/output error): replace it",
}


class Keeper:
    """The way from a finished attempt to the outbox; `run` it in one task."""

    def __init__(self, outbox: Outbox, on_kept: Callable[[Iterable[AttemptId]], None]) -> None:
        self._outbox = outbox
        self._on_kept = on_kept
        self._waiting: list[tuple[Kept, dict[str, bytes]]] = []
        self._bytes = 0
        #: How many of the first are being written now.
        self._writing = 0
        self._bell = Bell()
        #: Why the disk does not take results now; empty if it does.
        self.trouble = ""

    def __len__(self) -> int:
        """Results on their way to the disk."""
        return len(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether all results are in the outbox."""
        return not self._waiting

    @property
    def is_behind(self) -> bool:
        """Whether results come faster than the disk takes them, or it takes none."""
        is_long = len(self._waiting) >= ITEMS_PER_MESSAGE_MAX or self._bytes >= OUTPUT_BYTES_MAX
        return is_long or bool(self.trouble)

    def keep(self, kept: Kept, blobs: dict[str, bytes] | None = None) -> None:
        """Keep a result, with the bytes of its large arrays by SHA-256."""
        self._waiting.append((kept, blobs or {}))
        self._bytes += kept.size
        self._bell.ring()

    def drop(self, attempts: Collection[AttemptId]) -> None:
        """Forget results that nobody wants, before they reach the disk.

        Those that are being written at this moment do reach it.
        """
        gone = [kept for kept, _ in self._waiting[self._writing :] if kept.attempt in attempts]
        self._bytes -= sum(kept.size for kept in gone)
        self._waiting[self._writing :] = [
            (kept, blobs)
            for kept, blobs in self._waiting[self._writing :]
            if kept.attempt not in attempts
        ]

    def tidy(self) -> None:
        """Results were forgotten: write them off if there are enough of them."""
        if self._outbox.wants_flush:
            self._bell.ring()

    async def run(self) -> None:
        """Keep until cancelled."""
        while True:
            await self._bell.wait()
            while self._waiting or self._outbox.wants_flush:
                try:
                    await self._keep_batch()
                except OSError as error:
                    self._complain(disk_trouble(error))
                    await trio.sleep(_DISK_RETRY_S)

    def _complain(self, trouble: str) -> None:
        """Say once that the disk does not take results, and once that it does again."""
        if trouble == self.trouble:
            return
        if trouble:
            _log.error("results not on disk", reason=trouble, waiting=len(self._waiting))
        else:
            _log.info("results on disk again")
        self.trouble = trouble

    async def _keep_batch(self) -> None:
        batch = self._waiting[:ITEMS_PER_MESSAGE_MAX]
        blobs = {sha256: data for _, more in batch for sha256, data in more.items()}
        self._writing = len(batch)
        try:
            await self._outbox.put([kept for kept, _ in batch], blobs)
        finally:
            self._writing = 0
        self._complain("")
        del self._waiting[: len(batch)]
        self._bytes -= sum(kept.size for kept, _ in batch)
        self._on_kept(kept.attempt for kept, _ in batch)
        if self._outbox.wants_flush:
            await self._outbox.flush()
