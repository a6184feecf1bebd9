"""The filter of system calls of a process that compiles or runs one stranger's kernel.

A list of what is allowed, since such a process needs little: memory, threads of its own, files that
it reads, clocks, its pipe. Everything else fails with EPERM, so that a library that only asks goes
on without.
Covered:     starting programs and processes; signals to others (kill, and SIGIO by `fcntl`);
             sockets, pipes and shared memory; every way to write, make, rename or remove a file;
             other processes' memory, limits and priority; namespaces, mounts, devices, keys.
Not covered: bugs in the calls that remain; how much memory and time it takes (`confinement`).
Source: strace of Numba compiling and running; `syscalls(2)`.
"""

from __future__ import annotations

import errno
from typing import Final

from agent.sandbox.bpf import (
    ALLOW,
    ANY_BIT,
    ARGUMENT_0,
    ARGUMENT_2,
    EQUAL,
    LOAD,
    RETURN,
    architecture_check,
    refuse,
    step,
)
from coordinator.protocol.errors import Refusal

#: Allowed whatever their arguments: numbers on x86_64 and on aarch64; None: no such call there.
_ALLOWED: Final[dict[str, tuple[int | None, int | None]]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "stat": (4, None), "lstat": (6, None), "poll": (7, None), "ppoll": (271, 73), "lseek": (8, 62),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "getcwd": (79, 17),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216),
    "madvise": (28, 233), "brk": (12, 214), "membarrier": (324, 283),
    "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293),
    "set_tid_address": (218, 96), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "getcpu": (309, 168), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "exit": (60, 93), "exit_group": (231, 94),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "times": (100, 153), "getrandom": (318, 278),
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "uname": (63, 160),
    "sysinfo": (99, 179), "getrlimit": (97, 163),
}  # fmt: skip
#: Machine → audit architecture; column of the table; numbers of clone, clone3, openat, tgkill,
#: prlimit64.
_MACHINES: Final = {
    "x86_64": (0xC000003E, 0, (56, 435, 257, 234, 302)),
    "aarch64": (0xC00000B7, 1, (220, 435, 56, 131, 261)),
}
_CLONE_THREAD: Final = 0x00010000
#: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, and O_TMPFILE's own bit: what opens for more than reading.
_OPEN_TO_WRITE: Final = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000


def allowed_calls(machine: str) -> dict[str, int]:
    """Names and numbers of the calls that the filter lets pass whatever their arguments."""
    column = _MACHINES[machine][1]
    return {name: number for name, all_ in _ALLOWED.items() if (number := all_[column]) is not None}


def build_child_filter(machine: str, pid: int) -> bytes:
    """The program for one process.

    Args:
        machine: What `platform.machine()` says.
        pid: The process, as it sees itself: the only one that it may send signals to (`abort`).

    Raises:
        Refusal: `sandbox_unavailable` for a machine without a table.
    """
    if machine not in _MACHINES:
        detail = f"there is no system call filter for {machine}: run the agent on x86_64 or aarch64"
        raise Refusal("sandbox_unavailable", detail)
    architecture, _, (clone, clone3, openat, tgkill, prlimit) = _MACHINES[machine]
    program = architecture_check(architecture, has_x32=machine == "x86_64")
    for number in sorted(allowed_calls(machine).values()):
        program += [step(EQUAL, number, otherwise=1), step(RETURN, ALLOW)]
    # Threads, and no processes; clone3 hides its flags behind a pointer: the C library falls back.
    program += [step(EQUAL, clone3, otherwise=1), refuse(errno.ENOSYS)]
    program += _allow_when(clone, ARGUMENT_0, step(ANY_BIT, _CLONE_THREAD, otherwise=1))
    program += _refuse_when(openat, ARGUMENT_2, step(ANY_BIT, _OPEN_TO_WRITE, otherwise=1))
    program += _allow_when(tgkill, ARGUMENT_0, step(EQUAL, pid, otherwise=1))
    # Limits may be read: both halves of the pointer to new ones are null.
    program += _allow_when(prlimit, ARGUMENT_2, step(EQUAL, 0, otherwise=3), *_NULL_HIGH)
    program.append(refuse(errno.EPERM))
    return b"".join(program)


#: After the lower half of argument 2 was 0: whether the upper half is.
_NULL_HIGH: Final = (step(LOAD, ARGUMENT_2 + 4), step(EQUAL, 0, otherwise=1))


def _allow_when(call: int, argument: int, *test: bytes) -> list[bytes]:
    """Allow `call` where the test falls through; every other end of it is a refusal."""
    body = [step(LOAD, argument), *test, step(RETURN, ALLOW), refuse(errno.EPERM)]
    return [step(EQUAL, call, otherwise=len(body)), *body]


def _refuse_when(call: int, argument: int, test: bytes) -> list[bytes]:
    """Allow `call` unless the test holds."""
    body = [step(LOAD, argument), test, refuse(errno.EPERM), step(RETURN, ALLOW)]
    return [step(EQUAL, call, otherwise=len(body)), *body]
