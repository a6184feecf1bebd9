"""Arrays in `.npy` files: the header is read by us, the data are mapped, nothing is unpickled.

In:   a path.
Out:  a read-only array whose pages come as they are looked at.
Covered: versions 1 to 3; the types that travel, in either byte order; C and Fortran order.
Not covered: objects and structures, which are pickles or records: refused.
Source: NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays".
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from coordinator.limits import ARRAY_DIMENSIONS_MAX, KIB
from coordinator.protocol.arrays import DTYPES, AnyArray
from hypernode.errors import BadSpec

_MAGIC: Final = b"\x93NUMPY"
#: A header of eight extents has some 150 bytes; NumPy pads it to a multiple of 64.
_HEADER_BYTES_MAX: Final = 4 * KIB
_HEADER: Final = re.compile(
    r"\{'descr': '([<>|=]?)([biuf][0-9]{1,2})', 'fortran_order': (True|False), "
    r"'shape': \(((?:[0-9]{1,16}(?:, ?|,?(?=\))))*)\),? ?\} *\n?\Z"
)
#: NumPy's short names → the names that travel.
_NAMES: Final = {dtype.str.lstrip("<|"): name for name, dtype in DTYPES.items()}


class _Header(NamedTuple):
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    is_fortran: bool
    #: Where the data begin, bytes.
    offset: int


def open_npy(path: Path) -> AnyArray:
    """The array in a file.

    Raises:
        BadSpec: it is no such file, or of a type that does not travel.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = _read_header(file, path)
    size = prod(header.shape) * header.dtype.itemsize
    if path.stat().st_size - header.offset != size:
        raise _refused(path, f"its header says {size} bytes of data, and there are not so many")
    order = "F" if header.is_fortran else "C"
    if not size:
        return np.empty(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)  # type: ignore[call-overload, no-any-return]


def _read_header(file: BinaryIO, path: Path) -> _Header:
    start = file.read(len(_MAGIC) + 2)
    if start[: len(_MAGIC)] != _MAGIC or start[-2:-1] not in {b"\1", b"\2", b"\3"}:
        raise _refused(path, "it is no .npy file")
    width = 2 if start[-2] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _HEADER_BYTES_MAX:
        raise _refused(path, f"its header has {length} bytes")
    found = _HEADER.match(file.read(length).decode("latin-1"))
    if found is None:
        raise _refused(path, "its header is not that of a plain array (objects do not travel)")
    byte_order, short, is_fortran, extents = found.groups()
    if short not in _NAMES:
        raise _refused(path, f"arrays of {short!r} do not travel")
    shape = tuple([int(extent) for extent in re.findall(r"[0-9]+", extents)])
    if len(shape) > ARRAY_DIMENSIONS_MAX:
        raise _refused(path, f"it has {len(shape)} dimensions")
    dtype = np.dtype(_NAMES[short]).newbyteorder(">" if byte_order == ">" else "<")
    return _Header(dtype, shape, is_fortran == "True", len(_MAGIC) + 2 + width + length)


def _refused(path: Path, why: str) -> BadSpec:
    return BadSpec("bad_spec", f"{path.name}: {why}")
