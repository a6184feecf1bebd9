"""The filter of system calls, as a classic BPF program built here: no library, no compiler.

Covered:     tracing and reading other processes; mounts, namespaces, chroot; kernel modules, kexec,
             reboot, clocks; keyrings, BPF, perf, io_uring, userfaultfd; devices and file handles;
             every socket family but local ones; pushing characters into a terminal; the x32 door
             and foreign architectures; calls newer than the table (they answer "no such call").
Not covered: bugs in the calls that remain; this is a list of what is denied, since interpreters
             and CUDA need most of the rest.
Source: Docker's default profile and flatpak's `setup_seccomp` for the list; `bpf(4)`.
"""

from __future__ import annotations

import errno
from typing import Final

from agent.sandbox.bpf import (
    ALLOW,
    ANY_BIT,
    ARGUMENT_0,
    ARGUMENT_1,
    AT_LEAST,
    EQUAL,
    RETURN,
    architecture_check,
    refuse,
    step,
    when,
)
from coordinator.protocol.errors import Refusal

_LAST_KNOWN: Final = 467
#: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NAMESPACE_FLAGS: Final = 0x7E020000
_AF_UNIX: Final = 1
#: TIOCSTI, TIOCLINUX: input for the terminal that the agent was started from.
_TERMINAL_REQUESTS: Final = (0x5412, 0x541C)

#: Denied on every architecture under the same number (calls since Linux 5.1 share theirs).
_DENIED_EVERYWHERE: Final[dict[str, int]] = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443,
    "statmount": 457, "listmount": 458, "open_tree_attr": 467,
}  # fmt: skip

_DENIED_X86_64: Final[dict[str, int]] = {
    "ptrace": 101, "syslog": 103, "uselib": 134, "personality": 135, "mknod": 133,
    "vhangup": 153, "modify_ldt": 154, "pivot_root": 155, "_sysctl": 156, "adjtimex": 159,
    "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167,
    "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172,
    "ioperm": 173, "create_module": 174, "init_module": 175, "delete_module": 176,
    "quotactl": 179, "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "mknodat": 259,
    "unshare": 272, "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "kexec_file_load": 320,
    "bpf": 321, "userfaultfd": 323,
}  # fmt: skip

_DENIED_AARCH64: Final[dict[str, int]] = {
    "lookup_dcookie": 18, "mknodat": 33, "umount2": 39, "mount": 40, "pivot_root": 41,
    "nfsservctl": 42, "chroot": 51, "vhangup": 58, "quotactl": 60, "acct": 89, "personality": 92,
    "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106,
    "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142, "sethostname": 161,
    "setdomainname": 162, "settimeofday": 170, "adjtimex": 171, "add_key": 217,
    "request_key": 218, "keyctl": 219, "swapon": 224, "swapoff": 225, "perf_event_open": 241,
    "fanotify_init": 262, "name_to_handle_at": 264, "open_by_handle_at": 265,
    "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
    "kcmp": 272, "finit_module": 273, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
}  # fmt: skip

#: Machine → audit architecture, denied calls, numbers of clone, clone3, socket and ioctl.
_MACHINES: Final[dict[str, tuple[int, dict[str, int], tuple[int, int, int, int]]]] = {
    "x86_64": (0xC000003E, _DENIED_X86_64, (56, 435, 41, 16)),
    "aarch64": (0xC00000B7, _DENIED_AARCH64, (220, 435, 198, 29)),
}


def denied_calls(machine: str) -> dict[str, int]:
    """Names and numbers of the calls that the filter denies outright."""
    return {**_MACHINES[machine][1], **_DENIED_EVERYWHERE}


def build_filter(machine: str) -> bytes:
    """The program, as `bwrap --seccomp` reads it.

    Args:
        machine: What `platform.machine()` says.

    Raises:
        Refusal: `sandbox_unavailable` for a machine without a table.
    """
    if machine not in _MACHINES:
        detail = f"there is no system call filter for {machine}: run the agent on x86_64 or aarch64"
        raise Refusal("sandbox_unavailable", detail)
    architecture, _, (clone, clone3, socket, ioctl) = _MACHINES[machine]
    program = architecture_check(architecture, has_x32=machine == "x86_64")
    program += [step(AT_LEAST, _LAST_KNOWN + 1, otherwise=1), refuse(errno.ENOSYS)]
    for number in sorted(denied_calls(machine).values()):
        program += [step(EQUAL, number, otherwise=1), refuse(errno.EPERM)]
    # clone3 hides its flags behind a pointer; on ENOSYS the C library falls back to clone.
    program += [step(EQUAL, clone3, otherwise=1), refuse(errno.ENOSYS)]
    program += when(clone, ARGUMENT_0, [step(ANY_BIT, _NAMESPACE_FLAGS, otherwise=1)])
    program += when(socket, ARGUMENT_0, [step(EQUAL, _AF_UNIX, then=1)])
    for request in _TERMINAL_REQUESTS:
        program += when(ioctl, ARGUMENT_1, [step(EQUAL, request, otherwise=1)])
    program.append(step(RETURN, ALLOW))
    return b"".join(program)
