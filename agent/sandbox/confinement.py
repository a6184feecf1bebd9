"""The walls that a process puts around itself before it touches a stranger's kernel.

For a child that was forked inside a jail (`bubblewrap`): the jail keeps the host apart, this keeps
the child apart from its parent, from its siblings and from whatever comes after it.
Covered:     no file but the system's and the interpreter's, to be read (Landlock where the kernel
             has it, the filter everywhere); no process started, no signal sent, no socket opened,
             no memory of another process read; bounded memory, CPU time, open files; it dies with
             its parent; of what is too much for all, it is the first to go.
Not covered: what it was born with: the parent's memory is copied by `fork`, so the parent must hold
             no secret. Caches and timing. GPU.
Why not only the jail: the children of one zygote share it, its scratch included.
Source: `landlock(7)`, `seccomp(2)`, `prctl(2)`.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from agent.sandbox.child_filter import build_child_filter
from coordinator.limits import MIB

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER: Final = 2
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
#: Execute (a library is mapped so), read a file, read a folder.
_READ: Final = 1 << 0 | 1 << 2 | 1 << 3
_READ_FILE: Final = 1 << 0 | 1 << 2
#: Folders at the root that a child does not see: scratch of others, processes, devices.
_UNSEEN: Final = frozenset({"tmp", "dev", "proc", "sys", "run", "var", "home", "root"})
#: Files of those that the C library and NumPy ask for.
_SEEN: Final = ("/dev/null", "/dev/zero", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo")
#: Files that it may hold open: libraries are mapped and closed.
_OPEN_FILES_MAX: Final = 64
#: Address space beyond the memory: stacks of threads, mapped libraries.
_SPACE_BYTES: Final = 1024 * MIB


def become_unreadable() -> None:
    """Other processes of this user may not look into this one, nor into what it forks.

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def confine(*, memory_bytes: int, cpu_s: int, readable: Iterable[str] = ()) -> None:
    """Put up the walls; to be called once, in a process of one thread, right after its fork.

    Args:
        memory_bytes: What it may take beyond what it has now.
        cpu_s: Seconds of all its threads together.
        readable: Further folders that it reads.

    Raises:
        OSError: a wall cannot be put up: the process must end.
        Refusal: `sandbox_unavailable` on a machine without a filter.
    """
    _checked(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    _be_first_to_go()
    become_unreadable()
    _checked(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _limit(memory_bytes, cpu_s)
    _restrict_files(readable)
    _filter_calls()


def landlock_version() -> int:
    """Version of the kernel's Landlock; 0 where it has none."""
    return max(0, int(_LIBC.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)))


def _be_first_to_go() -> None:
    """Of the processes in the jail's cgroup this one is killed when there is too little memory."""
    # A process that cannot be looked into does not own its files in /proc either.
    _checked(_LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit(memory_bytes: int, cpu_s: int) -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    space = pages * resource.getpagesize() + memory_bytes + _SPACE_BYTES
    for which, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_NOFILE, _OPEN_FILES_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        _, hard = resource.getrlimit(which)
        lowest = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (lowest, lowest))


def _restrict_files(readable: Iterable[str]) -> None:
    version = landlock_version()
    if not version:
        return  # the filter refuses to write anything; reading is the jail's business
    rights = (1 << 13) - 1
    rights |= (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0)
    rights |= 1 << 15 if version >= 5 else 0
    # Bind and connect over TCP; abstract sockets and signals of those outside.
    network, scopes = 3 if version >= 4 else 0, 3 if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("=QQQ", rights, network, scopes)[:size]
    rules = _checked(_LIBC.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0))
    folders = [str(entry) for entry in Path("/").iterdir() if entry.name not in _UNSEEN]
    for path in (*folders, *readable):
        _allow(rules, path, _READ if Path(path).is_dir() else _READ_FILE)
    for path in _SEEN:
        _allow(rules, path, _READ_FILE)
    _checked(_LIBC.syscall(_LANDLOCK_RESTRICT, rules, 0))
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(_LIBC.syscall(_LANDLOCK_ADD, rules, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _filter_calls() -> None:
    program = build_child_filter(platform.machine(), os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    _checked(_LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(described), 0, 0))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
