"""A token's form: the signed text itself, and the wallet's signature.

    hy1.<text>.<signature>     the wallet signed the text
    hy1e.<text>.<signature>    the wallet signed one of Solana's off-chain envelopes of the text
    hy1t.<transaction>         a hardware wallet signed a memo transaction with the text (`memo.py`)

All parts are unpadded, canonical base64url: a token has one text, so a changed one is another one.
Rules:
  1. A token is at most `TOKEN_BYTES_MAX` long; that is checked before anything is decoded.
  2. Decoding proves nothing: `coordinator.tokens` verifies, rebuilds the text and compares bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from coordinator.limits import TOKEN_BYTES_MAX
from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.errors import Refusal
from coordinator.protocol.memo import parse_memo
from coordinator.protocol.signin import Fields, coordinator_key_of, parse_text
from coordinator.protocol.signing import SIGNATURE_BYTES, offchain_envelopes, verify


class Form(StrEnum):
    """What a wallet signed, by the first part of the token."""

    TEXT = "hy1"
    ENVELOPE = "hy1e"
    TRANSACTION = "hy1t"


@dataclass(frozen=True, slots=True)
class SignedText:
    """A sign-in text and what a wallet signed for it."""

    text: str
    signature: bytes
    form: Form = Form.TEXT
    #: The whole signed transaction, in that form; its signature stands above too.
    transaction: bytes = b""

    def verify(self, wallet: bytes) -> None:
        """Check that this wallet signed exactly this text, in this form.

        Raises:
            Refusal: `bad_signature`; `bad_transaction` for one with another form, payer or memo.
        """
        raw = self.text.encode()
        match self.form:
            case Form.TEXT:
                verify(wallet, raw, self.signature)
            case Form.ENVELOPE:
                _verify_any(wallet, offchain_envelopes(raw, wallet), self.signature)
            case Form.TRANSACTION:
                found = parse_memo(self.transaction)
                if found.payer != wallet:
                    raise Refusal("bad_transaction", "another wallet pays for this transaction")
                if found.memo != raw:
                    raise Refusal("bad_transaction", "its memo is not the text of this challenge")
                verify(wallet, found.message, found.signature)


def _verify_any(wallet: bytes, messages: tuple[bytes, ...], signature: bytes) -> None:
    for message in messages[:-1]:
        try:
            verify(wallet, message, signature)
        except Refusal:
            continue
        return
    verify(wallet, messages[-1], signature)


def signed_text(text: str, wallet: bytes, signature: bytes, transaction: bytes = b"") -> SignedText:
    """What a wallet signed for a text, in whichever of the three forms, verified.

    Args:
        text: The text as we write it.
        wallet: Who claims to have signed, a point of full order.
        signature: Of the text or of an off-chain envelope of it; `b""` if it is in the transaction.
        transaction: A hardware wallet's signed memo transaction, or `b""`.

    Raises:
        Refusal: `bad_signature`, `bad_transaction`.
    """
    if transaction:
        found = parse_memo(transaction)
        signed = SignedText(text, found.signature, Form.TRANSACTION, transaction)
        signed.verify(wallet)
        return signed
    plain = SignedText(text, signature)
    try:
        plain.verify(wallet)
    except Refusal:
        # Command lines and some wallets sign an envelope; its bytes mean the same text.
        wrapped = SignedText(text, signature, Form.ENVELOPE)
        wrapped.verify(wallet)
        return wrapped
    return plain


def encode_token(signed: SignedText) -> str:
    """The token of a signed text."""
    assert len(signed.signature) == SIGNATURE_BYTES
    if signed.form is Form.TRANSACTION:
        token = f"{signed.form}.{encode_base64url(signed.transaction)}"
    else:
        text, signature = encode_base64url(signed.text.encode()), encode_base64url(signed.signature)
        token = f"{signed.form}.{text}.{signature}"
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
    try:
        signed = _signed_in(Form(form), parts)
    except ValueError as error:
        raise Refusal("token_malformed") from error
    except Refusal as refusal:
        raise Refusal("token_malformed", refusal.sentence) from refusal
    fields = parse_text(signed.text)
    if fields is None:
        raise Refusal("token_malformed")
    return signed, fields


def _signed_in(form: Form, parts: list[str]) -> SignedText:
    """The parts of a token, decoded.

    Raises:
        ValueError: they are not what this form has.
        Refusal: `bad_transaction`.
    """
    if form is Form.TRANSACTION:
        (part,) = parts
        raw = decode_base64url(part)
        found = parse_memo(raw)
        return SignedText(found.memo.decode("ascii"), found.signature, form, raw)
    text, signature = parts
    return SignedText(
        decode_base64url(text).decode("ascii"),
        decode_base64url(signature, size=SIGNATURE_BYTES),
        form,
    )


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
