"""Options whose payoff depends on the way of the price: Asian and barrier options, in NumPy.

The logarithm of price over spot after step k is k times the drift of a step plus the step's
deviation times the sum of the path's first k normals (`normals.py`).
Asian:   the mean of the prices after each step stands for the last price.
Barrier: an option that is `out` pays nothing once a price after a step is at or beyond the barrier;
         one that is `in` pays nothing else. Monitored at the steps, not between them.
Source:  Glasserman, "Monte Carlo Methods in Financial Engineering", 1.1.2 and 3.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from coordinator.workloads.normals import F64, normals_of

if TYPE_CHECKING:
    from coordinator.workloads.montecarlo import MonteCarloParams

#: In the logarithm: devices' sums of normals differ by some 1e-13 of it.
_NEAR: Final = 1e-10


def path_sums(params: MonteCarloParams, start: int, paths: int) -> tuple[F64, F64]:
    """The least and the greatest right sums of a block's payoffs and of their squares.

    Args:
        params: An option that looks at the path.
        start: First path, a multiple of four.
        paths: Number of paths.

    Returns:
        Least and greatest, each (2,): the sum, and the sum of squares. They differ where a price
        comes within rounding of the barrier.
    """
    look = _asian if params.style == "asian" else _barrier
    bounds = np.array(look(params, start // 4, -(-paths // 4)))[:, :paths]
    payoffs = params.discount * np.maximum(bounds, 0.0)
    least, most = np.stack([payoffs.sum(axis=1), (payoffs * payoffs).sum(axis=1)], axis=1)
    return least, most


def _asian(params: MonteCarloParams, first: int, quartets: int) -> tuple[F64, F64]:
    """Gains of the mean price, twice: nothing is uncertain."""
    total = np.zeros((4, quartets))
    for logs in _logs(params, first, quartets):
        total += np.exp(logs).sum(axis=1)
    gain = params.sign * (params.spot * total / params.steps - params.strike)
    return gain.T.ravel(), gain.T.ravel()


def _barrier(params: MonteCarloParams, first: int, quartets: int) -> tuple[F64, F64]:
    """Gains of paths that certainly pay, and of those that may."""
    side = 1.0 if params.barrier_log > 0 else -1.0
    farthest = np.full((4, quartets), -np.inf)
    last = np.zeros((4, quartets))
    for logs in _logs(params, first, quartets):
        farthest = np.maximum(farthest, (side * logs).max(axis=1))
        last = logs[:, -1]
    gain = params.sign * (params.spot * np.exp(last) - params.strike)
    beyond = farthest - side * params.barrier_log
    if params.knock == "out":
        surely, maybe = beyond < -_NEAR, beyond < _NEAR
    else:
        surely, maybe = beyond >= _NEAR, beyond >= -_NEAR
    return (gain * surely).T.ravel(), (gain * maybe).T.ravel()


def _logs(params: MonteCarloParams, first: int, quartets: int) -> Iterator[F64]:
    """Logarithms of price over spot, (4, steps in this part, quartets), part after part."""
    done, sums = 0, np.zeros((4, 1, quartets))
    for normals in normals_of(params.seed, params.steps, first, quartets):
        walk = sums + np.cumsum(normals, axis=1)
        count = normals.shape[1]
        steps = np.arange(done + 1, done + count + 1)[:, None]
        yield steps * (params.drift / params.steps) + params.step_volatility * walk
        done, sums = done + count, walk[:, -1:]
