"""montecarlo: the paths of a block, shared out among threads.

Launch:  one thread a lane; lane l of a block takes the quartets l, l + LANES, … of its paths.
Shapes:  partial (lanes, 2) float64: the lane's sum of payoffs, and of their squares.
"""

from __future__ import annotations

from typing import Any, Final

from numba import uint32

from agent.kernels.backend import Jit

#: Threads that share a block: 2^20 paths of one step keep 4,096 threads busy.
LANES: Final = 64


def define(jit: Jit, quartet: Any) -> Any:
    """The body of a lane.

    Args:
        jit: Compiles for the device.
        quartet: Compiled: the payoffs of four paths, from their quartet's number, the steps, two
            key words and the model.
    """

    @jit
    def body(index, first_block, paths, block_paths, steps, key_0, key_1, model, partial):
        start = (first_block + index // LANES) * block_paths
        stop = start + block_paths if start + block_paths < paths else paths
        total = 0.0
        squares = 0.0
        for path in range(start + 4 * (index % LANES), stop, 4 * LANES):
            values = quartet(path // 4, steps, uint32(key_0), uint32(key_1), model)
            for place in range(4):
                if path + place < stop:
                    value = values[place]
                    total += value
                    squares += value * value
        partial[index, 0] = total
        partial[index, 1] = squares

    return body
