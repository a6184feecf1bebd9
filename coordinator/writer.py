"""Group commit: whoever waits for the disk waits together.

Events from any task queue up here; one loop waits until what has come in is read and parsed, takes
what is queued (one event on a quiet system, up to `BATCH_EVENTS_MAX` on a busy one), lets the
engine apply it on the store's own thread, and only then answers and carries out the effects, at one
go. So an answer means: it is on the disk.
Rules:
  1. If the store fails, whoever waits hears `unavailable` and nothing is acknowledged; events that
     nobody waits for (verdicts, lost leases) stay in the queue and are tried again.
  2. The caller that is cancelled while it waits changes nothing: its event is applied all the same.
  3. A batch's answers come before its effects: who begins to watch a job at an answer misses none
     of what happened to it later in the same batch.
  4. A commit that hangs keeps the events that are in it; whoever waits behind it or comes then
     hears `unavailable`.
  5. Once halted it applies nothing but `events.HARMLESS`: rows stay as they are, to be looked at.
Not here: what events mean (engine).
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import outcome
import trio

from coordinator import events as ev
from coordinator.clock import Clock
from coordinator.engine import Engine
from coordinator.limits import BATCH_EVENTS_MAX, COMMIT_STUCK_S, QUEUE_EVENTS_MAX
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.store.interface import StoreError

log = get_log(__name__)

T = TypeVar("T")
#: Wait after the store failed: long enough for a person to free some disk, short for a hiccup.
STORE_RETRY_S = 1.0
#: Rounds of Trio's loop without a new event after which a batch is closed: a frame takes one of
#: them from its socket to here, and who is asked first in a round is left to chance. On a quiet
#: system they cost some 20 µs, a tenth of a commit.
STILL_ROUNDS = 2
#: Longest wait for more events, s: a busy system's batch, and a small part of a quiet one's commit.
GATHER_S = 0.004
Applied = tuple[list[ev.Outcome], list[ev.Effect]]


class StoreThread:
    """One dedicated thread: SQLite's connection stays on the thread that made it."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` on the thread; cancellation waits for it: no write goes unobserved."""
        token = trio.lowlevel.current_trio_token()
        task = trio.lowlevel.current_task()

        def call() -> None:
            result = outcome.capture(function)
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

        self._calls.put(call)
        result: T = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return result

    def close(self) -> None:
        """End the thread after what it has."""
        self._calls.put(None)
        self._thread.join()


async def run_inline(function: Callable[[], T]) -> T:
    """Run at once, on Trio's own thread: for worlds that run on one seed."""
    await trio.lowlevel.checkpoint()
    return function()


class _Waiting:
    """An event, and who is told of its outcome (`None`: nobody)."""

    __slots__ = ("event", "then")

    def __init__(self, event: ev.Event, then: Callable[[ev.Outcome], None] | None) -> None:
        self.event = event
        self.then = then


class Writer:
    """The queue in front of the engine."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        run_sync: Callable[[Callable[[], Applied]], Awaitable[Applied]],
        carry_out: Callable[[Sequence[ev.Effect]], None],
        observe_commit: Callable[[float, int], None] = lambda _seconds, _events: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._run_sync = run_sync
        self._carry_out = carry_out
        self._observe = observe_commit
        self._queue: deque[_Waiting] = deque()
        self._wake = trio.Event()
        self._taken = trio.Event()
        #: Why the last commit failed; `""` when it did not.
        self.failure = ""
        #: Commits that failed since the start.
        self.failures = 0
        #: When the commit that is under way began and when the last good one ended, monotonic.
        self._began: float | None = None
        self.committed_at = clock.monotonic()
        #: What everybody hears once the house has stopped itself.
        self.halted: Refusal | None = None

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._queue)

    def tell(self, event: ev.Event, then: Callable[[ev.Outcome], None] | None = None) -> None:
        """Hand in an event; `then` is called with its outcome once that is durable."""
        if self.halted is not None and not isinstance(event, ev.HARMLESS):
            # What nobody waits for follows from the rows: a restart finds it again.
            if then is not None:
                then(ev.Outcome(refusal=self.halted))
            return
        self._queue.append(_Waiting(event, then))
        self._wake.set()

    async def ask(
        self,
        event: ev.Event,
        *,
        on_value: Callable[[Any], None] = lambda _value: None,
        on_refusal: Callable[[], None] = lambda: None,
    ) -> Any:
        """Hand in an event and wait until its outcome is durable.

        Args:
            event: The fact.
            on_value: Called with the value at the commit, before the batch's effects and before
                any later batch.
            on_refusal: Called instead if it was refused, at the same moment or at once.

        Raises:
            Refusal: the engine's; `busy` when too much waits, `unavailable` while the store fails
                or hangs, `read_only` once halted.
        """
        try:
            self.check_open(event)
        except Refusal:
            on_refusal()
            raise
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

        def then(result: ev.Outcome) -> None:
            if result.refusal is None:
                on_value(result.value)
            else:
                on_refusal()
            if task is not None:
                trio.lowlevel.reschedule(task, outcome.Value(result))

        def abort(_: object) -> trio.lowlevel.Abort:
            nonlocal task
            task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self.tell(event, then)
        result: ev.Outcome = await trio.lowlevel.wait_task_rescheduled(abort)
        if result.refusal is not None:
            raise result.refusal
        return result.value

    def check_open(self, event: ev.Event) -> None:
        """Refuse an event that cannot be handed in now.

        Raises:
            Refusal: `busy`, `unavailable` or `read_only` (see `ask`).
        """
        if len(self._queue) >= QUEUE_EVENTS_MAX:
            raise Refusal("busy")
        if self.is_stuck:
            raise Refusal("unavailable")
        if self.halted is not None and not isinstance(event, ev.HARMLESS):
            raise self.halted

    def has_room(self, events: int = 1) -> bool:
        """Whether the queue takes so many more: none of them has to wait."""
        return len(self._queue) + events <= QUEUE_EVENTS_MAX

    async def room(self) -> None:
        """Wait until the queue takes more: how a fast peer is slowed down."""
        while len(self._queue) >= QUEUE_EVENTS_MAX:
            await self._taken.wait()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being committed."""
        return not self._queue and self._began is None

    @property
    def is_stuck(self) -> bool:
        """Whether a commit takes so long that nobody should wait for it."""
        began = self._began
        return began is not None and self._clock.monotonic() - began > COMMIT_STUCK_S

    def give_up_waiting(self) -> None:
        """Tell everybody behind a stuck commit that nothing was accepted; what is told stays."""
        waiting, self._queue = self._queue, deque(w for w in self._queue if w.then is None)
        self._refuse(waiting, Refusal("unavailable"))

    def halt(self, refusal: Refusal) -> None:
        """Apply nothing more but what is harmless. Only a restart undoes it."""
        self.halted = refusal
        waiting = self._queue
        self._queue = deque(w for w in waiting if isinstance(w.event, ev.HARMLESS))
        self._refuse((w for w in waiting if not isinstance(w.event, ev.HARMLESS)), refusal)

    @property
    def events_failed(self) -> int:
        """Events that failed by our own mistake, since the start."""
        return self._engine.events_failed

    def _refuse(self, waiting: Iterable[_Waiting], refusal: Refusal) -> None:
        self._taken.set()
        self._taken = trio.Event()
        for each in waiting:
            if each.then is not None:
                each.then(ev.Outcome(refusal=refusal))

    async def run(self) -> None:
        """Commit what is queued, for ever."""
        while True:
            await self._wake.wait()
            await self._gather()
            await self.flush()
            self._wake = trio.Event()
            if self._queue:
                self._wake.set()

    async def _gather(self) -> None:
        """Let every task that can run hand in what it has, while there is more and it is not late.

        No timer: on a quiet system the rounds pass at once, on a busy one each brings events.
        """
        until = self._clock.monotonic() + GATHER_S
        still = 0
        while still < STILL_ROUNDS and len(self._queue) < BATCH_EVENTS_MAX:
            before = len(self._queue)
            await trio.lowlevel.checkpoint()
            still = still + 1 if len(self._queue) == before else 0
            if self._clock.monotonic() >= until:
                return

    async def flush(self) -> None:
        """Commit one batch of what is queued now."""
        size = min(len(self._queue), BATCH_EVENTS_MAX)
        if not size:
            return
        batch = [self._queue.popleft() for _ in range(size)]
        self._taken.set()
        self._taken = trio.Event()
        applied = await self._commit([waiting.event for waiting in batch])
        if applied is None:
            await self._excuse(batch)
            return
        outcomes, effects = applied
        kept, left = batch[: len(outcomes)], batch[len(outcomes) :]
        for waiting, result in zip(kept, outcomes, strict=True):
            if waiting.then is not None:
                waiting.then(result)
            elif result.refusal is not None:
                log.info(
                    "refused", event_type=type(waiting.event).__name__, code=result.refusal.code
                )
        self._carry_out(effects)
        if left:
            await self._excuse(left)

    async def _commit(self, events: list[ev.Event]) -> Applied | None:
        now_ms = self._clock.wall_ms()
        began = self._began = self._clock.monotonic()
        try:
            with trio.CancelScope(shield=True):
                applied = await self._run_sync(lambda: self._engine.apply(events, now_ms))
        except StoreError as error:
            if str(error) != self.failure:
                # Once for each reason: the disk is asked every second, for as long as it takes.
                log.error("store failed", error=str(error), events=len(events))  # noqa: TRY400
            self.failure = str(error)
            self.failures += 1
            return None
        finally:
            self._began = None
        self.failure = ""
        self.committed_at = self._clock.monotonic()
        self._observe(self.committed_at - began, len(events))
        return applied

    async def _excuse(self, batch: list[_Waiting]) -> None:
        """The store failed: refuse, keep what nobody waits for, and let the disk recover."""
        if self.halted is None:
            self._queue.extendleft(w for w in reversed(batch) if w.then is None)
        self._refuse(batch, Refusal("unavailable"))
        await trio.sleep(STORE_RETRY_S)
