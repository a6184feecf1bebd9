"""Inputs of the jobs that an agent holds: begun when a job comes, given up when it goes.

In:   jobs that name blobs; whether an attempt is still wanted.
Out:  the same jobs with their files, or why not.
Rules:
  1. A job waits for its inputs while others compute: fetching takes no place.
  2. A fetch ends with its attempt, whatever ended that; files that no attempt has may be evicted.
Not here: the files and how they come (`inputs.py`), which attempts are held (`held.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from agent.bells import Bell
from agent.inputs import InputCache
from agent.outbox import AttemptId
from agent.task import Task
from coordinator.protocol.errors import Refusal


class Fetches:
    """Those of one agent."""

    def __init__(
        self,
        cache: InputCache | None,
        *,
        is_wanted: Callable[[AttemptId], bool],
        on_ready: Callable[[Task], None],
        on_failed: Callable[[Task, Refusal], None],
    ) -> None:
        """Nothing begins before `run`.

        Args:
            cache: Where inputs are kept; None on a host that keeps none, where such jobs fail.
            is_wanted: Whether an attempt waits or runs.
            on_ready: Hears a task with its files.
            on_failed: Hears why a task gets no files.
        """
        self._cache = cache
        self._is_wanted = is_wanted
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._new: list[Task] = []
        self._scopes: dict[AttemptId, trio.CancelScope] = {}
        #: Tasks that have their files.
        self._have: dict[AttemptId, Task] = {}
        self._bell = Bell()

    def begin(self, task: Task) -> None:
        """Fetch what a task that is held now names."""
        self._new.append(task)
        self._bell.ring()

    def look(self) -> None:
        """Some attempts may not be wanted any more."""
        if self._scopes or self._have:
            self._bell.ring()

    async def run(self) -> None:
        """Fetch, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                new, self._new = self._new, []
                for task in new:
                    if self._is_wanted((task.job, task.fence)):
                        nursery.start_soon(self._fetch, task)
                self._drop_unwanted()
                await self._bell.wait()

    def _drop_unwanted(self) -> None:
        for attempt, scope in self._scopes.items():
            if not self._is_wanted(attempt):
                scope.cancel()
        for attempt in [each for each in self._have if not self._is_wanted(each)]:
            assert self._cache is not None
            self._cache.release(self._have.pop(attempt))

    async def _fetch(self, task: Task) -> None:
        if self._cache is None:
            self._on_failed(task, Refusal("input_unavailable", "this agent keeps no inputs"))
            return
        attempt = (task.job, task.fence)
        scope = self._scopes[attempt] = trio.CancelScope()
        with scope:
            try:
                fetched = await self._cache.fetch(task)
            except Refusal as refusal:
                self._on_failed(task, refusal)
            else:
                self._have[attempt] = fetched
                self._on_ready(fetched)
        del self._scopes[attempt]
        # It may have been dropped while its last byte came.
        self.look()
