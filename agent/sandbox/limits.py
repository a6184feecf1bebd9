"""The bounds of one jail, and the command that sets those which hold for each process.

Covered:     time, processes, open files, file size, scratch, core dumps, locked memory, queues;
             address space of CPU jobs.
Not covered: memory of all processes together: that is the cgroup's (`cgroup.py`). Priority.
Why `prlimit`: the limits must hold before bubblewrap starts and must count for the job's uid. A
`preexec_fn` runs Python after a fork of a process with threads; a Python launcher costs 15 ms;
`prlimit` (util-linux) costs 1 ms (measured).
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

import msgspec

from coordinator.limits import KIB, LOG_BYTES_MAX, MIB

#: Processes and threads of a job: a shell pipeline or a small build, not a bomb.
PROCESSES_MAX: Final = 64
#: Open files of a job: the usual soft limit is 1024; a job needs far fewer.
OPEN_FILES_MAX: Final = 256
#: One file of a job.
FILE_BYTES_MAX: Final = 256 * MIB
#: Scratch of a job (/tmp, in memory): at most this, and at most half the job's memory.
SCRATCH_BYTES_MAX: Final = 1024 * MIB
#: Shared memory of a job (/dev/shm).
SHARED_BYTES_MAX: Final = 64 * MIB
#: Memory that a job may lock.
LOCKED_BYTES_MAX: Final = 64 * KIB
#: Address space over memory: mapped files and thread stacks take room without taking memory.
ADDRESS_SPACE_FACTOR: Final = 4
#: Output beyond the kept part that is read and counted before the job is ended, times the part.
OUTPUT_FACTOR: Final = 2
#: Time for killed processes to be gone; one stuck in a driver may never go.
END_S: Final = 5.0


class JailLimits(msgspec.Struct, frozen=True):
    """Bounds of one jail."""

    #: Seconds of wall time; kept by the caller, the CPU limit follows from it.
    execution_s: float
    #: Memory of all processes together, bytes; None where the caller sets it later.
    memory_bytes: int
    #: Output that is kept; twice as much ends the job.
    log_bytes: int = LOG_BYTES_MAX
    processes: int = PROCESSES_MAX
    open_files: int = OPEN_FILES_MAX
    file_bytes: int = FILE_BYTES_MAX
    #: False for a worker: CUDA reserves address space of twice the device's memory and locks what
    #: it copies from, and a worker lives longer than any CPU time.
    is_short: bool = True

    @property
    def scratch_bytes(self) -> int:
        return min(SCRATCH_BYTES_MAX, self.memory_bytes // 2)


def prlimit_argv(prlimit: str, limits: JailLimits, *, own_uid: bool) -> list[str]:
    """The words before bubblewrap's own.

    Args:
        prlimit: Path of the program.
        limits: The bounds.
        own_uid: The jail has a uid of its own; otherwise it shares the operator's, whose other
            processes count towards the same limit and are added to it.
    """
    processes = limits.processes + (0 if own_uid else _tasks_of(os.getuid()))
    words = [
        prlimit,
        f"--nproc={processes}",
        f"--nofile={limits.open_files}",
        f"--fsize={limits.file_bytes}",
        f"--core={_core_bytes()}",
        "--msgqueue=0",
    ]
    if limits.is_short:
        seconds = int(limits.execution_s * (os.cpu_count() or 1)) + 1
        words.append(f"--cpu={seconds}:{seconds + 1}")
        words.append(f"--as={limits.memory_bytes * ADDRESS_SPACE_FACTOR}")
        words.append(f"--memlock={LOCKED_BYTES_MAX}")
    return [*words, "--"]


def _core_bytes() -> int:
    """One byte, and not none, wherever our own limit allows it.

    A limit of 0 does not stop a dump into a pipe, which a program of the host reads as root
    (`core_pattern` of Ubuntu and of systemd): it was seen to run. A limit of 1 stops both kinds.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    return 0 if hard == 0 else 1


def _tasks_of(uid: int) -> int:
    """Threads that a user runs now; a process that ends while we count is not counted."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid == uid:
                total += sum(1 for _ in (entry / "task").iterdir())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total
