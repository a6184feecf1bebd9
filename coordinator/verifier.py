"""Verification's shell: durable results are checked off Trio's loop, their verdicts told.

In:   `VerificationDue` effects.
Out:  `VerdictReached` events.
Rules:
  1. The sample is drawn here, from fresh random bytes, after the outputs' root was committed.
  2. Small results are checked several at a time in one thread; a thread has one call at a time.
  3. A check that fails by our own mistake is logged, its job tried elsewhere: never paid unchecked.
Not here: what is checked (coordinator.verification), who is paid (lifecycle).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import trio

from coordinator import events as ev
from coordinator.log import get_log
from coordinator.protocol.arrays import to_numpy
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import decode_spec
from coordinator.store.values import Output
from coordinator.verification.verdict import verify
from coordinator.workloads.catalogue import get

log = get_log(__name__)

#: Results checked in one hop to a thread: a hop costs 40 µs, a small check about as much.
CHECKS_PER_HOP_MAX = 32
#: Sum of the prices of the jobs whose results are checked in one hop, base units: a price follows
#: the work, and what is cheap to compute is cheap to check.
PRICE_PER_HOP_MAX = 1_000
#: Random bytes that a sample is drawn from.
DRAW_BYTES = 32
RunThread = Callable[[Callable[[], list[ev.VerdictReached]]], Awaitable[list[ev.VerdictReached]]]


class Verifier:
    """A queue of results and the workers that check them."""

    def __init__(
        self,
        *,
        tell: Callable[[ev.Event], None],
        run_thread: RunThread,
        random_bytes: Callable[[int], bytes],
        blob_path: Callable[[bytes], Path],
        workers: int,
    ) -> None:
        self._tell = tell
        self._run_thread = run_thread
        self._random_bytes = random_bytes
        self._blob_path = blob_path
        self._workers = workers
        self._due: deque[ev.VerificationDue] = deque()
        self._wake = trio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, due: ev.VerificationDue) -> None:
        self._due.append(due)
        self._wake.set()

    async def run(self) -> None:
        """Check what is due, for ever."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._workers):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        while True:
            while not self._due:
                # One event for all workers: each of them hears of what comes next.
                if self._wake.is_set():
                    self._wake = trio.Event()
                await self._wake.wait()
            # Drawn now: the outputs are on the disk, their root is fixed.
            tasks = [(due, self._random_bytes(DRAW_BYTES)) for due in self._take()]
            verdicts = await self._run_thread(
                lambda tasks=tasks: [self._check(due, draw) for due, draw in tasks]  # type: ignore[misc]
            )
            for verdict in verdicts:
                self._tell(verdict)

    def _take(self) -> list[ev.VerificationDue]:
        """The next results, as many as make a hop worth its price and no large one with others."""
        taken: list[ev.VerificationDue] = []
        price = 0
        while self._due and len(taken) < CHECKS_PER_HOP_MAX:
            price += self._due[0].job.price
            if taken and price > PRICE_PER_HOP_MAX:
                break
            taken.append(self._due.popleft())
        return taken

    def _check(self, due: ev.VerificationDue, draw: bytes) -> ev.VerdictReached:
        job = due.job
        root = due.root
        try:
            raw = [self._raw(output) for output in due.outputs]
            # After a restart the root is not at hand, but the outputs are what it was made of.
            root = root or output_root(raw)
            state, reason = self._judge(due, raw, draw)
        except Refusal as refusal:
            state, reason = "rejected", refusal.sentence
        except Exception:
            log.exception("verification failed", job=job.id)
            state, reason = "rejected", "the result could not be verified"
        return ev.VerdictReached(job.id, job.fence, state, reason[:500], root)

    def _judge(
        self, due: ev.VerificationDue, raw: list[memoryview], draw: bytes
    ) -> tuple[str, str]:
        spec = decode_spec(due.job.spec)
        arrays = [
            to_numpy(output.dtype, output.shape, data)
            for output, data in zip(due.outputs, raw, strict=True)
        ]
        verdict = verify(spec, get(spec.kind), arrays, draw)
        return verdict.state, verdict.reason

    def _raw(self, output: Output) -> memoryview:
        if not output.sha256 or not output.size:
            # An empty file has no view.
            return memoryview(output.data)
        # A view of the file: only the blocks that are drawn are read.
        data: Any = np.memmap(self._blob_path(output.sha256), dtype=np.uint8, mode="r")
        return memoryview(data)
