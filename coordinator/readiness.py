"""Why the house takes no work in now, by name.

In:   the drain, the writer's state, whether the start has ended.
Out:  reasons, each a stable name and a sentence for people; none when work is taken in.
Rules:
  1. A name is for programs and labels; the sentence says what is so, never a path or a row.
  2. A process that is not ready is left alone: it becomes ready by itself, but for `read_only`.
Not here: HTTP (`health_routes`), what is done about it (`watch`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from coordinator.protocol.errors import Refusal
from coordinator.signals import Drain

#: Every reason, and what it means.
REASONS: Final = {
    "starting": "the start has not ended: open attempts are read and the books are added up",
    "draining": "the process ends: results come in, no new work does",
    "store_failing": "the disk takes no writes; it is asked again every second",
    "store_stuck": "a write to the disk hangs",
    "read_only": "an invariant of the books broke: nothing is written until people have looked",
}


class Reason(NamedTuple):
    name: str
    sentence: str


class WriterState(Protocol):
    """What the writer tells of itself."""

    failure: str
    halted: Refusal | None

    @property
    def is_stuck(self) -> bool: ...


class Readiness:
    """Says why the house takes no work in."""

    def __init__(self, drain: Drain, writer: WriterState) -> None:
        self._drain = drain
        self._writer = writer
        #: Set once the index is rebuilt and the books were added up.
        self.is_started = False

    def reasons(self) -> list[Reason]:
        """All that apply; none: work is taken in."""
        return [Reason(name, REASONS[name]) for name in self._names()]

    def _names(self) -> Iterable[str]:
        if not self.is_started:
            yield "starting"
        if self._drain.is_draining:
            yield "draining"
        if self._writer.halted is not None:
            yield "read_only"
        if self._writer.is_stuck:
            yield "store_stuck"
        elif self._writer.failure:
            yield "store_failing"
