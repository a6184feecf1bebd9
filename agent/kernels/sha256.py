"""SHA-256 of one padded 64-byte block as a device function, in registers.

Shapes:  sixteen uint32 words (big-endian, padding included) -> eight uint32 words of the digest.
Launch:  called by the thread that needs the hash; no array, no local memory but the constants.
Work:    `coordinator.workloads.hashsearch.HASH_OPS` integer operations.
Why:     the sixteen schedule words are scalars, and the text of sixteen rounds stands unrolled, so
         that no word has a computed index: an indexed schedule lives in slow local memory.
Source:  FIPS 180-4, 6.2.2.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, Final

import numpy as np
from numba import uint32

from agent.kernels.backend import Jit


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(value: int) -> int:
    """The integer cube root, rounded down."""
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= value else (low, middle - 1)
    return low


#: First 32 bits of the fractional parts of the cube roots of the first 64 primes.
K: Final = np.array([_cube_root(p << 96) & 0xFFFFFFFF for p in _primes(64)], dtype=np.uint32)
#: First 32 bits of the fractional parts of the square roots of the first 8 primes.
INITIAL: Final = tuple(isqrt(p << 64) & 0xFFFFFFFF for p in _primes(8))
_H0, _H1, _H2, _H3, _H4, _H5, _H6, _H7 = INITIAL


def define(jit: Jit) -> Any:  # noqa: PLR0915 - sixteen rounds stand unrolled
    """The device function, compiled by `jit`."""

    @jit
    def turn(x, n):
        """Rotate to the right."""
        return uint32(uint32(x >> uint32(n)) | uint32(x << uint32(32 - n)))

    @jit
    def step(a, b, c, d, e, f, g, h, kw):
        """One round: the new values of d and h; the caller renames the others."""
        big = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)
        t = uint32(h + big + (g ^ (e & (f ^ g))) + kw)
        big = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)
        return uint32(d + t), uint32(t + big + ((a & b) | (c & (a | b))))

    @jit
    def next_word(w0, w1, w9, w14):
        """The schedule word sixteen rounds later."""
        low = turn(w1, 7) ^ turn(w1, 18) ^ uint32(w1 >> uint32(3))
        high = turn(w14, 17) ^ turn(w14, 19) ^ uint32(w14 >> uint32(10))
        return uint32(w0 + low + w9 + high)

    @jit
    def compress(w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15):
        a, b, c, d = uint32(_H0), uint32(_H1), uint32(_H2), uint32(_H3)
        e, f, g, h = uint32(_H4), uint32(_H5), uint32(_H6), uint32(_H7)
        for t in range(0, 64, 16):
            d, h = step(a, b, c, d, e, f, g, h, uint32(K[t] + w0))
            c, g = step(h, a, b, c, d, e, f, g, uint32(K[t + 1] + w1))
            b, f = step(g, h, a, b, c, d, e, f, uint32(K[t + 2] + w2))
            a, e = step(f, g, h, a, b, c, d, e, uint32(K[t + 3] + w3))
            h, d = step(e, f, g, h, a, b, c, d, uint32(K[t + 4] + w4))
            g, c = step(d, e, f, g, h, a, b, c, uint32(K[t + 5] + w5))
            f, b = step(c, d, e, f, g, h, a, b, uint32(K[t + 6] + w6))
            e, a = step(b, c, d, e, f, g, h, a, uint32(K[t + 7] + w7))
            d, h = step(a, b, c, d, e, f, g, h, uint32(K[t + 8] + w8))
            c, g = step(h, a, b, c, d, e, f, g, uint32(K[t + 9] + w9))
            b, f = step(g, h, a, b, c, d, e, f, uint32(K[t + 10] + w10))
            a, e = step(f, g, h, a, b, c, d, e, uint32(K[t + 11] + w11))
            h, d = step(e, f, g, h, a, b, c, d, uint32(K[t + 12] + w12))
            g, c = step(d, e, f, g, h, a, b, c, uint32(K[t + 13] + w13))
            f, b = step(c, d, e, f, g, h, a, b, uint32(K[t + 14] + w14))
            e, a = step(b, c, d, e, f, g, h, a, uint32(K[t + 15] + w15))
            w0 = next_word(w0, w1, w9, w14)
            w1 = next_word(w1, w2, w10, w15)
            w2 = next_word(w2, w3, w11, w0)
            w3 = next_word(w3, w4, w12, w1)
            w4 = next_word(w4, w5, w13, w2)
            w5 = next_word(w5, w6, w14, w3)
            w6 = next_word(w6, w7, w15, w4)
            w7 = next_word(w7, w8, w0, w5)
            w8 = next_word(w8, w9, w1, w6)
            w9 = next_word(w9, w10, w2, w7)
            w10 = next_word(w10, w11, w3, w8)
            w11 = next_word(w11, w12, w4, w9)
            w12 = next_word(w12, w13, w5, w10)
            w13 = next_word(w13, w14, w6, w11)
            w14 = next_word(w14, w15, w7, w12)
            w15 = next_word(w15, w0, w8, w13)
        return (
            uint32(a + uint32(_H0)), uint32(b + uint32(_H1)),
            uint32(c + uint32(_H2)), uint32(d + uint32(_H3)),
            uint32(e + uint32(_H4)), uint32(f + uint32(_H5)),
            uint32(g + uint32(_H6)), uint32(h + uint32(_H7)),
        )  # fmt: skip

    return compress
