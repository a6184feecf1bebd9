"""The work of an agent, connected or not: from a job that arrived to a result on disk.

In:   jobs, cancellations, acknowledgements (from `client.py`).
Out:  results in the outbox, news of what runs; two bells say when there is something to send.
Rules:
  1. A job is started while a place is idle, the outbox has room and the disk takes results.
  2. A result is sent only after it is in the outbox (fsync); those of a burst share one write.
  3. What a runner does wrong costs its job (`agent_error`), never the agent. It keeps a job's time
     itself, since only it has what the job said by then; one that does not is stopped.
  4. A drain gives back what waits (`abandoned`), lets what runs end, and stops it when time is up.
     From its beginning on this host says that it runs no kind, so that it is sent nothing new.
Not here: the decisions themselves (`held.py`), the way to the disk (`keeper.py`), the wire
(`client.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final

import trio
from msgspec.structs import replace

from agent.bells import Bell, Change
from agent.disk import Hop
from agent.fetches import Fetches
from agent.held import Held
from agent.inputs import InputCache
from agent.keeper import Keeper
from agent.outbox import AttemptId, Kept, Outbox
from agent.places import Places
from agent.results import failed, keep
from agent.running import Run
from agent.status import Jobs, RunStatus, Unsent
from agent.task import Outcome, Runner, Task, task_of
from coordinator.limits import (
    AGENT_RESULTS_MAX,
    AGENT_WINDOW_MAX,
    MIB,
    REMARKS_MAX,
)
from coordinator.log import bound_contextvars, get_log
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.messages import (
    AckItem,
    Attempt,
    Inventory,
    JobItem,
    ProgressItem,
    Resumed,
)

#: What a runner may take beyond a job's time to end it and say so; the coordinator waits for 5 s.
_OVERTIME_S: Final = 3.0
#: Hashing more than this takes a thread: a megabyte takes about a millisecond.
_HASH_HERE_BYTES: Final = 1 * MIB
_PAUSED: Final = "Paused by its operator."
_FULL: Final = "no job starts until the coordinator has acknowledged results"
#: Why an attempt is stopped whose finished result may be wanted all the same.
_LEASE_LOST: Final = "lease_lost"
_log = get_log("agent.attempts")


class Attempts:
    """What one agent holds, runs and has finished."""

    def __init__(
        self, runner: Runner, outbox: Outbox, hop: Hop, inputs: InputCache | None = None
    ) -> None:
        self.outbox = outbox
        #: The outbox holds something new.
        self.results = Bell()
        #: An attempt started, or wrote a log.
        self.news = Bell()
        self.is_draining = False
        #: The operator wants no further jobs for now.
        self.is_paused = False
        self._jobs = Jobs()
        self._was_full = False
        self._runner = runner
        self._hop = hop
        #: The inventory has changed since the session began.
        self.inventories = Bell()
        self._held = Held(Places.alike(runner.slots), window=0)
        # Until `open` it runs no kind, and so it takes no job.
        self._inventory: Inventory | None = None
        self._opened = trio.Event()
        self._runs: dict[AttemptId, Run] = {}
        self._fetches = Fetches(
            inputs,
            is_wanted=lambda attempt: attempt in self._held and not self._held.is_finished(attempt),
            on_ready=self._on_fetched,
            on_failed=self._on_not_fetched,
        )
        self._keeper = Keeper(outbox, self._on_kept)
        self._work = Bell()
        self._changed = Change()

    def open(self, inventory: Inventory, places: Places | None = None) -> None:
        """From now on take jobs: this is what the host can do, and where."""
        assert self._inventory is None, "it is found out once"
        window = min(inventory.window, AGENT_WINDOW_MAX)
        self._held = Held(places or Places.alike(self._runner.slots), window=window)
        self._inventory = inventory
        self._opened.set()

    def change(
        self, inventory: Inventory, out: Mapping[int, str], gone: Collection[int] = ()
    ) -> None:
        """Places fell out, or came back.

        Args:
            inventory: What the host can do now.
            out: The places that are out, with the reason.
            gone: Of these, those whose running task cannot end any more: it is given back.
        """
        self._inventory = inventory
        self._held.places.shut(out)
        self._held.window = max(min(inventory.window, AGENT_WINDOW_MAX), len(self._held.places))
        for attempt in self._held.strand():
            self._keeper.keep(failed(*attempt, "abandoned"))
        for run in self._runs.values():
            if run.task.place in gone:
                run.is_given_back = True
                run.scope.cancel()
        self._fetches.look()
        self.inventories.ring()
        self._work.ring()

    @property
    def is_open(self) -> bool:
        return self._inventory is not None

    async def inventory(self) -> Inventory:
        """What this host is and can do now; waits until that is known.

        Drained or paused it can do nothing: so the coordinator sends it no job.
        """
        await self._opened.wait()
        assert self._inventory is not None
        if self.is_draining:
            return replace(self._inventory, kinds=[])
        if self.is_paused:
            remarks = [_PAUSED, *self._inventory.remarks[: REMARKS_MAX - 1]]
            return replace(self._inventory, kinds=[], remarks=remarks)
        return self._inventory

    def pause(self) -> None:
        """Take no jobs until `resume_work`: what runs ends, what waits is given back."""
        if self.is_paused or self.is_draining:
            return
        self.is_paused = True
        self._give_back()
        _log.info("paused", running=len(self._runs))
        self.inventories.ring()

    def resume_work(self) -> None:
        """Take jobs again."""
        if self.is_paused:
            self.is_paused = False
            _log.info("resumed")
            self.inventories.ring()

    def _give_back(self) -> None:
        for attempt in self._held.give_back():
            self._keeper.keep(failed(*attempt, "abandoned"))
        self._fetches.look()

    async def run(self) -> None:
        """Start attempts and keep results until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            nursery.start_soon(self._fetches.run)
            while True:
                while self._may_start and (task := self._held.start()) is not None:
                    run = self._runs[task.job, task.fence] = Run(task)
                    nursery.start_soon(self._run, run)
                    self.news.ring()
                await self._work.wait()

    @property
    def _may_start(self) -> bool:
        if self.outbox.is_full != self._was_full:
            self._was_full = self.outbox.is_full
            if self._was_full:
                _log.warning("outbox full", unsent_results=len(self.outbox), reason=_FULL)
            else:
                _log.info("outbox has room again", unsent_results=len(self.outbox))
        return not (self._was_full or self._keeper.is_behind)

    @property
    def counts(self) -> str:
        """What is here, in a few words."""
        return f"{len(self._runs)} run, {self._waiting} wait, {len(self.outbox)} to be sent"

    @property
    def _waiting(self) -> int:
        """Jobs that are held and do not compute yet."""
        return max(0, len(self._held) - len(self._runs))

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, waits, or is on its way to the outbox."""
        return not (len(self._held) or self._runs) and self._keeper.is_empty

    # ---- what the operator sees -----------------------------------------------------------------

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds that are taken now."""
        return () if self._inventory is None or self.is_paused else tuple(self._inventory.kinds)

    def tally(self) -> Jobs:
        """What became of jobs so far."""
        return replace(self._jobs, waiting=self._waiting)

    def running(self, device_of: Callable[[int], str]) -> tuple[RunStatus, ...]:
        """What computes now; `device_of` names a place's device."""
        return tuple(
            run.status(device_of(run.task.place or 0))
            for run in sorted(self._runs.values(), key=lambda run: run.task.place or 0)
        )

    def unsent(self) -> Unsent:
        """What the coordinator has not acknowledged, and what hinders it from reaching the disk."""
        return Unsent(
            results=len(self.outbox),
            bytes=self.outbox.size,
            is_full=self.outbox.is_full,
            disk=self._keeper.trouble,
        )

    # ---- what the coordinator says -------------------------------------------------------------

    def take(self, item: JobItem) -> None:
        """A job arrived.

        Raises:
            ProtocolError: `too_large`: more came than this host ever said that it takes, and the
                answers to it are not acknowledged. Each answer takes memory and disk.
        """
        attempt = (item.id, item.fence)
        if attempt in self.outbox:
            return
        if len(self.outbox) + len(self._keeper) >= AGENT_RESULTS_MAX + AGENT_WINDOW_MAX:
            detail = f"{len(self.outbox)} results are not acknowledged, and jobs keep coming"
            raise ProtocolError("too_large", detail)
        try:
            task = task_of(item)
        except Refusal as refusal:
            self._keeper.keep(failed(*attempt, refusal.code, refusal.sentence))
            return
        if self._inventory is None or task.kind not in self._inventory.kinds:
            detail = f"this agent does not run {task.kind!r}"
            self._keeper.keep(failed(*attempt, "unknown_kind", detail))
            return
        if self.is_draining or self.is_paused:
            self._keeper.keep(failed(*attempt, "abandoned"))
            return
        taken = self._held.take(task)
        self._stop(taken.stop)
        if taken.code:
            self._keeper.keep(failed(*attempt, taken.code))
        elif task.blobs:
            self._fetches.begin(task)
        self._work.ring()

    def _on_fetched(self, task: Task) -> None:
        self._held.ready(task)
        self._work.ring()

    def _on_not_fetched(self, task: Task, refusal: Refusal) -> None:
        attempt = (task.job, task.fence)
        if attempt in self._held:
            self._held.drop(attempt)
            self._keeper.keep(failed(*attempt, refusal.code, refusal.sentence))
            self._changed.ring()

    def cancel(self, attempts: Iterable[Attempt], reason: str = "") -> None:
        """Stop these; no result is wanted, not even of one that has ended.

        Of a lease that was lost only the computing stops: a result that is there already is sent,
        since it is taken late if nobody else has the job yet.
        """
        names = {(attempt.job, attempt.fence) for attempt in attempts}
        if reason == _LEASE_LOST:
            names -= {name for name in names if self._held.is_finished(name)}
        else:
            self._keeper.drop(names)
            if self.outbox.forget(names):
                self._keeper.tidy()
        self._drop(names)

    def stop_all(self) -> None:
        """Stop whatever runs or waits: somebody else has it now. Finished results stay."""
        self._drop(name for name in self._held.attempts() if not self._held.is_finished(name))

    def listed(self) -> list[Attempt]:
        """What a resume lists: all that is held, then what waits in the outbox."""
        names = [*self._held.attempts(), *(kept.attempt for kept in self.outbox)]
        return [Attempt(job, fence) for job, fence in names[: AGENT_RESULTS_MAX + AGENT_WINDOW_MAX]]

    def resume(self, resumed: Resumed, listed: Iterable[Attempt]) -> None:
        """Go on with what the coordinator keeps, drop the rest."""
        self._drop(self._held.abandoned(resumed, listed))

    def acknowledge(self, acks: Iterable[AckItem]) -> None:
        """These results are durable there, or no longer wanted."""
        for ack in acks:
            if ack.code != "accepted":
                _log.info("result_refused", job=ack.job, fence=ack.fence, code=ack.code)
        self.outbox.forget([(ack.job, ack.fence) for ack in acks])
        self._keeper.tidy()
        self._work.ring()
        self._changed.ring()

    def replace(self, kept: Kept, code: str, detail: str) -> None:
        """A result whose outputs the coordinator does not take becomes a failed one."""
        self._keeper.keep(failed(*kept.attempt, code, detail))

    def progress(self, told: set[AttemptId]) -> list[ProgressItem]:
        """News of what runs; `told` holds those of whom this session knows that they run."""
        items = []
        for attempt, run in self._runs.items():
            if (item := run.news(is_told=attempt in told)) is not None:
                told.add(attempt)
                items.append(item)
        told.intersection_update(self._runs)
        return items

    def has_news(self, told: set[AttemptId]) -> bool:
        """Whether `progress` has or will soon have something to say."""
        return any(attempt not in told or run.has_news for attempt, run in self._runs.items())

    async def drain(self, seconds: float) -> None:
        """Take no more jobs; end what runs, or give it back when the time is over."""
        self.is_draining = True
        self._give_back()
        with trio.move_on_after(seconds):
            while self._runs:
                await self._changed.wait()
        for run in self._runs.values():
            run.is_given_back = True
            run.scope.cancel()

    async def wait_changed(self) -> None:
        """Wait until an attempt ended, a result was kept or acknowledged."""
        await self._changed.wait()

    # ---- running -------------------------------------------------------------------------------

    async def _run(self, run: Run) -> None:
        task, attempt = run.task, run.attempt
        _log.debug("job begins", kind=task.kind, job=task.job)
        outcome = None
        with run.scope, bound_contextvars(job=task.job, fence=task.fence):
            outcome = await self._outcome(run)
        if outcome is None and run.is_given_back:
            result = failed(*attempt, "abandoned"), dict[str, bytes]()
        elif outcome is None:
            result = None
        else:
            result = await self._result(task, outcome)
        del self._runs[attempt]
        assert task.place is not None
        self._held.places.release(task.place)
        self._say(run, None if result is None else result[0])
        # It may have been cancelled or replaced meanwhile: then no result is wanted.
        if result is not None and attempt in self._held:
            self._held.finish(attempt)
            self._keeper.keep(*result)
        self._fetches.look()
        self._work.ring()
        self._changed.ring()

    async def _outcome(self, run: Run) -> Outcome:
        task = run.task
        try:
            with trio.fail_after(task.execution_s + _OVERTIME_S):
                return await self._runner.run(
                    task,
                    on_log=partial(self._on_log, run),
                    on_progress=partial(self._on_progress, run),
                )
        except trio.TooSlowError:
            return Outcome("failed", code="execution_timeout")
        except Exception as error:  # noqa: BLE001 (rule 3: whatever a runner raises costs its job)
            _log.exception("runner_failed", job=task.job, fence=task.fence, kind=task.kind)
            return Outcome("failed", code="agent_error", detail=f"{type(error).__name__}: {error}")

    async def _result(self, task: Task, outcome: Outcome) -> tuple[Kept, dict[str, bytes]]:
        if sum(len(output.data) for output in outcome.outputs) <= _HASH_HERE_BYTES:
            return keep(task, outcome)
        return await self._hop(partial(keep, task, outcome))

    def _on_log(self, run: Run, text: str) -> None:
        run.hear_log(text)
        self.news.ring()

    def _on_progress(self, run: Run, progress: float) -> None:
        run.hear_progress(progress)
        self.news.ring()

    def _say(self, run: Run, kept: Kept | None) -> None:
        """The one line a job."""
        status = "cancelled" if kept is None else kept.item.status
        code = "" if kept is None else kept.item.code
        self._jobs = replace(
            self._jobs,
            **{status: getattr(self._jobs, status) + 1},
            last=f"{run.task.kind} {code or status} in {run.seconds:.1f} s",
        )
        _log.info(
            "job done",
            kind=run.task.kind,
            job=run.task.job,
            status=status,
            seconds=round(run.seconds, 3),
            **({"code": code} if code else {}),
        )

    def _drop(self, attempts: Iterable[AttemptId]) -> None:
        for attempt in attempts:
            self._stop(self._held.drop(attempt))
        self._fetches.look()
        self._changed.ring()

    def _stop(self, attempt: AttemptId | None) -> None:
        if attempt is not None:
            self._runs[attempt].scope.cancel()

    def _on_kept(self, attempts: Iterable[AttemptId]) -> None:
        for attempt in attempts:
            self._held.drop(attempt)
        self.results.ring()
        self._work.ring()
        self._changed.ring()
