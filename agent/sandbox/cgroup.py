"""A control group a jail: memory and number of processes bounded for the whole job.

Covered:     memory of all processes together, scratch files and swap included; fork bombs; the
             certain end of every process, also of one that left its session.
Not covered: CPU and disk shares; memory of a GPU.
Rules:
  1. Version 2 where its memory and pids controllers are ours to use, else version 1, else none:
     the sandbox is then of level 1, since a job of many processes is not bounded.
  2. Groups nest in the agent's own group, so that a container's bounds hold above ours; only root
     on a version 2 host without delegation uses the top level.
  3. Version 2 allows no processes beside groups: a delegated agent moves itself into a leaf.
Source: kernel `cgroup-v2.rst` ("no internal process"), systemd `CGROUP_DELEGATION.md`.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
import trio

from agent.sandbox.limits import END_S, JailLimits

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_PREFIX: Final = "hypernode-"
#: bubblewrap's two processes and `prlimit` before it live in the group too.
_PROCESSES_OF_OURS: Final = 4
_POLL_S: Final = 0.003
_names = count(1)

#: What to do where neither version can be used; the sandbox is then of level 1.
FIX: Final = (
    "memory of whole jobs is not bounded: run the agent as a systemd service with Delegate=yes, "
    "or as root with writable cgroups"
)


class CgroupHome(msgspec.Struct, frozen=True):
    """The folders in which groups are made; one folder twice in version 2."""

    version: int
    memory: Path
    pids: Path


def find_home(*, root: Path = _ROOT, own: Path = _OWN) -> CgroupHome | None:
    """Where this process may make groups, if it may."""
    if not own.exists():
        return None
    lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    paths = {name: path for _, names, path in lines for name in names.split(",")}
    home = _find_second(root, paths.get("", "/")) or _find_first(root, paths)
    if home is not None:
        _sweep(home)
    return home


def _sweep(home: CgroupHome) -> None:
    """Take away what an agent left behind that was killed; its processes ended with it."""
    for folder in {home.memory, home.pids}:
        for group in folder.glob(f"{_PREFIX}*-*"):
            if not Path("/proc", group.name.removeprefix(_PREFIX).split("-")[0]).exists():
                with suppress(OSError):  # Somebody lives there, or another agent was faster.
                    group.rmdir()


def _find_first(root: Path, paths: dict[str, str]) -> CgroupHome | None:
    folders = []
    for controller in ("memory", "pids"):
        top = root / controller
        nested = top / paths.get(controller, "/").lstrip("/")
        found = [folder for folder in (nested, top) if _can_make_groups(folder)]
        if not found:
            return None
        folders.append(found[0])
    return CgroupHome(1, *folders)


def _find_second(root: Path, path: str) -> CgroupHome | None:
    own = root / path.lstrip("/")
    top = root / "hypernode"
    for folder in (own, top):
        try:
            _prepare_second(folder, is_own=folder == own)
        except OSError:
            continue  # Not ours to use: the next place, or version 1, or a lower level.
        if _can_make_groups(folder):
            return CgroupHome(2, folder, folder)
    return None


def _prepare_second(folder: Path, *, is_own: bool) -> None:
    """Switch the controllers on for groups below `folder`.

    Raises:
        OSError: It is not delegated to us, or other processes live in it.
    """
    if not is_own:
        controllers = (folder.parent / "cgroup.subtree_control").read_text().split()
        if not {"memory", "pids"} <= set(controllers):
            raise FileNotFoundError(folder)
        folder.mkdir(exist_ok=True)
    enabled = (folder / "cgroup.subtree_control").read_text().split()
    if {"memory", "pids"} <= set(enabled):
        return
    available = (folder / "cgroup.controllers").read_text().split()
    if not {"memory", "pids"} <= set(available):
        raise FileNotFoundError(folder)
    if is_own:
        others = set((folder / "cgroup.procs").read_text().split()) - {str(os.getpid())}
        if others:
            raise PermissionError(folder)
        leaf = folder / "agent"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    (folder / "cgroup.subtree_control").write_text("+memory +pids")


def _can_make_groups(folder: Path) -> bool:
    probe = folder / f"{_PREFIX}{os.getpid()}-{next(_names)}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


class Cgroup:
    """One group; it outlives its processes until `remove`."""

    def __init__(self, home: CgroupHome, limits: JailLimits) -> None:
        name = f"{_PREFIX}{os.getpid()}-{next(_names)}"
        self._version = home.version
        self._memory = home.memory / name
        self._pids = home.pids / name
        for folder in {self._memory, self._pids}:
            folder.mkdir()
        (self._pids / "pids.max").write_text(str(limits.processes + _PROCESSES_OF_OURS))
        self.bound_memory(limits.memory_bytes)

    def bound_memory(self, memory_bytes: int) -> bool:
        """Set the bound of the whole group.

        Returns:
            Whether the kernel took it: version 1 refuses a bound below what cannot be reclaimed.
        """
        files = (
            [("memory.max", memory_bytes), ("memory.swap.max", 0)]
            if self._version == 2
            # The sum with swap may not be below the memory's own bound: one of the two orders is
            # right for raising, the other for lowering, so that memory is written twice.
            else [
                ("memory.limit_in_bytes", memory_bytes),
                ("memory.memsw.limit_in_bytes", memory_bytes),
                ("memory.limit_in_bytes", memory_bytes),
            ]
        )
        taken = True
        for name, value in files:
            if not (self._memory / name).exists():
                continue
            try:
                (self._memory / name).write_text(str(value))
            except OSError:
                taken = False
            else:
                taken = True
        return taken

    def used_bytes(self) -> int:
        """Memory that the group holds now."""
        name = "memory.current" if self._version == 2 else "memory.usage_in_bytes"
        return int((self._memory / name).read_text())

    def add(self, pid: int) -> None:
        """Put a process into the group; its children follow."""
        for folder in {self._memory, self._pids}:
            (folder / "cgroup.procs").write_text(str(pid))

    def oom_kills(self) -> int:
        """Processes that the kernel ended because the group was full."""
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        for line in (self._memory / name).read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def kill(self) -> int:
        """End every process now.

        Returns:
            How many were found; after a while the answer is 0.
        """
        # No new processes first: a fork bomb must not outrun us.
        (self._pids / "pids.max").write_text("0")
        if (self._pids / "cgroup.kill").exists():
            (self._pids / "cgroup.kill").write_text("1")
        pids = [int(pid) for pid in (self._pids / "cgroup.procs").read_text().split()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(pids)

    async def remove(self) -> None:
        """End what is left and take the group away; waits for the processes to be gone."""
        with trio.CancelScope(shield=True), trio.move_on_after(END_S):
            while self.kill() or not self.discard():  # noqa: ASYNC110  (the kernel tells nobody)
                await trio.sleep(_POLL_S)

    def discard(self) -> bool:
        """Take the group away if nothing lives in it.

        Returns:
            Whether it is gone.
        """
        for folder in {self._memory, self._pids}:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True
