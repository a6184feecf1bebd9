"""Arrays on the wire: listed types, checked sizes, and never a pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from coordinator.limits import ARRAY_DIMENSIONS_MAX, OUTPUT_BYTES_MAX
from coordinator.protocol.arrays import DTYPES, size_of, to_numpy, to_wire
from coordinator.protocol.errors import Refusal

NAMES = st.sampled_from(sorted(DTYPES))
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(NAMES, SHAPES, st.data())
def test_every_array_survives_the_wire(
    name: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    size = size_of(name, shape)
    raw = data.draw(st.binary(min_size=size, max_size=size))
    if name == "bool":
        raw = bytes(byte & 1 for byte in raw)

    array = to_numpy(name, shape, raw)

    assert (array.dtype, array.shape) == (DTYPES[name], shape)
    assert to_wire(array) == (name, shape, raw)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.arange(12, dtype="<f8").reshape(3, 4).T,
        np.arange(12, dtype="<u2")[::3],
        np.array(7.5),
        np.zeros((0, 3), dtype=np.int8),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_any_order_of_memory_becomes_little_endian_rows(array: np.ndarray[Any, Any]) -> None:
    name, shape, raw = to_wire(array)

    assert raw == np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes("C")
    assert np.array_equal(to_numpy(name, shape, raw), array)


def test_an_array_from_the_wire_is_a_view_that_nobody_writes_to() -> None:
    raw = bytearray(8)
    array = to_numpy("int32", (2,), memoryview(raw))

    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    raw[0] = 5
    assert array[0] == 5


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("int32", (2,), 7),
        ("int32", (2,), 9),
        ("int32", (), 0),
        ("object", (1,), 8),
        ("O", (1,), 8),
        ("complex128", (1,), 16),
        ("datetime64", (1,), 8),
        ("float128", (1,), 16),
        ("<i4", (1,), 4),
        ("str", (1,), 4),
        ("S4", (1,), 4),
        ("", (1,), 4),
        ("uint8", (-1,), 1),
        ("uint8", (-1, -1), 1),
        ("uint8", (1,) * (ARRAY_DIMENSIONS_MAX + 1), 1),
        ("uint8", (2**53, 2**53), 1),
        ("uint8", (OUTPUT_BYTES_MAX + 1,), 1),
        ("float64", (OUTPUT_BYTES_MAX // 8 + 1,), 1),
        # NumPy could not number these, empty as they are.
        ("int16", (2**53, 0), 0),
        ("int16", (2**53, 2**53, 0), 0),
    ],
    ids=str,
)
def test_type_shape_and_data_that_do_not_agree_are_refused(
    dtype: str, shape: tuple[int, ...], size: int
) -> None:
    with pytest.raises(Refusal) as caught:
        to_numpy(dtype, shape, bytes(size))

    assert caught.value.code == "bad_spec"


def test_the_largest_shapes_are_still_accepted() -> None:
    assert size_of("uint8", (OUTPUT_BYTES_MAX,)) == OUTPUT_BYTES_MAX
    assert size_of("float64", (1,) * ARRAY_DIMENSIONS_MAX) == 8
    assert size_of("int16", (OUTPUT_BYTES_MAX // 2, 0)) == 0


@given(
    st.sampled_from((*DTYPES, "object", "")),
    st.lists(st.integers(-1, 3) | st.integers(2**52, 2**53), max_size=ARRAY_DIMENSIONS_MAX + 1),
    st.binary(max_size=24),
)
def test_any_description_is_an_array_or_is_refused(
    dtype: str, shape: list[int], data: bytes
) -> None:
    try:
        array = to_numpy(dtype, shape, data)
    except Refusal:
        return
    assert (array.shape, array.nbytes) == (tuple(shape), len(data))


@pytest.mark.parametrize(
    "array",
    [np.array([None]), np.array(["a"]), np.array([1j]), np.zeros(1, dtype=[("a", "i4")])],
    ids=lambda array: str(array.dtype),
)
def test_other_types_of_array_do_not_travel(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(Refusal, match="do not travel"):
        to_wire(array)
