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

import trio

from coordinator import events as ev
from coordinator.checks import DRAW_BYTES, blocks_of, judge, unreadable
from coordinator.log import get_log
from coordinator.protocol.commitment import output_root
from coordinator.store.values import Output

log = get_log(__name__)

#: Results checked in one hop to a thread: a hop costs 40 µs, a small check about as much.
CHECKS_PER_HOP_MAX = 32
#: Blocks that are recomputed in one hop: some milliseconds each at most, so that a result that
#: takes long has the hop for itself.
BLOCKS_PER_HOP_MAX = 64
#: A hop longer than this gets a second one beside it.
HELP_AFTER_S = 0.02
RunThread = Callable[[Callable[[], list[ev.VerdictReached]]], Awaitable[list[ev.VerdictReached]]]


class Verifier:
    """A queue of results and the workers that check them."""

    def __init__(
        self,
        *,
        tell: Callable[[ev.VerdictReached], None],
        run_thread: RunThread,
        random_bytes: Callable[[int], bytes],
        open_blob: Callable[[bytes], memoryview],
        workers: int,
    ) -> None:
        self._tell = tell
        self._run_thread = run_thread
        self._random_bytes = random_bytes
        #: A view of a blob: only the blocks that are drawn are read.
        self._open_blob = open_blob
        self._workers = workers
        self._due: deque[ev.VerificationDue] = deque()
        self._wake = trio.Event()
        #: Workers whose results are being checked now; `_idle` is set when there are none.
        self._busy = 0
        self._idle = trio.Event()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being checked."""
        return not (self._due or self._busy)

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
            if self._busy and not await self._is_help_wanted():
                continue
            await self._hop()

    async def _is_help_wanted(self) -> bool:
        """Whether the hop that is under way takes long; no, if it ends soon.

        Threads share one interpreter: a second one beside short checks only makes their hops small
        (measured: half the throughput), beside a long check it lets the short ones pass.
        """
        with trio.move_on_after(HELP_AFTER_S) as waiting:
            await self._idle.wait()
        return waiting.cancelled_caught and bool(self._due)

    async def _hop(self) -> None:
        # Drawn now: the outputs are on the disk, their root is fixed.
        tasks = [(due, self._random_bytes(DRAW_BYTES)) for due in self._take()]
        if not self._busy:
            self._idle = trio.Event()
        self._busy += 1
        try:
            verdicts = await self._run_thread(
                lambda: [self._check(due, draw) for due, draw in tasks]
            )
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()
        for verdict in verdicts:
            self._tell(verdict)

    def _take(self) -> list[ev.VerificationDue]:
        """The next results, as many as make a hop worth its price and no large one with others."""
        taken: list[ev.VerificationDue] = []
        blocks = 0
        while self._due and len(taken) < CHECKS_PER_HOP_MAX:
            found = blocks_of(self._due[0].job)
            blocks += BLOCKS_PER_HOP_MAX if found is None else found
            if taken and blocks > BLOCKS_PER_HOP_MAX:
                break
            taken.append(self._due.popleft())
        return taken

    def _check(self, due: ev.VerificationDue, draw: bytes) -> ev.VerdictReached:
        try:
            raw = [self._raw(output) for output in due.outputs]
        except OSError as error:
            log.error("a result cannot be read", job=due.job.id, error=str(error))  # noqa: TRY400
            return unreadable(due.job, due.root)
        # After a restart the root is not at hand, but the outputs are what it was made of.
        root = due.root or output_root(raw)
        try:
            return judge(due.job, due.outputs, raw, root, lambda: draw, self._open_blob)
        except OSError as error:
            log.error("an input cannot be read", job=due.job.id, error=str(error))  # noqa: TRY400
            return unreadable(due.job, root)

    def _raw(self, output: Output) -> memoryview:
        return self._open_blob(output.sha256) if output.sha256 else memoryview(output.data)
