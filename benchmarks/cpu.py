"""CPU seconds, by the kernel's count: of a process and its children, of us, of everybody else.

Rules:
  1. A process counts with all its threads and system calls, its living descendants and those that
     it has waited for.
  2. What the machine did beyond the processes named is somebody else's: the more of it there was,
     the less a number means.
Not covered: work that the kernel does for us in threads of its own (it counts as somebody else's),
and children that ended without being waited for.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
_PR_SET_CHILD_SUBREAPER: Final = 36
#: Columns of /proc/stat in which a core worked: user, nice, system, irq, softirq, steal.
_BUSY_COLUMNS: Final = (0, 1, 2, 5, 6, 7)


def tree(process: int) -> Iterator[int]:
    """A process and its living descendants."""
    yield process
    try:
        threads = list((_PROC / str(process) / "task").iterdir())
    except OSError:
        return
    for thread in threads:
        try:
            children = (thread / "children").read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


def cpu_s(processes: Iterable[int]) -> float:
    """CPU seconds that these processes and their descendants have used, to 10 ms each."""
    return sum(_own_s(each) for process in processes for each in tree(process))


def _own_s(process: int, columns: int = 4) -> float:
    """User and system time of a process, and (4 columns) of the children that it waited for."""
    try:
        text = (_PROC / str(process) / "stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    # Its name, in brackets, may hold anything.
    ticks = text.rpartition(")")[2].split()[11 : 11 + columns]
    return sum(map(int, ticks)) / _TICKS_PER_S


def own_cpu_s(processes: Iterable[int]) -> float:
    """CPU seconds of these processes alone, without any of their children."""
    return sum(_own_s(each, columns=2) for each in processes)


def machine_s() -> float:
    """CPU seconds that all cores together have worked since the start."""
    first = (_PROC / "stat").read_text(encoding="ascii").partition("\n")[0].split()[1:]
    return sum(int(first[column]) for column in _BUSY_COLUMNS) / _TICKS_PER_S


def rss_bytes(process: int) -> int:
    """Memory of a process that lies in RAM."""
    pages = (_PROC / str(process) / "statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent ends: what they used stays in our tree."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Others:
    """How many cores somebody else has used since this was made."""

    def __init__(self) -> None:
        self._began = os.times().elapsed
        self._machine_s = machine_s()
        self._ours_s = cpu_s([os.getpid()])

    def cores(self) -> float:
        """Cores' worth of work beyond our own process and its children; 0.0 is an idle machine."""
        passed = os.times().elapsed - self._began
        theirs = (machine_s() - self._machine_s) - (cpu_s([os.getpid()]) - self._ours_s)
        return max(0.0, theirs / max(passed, 1e-9))
