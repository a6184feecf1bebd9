"""`.npy` files: what NumPy writes is mapped, whatever could run code or lies is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.lib import format as npy_format

from coordinator.protocol.arrays import DTYPES
from hypernode.cli.exit import Usage
from hypernode.cli.parameters import read_inputs
from hypernode.errors import BadSpec
from hypernode.npy import open_npy


def written(tmp_path: Path, array: Any, version: tuple[int, int] | None = None) -> Path:
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        npy_format.write_array(file, array, version=version)
    return path


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0, 3), (2, 3, 4)])
def test_what_numpy_writes_comes_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
    found = open_npy(written(tmp_path, array))

    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array)
    assert not shape or not found.size or not found.flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_each_version_is_read(tmp_path: Path, version: tuple[int, int]) -> None:
    array = np.arange(6.0).reshape(2, 3)

    assert np.array_equal(open_npy(written(tmp_path, array, version)), array)


def test_other_orders_of_bytes_and_rows_are_read(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)

    assert np.array_equal(open_npy(written(tmp_path, array.astype(">f8"))), array)
    assert np.array_equal(open_npy(written(tmp_path, np.asfortranarray(array))), array)


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


def made(header: str, data: bytes = bytes(8), version: int = 1) -> bytes:
    width = "<H" if version == 1 else "<I"
    raw = header.encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(width, len(raw)) + raw + data


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "no .npy file"),
        (b"PK\x03\x04 a zip", "no .npy file"),
        (made(HEADER, version=4), "no .npy file"),
        (made(HEADER)[:9], "header"),
        (made(HEADER)[:20], "header"),
        (made(HEADER, bytes(7)), "not so many"),
        (made(HEADER, bytes(9)), "not so many"),
        (made(HEADER.replace("<f4", "|O")), "objects do not travel"),
        (made(HEADER.replace("<f4", "<c8")), "objects do not travel"),
        (made(HEADER.replace("<f4", "<f16")), "do not travel"),
        (made(HEADER.replace("'<f4'", "[('a', '<f4')]")), "objects do not travel"),
        (made(HEADER.replace("(2,)", "__import__('os')")), "objects do not travel"),
        (made(HEADER.replace("(2,)", "(-2,)")), "objects do not travel"),
        (made(HEADER.replace("(2,)", "(4294967296, 4294967296)")), "not so many"),
        (made(HEADER.replace("(2,)", "(" + "1, " * 9 + ")")), "9 dimensions"),
        (made(HEADER + " " * 5000), "its header has"),
        (made(HEADER + "garbage"), "objects do not travel"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_anything_else_is_refused_with_the_files_name(
    tmp_path: Path, raw: bytes, said: str
) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(raw)

    with pytest.raises(BadSpec) as caught:
        open_npy(path)
    assert said in caught.value.sentence
    assert caught.value.sentence.startswith("x.npy: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_array_or_refused(tmp_path: Path, raw: bytes, is_begun: bool) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes((b"\x93NUMPY\1\0" if is_begun else b"") + raw)

    with pytest.raises(BadSpec):
        open_npy(path)


def test_the_command_line_names_what_is_wrong_with_its_inputs(tmp_path: Path) -> None:
    path = written(tmp_path, np.arange(3, dtype=np.int32))

    assert np.array_equal(read_inputs([f"x={path}"])["x"], [0, 1, 2])
    for pairs, said in (
        (["x"], "NAME=FILE"),
        (["=x"], "NAME=FILE"),
        ([f"x={path}", f"x={path}"], "twice"),
        ([f"x={tmp_path / 'none.npy'}"], "No such file"),
        ([f"x={tmp_path}"], "Is a directory"),
    ):
        with pytest.raises(Usage, match=said):
            read_inputs(pairs)
