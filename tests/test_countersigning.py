"""One signature for several roots: a proof of each, that stands alone and for no other root."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from coordinator.protocol.countersigning import Seen, check_seen, sign_seen, verify_proof
from coordinator.protocol.errors import Refusal
from coordinator.protocol.receipts import node_text
from coordinator.protocol.signing import from_seed

COORDINATOR, NODE, OTHER = (from_seed(bytes([n]) * 32) for n in (1, 2, 3))


def roots(count: int) -> list[Seen]:
    return [Seen(number, 1 + number % 3, bytes([number]) * 32) for number in range(1, count + 1)]


def proofs_of(seen: list[Seen]) -> list[bytes]:
    signature = sign_seen(NODE, COORDINATOR.address, seen)
    return check_seen(NODE.address, COORDINATOR.address, seen, signature)


@given(st.integers(1, 64))
def test_each_root_has_a_proof_that_holds_for_it_and_for_no_other(count: int) -> None:
    seen = roots(count)
    for index, proof in enumerate(proofs_of(seen)):
        verify_proof(NODE.address, COORDINATOR.address, seen[index], proof)
        with pytest.raises(Refusal, match="bad_signature"):
            verify_proof(NODE.address, COORDINATOR.address, seen[index - 1]._replace(size=9), proof)
        with pytest.raises(Refusal, match="bad_signature"):
            verify_proof(OTHER.address, COORDINATOR.address, seen[index], proof)
        with pytest.raises(Refusal, match="bad_signature"):
            verify_proof(NODE.address, OTHER.address, seen[index], proof)


def test_one_root_is_signed_as_ever() -> None:
    (seen,) = roots(1)
    assert proofs_of([seen]) == [NODE.sign(node_text(COORDINATOR.address, *seen))]


@pytest.mark.parametrize("at", [0, 63, 64, 95, 96, 98, 100, 131])
def test_a_proof_with_one_wrong_byte_does_not_hold(at: int) -> None:
    seen = roots(5)
    proof = bytearray(proofs_of(seen)[2])
    proof[at] ^= 1
    with pytest.raises(Refusal, match="bad_signature"):
        verify_proof(NODE.address, COORDINATOR.address, seen[2], bytes(proof))


@pytest.mark.parametrize("size", [0, 1, 63, 65, 96, 99, 100, 101, 131, 164])
def test_a_proof_of_another_length_does_not_hold(size: int) -> None:
    seen = roots(5)
    proof = (proofs_of(seen)[2] + bytes(64))[:size]
    with pytest.raises(Refusal, match="bad_signature"):
        verify_proof(NODE.address, COORDINATOR.address, seen[2], proof)


@pytest.mark.parametrize("wrong", ["order", "one fewer", "one more", "another root"])
def test_a_signature_is_of_all_these_roots_in_this_order(wrong: str) -> None:
    seen = roots(4)
    signature = sign_seen(NODE, COORDINATOR.address, seen)
    others = {
        "order": seen[::-1],
        "one fewer": seen[:3],
        "one more": roots(5),
        "another root": [*seen[:3], seen[3]._replace(root=bytes(32))],
    }
    with pytest.raises(Refusal, match="bad_signature"):
        check_seen(NODE.address, COORDINATOR.address, others[wrong], signature)
