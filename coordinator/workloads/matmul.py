"""matmul: the product of two float32 matrices, `c = a @ b`.

Inputs:  `a` (m, k) float32; `b` (k, n) float32.
Output:  `c` (m, n) float32.
Block:   a tile of `c`, computed again in float64 from its rows of `a` and its columns of `b`.
Work:    2mnk operations; each matrix once over the bus.
Tolerance: |c - ab| <= (k + 2) 2^-24 |a||b|, element by element: what float32 may lose in any order
         of the sums, fused or not. Where the true value, or what was summed up, is beyond float32
         or not finite (the submitter's own data), anything goes.
Not covered: a product in lower precision stays within this bound once k is some thousands; a check
         of the whole product costs more than blocks do (Freivalds' check is not here yet).
Source:  Higham, "Accuracy and Stability of Numerical Algorithms", 3.1 and 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
from msgspec import Meta

from coordinator.limits import BLOCKS_MAX, OUTPUT_BYTES_MAX
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal
from coordinator.workloads.workload import (
    NO_INPUTS,
    InputArrays,
    InputSchema,
    OutputSchema,
    Params,
    Work,
    Workload,
)

#: Rows, columns, and terms of a sum; each matrix has at most 2^26 elements besides.
EXTENT_MAX: Final = 2**16
_ELEMENTS_MAX: Final = OUTPUT_BYTES_MAX // 4
#: Multiplications of a tile: some 20 ms of one core in float64.
_TILE_TERMS: Final = 2**25
_TILE_MIN: Final = 16
_TILE_MAX: Final = 128
#: Half a unit in the last place of float32, relative.
_ROUNDING: Final = 2.0**-24
_LARGEST: Final = float(np.finfo(np.float32).max)

_Extent = Annotated[int, Meta(ge=1, le=EXTENT_MAX)]


class MatMulParams(Params, frozen=True):
    #: Rows of `a` and `c`.
    m: _Extent
    #: Columns of `a`, rows of `b`: terms of each sum.
    k: _Extent
    #: Columns of `b` and `c`.
    n: _Extent

    @property
    def tile(self) -> int:
        """Side of a tile: a power of two; those at the lower and right edge may be smaller."""
        side = _TILE_MAX
        while side > _TILE_MIN and side * side * self.k > _TILE_TERMS:
            side //= 2
        return side


class MatMul(Workload[MatMulParams]):
    """The product of two matrices."""

    kind = "matmul"
    light_flop_max = 100_000
    params_type = MatMulParams

    def check_params(self, params: MatMulParams) -> None:
        for name, rows, columns in _shapes(params):
            if rows * columns > _ELEMENTS_MAX:
                raise Refusal("bad_spec", f"matmul: `{name}` has more than 2^26 elements")

    def inputs(self, params: MatMulParams) -> tuple[InputSchema, ...]:
        a, b, _ = _shapes(params)
        return tuple(InputSchema(name, "float32", (x, y)) for name, x, y in (a, b))

    def work(self, params: MatMulParams) -> Work:
        moved = 4 * sum(rows * columns for _, rows, columns in _shapes(params))
        return Work(flop=2 * params.m * params.n * params.k, bytes=moved)

    def schema(self, params: MatMulParams) -> tuple[OutputSchema, ...]:
        return (OutputSchema("c", "float32", (params.m, params.n), is_finite=False),)

    def blocks(self, params: MatMulParams) -> int:
        return -(-params.m // params.tile) * -(-params.n // params.tile)

    def reference(
        self, params: MatMulParams, block: int, inputs: InputArrays = NO_INPUTS
    ) -> tuple[AnyArray, ...]:
        """The tile in float64, and the sums of the absolute values of its terms."""
        rows, columns = _tile(params, block)
        # Copies in float64: the inputs may be views of files far larger than a tile needs.
        a = inputs["a"][rows].astype(np.float64)
        b = inputs["b"][:, columns].astype(np.float64)
        with np.errstate(all="ignore"):
            return a @ b, np.abs(a) @ np.abs(b)

    def extract(
        self, params: MatMulParams, outputs: Sequence[AnyArray], block: int
    ) -> tuple[AnyArray, ...]:
        return (outputs[0][_tile(params, block)],)

    def disagreement(
        self,
        params: MatMulParams,
        block: int,  # noqa: ARG002 - an interface
        claimed: Sequence[AnyArray],
        reference: Sequence[AnyArray],
    ) -> str:
        exact, magnitude = reference
        # Subnormal numbers lose up to 2^-150 at each step, whatever their size.
        slack = (params.k + 2) * (_ROUNDING * magnitude + 2.0**-149)
        with np.errstate(all="ignore"):
            is_wrong = ~(np.abs(claimed[0].astype(np.float64) - exact) <= slack)
        # A sum that passes the largest float32 on its way may end anywhere.
        is_wrong &= magnitude < _LARGEST / 2
        wrong = int(is_wrong.sum())
        if not wrong:
            return ""
        place = tuple(int(x) for x in np.argwhere(is_wrong)[0])
        return f"{wrong} elements differ: one is {claimed[0][place]}, not {exact[place]:.9g}"


def _shapes(params: MatMulParams) -> tuple[tuple[str, int, int], ...]:
    """Name, rows and columns of the three matrices."""
    return ("a", params.m, params.k), ("b", params.k, params.n), ("c", params.m, params.n)


def _tile(params: MatMulParams, block: int) -> tuple[slice, slice]:
    """Rows and columns of a tile of `c`; tiles follow each other line by line."""
    side = params.tile
    row, column = divmod(block, -(-params.n // side))
    return slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)


assert _ELEMENTS_MAX // _TILE_MIN**2 + 2 * (EXTENT_MAX // _TILE_MIN) + 1 <= BLOCKS_MAX
