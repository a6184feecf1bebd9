"""Philox4x32-10: random words from a counter and a key, in NumPy.

A counter-based generator has no state: word n costs the same as word 0, so a block is recomputed
alone. Integers only, so that NumPy, the CPU kernel and the CUDA kernel agree bit for bit.
Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11; the
constants are Random123's. Vectors: `tests/vectors/philox.json`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

U64: TypeAlias = npt.NDArray[np.uint64]
Words: TypeAlias = tuple[U64, U64, U64, U64]

ROUNDS: Final = 10
MULTIPLIER_0: Final = 0xD2511F53
MULTIPLIER_1: Final = 0xCD9E8D57
#: The key grows by these each round: the golden ratio and the square root of 3, less 1.
WEYL_0: Final = 0x9E3779B9
WEYL_1: Final = 0xBB67AE85
MASK: Final = 0xFFFFFFFF


def split_seed(seed: int) -> tuple[int, int]:
    """The two key words of a seed, low word first."""
    return seed & MASK, seed >> 32 & MASK


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Four random 32-bit words for each counter.

    Args:
        counter: Four arrays of 32-bit values held in uint64; shapes that broadcast.
        key: Two 32-bit values.

    Returns:
        Four uint64 arrays with values below 2^32.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    mask, half = np.uint64(MASK), np.uint64(32)
    for _ in range(ROUNDS):
        product_0 = c0 * np.uint64(MULTIPLIER_0)
        product_1 = c2 * np.uint64(MULTIPLIER_1)
        c0 = (product_1 >> half) ^ c1 ^ np.uint64(k0)
        c2 = (product_0 >> half) ^ c3 ^ np.uint64(k1)
        c1 = product_1 & mask
        c3 = product_0 & mask
        k0 = k0 + WEYL_0 & MASK
        k1 = k1 + WEYL_1 & MASK
    return c0, c1, c2, c3
