"""Addresses: 32 bytes inside, base58 at the doors.

Source: Solana's convention (base58 with Bitcoin's alphabet); decoding by `based58`.
"""

from __future__ import annotations

from functools import lru_cache

import based58

from onchain.errors import BadAddress

#: Base58 of 32 bytes takes 32 to 44 characters; longer text is refused before it is decoded.
ADDRESS_CHARS_MAX = 44


@lru_cache(maxsize=65_536)
def encode_address(raw: bytes) -> str:
    """Base58 text of a 32-byte address."""
    if len(raw) != 32:
        msg = f"an address has 32 bytes, not {len(raw)}"
        raise BadAddress(msg)
    return based58.b58encode(raw).decode()


@lru_cache(maxsize=65_536)
def decode_address(text: str) -> bytes:
    """The 32 bytes of a base58 address.

    Raises:
        BadAddress: not base58, or not 32 bytes, or not the canonical text of those bytes.
    """
    if not 32 <= len(text) <= ADDRESS_CHARS_MAX or not text.isascii():
        msg = "an address is 32 to 44 base58 characters"
        raise BadAddress(msg)
    try:
        raw = based58.b58decode(text.encode())
    except ValueError as error:
        msg = "an address holds base58 characters only"
        raise BadAddress(msg) from error
    if len(raw) != 32 or encode_address(raw) != text:
        msg = "an address has 32 bytes"
        raise BadAddress(msg)
    return raw
