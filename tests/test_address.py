"""Addresses: 32 bytes have one text, and one text only."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from onchain.address import ADDRESS_CHARS_MAX, decode_address, encode_address
from onchain.errors import BadAddress

RAW = st.binary(min_size=32, max_size=32)
#: Addresses of Solana's own programs, as its documentation has them.
SYSTEM = "1" * 32
TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"


def test_known_addresses_have_their_bytes() -> None:
    assert decode_address(SYSTEM) == bytes(32)
    assert decode_address(TOKEN).hex() == (
        "06ddf6e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a9"
    )


@given(RAW)
@example(bytes(32))
@example(b"\xff" * 32)
@example(bytes(31) + b"\x01")
def test_every_address_survives_its_text(raw: bytes) -> None:
    text = encode_address(raw)

    assert decode_address(text) == raw
    assert 32 <= len(text) <= ADDRESS_CHARS_MAX


@pytest.mark.parametrize(
    "text",
    [
        "", "1" * 31, "1" * 33, "1" * 44, "z" * 44, "z" * 45, "1" + TOKEN, TOKEN + "1", TOKEN[:-1],
        TOKEN + " ", "\n" + TOKEN, TOKEN[:-1] + "0", TOKEN[:-1] + "O", TOKEN[:-1] + "I",
        TOKEN[:-1] + "l", TOKEN[:-1] + "é", "0x" + "00" * 16, "1" * 100_000,
    ],
    ids=lambda text: text[:50],
)  # fmt: skip
def test_what_is_not_the_text_of_32_bytes_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        decode_address(text)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_only_32_bytes_have_a_text(size: int) -> None:
    with pytest.raises(BadAddress, match=str(size)):
        encode_address(bytes(size))


@given(st.text(max_size=60))
def test_a_text_that_is_accepted_is_the_only_one_of_its_bytes(text: str) -> None:
    try:
        raw = decode_address(text)
    except BadAddress:
        return
    assert encode_address(raw) == text
