"""What a kernel asks of a device: run one function for each index of a range.

A kernel's file holds `define(jit)`: plain scalar Python, compiled by whichever `jit` it is given,
so that CUDA, the CPU and the simulator run the same text. Its result is the *body*,
`body(index, *inputs, *outputs)`, which writes its own elements of the outputs and nothing else: no
shared memory, no barrier, no atomics, hence the same values in any order of the threads.
Implementations: `_cpu.py`, `_cuda.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from coordinator.protocol.arrays import AnyArray

#: Compiles a scalar function for the device.
Jit: TypeAlias = Callable[[Any], Any]
#: Builds a body by means of a `Jit`; a module-level function, since it is the cache's key.
Define: TypeAlias = Callable[[Jit], Any]


class Launch(Protocol):
    """What a kernel's host part calls."""

    def __call__(
        self,
        define: Define,
        count: int,
        flop: int,
        inputs: tuple[Any, ...],
        outputs: tuple[AnyArray, ...],
    ) -> None:
        """Run the body for every index below `count`.

        Args:
            define: The kernel.
            count: Number of indices.
            flop: Operations of one index: sizes the launches, so that each one stays short.
            inputs: Scalars and contiguous arrays.
            outputs: Contiguous host arrays, filled when the call returns.
        """
        ...


class DeviceLaunch(Protocol):
    """The same on one device, which may say how far it is."""

    def __call__(
        self,
        define: Define,
        count: int,
        flop: int,
        inputs: tuple[Any, ...],
        outputs: tuple[AnyArray, ...],
        on_done: Callable[[int], None] | None = None,
    ) -> None:
        """See `Launch`; `on_done` hears after each part of how many indices it was."""
        ...


def reporting(
    launch: DeviceLaunch, flop_in_all: int, on_progress: Callable[[float], None]
) -> Launch:
    """Launches that say how much of a job's work is done, from 0 to 1."""
    done = 0

    def run(
        define: Define,
        count: int,
        flop: int,
        inputs: tuple[Any, ...],
        outputs: tuple[AnyArray, ...],
    ) -> None:
        def on_done(indices: int) -> None:
            nonlocal done
            done += indices * flop
            on_progress(min(done / max(flop_in_all, 1), 1.0))

        launch(define, count, flop, inputs, outputs, on_done)

    return run
