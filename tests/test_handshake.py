from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from coordinator.protocol import handshake
from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.errors import HypernodeError, ProtocolError, Refusal
from coordinator.protocol.handshake import AgentHandshake, CoordinatorHandshake
from coordinator.protocol.messages import Challenge, Hello, HostInfo, Register
from coordinator.protocol.session import Role, Session, State
from coordinator.protocol.signin import Realm, build_text, fields_for
from coordinator.protocol.signing import from_seed, verify
from coordinator.protocol.token import SignedText, encode_token
from onchain.address import encode_address

WALLET, COORDINATOR, NODE, OTHER = (from_seed(bytes([i]) * 32) for i in range(4))
FIRST, SECOND = b"\x01" * 32, b"\x02" * 32


def token_for(coordinator_key: bytes) -> str:
    text = build_text(
        fields_for(
            Realm(coordinator_key, "hyper.example", "https://hyper.example", "mainnet"),
            wallet=WALLET.address,
            scope="token",
            node_key=b"",
            nonce="ab" * 16,
            issued_ms=0,
        )
    )
    return encode_token(SignedText(text, WALLET.sign(text.encode())))


def coordinator(nonce: bytes = FIRST) -> CoordinatorHandshake:
    return CoordinatorHandshake(COORDINATOR, nonce)


def agent(nonce: bytes = SECOND, pinned: bytes | None = None) -> AgentHandshake:
    return AgentHandshake(NODE, nonce, pinned)


def test_a_whole_handshake_proves_both_keys() -> None:
    ends = Session(Role.AGENT), Session(Role.COORDINATOR)
    ours, theirs = agent(), coordinator()

    hello, _ = ends[1].receive(ends[0].send(ours.hello()))
    assert isinstance(hello, Hello)
    challenge, _ = ends[0].receive(ends[1].send(theirs.answer(hello)))
    assert isinstance(challenge, Challenge)
    register = ours.answer(
        challenge,
        token=token_for(COORDINATOR.address),
        host_info=HostInfo("host"),
    )
    received, _ = ends[1].receive(ends[0].send(register))
    assert isinstance(received, Register)

    assert theirs.check(received) == NODE.address
    assert ours.coordinator_key == COORDINATOR.address
    assert received.host_info.hostname == "host"
    assert ends[1].state is State.PROVING


def test_a_seed_client_proves_no_node_key() -> None:
    assert coordinator().check(Register("token")) == b""
    assert coordinator().check(Register("token", proof="A" * 86)) == b""


def test_a_captured_registration_fails_on_every_other_connection() -> None:
    captured = agent().answer(coordinator().answer(agent().hello()))

    same_client_nonce = coordinator(b"\x03" * 32)
    same_client_nonce.answer(agent().hello())
    other_client_nonce = coordinator()
    other_client_nonce.answer(agent(b"\x04" * 32).hello())
    other_node = coordinator()
    other_node.answer(AgentHandshake(OTHER, SECOND).hello())
    other_coordinator = CoordinatorHandshake(OTHER, FIRST)
    other_coordinator.answer(agent().hello())

    for connection in (same_client_nonce, other_client_nonce, other_node, other_coordinator):
        with pytest.raises(Refusal, match="bad_signature"):
            connection.check(captured)


def test_a_captured_challenge_fails_on_every_other_connection() -> None:
    captured = coordinator().answer(agent().hello())

    for connection in (agent(b"\x05" * 32), AgentHandshake(OTHER, SECOND)):
        with pytest.raises(Refusal, match="bad_signature"):
            connection.answer(captured)
        assert connection.coordinator_key is None


def test_a_captured_hello_leads_nowhere_without_the_node_key() -> None:
    connection = coordinator()
    challenge = connection.answer(agent().hello())
    forged = AgentHandshake(OTHER, SECOND)

    with pytest.raises(Refusal, match="bad_signature"):
        forged.answer(challenge)
    for proof in ("A" * 86, challenge.signature):
        with pytest.raises(Refusal, match="bad_signature"):
            connection.check(Register(proof=proof))
    with pytest.raises(ProtocolError, match="malformed"):
        connection.check(Register("token"))


def test_an_agent_leaves_a_coordinator_whose_key_is_not_the_pinned_one() -> None:
    challenge = coordinator().answer(agent().hello())

    assert agent(pinned=COORDINATOR.address).answer(challenge).proof
    with pytest.raises(Refusal, match="token_wrong_coordinator"):
        agent(pinned=OTHER.address).answer(challenge)


def test_an_agent_shows_its_token_to_the_coordinator_that_it_names_only() -> None:
    challenge = coordinator().answer(agent().hello())

    with pytest.raises(Refusal, match="token_wrong_coordinator"):
        agent().answer(challenge, token=token_for(OTHER.address))
    with pytest.raises(Refusal, match="token_malformed"):
        agent().answer(challenge, token="secret")


def test_a_token_swapped_on_the_way_breaks_the_proof() -> None:
    connection = coordinator()
    register = agent().answer(
        connection.answer(agent().hello()), token=token_for(COORDINATOR.address)
    )

    for token in ("", "stolen", register.token + "A"):
        with pytest.raises(Refusal, match="bad_signature"):
            connection.check(replace(register, token=token))
    assert connection.check(register) == NODE.address


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol": 1}, "malformed"),
        ({"protocol": 3}, "malformed"),
        ({"node_key": "0" * 32}, "malformed"),
        ({"node_key": encode_address(bytes(32))}, "weak_key"),
        ({"node_key": encode_address(bytes([1, *bytes(31)]))}, "weak_key"),
        ({"client_nonce": ""}, "malformed"),
        ({"client_nonce": encode_base64url(bytes(31))}, "malformed"),
        ({"client_nonce": encode_base64url(bytes(32)) + "="}, "malformed"),
    ],
    ids=str,
)
def test_a_hello_that_names_no_key_and_nonce_gets_no_signature(
    changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(HypernodeError, match=code):
        coordinator().answer(replace(agent().hello(), **changes))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"server_nonce": "A"}, "malformed"),
        ({"server_nonce": encode_base64url(SECOND)}, "bad_signature"),
        ({"coordinator_key": "0" * 32}, "malformed"),
        ({"coordinator_key": encode_address(OTHER.address)}, "bad_signature"),
        ({"signature": ""}, "malformed"),
        ({"signature": encode_base64url(bytes(64))}, "bad_signature"),
    ],
    ids=str,
)
def test_a_challenge_that_proves_nothing_gets_no_registration(
    changes: dict[str, Any], code: str
) -> None:
    challenge = coordinator().answer(agent().hello())

    with pytest.raises(HypernodeError, match=code):
        agent().answer(replace(challenge, **changes))


@given(st.integers(0, 511))
def test_no_proof_with_a_flipped_bit_opens_a_session(bit: int) -> None:
    connection = coordinator()
    register = agent().answer(connection.answer(agent().hello()))
    proof = bytearray(decode_base64url(register.proof))
    proof[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Refusal, match="bad_signature"):
        connection.check(replace(register, proof=encode_base64url(bytes(proof))))


def test_the_two_ends_sign_texts_that_cannot_stand_for_each_other() -> None:
    parts = (COORDINATOR.address, NODE.address, FIRST, SECOND)
    texts = {handshake.challenge_text(*parts), handshake.proof_text(*parts)}
    texts |= {handshake.challenge_text(*parts[:2], SECOND, FIRST)}

    assert len(texts) == 3
    for text in texts:
        # The top bit of a first byte marks a transaction's version, of which there is only 0.
        assert text[0] == 0xFF
    with pytest.raises(Refusal, match="bad_signature"):
        verify(
            NODE.address, handshake.proof_text(*parts), NODE.sign(handshake.challenge_text(*parts))
        )
