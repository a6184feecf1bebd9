"""Kernels agree with the NumPy references: on the CPU, in the CUDA simulator, and on a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from agent import kernels
from agent.kernels import Backend, _cpu
from coordinator.limits import INTEGER_MAX
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Sample, Spec
from coordinator.verification.verdict import Verdict, verify
from coordinator.workloads.catalogue import KINDS, get
from coordinator.workloads.hashsearch import BLOCK, leading_zeros
from coordinator.workloads.montecarlo import MonteCarlo, closed_form, estimate

OPTION: dict[str, Any] = {
    "spot": 100.0, "strike": 105.0, "rate": 0.03, "volatility": 0.4, "maturity_years": 2.0,
    "option": "call", "paths": 40_001, "steps": 2, "seed": INTEGER_MAX,
}  # fmt: skip
SEARCH: dict[str, Any] = {
    "prefix": "616263", "start": INTEGER_MAX, "count": 2 * BLOCK + 77, "target_bits": 12,
}  # fmt: skip
PICTURE: dict[str, Any] = {"width": 75, "height": 50, "samples": 3, "scene": "spiral", "seed": 9}
#: Small jobs whose last blocks are incomplete.
JOBS = {"montecarlo": OPTION, "hashsearch": SEARCH, "render": PICTURE}
#: Jobs that the simulator runs in a fraction of a second.
TINY = {
    "montecarlo": OPTION | {"paths": 301, "option": "put"},
    "hashsearch": SEARCH | {"count": 70, "target_bits": 3},
    "render": PICTURE | {"width": 12, "height": 8, "samples": 2},
}
#: Options that look at the way of the price.
STYLES: dict[str, dict[str, Any]] = {
    "asian": OPTION | {"style": "asian", "steps": 7},
    "up and out": OPTION | {"style": "barrier", "barrier": 150.0, "steps": 7},
    "up and in": OPTION | {"style": "barrier", "barrier": 150.0, "knock": "in", "steps": 7},
    "down and out": OPTION | {"style": "barrier", "barrier": 80.0, "steps": 7, "option": "put"},
    "down and in": OPTION | {"style": "barrier", "barrier": 80.0, "knock": "in", "steps": 7},
}
EVERY_BLOCK = Sample(rate=1.0, floor=1)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile once, outside of the tests' time."""
    kernels.warm("cpu")


def run(kind: str, params: dict[str, Any], backend: Backend = "cpu") -> list[AnyArray]:
    return kernels.run(kind, json.dumps(params).encode(), backend)


def judge(kind: str, params: dict[str, Any], outputs: list[AnyArray]) -> Verdict:
    """The verdict on outputs when every block is recomputed."""
    raw = msgspec.Raw(json.dumps(params).encode())
    spec = Spec(kind=kind, params=raw, verify=EVERY_BLOCK)
    return verify(spec, get(kind), outputs, bytes(32))


def python(script: str, *flags: str, **environment: str) -> str:
    """Run a script in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", script],
        env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_no_compiler() -> None:
    loaded = python("import sys, agent.kernels; print('numba' in sys.modules)")

    assert loaded.strip() == "False"


def test_every_kind_of_ours_has_a_kernel() -> None:
    assert set(kernels.KINDS) == set(KINDS) - {"command", "kernel"}
    with pytest.raises(Refusal, match="unknown_kind"):
        kernels.run("command", b'{"command":"true"}', "cpu")


@pytest.mark.parametrize("kind", JOBS)
def test_every_block_of_a_cpu_result_agrees_with_the_reference(kind: str) -> None:
    verdict = judge(kind, JOBS[kind], run(kind, JOBS[kind]))

    assert verdict.state == "accepted", verdict.reason


@pytest.mark.parametrize("kind", JOBS)
def test_the_same_job_has_the_same_bits_twice(kind: str) -> None:
    first, second = run(kind, TINY[kind]), run(kind, TINY[kind])

    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@settings(max_examples=15, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "spot": st.floats(1e-3, 1e9),
            "strike": st.floats(1e-3, 1e9),
            "rate": st.floats(-1, 1),
            "volatility": st.floats(1e-3, 3),
            "maturity_years": st.floats(1e-3, 50),
            "option": st.sampled_from(["call", "put"]),
            "paths": st.integers(1, 2000),
            "steps": st.sampled_from([1, 2, 100]),
            "seed": st.integers(0, INTEGER_MAX),
        }
    )
)
def test_any_option_agrees_with_the_reference(params: dict[str, Any]) -> None:
    verdict = judge("montecarlo", params, run("montecarlo", params))

    assert verdict.state == "accepted", verdict.reason


@pytest.mark.parametrize("style", STYLES)
def test_every_block_of_a_path_dependent_option_agrees(style: str) -> None:
    verdict = judge("montecarlo", STYLES[style], run("montecarlo", STYLES[style]))

    assert verdict.state == "accepted", verdict.reason


@pytest.mark.parametrize("side", ["up", "down"])
def test_an_option_that_lives_and_one_that_dies_make_a_european_one(side: str) -> None:
    barrier = 150.0 if side == "up" else 80.0
    job = OPTION | {"steps": 7}
    parts = [
        run("montecarlo", job | {"style": "barrier", "barrier": barrier, "knock": knock})[0]
        for knock in ("in", "out")
    ]

    assert all(part[:, 0].min() > 0 for part in parts)
    np.testing.assert_allclose(sum(parts), run("montecarlo", job)[0], rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "spot": st.floats(1, 1e3),
            "strike": st.floats(1, 1e3),
            "rate": st.floats(-1, 1),
            "volatility": st.floats(1e-3, 3),
            "maturity_years": st.floats(1e-3, 50),
            "option": st.sampled_from(["call", "put"]),
            "paths": st.integers(1, 2000),
            "steps": st.sampled_from([1, 2, 100]),
            "seed": st.integers(0, INTEGER_MAX),
        }
    ),
    st.sampled_from(
        [
            {"style": "asian"},
            {"style": "barrier", "barrier": 1e3 + 1, "knock": "in"},
            {"style": "barrier", "barrier": 0.5},
        ]
    ),
)
def test_any_path_dependent_option_agrees(params: dict[str, Any], style: dict[str, Any]) -> None:
    verdict = judge("montecarlo", params | style, run("montecarlo", params | style))

    assert verdict.state == "accepted", verdict.reason


@settings(max_examples=15, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "prefix": st.binary(max_size=32).map(bytes.hex),
            "start": st.integers(0, INTEGER_MAX),
            "count": st.integers(1, 1500),
            "target_bits": st.integers(1, 16),
        }
    )
)
def test_any_search_agrees_with_hashlib(params: dict[str, Any]) -> None:
    verdict = judge("hashsearch", params, run("hashsearch", params))

    assert verdict.state == "accepted", verdict.reason


@settings(max_examples=10, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "width": st.integers(1, 40),
            "height": st.integers(1, 40),
            "samples": st.integers(1, 4),
            "scene": st.sampled_from(["marbles", "pyramid", "spiral"]),
            "angle": st.floats(-360, 360),
            "seed": st.integers(0, INTEGER_MAX),
        }
    )
)
def test_any_picture_agrees_with_the_reference(params: dict[str, Any]) -> None:
    verdict = judge("render", params, run("render", params))

    assert verdict.state == "accepted", verdict.reason


@pytest.mark.parametrize("kind", JOBS)
def test_a_kernel_says_how_much_of_its_work_is_done(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cpu, "_LAUNCH_FLOP", 1)
    monkeypatch.setattr(_cpu, "_COUNT_MIN", 16)
    heard: list[float] = []

    watched = kernels.run(kind, json.dumps(JOBS[kind]).encode(), "cpu", heard.append)

    assert len(heard) > 5
    assert 0 < heard[0] < 0.3
    assert sorted(heard) == heard
    assert 0.9 < heard[-1] <= 1
    for one, other in zip(watched, run(kind, JOBS[kind]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", JOBS)
def test_one_corrupted_block_is_caught_when_all_are_checked(kind: str) -> None:
    outputs = run(kind, JOBS[kind])
    workload, params = get(kind), get(kind).decode(json.dumps(JOBS[kind]).encode())
    last = workload.blocks(params) - 1
    extracted = workload.extract(params, outputs, last)[-1]
    extracted[...] = extracted[::-1] if kind == "hashsearch" else extracted // 2

    assert judge(kind, JOBS[kind], outputs).state == "rejected"


def test_the_first_nonce_found_is_the_first_that_hashlib_finds() -> None:
    params = get("hashsearch").decode(json.dumps(SEARCH).encode())
    first = next(
        n for n in range(SEARCH["start"], SEARCH["start"] + SEARCH["count"])
        if leading_zeros(params.hash_of(n)) >= SEARCH["target_bits"]
    )  # fmt: skip

    assert run("hashsearch", SEARCH)[0][0] == first


@pytest.mark.parametrize("side", ["call", "put"])
def test_a_million_paths_price_within_four_standard_errors(side: str) -> None:
    job = OPTION | {"paths": 2**20, "steps": 1, "option": side}
    params = MonteCarlo().decode(json.dumps(job).encode())

    price, error = estimate(params, run("montecarlo", job))

    assert 0 < error < 0.002 * 105
    assert abs(price - closed_form(params)) < 4 * error


# ---- CUDA -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def has_gpu() -> bool:
    """Whether CUDA works; asked in another process, for this one must not load it."""
    script = "from agent.kernels import _cuda; print(_cuda.why_not() == '')"
    return python(script).strip() == "True"


SIMULATED = """
import json
from agent import kernels
from coordinator.protocol.spec import Sample, Spec
from coordinator.verification.verdict import verify
from coordinator.workloads.catalogue import get
for kind, params in json.loads({jobs!r}):
    raw = json.dumps(params).encode()
    spec = Spec(kind=kind, params=raw, verify=Sample(rate=1.0, floor=1))
    heard = []
    verdict = verify(spec, get(kind), kernels.run(kind, raw, "cuda", heard.append), bytes(32))
    print(kind, verdict.state if heard else "no progress", verdict.reason)
"""

#: Compiles every kernel for a GPU that is not there; a count that is not 0 brings the second pass.
COMPILED = """
import importlib
import numba, numpy
from agent import kernels
from agent.kernels import _cuda
from coordinator.workloads.catalogue import get
try:
    importlib.import_module("numba.cuda.cudadrv.nvvm").NVVM()
except Exception as error:
    print("no NVVM:", type(error).__name__)
    raise SystemExit
class Device:
    compute_capability = (8, 6)
importlib.import_module("numba.cuda.dispatcher").get_current_device = lambda: Device
def launch(define, count, flop, inputs, outputs):
    arguments = numba.types.Tuple(tuple(numba.typeof(a) for a in inputs + outputs))
    signature = (numba.int64, numba.int64, arguments)
    ptx, _ = _cuda.cuda.compile_ptx(_cuda.entry(define), signature, cc=(8, 6))
    double = any(op in ptx for op in ("fma.rn.f64", "add.f64", "sqrt.rn.f64", "div.rn.f64"))
    print(define.__module__.rpartition(".")[2], define.__name__, double)
    for output in outputs:
        if output.dtype == numpy.int64:
            output[0] = 1
for kind, raw in kernels._TINY:
    params = get(kind).decode(raw)
    given = kernels.zeros_for(kind, raw)
    module = importlib.import_module(f"agent.kernels.{kind}")
    module.run(params, launch, *([given] if given else []))
"""


@pytest.mark.slow
def test_the_cuda_text_agrees_with_the_reference_in_the_simulator() -> None:
    styles = ("asian", "down and in")
    options = [("montecarlo", STYLES[style] | {"paths": 101, "steps": 3}) for style in styles]
    jobs = [*TINY.items(), *options]
    # Python's threads do not wrap integers silently: NumPy warns of what CUDA does by nature.
    printed = python(
        SIMULATED.format(jobs=json.dumps(jobs)),
        "-W", "ignore::RuntimeWarning", NUMBA_ENABLE_CUDASIM="1",
    )  # fmt: skip

    assert printed.split("\n")[:-1] == [f"{kind} accepted " for kind, _ in jobs]


@pytest.mark.slow
def test_every_kernel_compiles_for_a_gpu_that_is_not_there() -> None:
    printed = python(COMPILED).split("\n")[:-1]
    if printed[0].startswith("no NVVM"):
        pytest.skip(printed[0])

    # Only the option's price is computed in float64, which most GPUs do slowly.
    assert printed == [
        "hashsearch define_search False", "hashsearch define_list False",
        "matmul define False",
        "montecarlo define True", "option_paths define True", "render define False",
    ]  # fmt: skip


def test_without_a_gpu_a_cuda_job_is_refused_with_the_reason(has_gpu: bool) -> None:
    if has_gpu:
        pytest.skip("there is a GPU")
    with pytest.raises(Refusal, match="agent_error: no CUDA device"):
        run("render", TINY["render"], "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", JOBS)
def test_every_block_of_a_gpu_result_agrees_with_the_reference(kind: str, has_gpu: bool) -> None:
    if not has_gpu:
        pytest.skip("no GPU")
    verdict = judge(kind, JOBS[kind], run(kind, JOBS[kind], "cuda"))

    assert verdict.state == "accepted", verdict.reason
