"""Which nodes are here, which attempts each holds, and when it counts as gone. Pure: time comes in.

Leases run on a monotonic clock and live in memory only: a heartbeat renews all leases of its node
at once, by one number. The rows know which attempts are open; at start each of them is given a
whole lease anew.
Rules:
  1. A node is offline `OFFLINE_S` after it was last heard; its leases end `LEASE_S + LEASE_GRACE_S`
     after that, or `RESUME_S` after its connection closed without another one.
  2. An attempt also has an end of its own: the seconds that it may run.
  3. A newer connection of a node supersedes the older one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from coordinator.limits import LEASE_GRACE_S, LEASE_S, OFFLINE_S, RESUME_S

#: An attempt, by (job, fence).
AttemptKey = tuple[int, int]
#: Time that an answer may take to arrive after the agent's own clock has ended the attempt.
EXECUTION_GRACE_S = 5.0
#: Ends of attempts that are kept before those of ended attempts are looked for.
ENDS_MIN = 1024


class Presence:
    """One node's place in the house."""

    __slots__ = ("attempts", "closed_at", "connection", "heard_at")

    def __init__(self, now: float) -> None:
        #: Number of the node's connection; 0 while it has none.
        self.connection = 0
        self.heard_at = now
        self.closed_at: float | None = now
        #: In a dictionary, which takes a third of an empty set's memory.
        self.attempts: dict[AttemptKey, None] = {}

    def gone_at(self) -> float:
        """When the leases of this node end, if nothing more is heard."""
        lease_end = self.heard_at + LEASE_S + LEASE_GRACE_S
        return lease_end if self.closed_at is None else min(lease_end, self.closed_at + RESUME_S)


class Registry:
    """All nodes that are connected, or that hold attempts."""

    def __init__(self) -> None:
        self._nodes: dict[int, Presence] = {}
        self._connections = 0
        self._ends: list[tuple[float, int, int]] = []
        self._ends_max = ENDS_MIN

    def restore(self, attempts: Iterable[tuple[int, int, int]], now: float) -> None:
        """Attempts (job, fence, node) that were open when the coordinator stopped: leases anew."""
        for job, fence, node in attempts:
            presence = self._nodes.setdefault(node, Presence(now))
            # Not closed a moment ago, but never connected here: the whole lease is its time.
            presence.closed_at = None
            presence.attempts[job, fence] = None

    def connect(self, node: int, now: float) -> int:
        """The node has a new connection; its number."""
        presence = self._nodes.setdefault(node, Presence(now))
        self._connections += 1
        presence.connection = self._connections
        presence.heard_at = now
        presence.closed_at = None
        return presence.connection

    def disconnect(self, node: int, connection: int, now: float) -> bool:
        """A connection closed; whether it was the node's current one."""
        presence = self._nodes.get(node)
        if presence is None or presence.connection != connection:
            return False
        presence.connection = 0
        presence.closed_at = now
        if not presence.attempts:
            del self._nodes[node]
        return True

    def is_current(self, node: int, connection: int) -> bool:
        presence = self._nodes.get(node)
        return presence is not None and presence.connection == connection

    def hear(self, node: int, now: float) -> None:
        """Something came from the node: its leases are renewed."""
        self._nodes[node].heard_at = now

    def is_online(self, node: int, now: float) -> bool:
        presence = self._nodes.get(node)
        return (
            presence is not None
            and presence.connection != 0
            and now - presence.heard_at < OFFLINE_S
        )

    def take(self, node: int, job: int, fence: int, *, seconds: float, now: float) -> None:
        """The node holds this attempt from now on, for at most so many seconds."""
        self._nodes.setdefault(node, Presence(now)).attempts[job, fence] = None
        heapq.heappush(self._ends, (now + seconds, job, fence))
        if len(self._ends) > self._ends_max:
            self._forget_ended()

    def _forget_ended(self) -> None:
        """Short jobs with long limits end by the thousand: their own ends are not kept for hours.

        Half of what is kept is of open attempts, or it is looked at again: a constant cost a job.
        """
        held = {attempt for presence in self._nodes.values() for attempt in presence.attempts}
        self._ends = [end for end in self._ends if end[1:] in held]
        heapq.heapify(self._ends)
        self._ends_max = max(ENDS_MIN, 2 * len(self._ends))

    def let_go(self, node: int, job: int, fence: int) -> bool:
        """The node no longer holds this attempt; whether it did."""
        presence = self._nodes.get(node)
        if presence is None or (job, fence) not in presence.attempts:
            return False
        del presence.attempts[job, fence]
        if not presence.attempts and not presence.connection:
            del self._nodes[node]
        return True

    def holds(self, node: int) -> frozenset[AttemptKey]:
        presence = self._nodes.get(node)
        return frozenset(presence.attempts) if presence else frozenset()

    def has(self, node: int, attempt: AttemptKey) -> bool:
        """Whether the node holds this attempt."""
        presence = self._nodes.get(node)
        return presence is not None and attempt in presence.attempts

    def held(self, node: int) -> int:
        presence = self._nodes.get(node)
        return len(presence.attempts) if presence else 0

    def overdue(self, now: float) -> list[tuple[int, AttemptKey]]:
        """Attempts whose lease is over, with their node; told again until they are let go."""
        return [
            (node, attempt)
            for node, presence in self._nodes.items()
            if presence.attempts and presence.gone_at() <= now
            for attempt in presence.attempts
        ]

    def out_of_time(self, now: float) -> list[AttemptKey]:
        """Attempts whose own time is over; told once, perhaps also if they have ended since."""
        over: list[AttemptKey] = []
        while self._ends and self._ends[0][0] <= now:
            _, job, fence = heapq.heappop(self._ends)
            over.append((job, fence))
        return over

    def online(self, now: float) -> int:
        """Number of nodes online."""
        return sum(self.is_online(node, now) for node in self._nodes)

    def heard_at(self, node: int) -> float | None:
        """When a connected node was last heard, monotonic seconds."""
        presence = self._nodes.get(node)
        return presence.heard_at if presence is not None and presence.connection else None

    def last_heard(self) -> Mapping[int, float]:
        """When each connected node was last heard, monotonic seconds."""
        return {
            node: presence.heard_at for node, presence in self._nodes.items() if presence.connection
        }
