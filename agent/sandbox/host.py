"""What this host offers for jails, and the start of one.

Covered:     bubblewrap never runs as uid 0 (root drops to a pool uid, one a slot, groups dropped)
             and never has an environment; limits and cgroup hold before the first instruction of
             the job.
Not covered: flaws of the kernel, side channels, calls of the NVIDIA driver.
Why never as uid 0: the user namespace of a real root may open /proc/sys/kernel/core_pattern for
writing (measured), which is code on the host.
Why the options are written late: bubblewrap waits on the pipe of `--args`, so that the pipe is also
the gate: spawn, put the process into its cgroup, then let it read. No launcher of ours and no
`preexec_fn`; a jail starts and is gone in 7 to 14 ms (medians, 2 shared cores, idle to busy).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from agent.sandbox.bubblewrap import View, options
from agent.sandbox.cgroup import Cgroup, CgroupHome, find_home
from agent.sandbox.jail import Jail, spawn
from agent.sandbox.limits import JailLimits, prlimit_argv
from agent.sandbox.pipes import Pipes, fill
from agent.sandbox.seccomp import build_filter
from coordinator.protocol.errors import Refusal

#: First uid of the pool; slot n runs as this plus n. Distributions give people 1000 and more,
#: systemd's own ranges begin at 61184 (dynamic users), containers' at 65536.
POOL_UID: Final = 61001
POOL_SLOTS: Final = 180
#: The jail's first process: it waits for the command, so that the command gets signals as usual
#: (a first process does not), and everything ends with it. bubblewrap's own one would outlive
#: bubblewrap and be left to init as a zombie; in a container init may never reap, and zombies
#: count towards the slot's limit of processes until it cannot start a job (measured).
_FIRST: Final = ("/bin/sh", "-c", '"$@"; exit $?', "first")
#: Program → the package that brings it.
_PROGRAMS: Final = {"bwrap": "bubblewrap", "prlimit": "util-linux"}


class Order(msgspec.Struct, frozen=True):
    """What to start in a jail."""

    #: The command, as seen inside.
    words: Sequence[str]
    limits: JailLimits
    #: What it sees besides the system.
    view: View = View()
    #: Path inside → content; read-only there.
    files: Mapping[str, bytes] = {}
    #: Whether it can be written to.
    stdin: bool = False
    #: A descriptor; by default errors go with the output.
    stderr: int = subprocess.STDOUT


class Sandbox(msgspec.Struct, frozen=True):
    """What this host offers; found once, used for each start."""

    bwrap: str
    prlimit: str
    filter: bytes
    home: CgroupHome | None
    #: Whether the agent is root, so that each slot has a uid of the pool.
    has_pool: bool

    def start(self, order: Order, *, slot: int) -> Jail:
        """Start a command in a jail of its own; to be called from Trio's thread.

        Args:
            order: What to start.
            slot: Which uid of the pool it gets; one jail a slot at a time.

        Raises:
            Refusal: `sandbox_unavailable` if it cannot be started.
        """
        assert 0 <= slot < POOL_SLOTS, slot
        uid = POOL_UID + slot if self.has_pool else None
        try:
            group = None if self.home is None else Cgroup(self.home, order.limits)
            with Pipes() as pipes:
                return self._start(order, pipes, uid, group)
        except OSError as error:
            raise Refusal("sandbox_unavailable", f"a jail cannot be started: {error}") from error

    def _start(self, order: Order, pipes: Pipes, uid: int | None, group: Cgroup | None) -> Jail:
        files = {path: pipes.holding(data) for path, data in order.files.items()}
        filter_fd = pipes.holding(self.filter)
        gate_fd, gate = pipes.open()
        status, status_fd = pipes.open()
        os.set_blocking(status, False)
        words = prlimit_argv(self.prlimit, order.limits, own_uid=self.has_pool)
        try:
            process, output, input_ = spawn(
                [*words, self.bwrap, "--args", str(gate_fd), *_FIRST, *order.words],
                passed=(gate_fd, filter_fd, status_fd, *files.values()),
                stdin=order.stdin,
                stderr=order.stderr,
                uid=uid,
            )
            if group is not None:
                group.add(process.pid)
        except OSError:
            # What waits at the gate finds it closed, without a word: it has no root to run in.
            if group is not None:
                group.discard()
            raise
        chosen = options(
            order.view, order.limits, filter_fd=filter_fd, status_fd=status_fd, files=files
        )
        fill(gate, b"".join(word.encode() + b"\0" for word in chosen))
        return Jail(process, output=output, input_=input_, status=pipes.keep(status), cgroup=group)


def find_sandbox(
    *,
    path: str | None = None,
    machine: str | None = None,
    uid: Callable[[], int] = os.geteuid,
    home: Callable[[], CgroupHome | None] = find_home,
) -> Sandbox:
    """What this host offers, without trying it.

    Args:
        path: Where programs are searched, as in `PATH`.
        machine: The processor, by default this one's.
        uid: The agent's own uid.
        home: Finds the place for cgroups.

    Raises:
        Refusal: `sandbox_unavailable`, naming the package or machine that is missing.
    """
    if platform.system() != "Linux":
        detail = "jobs of strangers need Linux: its namespaces and its system call filter"
        raise Refusal("sandbox_unavailable", detail)
    found = {program: shutil.which(program, path=path) for program in _PROGRAMS}
    for program, where in found.items():
        if where is None:
            package = _PROGRAMS[program]
            detail = f"the program {program} is missing: install {package} (apt install {package})"
            raise Refusal("sandbox_unavailable", detail)
    return Sandbox(
        bwrap=str(found["bwrap"]),
        prlimit=str(found["prlimit"]),
        filter=build_filter(machine or platform.machine()),
        home=home(),
        has_pool=uid() == 0,
    )
