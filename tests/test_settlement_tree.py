"""The tree over a leaf file: `merkle`'s own answers, from pieces."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings, strategies as st

from onchain.leaf_errors import NoLeaf
from onchain.leaves import Kind, LeafFile, leaf_hash, write_leaves
from onchain.merkle import is_included, levels_of, path_of, root_of
from onchain.settlement_tree import SUBTREE_LEAVES, SettlementTree

LEDGER = b"L" * 32
#: One subtree, its ends and those of two and three, and a last one that is one level high.
EDGES = (1023, 1024, 1025, 1026, 1536, 2047, 2048, 2049, 3072, 3073, 4097)


def address(number: int) -> bytes:
    return number.to_bytes(32, "big")


def file_of(earnings: int, exits: int = 0) -> LeafFile:
    file = BytesIO()
    write_leaves(
        file,
        ledger=LEDGER,
        epoch=3,
        earnings=((address(n), n + 1) for n in range(earnings)),
        exits=((address(n), n + 7) for n in range(exits)),
    )
    return LeafFile(file)


def hashes_of(earnings: int, exits: int = 0) -> list[bytes]:
    return [
        *(leaf_hash(Kind.EARNINGS, LEDGER, address(n), n + 1) for n in range(earnings)),
        *(leaf_hash(Kind.EXIT, LEDGER, address(n), n + 7) for n in range(exits)),
    ]


@pytest.mark.parametrize("count", range(1, 71))
def test_small_trees_are_those_of_merkle(count: int) -> None:
    exits = count // 3
    levels = levels_of(hashes_of(count - exits, exits))
    tree = SettlementTree(file_of(count - exits, exits))

    assert tree.root == root_of(levels[0])
    assert tree.leaf_count == count
    for index in range(count):
        assert list(tree.path(index)) == path_of(levels, index)


@pytest.mark.parametrize("count", EDGES)
def test_trees_at_the_ends_of_subtrees_are_those_of_merkle(count: int) -> None:
    exits = count % 700
    levels = levels_of(hashes_of(count - exits, exits))
    tree = SettlementTree(file_of(count - exits, exits))

    assert tree.root == root_of(levels[0])
    border = count - exits
    for index in {
        0,
        1,
        border - 1,
        min(border, count - 1),
        SUBTREE_LEAVES - 2,
        count - 2,
        count - 1,
    }:
        assert list(tree.path(index)) == path_of(levels, index)


@pytest.mark.parametrize(("earnings", "exits"), [(1000, 1200), (1024, 40), (1, 2100), (0, 1100)])
def test_exits_that_begin_before_a_subtree_are_exits_in_it(earnings: int, exits: int) -> None:
    tree = SettlementTree(file_of(earnings, exits))

    assert tree.root == root_of(hashes_of(earnings, exits))


@settings(max_examples=40)
@given(st.integers(1, 3000), st.data())
def test_a_proof_holds_at_its_own_place_alone(count: int, data: st.DataObject) -> None:
    exits = data.draw(st.integers(0, count - 1))
    file = file_of(count - exits, exits)
    tree = SettlementTree(file)
    kind = data.draw(st.sampled_from([Kind.EARNINGS, Kind.EXIT] if exits else [Kind.EARNINGS]))
    number = data.draw(st.integers(0, len(file.span(kind)) - 1))

    proof = tree.proof(kind, address(number))

    assert proof.leads_to(tree.root, count)
    assert (proof.epoch, proof.address) == (3, address(number))
    held = [
        index
        for index in range(-1, count + 2)
        if is_included(proof.leaf, index, count, proof.path, tree.root)
    ]
    assert held == [proof.index]


@given(st.integers(1, 200), st.data())
def test_a_proof_of_something_else_fails(count: int, data: st.DataObject) -> None:
    tree = SettlementTree(file_of(count))
    number = data.draw(st.integers(0, count - 1))
    proof = tree.proof(Kind.EARNINGS, address(number))
    other = {
        "kind": Kind.EXIT,
        "ledger": b"M" * 32,
        "address": address(count),
        "amount": proof.amount + 1,
    }

    for name, value in other.items():
        fields = {
            "kind": proof.kind, "ledger": proof.ledger, "address": proof.address,
            "amount": proof.amount, name: value,
        }  # fmt: skip
        leaf = leaf_hash(**fields)  # type: ignore[arg-type]
        assert not is_included(leaf, proof.index, count, proof.path, tree.root)
    assert not proof.leads_to(bytes(32), count)


def test_a_wallet_without_a_leaf_has_no_proof() -> None:
    tree = SettlementTree(file_of(5, 2))

    with pytest.raises(NoLeaf):
        tree.proof(Kind.EARNINGS, address(5))
    with pytest.raises(NoLeaf):
        tree.proof(Kind.EXIT, address(4))
