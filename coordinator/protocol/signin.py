"""The text that a wallet signs: Sign-In With Solana, built from typed fields, byte for byte.

Both ends build the text themselves. The coordinator rebuilds it from what it stored and compares
bytes; the signer rebuilds it from `Fields` and signs nothing that it would not have written itself
(`check_fields`), because bytes that a coordinator sends could be a transaction.
Rules:
  1. Printable ASCII only: no line breaks, control characters or look-alikes inside a field.
  2. `parse_text` finds a nonce or a key, never truth: whoever parsed rebuilds and compares.
Not here: signatures (`signing.py`), what a challenge becomes (`coordinator.tokens`).
Request ID and Not Before stay unset in our texts: the nonce names the challenge.
Source: phantom/sign-in-with-solana (ABNF), @solana/wallet-standard-util createSignInMessageText.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from coordinator.clock import iso_seconds
from coordinator.limits import CHALLENGE_MS, CLOCK_SKEW_MS, DELEGATION_MS, SESSION_MS, TOKEN_MS
from coordinator.protocol.errors import ProtocolError, Refusal
from onchain.address import decode_address, encode_address
from onchain.errors import BadAddress

Scope: TypeAlias = Literal["token", "wallet", "admin"]

#: A domain is a host name (253) and a port; a URI some more. Both bounds keep a token below 2 KiB.
DOMAIN_CHARS_MAX: Final = 260
URI_CHARS_MAX: Final = 260
CHAINS: Final = ("mainnet", "testnet", "devnet", "localnet")

_COORDINATOR: Final = "urn:hyper:coordinator:"
_NODE: Final = "urn:hyper:node:"
_SCOPE: Final = "urn:hyper:scope:"
_DAYS: Final = DELEGATION_MS // 86_400_000
_HOURS: Final = SESSION_MS // 3_600_000

#: What each signature grants, in plain words: a wallet shows this line.
STATEMENTS: Final[dict[str, str]] = {
    "token": (
        "Register one machine of mine with this coordinator, to work and earn for this wallet. "
        "It cannot move funds."
    ),
    "delegation": (
        f"Let the node key below work and earn for this wallet for {_DAYS} days, at this "
        "coordinator only. It cannot move funds."
    ),
    "wallet": (
        f"Open a session of {_HOURS} hours with this coordinator. It may submit jobs paid from my "
        "credit there, and manage my jobs and machines."
    ),
    "admin": f"Open an administrator's session of {_HOURS} hours with this coordinator.",
}

_PRINTABLE: Final = re.compile(r"[ -~]*\Z")
_URI: Final = re.compile(rf"[!-~]{{1,{URI_CHARS_MAX}}}\Z")
_DOMAIN: Final = re.compile(rf"[!-~]{{1,{DOMAIN_CHARS_MAX}}}\Z")
_NONCE: Final = re.compile(r"[A-Za-z0-9]{8,64}\Z")
_OURS: Final = re.compile(
    r"(?P<domain>[!-~]+) wants you to sign in with your Solana account:\n"
    r"(?P<address>[!-~]+)\n\n(?P<statement>[ -~]+)\n\n"
    r"URI: (?P<uri>[!-~]+)\nVersion: (?P<version>1)\nChain ID: (?P<chain_id>[!-~]+)\n"
    r"Nonce: (?P<nonce>[A-Za-z0-9]{8,64})\nIssued At: (?P<issued_at>[0-9TZ:-]{20})\n"
    r"Expiration Time: (?P<expiration_time>[0-9TZ:-]{20})\n"
    r"Resources:(?P<resources>(?:\n- [!-~]+){1,4})\Z"
)

_Line: TypeAlias = Annotated[str, Meta(max_length=512)]


class Fields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The fields of a sign-in text, named as `solana:signIn` of the Wallet Standard takes them."""

    domain: _Line
    #: Base58 of the wallet.
    address: _Line
    statement: _Line = ""
    uri: _Line = ""
    version: _Line = ""
    chain_id: _Line = ""
    #: At least 8 letters and digits.
    nonce: _Line = ""
    #: ISO 8601 in UTC, to the second.
    issued_at: _Line = ""
    expiration_time: _Line = ""
    not_before: _Line = ""
    request_id: _Line = ""
    resources: Annotated[list[_Line], Meta(max_length=8)] | None = None


@dataclass(frozen=True, slots=True)
class Realm:
    """For whom a text is signed: each part stands in it, and each is compared."""

    #: The coordinator's public key, 32 bytes.
    coordinator_key: bytes
    #: Host and port as people see them, such as `hyper.example` or `127.0.0.1:3001`.
    domain: str
    #: The coordinator's address on the web.
    uri: str
    #: One of `CHAINS`.
    chain: str

    def __post_init__(self) -> None:
        assert len(self.coordinator_key) == 32
        assert _DOMAIN.match(self.domain), "printable, without blanks"
        assert _URI.match(self.uri), "printable, without blanks"
        assert self.chain in CHAINS


def life_ms(scope: Scope, *, has_node_key: bool) -> int:
    """Time from Issued At to Expiration Time, ms. A session's text only opens it: ten minutes."""
    if scope != "token":
        return CHALLENGE_MS
    return DELEGATION_MS if has_node_key else TOKEN_MS


def fields_for(
    realm: Realm, *, wallet: bytes, scope: Scope, node_key: bytes, nonce: str, issued_ms: int
) -> Fields:
    """The fields of one of our texts.

    Args:
        realm: For whom it is.
        wallet: Who signs, 32 bytes.
        scope: What the signature grants.
        node_key: The node key that the text names (only in scope `token`), or `b""`.
        nonce: 8 to 64 letters and digits.
        issued_ms: Unix ms; the text has whole seconds.
    """
    assert scope == "token" or not node_key
    resources = [_COORDINATOR + encode_address(realm.coordinator_key)]
    if node_key:
        resources.append(_NODE + encode_address(node_key))
    resources.append(_SCOPE + scope)
    return Fields(
        domain=realm.domain,
        address=encode_address(wallet),
        statement=STATEMENTS["delegation" if node_key else scope],
        uri=realm.uri,
        version="1",
        chain_id=realm.chain,
        nonce=nonce,
        issued_at=iso_seconds(issued_ms),
        expiration_time=iso_seconds(issued_ms + life_ms(scope, has_node_key=bool(node_key))),
        resources=resources,
    )


def build_text(fields: Fields) -> str:
    """The text to sign.

    Raises:
        ProtocolError: `malformed` for a field that is not printable ASCII, or a short nonce.
    """
    lines = [
        f"{label}: {value}"
        for label, value in (
            ("URI", fields.uri),
            ("Version", fields.version),
            ("Chain ID", fields.chain_id),
            ("Nonce", fields.nonce),
            ("Issued At", fields.issued_at),
            ("Expiration Time", fields.expiration_time),
            ("Not Before", fields.not_before),
            ("Request ID", fields.request_id),
        )
        if value
    ]
    if fields.resources is not None:
        lines += ["Resources:", *(f"- {resource}" for resource in fields.resources)]
    head = [f"{fields.domain} wants you to sign in with your Solana account:", fields.address]
    if not all(map(_PRINTABLE.match, [*head, fields.statement, *lines])):
        raise ProtocolError("malformed", "a sign-in text holds printable ASCII only")
    if fields.nonce and _NONCE.match(fields.nonce) is None:
        raise ProtocolError("malformed", "a nonce has 8 to 64 letters and digits")
    parts = ["\n".join(head), fields.statement, "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def parse_text(text: str) -> Fields | None:
    """The fields of one of our texts, to look things up with; nothing if it has another form."""
    match = _OURS.match(text)
    if match is None:
        return None
    parts = match.groupdict()
    resources = parts.pop("resources").split("\n- ")[1:]
    return Fields(**parts, resources=resources)


def coordinator_key_of(fields: Fields) -> bytes | None:
    """The coordinator's key that the fields name, if they do."""
    return _address_in(fields, 0, _COORDINATOR)


def node_key_of(fields: Fields) -> bytes | None:
    """The node key that the fields name, if they do."""
    return _address_in(fields, 1, _NODE)


def _address_in(fields: Fields, index: int, prefix: str) -> bytes | None:
    resources = fields.resources or []
    if len(resources) <= index or not resources[index].startswith(prefix):
        return None
    try:
        return decode_address(resources[index].removeprefix(prefix))
    except BadAddress:
        return None


def milliseconds_of(text: str) -> int:
    """Unix ms of a time such as `2026-11-24T08:00:00Z`.

    Raises:
        ProtocolError: `malformed` for any other form.
    """
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError as error:
        raise ProtocolError("malformed", "a time is written 2026-11-24T08:00:00Z") from error
    ms = int(moment.timestamp()) * 1000
    if iso_seconds(ms) != text:
        raise ProtocolError("malformed", "a time is written 2026-11-24T08:00:00Z")
    return ms


def check_fields(
    fields: Fields, *, wallet: bytes, scope: Scope, node_key: bytes, domain: str, now_ms: int
) -> str:
    """The signer's side: what we were asked to sign, rebuilt, if it is what we meant to sign.

    Args:
        fields: What the coordinator sent.
        wallet: Our wallet.
        scope: What we asked for.
        node_key: The node key that we asked for, or `b""`.
        domain: The host (and port) that we dialled: a text for another one could be passed on.
        now_ms: Our clock; a minute's difference is allowed.

    Returns:
        The text to sign.

    Raises:
        Refusal: `token_wrong_coordinator` for another domain, `challenge_expired` for a text of
            another time.
        ProtocolError: `malformed` for anything that we would not have written ourselves.
    """
    key = coordinator_key_of(fields)
    if key is None or fields.chain_id not in CHAINS or _URI.match(fields.uri) is None:
        raise ProtocolError("malformed", "the challenge does not say for whom it is")
    if fields.domain != domain:
        raise Refusal("token_wrong_coordinator", f"the challenge is not for {domain}")
    issued_ms = milliseconds_of(fields.issued_at)
    if abs(now_ms - issued_ms) > CHALLENGE_MS + CLOCK_SKEW_MS:
        raise Refusal("challenge_expired", "the challenge's time is not ours: check the clock")
    ours = fields_for(
        Realm(key, domain, fields.uri, fields.chain_id),
        wallet=wallet,
        scope=scope,
        node_key=node_key,
        nonce=fields.nonce,
        issued_ms=issued_ms,
    )
    if ours != fields:
        raise ProtocolError("malformed", "the challenge is not the text that was asked for")
    return build_text(ours)
