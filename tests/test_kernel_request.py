"""A kernel and its arguments become parameters and arrays, or a sentence: what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

import hypernode as hn
from coordinator.workloads.kernel import Kernel as KernelKind, scalar_values
from coordinator.workloads.kernel_types import SCALARS
from hypernode.errors import KernelRefused
from hypernode.kernel_request import KernelRequest, kernel_request
from tests.kernel_corpus import CORPUS
from tests.test_kernel_decorator import loaded

X = np.arange(12, dtype=np.float32)


@hn.kernel
def saxpy(i, a: hn.f32, x: hn.In[hn.f32], y: hn.In[hn.f32], out: hn.Out[hn.f32]):  # type: ignore[no-untyped-def]
    out[i] = a * x[i] + y[i]


@hn.kernel
def both(  # type: ignore[no-untyped-def] # noqa: PLR0917
    i,
    j,
    a: hn.i32,
    b: hn.u64,
    c: hn.f64,
    x: hn.In[hn.f64, Literal[2]],
    out: hn.Out[hn.f32, Literal[2]],
    n: hn.Out[hn.i64],
):
    out[i, j] = a + b + c + x[0, 0]
    n[0] = 1


@hn.kernel
def blocks(x: hn.In[hn.u8], out: hn.Out[hn.i64]):  # type: ignore[no-untyped-def]
    part = hn.cuda.shared.array(0, hn.i64)
    part[hn.cuda.threadIdx.x] = x[0]
    out[hn.cuda.grid(1)] = part[0]


def asked(**changes: Any) -> KernelRequest:
    arguments = {"a": 2.0, "x": X, "y": X, **changes}
    n = arguments.pop("n", 12)
    return kernel_request(saxpy, {k: v for k, v in arguments.items() if v is not None}, n=n)


def test_a_request_is_what_a_job_takes() -> None:
    request = asked()

    assert request.params == {
        "source": saxpy.source,
        "scalars": {"a": 2.0},
        "outputs": {"out": (12,)},
        "extent": (12,),
    }
    assert list(request.inputs) == ["x", "y"]
    assert np.shares_memory(request.inputs["x"], X)
    params = KernelKind().decode(msgspec.json.encode(request.params))
    assert [s.shape for s in KernelKind().schema(params)] == [(12,)]


def test_the_same_call_makes_the_same_bytes() -> None:
    assert msgspec.json.encode(asked().params) == msgspec.json.encode(asked(a=np.float32(2)).params)


def test_outputs_have_the_extents_shape_or_their_own() -> None:
    arguments = {"a": 1, "b": 2**64 - 1, "c": float("nan"), "x": np.zeros((2, 2)), "n": 7}

    request = kernel_request(both, arguments, n=np.array([3, 4]))

    assert request.params["outputs"] == {"out": (3, 4), "n": (7,)}
    assert request.params["scalars"] == {"a": 1, "b": "18446744073709551615", "c": "nan"}
    assert "shared" not in request.params
    own = kernel_request(both, {**arguments, "out": (5, 6)}, n=(3, 4))
    assert own.params["outputs"]["out"] == (5, 6)


def test_a_launch_of_blocks() -> None:
    request = kernel_request(
        blocks, {"x": np.zeros(1, np.uint8), "out": 64}, grid=2, block=(32,), shared=256
    )

    assert request.params["grid"] == (2,)
    assert request.params["block"] == (32,)
    assert request.params["shared"] == 256
    assert "extent" not in request.params
    assert "scalars" not in request.params


def test_arrays_become_contiguous_little_endian_and_of_their_type() -> None:
    strided = np.arange(24, dtype=np.float32)[::2]
    swapped = np.arange(12, dtype=">f4")

    request = asked(x=strided, y=swapped)

    assert request.inputs["x"].flags.c_contiguous
    assert request.inputs["x"].tolist() == strided.tolist()
    assert request.inputs["y"].dtype.str == "<f4"
    assert request.inputs["y"].tolist() == swapped.tolist()
    assert asked(x=np.arange(12, dtype=np.uint8)).inputs["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"b": 1}, "there is no parameter `b`: saxpy(i, a: f32"),
        ({"i": 1}, "there is no parameter `i`"),
        ({"a": None}, "`a` is missing: saxpy is saxpy(i, a: f32"),
        ({"x": None}, "`x` is missing"),
        ({"n": None}, "`n` is missing"),
        ({"n": 1.5}, "`n` is a whole number, or several: not 1.5"),
        ({"n": "12"}, "`n` is a whole number"),
        ({"n": -1}, "`n` holds a number below 0"),
        ({"n": 0}, "`n` holds a number below 1"),
        ({"n": (3, 4)}, "the shape of the output `out` is missing: `out=` one number"),
        ({"n": (3, 4), "out": 12}, "`n` has 2 numbers, the kernel has the indices i"),
        ({"n": 2**60}, "`n` holds a number below 0 or above 2^53"),
        ({"out": X}, "`out` is an output: give its shape, `out=(12,)`"),
        ({"out": "a"}, "`out` is a whole number"),
        ({"a": "2"}, "`a` is one f32, not a str"),
        ({"a": True}, "`a` is one f32, not a bool"),
        ({"a": X}, "`a` is one f32, not a ndarray"),
        ({"a": 1j}, "`a` is one f32, not a complex"),
        ({"a": np.datetime64("2000")}, "`a` is one f32, not a"),
        ({"a": 1e39}, "scalar `a`: no f32 holds 1e+39"),
        ({"a": 2**24 + 1}, "`a`: no f32 is exactly 16777217"),
        ({"a": 10**400}, "no f32 holds a number of"),
        ({"x": 1.0}, "`x` is a float, not an array: write `np.array(x, np.float32)`"),
        ({"x": [1.0]}, "`x` is a list, not an array"),
        ({"x": np.zeros((2, 2), np.float32)}, "`x` has 2 dimensions, x: In[f32] has 1"),
        ({"x": np.zeros(2)}, "write `x.astype(np.float32)`"),
        ({"x": np.zeros(2, np.int32)}, "an f32 does not hold every int32"),
        ({"x": np.zeros(2, bool)}, "write `x.astype(np.float32)`"),
        ({"x": np.zeros(2, np.float16)}, "write `x.astype(np.float32)`"),
        ({"x": np.array(["a"])}, "write `x.astype(np.float32)`"),
        ({"x": np.array([object()])}, "write `x.astype(np.float32)`"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(KernelRefused) as refused:
        asked(**changes)

    assert says in refused.value.sentence


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("a", 1.0, "`a` is a whole number (i32): write `int(…)` around 1.0"),
        ("a", np.float64(1), "`a` is a whole number"),
        ("a", 2**31, "no i32 holds 2147483648"),
        ("b", -1, "no u64 holds -1"),
        ("b", 2**64, "no u64 holds a number of 65 bits"),
        ("c", 2**53 + 1, "no f64 is exactly"),
    ],
)
def test_a_scalar_that_its_type_does_not_hold_is_refused(name: str, value: Any, says: str) -> None:
    arguments = {"a": 1, "b": 1, "c": 1.0, "x": np.zeros((1, 1)), "n": 1, name: value}
    with pytest.raises(KernelRefused) as refused:
        kernel_request(both, arguments, n=(1, 1))

    assert says in refused.value.sentence


def test_blocks_ask_for_their_launch() -> None:
    arguments = {"x": np.zeros(1, np.uint8), "out": 1}
    with pytest.raises(KernelRefused, match="`grid` and `block` are missing"):
        kernel_request(blocks, arguments)
    with pytest.raises(KernelRefused, match="`block` has one to three numbers"):
        kernel_request(blocks, arguments, grid=1)
    with pytest.raises(KernelRefused, match="`shared` is missing"):
        kernel_request(blocks, arguments, grid=1, block=1)
    with pytest.raises(KernelRefused, match="the shape of the output `out` is missing"):
        kernel_request(blocks, {"x": arguments["x"]}, grid=1, block=1, shared=8)


@given(st.one_of(st.integers(-(2**70), 2**70), st.floats()), st.sampled_from(sorted(SCALARS)))
def test_a_scalar_arrives_as_it_was_given_or_not_at_all(value: float, name: str) -> None:
    scalar = SCALARS[name]
    try:
        request = kernel_request(_one_of(name), {"a": value}, n=1)
    except KernelRefused:
        return
    arrived = scalar_values(KernelKind().decode(msgspec.json.encode(request.params)))["a"]

    with np.errstate(over="ignore"):
        expected = np.dtype(scalar.dtype).type(value)
    assert arrived.tobytes() == expected.tobytes() or (np.isnan(arrived) and np.isnan(value))
    if isinstance(value, int):
        assert arrived.item() == value


_MADE: dict[str, hn.Kernel] = {}


def _one_of(name: str) -> hn.Kernel:
    return _MADE[name]


@pytest.fixture(scope="module", autouse=True)
def _kernels_of_every_scalar(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("scalars")
    for name in SCALARS:
        text = f"import hypernode as hn\n@hn.kernel\ndef k(i, a: hn.{name}, out: hn.Out[hn.f32]):\n"
        _MADE[name] = loaded(folder, f"of_{name}", f"{text}    out[i] = a\n").k


@pytest.mark.parametrize("name", CORPUS)
def test_every_kernel_of_the_corpus_can_be_asked_for(name: str, tmp_path: Path) -> None:
    head = "from hypernode import *\nimport math\n\n\n"
    kernel: hn.Kernel = getattr(loaded(tmp_path, f"asked_{name}", head + CORPUS[name]), name)
    arguments: dict[str, Any] = {each.name: 1 for each in kernel.parsed.scalars}
    for each in kernel.parsed.inputs:
        arguments[each.name] = np.zeros((2,) * each.ndim, each.type.dtype)
    arguments |= {each.name: (2,) * each.ndim for each in kernel.parsed.outputs}
    if kernel.parsed.form == "element":
        request = kernel_request(kernel, arguments, n=(2,) * len(kernel.parsed.indices))
    else:
        shared = 64 if kernel.parsed.has_dynamic_shared else 0
        request = kernel_request(kernel, arguments, grid=1, block=32, shared=shared)

    params = KernelKind().decode(msgspec.json.encode(request.params))
    assert [schema.name for schema in KernelKind().inputs(params)] == list(request.inputs)
    assert len(KernelKind().schema(params)) == len(kernel.parsed.outputs)
