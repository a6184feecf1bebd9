"""What one session sends by itself: results, their large outputs, progress.

In:   the attempts, whose bells say when there is something; a way to send.
Out:  messages that fit a frame; uploads, a few at a time.
Rules:
  1. A result is sent once a session; its large outputs are with the coordinator before.
  2. Large outputs hold up their own result only.
  3. An output that the coordinator refuses makes its result a failed one, with that code.
  4. Progress is told after `STARTED_AFTER_S`: a job of milliseconds costs no message.
"""

from __future__ import annotations

from functools import partial
from random import Random  # noqa: TID251 (the caller's seeded generator, as a type)
from typing import Final, Protocol

import msgspec
import trio

from agent.attempts import Attempts
from agent.backoff import Backoff
from agent.outbox import AttemptId, Kept
from agent.results import pack
from agent.uploads import Uploader, UploadFailed
from coordinator.limits import (
    FRAME_BYTES_MAX,
    ITEMS_PER_MESSAGE_MAX,
    PROGRESS_GAP_S,
    RESULT_GAP_S,
    RESULTS_GAP_S,
    UPLOADS_MAX,
)
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import AnyMessage, Progress, ProgressItem

#: Refusals of an upload that time heals; after any other the result is a failed one.
_PASSING: Final = frozenset(
    {"rate_limited", "busy", "unavailable", "read_only", "draining", "internal", "deadline",
     "unauthenticated", "session_expired"}
)  # fmt: skip
_FRAME_BYTES: Final = 64
_encoder: Final = msgspec.json.Encoder()
_log = get_log("agent.sending")


class Sender(Protocol):
    async def send(self, message: AnyMessage, data: bytes = b"") -> None: ...


class Sending:
    """The outgoing side of one session."""

    def __init__(
        self,
        attempts: Attempts,
        sender: Sender,
        uploader: Uploader,
        rng: Random,
        *,
        session_key: str,
    ) -> None:
        self._attempts = attempts
        self._outbox = attempts.outbox
        self._sender = sender
        self._uploader = uploader
        self._rng = rng
        self._bearer = session_key
        self._sent: set[AttemptId] = set()
        self._uploaded: set[str] = set()
        self._uploading: set[AttemptId] = set()
        self._uploads = trio.Semaphore(UPLOADS_MAX)

    async def results(self, nursery: trio.Nursery) -> None:
        """Send what the outbox holds, and what comes; uploads run in `nursery`."""
        while True:
            self._sent.intersection_update(kept.attempt for kept in self._outbox)
            for kept in self._outbox:
                if self._lacks(kept) and kept.attempt not in self._uploading:
                    self._uploading.add(kept.attempt)
                    nursery.start_soon(self._upload, kept)
            sent = await self._send_ready()
            # Who finishes one job at a time is not kept waiting; who finishes many shares frames.
            await trio.sleep(RESULTS_GAP_S if sent > 1 else RESULT_GAP_S)
            await self._attempts.results.wait()

    async def _send_ready(self) -> int:
        """Send what can be sent; how many results that were."""
        ready = [
            kept
            for kept in self._outbox
            if kept.attempt not in self._sent and not self._lacks(kept)
        ]
        count = len(ready)
        while ready:
            message, data, taken = pack(ready)
            assert taken, "one result always fits a frame"
            await self._sender.send(message, data)
            self._sent.update(kept.attempt for kept in taken)
            ready = ready[len(taken) :]
        return count

    def _lacks(self, kept: Kept) -> bool:
        return any(sha256 not in self._uploaded for sha256 in kept.blobs)

    async def _upload(self, kept: Kept) -> None:
        backoff = Backoff(self._rng)
        async with self._uploads:
            while kept.attempt in self._outbox:
                try:
                    await self._put_blobs(kept)
                    break
                except Refusal as refusal:
                    if refusal.code not in _PASSING:
                        self._attempts.replace(kept, refusal.code, refusal.sentence)
                        return
                    code = refusal.code
                except (UploadFailed, OSError) as error:
                    code = str(error)
                _log.warning("upload_failed", job=kept.item.job, fence=kept.item.fence, code=code)
                await trio.sleep(backoff.next_s())
        self._uploading.discard(kept.attempt)
        self._attempts.results.ring()

    async def _put_blobs(self, kept: Kept) -> None:
        for array in kept.item.outputs:
            if array.sha256 is not None and array.sha256 not in self._uploaded:
                read_part = partial(self._outbox.read_blob, array.sha256)
                await self._uploader.put(array.sha256, array.bytes, read_part, bearer=self._bearer)
                self._uploaded.add(array.sha256)

    async def progress(self) -> None:
        """Tell what runs, and what it logs."""
        told: set[AttemptId] = set()
        while True:
            while self._attempts.has_news(told):
                await trio.sleep(PROGRESS_GAP_S)
                for message in batched(self._attempts.progress(told)):
                    await self._sender.send(message)
            await self._attempts.news.wait()


def batched(items: list[ProgressItem]) -> list[Progress]:
    """Messages that fit a frame each."""
    messages: list[Progress] = []
    batch: list[ProgressItem] = []
    size = _FRAME_BYTES
    for item in items:
        length = len(_encoder.encode(item)) + 1
        if batch and (size + length > FRAME_BYTES_MAX or len(batch) == ITEMS_PER_MESSAGE_MAX):
            messages.append(Progress(batch))
            batch, size = [], _FRAME_BYTES
        batch.append(item)
        size += length
    return [*messages, Progress(batch)] if batch else messages
