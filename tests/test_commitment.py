"""The commitment to a result's outputs: one root for one sequence of outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from coordinator.limits import OUTPUT_CHUNK_BYTES
from coordinator.protocol.commitment import output_leaves, output_root
from onchain.merkle import EMPTY_ROOT, hash_leaf, hash_node

OUTPUTS = st.lists(st.binary(max_size=64), max_size=4)


def leaf(output: int, chunk: int, data: bytes) -> bytes:
    return hash_leaf(b"\x10" + output.to_bytes(4, "little") + chunk.to_bytes(8, "little") + data)


def test_the_layout_is_the_documented_one() -> None:
    long = bytes(OUTPUT_CHUNK_BYTES) + b"\x01"

    assert list(output_leaves([b"ab", long])) == [
        leaf(0, 0, b"ab"),
        leaf(1, 0, bytes(OUTPUT_CHUNK_BYTES)),
        leaf(1, 1, b"\x01"),
    ]
    assert output_root([b"ab", b"c"]) == hash_node(leaf(0, 0, b"ab"), leaf(1, 0, b"c"))


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        (0, 1),
        (1, 1),
        (OUTPUT_CHUNK_BYTES - 1, 1),
        (OUTPUT_CHUNK_BYTES, 1),
        (OUTPUT_CHUNK_BYTES + 1, 2),
        (3 * OUTPUT_CHUNK_BYTES, 3),
    ],
)
def test_an_output_has_a_leaf_for_each_chunk(size: int, chunks: int) -> None:
    assert len(list(output_leaves([bytes(size)]))) == chunks


def test_no_outputs_have_the_empty_root_and_an_empty_output_has_not() -> None:
    assert output_root([]) == EMPTY_ROOT
    assert output_root([b""]) == leaf(0, 0, b"") != EMPTY_ROOT
    assert output_root([b"", b""]) != output_root([b""])


@given(OUTPUTS, OUTPUTS)
def test_different_outputs_have_different_roots(one: list[bytes], other: list[bytes]) -> None:
    assert (output_root(one) == output_root(other)) == (one == other)


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview], ids=str)
def test_any_view_of_the_same_bytes_has_the_same_root(view: Callable[[bytes], memoryview]) -> None:
    raw = bytes(range(256)) * 300

    assert output_root([view(raw)]) == output_root([raw])
