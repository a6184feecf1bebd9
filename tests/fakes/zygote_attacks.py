"""What a hostile kernel tries from inside of its process: one attempt for each way out.

Each returns what it got; an `OSError`, `MemoryError` or `ValueError` means that it was held, as
does an empty text. They run as Python code, which is more than a kernel has.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_X86 = platform.machine() == "x86_64"
_SCRATCH = "/tmp"


def _call(numbers: tuple[int, int], *arguments: int) -> str:
    """A raw system call by its numbers on x86_64 and aarch64."""
    ctypes.set_errno(0)
    result = _LIBC.syscall(numbers[0 if _X86 else 1], *arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return f"answered {result}"


def _read(path: str) -> str:
    return Path(path).read_bytes()[:40].decode(errors="replace")


def _list(path: str) -> str:
    return " ".join(sorted(entry.name for entry in Path(path).iterdir()))[:80]


def _write(path: str) -> str:
    Path(path).write_bytes(b"x")
    return "written"


def _made(path: str, make: Callable[[str], object]) -> str:
    make(path)
    return "made"


def _environment_of_all() -> str:
    got = []
    for pid in (1, 2, os.getppid()):
        try:
            got.append(_read(f"/proc/{pid}/environ"))
        except OSError:
            continue
    return "".join(got)


def _descriptors() -> str:
    got = []
    for number in range(64):
        try:
            os.fstat(number)
        except OSError:
            continue
        # Input, output and errors are /dev/null; 3 is the answer's pipe.
        if number > 3:
            got.append(str(number))
    return " ".join(got)


def _zygotes_output() -> str:
    os.write(1, b"\x10\0\0\0nonsense")
    # It went to /dev/null: the test sees that the zygote's replies are whole.
    return ""


def _spawn() -> str:
    return str(os.posix_spawn("/bin/true", ["true"], {}))


def _kill(pid: int, number: int = signal.SIGKILL) -> str:
    os.kill(pid, number)
    return "killed"


def _signal_by_descriptor() -> str:
    fcntl.fcntl(3, fcntl.F_SETOWN, os.getppid())
    return "owned"


def _signal_by_ioctl() -> str:
    fcntl.ioctl(3, 0x8901, os.getppid().to_bytes(4, "little"))
    return "owned"


def _signal_by_timer() -> str:
    event = bytearray(64)
    event[8:16] = signal.SIGKILL.to_bytes(4, "little") + (4).to_bytes(4, "little")
    event[16:20] = os.getppid().to_bytes(4, "little")
    buffer = (ctypes.c_char * 64).from_buffer(event)
    return _call((222, 107), 0, ctypes.addressof(buffer), ctypes.addressof(buffer))


def _limits_of_the_zygote() -> str:
    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))
    return "set"


def _own_limits() -> str:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "raised"


def _fork() -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return f"forked {pid}"


def _thread_that_forks() -> str:
    got: list[str] = []

    def work() -> None:
        try:
            got.append(_fork())
        except OSError:
            got.append("")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return got[0]


def _large_map() -> str:
    return str(len(mmap.mmap(-1, 64 << 30)))


def _map_the_system() -> str:
    with Path("/proc/self/mem").open("r+b") as file:
        file.seek(0)
        return "opened"


def _map_shared_file() -> str:
    with Path(sys.executable).resolve().open("rb") as file:
        mmap.mmap(file.fileno(), 1, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    return "mapped"


def _local_socket() -> str:
    with socket.socket(socket.AF_UNIX):
        return "AF_UNIX"


def _network_socket() -> str:
    with socket.socket(socket.AF_INET):
        return "AF_INET"


def _pair() -> str:
    socket.socketpair()
    return "pair"


def _run_a_program() -> str:
    return str(subprocess.run(["/bin/true"], check=False).returncode)


def _see_processes() -> str:
    return " ".join(name for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def _become_readable() -> str:
    if _LIBC.prctl(4, 1, 0, 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return "readable"


def _peek_at_the_zygote() -> str:
    local = (ctypes.c_char * 16)()
    here = (ctypes.c_uint64 * 2)(ctypes.addressof(local), 16)
    there = (ctypes.c_uint64 * 2)(id(_LIBC), 16)
    return _call(
        (310, 270), os.getppid(), ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0
    )  # fmt: skip


def _flags(path: str, flags: int) -> str:
    os.close(os.open(path, flags, 0o600))
    return "opened"


_PARENT = os.getppid
ATTACKS: dict[str, Callable[[], str]] = {
    # files
    "read the shadow file": lambda: _read("/etc/shadow"),
    "read the users": lambda: _read("/etc/passwd"),
    "list root's home": lambda: _list("/root"),
    "list homes": lambda: _list("/home"),
    "list scratch": lambda: _list(_SCRATCH),
    "list shared memory": lambda: _list("/dev/shm"),
    "list devices": lambda: _list("/dev"),
    "list system facts": lambda: _list("/sys"),
    "write scratch": lambda: _write(f"{_SCRATCH}/x"),
    "write shared memory": lambda: _write("/dev/shm/x"),
    "write a package": lambda: _write(f"{sys.prefix}/lib/x.py"),
    "write over a module": lambda: _write(threading.__file__),
    "write to the null device": lambda: _write("/dev/null"),
    "append": lambda: _flags(sys.executable, os.O_APPEND | os.O_WRONLY),
    "truncate on opening": lambda: _flags(f"{sys.prefix}/pyvenv.cfg", os.O_TRUNC),
    "make by opening": lambda: _flags(f"{_SCRATCH}/y", os.O_CREAT),
    "open a nameless file": lambda: _flags(_SCRATCH, os.O_TMPFILE | os.O_RDWR),
    "make a folder": lambda: _made(f"{_SCRATCH}/f", os.mkdir),
    "make a link": lambda: _made(f"{_SCRATCH}/l", lambda path: Path(path).symlink_to("/")),
    "make a hard link": lambda: _made(f"{_SCRATCH}/h", lambda path: os.link("/bin/sh", path)),
    "make a pipe file": lambda: _made(f"{_SCRATCH}/p", os.mkfifo),
    "remove": lambda: _made(f"{_SCRATCH}/x", os.unlink),
    "rename": lambda: _made(_SCRATCH, lambda path: Path(path).rename(f"{path}2")),
    "change a mode": lambda: _made(_SCRATCH, lambda path: Path(path).chmod(0o777)),
    "change times": lambda: _made(_SCRATCH, os.utime),
    "change the folder": lambda: _made(_SCRATCH, os.chdir),
    "make a file in memory": lambda: str(os.memfd_create("x")),
    # other processes
    "see processes": _see_processes,
    "read environments": _environment_of_all,
    "read its own environment": lambda: _read("/proc/self/environ"),
    "read the zygote's maps": lambda: _read(f"/proc/{_PARENT()}/maps"),
    "open the zygote's memory": lambda: _flags(f"/proc/{_PARENT()}/mem", os.O_RDWR),
    "open its own memory to write": _map_the_system,
    "read the zygote's memory by call": _peek_at_the_zygote,
    "trace the zygote": lambda: _call((101, 117), 0x4206, _PARENT(), 0, 0),
    "trace itself": lambda: _call((101, 117), 0, 0, 0, 0),
    "let itself be traced": _become_readable,
    "compare with the zygote": lambda: _call((312, 272), os.getpid(), _PARENT(), 0, 0, 0),
    "kill the zygote": lambda: _kill(_PARENT()),
    "stop the zygote": lambda: _kill(_PARENT(), signal.SIGSTOP),
    "kill everything": lambda: _kill(-1),
    "kill the group": lambda: _kill(0),
    "kill the first process": lambda: _kill(1),
    "ask whether the zygote lives": lambda: _kill(_PARENT(), 0),
    "signal a thread of the zygote": lambda: _call((234, 131), _PARENT(), _PARENT(), 9),
    "signal by thread number": lambda: _call((200, 130), _PARENT(), 9),
    "queue a signal": lambda: _call((129, 138), _PARENT(), 9, 0),
    "open the zygote by number": lambda: str(os.pidfd_open(_PARENT())),
    "signal by a descriptor's owner": _signal_by_descriptor,
    "signal by a descriptor's owner, ioctl": _signal_by_ioctl,
    "signal by a timer": _signal_by_timer,
    "limit the zygote": _limits_of_the_zygote,
    "raise its own limits": _own_limits,
    "slow the zygote down": lambda: _made("", lambda _: os.setpriority(0, _PARENT(), 19)),
    "pin the zygote": lambda: _made("", lambda _: os.sched_setaffinity(_PARENT(), {0})),
    "join another group": lambda: _made("", lambda _: os.setpgid(0, _PARENT())),
    "begin a session": lambda: _made("", lambda _: os.setsid()),
    "become root": lambda: _made("", lambda _: os.setuid(0)),
    # starting things
    "fork": _fork,
    "fork in a thread": _thread_that_forks,
    "fork by call": lambda: _call((57, 220), 17, 0, 0, 0, 0) if _X86 else "",
    "vfork": lambda: _call((58, 220), 0) if _X86 else "",
    "clone a process": lambda: _call((56, 220), 17, 0, 0, 0, 0),
    "clone by the new call": lambda: _call((435, 435), 0, 88),
    "start a program": _run_a_program,
    "spawn a program": _spawn,
    "become a program": lambda: _made("/bin/true", lambda path: os.execv(path, [path])),
    # talking
    "open a network socket": _network_socket,
    "open a local socket": _local_socket,
    "open a pair of sockets": _pair,
    "open a pipe": lambda: str(os.pipe()),
    "count events": lambda: _call((290, 19), 0, 0),
    "share memory of System V": lambda: _call((29, 194), 0, 4096, 0o1600),
    "queue messages of System V": lambda: _call((68, 186), 0, 0o1600),
    "count semaphores of System V": lambda: _call((64, 190), 0, 1, 0o1600),
    "find inherited descriptors": _descriptors,
    "write to the zygote's output": _zygotes_output,
    # the kernel's back doors
    "mount": lambda: _call((165, 40), 0, 0, 0, 0, 0),
    "leave the namespaces": lambda: _call((272, 97), 0x10000000),
    "enter a namespace": lambda: _call((308, 268), 3, 0),
    "io_uring": lambda: _call((425, 425), 1, 0),
    "bpf": lambda: _call((321, 280), 0, 0, 0),
    "perf": lambda: _call((298, 241), 0, 0, 0, 0, 0),
    "keyring": lambda: _call((250, 219), 0, 0, 0, 0, 0),
    "userfaultfd": lambda: _call((323, 282), 1),
    "personality": lambda: _call((135, 92), 0x0040000),
    "another filter": lambda: _call((317, 277), 1, 0, 0),
    "watch files": lambda: _call((294, 26), 0),
    "lock memory": lambda: _call((149, 228), 0, 4096),
    "steal time": lambda: _call((144, 119), 0, 1, 0),
    "the x32 door": lambda: _call((0x40000000 + 39, 10_000)),
    "a call that is not there": lambda: _call((10_000, 10_000)),
    "map more than there is": _large_map,
    "map a file to write": _map_shared_file,
}
