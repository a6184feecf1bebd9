"""The descriptors of one start: opened, filled, passed on, and closed whatever happens.

Not covered: content larger than a pipe holds; nobody reads yet while we write.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Final, Self

from coordinator.limits import KIB

#: What a pipe holds (Linux's default).
PIPE_BYTES_MAX: Final = 64 * KIB


class Pipes:
    """A set of open descriptors; those that are not kept are closed at the end of the block."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def open(self) -> tuple[int, int]:
        """A pipe: its reading and its writing end."""
        read, write = os.pipe()
        self._open |= {read, write}
        return read, write

    def holding(self, data: bytes) -> int:
        """The reading end of a pipe that holds `data` and then ends."""
        read, write = self.open()
        fill(write, data)
        self._open.remove(write)
        os.close(write)
        return read

    def keep(self, descriptor: int) -> int:
        """Leave a descriptor open; it belongs to the caller from now on."""
        self._open.remove(descriptor)
        return descriptor


def fill(descriptor: int, data: bytes) -> None:
    """Write everything into an empty pipe, without waiting for a reader."""
    assert len(data) <= PIPE_BYTES_MAX, len(data)
    # A pipe takes up to its size at once.
    written = os.write(descriptor, data)
    assert written == len(data)
