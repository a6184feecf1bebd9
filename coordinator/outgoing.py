"""What waits to be sent to one peer: in order, coalesced, bounded.

Messages that carry lists (jobs, acks, stops, updates, results) gather while a frame is on its way,
and leave together; on a quiet system each leaves alone, at once. So batches grow with the load and
cost no latency without it.
Rules:
  1. Single messages first, in order; then jobs, acks, stops, updates, results, each kind in its
     order. An attempt's stop never overtakes its job, nor a result its job's last update.
  2. A frame holds at most `ITEMS_PER_MESSAGE_MAX` items and `FRAME_BYTES_MAX` bytes.
  3. A peer that lets more than `OUTBOX_FRAMES_MAX` messages or as many full frames' items wait is
     too slow: `is_full` says so, and its connection is closed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
import trio

from coordinator.limits import (
    FRAME_BYTES_MAX,
    ITEMS_PER_MESSAGE_MAX,
    KIB,
    LOG_CHARS_PER_MESSAGE,
    LOG_CHARS_WAITING_MAX,
    LOG_CHARS_WAITING_PER_JOB,
    OUTBOX_FRAMES_MAX,
)
from coordinator.live_logs import left_out
from coordinator.protocol.messages import (
    AckItem,
    Acks,
    AnyMessage,
    Attempt,
    CancelAttempts,
    JobItem,
    Jobs,
    JobUpdate,
    Price,
    SubmissionAnswer,
    Update,
)
from coordinator.protocol.parcel import Parcel, alone, together
from coordinator.store.values import JobState

#: Room for the line that says how much is left out.
_MARK_CHARS: Final = 64
#: Results that wait for one peer take this part of what its frames could hold: 16 MiB.
_PARCEL_SHARE: Final = 16


class _Saying:
    """News of a running job that waits to be sent: what comes meanwhile joins it."""

    __slots__ = ("job", "progress", "size", "skipped", "text")

    def __init__(self, job: str) -> None:
        self.job = job
        self.progress: float | None = None
        self.text: list[str] = []
        self.size = 0
        #: Characters that had no room.
        self.skipped = 0

    def updates(self) -> list[JobUpdate]:
        """All of it, in pieces that the wire takes."""
        log = "".join(self.text)
        if self.skipped:
            log += left_out(self.skipped)
        step = LOG_CHARS_PER_MESSAGE
        pieces = [log[start : start + step] for start in range(0, len(log), step)] or [""]
        return [
            JobUpdate(self.job, JobState.RUNNING, progress=self.progress, log=piece)
            for piece in pieces
        ]


T = TypeVar("T")
A = TypeVar("A", SubmissionAnswer, Price)

#: Bytes of an item beside what varies in it: ids, names, punctuation; generous.
ITEM_BYTES: Final = 300
#: Room for the message around its items.
FRAME_ROOM: Final = FRAME_BYTES_MAX - 4 * KIB

_SIZES: Final[dict[type, Callable[..., int]]] = {
    JobItem: lambda item: ITEM_BYTES + len(bytes(item.spec)),
    AckItem: lambda item: ITEM_BYTES,  # noqa: ARG005 - one signature for all
    Attempt: lambda item: ITEM_BYTES,  # noqa: ARG005
    JobUpdate: lambda item: ITEM_BYTES + 6 * (len(item.detail) + len(item.log)),
    Parcel: lambda item: item.size,
    _Saying: lambda item: 5 * ITEM_BYTES + 6 * (item.size + _MARK_CHARS),
}


#: An empty queue, shared by all that have nothing in theirs: one of its own is 760 bytes. Not a
#: deque, so that nothing can be put in by mistake.
_NONE: Final[Any] = ()


class Outgoing:
    """The queue of one peer."""

    __slots__ = (
        *("_acks", "_jobs", "_parcels", "_singles", "_stops", "_updates"),
        *("_parcel_bytes", "_said_chars", "_sayings"),
        *("_taken", "on_more"),
    )

    def __init__(self) -> None:
        self._singles: deque[tuple[AnyMessage, bytes]] = _NONE
        self._jobs: deque[JobItem] = _NONE
        self._acks: deque[AckItem] = _NONE
        self._stops: deque[tuple[Attempt, str]] = _NONE
        self._updates: deque[JobUpdate | _Saying] = _NONE
        #: Those of the updates that more may join, by job.
        self._sayings: dict[str, _Saying] = {}
        self._said_chars = 0
        self._parcels: deque[Parcel] = _NONE
        self._parcel_bytes = 0
        #: Called when something waits, or nothing more is wanted: whoever sends looks up.
        self.on_more: Callable[[], None] | None = None
        #: Set once less waits than a slow peer is allowed, where somebody waits for that.
        self._taken: trio.Event | None = None

    @property
    def is_full(self) -> bool:
        return self._exceeds(OUTBOX_FRAMES_MAX)

    @property
    def is_overrun(self) -> bool:
        """Whether a peer has fallen so far behind that it must come back: twice what is full."""
        return self._exceeds(2 * OUTBOX_FRAMES_MAX)

    def _exceeds(self, frames: int) -> bool:
        items = len(self._jobs) + len(self._acks) + len(self._stops) + len(self._updates)
        return (
            len(self._singles) > frames
            or items > frames * ITEMS_PER_MESSAGE_MAX
            or self._parcel_bytes > frames * FRAME_BYTES_MAX // _PARCEL_SHARE
        )

    def __bool__(self) -> bool:
        return bool(
            self._singles
            or self._jobs
            or self._acks
            or self._stops
            or self._updates
            or self._parcels
        )

    def put(self, message: AnyMessage, data: bytes = b"") -> None:
        self.answer(message, data)
        self._wake()

    def answer(self, message: AnyMessage, data: bytes = b"") -> None:
        """Put what the task that listens sends itself, once it has done what it was asked."""
        if self._singles is _NONE:
            self._singles = deque()
        self._singles.append((message, data))

    def put_job(self, item: JobItem) -> None:
        if self._jobs is _NONE:
            self._jobs = deque()
        self._jobs.append(item)
        self._wake()

    def put_ack(self, item: AckItem) -> None:
        if self._acks is _NONE:
            self._acks = deque()
        self._acks.append(item)
        self._wake()

    def put_stop(self, attempt: Attempt, reason: str) -> None:
        if self._stops is _NONE:
            self._stops = deque()
        self._stops.append((attempt, reason))
        self._wake()

    def put_update(self, update: JobUpdate) -> None:
        if self._sayings:
            # What is said after it must not overtake it.
            self._sayings.pop(update.id, None)
        if self._updates is _NONE:
            self._updates = deque()
        self._updates.append(update)
        self._wake()

    def put_saying(self, job: str, progress: float | None, text: str) -> None:
        """More of a running job's log, and how far it is: one update however often it is said.

        A peer that does not take it in time loses what has no room, and a line says how much.
        """
        saying = self._sayings.get(job)
        if saying is None:
            saying = self._sayings[job] = _Saying(job)
            if self._updates is _NONE:
                self._updates = deque()
            self._updates.append(saying)
        if progress is not None:
            saying.progress = progress
        room = min(
            LOG_CHARS_WAITING_PER_JOB - saying.size,
            LOG_CHARS_WAITING_MAX - self._said_chars,
        )
        kept = "" if saying.skipped else text[: max(room, 0)]
        saying.text.append(kept)
        saying.size += len(kept)
        saying.skipped += len(text) - len(kept)
        self._said_chars += len(kept)
        self._wake()

    def put_parcel(self, parcel: Parcel) -> None:
        if self._parcels is _NONE:
            self._parcels = deque()
        self._parcels.append(parcel)
        self._parcel_bytes += parcel.size
        self._wake()

    def stop(self) -> None:
        """Nothing more is wanted: whoever sends looks up."""
        self._wake()

    def _wake(self) -> None:
        if self.on_more is not None:
            self.on_more()

    async def room(self) -> None:
        """Return once less waits than a slow peer is allowed."""
        while self.is_full:
            if self._taken is None:
                self._taken = trio.Event()
            await self._taken.wait()

    def take(self) -> Iterator[tuple[AnyMessage, bytes]]:
        """Everything that waits now, as messages that each fit a frame."""
        for frame in self._frames():
            # At each frame, and not at the first or the last one only: who waits for room may be
            # the one whose next message would begin the next round.
            if self._taken is not None and not self.is_full:
                self._taken.set()
                self._taken = None
            yield frame
        self._let_go()

    def _let_go(self) -> None:
        """Queues that ran empty give their memory back."""
        self._singles = self._singles or _NONE
        self._jobs = self._jobs or _NONE
        self._acks = self._acks or _NONE
        self._stops = self._stops or _NONE
        self._updates = self._updates or _NONE
        self._parcels = self._parcels or _NONE

    def _frames(self) -> Iterator[tuple[AnyMessage, bytes]]:
        # Those that wait now: what comes while earlier kinds leave may follow something that has to
        # leave before it, and waits for the next round.
        stops, parcels_left = len(self._stops), len(self._parcels)
        while self._singles:
            yield self._singles.popleft()
        # Most of them are empty: a generator is not begun for those.
        for jobs in _groups(self._jobs) if self._jobs else ():
            yield Jobs(jobs), b""
        for acks in _groups(self._acks) if self._acks else ():
            yield Acks(acks), b""
        while stops and self._stops:
            stops -= 1
            attempt, reason = self._stops.popleft()
            yield CancelAttempts([attempt], reason), b""
        for group in _groups(self._updates) if self._updates else ():
            updates = [each for update in group for each in self._said(update)]
            for start in range(0, len(updates), ITEMS_PER_MESSAGE_MAX):
                yield Update(updates[start : start + ITEMS_PER_MESSAGE_MAX]), b""
        for parcels in _groups(self._parcels, parcels_left) if parcels_left else ():
            self._parcel_bytes -= sum([parcel.size for parcel in parcels])
            yield alone(parcels[0]) if len(parcels) == 1 else together(parcels)

    def _said(self, update: JobUpdate | _Saying) -> Sequence[JobUpdate]:
        if isinstance(update, JobUpdate):
            return (update,)
        if self._sayings.get(update.job) is update:
            del self._sayings[update.job]
        self._said_chars -= update.size
        return update.updates()


def _groups(items: deque[T], most: float = math.inf) -> Iterator[list[T]]:
    """Groups that each fit a message, of at most so many items in all."""
    while items and most > 0:
        group: list[T] = []
        room, limit = FRAME_ROOM, min(ITEMS_PER_MESSAGE_MAX, most)
        while items and len(group) < limit:
            item = items[0]
            room -= _SIZES[type(item)](item)
            if group and room < 0:
                break
            group.append(item)
            items.popleft()
        most -= len(group)
        yield group


def fitting(answers: list[A]) -> list[A]:
    """The answers to one request; without their sentences if those make too much for a frame.

    Why: a sentence repeats some of the peer's own words, which then come back twice.
    """
    has_sentences = any(answer.error for answer in answers)
    if not has_sentences or len(msgspec.json.encode(answers)) <= FRAME_ROOM:
        return answers
    return [msgspec.structs.replace(answer, error="") for answer in answers]


def split(
    items: Sequence[T], size_of: Callable[[T], int], items_max: int = ITEMS_PER_MESSAGE_MAX
) -> Iterator[list[T]]:
    """Groups of items that each fit a message."""
    group: list[T] = []
    room = FRAME_ROOM
    for item in items:
        size = size_of(item)
        if group and (size > room or len(group) == items_max):
            yield group
            group, room = [], FRAME_ROOM
        group.append(item)
        room -= size
    if group:
        yield group
