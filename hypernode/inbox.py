"""A submitter's side of the conversation, without the wire.

In:   frames' messages (`receive`), the fact that a connection opened (`opened`) or was given up.
Out:  messages to send; jobs and requests that others wait for.
Rules:
  1. A request stays until it is answered: after a reconnect the very same message goes again, and
     the keys in it make that harmless.
  2. After a reconnect every open job is watched again, before anything else is asked.
  3. A job is open until its final state is known; a completed one also needs its result, and a
     failed command its log, unless that is given up.
Not here: sockets and sign-in (`client.py`), what arrays and receipts mean (`result.py`).
Source: h11 (bytes and waiting apart), websockets' sans-I/O core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import trio

from coordinator.limits import ITEMS_PER_MESSAGE_MAX
from coordinator.protocol.messages import (
    Cancel,
    Cancelled,
    Drain,
    Error,
    JobOutput,
    JobOutputs,
    JobUpdate,
    Opened,
    Submit,
    Submitted,
    ToSubmitter,
    Update,
    Watch,
)
from coordinator.protocol.parcel import apart
from hypernode.errors import HypernodeError, error_of

Ask: TypeAlias = Submit | Cancel
Answered: TypeAlias = Submitted | Cancelled

#: States after which nothing more comes.
FINAL: Final = frozenset({"completed", "failed", "cancelled"})
#: Codes of a command that ran and failed: if it was paid by its time, its log is its result.
WROTE_AND_FAILED: Final = frozenset(
    {"exit_nonzero", "execution_timeout", "output_too_large", "out_of_memory"}
)
#: A watch is refused at once or not at all: older ones than this are forgotten.
_WATCHES_MAX: Final = 1024


class Tracked:
    """What we know about one job of ours."""

    def __init__(self, job: str) -> None:
        self.id = job
        self.state = "queued"
        self.code = ""
        self.detail = ""
        self.progress: float | None = None
        self.output: JobOutput | None = None
        #: Data section of the result's frame: its inline arrays.
        self.data = memoryview(b"")
        #: Why we stopped hearing of it, if we did; the job goes on without us.
        self.lost: HypernodeError | None = None
        self._is_output_given_up = False
        #: Set, and replaced, at each change.
        self.changed = trio.Event()
        self.on_log: Callable[[str], None] | None = None
        self.on_change: list[Callable[[], None]] = []
        self._on_settled: list[Callable[[Tracked], None]] = []

    @property
    def is_final(self) -> bool:
        """Whether the job's state changes no more."""
        return self.state in FINAL

    @property
    def is_done(self) -> bool:
        """Whether everything is known: the final state and, where there is one, the result."""
        return self.is_final and not self._awaits_output

    @property
    def _awaits_output(self) -> bool:
        """Whether a result belongs to this end, or may: a command that failed wrote something."""
        if self.output is not None or self._is_output_given_up:
            return False
        return self.state == "completed" or self.code in WROTE_AND_FAILED

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will come: everything is known, or the coordinator is lost."""
        return self.is_done or self.lost is not None

    def when_settled(self, call: Callable[[Tracked], None]) -> None:
        """Call back once nothing more will come; at once if that is so."""
        if self.is_settled:
            call(self)
        else:
            self._on_settled.append(call)

    def apply(self, update: JobUpdate) -> None:
        """Take over a state that the coordinator told."""
        if not self.is_final:
            self.state = update.state
            self.code = update.code
            self.detail = update.detail
            if update.progress is not None:
                self.progress = update.progress
            if update.log and self.on_log is not None:
                self.on_log(update.log)
            self._notify()

    def complete(self, output: JobOutput, data: memoryview) -> None:
        """Take over a result. A job that failed and was paid has one too: what it wrote."""
        if not self.is_final:
            self.state = "completed"
        self.output = output
        self.data = data
        self._notify()

    def give_up_output(self) -> None:
        """The log of this failed job does not exist."""
        self._is_output_given_up = True
        self._notify()

    def lose(self, error: HypernodeError) -> None:
        """Nothing will be heard of it for now."""
        self.lost = error
        self._notify()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()
        for told in self.on_change:
            told()
        if self.is_settled:
            calls, self._on_settled = self._on_settled, []
            for call in calls:
                call(self)


class Request:
    """One question and, once `done` is set, its answer or its error."""

    def __init__(self, message: Ask) -> None:
        self.message = message
        self.done = trio.Event()
        self.answer: Answered | None = None
        self.error: HypernodeError | None = None
        #: The jobs of an answered submission, followed from its answer on.
        self.jobs: dict[str, Tracked] = {}
        #: How often it was sent; more than once means that a connection was lost meanwhile.
        self.sent_count = 0


class Inbox:
    """Open requests and open jobs of one client."""

    def __init__(self) -> None:
        self._requests: dict[int, Request] = {}
        self._open: dict[str, Tracked] = {}
        #: Jobs heard of while a submission is under way, before its answer told their ids.
        self._early: dict[str, Tracked] = {}
        #: Jobs of each watch that may still be refused, the newest ones.
        self._watches: dict[int, list[str]] = {}
        self._refs = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is awaited: a connection is not needed."""
        return not self._requests and not self._open

    def next_ref(self) -> int:
        """A fresh number for the next request."""
        self._refs += 1
        return self._refs

    def ask(self, message: Ask) -> Request:
        """Note a request; the caller sends it (again after each reconnect)."""
        request = self._requests[message.ref] = Request(message)
        return request

    def forget(self, request: Request) -> None:
        """Nobody waits for this answer any more."""
        self._requests.pop(request.message.ref, None)

    def track(self, job: str) -> Tracked:
        """The record of an open job, made if there is none."""
        return self._open.get(job) or self.adopt(Tracked(job))

    def adopt(self, tracked: Tracked) -> Tracked:
        """Follow a job (again, if the coordinator was lost meanwhile)."""
        tracked.lost = None
        self._open[tracked.id] = tracked
        tracked.when_settled(self.untrack)
        return tracked

    def is_tracked(self, tracked: Tracked) -> bool:
        """Whether this very record is kept up to date."""
        return self._open.get(tracked.id) is tracked

    def untrack(self, tracked: Tracked) -> None:
        """Nobody waits for this job any more."""
        if self.is_tracked(tracked):
            del self._open[tracked.id]

    def opened(self) -> Iterator[Watch | Ask]:
        """What to send on a fresh connection: open jobs to watch, then every open request.

        Requests that come while this goes out are included: afterwards nothing is unsent.
        """
        yield from self.watches(list(self._open))
        sent: set[int] = set()
        while waiting := [ref for ref in self._requests if ref not in sent]:
            for ref in waiting:
                sent.add(ref)
                if ref in self._requests:
                    yield self.sending(self._requests[ref])

    def watches(self, ids: Sequence[str]) -> Iterator[Watch]:
        """Messages that ask for updates of these jobs."""
        for start in range(0, len(ids), ITEMS_PER_MESSAGE_MAX):
            message = Watch(list(ids[start : start + ITEMS_PER_MESSAGE_MAX]), self.next_ref())
            self._watches[message.ref] = message.ids
            if len(self._watches) > _WATCHES_MAX:
                del self._watches[next(iter(self._watches))]
            yield message

    def sending(self, request: Request) -> Ask:
        """The request's message, counted as sent."""
        request.sent_count += 1
        return request.message

    def give_up(self, error: HypernodeError) -> None:
        """The coordinator cannot be reached: every request fails, open jobs go on without us."""
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.error = error
            request.done.set()
        for tracked in list(self._open.values()):
            tracked.lose(error)

    def receive(self, message: ToSubmitter, data: memoryview) -> None:
        """Take over one message of the coordinator."""
        match message:
            case Submitted() | Cancelled():
                self._answer(message)
            case Update():
                for update in message.jobs:
                    self._known(update.id).apply(update)
            case JobOutput():
                self._known(message.id).complete(message, data)
            case JobOutputs():
                for output, own in apart(message, data):
                    self._known(output.id).complete(output, own)
            case Error():
                self._refuse(message)
            case Drain() | Opened():
                pass  # after a drain the connection closes, and a reconnect follows by itself

    def _answer(self, answer: Answered) -> None:
        request = self._requests.pop(answer.ref, None)
        if request is None:
            return  # the caller went away, or a resent request is answered twice
        if isinstance(answer, Submitted):
            # Here, not where the answer is awaited: a result may come before that task runs.
            for item in answer.jobs:
                if item.id:
                    early = self._early.pop(item.id, None)
                    request.jobs[item.id] = self.adopt(early) if early else self.track(item.id)
            if not self._is_submitting:
                self._early.clear()
        elif isinstance(answer, Cancelled):
            for update in answer.jobs:
                if update.state in FINAL:
                    self._known(update.id).apply(update)
        request.answer = answer
        request.done.set()

    def _refuse(self, refusal: Error) -> None:
        if refusal.code == "draining" and refusal.ref in self._requests:
            # It closes soon, and the next connection asks again: a restart is nobody's error.
            return
        error = error_of(refusal.code, refusal.message)
        request = self._requests.pop(refusal.ref, None)
        if request is not None:
            request.error = error
            request.done.set()
        for job in self._watches.pop(refusal.ref, ()):
            if job in self._open:
                self._open[job].lose(error)

    @property
    def _is_submitting(self) -> bool:
        return any(isinstance(request.message, Submit) for request in self._requests.values())

    def _known(self, job: str) -> Tracked:
        """The record of a job; of one that nobody waits for, a record that is thrown away."""
        if job in self._open:
            return self._open[job]
        if not self._is_submitting:
            return Tracked(job)
        return self._early.setdefault(job, Tracked(job))
