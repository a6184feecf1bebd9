"""montecarlo: sums of the discounted payoffs of an option, block by block.

Shapes:  partial (lanes, 2) float64: each lane's sum of payoffs and of their squares; the host adds
         the `LANES` lanes of a block in order, so that CPU and CUDA sum alike.
Launch:  one thread a lane (`lanes.py`).
Work:    60 operations a step and path (85 where the way counts), 16 bytes a lane: bound by
         computing, in float64.
Source:  `coordinator/workloads/montecarlo.py` is the definition.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import uint32, uint64

from agent.kernels import lanes, normals as normals_kernel, option_paths
from agent.kernels.backend import Jit, Launch
from coordinator.protocol.arrays import AnyArray
from coordinator.workloads.montecarlo import PATH_FLOP, MonteCarloParams, step_flop
from coordinator.workloads.philox import split_seed

#: Blocks whose lanes are held at once: 16 MiB of partial sums.
_BLOCKS_AT_ONCE = 2**14


def define(jit: Jit) -> Any:
    """The body of a lane, for options that look at the last price."""
    normals = normals_kernel.define(jit)

    @jit
    def payoff(z, model):
        drift, deviation, spot, strike, sign, discount = (
            model[0], model[1], model[2], model[3], model[4], model[5],
        )  # fmt: skip
        gain = sign * (spot * math.exp(drift + deviation * z) - strike)
        return discount * gain if gain > 0.0 else 0.0

    @jit
    def quartet(group, steps, key_0, key_1, model):
        """The payoffs of four paths."""
        z0 = 0.0
        z1 = 0.0
        z2 = 0.0
        z3 = 0.0
        low = uint32(group)
        high = uint32(uint64(group) >> uint64(32))
        for step in range(steps):
            a, b, c, d = normals(low, high, step, key_0, key_1)
            z0 += a
            z1 += b
            z2 += c
            z3 += d
        return payoff(z0, model), payoff(z1, model), payoff(z2, model), payoff(z3, model)

    return lanes.define(jit, quartet)


def run(params: MonteCarloParams, launch: Launch) -> list[AnyArray]:
    """The output `sums`."""
    blocks = -(-params.paths // params.block_paths)
    sums = np.zeros((blocks, 2))
    body, model = define, last_model(params)
    if params.looks_at_path:
        body, model = option_paths.define, option_paths.model_of(params)
    flop = params.block_paths // lanes.LANES * (params.steps * step_flop(params) + PATH_FLOP)
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        count = min(_BLOCKS_AT_ONCE, blocks - first)
        partial = np.zeros((count * lanes.LANES, 2))
        job = (first, params.paths, params.block_paths, params.steps, *split_seed(params.seed))
        launch(body, count * lanes.LANES, flop, (*job, model), (partial,))
        sums[first : first + count] = partial.reshape(count, lanes.LANES, 2).sum(axis=1)
    return [sums]


def last_model(params: MonteCarloParams) -> AnyArray:
    """What the body knows of the option."""
    return np.array(
        [
            params.drift, params.step_volatility, params.spot, params.strike,
            params.sign, params.discount,
        ]
    )  # fmt: skip
