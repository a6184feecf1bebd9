"""The random functions of kernels: published words, exact uniforms, normals of the right moments.

The text is run here as Python and by Numba; what agents make of it is their own test's matter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
import pytest

from coordinator.workloads.allowed import RANDOM
from coordinator.workloads.philox import philox, split_seed
from coordinator.workloads.prelude import PRELUDE, prelude_of

VECTORS: Final = json.loads((Path(__file__).parent / "vectors" / "philox.json").read_text())
WORDS: Final = 2**32 - 1
SEED, INDEX, STEP = 0x0123456789ABCDEF, 5_000_000_000, 7


def as_python() -> dict[str, Any]:
    """The functions with whole numbers that wrap as their types do."""
    names: dict[str, Any] = {
        "device": lambda function: function,
        "u32": lambda x: int(x) & WORDS,
        "u64": lambda x: int(x) & (2**64 - 1),
        "f32": np.float32,
        "f64": float,
        "math": math,
    }
    exec(compile(prelude_of(tuple(PRELUDE)), "prelude", "exec"), names)
    return names


def as_numba() -> dict[str, Any]:
    names: dict[str, Any] = {
        "device": numba.njit(error_model="numpy"),
        "u32": numba.uint32,
        "u64": numba.uint64,
        "f32": numba.float32,
        "f64": numba.float64,
        "math": math,
    }
    exec(compile(prelude_of(tuple(PRELUDE)), "prelude", "exec"), names)
    return names


PYTHON: Final = as_python()
NUMBA: Final = as_numba()


def word(text: str) -> int:
    return int(text, 16)


@pytest.mark.parametrize("names", [PYTHON, NUMBA], ids=["python", "numba"])
def test_the_words_are_the_published_ones(names: dict[str, Any]) -> None:
    for vector in VECTORS["vectors"]:
        c0, c1, c2, c3 = map(word, vector["counter"])
        k0, k1 = map(word, vector["key"])
        numbers = (k0 | k1 << 32, c0 | c1 << 32, c2 | c3 << 32)

        assert [int(w) for w in names["philox"](*map(np.uint64, numbers))] == [
            word(text) for text in vector["words"]
        ]


def reference() -> list[int]:
    counter = (INDEX & WORDS, INDEX >> 32, STEP, 0)
    words = philox(tuple(np.array([c], np.uint64) for c in counter), split_seed(SEED))  # type: ignore[arg-type]
    return [int(each[0]) for each in words]


def call(names: dict[str, Any], name: str) -> Any:
    function: Callable[..., Any] = names[name]
    return function(np.uint64(SEED), np.uint64(INDEX), np.uint64(STEP))


@pytest.mark.parametrize("names", [PYTHON, NUMBA], ids=["python", "numba"])
def test_whole_numbers_and_uniforms_are_exact(names: dict[str, Any]) -> None:
    a, b, _, _ = reference()

    assert call(names, "random_u32") == a
    assert call(names, "random_u64") == a | b << 32
    assert call(names, "uniform_f32") == (a >> 8) * 2.0**-24
    assert call(names, "uniform_f64") == ((a | b << 32) >> 11) * 2.0**-53
    assert names["unit_f32"](np.uint32(WORDS)) == 1 - 2.0**-24
    assert names["unit_f32"](np.uint32(0)) == 0


@pytest.mark.parametrize("names", [PYTHON, NUMBA], ids=["python", "numba"])
def test_a_normal_is_box_mullers_first(names: dict[str, Any]) -> None:
    a, b, _, _ = reference()
    radius = math.sqrt(-2 * math.log((a + 0.5) / 2**32))
    expected = radius * math.cos(2 * math.pi * b / 2**32)

    assert call(names, "normal_f64") == pytest.approx(expected, rel=1e-12)
    assert call(names, "normal_f32") == pytest.approx(expected, abs=1e-5)


def test_normals_have_their_moments_and_no_infinity() -> None:
    @numba.njit(error_model="numpy")
    def many(draw: Any, out: Any) -> None:  # pragma: no cover - Numba compiles it
        for i in range(out.size):
            out[i] = draw(np.uint64(1), np.uint64(i), np.uint64(0))

    for name in ("normal_f32", "normal_f64"):
        drawn = np.empty(2**18)
        many(NUMBA[name], drawn)

        assert np.isfinite(drawn).all()
        # Four standard errors of a mean, a variance and a kurtosis of 2^18 normals.
        assert abs(drawn.mean()) < 4 / 512
        assert abs(drawn.var() - 1) < 4 * math.sqrt(2) / 512
        assert abs((drawn**4).mean() - 3) < 4 * math.sqrt(96) / 512


def test_the_least_and_greatest_words_give_finite_normals() -> None:
    """A logarithm of 0 would be an infinity that one job in 4 billion meets."""
    least = math.log(np.float32(0) + np.float32(2.0**-25))
    greatest = math.log(np.float32(1 - 2.0**-24) + np.float32(2.0**-25))

    assert math.isfinite(least)
    assert greatest <= 0


def test_every_random_function_is_listed_and_defined() -> None:
    assert set(RANDOM) == set(PRELUDE)


def test_results_have_the_types_that_the_page_says() -> None:
    types = {"u32": "uint32", "u64": "uint64", "f32": "float32", "f64": "float64"}
    for name, function in RANDOM.items():
        if name == "philox":
            continue
        given: tuple[np.generic, ...] = (
            (np.uint32(1),) if name == "unit_f32" else (np.uint64(1), np.uint64(2), np.uint64(3))
        )
        NUMBA[name](*given)
        returned = {str(c.signature.return_type) for c in NUMBA[name].overloads.values()}

        assert types[function.result] in returned, name
