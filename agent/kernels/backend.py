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
