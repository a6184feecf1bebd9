"""The CPU as a device: bodies compiled by `numba.njit`, indices spread over all cores.

Rules:
  1. Numba's own work queue is the threading layer: OpenMP's runtime ends a process that forks.
  2. The work queue is not re-entrant (a second thread in it aborts the process): one launch at a
     time, guarded by a lock.
Not covered: pinning to cores; a loaded machine is simply slower.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any, Final

import numba

from agent.kernels.backend import Define
from coordinator.protocol.arrays import AnyArray

numba.config.THREADING_LAYER = "workqueue"

_lock: Final = Lock()
#: Operations of one launch: some 50 ms of two cores, after which a signal is seen and cores that
#: were given the lighter half of an image start level again.
_LAUNCH_FLOP: Final = 200_000_000
_COUNT_MIN: Final = 64


def jit(function: Any) -> Any:
    """Compile a scalar function; a division by zero gives an infinity, as on a GPU."""
    return numba.njit(error_model="numpy")(function)


@cache
def _launcher(define: Define) -> Any:
    body = define(jit)

    @numba.njit(parallel=True, error_model="numpy")
    def run(start, stop, arguments):
        for index in numba.prange(start, stop):
            body(index, *arguments)

    return run


def launch(
    define: Define,
    count: int,
    flop: int,
    inputs: tuple[Any, ...],
    outputs: tuple[AnyArray, ...],
    on_done: Callable[[int], None] | None = None,
) -> None:
    """See `backend.DeviceLaunch`."""
    run = _launcher(define)
    size = max(_LAUNCH_FLOP // flop, _COUNT_MIN)
    with _lock:
        for start in range(0, count, size):
            stop = min(start + size, count)
            run(start, stop, inputs + outputs)
            if on_done is not None:
                on_done(stop - start)
