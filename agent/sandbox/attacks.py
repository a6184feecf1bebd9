"""The canary attacks: run inside a jail as a script, by whatever Python can be read there.

In:      argv: a JSON object {secret, port, abstract}: a file of the host that everyone may read, a
         TCP port and an abstract socket on which the host listens.
Out:     one JSON object on standard output: attack → what it got; empty where it was held.
Covered: one attempt for each wall of the sandbox. Not covered: flaws of the kernel.
Rules:
  1. Standard library only: none of this house's packages need be readable inside.
  2. An attack is held if it raises `OSError`; whatever it returns is what it got.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import socket
import sys
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_X86 = platform.machine() == "x86_64"
#: Call → its number on x86_64 and on aarch64.
_CALLS = {
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "open_by_handle_at": (304, 265),
    "pidfd_getfd": (438, 438),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
}
_CLONE_NEWUSER = 0x10000000
_PTRACE_SEIZE = 0x4206
_TIOCSTI = 0x5412


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _status(field: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    raise OSError(errno.ENOENT, field)


def read_a_file_of_the_host() -> str:
    return Path(_FACTS["secret"]).read_text()


def read_homes_and_passwords() -> str:
    got = [path for path in ("/root", "/home", "/etc/shadow") if Path(path).exists()]
    return " ".join(got)


def read_the_environment_of_others() -> str:
    got = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (os.getpid(), os.getppid()):
            try:
                got.append((entry / "environ").read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return "".join(got)


def see_processes_of_the_host() -> str:
    seen = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    # bubblewrap's first process, ours, and at most a shell between them.
    return " ".join(seen) if len(seen) > 3 else ""


def connect_to_the_host() -> str:
    with socket.create_connection(("127.0.0.1", _FACTS["port"]), timeout=0.2):
        return "connected"


def open_a_network_socket() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
        return "AF_INET"


def open_a_netlink_socket() -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0):
        return "AF_NETLINK"


def connect_to_an_abstract_socket() -> str:
    with socket.socket(socket.AF_UNIX) as local:
        local.connect("\0" + _FACTS["abstract"])
        return "connected"


def trace_the_first_process() -> str:
    _checked(_LIBC.ptrace(_PTRACE_SEIZE, 1, 0, 0))
    return "traced"


def mount_a_file_system() -> str:
    _checked(_LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None))
    return "mounted"


def make_a_user_namespace() -> str:
    _checked(_LIBC.unshare(_CLONE_NEWUSER))
    return "made"


def become_root() -> str:
    os.setuid(0)
    return "uid 0"


def change_the_root() -> str:
    os.chroot("/tmp")  # noqa: S108
    return "changed"


def make_a_device() -> str:
    os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0))  # noqa: S108
    return "made"


def write_kernel_settings() -> str:
    got = []
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/fs/cgroup/x"):
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        got.append(path)
    return " ".join(got)


def write_system_files() -> str:
    got = []
    for folder in ("/", "/usr", "/usr/bin", "/etc", "/dev", "/run"):
        path = Path(folder, "canary")
        try:
            path.touch()
        except OSError:
            continue
        path.unlink()
        got.append(folder)
    return " ".join(got)


def open_devices_of_the_host() -> str:
    known = {
        *("null", "zero", "full", "random", "urandom", "tty", "console", "core", "fd", "ptmx"),
        *("pts", "shm", "stdin", "stdout", "stderr"),
    }
    found = {entry.name for entry in Path("/dev").iterdir()} - known
    return " ".join(sorted(name for name in found if not name.startswith("nvidia")))


def use_dangerous_calls() -> str:
    got = []
    for name, numbers in _CALLS.items():
        ctypes.set_errno(0)
        result = _LIBC.syscall(numbers[0 if _X86 else 1], 0, 0, 0, 0, 0)
        if result >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
            got.append(name)
    return " ".join(got)


def use_the_x32_door() -> str:
    if not _X86:
        return ""
    # In a child: where the agent is a service, systemd's filter of architectures kills who tries.
    child = os.fork()
    if child == 0:
        os._exit(_LIBC.syscall(0x40000000 + 39) > 0)
    _, status = os.waitpid(child, 0)
    return "answered" if os.waitstatus_to_exitcode(status) > 0 else ""


def type_into_the_terminal() -> str:
    _checked(_LIBC.ioctl(0, _TIOCSTI, b"x"))
    return "typed"


def use_inherited_descriptors() -> str:
    # One is the folder that is being read.
    names = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208  (a path would hide its descriptor)
    return " ".join(names) if len(names) > 4 else ""


def keep_privileges() -> str:
    got = []
    if int(_status("CapEff"), 16) or int(_status("CapBnd"), 16):
        got.append("capabilities")
    if _status("NoNewPrivs") != "1":
        got.append("new privileges")
    if _status("Seccomp") != "2":
        got.append("no filter")
    return " ".join(got)


def raise_limits() -> str:
    # Raised and not only read: a hard limit that a job may lift is none.
    for which in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
        _, hard = resource.getrlimit(which)
        if hard == resource.RLIM_INFINITY:
            return f"limit {which} is not set"
        try:
            resource.setrlimit(which, (hard + 1, hard + 1))
        except (ValueError, OSError):
            continue
        return f"limit {which}"
    return ""


def dump_its_memory() -> str:
    # Into a file, or into a pipe that a program of the host reads as root: 1 byte stops both.
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    return "" if 0 <= hard <= 1 else f"limit {hard}"


#: In this order; those that change the process come last.
ATTACKS = (
    read_a_file_of_the_host,
    read_homes_and_passwords,
    read_the_environment_of_others,
    see_processes_of_the_host,
    connect_to_the_host,
    open_a_network_socket,
    open_a_netlink_socket,
    connect_to_an_abstract_socket,
    trace_the_first_process,
    mount_a_file_system,
    make_a_device,
    write_kernel_settings,
    write_system_files,
    open_devices_of_the_host,
    use_dangerous_calls,
    use_the_x32_door,
    type_into_the_terminal,
    use_inherited_descriptors,
    keep_privileges,
    raise_limits,
    dump_its_memory,
    change_the_root,
    make_a_user_namespace,
    become_root,
)


def attack() -> dict[str, str]:
    """Try everything.

    Returns:
        Attack → what it got; empty where it was held.
    """
    got = {}
    for attempt in ATTACKS:
        try:
            got[attempt.__name__] = attempt()
        except OSError:
            got[attempt.__name__] = ""
    return got


if __name__ == "__main__":
    _FACTS = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(attack()))
