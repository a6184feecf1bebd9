"""The kind `kernel`: what of a job's parameters fits the kernel's text, and what does not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from coordinator.limits import SPEC_BYTES_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.inputs import Input
from coordinator.protocol.spec import Unverified
from coordinator.workloads.kernel import Kernel, KernelParams, scalar_values
from coordinator.workloads.kernel_limits import SOURCE_BYTES_MAX
from coordinator.workloads.workload import Work
from tests.kernel_corpus import BLOCKS, ELEMENT

KERNEL = Kernel()

SAXPY: dict[str, Any] = {
    "source": ELEMENT["saxpy"],
    "scalars": {"a": 2.0},
    "outputs": {"out": [1000]},
    "extent": [1000],
}
SUMS: dict[str, Any] = {
    "source": BLOCKS["block_sums"],
    "outputs": {"sums": [4]},
    "grid": [4],
    "block": [256],
}
REVERSE: dict[str, Any] = {
    "source": BLOCKS["dynamic_reverse"],
    "outputs": {"out": [512]},
    "grid": [2, 1],
    "block": [256],
    "shared": 2048,
}
MANY = """@kernel
def many(i, a: i32, b: u64, c: f32, d: f64, e: u8, x: In[f32, 2], out: Out[f32, 2], at: Out[i64]):
    out[i, 0] = a + b + c + d + e + x[0, 0]
    at[i] = i
"""


def decode(params: dict[str, Any], **changes: Any) -> KernelParams:
    merged = {**params, **changes}
    return KERNEL.decode(json.dumps({k: v for k, v in merged.items() if v is not None}).encode())


def test_a_job_of_a_kernel_says_what_it_takes_and_gives() -> None:
    params = decode(SAXPY)

    assert [(s.name, s.dtype, s.shape) for s in KERNEL.inputs(params)] == [
        ("x", "float32", (None,)),
        ("y", "float32", (None,)),
    ]
    assert [(s.name, s.dtype, s.shape) for s in KERNEL.schema(params)] == [
        ("out", "float32", (1000,))
    ]
    assert scalar_values(params) == {"a": np.float32(2.0)}
    assert params.launch.extent == (1000,)


def test_a_job_of_blocks_has_three_dimensions_of_each() -> None:
    launch = decode(REVERSE).launch

    assert launch.blocks == (2, 1, 1)
    assert launch.threads == (256, 1, 1)
    assert launch.shared == 2048


def test_it_is_timed_and_not_verified_and_needs_a_sandbox() -> None:
    params = decode(SUMS)

    assert KERNEL.is_timed
    assert KERNEL.sandbox == 1
    assert KERNEL.default_policy == Unverified()
    assert KERNEL.work(params) == Work(0, 0)
    assert KERNEL.blocks(params) == 0
    with pytest.raises(AssertionError, match="no blocks"):
        KERNEL.reference(params, 0)


def test_outputs_may_hold_what_is_not_finite() -> None:
    params = decode(SAXPY, outputs={"out": [2]})

    KERNEL.check_schema(params, [np.array([np.nan, np.inf], np.float32)])
    with pytest.raises(Refusal, match="out has type float64"):
        KERNEL.check_schema(params, [np.zeros(2)])
    with pytest.raises(Refusal, match="out has shape"):
        KERNEL.check_schema(params, [np.zeros(3, np.float32)])


def test_inputs_are_those_of_the_signature() -> None:
    params = decode(SAXPY)
    x = Input("float32", (1,), data=b"\0" * 4)

    KERNEL.check_inputs(params, {"x": x, "y": x})
    with pytest.raises(Refusal, match="input y is missing"):
        KERNEL.check_inputs(params, {"x": x})
    with pytest.raises(Refusal, match="has type float64"):
        KERNEL.check_inputs(params, {"x": x, "y": Input("float64", (1,), data=b"\0" * 8)})
    with pytest.raises(Refusal, match="has shape"):
        KERNEL.check_inputs(params, {"x": x, "y": Input("float32", (1, 1), data=b"\0" * 4)})


def test_scalars_become_their_types() -> None:
    scalars = {"a": -5, "b": "18446744073709551615", "c": "-inf", "d": 0.1, "e": 255}
    params = decode(
        {"source": MANY, "outputs": {"out": [3, 1], "at": [3]}, "extent": [3]}, scalars=scalars
    )

    assert scalar_values(params) == {
        "a": np.int32(-5),
        "b": np.uint64(2**64 - 1),
        "c": np.float32("-inf"),
        "d": np.float64(0.1),
        "e": np.uint8(255),
    }


GOOD = {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("a", 2**31, "no i32 holds 2147483648"),
        ("a", -(2**31) - 1, "no i32 holds"),
        ("a", 1.0, "is of i32, not '1.0'"),
        ("a", "1e3", "is of i32"),
        ("a", "\uff11", "is of i32"),
        ("a", "1_0", "is of i32"),
        ("a", "", "is of i32"),
        ("a", "--1", "is of i32"),
        ("b", -1, "no u64 holds"),
        ("b", "18446744073709551616", "no u64 holds"),
        ("b", "9" * 30, "bad_spec"),
        ("c", 1e39, "no f32 holds"),
        ("c", "1.5", "is of f32"),
        ("c", "Infinity", "is of f32"),
        ("c", True, "bad_spec"),
        ("d", None, "bad_spec"),
        ("d", [1], "bad_spec"),
        ("e", 256, "no u8 holds"),
        ("z", 1, "no scalar `z`: it has a, b, c, d, e"),
    ],
)
def test_a_scalar_that_its_type_does_not_hold_is_refused_by_name(
    name: str, value: object, says: str
) -> None:
    with pytest.raises(Refusal) as refused:
        decode(
            {"source": MANY, "outputs": {"out": [3, 1], "at": [3]}, "extent": [3]},
            scalars={**GOOD, name: value},
        )

    assert refused.value.code == "bad_spec"
    assert says in str(refused.value)
    assert f"`{name}`" in refused.value.sentence or says == "bad_spec"


@pytest.mark.parametrize(
    ("params", "changes", "says"),
    [
        (
            SAXPY,
            {"source": "import os\n"},
            "kernel: source, line 1: `import` is not in this language",
        ),
        (SAXPY, {"source": "a" * (SOURCE_BYTES_MAX + 1)}, "$.source"),
        (SAXPY, {"source": ""}, "$.source"),
        (SAXPY, {"scalars": {}}, "scalar `a` is missing"),
        (SAXPY, {"scalars": None}, "scalar `a` is missing"),
        (SAXPY, {"outputs": {}}, "output `out` is missing"),
        (SAXPY, {"outputs": {"out": [9], "x": [9]}}, "no output `x`: it has out"),
        (SAXPY, {"outputs": {"out": [9, 9]}}, "output `out` has 1 dimensions, not 2"),
        (SAXPY, {"outputs": {"out": []}}, "output `out` has 1 dimensions, not 0"),
        (SAXPY, {"outputs": {"out": [0]}}, "output `out` has an extent of 0"),
        (SAXPY, {"outputs": {"out": [-1]}}, "$.outputs"),
        (SAXPY, {"outputs": {"out": [2**53]}}, "$.outputs"),
        (SAXPY, {"outputs": {"out": [2**52]}}, "output `out`: an array has at most"),
        (SAXPY, {"outputs": {"out": [2**26 + 1]}}, "output `out`: an array has at most"),
        (SAXPY, {"extent": []}, "`extent` has 0 numbers, the kernel has the indices i"),
        (SAXPY, {"extent": [3, 3]}, "`extent` has 2 numbers"),
        (SAXPY, {"extent": [0]}, "`extent` holds a number below 1"),
        (SAXPY, {"extent": [2**41]}, "`extent` has more than"),
        (SAXPY, {"grid": [1]}, "belong to the CUDA form"),
        (SAXPY, {"shared": 4}, "belong to the CUDA form"),
        (SAXPY, {"unknown": 1}, "unknown"),
        (SUMS, {"extent": [3]}, "belongs to the element form"),
        (SUMS, {"grid": None}, "`grid` has one to three numbers, not 0"),
        (SUMS, {"block": []}, "`block` has one to three numbers, not 0"),
        (SUMS, {"block": [1, 1, 1, 1]}, "$.block"),
        (SUMS, {"grid": [0]}, "`grid` holds a number below 1"),
        (SUMS, {"block": [1025]}, "`block` has 1025 along x, at most 1024"),
        (SUMS, {"block": [1, 1, 65]}, "`block` has 65 along z, at most 64"),
        (SUMS, {"block": [64, 32]}, "`block` has 2048 threads"),
        (SUMS, {"grid": [2**31]}, "`grid` has 2147483648 along x"),
        (SUMS, {"grid": [1, 65536]}, "`grid` has 65536 along y"),
        (SUMS, {"grid": [2**31 - 1, 65535]}, "threads together"),
        (SUMS, {"shared": 4}, "`shared` is for a shared array of the shape 0"),
        (SUMS, {"scalars": {"a": 1}}, "no scalar `a`: it has none"),
        (REVERSE, {"shared": None}, "`shared` is missing"),
        (REVERSE, {"shared": 48 * 1024 + 1}, "at most 49152"),
    ],
)
def test_what_does_not_fit_the_text_is_refused_by_name(
    params: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refusal) as refused:
        decode(params, **changes)

    assert refused.value.code == "bad_spec"
    assert says in refused.value.sentence


def test_outputs_are_bounded_together() -> None:
    text = "@kernel\ndef k(i, a: Out[u8], b: Out[u8]):\n    a[i] = 1\n    b[i] = 1\n"
    half = 128 * 1024 * 1024

    decode({"source": text, "outputs": {"a": [half], "b": [half]}, "extent": [1]})
    with pytest.raises(Refusal, match="the outputs have"):
        decode({"source": text, "outputs": {"a": [half], "b": [half + 1]}, "extent": [1]})


@pytest.mark.parametrize(("kind", "says"), [("In", "17 inputs"), ("Out", "17 outputs")])
def test_more_arrays_than_a_job_has_are_refused(kind: str, says: str) -> None:
    names = [f"a{n}" for n in range(17)]
    arrays = ", ".join(f"{name}: {kind}[u8]" for name in names)
    text = f"@kernel\ndef k(i, {arrays}, out: Out[u8]):\n    out[i] = 1\n".replace(
        ", out: Out[u8]" if kind == "Out" else "\0", ""
    ).replace("out[i] = 1", "a0[i] = 1" if kind == "Out" else "out[i] = 1")

    outputs = {name: [1] for name in names[:16]} if kind == "Out" else {"out": [1]}
    with pytest.raises(Refusal, match=f"{says}, a job has at most 16"):
        decode({"source": text, "outputs": outputs, "extent": [1]})


def test_the_largest_text_fits_a_specification() -> None:
    """Whatever its characters are: quotes and line ends are two each in JSON."""
    worst = '"' * SOURCE_BYTES_MAX

    assert len(json.dumps(worst)) <= SPEC_BYTES_MAX + 2
