"""montecarlo, for options whose payoff depends on the way of the price: Asian and barrier options.

Launch:  as `montecarlo.py`; a thread carries the four paths of a quartet at once, each with where
         it is and what it has seen (the sum of its prices, or how near it came to the barrier).
Work:    85 operations a step and path: an exponential more than a European option, or a comparison.
Source:  `coordinator/workloads/option_paths.py` is the definition.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import uint32, uint64

from agent.kernels import lanes, normals as normals_kernel
from agent.kernels.backend import Jit
from coordinator.protocol.arrays import AnyArray
from coordinator.workloads.montecarlo import MonteCarloParams

#: Further than any price gets from the barrier, in the logarithm.
_FAR: Final = -1e300


def model_of(params: MonteCarloParams) -> AnyArray:
    """What the body knows of the option, float64.

    Elements: a step's drift and deviation; spot, strike, sign, discount; 1 / steps where the mean
    counts, else 0; side of the barrier, 1 above the spot and -1 below; its logarithm times the
    side; 1 where reaching it brings the option to life, 0 where it ends it.
    """
    side = 1.0 if params.barrier_log > 0 else -1.0
    return np.array(
        [
            params.drift / params.steps, params.step_volatility, params.spot, params.strike,
            params.sign, params.discount, 1.0 / params.steps if params.style == "asian" else 0.0,
            side, side * params.barrier_log, 1.0 if params.knock == "in" else 0.0,
        ]
    )  # fmt: skip


def define(jit: Jit) -> Any:
    """The body of a lane."""
    normals = normals_kernel.define(jit)

    @jit
    def see(seen, place, model):
        """What a path has seen once it stands at a logarithm."""
        if model[6] > 0.0:
            return seen + math.exp(place)
        far = model[7] * place
        return far if far > seen else seen

    @jit
    def payoff(place, seen, model):
        spot, strike, sign, discount = model[2], model[3], model[4], model[5]
        if model[6] > 0.0:
            gain = sign * (spot * seen * model[6] - strike)
        else:
            gain = sign * (spot * math.exp(place) - strike)
            is_reached = seen >= model[8]
            if is_reached != (model[9] > 0.5):
                return 0.0
        return discount * gain if gain > 0.0 else 0.0

    @jit
    def quartet(group, steps, key_0, key_1, model):
        """The payoffs of four paths."""
        drift, deviation = model[0], model[1]
        walk_0 = walk_1 = walk_2 = walk_3 = 0.0
        start = 0.0 if model[6] > 0.0 else _FAR
        seen_0 = seen_1 = seen_2 = seen_3 = start
        low = uint32(group)
        high = uint32(uint64(group) >> uint64(32))
        for step in range(steps):
            a, b, c, d = normals(low, high, step, key_0, key_1)
            walk_0 += a
            walk_1 += b
            walk_2 += c
            walk_3 += d
            trend = (step + 1) * drift
            seen_0 = see(seen_0, trend + deviation * walk_0, model)
            seen_1 = see(seen_1, trend + deviation * walk_1, model)
            seen_2 = see(seen_2, trend + deviation * walk_2, model)
            seen_3 = see(seen_3, trend + deviation * walk_3, model)
        end = steps * drift
        return (
            payoff(end + deviation * walk_0, seen_0, model),
            payoff(end + deviation * walk_1, seen_1, model),
            payoff(end + deviation * walk_2, seen_2, model),
            payoff(end + deviation * walk_3, seen_3, model),
        )

    return lanes.define(jit, quartet)
