from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from coordinator.limits import TOKEN_BYTES_MAX
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.errors import Refusal
from coordinator.protocol.memo import build_memo, parse_memo, with_signature
from coordinator.protocol.signin import (
    DOMAIN_CHARS_MAX,
    URI_CHARS_MAX,
    Realm,
    build_text,
    fields_for,
)
from coordinator.protocol.signing import from_seed, wrap_offchain
from coordinator.protocol.token import (
    Form,
    SignedText,
    coordinator_key_in,
    decode_token,
    encode_token,
    nonce_of,
)
from onchain.address import encode_address

WALLET, COORDINATOR, NODE = (from_seed(bytes([i]) * 32) for i in range(3))
REALM = Realm(COORDINATOR.address, "hyper.example", "https://hyper.example", "mainnet")


def text_of(realm: Realm = REALM) -> str:
    fields = fields_for(
        realm,
        wallet=WALLET.address,
        scope="token",
        node_key=NODE.address,
        nonce="ab" * 16,
        issued_ms=1_795_507_200_000,
    )
    return build_text(fields)


TEXT = text_of()
SIGNED = SignedText(TEXT, WALLET.sign(TEXT.encode()))
TOKEN = encode_token(SIGNED)
_, TEXT_PART, SIGNATURE_PART = TOKEN.split(".")


def test_a_token_is_the_signed_text_and_comes_back_whole() -> None:
    signed, fields = decode_token(TOKEN)

    assert signed == SIGNED
    assert build_text(fields) == TEXT
    assert TOKEN.startswith("hy1.")
    assert nonce_of(TOKEN) == "ab" * 16
    assert coordinator_key_in(TOKEN) == COORDINATOR.address


def test_a_signature_over_the_envelope_makes_a_token_of_its_own_form() -> None:
    wrapped = SignedText(TEXT, WALLET.sign(wrap_offchain(TEXT.encode())), Form.ENVELOPE)

    token = encode_token(wrapped)

    assert token.startswith("hy1e.")
    decode_token(token)[0].verify(WALLET.address)
    with pytest.raises(Refusal, match="bad_signature"):
        decode_token("hy1" + token[4:])[0].verify(WALLET.address)


def test_the_largest_token_stays_within_its_limit() -> None:
    realm = Realm(COORDINATOR.address, "d" * DOMAIN_CHARS_MAX, "u" * URI_CHARS_MAX, "localnet")

    token = encode_token(SignedText(text_of(realm), bytes(64), Form.ENVELOPE))

    assert len(token) <= TOKEN_BYTES_MAX
    assert decode_token(token)[0].text == text_of(realm)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "hy1",
        "hy1..",
        f"hy1.{TEXT_PART}",
        f"hy1.{TEXT_PART}.",
        f"hy1.{TEXT_PART}.{SIGNATURE_PART}.",
        f"hy2.{TEXT_PART}.{SIGNATURE_PART}",
        f"HY1.{TEXT_PART}.{SIGNATURE_PART}",
        f" {TOKEN}",
        f"{TOKEN}\n",
        f"{TOKEN}=",
        f"hy1.{TEXT_PART}.{SIGNATURE_PART[:-2]}",
        f"hy1.{TEXT_PART}.{SIGNATURE_PART}AA",
        f"hy1.{TEXT_PART[:-1]}.{SIGNATURE_PART}",
        f"hy1.{TEXT_PART}=.{SIGNATURE_PART}",
        f"hy1.{encode_base64url(b'text')}.{SIGNATURE_PART}",
        f"hy1.{encode_base64url(TEXT.encode() + b' ')}.{SIGNATURE_PART}",
        f"hy1.{encode_base64url(TEXT.replace('hyper', 'hypér').encode())}.{SIGNATURE_PART}",
        f"hy1t.{TEXT_PART}",
        f"hy1.{'A' * TOKEN_BYTES_MAX}.{SIGNATURE_PART}",
        "é" * 100,
        "hy1.\ud800.\ud800",
    ],
)
def test_what_has_not_a_tokens_form_is_malformed(token: str) -> None:
    with pytest.raises(Refusal, match="token_malformed"):
        decode_token(token)


def memo_token(realm: Realm = REALM) -> str:
    text = text_of(realm)
    unsigned = build_memo(WALLET.address, text)
    signature = WALLET.sign(parse_memo(unsigned).message)
    transaction = with_signature(unsigned, signature)
    return encode_token(SignedText(text, signature, Form.TRANSACTION, transaction))


def test_a_hardware_wallets_token_is_its_transaction_and_comes_back_whole() -> None:
    token = memo_token()
    signed, fields = decode_token(token)

    assert token.startswith("hy1t.")
    assert (signed.text, fields.address) == (TEXT, encode_address(WALLET.address))
    assert encode_token(signed) == token
    signed.verify(WALLET.address)
    with pytest.raises(Refusal, match="another wallet pays"):
        signed.verify(COORDINATOR.address)


def test_the_longest_text_fits_a_transaction_and_its_token() -> None:
    longest = Realm(COORDINATOR.address, "d" * DOMAIN_CHARS_MAX, "u" * URI_CHARS_MAX, "localnet")

    assert len(memo_token(longest)) <= TOKEN_BYTES_MAX


@given(st.integers(0, 10_000))
def test_no_hardware_wallets_token_with_a_flipped_bit_passes(bit: int) -> None:
    raw = bytearray(memo_token().encode())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8

    with pytest.raises(Refusal, match=r"token_malformed|bad_signature|bad_transaction"):
        decode_token(raw.decode("latin-1"))[0].verify(WALLET.address)


@given(st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_token_or_malformed(text: str) -> None:
    for token in (text, f"hy1.{text}", f"hy1.{encode_base64url(text.encode())}.{SIGNATURE_PART}"):
        with pytest.raises(Refusal, match="token_malformed"):
            decode_token(token)


@given(st.integers(0, len(TOKEN) * 8 - 1))
def test_no_token_with_a_flipped_bit_passes_for_the_wallets(bit: int) -> None:
    raw = bytearray(TOKEN.encode())
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Refusal, match=r"token_malformed|bad_signature"):
        decode_token(raw.decode("latin-1"))[0].verify(WALLET.address)
