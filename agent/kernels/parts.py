"""The blocks of a job, run in parts by all processors.

In:   which blocks, and for each processor a function that runs a range of them.
Rules:
  1. A part is long beside the call that runs it and short beside a signal: `_PART_S`.
  2. Who is done takes the next part: a processor that is slower gets fewer.
  3. The first failure ends the job; what else runs comes to the end of its part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Lock, Thread
from typing import Final, TypeAlias

#: Runs blocks from one number up to another; 0, or the line at which the kernel ended itself.
Run: TypeAlias = Callable[[int, int], int]

#: Seconds of a part.
_PART_S: Final = 0.01
_DISAGREED: Final = "the threads of a block went different ways around a barrier"


class KernelFailed(Exception):
    """A kernel ended itself: which line, and why."""

    def __init__(self, line: int, sentence: str) -> None:
        self.line = line
        self.sentence = sentence
        super().__init__(f"line {line}: {sentence}")


def neighbours(blocks: Iterable[int] | None, count: int) -> list[range]:
    """Blocks as ranges of neighbours; all of them, if none are named.

    Raises:
        ValueError: Of a block that is not there.
    """
    if blocks is None:
        return [range(count)] if count else []
    runs: list[range] = []
    for block in blocks:
        if not 0 <= block < count:
            absent = f"there is no block {block}: there are {count}"
            raise ValueError(absent)
        if runs and runs[-1].stop == block:
            runs[-1] = range(runs[-1].start, block + 1)
        else:
            runs.append(range(block, block + 1))
    return runs


def _check(line: int) -> None:
    if line:
        raise KernelFailed(line, _DISAGREED)


class _Work:
    """The blocks of one run, handed out in parts."""

    def __init__(self, runs: list[range], on_progress: Callable[[float], None] | None) -> None:
        self.blocks = sum(map(len, runs))
        self._runs = runs[::-1]
        self._on_progress = on_progress
        self._done = 0
        self._lock = Lock()
        self._failure: BaseException | None = None

    def do(self, make: Callable[[], Run]) -> None:
        """Run parts until there are none."""
        try:
            run = make()
            size = 1
            while part := self._take(size):
                started = time.perf_counter()
                _check(run(part.start, part.stop))
                spent = time.perf_counter() - started
                size = max(1, min(2 * size, int(size * _PART_S / max(spent, 1e-6))))
                self._say(len(part))
        except BaseException as error:  # noqa: BLE001 (`finish` raises it in the caller's thread)
            self._failure = error

    def _take(self, size: int) -> range | None:
        with self._lock:
            if self._failure is not None or not self._runs:
                return None
            run = self._runs.pop()
            if len(run) > size:
                self._runs.append(run[size:])
            return run[:size]

    def _say(self, blocks: int) -> None:
        with self._lock:
            self._done += blocks
            if self._on_progress is not None:
                self._on_progress(self._done / self.blocks)

    def finish(self) -> None:
        """Raise what ended the run early."""
        if self._failure is not None:
            raise self._failure


def work_off(
    make: Callable[[], Run],
    runs: list[range],
    processors: int,
    on_progress: Callable[[float], None] | None,
) -> None:
    """Run blocks on several processors.

    Args:
        make: Gives each processor's own function.
        runs: Ranges of blocks, as `neighbours` gives them.
        processors: How many threads at most, this one included.
        on_progress: Called with how much is done, from 0 to 1.

    Raises:
        KernelFailed: Where the kernel ended itself.
    """
    work = _Work(runs, on_progress)
    others = [
        Thread(target=work.do, args=(make,), daemon=True)
        for _ in range(min(processors, work.blocks) - 1)
    ]
    for thread in others:
        thread.start()
    work.do(make)
    for thread in others:
        thread.join()
    work.finish()
