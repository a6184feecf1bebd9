"""Signing in: the text is rebuilt here from its fields, compared, and only then signed.

Covered: a coordinator (or someone between) that asks for a signature over anything else, such as a
transaction, another domain's sign-in or a wider permission.
Not covered: a coordinator that lies about its own public key on the first visit; over plain HTTP
nobody vouches for it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import msgspec

from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.signin import Fields, Scope, check_fields, coordinator_key_of
from coordinator.protocol.signing import Keypair, encode_signature
from hypernode.answers import Challenged

_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Signed(msgspec.Struct, frozen=True):
    """A challenge, answered."""

    nonce: str
    #: Base58.
    signature: str
    #: The coordinator's public key as the signed text names it, 32 bytes.
    coordinator_key: bytes


def sign_challenge(
    keypair: Keypair,
    challenge: Challenged,
    *,
    scope: Scope,
    domain: str,
    now_ms: int,
    node_key: bytes = b"",
) -> Signed:
    """Sign what the coordinator asks for, if it is what we meant to sign.

    Args:
        keypair: The wallet.
        challenge: The coordinator's answer.
        scope: The permission that we asked for.
        domain: Host and port that we dialled.
        now_ms: Our clock.
        node_key: The node key that we asked for, or `b""`.

    Raises:
        Refusal: a text for another domain or of another time.
        ProtocolError: `malformed`: the text is not the one that the fields make.
    """
    try:
        fields = msgspec.json.decode(challenge.fields, type=Fields)
    except msgspec.DecodeError as error:
        raise ProtocolError(
            "malformed", f"the challenge's fields are not valid: {error}"
        ) from error
    text = check_fields(
        fields,
        wallet=keypair.address,
        scope=scope,
        node_key=node_key,
        domain=fields.domain if is_same_machine(fields.domain, domain) else domain,
        now_ms=now_ms,
    )
    if text != challenge.message or fields.nonce != challenge.nonce:
        raise ProtocolError("malformed", "the challenge's text is not the one its fields make")
    key = coordinator_key_of(fields)
    assert key is not None, "check_fields saw to it"
    return Signed(challenge.nonce, encode_signature(keypair.sign(text.encode())), key)


def is_same_machine(one: str, other: str) -> bool:
    """Whether both are this machine at the same port, under whichever of its names."""
    here = [urlsplit(f"//{domain}") for domain in (one, other)]
    try:
        ports = {part.port for part in here}
    except ValueError:
        return False
    return len(ports) == 1 and all(part.hostname in _THIS_MACHINE for part in here)
