"""How loaded each node is: who may hold more, and who is the next to be given a job.

In:   nodes that come and go, places that are taken and given back.
Out:  the nodes with room, the least loaded first; among equals the one that waited longest.
Rules:
  1. Taking and giving back cost the same however many nodes there are (a heap's logarithm apart).
  2. The heap keeps outdated entries until they come up; it is made anew when most are outdated. A
     node that changed gets its entry when somebody asks: a hundred results of it cost one.
Not here: what a node can run (scheduler.Capability), which job it gets (scheduler).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

#: Entries of the heap beside one for each node, before the outdated ones are thrown away.
SPARE_ENTRIES = 256


class Room:
    """One node's places."""

    __slots__ = ("held", "last_turn", "places", "slots")

    def __init__(self, held: int, slots: int, places: int, last_turn: int) -> None:
        self.held = held
        self.slots = slots
        #: Most jobs that it may hold.
        self.places = places
        #: When it was last given a job, counted in jobs.
        self.last_turn = last_turn

    @property
    def load(self) -> tuple[float, int]:
        """The smallest goes first."""
        return self.held / self.slots, self.last_turn


class Loads:
    """The places of all nodes."""

    def __init__(self) -> None:
        self._rooms: dict[int, Room] = {}
        #: Nodes that may hold more.
        self._free: set[int] = set()
        self._heap: list[tuple[float, int, int]] = []
        #: Nodes whose entries are to be made.
        self._changed: set[int] = set()
        self._turns = 0

    def set(self, node: int, *, held: int, slots: int, places: int) -> None:
        """The node holds so many jobs of at most so many; the first `slots` of them run."""
        before = self._rooms.get(node)
        last_turn = before.last_turn if before else 0
        room = self._rooms[node] = Room(held, slots, places, last_turn)
        self._note(node, room)

    def drop(self, node: int) -> None:
        self._rooms.pop(node, None)
        self._free.discard(node)

    def held(self, node: int) -> int:
        """Jobs that the node holds."""
        return self._rooms[node].held

    def take(self, node: int) -> None:
        """The node is given a job."""
        room = self._rooms[node]
        room.held += 1
        self._turns += 1
        room.last_turn = self._turns
        self._note(node, room)

    def reserve(self, node: int) -> bool:
        """Keep a free slot of the node for a job that was chosen elsewhere; whether it had one."""
        room = self._rooms.get(node)
        if room is None or room.held >= room.slots:
            return False
        room.held += 1
        self._note(node, room)
        return True

    def give_back(self, node: int) -> None:
        """The node holds one job less; nothing happens if it is gone."""
        room = self._rooms.get(node)
        if room is not None and room.held > 0:
            room.held -= 1
            self._note(node, room)

    def free(self) -> list[int]:
        """The nodes that may hold more, the next one first."""
        return sorted(self._free, key=lambda node: self._rooms[node].load)

    def next(self, fits: Callable[[int], bool], looks: int) -> int:
        """The next node that may hold more and fits; 0 if there is none among the next `looks`."""
        self._enter_changed()
        passed: list[tuple[float, int, int]] = []
        found = 0
        while self._heap and not found and len(passed) < looks:
            entry = heapq.heappop(self._heap)
            node = entry[2]
            room = self._rooms.get(node)
            if room is None or node not in self._free or entry[:2] != room.load:
                continue
            if fits(node):
                # It is about to be given a job; its entry is made anew in any case.
                self._changed.add(node)
                found = node
            else:
                passed.append(entry)
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found

    def _note(self, node: int, room: Room) -> None:
        if room.held >= room.places:
            self._free.discard(node)
            return
        self._free.add(node)
        self._changed.add(node)

    def _enter_changed(self) -> None:
        for node in self._changed & self._free:
            heapq.heappush(self._heap, (*self._rooms[node].load, node))
        self._changed.clear()
        if len(self._heap) > 2 * len(self._rooms) + SPARE_ENTRIES:
            self._heap = [(*self._rooms[each].load, each) for each in self._free]
            heapq.heapify(self._heap)
