"""A token's form: the signed text itself, and the wallet's signature.

    hy1.<text>.<signature>     the wallet signed the text
    hy1e.<text>.<signature>    the wallet signed Solana's off-chain envelope of the text

Both parts are unpadded, canonical base64url: a token has one text, so a changed one is another one.
Not covered: `hy1t.<transaction>`, the form for hardware wallets that sign transactions only (a memo
transaction that is never sent). It is left to a later release and refused until then.
Rules:
  1. A token is at most `TOKEN_BYTES_MAX` long; that is checked before anything is decoded.
  2. Decoding proves nothing: `coordinator.tokens` verifies, rebuilds the text and compares bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from coordinator.limits import TOKEN_BYTES_MAX
from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signin import Fields, coordinator_key_of, parse_text
from coordinator.protocol.signing import SIGNATURE_BYTES, verify, wrap_offchain

_PLAIN: Final = "hy1"
_ENVELOPE: Final = "hy1e"
_TRANSACTION: Final = "hy1t"


@dataclass(frozen=True, slots=True)
class SignedText:
    """A sign-in text and a signature over it, or over its envelope."""

    text: str
    signature: bytes
    is_envelope: bool = False

    def verify(self, wallet: bytes) -> None:
        """Check that this wallet signed exactly these bytes.

        Raises:
            Refusal: `bad_signature`.
        """
        raw = self.text.encode()
        verify(wallet, wrap_offchain(raw) if self.is_envelope else raw, self.signature)


def encode_token(signed: SignedText) -> str:
    """The token of a signed text."""
    assert len(signed.signature) == SIGNATURE_BYTES
    form = _ENVELOPE if signed.is_envelope else _PLAIN
    text, signature = encode_base64url(signed.text.encode()), encode_base64url(signed.signature)
    token = f"{form}.{text}.{signature}"
    assert len(token) <= TOKEN_BYTES_MAX, "the fields' bounds keep a token below its limit"
    return token


def decode_token(token: str) -> tuple[SignedText, Fields]:
    """The signed text of a token, and the fields to look it up with.

    Raises:
        Refusal: `token_malformed`.
    """
    if len(token) > TOKEN_BYTES_MAX:
        raise Refusal("token_malformed", f"a token has at most {TOKEN_BYTES_MAX} characters")
    form, *parts = token.split(".")
    if form == _TRANSACTION:
        raise Refusal("token_malformed", "tokens of hardware wallets are not accepted yet")
    if form not in {_PLAIN, _ENVELOPE} or len(parts) != 2:
        raise Refusal("token_malformed")
    try:
        text = decode_base64url(parts[0]).decode("ascii")
        signature = decode_base64url(parts[1], size=SIGNATURE_BYTES)
    except ValueError as error:
        raise Refusal("token_malformed") from error
    fields = parse_text(text)
    if fields is None:
        raise Refusal("token_malformed")
    return SignedText(text, signature, form == _ENVELOPE), fields


def nonce_of(token: str) -> str:
    """The nonce that names a token in the store.

    Raises:
        Refusal: `token_malformed`.
    """
    return decode_token(token)[1].nonce


def coordinator_key_in(token: str) -> bytes:
    """The key of the coordinator that a token was signed for: an agent shows it to no other.

    Raises:
        Refusal: `token_malformed`.
    """
    key = coordinator_key_of(decode_token(token)[1])
    if key is None:
        raise Refusal("token_malformed")
    return key
