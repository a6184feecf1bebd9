"""A wallet that signs elsewhere: it is shown what to sign, and gives back what it signed.

In:   the sign-in text; whatever a person pastes of another program's output.
Out:  the proof for the coordinator, checked here first: nothing is posted that it would refuse.
Taken back, from any of the lines:
  - the signed transaction, base64 or base58 (a wallet's `signTransaction`, a Ledger's tool);
  - `PUBKEY=SIGNATURE`, as `solana … --sign-only` prints its signers;
  - a signature alone, base58 or base64: over the transaction, over the text, or over an off-chain
    envelope of it (`solana sign-offchain-message`).
Not here: terminals and files (`cli/hardware.py`), the form of the transaction (`protocol/memo.py`).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import based58

from coordinator.limits import TOKEN_BYTES_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.memo import (
    MemoTransaction,
    build_memo,
    decode_transaction,
    parse_memo,
    with_signature,
)
from coordinator.protocol.signing import (
    decode_signature,
    encode_signature,
    offchain_envelopes,
    verify,
)
from onchain.address import encode_address

#: Asks a person: gets the text and the unsigned transaction, returns what came back.
Ask = Callable[[str, bytes], Awaitable[str]]

_BASE58: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]+\Z")
_SIGNER: Final = re.compile(r"([1-9A-HJ-NP-Za-km-z]{32,44})=([1-9A-HJ-NP-Za-km-z]{64,88})\Z")


class Hardware:
    """A wallet's address, and a way to ask whoever holds it."""

    def __init__(self, address: bytes, ask: Ask) -> None:
        self._address = address
        self._ask = ask

    @property
    def address(self) -> bytes:
        return self._address

    async def prove(self, text: str) -> Mapping[str, str]:
        """Have the text signed.

        Raises:
            Refusal: `too_large`; `bad_signature`, `bad_transaction`: what came back proves nothing.
        """
        unsigned = build_memo(self._address, text)
        return proof_in(await self._ask(text, unsigned), self._address, text, unsigned)


def proof_in(answer: str, wallet: bytes, text: str, unsigned: bytes) -> Mapping[str, str]:
    """The proof that a person's answer holds: `{"transaction"}` or `{"signature"}`.

    Raises:
        Refusal: `bad_transaction` if a transaction is in it that does not prove the text;
            `bad_signature` if there is nothing in it.
    """
    fault = Refusal("bad_signature", "this holds neither a signed transaction nor a signature")
    for word in words_of(answer):
        try:
            return _proof_of(word, wallet, text, unsigned)
        except Refusal as refusal:
            fault = refusal if refusal.code == "bad_transaction" else fault
    raise fault


def words_of(answer: str) -> list[str]:
    """What may be a transaction or a signature in pasted lines."""
    return [word.strip('",') for word in answer.split() if len(word) >= 64]


def _proof_of(word: str, wallet: bytes, text: str, unsigned: bytes) -> Mapping[str, str]:
    if match := _SIGNER.match(word):
        if match[1] != encode_address(wallet):
            raise Refusal("bad_signature")
        word = match[2]
    found = transaction_in(word)
    if found is None:
        return _proof_by(decode_signature(word), wallet, text, unsigned)
    raw, transaction = found
    if transaction.payer != wallet:
        raise Refusal("bad_transaction", "another wallet pays for this transaction")
    if transaction.memo.decode("ascii", "replace") != text:
        raise Refusal("bad_transaction", "this transaction carries another text")
    if not any(transaction.signature):
        raise Refusal("bad_transaction", "this transaction is not signed yet")
    verify(wallet, transaction.message, transaction.signature)
    return {"transaction": b64encode(raw).decode()}


def _proof_by(signature: bytes, wallet: bytes, text: str, unsigned: bytes) -> Mapping[str, str]:
    """The proof that a signature alone is, by what it is over."""
    if _is_over(wallet, parse_memo(unsigned).message, signature):
        return {"transaction": b64encode(with_signature(unsigned, signature)).decode()}
    raw = text.encode()
    if any(_is_over(wallet, each, signature) for each in (raw, *offchain_envelopes(raw, wallet))):
        return {"signature": encode_signature(signature)}
    raise Refusal("bad_signature")


def _is_over(wallet: bytes, message: bytes, signature: bytes) -> bool:
    try:
        verify(wallet, message, signature)
    except Refusal:
        return False
    return True


def transaction_in(word: str) -> tuple[bytes, MemoTransaction] | None:
    """A memo transaction written as base64 or base58, with its bytes; nothing for another word.

    Raises:
        Refusal: `bad_transaction`: it is as long as one, and has another form.
    """
    if not 90 < len(word) <= TOKEN_BYTES_MAX:
        return None
    fault: Refusal | None = None
    for decode in (decode_transaction, _decode_base58):
        try:
            raw = decode(word)
            return raw, parse_memo(raw)
        except Refusal as refusal:
            fault = fault or refusal
    assert fault is not None
    raise fault


def _decode_base58(word: str) -> bytes:
    if _BASE58.match(word) is None:
        raise Refusal("bad_transaction", "a transaction is written as base64 or base58")
    return bytes(based58.b58decode(word.encode()))


def encode_transaction(raw: bytes, encoding: str) -> str:
    """The text of a transaction: `base64` or `base58`."""
    if encoding == "base58":
        return bytes(based58.b58encode(raw)).decode()
    return b64encode(raw).decode()
