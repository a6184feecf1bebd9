"""Kernels of our own kinds: one source text for CUDA and for the CPU.

In:   a kind, its parameters (JSON bytes), its input arrays and a backend.
Out:  the outputs as host arrays, as `coordinator.workloads` defines them.
Rules:
  1. Importing this package costs nothing: Numba is loaded by the first `run` or `warm`.
  2. Nothing falls back silently: `cuda` without a device is a refusal.
Not here: the sandbox and the processes in which kernels run (`agent/sandbox`, `agent/worker.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final, Literal, TypeAlias, cast

import numpy as np

from agent.kernels.backend import DeviceLaunch, Launch, reporting
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal
from coordinator.workloads.catalogue import get
from coordinator.workloads.workload import NO_INPUTS, InputArrays

Backend: TypeAlias = Literal["cpu", "cuda"]

#: The kinds that have a kernel here.
KINDS: Final[tuple[str, ...]] = ("hashsearch", "matmul", "montecarlo", "render")

_OPTION: Final = (
    b'"spot":1,"strike":1,"rate":0,"volatility":1,"maturity_years":1,"option":"call","paths":16'
)
#: The least jobs: running them compiles every kernel.
_TINY: Final[tuple[tuple[str, bytes], ...]] = (
    ("hashsearch", b'{"prefix":"","start":0,"count":64,"target_bits":4}'),
    ("matmul", b'{"m":2,"k":2,"n":2}'),
    ("montecarlo", b"{%s}" % _OPTION),
    ("montecarlo", b'{%s,"style":"asian"}' % _OPTION),
    ("render", b'{"width":4,"height":4,"samples":1}'),
)


def launch_on(backend: Backend) -> DeviceLaunch:
    """What runs kernels on a backend.

    Raises:
        Refusal: `agent_error` when the backend is `cuda` and there is no device.
    """
    return cast("DeviceLaunch", import_module(f"agent.kernels._{backend}").launch)


def run(
    kind: str,
    params: bytes,
    backend: Backend,
    on_progress: Callable[[float], None] | None = None,
    inputs: InputArrays = NO_INPUTS,
) -> list[AnyArray]:
    """Compute one job.

    Args:
        kind: One of `KINDS`.
        params: The specification's `params`.
        backend: Where to compute.
        on_progress: Called after each launch with how much of the work is done, from 0 to 1.
        inputs: The job's input arrays by name, contiguous; they are not written.

    Raises:
        Refusal: `unknown_kind`, `bad_spec`, or `agent_error` without a device.
    """
    if kind not in KINDS:
        raise Refusal("unknown_kind", f"{kind[:32]!r} has no kernel here")
    workload = get(kind)
    decoded = workload.decode(params)
    if inputs or workload.inputs(decoded):
        workload.check_arrays(decoded, inputs)
    kernel = import_module(f"agent.kernels.{kind}")
    arrays = (inputs,) if inputs else ()
    if backend == "cpu" and hasattr(kernel, "run_cpu"):
        # A library's own routine is faster than a body compiled here.
        return cast("list[AnyArray]", kernel.run_cpu(decoded, on_progress or _unheard, *arrays))
    launch: Launch = launch_on(backend)
    if on_progress is not None:
        launch = reporting(launch_on(backend), workload.work(decoded).flop, on_progress)
    return cast("list[AnyArray]", kernel.run(decoded, launch, *arrays))


def _unheard(progress: float) -> None:
    """Nobody asks how far it is."""


def warm(backend: Backend) -> None:
    """Compile every kernel for a backend, so that the first job pays nothing for it."""
    for kind, params in _TINY:
        run(kind, params, backend, inputs=zeros_for(kind, params))


def zeros_for(kind: str, params: bytes) -> dict[str, AnyArray]:
    """Inputs of a job, full of zeros; a free extent is 1."""
    workload = get(kind)
    return {
        each.name: np.zeros([extent or 1 for extent in each.shape], dtype=each.dtype)
        for each in workload.inputs(workload.decode(params))
    }
