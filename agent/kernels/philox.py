"""Philox4x32-10 as a device function: four random words from a counter and a key.

Shapes:  scalars: (c0, c1, c2, c3, k0, k1) uint32 -> four uint32.
Launch:  called by the thread that needs the words.
Work:    some 110 integer operations, no memory.
Source:  Salmon et al., SC11; bit for bit `coordinator/workloads/philox.py`.
"""

from __future__ import annotations

from typing import Any

from numba import uint32, uint64

from agent.kernels.backend import Jit
from coordinator.workloads.philox import MULTIPLIER_0, MULTIPLIER_1, ROUNDS, WEYL_0, WEYL_1


def define(jit: Jit) -> Any:
    """The device function, compiled by `jit`."""

    @jit
    def philox(c0, c1, c2, c3, k0, k1):
        for _ in range(ROUNDS):
            product_0 = uint64(c0) * uint64(MULTIPLIER_0)
            product_1 = uint64(c2) * uint64(MULTIPLIER_1)
            c0 = uint32(product_1 >> uint64(32)) ^ uint32(c1) ^ uint32(k0)
            c2 = uint32(product_0 >> uint64(32)) ^ uint32(c3) ^ uint32(k1)
            c1 = uint32(product_1)
            c3 = uint32(product_0)
            k0 = uint32(uint64(k0) + uint64(WEYL_0))
            k1 = uint32(uint64(k1) + uint64(WEYL_1))
        return uint32(c0), uint32(c1), uint32(c2), uint32(c3)

    return philox
