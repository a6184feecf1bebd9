"""Jobs and nodes brought together: the scheduler's pairs become events, their places are counted.

A place (one job that a node may hold) is taken when a job is matched and free again when its
attempt is over. Three short cuts save a commit each, and change nothing about who gets what:
  1. A job that is submitted while nothing waits is placed before its submission is committed: it is
     queued and assigned in one transaction.
  2. A place is free as soon as the attempt's result has arrived: the node's next job is assigned in
     the transaction that takes the result in.
  3. What is matched is told to the writer at once, and shares a batch with whatever waits there.
Not here: who fits whom (scheduler), leases (registry), what an assignment changes (lifecycle).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from coordinator import events as ev
from coordinator.bell import Bell
from coordinator.clock import Clock
from coordinator.metrics import Metrics
from coordinator.registry import AttemptKey
from coordinator.scheduler import Capability, Demand, Scheduler, Waiting

#: Wait before a job is matched again whose assignment could not be written.
MATCH_RETRY_MS = 1000


class Matching:
    """What is on its way between the scheduler and the rows."""

    def __init__(
        self,
        scheduler: Scheduler,
        clock: Clock,
        metrics: Metrics,
        wait: Callable[[Waiting, int], None],
    ) -> None:
        """Make it.

        Args:
            scheduler: The index.
            clock: The house's.
            metrics: Where a match's way to the disk is counted.
            wait: Puts a job back into the index, from the given time on.
        """
        self._scheduler = scheduler
        self._clock = clock
        self._metrics = metrics
        self._wait = wait
        #: Places that are taken for assignments on their way to the disk, by node.
        self._on_their_way: Counter[int] = Counter()
        #: Attempts whose results are on their way to the disk: their places are free already.
        self._answered: dict[int, set[AttemptKey]] = {}
        self._due = Bell()

    def wake(self) -> None:
        """Something has changed: match again."""
        self._due.ring()

    async def due(self) -> None:
        """Wait until there may be something to match."""
        await self._due.wait()

    # ---- nodes ---------------------------------------------------------------------------------

    def set_node(self, node: int, capability: Capability, attempts: int) -> None:
        """The node may be given jobs; it holds so many attempts."""
        # What was matched and is not committed yet will be held too; what was answered on an
        # earlier connection is held until it is answered again, or until its commit.
        self._answered.pop(node, None)
        self._scheduler.set_node(node, capability, attempts + self._on_their_way[node])
        self.wake()

    def on_their_way(self, node: int) -> int:
        """Jobs that are given to the node and not on the disk yet."""
        return self._on_their_way[node]

    def drop_node(self, node: int) -> None:
        self._answered.pop(node, None)
        self._scheduler.drop_node(node)

    def note_answer(self, node: int, attempt: AttemptKey) -> None:
        """The node has sent the result of an attempt that it holds: it has room for another one."""
        answered = self._answered.setdefault(node, set())
        if attempt not in answered:
            answered.add(attempt)
            self._scheduler.give_back(node)
            self.wake()

    def end(self, node: int, attempt: AttemptKey) -> None:
        """The node holds this attempt no longer."""
        answered = self._answered.get(node)
        if answered is not None and attempt in answered:
            answered.discard(attempt)
        else:
            self._scheduler.give_back(node)

    # ---- jobs ----------------------------------------------------------------------------------

    def place(self, demands: Sequence[Demand]) -> tuple[int, ...]:
        """Nodes for jobs that are about to be submitted; 0 for one that has to wait its turn."""
        nodes = self._scheduler.place(demands)
        self._on_their_way.update([node for node in nodes if node])
        return nodes

    def note_placed(self, nodes: Sequence[int], *, is_kept: bool) -> None:
        """The submission of jobs with these places is on the disk, or (not kept) refused whole."""
        for node, count in Counter(nodes).items():
            if node:
                self._arrive(node, count)
                if not is_kept:
                    for _ in range(count):
                        self.free(node)

    def free(self, node: int) -> None:
        """A place that was taken for a job is not needed."""
        self._scheduler.give_back(node)
        self.wake()

    def match(self, tell: Callable[[ev.Event, Callable[[ev.Outcome], None]], None]) -> None:
        """Tell of the pairs that are possible now."""
        for waiting, node in self._scheduler.match(self._clock.wall_ms()):
            tell(ev.JobMatched(waiting.job, node), self._on_match(waiting, node))

    def _on_match(self, waiting: Waiting, node: int) -> Callable[[ev.Outcome], None]:
        self._on_their_way[node] += 1
        began = self._clock.monotonic()

        def then(outcome: ev.Outcome) -> None:
            self._arrive(node)
            if outcome.value is None:
                # Cancelled meanwhile, or the store failed: the place is free again.
                self.free(node)
            else:
                self._metrics.dispatch_seconds.observe(self._clock.monotonic() - began)
            if outcome.refusal is not None:
                now_ms = self._clock.wall_ms()
                self._wait(replace(waiting, not_before_ms=now_ms + MATCH_RETRY_MS), now_ms)

        return then

    def _arrive(self, node: int, count: int = 1) -> None:
        self._on_their_way[node] -= count
        if not self._on_their_way[node]:
            del self._on_their_way[node]
