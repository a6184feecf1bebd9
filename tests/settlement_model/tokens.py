"""Token accounts and mints as SPL Token and Token-2022 store them, and what a transfer does.

Source: spl-token's `Account` (165 bytes) and `Mint` (82 bytes); Token-2022's type byte at 165 and
its extensions as (type u16, length u16, data) from 166 on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

ACCOUNT_BYTES: Final = 165
#: With Token-2022's type byte and the extension ImmutableOwner, which has no data.
ACCOUNT_BYTES_2022: Final = 170
MINT_BYTES: Final = 82
ACCOUNT_TYPE_AT: Final = 165
TYPE_MINT: Final = 1
TYPE_ACCOUNT: Final = 2
INITIALIZED: Final = 1
#: Extensions of a mint that cannot take money away or hold it back.
METADATA_POINTER: Final = 18
TOKEN_METADATA: Final = 19


@dataclass(slots=True)
class TokenAccount:
    """One token account; `length` bytes, `type_byte` where it is longer than 165."""

    mint: bytes
    owner: bytes
    amount: int = 0
    state: int = INITIALIZED
    delegate: bytes | None = None
    delegated_amount: int = 0
    close_authority: bytes | None = None
    length: int = ACCOUNT_BYTES
    type_byte: int = TYPE_ACCOUNT

    def encode(self) -> bytes:
        """Its bytes; whatever extensions a longer one has are written as ImmutableOwner (7, 0)."""
        raw = b"".join(
            (
                self.mint,
                self.owner,
                struct.pack("<Q", self.amount),
                _optional(self.delegate),
                bytes([self.state]),
                bytes(12),  # not wrapped SOL
                struct.pack("<Q", self.delegated_amount),
                _optional(self.close_authority),
            )
        )
        if self.length > ACCOUNT_BYTES:
            raw += bytes([self.type_byte]) + struct.pack("<HH", 7, 0)
        return raw[: self.length].ljust(self.length, b"\0")


def _optional(key: bytes | None) -> bytes:
    return bytes(36) if key is None else struct.pack("<I", 1) + key


def mint_bytes(
    decimals: int,
    *,
    freeze_authority: bytes | None = None,
    initialized: int = INITIALIZED,
    extensions: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """A mint without a mint authority; one with extensions is Token-2022's."""
    raw = bytes(44) + bytes([decimals, initialized]) + _optional(freeze_authority)
    assert len(raw) == MINT_BYTES
    if extensions:
        raw = raw.ljust(ACCOUNT_TYPE_AT, b"\0") + bytes([TYPE_MINT])
    return raw + b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in extensions)


def only_harmless_extensions(mint: bytes) -> bool:
    """Whether a mint longer than 166 bytes has metadata and nothing else, all of it complete."""
    at = ACCOUNT_TYPE_AT + 1
    while at < len(mint):
        if len(mint) - at < 2:
            return False
        (kind,) = struct.unpack_from("<H", mint, at)
        if kind == 0:
            return True
        if kind not in {METADATA_POINTER, TOKEN_METADATA} or len(mint) - at < 4:
            return False
        (length,) = struct.unpack_from("<H", mint, at + 2)
        at += 4 + length
        if at > len(mint):
            return False
    return True
