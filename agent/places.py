"""Where a task can compute on this host, as a pure table: one place a GPU, some on the processor.

In:   tasks to place, places that fall out and come back.
Out:  the place of a task.
Rules:
  1. A place runs one task at a time. A GPU is one place, since its kernels take all of it.
  2. A kernel goes to the smallest and oldest idle GPU that fits it, so that the better ones are
     there for who needs them; to the processor only if no GPU is idle.
     A command never goes to a GPU's place: while it waits for a file, the GPU would idle. A
     stranger's kernel goes to the processor.
  3. A place that is out is given nothing, until it is open again.
Not here: why a place is out (`health.py`), what runs there (`worker.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from agent.task import COMMAND, KERNEL, Task
from coordinator.limits import KIB

#: Sorts after every GPU.
_PROCESSOR: Final = 2**62


class Place(msgspec.Struct, frozen=True):
    """One task at a time."""

    #: UUID of the device; empty where only commands run.
    device: str = "cpu"
    #: `cuda`, `cpu`, or empty where only commands run.
    backend: str = "cpu"
    memory_mb: int = 0
    #: Compute capability: 90 is 9.0; 0 for a CPU.
    compute_capability: int = 0
    takes_commands: bool = True
    #: Whether strangers' kernels may run here.
    takes_kernels: bool = True

    def takes(self, task: Task) -> bool:
        """Whether the task can run here at all."""
        if task.kind == COMMAND:
            return self.takes_commands
        if not self.backend or (task.gpu and self.backend != "cuda"):
            return False
        if task.kind == KERNEL and not self.takes_kernels:
            return False
        if task.compute_capability > self.compute_capability:
            return False
        # In whole GiB, as the coordinator reckons: a card of 24 GiB says 24,564 MB.
        return self.backend != "cuda" or round(self.memory_mb / KIB) * KIB >= task.vram_mb


class Places:
    """The places of one agent, by number."""

    def __init__(self, places: Sequence[Place]) -> None:
        assert places
        self._places = tuple(places)
        self._busy: set[int] = set()
        #: Number → why it is out.
        self._out: dict[int, str] = {}
        self._order = sorted(range(len(places)), key=self._rank)

    @classmethod
    def alike(cls, count: int) -> Places:
        """So many places that take everything, kernels that ask for a GPU included."""
        return cls([Place("any", "cuda", 2**40, compute_capability=10_000)] * count)

    def _rank(self, number: int) -> tuple[int, int, int, int]:
        place = self._places[number]
        memory = place.memory_mb if place.backend == "cuda" else _PROCESSOR
        # A command goes where no kernel can first.
        return memory, place.compute_capability, 1 if place.backend else 0, number

    def __len__(self) -> int:
        """How many are open."""
        return len(self._places) - len(self._out)

    def __getitem__(self, number: int) -> Place:
        return self._places[number]

    @property
    def out(self) -> Mapping[int, str]:
        """Number → why it is out."""
        return self._out

    def shut(self, out: Mapping[int, str]) -> None:
        """From now on exactly these are out."""
        assert all(0 <= number < len(self._places) for number in out)
        self._out = dict(out)

    def can(self, task: Task) -> bool:
        """Whether some open place takes the task, busy or not."""
        return bool(self.that_take(task))

    def that_take(self, task: Task) -> set[int]:
        """The open places that take a task, busy or not."""
        return {
            number
            for number, place in enumerate(self._places)
            if place.takes(task) and number not in self._out
        }

    def kernels(self) -> int:
        """How many open places run kernels."""
        return sum(
            bool(place.backend)
            for number, place in enumerate(self._places)
            if number not in self._out
        )

    def has_idle(self) -> bool:
        """Whether any open place is idle."""
        return any(n not in self._busy and n not in self._out for n in self._order)

    def occupy(self, task: Task) -> int | None:
        """The best idle place for a task, busy from now on; None if there is none now."""
        for number in self._order:
            if number in self._busy or number in self._out:
                continue
            if self._places[number].takes(task):
                self._busy.add(number)
                return number
        return None

    def release(self, number: int) -> None:
        """The task has ended there."""
        self._busy.remove(number)
