"""Signing in: the text is rebuilt here from its fields, compared, and only then signed.

Covered: a coordinator (or someone between) that asks for a signature over anything else, such as a
transaction, another domain's sign-in or a wider permission.
Not covered: a coordinator that lies about its own public key on the first visit; over plain HTTP
nobody vouches for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec
import trio

from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.signin import (
    Fields,
    Scope,
    check_fields,
    coordinator_key_of,
    parse_text,
)
from coordinator.protocol.signing import Keypair, encode_signature
from hypernode.answers import Challenged

_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Asked(msgspec.Struct, frozen=True):
    """A challenge that is what we meant to sign."""

    nonce: str
    #: Built here from the fields.
    text: str
    #: The coordinator's public key as the text names it, 32 bytes.
    coordinator_key: bytes


class Signer(Protocol):
    """A wallet: a key file, or one that signs elsewhere."""

    @property
    def address(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    async def prove(self, text: str) -> Mapping[str, str]:
        """The proof that this wallet signed the text: `signature`, or `transaction`."""
        ...


class KeySigner:
    """A wallet whose key is here."""

    def __init__(self, keypair: Keypair) -> None:
        self._keypair = keypair

    @property
    def address(self) -> bytes:
        return self._keypair.address

    async def prove(self, text: str) -> Mapping[str, str]:
        await trio.lowlevel.checkpoint()
        return {"signature": encode_signature(self._keypair.sign(text.encode()))}


def check_challenge(
    wallet: bytes,
    challenge: Challenged,
    *,
    scope: Scope,
    domain: str,
    now_ms: int,
    node_key: bytes = b"",
) -> Asked:
    """What the coordinator asks to sign, if it is what we meant to sign.

    Args:
        wallet: Who will sign, 32 bytes.
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
    asked = _checked(fields, wallet, scope, domain, now_ms, node_key)
    if asked.text != challenge.message or asked.nonce != challenge.nonce:
        raise ProtocolError("malformed", "the challenge's text is not the one its fields make")
    return asked


def check_signed(
    wallet: bytes, text: str, *, domain: str, now_ms: int, node_key: bytes = b""
) -> Asked:
    """A text for a token that this wallet signed elsewhere, if it is for this coordinator.

    Raises:
        Refusal: `token_malformed` for another text; `token_wrong_coordinator`,
            `challenge_expired`, as `check_challenge`.
        ProtocolError: `malformed`: a text that we would not have written.
    """
    fields = parse_text(text)
    if fields is None:
        raise Refusal("token_malformed", "the memo of this transaction is no sign-in text")
    return _checked(fields, wallet, "token", domain, now_ms, node_key)


def _checked(
    fields: Fields, wallet: bytes, scope: Scope, domain: str, now_ms: int, node_key: bytes
) -> Asked:
    text = check_fields(
        fields,
        wallet=wallet,
        scope=scope,
        node_key=node_key,
        domain=fields.domain if is_same_machine(fields.domain, domain) else domain,
        now_ms=now_ms,
    )
    key = coordinator_key_of(fields)
    assert key is not None, "check_fields saw to it"
    return Asked(fields.nonce, text, key)


def is_same_machine(one: str, other: str) -> bool:
    """Whether both are this machine at the same port, under whichever of its names."""
    here = [urlsplit(f"//{domain}") for domain in (one, other)]
    try:
        ports = {part.port for part in here}
    except ValueError:
        return False
    return len(ports) == 1 and all(part.hostname in _THIS_MACHINE for part in here)
