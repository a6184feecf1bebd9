"""Arrays on the wire: a listed type, a shape, raw C-order little-endian data. Never a pickle.

Rules:
  1. Only the types in `DTYPES`; no strings, objects or structures.
  2. `prod(shape) * itemsize` equals the length of the data, checked before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from coordinator.limits import ARRAY_DIMENSIONS_MAX, OUTPUT_BYTES_MAX
from coordinator.protocol.errors import Refusal

AnyArray = npt.NDArray[Any]

#: The types that travel, by NumPy's name, all little-endian.
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64",
    )
}  # fmt: skip


#: Types and shapes whose sizes are remembered: jobs of a kind have the same few.
SIZES_CACHED_MAX: Final = 1024


def size_of(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of an array's data.

    Raises:
        Refusal: `bad_spec` for a type that is not listed or a shape beyond the limits.
    """
    return _size_of(dtype, tuple(shape))


@lru_cache(maxsize=SIZES_CACHED_MAX)
def _size_of(dtype: str, shape: tuple[int, ...]) -> int:
    if dtype not in DTYPES:
        raise Refusal("bad_spec", f"arrays of {dtype[:20]!r} do not travel")
    if len(shape) > ARRAY_DIMENSIONS_MAX or min(shape, default=0) < 0:
        raise Refusal("bad_spec", "this is not the shape of an array")
    itemsize = DTYPES[dtype].itemsize
    # Without its empty dimensions too: NumPy refuses a shape that it could not number.
    if prod([max(extent, 1) for extent in shape]) * itemsize > OUTPUT_BYTES_MAX:
        raise Refusal("bad_spec", f"an array has at most {OUTPUT_BYTES_MAX} bytes")
    return prod(shape) * itemsize


def to_numpy(dtype: str, shape: Sequence[int], data: bytes | memoryview) -> AnyArray:
    """The array, a read-only view of `data`.

    Raises:
        Refusal: `bad_spec` if type, shape and data do not agree.
    """
    size = size_of(dtype, shape)
    if size != len(data):
        raise Refusal("bad_spec", f"{dtype}{tuple(shape)} takes {size} bytes, not {len(data)}")
    array = np.frombuffer(data, dtype=DTYPES[dtype]).reshape(tuple(shape))
    array.flags.writeable = False
    return array


def to_wire(array: AnyArray) -> tuple[str, tuple[int, ...], bytes]:
    """Type, shape and raw data of an array.

    Raises:
        Refusal: `bad_spec` if its type is not listed.
    """
    name = array.dtype.name
    size_of(name, array.shape)
    return name, array.shape, np.ascontiguousarray(array, dtype=DTYPES[name]).tobytes()
