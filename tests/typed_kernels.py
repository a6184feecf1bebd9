"""Kernels as a strict type checker takes them: an example that mypy reads with the rest."""

from __future__ import annotations

import math
from typing import Literal

import hypernode as hn
from hypernode import cuda

TILE = 16
GAIN = hn.f32(0.5)


@hn.device
def smooth(a: hn.f32, b: hn.f32) -> hn.f32:
    return (a + b) * GAIN


@hn.device
def longest(x: hn.In[hn.f32, Literal[2]], i: hn.i64) -> tuple[hn.f32, hn.i64]:
    best = hn.f32(0.0)
    place = 0
    for k in range(x.shape[1]):
        if x[i, k] > best:
            best = x[i, k]
            place = k
    return best, place


@hn.device
def i32_of(x: hn.i64) -> hn.i32:
    return hn.i32(x)


@hn.kernel
def blur(i: hn.Index, a: hn.f32, x: hn.In[hn.f32], out: hn.Out[hn.f32]) -> None:
    out[i] = a * smooth(x[i], x[(i + 1) % len(x)]) + hn.f32(math.sqrt(2.0))


@hn.kernel(fastmath=True)
def rows(
    i: hn.Index,
    seed: hn.u64,
    x: hn.In[hn.f32, Literal[2]],
    best: hn.Out[hn.f32],
    place: hn.Out[hn.i64],
) -> None:
    window = cuda.local.array(4, hn.f32)
    a, b, _, _ = hn.philox(seed, i, 0)
    window[0] = hn.unit_f32(a) + hn.unit_f32(b)
    found, place[i] = longest(x, i)
    best[i] = found + window[0] * hn.f32(1e-6)


@hn.kernel
def tiles(x: hn.In[hn.f32, Literal[2]], sums: hn.Out[hn.f64], n: hn.Out[hn.i32]) -> None:
    part = cuda.shared.array((TILE, TILE), hn.f64)
    j, i = cuda.grid(2)
    h, w = x.shape
    part[cuda.threadIdx.y, cuda.threadIdx.x] = x[i, j] if i < h and j < w else 0.0
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        cuda.atomic.add(sums, cuda.blockIdx.x, part[cuda.threadIdx.y, 0])
        cuda.atomic.max(n, 0, i32_of(cuda.popc(i)))
