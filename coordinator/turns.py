"""Whose turn it is: every submitter has an equal share, over however many queues its jobs stand in.

In:   jobs by submitter, in one line for each demand.
Out:  the next job of a line; how long a submitter has to wait compared with others.
Rules:
  1. A submitter's mark grows by one with each job it is given, in whichever queue. Who has the
     smallest mark goes first; among equals who has waited longest.
  2. Whoever comes when others have been served for hours begins with them, not before them: nobody
     saves up turns.
  3. A job costs the same however many wait (a heap's logarithm of submitters apart).
Not covered: jobs of different length weigh alike.
Source: start-time fair queueing (Goyal, Vin, Cheng), which is deficit round robin's fairness across
several queues; with one queue and equal jobs both are a round robin.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Generic, TypeVar

Q = TypeVar("Q")

#: Marks that are kept before those that say nothing any more are thrown away.
MARKS_MIN = 4096


class Marks:
    """How much each submitter has had, over all queues."""

    def __init__(self) -> None:
        self._marks: dict[bytes, int] = {}
        #: The mark of the job that was given last.
        self._now = 0
        self._marks_max = MARKS_MIN

    def of(self, submitter: bytes) -> int:
        """The submitter's mark: what its next job starts at."""
        return max(self._now, self._marks.get(submitter, 0))

    def serve(self, submitter: bytes) -> None:
        """The submitter is given a job."""
        self._now = self.of(submitter)
        self._marks[submitter] = self._now + 1
        if len(self._marks) > self._marks_max:
            # Who is one turn ahead is forgotten too, and has that turn as a gift.
            ahead = self._now + 1
            self._marks = {who: mark for who, mark in self._marks.items() if mark > ahead}
            self._marks_max = max(MARKS_MIN, 2 * len(self._marks))


class Lines:
    """The jobs of one demand: a line for each submitter, and who is next."""

    def __init__(self, marks: Marks, is_waiting: Callable[[int], bool]) -> None:
        """Make an empty one.

        Args:
            marks: Shared by all queues.
            is_waiting: Whether a job still waits; the places of those that do not are skipped.
        """
        self._marks = marks
        self._is_waiting = is_waiting
        self._lines: dict[bytes, deque[int]] = {}
        #: (mark, arrival, submitter): one for each line; marks may have grown since.
        self._heap: list[tuple[int, int, bytes]] = []
        self._arrivals = count()

    def push(self, submitter: bytes, job: int) -> None:
        line = self._lines.get(submitter)
        if line is None:
            line = self._lines[submitter] = deque()
            mark = self._marks.of(submitter)
            heapq.heappush(self._heap, (mark, next(self._arrivals), submitter))
        line.append(job)

    def mark(self) -> int | None:
        """The mark of the submitter that is next; None if nobody waits."""
        while self._heap:
            mark, _, submitter = self._heap[0]
            line = self._lines[submitter]
            while line and not self._is_waiting(line[0]):
                line.popleft()
            now = self._marks.of(submitter)
            if not line:
                heapq.heappop(self._heap)
                del self._lines[submitter]
            elif mark < now:
                heapq.heapreplace(self._heap, (now, next(self._arrivals), submitter))
            else:
                return mark
        return None

    def pop(self) -> int | None:
        """The next job; whoever it belongs to has its next turn after the others'.

        Whether it was given the job is for the caller to say (`Marks.serve`).
        """
        mark = self.mark()
        if mark is None:
            return None
        _, _, submitter = self._heap[0]
        line = self._lines[submitter]
        job = line.popleft()
        if line:
            heapq.heapreplace(self._heap, (mark + 1, next(self._arrivals), submitter))
        else:
            heapq.heappop(self._heap)
            del self._lines[submitter]
        return job

    def __bool__(self) -> bool:
        """Whether there may be a job: those that do not wait any more are found at their turn."""
        return bool(self._lines)


class Turns(Generic[Q]):
    """Several queues, and which of them is next: the one whose next submitter has the least."""

    def __init__(self, queues: Mapping[Q, Lines]) -> None:
        """Make it for one round.

        Args:
            queues: By name; among equals the first one goes first.
        """
        self._queues = queues
        #: An only queue has every turn: nothing is compared.
        self._is_only = len(queues) == 1
        self._arrivals = count()
        self._heap: list[tuple[int, int, Q]] = []
        for name in queues:
            self.again(name)

    def again(self, name: Q) -> None:
        """The queue takes part in the round (again), behind its equals."""
        mark = 0 if self._is_only else self._queues[name].mark()
        if mark is not None:
            heapq.heappush(self._heap, (mark, next(self._arrivals), name))

    def next(self) -> Q | None:
        """The queue whose turn it is; it has no further one unless `again` says so.

        It may turn out that none of its jobs waits any more.
        """
        while self._heap:
            mark, _, name = heapq.heappop(self._heap)
            if self._is_only:
                return name
            now = self._queues[name].mark()
            if now == mark:
                return name
            # Its submitter was given a job in another queue meanwhile.
            self.again(name)
        return None
