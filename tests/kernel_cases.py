"""Something to run each kernel of `kernel_corpus` on: small enough for the simulator.

In:   a kernel's name.
Out:  a `Case`: arguments, launch, and for most what NumPy says that comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from agent.kernels.user import Launch
from coordinator.workloads.source import parse_source
from tests.kernel_corpus import CORPUS

Outputs = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One run of a kernel."""

    launch: Launch
    inputs: dict[str, Any] = field(default_factory=dict)
    scalars: dict[str, float] = field(default_factory=dict)
    #: Output → its shape.
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    #: What the outputs are, where that is said in NumPy.
    expected: Callable[[Case], Outputs] | None = None

    def arrays(self, name: str) -> dict[str, Any]:
        """The inputs, and outputs that begin as zeros."""
        source = parse_source(CORPUS[name])
        return self.inputs | {
            each.name: np.zeros(self.shapes.get(each.name, self.launch.extent), each.type.dtype)
            for each in source.outputs
        }


def _rng() -> np.random.Generator:
    return np.random.default_rng(7)


def f32(*shape: int) -> Any:
    return _rng().random(shape, np.float32)


def f64(*shape: int) -> Any:
    return _rng().random(shape)


def ints(dtype: str, low: int, high: int, *shape: int) -> Any:
    return _rng().integers(low, high, shape).astype(dtype)


def _convolved(case: Case) -> Outputs:
    image, mask = case.inputs["image"], case.inputs["mask"]
    around = np.pad(image, 1, mode="edge")
    h, w = image.shape
    return {
        "out": sum(mask[r, c] * around[r : r + h, c : c + w] for r in range(3) for c in range(3))
    }


def _medians(case: Case) -> Outputs:
    around = np.pad(case.inputs["image"], 1, mode="edge")
    h, w = case.inputs["image"].shape
    nine = np.stack([around[r : r + h, c : c + w] for r in range(3) for c in range(3)])
    return {"out": np.median(nine, axis=0)}


def _alive(case: Case) -> Outputs:
    old = case.inputs["old"].astype(int)
    near = sum(np.roll(old, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)) - old
    return {"new": (near == 3) | ((near == 2) & (old == 1))}


def _nearest(case: Case) -> Outputs:
    points, queries = case.inputs["points"], case.inputs["queries"]
    far = np.linalg.norm(queries[:, None] - points[None], axis=2)
    return {"nearest": far.argmin(axis=1), "far": far.min(axis=1)}


def _several(case: Case) -> Outputs:
    points, queries = case.inputs["points"], case.inputs["queries"]
    far = ((queries[:, None] - points[None]) ** 2).sum(axis=2)
    return {"index": far.argsort(axis=1, kind="stable")[:, :8]}


def _softmax(case: Case) -> Outputs:
    e = np.exp(case.inputs["x"] - case.inputs["x"].max(axis=1, keepdims=True))
    return {"out": e / e.sum(axis=1, keepdims=True)}


def _found(case: Case) -> Outputs:
    keys, wanted = case.inputs["sorted_keys"], case.inputs["wanted"]
    at = np.searchsorted(keys, wanted)
    hit = (at < keys.size) & (keys[np.minimum(at, keys.size - 1)] == wanted)
    return {"place": np.where(hit, at, -1)}


def _spectrum(case: Case) -> Outputs:
    # By the definition: the factors of `np.fft` are of extended precision, which not every library
    # leaves as it was.
    count = case.inputs["real"].size
    places = np.outer(np.arange(count), np.arange(count)) % count
    found = np.exp(-2j * np.pi * places / count) @ (case.inputs["real"] + 1j * case.inputs["imag"])
    return {"out_real": found.real, "out_imag": found.imag}


def _scanned(case: Case) -> Outputs:
    rows = case.inputs["x"].reshape(-1, 128).cumsum(axis=1)
    return {"out": rows.ravel(), "totals": rows[:, -1]}


def _smoothed(case: Case) -> Outputs:
    return {"out": np.convolve(case.inputs["x"], np.ones(7, np.float32), "same") / 7}


def _toured(case: Case) -> Outputs:
    x = case.inputs["x"]
    marks = np.bitwise_xor.reduce(x.astype(np.uint32))
    out = [x.sum(), -x.sum(), max(x.max(), 0), min(x.min(), 0), 1, case.launch.grid[0]]
    bits = sum(1 << i for i in {i % 32 for i in range(x.size)})
    return {"out": np.array(out), "mark": np.array([[bits, 0, marks]])}


def _collatz(case: Case) -> Outputs:
    def steps(n: int) -> int:
        return 0 if n == 1 else 1 + steps(n // 2 if n % 2 == 0 else 3 * n + 1)

    return {"longest": np.array([steps(i + 1) for i in range(case.launch.extent[0])])}


def _hashed(case: Case) -> Outputs:
    def fnv(row: Any) -> int:
        h = 14695981039346656037
        for byte in row.tolist():
            h = ((h ^ byte) * 1099511628211) % 2**64
        return h

    return {"out": np.array([fnv(row) for row in case.inputs["words"]], np.uint64)}


_SIGNS: Final = ints("uint64", 0, 2**63, 40)
_STARTS: Final = np.array([0, 2, 2, 5, 6], np.int32)
_COLUMNS: Final = np.array([0, 3, 1, 2, 3, 0], np.int32)
_SPARSE: Final = np.array([[1, 0, 0, 2], [0, 0, 0, 0], [0, 3, 4, 5], [6, 0, 0, 0]], np.float32)

CASES: Final[dict[str, Case]] = {
    "saxpy": Case(
        Launch(extent=(101,)), {"x": f32(101), "y": f32(101) + 1}, {"a": 3.0},
        expected=lambda c: {"out": 3 * c.inputs["x"] + c.inputs["y"]},
    ),
    "mandelbrot": Case(Launch(extent=(9, 11)), {}, {"left": -2.0, "top": 1.0, "step": 0.25}),
    "julia_f32": Case(Launch(extent=(9, 8)), {}, {"cr": -0.8, "ci": 0.156}),
    "matmul_rows": Case(
        Launch(extent=(5, 6)), {"a": f32(5, 7), "b": f32(7, 6)},
        expected=lambda c: {"c": c.inputs["a"] @ c.inputs["b"]},
    ),
    "monte_carlo_call": Case(
        Launch(extent=(40,)), {},
        {"seed": 2**63 + 5, "steps": 3, "spot": 100, "strike": 100, "rate": 0.05, "sigma": 0.2,
         "years": 1},
    ),
    "pi_darts": Case(Launch(extent=(20,)), {}, {"seed": 11, "darts": 9}),
    "nbody_forces": Case(Launch(extent=(12,)), {"bodies": f64(12, 4)}, shapes={"force": (12, 3)}),
    "knn_nearest": Case(
        Launch(extent=(9,)), {"points": f32(30, 3), "queries": f32(9, 3) + f32(9, 1)},
        expected=_nearest,
    ),
    "knn_several": Case(
        Launch(extent=(7,)), {"points": f32(30, 3), "queries": f32(7, 3) + f32(7, 1)},
        shapes={"index": (7, 8)}, expected=_several,
    ),
    "convolution": Case(
        Launch(extent=(8, 9)), {"image": f32(8, 9), "mask": f32(3, 3)}, expected=_convolved
    ),
    "median_of_nine": Case(
        Launch(extent=(6, 7)), {"image": ints("uint8", 0, 256, 6, 7)}, expected=_medians
    ),
    "grey": Case(Launch(extent=(5, 6)), {"image": ints("uint8", 0, 256, 5, 6, 3)}),
    "heat_step": Case(Launch(extent=(7, 8)), {"old": f32(7, 8)}, {"rate": 0.1}),
    "life": Case(Launch(extent=(9, 8)), {"old": ints("uint8", 0, 2, 9, 8)}, expected=_alive),
    "wave_3d": Case(
        Launch(extent=(4, 5, 6)), {"now": f32(4, 5, 6), "before": f32(4, 5, 6) / 2}, {"c": 0.2}
    ),
    "softmax_rows": Case(
        Launch(extent=(6,)), {"x": 9 * f32(6, 11)}, shapes={"out": (6, 11)}, expected=_softmax
    ),
    "layer_norm": Case(
        Launch(extent=(4,)), {"x": f32(4, 10), "gain": f32(10), "bias": f32(10)},
        {"epsilon": 1e-5}, shapes={"out": (4, 10)},
    ),
    "gelu": Case(Launch(extent=(50,)), {"x": 4 * f32(50) - 2}),
    "black_scholes": Case(
        Launch(extent=(20,)),
        {"spot": 80 + 40 * f64(20), "strike": 100 + f64(20), "t": 0.5 + f64(20),
         "v": 0.1 + f64(20)},
        {"r": 0.03},
    ),
    "fnv_hash": Case(
        Launch(extent=(12,)), {"words": ints("uint8", 0, 256, 12, 9)}, expected=_hashed
    ),
    "xorshift": Case(Launch(extent=(30,)), {"state": ints("uint32", 1, 2**32, 30)}, {"rounds": 5}),
    "bits": Case(
        Launch(extent=(40,)), {"x": _SIGNS, "y": ints("int32", -(2**31), 2**31, 40)},
        shapes={"out": (40, 4)},
    ),
    "prime_count": Case(
        Launch(extent=(10,)), {}, {"span": 10},
        expected=lambda _: {"counts": np.array([4, 4, 2, 2, 3, 2, 2, 3, 2, 1])},
    ),
    "collatz": Case(Launch(extent=(60,)), expected=_collatz),
    "histogram": Case(
        Launch(extent=(300,)), {"x": f32(300)}, {"low": 0.1, "high": 0.9}, shapes={"bins": (8,)}
    ),
    "bilinear": Case(Launch(extent=(9, 9)), {"image": f32(5, 5)}, {"scale": 0.45}),
    "ray_sphere": Case(Launch(extent=(8, 8)), {}, {"radius": 1.0}),
    "dft": Case(
        Launch(extent=(24,)), {"real": f64(24), "imag": f64(24) - 1}, expected=_spectrum
    ),
    "binary_search": Case(
        Launch(extent=(30,)),
        {"sorted_keys": np.sort(ints("int64", 0, 60, 25)), "wanted": ints("int64", 0, 60, 30)},
        shapes={"place": (30,)},
    ),
    "sparse_rows": Case(
        Launch(extent=(4,)),
        {"starts": _STARTS, "columns": _COLUMNS, "x": f32(4),
         "values": np.arange(1, 7, dtype=np.float32)},
        expected=lambda c: {"y": _SPARSE @ c.inputs["x"]},
    ),
    "pendulum": Case(
        Launch(extent=(8,)), {"start": f64(8)}, {"dt": 0.01, "steps": 20, "damping": 0.1},
        shapes={"out": (8, 2)},
    ),
    "first_below": Case(Launch(extent=(12,)), {"x": f32(12, 9)}, {"limit": 0.1}),
    "every_function": Case(
        Launch(extent=(16,)), {"x": 0.01 + 0.9 * f64(16)}, shapes={"out": (16, 7)}
    ),
    "every_random": Case(
        Launch(extent=(16,)), {}, {"seed": 2**64 - 3}, shapes={"words": (16, 2), "reals": (16, 6)}
    ),
    "block_sums": Case(
        Launch(grid=(2,), block=(256,)), {"x": f32(500)}, shapes={"sums": (2,)},
        expected=lambda c: {"sums": np.add.reduceat(c.inputs["x"], [0, 256])},
    ),
    "tiled_matmul": Case(
        Launch(grid=(2, 1), block=(16, 16)), {"a": f32(11, 20), "b": f32(20, 23)},
        shapes={"c": (11, 23)}, expected=lambda c: {"c": c.inputs["a"] @ c.inputs["b"]},
    ),
    "inclusive_scan": Case(
        Launch(grid=(3,), block=(128,)), {"x": ints("int64", -99, 99, 384)},
        shapes={"out": (384,), "totals": (3,)}, expected=_scanned,
    ),
    "bitonic_sort": Case(
        Launch(grid=(1,), block=(256,)), {"keys": ints("uint32", 0, 2**32, 256)},
        shapes={"out": (256,)}, expected=lambda c: {"out": np.sort(c.inputs["keys"])},
    ),
    "transpose": Case(
        Launch(grid=(2, 1), block=(32, 8)), {"x": f32(29, 50)}, shapes={"out": (50, 29)},
        expected=lambda c: {"out": c.inputs["x"].T},
    ),
    "block_histogram": Case(
        Launch(grid=(2,), block=(64,)), {"x": ints("uint8", 0, 256, 300)}, shapes={"bins": (64,)},
        expected=lambda c: {"bins": np.bincount(c.inputs["x"] % 64, minlength=64)},
    ),
    "dynamic_reverse": Case(
        Launch(grid=(3,), block=(32,), shared=256), {"x": f64(96)}, shapes={"out": (96,)},
        expected=lambda c: {"out": c.inputs["x"].reshape(3, 32)[:, ::-1].ravel()},
    ),
    "stencil_1d": Case(
        Launch(grid=(2,), block=(128,)), {"x": f32(250)}, shapes={"out": (250,)},
        expected=_smoothed,
    ),
    "atomic_tour": Case(
        Launch(grid=(2,), block=(64,)), {"x": ints("int32", -99, 99, 120)},
        shapes={"out": (6,), "mark": (1, 3)}, expected=_toured,
    ),
    "grid_stride_3d": Case(
        Launch(grid=(1, 2, 1), block=(4, 2, 2)), {"x": f32(3, 5, 7)}, {"scale": 2.0},
        {"out": (3, 5, 7)}, expected=lambda c: {"out": 2 * c.inputs["x"]},
    ),
}  # fmt: skip
CASES["binary_search"] = Case(
    CASES["binary_search"].launch, CASES["binary_search"].inputs, expected=_found
)
