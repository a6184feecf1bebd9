"""montecarlo: sums of the discounted payoffs of a European option, block by block.

Shapes:  partial (lanes, 2) float64: each lane's sum of payoffs and of their squares; the host adds
         the `LANES` lanes of a block in order, so that CPU and CUDA sum alike.
Launch:  one thread a lane; lane l of a block takes the quartets l, l + LANES, … of its paths.
Work:    60 operations a step and path, 16 bytes a lane: bound by computing, in float64.
Source:  `coordinator/workloads/montecarlo.py` is the definition.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float64, uint32, uint64

from agent.kernels import philox as philox_kernel
from agent.kernels.backend import Jit, Launch
from coordinator.protocol.arrays import AnyArray
from coordinator.workloads.montecarlo import PATH_FLOP, STEP_FLOP, MonteCarloParams
from coordinator.workloads.philox import split_seed

#: Threads that share a block: 2^20 paths of one step keep 4,096 threads busy.
LANES = 64
#: Blocks whose lanes are held at once: 16 MiB of partial sums.
_BLOCKS_AT_ONCE = 2**14
_UNIT = 2.0**-32
_ANGLE = 2.0 * math.pi * 2.0**-32


def define(jit: Jit) -> Any:
    """The body of a lane."""
    philox = philox_kernel.define(jit)

    @jit
    def radius(word):
        return math.sqrt(-2.0 * math.log((float64(word) + 0.5) * _UNIT))

    @jit
    def quartet(group, steps, key_0, key_1):
        """The sums of the normals of four paths."""
        z0 = 0.0
        z1 = 0.0
        z2 = 0.0
        z3 = 0.0
        low = uint32(group)
        high = uint32(uint64(group) >> uint64(32))
        for step in range(steps):
            a, b, c, d = philox(low, high, uint32(step), uint32(0), key_0, key_1)
            first = radius(a)
            angle = float64(b) * _ANGLE
            z0 += first * math.cos(angle)
            z1 += first * math.sin(angle)
            second = radius(c)
            angle = float64(d) * _ANGLE
            z2 += second * math.cos(angle)
            z3 += second * math.sin(angle)
        return z0, z1, z2, z3

    @jit
    def payoff(z, model):
        drift, deviation, spot, strike, sign, discount = (
            model[0], model[1], model[2], model[3], model[4], model[5],
        )  # fmt: skip
        gain = sign * (spot * math.exp(drift + deviation * z) - strike)
        return discount * gain if gain > 0.0 else 0.0

    @jit
    def body(index, first_block, paths, block_paths, steps, key_0, key_1, model, partial):
        start = (first_block + index // LANES) * block_paths
        stop = start + block_paths if start + block_paths < paths else paths
        total = 0.0
        squares = 0.0
        for path in range(start + 4 * (index % LANES), stop, 4 * LANES):
            z = quartet(path // 4, steps, uint32(key_0), uint32(key_1))
            for place in range(4):
                if path + place < stop:
                    value = payoff(z[place], model)
                    total += value
                    squares += value * value
        partial[index, 0] = total
        partial[index, 1] = squares

    return body


def run(params: MonteCarloParams, launch: Launch) -> list[AnyArray]:
    """The output `sums`."""
    blocks = -(-params.paths // params.block_paths)
    sums = np.zeros((blocks, 2))
    model = np.array(
        [
            params.drift, params.step_volatility, params.spot, params.strike,
            params.sign, params.discount,
        ]
    )  # fmt: skip
    flop = params.block_paths // LANES * (params.steps * STEP_FLOP + PATH_FLOP)
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        count = min(_BLOCKS_AT_ONCE, blocks - first)
        partial = np.zeros((count * LANES, 2))
        job = (first, params.paths, params.block_paths, params.steps, *split_seed(params.seed))
        launch(define, count * LANES, flop, (*job, model), (partial,))
        sums[first : first + count] = partial.reshape(count, LANES, 2).sum(axis=1)
    return [sums]
