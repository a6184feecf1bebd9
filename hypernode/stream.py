"""Results of many jobs, as an iterator that keeps a bounded number of them open.

In:   an iterable of parameters, read as the results are taken.
Out:  results in order, or as they come.
Rules:
  1. At most `max_in_flight` jobs are open; memory does not grow with the number of jobs.
  2. Jobs are submitted in batches: a new batch goes out once half of them are done.
  3. Whoever stops early (`aclose`, an error raised) cancels what is open: unwanted work costs.
Pulling drives it: there is no task of its own, so nothing runs when nobody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Literal, Protocol, TypeAlias

import trio

from hypernode.errors import HypernodeError
from hypernode.result import Result
from hypernode.wishes import JobArguments

Params: TypeAlias = JobArguments


class Handle(Protocol):
    """What a stream needs of a job."""

    async def result(self) -> Result: ...
    async def cancel(self) -> None: ...
    def when_settled(self, call: Callable[[], None]) -> None: ...


SubmitPart: TypeAlias = Callable[[Sequence[Params]], Awaitable[Sequence[Handle | HypernodeError]]]


class Stream:
    """An asynchronous iterator over results (with `errors="return"` also over exceptions)."""

    def __init__(
        self,
        submit: SubmitPart,
        many: Iterable[Params],
        *,
        order: bool,
        errors: Literal["raise", "return"],
        max_in_flight: int,
    ) -> None:
        if max_in_flight < 1:
            msg = "max_in_flight is at least 1"
            raise ValueError(msg)
        self._submit = submit
        self._many = iter(many)
        self._order = order
        self._errors = errors
        self._max = max_in_flight
        #: Open jobs and refusals: in order of submission, or in order of their end.
        self._next: deque[Handle | HypernodeError] = deque()
        self._open: dict[int, Handle] = {}
        self._arrived = trio.Event()
        self._is_exhausted = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        """A `Result`; with `errors="return"` it may be the `HypernodeError` of a failed job."""
        await self._fill()
        while not self._next:
            if not self._open:
                raise StopAsyncIteration
            await self._arrived.wait()
        item = self._next.popleft()
        outcome = await self._outcome_of(item)
        self._open.pop(id(item), None)
        if isinstance(outcome, HypernodeError) and self._errors == "raise":
            await self.aclose()
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Stop: nothing more is submitted, what is open is cancelled."""
        self._is_exhausted = True
        self._next.clear()
        while self._open:
            _, job = self._open.popitem()
            try:
                await job.cancel()
            except HypernodeError:
                continue  # it ended meanwhile, or the coordinator is gone: nothing is left to stop

    async def _fill(self) -> None:
        """Submit the next batch once at least half of the room is free."""
        room = self._max - len(self._open)
        if self._is_exhausted or room < (self._max + 1) // 2:
            return
        part = list(islice(self._many, room))
        self._is_exhausted = len(part) < room
        if not part:
            return
        for job in await self._submit(part):
            if isinstance(job, HypernodeError):
                self._arrive(job)
                continue
            self._open[id(job)] = job
            if self._order:
                self._next.append(job)
            else:
                job.when_settled(lambda job=job: self._arrive(job))  # type: ignore[misc]

    def _arrive(self, item: Handle | HypernodeError) -> None:
        if isinstance(item, HypernodeError) or id(item) in self._open:
            self._next.append(item)
            self._arrived.set()
            self._arrived = trio.Event()

    async def _outcome_of(self, item: Handle | HypernodeError) -> Result | HypernodeError:
        if isinstance(item, HypernodeError):
            return item
        try:
            return await item.result()
        except HypernodeError as error:
            return error
