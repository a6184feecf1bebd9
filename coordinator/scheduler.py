"""Which agent gets which job: an index in memory over the rows, rebuilt at start.

In:   jobs that wait, nodes that are online, how many jobs each holds.
Out:  pairs (job, node).
Not here: leases (registry), prices (pricing), anything durable.
Rules:
  1. Jobs with the same demands share a queue. Queues take turns, and within a queue submitters do,
     so that one wallet's million jobs do not starve another's one.
  2. A decision costs the same however many jobs wait.
  3. A job goes to another node than the one that failed it, unless that is the only one.
  4. The least loaded node goes first; among equals the one that waited longest.
  5. A command goes to an idle slot only: its time costs money from the moment it is sent. While one
     waits, the nodes that may run it take no other jobs ahead of their slots.
Not covered yet: weights by price, speed and reputation; a wallet that spreads its jobs over many
different demands has a turn for each of them.
Source: deficit round robin (Shreedhar and Varghese), with every job weighing the same.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

import msgspec

from coordinator.loads import Loads

#: Jobs looked at for one free slot before it is left free: bounds the search for an unavoided one.
LOOKS_MAX = 8
#: Nodes looked at for one job that comes while none waits: past them it waits, and is matched.
PLACE_LOOKS_MAX = 32


class Demand(msgspec.Struct, frozen=True):
    """What a job asks of a node."""

    kind: str
    is_timed: bool
    gpu: bool
    #: Memory of the device, whole GiB (rounded up, so that there are few different demands).
    vram_gib: int
    #: Least sandbox level.
    sandbox: int


class Waiting(msgspec.Struct, frozen=True):
    """A job in the index."""

    job: int
    submitter: bytes
    demand: Demand
    not_before_ms: int = 0
    avoid: int = 0
    #: When it has waited too long, and when its total time ends; the index does not look at them.
    until_ms: int = 0
    total_ms: int = 0


class Capability(msgspec.Struct, frozen=True):
    """What a node can take."""

    kinds: frozenset[str]
    has_gpu: bool
    vram_gib: int
    #: Level of the sandbox for commands.
    sandbox: int
    #: Level of the sandbox in which our own kinds run.
    worker_sandbox: int
    slots: int
    window: int

    def can(self, demand: Demand) -> bool:
        """Whether a node of this capability may run such a job."""
        level = self.sandbox if demand.is_timed else self.worker_sandbox
        return (
            demand.kind in self.kinds
            and level >= demand.sandbox
            and self.vram_gib >= demand.vram_gib
            and (self.has_gpu or not demand.gpu)
        )

    def room(self, demand: Demand) -> int:
        """Jobs that may be held at once if the next one is of this demand."""
        return self.slots if demand.is_timed else self.window


class _Queue:
    """The jobs of one demand: a ring of submitters, each with its own line."""

    def __init__(self) -> None:
        self._lines: OrderedDict[bytes, deque[int]] = OrderedDict()

    def push(self, submitter: bytes, job: int) -> None:
        self._lines.setdefault(submitter, deque()).append(job)

    def pop(self) -> tuple[bytes, int] | None:
        """The next job; its submitter goes to the end of the ring."""
        if not self._lines:
            return None
        submitter, line = next(iter(self._lines.items()))
        job = line.popleft()
        if line:
            self._lines.move_to_end(submitter)
        else:
            del self._lines[submitter]
        return submitter, job

    def __bool__(self) -> bool:
        return bool(self._lines)


class Scheduler:
    """The index. Every method is immediate; `match` is called after each change."""

    def __init__(self) -> None:
        self._jobs: dict[int, Waiting] = {}
        #: The queue that had its turn last stands last.
        self._queues: OrderedDict[Demand, _Queue] = OrderedDict()
        self._later: list[tuple[int, int]] = []
        self._nodes: dict[int, Capability] = {}
        self._loads = Loads()

    def __len__(self) -> int:
        """Number of jobs that wait."""
        return len(self._jobs)

    def add(self, waiting: Waiting, now_ms: int) -> None:
        """A job waits from now on, or from its `not_before_ms`."""
        self._jobs[waiting.job] = waiting
        if waiting.not_before_ms > now_ms:
            heapq.heappush(self._later, (waiting.not_before_ms, waiting.job))
        else:
            self._enqueue(waiting)

    def _enqueue(self, waiting: Waiting) -> None:
        queue = self._queues.get(waiting.demand)
        if queue is None:
            queue = self._queues[waiting.demand] = _Queue()
        queue.push(waiting.submitter, waiting.job)

    def remove(self, job: int) -> None:
        """The job waits no longer; its place in the line is skipped when its turn comes."""
        self._jobs.pop(job, None)

    def oldest(self) -> int | None:
        """The job that has been in the index longest."""
        return next(iter(self._jobs), None)

    def demands(self) -> Iterable[Demand]:
        """What the jobs ask that may be matched now, each demand once."""
        return self._queues.keys()

    def capability(self, node: int) -> Capability | None:
        """What a node can take, if it takes jobs."""
        return self._nodes.get(node)

    def waits(self, job: int) -> bool:
        """Whether the job is in the index."""
        return job in self._jobs

    def until_ms(self, job: int) -> int | None:
        """Until when the job waits, if it is in the index."""
        waiting = self._jobs.get(job)
        return None if waiting is None else waiting.until_ms

    def total_ms(self, job: int) -> int:
        """When the total time of a job in the index ends."""
        return self._jobs[job].total_ms

    def set_node(self, node: int, capability: Capability, held: int) -> None:
        """The node is online with this capability and holds so many jobs."""
        self._nodes[node] = capability
        places = max(capability.slots, capability.window)
        self._loads.set(node, held=held, slots=capability.slots, places=places)

    def drop_node(self, node: int) -> None:
        self._nodes.pop(node, None)
        self._loads.drop(node)

    def reserve(self, node: int) -> bool:
        """Keep one free slot of the node for a job that was chosen elsewhere; whether it had one.

        Given back as any other job's place is.
        """
        return self._loads.reserve(node)

    def place(self, demands: Sequence[Demand]) -> tuple[int, ...]:
        """Places for jobs that are not in the index yet, while nothing waits in it: a node each.

        0 for a job whose turn it is not, or for which nobody has room: it waits like any other.
        """
        if self._jobs:
            return (0,) * len(demands)
        return tuple([self._place(demand) for demand in demands])

    def _place(self, demand: Demand) -> int:
        nodes, loads = self._nodes, self._loads

        def fits(node: int) -> bool:
            has = nodes[node]
            return has.can(demand) and loads.held(node) < has.room(demand)

        node = loads.next(fits, PLACE_LOOKS_MAX)
        if node:
            loads.take(node)
        return node

    def give_back(self, node: int) -> None:
        """One job less is held by the node."""
        self._loads.give_back(node)

    def able(self, demand: Demand) -> int:
        """Number of nodes online that may run such a job."""
        return sum(capability.can(demand) for capability in self._nodes.values())

    def next_due_ms(self) -> int | None:
        """When the next delayed job may be matched."""
        return self._later[0][0] if self._later else None

    def match(self, now_ms: int) -> list[tuple[Waiting, int]]:
        """Pairs (job, node) for the free places; the jobs leave the index.

        What is kept for a command that is matched here is free again at the next call.
        """
        self._enqueue_due(now_ms)
        if not self._queues:
            return []
        free = self._loads.free()
        if not free:
            return []
        reserved = self._reserved(free)
        turns = deque(
            (demand, deque(node for node in free if self._nodes[node].can(demand)))
            for demand in self._queues
        )
        pairs: list[tuple[Waiting, int]] = []
        while turns:
            demand, nodes = turns.popleft()
            pair = self._take_turn(demand, nodes, reserved, now_ms)
            if pair is not None:
                pairs.append(pair)
                turns.append((demand, nodes))
        for demand in [demand for demand, queue in self._queues.items() if not queue]:
            del self._queues[demand]
        return pairs

    def _enqueue_due(self, now_ms: int) -> None:
        while self._later and self._later[0][0] <= now_ms:
            _, job = heapq.heappop(self._later)
            waiting = self._jobs.get(job)
            # A job that was removed and has come back has a later place in this heap.
            if waiting is not None and waiting.not_before_ms <= now_ms:
                self._enqueue(waiting)

    def _reserved(self, nodes: Iterable[int]) -> frozenset[int]:
        """The nodes for which a command waits."""
        timed = [demand for demand in self._queues if demand.is_timed]
        return frozenset(
            node for node in nodes if any(self._nodes[node].can(demand) for demand in timed)
        )

    def _take_turn(
        self, demand: Demand, nodes: deque[int], reserved: frozenset[int], now_ms: int
    ) -> tuple[Waiting, int] | None:
        """One job of this demand for the first of the nodes that may have it."""
        queue = self._queues[demand]
        while nodes and queue:
            node = nodes.popleft()
            if not self._has_room(node, demand, is_reserved=node in reserved):
                continue
            job = self._next_for(node, demand, now_ms)
            if job is not None:
                self._loads.take(node)
                self._queues.move_to_end(demand)
                nodes.append(node)
                return job, node
        return None

    def _has_room(self, node: int, demand: Demand, *, is_reserved: bool) -> bool:
        has = self._nodes[node]
        return self._loads.held(node) < (has.slots if is_reserved else has.room(demand))

    def _next_for(self, node: int, demand: Demand, now_ms: int) -> Waiting | None:
        """The next job that this node may have; those it may not go to the end of their lines."""
        queue = self._queues[demand]
        passed: list[Waiting] = []
        found = None
        while found is None and len(passed) < LOOKS_MAX and (head := queue.pop()) is not None:
            waiting = self._jobs.get(head[1])
            if waiting is None or waiting.not_before_ms > now_ms:
                # Removed, or removed and back with a later time.
                continue
            if waiting.avoid == node and self.able(demand) > 1:
                passed.append(waiting)
            else:
                found = waiting
                del self._jobs[waiting.job]
        for waiting in passed:
            queue.push(waiting.submitter, waiting.job)
        return found
