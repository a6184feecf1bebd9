"""Which attempts the agent holds, as a pure table: what to take, start, drop and report.

An attempt is fetching its inputs if it has any, queued, running, then finished (its result is on
the way to the outbox); from there on the outbox holds it.
Rules:
  1. A (job, fence) is taken at most once, however often it is sent.
  2. A higher fence of a job replaces the lower one; a lower one is ignored.
  3. What is paid by time starts at once or not at all, but for inputs that are still to come: our
     clock runs from the sending on.
  4. Past the window an attempt is given back, not queued; so is one that no place can run.
  5. A task whose inputs are still to come waits for them; it is queued behind those that came
     before its inputs did.
  6. The oldest task that an idle place can run starts: one that waits for a large GPU holds up no
     small one.
Not here: running (`attempts.py`), what survives a restart (`outbox.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import msgspec

from agent.outbox import AttemptId
from agent.places import Places
from agent.task import Task
from coordinator.protocol.messages import Attempt, Resumed


class Taken(msgspec.Struct, frozen=True):
    """What became of a job that arrived."""

    #: Whether it waits for a slot now.
    is_held: bool
    #: If it is not held: the code of its failed result, or empty if there is nothing to say.
    code: str = ""
    #: An attempt that it replaced while that one ran: stop it.
    stop: AttemptId | None = None


class Held:
    """The attempts of one agent; at most one of each job."""

    def __init__(self, places: Places, *, window: int) -> None:
        self.places = places
        self.window = max(window, len(places))
        # By job, oldest first. Each job is in one of them at most.
        self._timed: dict[str, Task] = {}
        self._fetching: dict[str, Task] = {}
        self._queued: dict[str, Task] = {}
        self._running: dict[str, Task] = {}
        self._finished: dict[str, Task] = {}

    def __contains__(self, attempt: AttemptId) -> bool:
        task = self._find(attempt[0])
        return task is not None and task.fence == attempt[1]

    def __len__(self) -> int:
        return sum(map(len, self._stages()))

    def _stages(self) -> tuple[dict[str, Task], ...]:
        return self._running, self._timed, self._fetching, self._queued, self._finished

    def _waiting(self) -> tuple[dict[str, Task], ...]:
        return self._timed, self._fetching, self._queued

    def _find(self, job: str) -> Task | None:
        for stage in self._stages():
            if job in stage:
                return stage[job]
        return None

    def take(self, task: Task) -> Taken:
        """Hold a job that arrived."""
        known = self._find(task.job)
        if known is not None and known.fence >= task.fence:
            return Taken(is_held=False)
        stop = None if known is None else self.drop((known.job, known.fence))
        if len(self) >= self.window or not self._has_room(task):
            return Taken(is_held=False, code="abandoned", stop=stop)
        (self._fetching if task.blobs else self._ready_stage(task))[task.job] = task
        return Taken(is_held=True, stop=stop)

    def ready(self, task: Task) -> bool:
        """A task's inputs have come; whether it is still wanted, and queued now."""
        found = self._fetching.get(task.job)
        if found is None or found.fence != task.fence:
            return False
        del self._fetching[task.job]
        self._ready_stage(task)[task.job] = task
        return True

    def _ready_stage(self, task: Task) -> dict[str, Task]:
        return self._timed if task.is_timed else self._queued

    def _has_room(self, task: Task) -> bool:
        if not task.is_timed:
            return self.places.can(task)
        # A place whose command was stopped is idle in a moment.
        taken = {held.place for held in self._running.values()}
        fetching = sum(each.is_timed for each in self._fetching.values())
        return len(self.places.that_take(task) - taken) > len(self._timed) + fetching

    def start(self) -> Task | None:
        """The next attempt to run, with its place: commands first, then the oldest that can.

        The place is busy until `places.release`: a task that was stopped may take a moment to end.
        """
        if not self.places.has_idle():
            return None
        # Tasks that ask for the same wait together: one look for all of them.
        waits: set[tuple[str, bool, int, int]] = set()
        for task in chain(self._timed.values(), self._queued.values()):
            kind = task.kind if task.is_timed else ""
            wants = (kind, task.gpu, task.vram_mb, task.compute_capability)
            if wants in waits:
                continue
            place = self.places.occupy(task)
            if place is None:
                waits.add(wants)
                continue
            stage = self._timed if task.job in self._timed else self._queued
            del stage[task.job]
            started = self._running[task.job] = msgspec.structs.replace(task, place=place)
            return started
        return None

    def strand(self) -> list[AttemptId]:
        """Forget those that wait and that no place can run any more; they are given back."""
        stranded = [
            task
            for task in chain(*(stage.values() for stage in self._waiting()))
            if not self.places.can(task)
        ]
        for task in stranded:
            self.drop((task.job, task.fence))
        return [(task.job, task.fence) for task in stranded]

    def is_finished(self, attempt: AttemptId) -> bool:
        """Whether it ended, and its result is on its way to the outbox."""
        task = self._finished.get(attempt[0])
        return task is not None and task.fence == attempt[1]

    def finish(self, attempt: AttemptId) -> None:
        """The attempt ended: its slot is idle, its result is on its way to the outbox."""
        assert attempt in self
        self._finished[attempt[0]] = self._running.pop(attempt[0])

    def drop(self, attempt: AttemptId) -> AttemptId | None:
        """Forget an attempt; returns it if it runs and must be stopped."""
        if attempt not in self:
            return None
        job = attempt[0]
        was_running = self._running.pop(job, None) is not None
        for stage in (*self._waiting(), self._finished):
            stage.pop(job, None)
        return attempt if was_running else None

    def give_back(self) -> list[AttemptId]:
        """Forget all that wait for a slot; their results are failed ones (`abandoned`)."""
        waiting = list(chain(*(stage.values() for stage in self._waiting())))
        for stage in self._waiting():
            stage.clear()
        return [(task.job, task.fence) for task in waiting]

    def attempts(self) -> list[AttemptId]:
        """What is held."""
        return [(task.job, task.fence) for stage in self._stages() for task in stage.values()]

    def abandoned(self, resumed: Resumed, listed: Iterable[Attempt]) -> list[AttemptId]:
        """Of the attempts that we listed, those that the coordinator does not keep.

        A finished attempt stays: its result is sent, and answered `stale`.
        """
        kept = {(attempt.job, attempt.fence) for attempt in resumed.keep}
        names = [(attempt.job, attempt.fence) for attempt in listed]
        return [
            name
            for name in names
            if name not in kept and name in self and name[0] not in self._finished
        ]
