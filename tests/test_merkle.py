"""Merkle trees: the answers of RFC 6962, and proofs that prove one thing only."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, strategies as st

from onchain.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    hash_leaf,
    hash_node,
    is_included,
    levels_of,
    path_of,
    paths_of,
    root_of,
)

#: The eight leaves and the roots over the first n, from Certificate Transparency's own test suite.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = st.integers(1, 300)


def leaves(count: int) -> list[bytes]:
    return [hash_leaf(index.to_bytes(4, "little")) for index in range(count)]


def root_by_definition(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word: split at the largest power of two below n."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return hash_node(root_by_definition(hashes[:split]), root_by_definition(hashes[split:]))


@pytest.mark.parametrize("count", range(9))
def test_the_roots_are_those_of_certificate_transparency(count: int) -> None:
    assert root_of(map(hash_leaf, LEAVES[:count])).hex() == ROOTS[count]


def test_leaves_and_nodes_have_different_prefixes() -> None:
    left, right = leaves(2)

    assert hash_leaf(b"") == sha256(b"\x00").digest()
    assert hash_node(left, right) == sha256(b"\x01" + left + right).digest()
    assert hash_leaf(left + right) != hash_node(left, right)
    assert sha256(b"").digest() == EMPTY_ROOT == root_of(())


@given(SIZES)
def test_the_fast_root_is_the_defined_one(count: int) -> None:
    assert root_of(leaves(count)) == root_by_definition(leaves(count))


@given(SIZES, st.data())
def test_every_leaf_is_included_at_its_own_place(count: int, data: st.DataObject) -> None:
    hashes = leaves(count)
    index = data.draw(st.integers(0, count - 1))
    path = path_of(levels_of(hashes), index)

    assert is_included(hashes[index], index, count, path, root_of(hashes))
    assert len(path) <= (count - 1).bit_length()


@given(SIZES, st.data())
def test_another_index_leaf_root_or_path_is_refused(count: int, data: st.DataObject) -> None:
    hashes = leaves(count)
    index = data.draw(st.integers(0, count - 1))
    path, root = path_of(levels_of(hashes), index), root_of(hashes)
    other = data.draw(st.integers(-2, count + 2).filter(lambda number: number != index))
    stranger = bytes(HASH_BYTES)

    assert not is_included(hashes[index], other, count, path, root)
    assert not is_included(stranger, index, count, path, root)
    assert not is_included(hashes[index], index, count, path, stranger)
    assert not is_included(hashes[index], index, count, [*path, stranger], root)
    for place in range(len(path)):
        assert not is_included(hashes[index], index, count, path[:place], root)
        changed = [*path[:place], stranger, *path[place + 1 :]]
        assert not is_included(hashes[index], index, count, changed, root)


@pytest.mark.parametrize("count", range(1, 40))
def test_a_proof_holds_for_one_leaf_alone(count: int) -> None:
    hashes, levels = leaves(count), levels_of(leaves(count))
    for index in range(count):
        path = path_of(levels, index)
        held = [
            i for i in range(count) if is_included(hashes[index], i, count, path, root_of(hashes))
        ]
        assert held == [index]


def test_a_node_does_not_pass_for_a_leaf() -> None:
    hashes = leaves(4)
    levels = levels_of(hashes)

    assert not is_included(levels[1][0], 0, 4, path_of(levels, 0)[1:], root_of(hashes))


def test_an_odd_node_is_promoted_and_never_doubled() -> None:
    first, second, third = leaves(3)

    assert root_of([first, second, third]) == hash_node(hash_node(first, second), third)
    assert root_of([first, second, third]) != root_of([first, second, third, third])


def test_nothing_is_included_in_the_empty_tree() -> None:
    assert not is_included(EMPTY_ROOT, 0, 0, [], EMPTY_ROOT)


@given(st.integers(0, 130))
def test_all_paths_at_once_are_the_paths_one_by_one(count: int) -> None:
    levels = levels_of(leaves(count))

    assert paths_of(levels) == [path_of(levels, index) for index in range(count)]
