"""How a warm worker is started: its command, what it sees, what it finds in its environment.

Covered:     in a jail: its Python, this house's packages and the GPU's device nodes, read-only; no
             key, no other file of the operator, no network. Without a jail: a small environment,
             never the agent's own.
Not covered: a worker without a jail runs as the agent's user. Calls of the NVIDIA driver.
Not here: its life (`warm_worker.py`), its work (`worker_process.py`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from agent.sandbox.bubblewrap import View, interpreter_paths, package_paths
from agent.sandbox.host import Order, Sandbox
from agent.sandbox.jail import Jail, start_plain
from agent.sandbox.limits import JailLimits
from coordinator.limits import MIB

#: Memory for importing and compiling, before the first task sets its own bound.
_WARM_BYTES: Final = 4096 * MIB
#: Threads of NumPy, Numba and CUDA, on a machine of many cores.
_PROCESSES: Final = 1024
_OPEN_FILES: Final = 1024
#: Of the agent's environment a worker without a jail gets what finds CUDA and its cache.
_PASSED: Final = ("HOME", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")


class WorkerDevice(msgspec.Struct, frozen=True):
    """What a worker computes on."""

    #: As `agent.kernels` names it: `cpu` or `cuda`.
    backend: str = "cpu"
    #: The GPU's NVML UUID; the only one that the worker sees.
    uuid: str = ""
    memory_mb: int = 0
    #: Compute capability: 90 is 9.0; 0 for a CPU.
    compute_capability: int = 0


class WorkerPlan(msgspec.Struct, frozen=True):
    """What a worker is to be."""

    device: WorkerDevice
    #: The module that it imports.
    kernels: str = "agent.kernels"
    #: What it is: a warm worker, or the zygote of strangers' kernels.
    process: str = "agent.worker_process"
    #: Further folders from which it imports.
    import_paths: tuple[str, ...] = ()


def start_worker(plan: WorkerPlan, *, sandbox: Sandbox | None, slot: int, stderr: int) -> Jail:
    """Start a worker; it says `ready` when it has warmed up.

    Args:
        plan: What it is to be.
        sandbox: What the host offers; None for no jail.
        slot: Which uid of the pool it gets in a jail.
        stderr: Where its complaints go.

    Raises:
        Refusal: `sandbox_unavailable` if the jail cannot be started.
    """
    module = (sys.executable, "-P", "-m", plan.process)
    words = (*module, plan.kernels, plan.device.backend)
    environment = _environment(plan)
    if sandbox is None:
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        return start_plain(words, environment={**passed, **environment}, stderr=stderr)
    limits = JailLimits(
        execution_s=0,
        memory_bytes=_WARM_BYTES,
        processes=_PROCESSES,
        open_files=_OPEN_FILES,
        is_short=False,
    )
    view = View(
        readable=interpreter_paths(plan.import_paths),
        devices=_nodes(plan.device),
        # Compiled code is kept in the jail's own scratch: no job may poison another's.
        environment={**environment, "NUMBA_CACHE_DIR": "/tmp/numba"},  # noqa: S108
    )
    return sandbox.start(Order(words, limits, view, stdin=True, stderr=stderr), slot=slot)


def _environment(plan: WorkerPlan) -> dict[str, str]:
    environment = {
        "PYTHONPATH": os.pathsep.join((*package_paths(), *plan.import_paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        # OpenMP's threads do not survive a fork, and TBB is another package.
        "NUMBA_THREADING_LAYER": "workqueue",
    }
    if plan.device.uuid:
        environment["CUDA_VISIBLE_DEVICES"] = plan.device.uuid
    return environment


def _nodes(device: WorkerDevice) -> tuple[str, ...]:
    """The GPU's nodes: all of them, since the driver opens them by number; the UUID picks one."""
    if device.backend == "cpu":
        return ()
    return tuple(sorted(str(node) for node in Path("/dev").glob("nvidia*")))
