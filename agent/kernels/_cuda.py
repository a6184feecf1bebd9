"""A CUDA GPU as a device: the only importer of `numba.cuda`.

Numba's built-in CUDA target and the package numba-cuda offer the same module; moving to another one
is a change of this file. With `NUMBA_ENABLE_CUDASIM=1` before the first import it is the simulator,
which runs each thread as Python: for tests of a few hundred threads.
Rules:
  1. Without a device every call is a refusal that says why; nothing falls back to the CPU.
  2. A launch stays short: a display's watchdog ends a kernel after some seconds, and a lesser one
     cannot be stopped at all.
Not covered: choosing among several GPUs (the worker sets `CUDA_VISIBLE_DEVICES`), streams, and
      memory of the GPU that is freed without being overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numba
import numpy as np
from numba import cuda

from agent.kernels.backend import Define
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal

__all__ = ["THREADS", "cuda", "entry", "jit", "launch", "why_not"]

# A small job cannot fill a GPU; the warning would tell its submitter nothing.
numba.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0

#: Threads of a block: a multiple of a warp, small enough for kernels with many registers.
THREADS: Final = 128
#: Operations of one launch: 0.2 s of a GPU that does 10^12 a second, as small ones do in float64.
_LAUNCH_FLOP: Final = 200_000_000_000
#: Threads of one launch at least, so that a large GPU stays full: 132 x 2048.
_COUNT_MIN: Final = 2**18


def why_not() -> str:
    """Why CUDA cannot be used here; "" if it can."""
    if cuda.is_available():
        return ""
    return "no CUDA device can be used: the driver is missing, too old, or sees no GPU"


def jit(function: Any) -> Any:
    """Compile a scalar function for the device."""
    return cuda.jit(device=True)(function)


def entry(define: Define) -> Any:
    """The kernel around a body, as plain Python: one thread an index."""
    body = define(jit)

    def run(start, stop, arguments):
        index = start + cuda.grid(1)
        if index < stop:
            body(index, *arguments)

    return run


@cache
def _launcher(define: Define) -> Any:
    return cuda.jit(entry(define))


def launch(
    define: Define,
    count: int,
    flop: int,
    inputs: tuple[Any, ...],
    outputs: tuple[AnyArray, ...],
    on_done: Callable[[int], None] | None = None,
) -> None:
    """See `backend.DeviceLaunch`.

    Raises:
        Refusal: `agent_error` without a device.
    """
    if reason := why_not():
        raise Refusal("agent_error", reason)
    run = _launcher(define)
    sent = tuple(cuda.to_device(x) if isinstance(x, np.ndarray) else x for x in inputs)
    held = tuple(cuda.to_device(output) for output in outputs)
    size = max(_LAUNCH_FLOP // flop, _COUNT_MIN)
    for start in range(0, count, size):
        stop = min(start + size, count)
        run[-(-(stop - start) // THREADS), THREADS](start, stop, sent + held)
        if on_done is not None:
            # Launches queue up; to wait for one costs microseconds beside its tenths of a second.
            cuda.synchronize()
            on_done(stop - start)
    # Waits for the kernels, and raises what went wrong in them.
    for output, device in zip(outputs, held, strict=True):
        device.copy_to_host(output)
