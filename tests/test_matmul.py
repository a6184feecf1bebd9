"""matmul: the definition, its tolerance, and that the kernels agree with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st

from agent import kernels
from agent.kernels import _cpu, matmul as kernel
from coordinator.limits import BLOCKS_MAX, INPUTS_BYTES_MAX, OUTPUT_BYTES_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.inputs import Input
from coordinator.protocol.spec import Sample, Spec
from coordinator.verification.verdict import Verdict, verify
from coordinator.workloads.matmul import EXTENT_MAX, MatMul, MatMulParams
from coordinator.workloads.workload import InputArrays

F32 = npt.NDArray[np.float32]
WORKLOAD = MatMul()
HASH = "ab" * 32
ROOT = Path(__file__).parents[1]


def params_of(m: int, k: int, n: int) -> MatMulParams:
    return WORKLOAD.decode(json.dumps({"m": m, "k": k, "n": n}).encode())


def matrices(m: int, k: int, n: int, seed: int = 0) -> dict[str, F32]:
    rng = np.random.default_rng(seed)
    return {
        "a": rng.standard_normal((m, k), dtype=np.float32),
        "b": rng.standard_normal((k, n), dtype=np.float32),
    }


def judge(params: MatMulParams, inputs: InputArrays, c: npt.NDArray[Any]) -> Verdict:
    """The verdict when every block is computed again."""
    raw = msgspec.Raw(msgspec.json.encode(params))
    spec = Spec(kind="matmul", params=raw, verify=Sample(rate=1.0, floor=1))
    return verify(spec, WORKLOAD, [c], bytes(32), inputs)


def computed(params: MatMulParams, inputs: InputArrays) -> F32:
    (c,) = kernels.run("matmul", msgspec.json.encode(params), "cpu", inputs=inputs)
    return c


def by_body(params: MatMulParams, inputs: InputArrays) -> F32:
    """By the text that a GPU runs, compiled for the processor."""
    (c,) = kernel.run(params, _cpu.launch, inputs)
    return c


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 150), st.integers(1, 700), st.integers(1, 150), st.integers(0, 9))
def test_both_kernels_agree_with_the_definition_on_any_shape(
    m: int, k: int, n: int, seed: int
) -> None:
    params, inputs = params_of(m, k, n), matrices(m, k, n, seed)

    for c in (computed(params, inputs), by_body(params, inputs)):
        assert judge(params, inputs, c) == Verdict("accepted", checked=WORKLOAD.blocks(params))


def test_the_last_blocks_of_a_large_product_are_checked_too() -> None:
    params, inputs = params_of(130, 70, 257), matrices(130, 70, 257)
    c = computed(params, inputs)
    assert WORKLOAD.blocks(params) == 6

    for place in ((0, 0), (129, 256), (129, 0), (0, 256), (127, 128)):
        wrong = c.copy()
        wrong[place] += 1e-3

        assert "1 elements differ" in judge(params, inputs, wrong).reason
        wrong[place] = np.nan
        assert judge(params, inputs, wrong).state == "rejected"


def test_sums_in_the_worst_order_are_within_the_tolerance() -> None:
    """One term after the other, where every rounding goes the same way."""
    k = 4096
    inputs = {"a": np.full((1, k), 0.1, np.float32), "b": np.full((k, 1), 0.1, np.float32)}
    total = np.float32(0)
    for _ in range(k):
        total += np.float32(0.1) * np.float32(0.1)
    params = params_of(1, k, 1)

    assert judge(params, inputs, np.full((1, 1), total)).state == "accepted"
    assert judge(params, inputs, np.full((1, 1), total * np.float32(1.001))).state == "rejected"


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_a_submitters_own_infinities_fail_no_honest_host(value: float) -> None:
    params, inputs = params_of(20, 30, 20), matrices(20, 30, 20)
    inputs["a"][3, 4] = value
    inputs["b"][4] = 2
    c = computed(params, inputs)
    assert judge(params, inputs, c).state == "accepted"

    # In its own row anything goes; everywhere else nothing does.
    c[3] = 7
    assert judge(params, inputs, c).state == "accepted"
    c[4, 0] += 1
    assert judge(params, inputs, c).state == "rejected"


def test_numbers_below_the_smallest_normal_one_may_vanish() -> None:
    inputs = {"a": np.full((2, 9), 1e-30, np.float32), "b": np.full((9, 2), 1e-20, np.float32)}

    assert judge(params_of(2, 9, 2), inputs, np.zeros((2, 2), np.float32)).state == "accepted"


def test_a_result_of_another_type_or_shape_is_rejected() -> None:
    params, inputs = params_of(2, 3, 4), matrices(2, 3, 4)
    c = computed(params, inputs)

    assert "type float64" in judge(params, inputs, c.astype(np.float64)).reason
    assert "shape (4, 2)" in judge(params, inputs, c.T.copy()).reason


def test_inputs_have_the_shapes_that_the_parameters_say() -> None:
    params = params_of(2, 3, 4)
    a, b = Input("float32", (2, 3), sha256=HASH), Input("float32", (3, 4), sha256=HASH)

    WORKLOAD.check_inputs(params, {"b": b, "a": a})
    with pytest.raises(Refusal, match=r"input b has shape \(2, 3\), not \(3, 4\)"):
        WORKLOAD.check_inputs(params, {"a": a, "b": a})
    with pytest.raises(Refusal, match="input b is missing"):
        kernels.run("matmul", b'{"m":2,"k":3,"n":4}', "cpu", inputs={"a": matrices(2, 3, 4)["a"]})
    with pytest.raises(Refusal, match="input a is missing"):
        kernels.run("matmul", b'{"m":2,"k":3,"n":4}', "cpu")


def test_the_work_is_what_a_product_takes() -> None:
    work = WORKLOAD.work(params_of(10, 20, 30))

    assert (work.flop, work.bytes) == (2 * 10 * 20 * 30, 4 * (200 + 600 + 300))


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (EXTENT_MAX, 1024, 1024),
        (1024, 1024, EXTENT_MAX),
        (8192, 8192, 8192),
        (1024, EXTENT_MAX, 1024),
        (EXTENT_MAX, 1, 1),
        (1, 1, EXTENT_MAX),
    ],
)
def test_the_largest_products_stay_within_every_bound(m: int, k: int, n: int) -> None:
    params = params_of(m, k, n)

    assert 0 < WORKLOAD.blocks(params) <= BLOCKS_MAX
    assert 4 * m * n <= OUTPUT_BYTES_MAX
    assert 4 * (m * k + k * n) <= INPUTS_BYTES_MAX
    assert params.tile**2 * params.k <= 2**25


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"m": 0, "k": 1, "n": 1}, "m"),
        ({"m": 1, "k": EXTENT_MAX + 1, "n": 1}, "k"),
        ({"m": 1, "k": 1}, "n"),
        ({"m": EXTENT_MAX, "k": 1025, "n": 1}, "`a` has more than"),
        ({"m": 1, "k": 1025, "n": EXTENT_MAX}, "`b` has more than"),
        ({"m": EXTENT_MAX, "k": 1, "n": 1025}, "`c` has more than"),
    ],
)
def test_a_product_beyond_the_limits_is_refused(params: dict[str, int], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        WORKLOAD.decode(json.dumps(params).encode())


def test_a_product_says_how_far_it_is_and_can_be_stopped() -> None:
    class Stop(BaseException):
        """What a worker raises from its `on_progress`."""

    heard: list[float] = []

    def stop(progress: float) -> None:
        heard.append(progress)
        raise Stop

    inputs = matrices(4, 8, 8)
    kernels.run("matmul", b'{"m":4,"k":8,"n":8}', "cpu", heard.append, inputs)
    with pytest.raises(Stop):
        kernels.run("matmul", b'{"m":4,"k":8,"n":8}', "cpu", stop, inputs)

    assert heard == [1.0, 1.0]


SIMULATED = """
import numpy as np
from agent import kernels
from coordinator.protocol.spec import Sample, Spec
from coordinator.verification.verdict import verify
from coordinator.workloads.catalogue import get
rng = np.random.default_rng(0)
raw = b'{"m":7,"k":300,"n":9}'
inputs = {
    "a": rng.standard_normal((7, 300), dtype=np.float32),
    "b": rng.standard_normal((300, 9), dtype=np.float32),
}
(c,) = kernels.run("matmul", raw, "cuda", None, inputs)
spec = Spec("matmul", raw, verify=Sample(1.0, 1))
print(verify(spec, get("matmul"), [c], bytes(32), inputs).state)
"""


@pytest.mark.slow
def test_the_cuda_text_agrees_with_the_definition_in_the_simulator() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("accepted\n", 0), done.stderr
