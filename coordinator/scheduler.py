"""Which agent gets which job: an index in memory over the rows, rebuilt at start.

In:   jobs that wait, nodes that are online, how many jobs each holds.
Out:  pairs (job, node).
Not here: leases (registry), prices (pricing), anything durable.
Rules:
  1. Jobs with the same demands share a queue. Submitters take turns over all queues together
     (`turns`): neither a million jobs nor a thousand different demands starve another's one.
  2. A decision costs the same however many jobs wait.
  3. A job goes to another node than the one that failed it, unless that is the only one.
  4. The least loaded node goes first; among equals the one that waited longest.
  5. Of a node with different devices, those jobs that not every device takes hold no more than
     their devices' part of its window: the others are kept busy too.
  6. A command goes to an idle slot only: its time costs money from the moment it is sent. While one
     waits, the nodes that may run it take no other jobs ahead of their slots.
Not covered yet: weights by price, speed and reputation; every job weighs the same.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import msgspec

from coordinator.loads import Loads
from coordinator.turns import Lines, Marks, Turns

#: Jobs looked at for one free slot before it is left free: bounds the search for an unavoided one.
LOOKS_MAX = 8
#: Nodes looked at for one job that comes while none waits: past them it waits, and is matched.
PLACE_LOOKS_MAX = 32


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What a job asks of a node."""

    kind: str
    is_timed: bool
    gpu: bool
    #: Memory of the device, whole GiB (rounded up, so that there are few different demands).
    vram_gib: int
    #: Least sandbox level.
    sandbox: int
    #: Least compute capability of the device: 90 is 9.0; 0 for any (rounded up likewise).
    compute: int = 0


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A job in the index."""

    job: int
    submitter: bytes
    demand: Demand
    not_before_ms: int = 0
    avoid: int = 0
    #: When it has waited too long, and when its total time ends; the index does not look at them.
    until_ms: int = 0
    total_ms: int = 0


class DeviceKind(msgspec.Struct, frozen=True):
    """Devices of one node that are alike."""

    is_gpu: bool
    vram_gib: int
    #: Compute capability: 90 is 9.0; 0 for a CPU, or where it is not known.
    compute: int
    count: int = 1

    def fits(self, demand: Demand) -> bool:
        """Whether such a device has what the job asks of one."""
        return (
            (self.is_gpu or not demand.gpu)
            and self.vram_gib >= demand.vram_gib
            and self.compute >= demand.compute
        )


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
    #: Its devices; empty where `has_gpu` and `vram_gib` say it all.
    devices: tuple[DeviceKind, ...] = ()

    def can(self, demand: Demand) -> bool:
        """Whether a node of this capability may run such a job."""
        level = self.sandbox if demand.is_timed else self.worker_sandbox
        return (
            demand.kind in self.kinds
            and level >= demand.sandbox
            and self.vram_gib >= demand.vram_gib
            and (self.has_gpu or not demand.gpu)
            # One device must have it all.
            and (not self.devices or any(device.fits(demand) for device in self.devices))
        )

    def part(self, demand: Demand) -> int:
        """How many jobs that some of the devices do not take may be held at once; 0 for any.

        The devices that take this one have their part of the window, in proportion to their number.
        """
        if demand.is_timed or len(self.devices) < 2:
            return 0
        fitting = sum(device.count for device in self.devices if device.fits(demand))
        devices = sum(device.count for device in self.devices)
        return 0 if fitting == devices else max(1, self.window * fitting // devices)

    def room(self, demand: Demand) -> int:
        """Jobs that may be held at once if the next one is of this demand."""
        return self.slots if demand.is_timed else self.window


def _nothing_held(_node: int) -> tuple[Iterable[Demand], int]:
    return (), 0


class Scheduler:
    """The index. Every method is immediate; `match` is called after each change."""

    def __init__(self) -> None:
        self._jobs: dict[int, Waiting] = {}
        #: The queue that had its turn last stands last.
        self._queues: OrderedDict[Demand, Lines] = OrderedDict()
        self._marks = Marks()
        #: What was given to each node in this round: it is on its way when the round ends.
        self._given: dict[int, list[Demand]] = defaultdict(list)
        self._later: list[tuple[int, int]] = []
        self._nodes: dict[int, Capability] = {}
        self._loads = Loads()
        #: Demands of the jobs that a node holds, and how many more are on their way to it: asked of
        #: nodes with different devices only.
        self.held_demands: Callable[[int], tuple[Iterable[Demand], int]] = _nothing_held

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
            queue = self._queues[waiting.demand] = Lines(self._marks, self.waits)
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
        places = []
        #: Who fits each demand; None once it found nobody: those that follow find nobody either.
        fitting: dict[Demand, Callable[[int], bool] | None] = {}
        for demand in demands:
            if demand not in fitting:
                fitting[demand] = self._fits(demand)
            fits = fitting[demand]
            node = 0 if fits is None else self._place(demand, fits)
            if not node:
                fitting[demand] = None
            places.append(node)
        self._given.clear()
        return tuple(places)

    def _fits(self, demand: Demand) -> Callable[[int], bool]:
        """Whether a node may be given one more job of this demand."""
        nodes, held = self._nodes, self._loads.held
        #: What a node can does not change meanwhile.
        can: dict[int, bool] = {}

        def fits(node: int) -> bool:
            has = nodes[node]
            if node not in can:
                can[node] = has.can(demand)
            return can[node] and held(node) < has.room(demand) and self._has_part(node, demand)

        return fits

    def _place(self, demand: Demand, fits: Callable[[int], bool]) -> int:
        node = self._loads.next(fits, PLACE_LOOKS_MAX)
        if node:
            self._loads.take(node)
            if len(self._nodes[node].devices) > 1:
                self._given[node].append(demand)
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
        nodes = {
            demand: deque(node for node in free if self._nodes[node].can(demand))
            for demand in self._queues
        }
        pairs: list[tuple[Waiting, int]] = []
        self._given.clear()
        turns = Turns(self._queues)
        while (demand := turns.next()) is not None:
            pair = self._take_turn(demand, nodes[demand], reserved, now_ms)
            if pair is not None:
                pairs.append(pair)
                turns.again(demand)
        for demand in [demand for demand, queue in self._queues.items() if not queue]:
            del self._queues[demand]
        self._given.clear()
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
                if len(self._nodes[node].devices) > 1:
                    self._given[node].append(demand)
                self._marks.serve(job.submitter)
                self._queues.move_to_end(demand)
                nodes.append(node)
                return job, node
        return None

    def _has_room(self, node: int, demand: Demand, *, is_reserved: bool) -> bool:
        has = self._nodes[node]
        room = has.slots if is_reserved else has.room(demand)
        return self._loads.held(node) < room and self._has_part(node, demand)

    def _has_part(self, node: int, demand: Demand) -> bool:
        """Whether the devices of a node that take this demand have room in their own part."""
        has = self._nodes[node]
        part = has.part(demand)
        if not part:
            return True
        held, coming = self.held_demands(node)
        taken = chain(held, self._given.get(node, ()))
        return sum(0 < has.part(each) <= part for each in taken) + coming < part

    def _next_for(self, node: int, demand: Demand, now_ms: int) -> Waiting | None:
        """The next job that this node may have; those it may not go to the end of their lines."""
        queue = self._queues[demand]
        passed: list[Waiting] = []
        found = None
        while found is None and len(passed) < LOOKS_MAX and (number := queue.pop()) is not None:
            waiting = self._jobs[number]
            if waiting.not_before_ms > now_ms:
                # Removed, and back with a later time.
                continue
            if waiting.avoid == node and self.able(demand) > 1:
                passed.append(waiting)
            else:
                found = waiting
                del self._jobs[waiting.job]
        for waiting in passed:
            queue.push(waiting.submitter, waiting.job)
        return found
