"""montecarlo: the price of an option by Monte Carlo under geometric Brownian motion.

Styles:  European options look at the last price; Asian ones at the mean of the prices after each
         step; barrier options live (`in`) or die (`out`) once a price after a step is at or beyond
         the barrier. What looks at the way is in `option_paths.py`.
Output:  `sums` (blocks, 2) float64: each block's sum of discounted payoffs, and of their squares.
Block:   `block_paths` paths. Four of them share the Philox counter (quartet, quartet >> 32, step,
         0) and take one standard normal each: Box-Muller on the words (0, 1) and (2, 3).
Work:    `STEP_FLOP` an advance of a path, `LOOK_FLOP` a look at its price there, `PATH_FLOP` a
         payoff.
Tolerance: 1e-9. Devices differ in the last bits of log, cos, exp and in the order of sums: some
         1e-13 of a block. A path that was not computed changes its block's sums by about 1e-4.
         A price that comes that near to a barrier may be on either side of it: both are right.
Source:  Glasserman, "Monte Carlo Methods in Financial Engineering", 3.2; Black and Scholes 1973.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, exp, log, sqrt
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from coordinator.limits import BLOCKS_MAX
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal
from coordinator.workloads.normals import normals_of
from coordinator.workloads.option_paths import path_sums
from coordinator.workloads.workload import (
    NO_INPUTS,
    InputArrays,
    OutputSchema,
    Params,
    Seed,
    Work,
    Workload,
)

F64 = npt.NDArray[np.float64]

#: A quarter of a Philox call (about 110 integer operations) and one half of a Box-Muller pair
#: (a logarithm, a root, a sine and a cosine at some 20 each), and the sum.
STEP_FLOP: Final = 60
#: An exponential and a sum, or a comparison: what path-dependent options add to an advance.
LOOK_FLOP: Final = 25
#: An exponential, the payoff, its square, two sums.
PATH_FLOP: Final = 40
PATHS_MAX: Final = 2**30
STEPS_MAX: Final = 4096
#: Advances of all paths: 66 TFLOP, minutes on one GPU.
PATH_STEPS_MAX: Final = 2**40
#: Advances in a block: about 10 ms of NumPy.
_BLOCK_STEPS: Final = 2**18
_BLOCK_PATHS_MIN: Final = 2**8
_BLOCK_PATHS_MAX: Final = 2**14
#: See *Tolerance*; relative to a block's sum, and absolute in units of one path at the spot.
_TOLERANCE: Final = 1e-9

_Amount = Annotated[float, Meta(gt=0.0, le=1e9)]


class MonteCarloParams(Params, frozen=True):
    """The bounds keep every sum finite: the largest price stays below 1e150."""

    #: Price of the asset today.
    spot: _Amount
    #: Price at which the option lets buy (call) or sell (put).
    strike: _Amount
    #: Interest without risk, continuously compounded, a year.
    rate: Annotated[float, Meta(ge=-1.0, le=1.0)]
    #: Standard deviation of the price's logarithm, a year.
    volatility: Annotated[float, Meta(gt=0.0, le=3.0)]
    #: Time until the option ends.
    maturity_years: Annotated[float, Meta(gt=0.0, le=50.0)]
    #: The right to buy, or to sell.
    option: Literal["call", "put"]
    #: Paths to simulate: the error falls with their square root.
    paths: Annotated[int, Meta(ge=1, le=PATHS_MAX)]
    #: Steps of a path; one is exact here, more cost more.
    steps: Annotated[int, Meta(ge=1, le=STEPS_MAX)] = 1
    #: The same seed gives the same numbers.
    seed: Seed = 0
    #: What the payoff looks at: the last price, the mean of all, or whether one reached a barrier.
    style: Literal["european", "asian", "barrier"] = "european"
    #: With the style `barrier`: a price above the spot (an up barrier) or below it.
    barrier: _Amount | None = None
    #: With the style `barrier`: whether reaching it ends the option or brings it to life.
    knock: Literal["out", "in"] = "out"

    @property
    def looks_at_path(self) -> bool:
        """Whether more than the last price counts."""
        return self.style != "european"

    @property
    def barrier_log(self) -> float:
        """Logarithm of the barrier over the spot: above 0 it is an up barrier; 0.0 for none."""
        return 0.0 if self.barrier is None else log(self.barrier / self.spot)

    @property
    def block_paths(self) -> int:
        """Paths in a block (the last one may have fewer): a power of two."""
        wanted = 1 << (_BLOCK_STEPS // self.steps).bit_length() - 1
        return min(max(wanted, _BLOCK_PATHS_MIN), _BLOCK_PATHS_MAX)

    @property
    def drift(self) -> float:
        """Mean of the logarithm of the price's growth until maturity."""
        return (self.rate - 0.5 * self.volatility**2) * self.maturity_years

    @property
    def step_volatility(self) -> float:
        """Standard deviation of one step of the logarithm."""
        return self.volatility * sqrt(self.maturity_years / self.steps)

    @property
    def discount(self) -> float:
        return exp(-self.rate * self.maturity_years)

    @property
    def sign(self) -> float:
        """1 for a call, -1 for a put."""
        return 1.0 if self.option == "call" else -1.0


class MonteCarlo(Workload[MonteCarloParams]):
    """Price of an option."""

    kind = "montecarlo"
    light_flop_max = 100_000
    params_type = MonteCarloParams

    def check_params(self, params: MonteCarloParams) -> None:
        if params.paths * params.steps > PATH_STEPS_MAX:
            raise Refusal("bad_spec", "montecarlo: `$.paths` times `$.steps` exceeds 2^40")
        if (params.barrier is not None) != (params.style == "barrier"):
            raise Refusal("bad_spec", "montecarlo: `$.barrier` belongs to the style `barrier`")
        if params.knock != "out" and params.barrier is None:
            raise Refusal("bad_spec", "montecarlo: `$.knock` belongs to the style `barrier`")
        if params.barrier is not None and params.barrier_log == 0.0:
            raise Refusal("bad_spec", "montecarlo: `$.barrier` is the spot: reached at once")

    def work(self, params: MonteCarloParams) -> Work:
        flop = params.paths * (params.steps * step_flop(params) + PATH_FLOP)
        return Work(flop=flop, bytes=16 * self.blocks(params))

    def schema(self, params: MonteCarloParams) -> tuple[OutputSchema, ...]:
        return (OutputSchema("sums", "float64", (self.blocks(params), 2)),)

    def blocks(self, params: MonteCarloParams) -> int:
        return -(-params.paths // params.block_paths)

    def inspect(self, params: MonteCarloParams, outputs: Sequence[AnyArray]) -> str:
        """Sums of payoffs are not negative, and (sum)^2 <= n * sum of squares (Cauchy-Schwarz)."""
        first, second = outputs[0][:, 0], outputs[0][:, 1]
        if (outputs[0] < 0).any():
            return "a sum of payoffs is negative"
        slack = 1 + _TOLERANCE
        if (first > np.sqrt(second) * sqrt(params.block_paths) * slack).any():
            return "a sum of payoffs does not fit the sum of its squares"
        return ""

    def reference(
        self,
        params: MonteCarloParams,
        block: int,
        inputs: InputArrays = NO_INPUTS,  # noqa: ARG002 - an interface
    ) -> tuple[AnyArray, ...]:
        start = block * params.block_paths
        paths = min(params.block_paths, params.paths - start)
        if params.looks_at_path:
            # Where a price is at the barrier within rounding there are two right answers.
            return path_sums(params, start, paths)
        z = _normal_sums(params, start // 4, -(-paths // 4))[:paths]
        price = params.spot * np.exp(params.drift + params.step_volatility * z)
        payoff = params.discount * np.maximum(params.sign * (price - params.strike), 0.0)
        return (np.array([payoff.sum(), (payoff * payoff).sum()]),)

    def extract(
        self,
        params: MonteCarloParams,  # noqa: ARG002 - an interface
        outputs: Sequence[AnyArray],
        block: int,
    ) -> tuple[AnyArray, ...]:
        return (outputs[0][block],)

    def disagreement(
        self,
        params: MonteCarloParams,
        block: int,  # noqa: ARG002 - an interface
        claimed: Sequence[AnyArray],
        reference: Sequence[AnyArray],
    ) -> str:
        # Near the strike a payoff keeps the price's absolute error: hence the second term.
        unit = max(params.spot, params.strike)
        least, most = reference[0], reference[-1]
        slack = _TOLERANCE * (np.abs(most) + np.array([unit, unit * unit]) * 1e-3)
        if ((claimed[0] >= least - slack) & (claimed[0] <= most + slack)).all():
            return ""
        return f"sums are {claimed[0].tolist()}, not {least.tolist()}"


def step_flop(params: MonteCarloParams) -> int:
    """Operations of one advance of a path."""
    return STEP_FLOP + (LOOK_FLOP if params.looks_at_path else 0)


def _normal_sums(params: MonteCarloParams, first: int, quartets: int) -> F64:
    """The sum over all steps of each path's normals, for `quartets` quartets of paths."""
    sums = np.zeros((4, quartets))
    for normals in normals_of(params.seed, params.steps, first, quartets):
        sums += normals.sum(axis=1)
    return np.ravel(sums.T)


def estimate(params: MonteCarloParams, outputs: Sequence[AnyArray]) -> tuple[float, float]:
    """Price and standard error from the sums of all blocks."""
    total, squares = (float(x) for x in outputs[0].sum(axis=0))
    mean = total / params.paths
    variance = max(squares / params.paths - mean * mean, 0.0)
    return mean, sqrt(variance / params.paths)


def closed_form(params: MonteCarloParams) -> float:
    """The price of the European option that the estimate converges to, by Black and Scholes."""
    deviation = params.volatility * sqrt(params.maturity_years)
    d1 = (log(params.spot / params.strike) + params.drift) / deviation + deviation
    growth, sign = params.spot, params.sign
    bond = params.strike * params.discount
    return sign * (growth * _phi(sign * d1) - bond * _phi(sign * (d1 - deviation)))


def _phi(x: float) -> float:
    """Distribution function of the standard normal."""
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


assert -(-PATHS_MAX // _BLOCK_PATHS_MIN) <= BLOCKS_MAX
