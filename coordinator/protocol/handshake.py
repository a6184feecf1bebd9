"""The proofs that open a node's session: each end signs nonces of both, under both keys.

    agent        hello      node key, client nonce
    coordinator  challenge  server nonce, key, signature over `challenge_text`
    agent        register   token (the first time), proof: signature over `proof_text`

Covered:
  - replay: a captured message fails on any other connection, whose nonces are others;
  - a signature of one end in place of the other's, or of anything else that the keys sign;
  - a token swapped on the way (its hash is under the proof), or shown to another coordinator;
  - node keys of small order; a coordinator that is not the one that was pinned.
Not covered: a relay between two honest ends over plain WebSocket reads and changes what follows;
that is TLS's work (`wss://`).
Source: parsec-cloud `handshake.py` (shape), Noise (both nonces and keys under each signature).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.messages import Challenge, Hello, HostInfo, Register
from coordinator.protocol.signing import SIGNATURE_BYTES, Keypair, check_point, verify
from coordinator.protocol.token import coordinator_key_in
from onchain.address import decode_address, encode_address
from onchain.errors import BadAddress

PROTOCOL: Final = 2
NONCE_BYTES: Final = 32

# 0xff first: no transaction begins so. Two domains: neither signature can stand for the other.
_COORDINATOR_DOMAIN: Final = b"\xffhyper.session.v1:coordinator\x00"
_NODE_DOMAIN: Final = b"\xffhyper.session.v1:node\x00"


def _transcript(
    coordinator_key: bytes, node_key: bytes, server_nonce: bytes, client_nonce: bytes
) -> bytes:
    parts = (coordinator_key, node_key, server_nonce, client_nonce)
    assert all(len(part) == 32 for part in parts), "fixed lengths: no part runs into the next"
    return sha256(b"".join(parts)).digest()


def challenge_text(
    coordinator_key: bytes, node_key: bytes, server_nonce: bytes, client_nonce: bytes
) -> bytes:
    """What the coordinator signs."""
    return _COORDINATOR_DOMAIN + _transcript(coordinator_key, node_key, server_nonce, client_nonce)


def proof_text(
    coordinator_key: bytes,
    node_key: bytes,
    server_nonce: bytes,
    client_nonce: bytes,
    token: str = "",
) -> bytes:
    """What the node key signs: the same transcript, and the token that it registers with."""
    transcript = _transcript(coordinator_key, node_key, server_nonce, client_nonce)
    return _NODE_DOMAIN + transcript + sha256(token.encode()).digest()


class CoordinatorHandshake:
    """The coordinator's end, for one connection.

    Args:
        keypair: The coordinator's key.
        server_nonce: 32 fresh random bytes.
    """

    def __init__(self, keypair: Keypair, server_nonce: bytes) -> None:
        assert len(server_nonce) == NONCE_BYTES
        self._keypair = keypair
        self._server_nonce = server_nonce
        self._client_nonce = b""
        self._node_key = b""

    def answer(self, hello: Hello) -> Challenge:
        """The challenge for a hello.

        Raises:
            ProtocolError: `malformed`: another protocol, or fields that are no key and nonce.
            Refusal: `weak_key`.
        """
        assert not self._node_key, "the session lets one hello pass"
        if hello.protocol != PROTOCOL:
            raise ProtocolError("malformed", f"this coordinator speaks protocol {PROTOCOL}")
        node_key = _key(hello.node_key)
        self._client_nonce = _raw(hello.client_nonce, NONCE_BYTES)
        check_point(node_key)
        self._node_key = node_key
        text = challenge_text(
            self._keypair.address, node_key, self._server_nonce, self._client_nonce
        )
        return Challenge(
            server_nonce=encode_base64url(self._server_nonce),
            coordinator_key=encode_address(self._keypair.address),
            signature=encode_base64url(self._keypair.sign(text)),
        )

    def check(self, register: Register) -> bytes:
        """The node key that a registration proved, or `b""` for a seed client without one.

        Raises:
            ProtocolError: `malformed` for a proof that is no signature.
            Refusal: `bad_signature`.
        """
        if not self._node_key:
            return b""
        proof = _raw(register.proof, SIGNATURE_BYTES)
        text = proof_text(
            self._keypair.address,
            self._node_key,
            self._server_nonce,
            self._client_nonce,
            register.token,
        )
        verify(self._node_key, text, proof)
        return self._node_key


class AgentHandshake:
    """The agent's end, for one connection.

    Args:
        keypair: The node key.
        client_nonce: 32 fresh random bytes.
        coordinator_key: The key that the coordinator must have, if it is known already.
    """

    def __init__(
        self, keypair: Keypair, client_nonce: bytes, coordinator_key: bytes | None = None
    ) -> None:
        assert len(client_nonce) == NONCE_BYTES
        self._keypair = keypair
        self._client_nonce = client_nonce
        #: The coordinator's key: pinned, or proven by its challenge; `None` before that.
        self.coordinator_key = coordinator_key

    def hello(self) -> Hello:
        """The first message."""
        return Hello(
            protocol=PROTOCOL,
            node_key=encode_address(self._keypair.address),
            client_nonce=encode_base64url(self._client_nonce),
        )

    def answer(
        self, challenge: Challenge, *, token: str = "", host_info: HostInfo | None = None
    ) -> Register:
        """The registration for a challenge, once the coordinator has proven its own key.

        Args:
            challenge: What the coordinator sent.
            token: For a node key that it does not know yet.
            host_info: What to show of this host.

        Raises:
            ProtocolError: `malformed` for fields that are no key, nonce and signature.
            Refusal: `token_wrong_coordinator` if another key was pinned, or the token was signed
                for another one; `bad_signature`; `token_malformed`.
        """
        key = _key(challenge.coordinator_key)
        server_nonce = _raw(challenge.server_nonce, NONCE_BYTES)
        signature = _raw(challenge.signature, SIGNATURE_BYTES)
        if self.coordinator_key not in {None, key}:
            raise Refusal("token_wrong_coordinator", "the coordinator's key is not the pinned one")
        node_key = self._keypair.address
        verify(key, challenge_text(key, node_key, server_nonce, self._client_nonce), signature)
        # An unspent token is worth registering: it is shown to the coordinator it names, no other.
        if token and coordinator_key_in(token) != key:
            raise Refusal("token_wrong_coordinator")
        self.coordinator_key = key
        text = proof_text(key, node_key, server_nonce, self._client_nonce, token)
        return Register(
            token=token,
            host_info=host_info or HostInfo(),
            proof=encode_base64url(self._keypair.sign(text)),
        )


def _key(text: str) -> bytes:
    try:
        return decode_address(text)
    except BadAddress as error:
        raise ProtocolError("malformed", str(error)) from error


def _raw(text: str, size: int) -> bytes:
    try:
        return decode_base64url(text, size=size)
    except ValueError as error:
        raise ProtocolError("malformed", str(error)) from error
