"""Standard normals of the paths of a simulation, from the counter-based generator.

Path 4 q + j takes from quartet q, at each step, normal j of the Philox counter (q, q >> 32, step,
0): Box-Muller on the words (0, 1) and (2, 3), cosine first.
Source: Box and Muller 1958; the words: `philox.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from coordinator.workloads.philox import U64, philox, split_seed

F64 = npt.NDArray[np.float64]
#: Elements that are held at once: the arrays stay in the cache.
_CHUNK: Final = 2**14


def normals_of(seed: int, steps: int, first: int, quartets: int) -> Iterator[F64]:
    """The normals of some quartets of paths, a few steps at a time.

    Yields:
        Arrays (4, steps in this part, quartets), in the order of the steps.
    """
    key = split_seed(seed)
    group = np.arange(first, first + quartets, dtype=np.uint64)
    rows = max(1, _CHUNK // quartets)
    zero = np.zeros(1, dtype=np.uint64)
    low, high = group & np.uint64(0xFFFFFFFF), group >> np.uint64(32)
    for step in range(0, steps, rows):
        part = np.arange(step, min(step + rows, steps), dtype=np.uint64)[:, None]
        a, b, c, d = philox((low, high, part, zero), key)
        yield np.concatenate([_box_muller(a, b), _box_muller(c, d)])


def _box_muller(a: U64, b: U64) -> F64:
    """Two standard normals for each pair of words; halves keep the logarithm from zero."""
    radius = np.sqrt(-2.0 * np.log((a + 0.5) * 2.0**-32))
    angle = b * (2.0 * np.pi * 2.0**-32)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)])
