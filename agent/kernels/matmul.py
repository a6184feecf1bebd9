"""matmul: the product of two float32 matrices.

Shapes:  a (m, k), b (k, n), c (m, n) float32, all contiguous.
Launch:  CUDA: one thread for `COLUMNS` neighbours of a row of c, which share what is read of a; the
         sums are kept in chunks of `CHUNK` terms, which the order of the threads does not change.
         CPU: NumPy's BLAS, some rows at a time, so that a job can be stopped between them.
Work:    2mnk operations: bound by computing where the caches hold the columns.
Not covered: shared memory and tensor cores; a library's kernel is several times as fast on a GPU.
Source:  `coordinator/workloads/matmul.py` is the definition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import float32

from agent.kernels.backend import Jit, Launch
from coordinator.protocol.arrays import AnyArray
from coordinator.workloads.matmul import MatMulParams
from coordinator.workloads.workload import InputArrays

#: Columns that a thread computes.
COLUMNS = 4
#: Terms that are summed up before they are added to the whole: less is rounded away.
CHUNK = 256
#: Operations of one call of BLAS: a tenth of a second of one core.
_CALL_FLOP = 4_000_000_000


def define(jit: Jit) -> Any:
    """The body of some neighbouring elements of c."""

    @jit
    def body(index, n, k, a, b, c):
        groups = (n + COLUMNS - 1) // COLUMNS
        row = index // groups
        first = (index % groups) * COLUMNS
        # The last group of a row repeats its last column rather than read past it.
        j0 = first
        j1 = first + 1 if first + 1 < n else n - 1
        j2 = first + 2 if first + 2 < n else n - 1
        j3 = first + 3 if first + 3 < n else n - 1
        s0 = float32(0.0)
        s1 = float32(0.0)
        s2 = float32(0.0)
        s3 = float32(0.0)
        for start in range(0, k, CHUNK):
            t0 = float32(0.0)
            t1 = float32(0.0)
            t2 = float32(0.0)
            t3 = float32(0.0)
            stop = start + CHUNK if start + CHUNK < k else k
            for term in range(start, stop):
                x = a[row, term]
                t0 += x * b[term, j0]
                t1 += x * b[term, j1]
                t2 += x * b[term, j2]
                t3 += x * b[term, j3]
            s0 += t0
            s1 += t1
            s2 += t2
            s3 += t3
        c[row, j3] = s3
        c[row, j2] = s2
        c[row, j1] = s1
        c[row, j0] = s0

    return body


def run(params: MatMulParams, launch: Launch, inputs: InputArrays) -> list[AnyArray]:
    """The output `c`."""
    c = np.zeros((params.m, params.n), dtype=np.float32)
    groups = -(-params.n // COLUMNS)
    job = (params.n, params.k, inputs["a"], inputs["b"])
    launch(define, params.m * groups, 2 * COLUMNS * params.k, job, (c,))
    return [c]


def run_cpu(
    params: MatMulParams, on_progress: Callable[[float], None], inputs: InputArrays
) -> list[AnyArray]:
    """The same by NumPy's BLAS."""
    c = np.empty((params.m, params.n), dtype=np.float32)
    rows = max(_CALL_FLOP // (2 * params.n * params.k), 1)
    for start in range(0, params.m, rows):
        part = slice(start, start + rows)
        # What is beyond float32 becomes an infinity, as on a GPU.
        with np.errstate(all="ignore"):
            np.matmul(inputs["a"][part], inputs["b"], out=c[part])
        on_progress(min((start + rows) / params.m, 1.0))
    return [c]
