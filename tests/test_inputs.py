"""Inputs in a specification: what agrees with itself is taken, all else is refused by name."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from coordinator.limits import (
    ARRAY_DIMENSIONS_MAX,
    BLOB_BYTES_MAX,
    INLINE_ARRAY_BYTES_MAX,
    INPUT_NAME_CHARS_MAX,
    INPUTS_BYTES_MAX,
    INPUTS_MAX,
    INTEGER_MAX,
    MIB,
    SPEC_BYTES_MAX,
)
from coordinator.pricing import Rules, quote
from coordinator.protocol.arrays import DTYPES
from coordinator.protocol.errors import Refusal
from coordinator.protocol.inputs import Input, blob_sizes, total_size
from coordinator.protocol.spec import Spec, decode_spec, encode_spec
from coordinator.workloads.catalogue import KINDS, get
from coordinator.workloads.workload import InputSchema, Work, Workload
from tests.build import montecarlo_spec

HASH = sha256(b"").hexdigest()
OTHER = sha256(b"other").hexdigest()


def spec_with(**inputs: Any) -> bytes:
    return msgspec.json.encode({"kind": "x", "inputs": inputs})


def blob(shape: list[int], dtype: str = "float32", digest: str = HASH) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "sha256": digest}


def inline(data: bytes, dtype: str = "uint8", shape: list[int] | None = None) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [len(data)] if shape is None else shape,
        "data": b64encode(data).decode(),
    }


def refused(raw: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        decode_spec(raw)

    assert caught.value.code == "bad_spec"
    return caught.value.sentence


def test_inputs_survive_their_bytes_and_none_leave_no_trace() -> None:
    spec = Spec(
        "x",
        inputs={
            "a": Input("float32", (2, 3), sha256=HASH),
            "b": Input("int64", (1,), data=b"8" * 8),
        },
    )

    assert decode_spec(encode_spec(spec)) == decode_spec(
        encode_spec(decode_spec(encode_spec(spec)))
    )
    assert decode_spec(encode_spec(spec)).inputs == spec.inputs
    assert encode_spec(Spec("x")) == b'{"kind":"x"}'


@given(
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(0, 5), max_size=4),
    st.randoms(use_true_random=False),
)
def test_an_array_comes_out_as_it_went_in(dtype: str, shape: list[int], random: Any) -> None:
    size = Input(dtype, tuple(shape), sha256=HASH).size
    raw = bytes(random.randrange(2) for _ in range(size))

    here = Input(dtype, tuple(shape), data=raw)
    there = Input(dtype, tuple(shape), sha256=HASH)

    for array in (here.array(), there.array(raw)):
        assert (array.dtype.name, array.shape, array.tobytes()) == (dtype, tuple(shape), raw)
        assert not array.flags.writeable


def test_a_blob_of_another_size_is_no_array() -> None:
    with pytest.raises(Refusal, match="takes 8 bytes, not 7"):
        Input("float32", (2,), sha256=HASH).array(b"1234567")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dtype": "float32", "shape": [1]}, "either `sha256` or `data`"),
        (inline(b"1234") | {"sha256": HASH}, "either `sha256` or `data`"),
        (inline(b"123", "float32", [1]), "take 4 bytes, the data are 3"),
        (inline(b"1" * (INLINE_ARRAY_BYTES_MAX + 1)), f"at most {INLINE_ARRAY_BYTES_MAX}"),
        (inline(b"1") | {"data": "A"}, "base64"),
        (inline(b"1") | {"data": "MQ= ="}, "base64"),
        (blob([1], "object"), "do not travel"),
        (blob([1], "float128"), "do not travel"),
        (blob([1], "<f4"), "do not travel"),
        (blob([-1]), "inputs"),
        (blob([1] * (ARRAY_DIMENSIONS_MAX + 1)), "inputs"),
        (blob([INTEGER_MAX + 1]), "inputs"),
        (blob([BLOB_BYTES_MAX // 4 + 1]), "at most"),
        # Products that wrap around in 64 bits, and those that a zero would hide.
        (blob([2**32, 2**32]), "at most"),
        (blob([2**53 - 1] * ARRAY_DIMENSIONS_MAX), "at most"),
        (blob([0, 2**53 - 1, 2**53 - 1]), "at most"),
        (blob([1], digest=HASH.upper()), "inputs"),
        (blob([1], digest="../../etc/passwd"), "inputs"),
        (blob([1]) | {"path": "x.npy"}, "path"),
        ([1.0], "inputs"),
        (None, "inputs"),
    ],
    ids=str,
)
def test_an_input_that_does_not_agree_with_itself_is_refused(given: Any, said: str) -> None:
    assert said in refused(spec_with(x=given))


@pytest.mark.parametrize(
    "name", ["", "1x", "a b", "a.b", "ä", "x" * (INPUT_NAME_CHARS_MAX + 1), "x\n"]
)
def test_an_input_has_a_parameters_name(name: str) -> None:
    refused(spec_with(**{name: blob([1])}))


def test_number_and_bytes_of_all_inputs_are_bounded_on_both_sides() -> None:
    many = {f"x{i}": blob([1]) for i in range(INPUTS_MAX)}
    large = {f"x{i}": blob([64 * MIB], "uint8") for i in range(INPUTS_BYTES_MAX // (64 * MIB))}

    assert len(decode_spec(spec_with(**many)).inputs) == INPUTS_MAX
    assert total_size(decode_spec(spec_with(**large)).inputs.values()) == INPUTS_BYTES_MAX
    assert f"at most {INPUTS_MAX}" in refused(spec_with(**many, y=blob([1])))
    assert f"more than {INPUTS_BYTES_MAX}" in refused(spec_with(**large, y=blob([1], "uint8")))


def test_one_blob_may_stand_under_two_names_but_has_one_size() -> None:
    spec = decode_spec(spec_with(x=blob([2, 2]), y=blob([2], "float64"), z=inline(b"")))

    assert blob_sizes(spec.inputs) == {bytes.fromhex(HASH): 16}
    assert "another size" in refused(spec_with(x=blob([2]), y=blob([3])))


def test_inline_data_count_in_the_specifications_own_bound() -> None:
    full = {f"x{i}": inline(b"1" * INLINE_ARRAY_BYTES_MAX) for i in range(INPUTS_MAX)}

    with pytest.raises(Refusal) as caught:
        decode_spec(spec_with(**full))

    assert caught.value.code == "too_large"
    assert len(spec_with(**full)) > SPEC_BYTES_MAX


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"kernel", "matmul"}])
def test_a_kind_that_takes_no_inputs_refuses_them_by_name(kind: str) -> None:
    workload: Workload[Any] = get(kind)
    params = msgspec.json.decode(b"{}", type=msgspec.Raw)
    assert workload.inputs(params) == ()
    with pytest.raises(Refusal, match=f"{kind} has no input x: it takes none"):
        workload.check_inputs(params, {"x": Input("float32", (1,), sha256=HASH)})


def test_a_submission_with_inputs_that_its_kind_does_not_take_has_no_price() -> None:
    raw = encode_spec(
        msgspec.structs.replace(
            decode_spec(montecarlo_spec()), inputs={"x": Input("uint8", (1,), data=b"1")}
        )
    )

    with pytest.raises(Refusal, match="montecarlo has no input x"):
        quote(decode_spec(raw), Rules())


class _Two(get("hashsearch").__class__):  # type: ignore[misc]
    kind = "two"

    def inputs(self, _params: object) -> tuple[InputSchema, ...]:
        return (InputSchema("x", "float32", (None, 3)), InputSchema("y", "uint8", (4,)))

    def work(self, _params: object) -> Work:
        return Work(1, 1)


X, Y = Input("float32", (7, 3), sha256=HASH), Input("uint8", (4,), sha256=OTHER)


def test_inputs_that_fit_are_taken_and_free_extents_are_free() -> None:
    _Two().check_inputs(None, {"y": Y, "x": X})
    _Two().check_inputs(None, {"x": Input("float32", (0, 3), data=b""), "y": Y})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": X}, "two: input y is missing"),
        ({"x": X, "y": Y, "z": Y}, "two has no input z: it takes x, y"),
        ({"x": Y, "y": Y}, "input x has type uint8, not float32"),
        ({"x": Input("float32", (7, 4), sha256=HASH), "y": Y}, "not (None, 3)"),
        ({"x": Input("float32", (21,), sha256=HASH), "y": Y}, "not (None, 3)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(given: dict[str, Input], said: str) -> None:
    with pytest.raises(Refusal) as caught:
        _Two().check_inputs(None, given)

    assert caught.value.code == "bad_spec"
    assert said in caught.value.sentence


def test_arrays_are_little_endian_whatever_the_machine() -> None:
    array = Input("int32", (2,), data=b"\x01\0\0\0\x02\0\0\0").array()

    assert np.array_equal(array, [1, 2])
