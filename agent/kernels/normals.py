"""Standard normals from the counter-based generator, for kernels.

Source: `coordinator/workloads/normals.py` is the definition.
"""

from __future__ import annotations

import math
from typing import Any

from numba import float64, uint32

from agent.kernels import philox as philox_kernel
from agent.kernels.backend import Jit

_UNIT = 2.0**-32
_ANGLE = 2.0 * math.pi * 2.0**-32


def define(jit: Jit) -> Any:
    """Four standard normals of a step: `normals(low, high, step, key_0, key_1)`."""
    philox = philox_kernel.define(jit)

    @jit
    def radius(word):
        return math.sqrt(-2.0 * math.log((float64(word) + 0.5) * _UNIT))

    @jit
    def normals(low, high, step, key_0, key_1):
        a, b, c, d = philox(low, high, uint32(step), uint32(0), key_0, key_1)
        first = radius(a)
        angle = float64(b) * _ANGLE
        second = radius(c)
        other = float64(d) * _ANGLE
        return (
            first * math.cos(angle),
            first * math.sin(angle),
            second * math.cos(other),
            second * math.sin(other),
        )

    return normals
