"""Mints and token accounts as SPL Token and Token-2022 keep them, in bytes.

In:   who, how much, in which state; extensions by number.
Out:  the data of an account, and addresses of associated token accounts.
Source: SPL Token `state.rs` (82 and 165 bytes), Token-2022 `extension/mod.rs` (type, length, data).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import pack
from typing import Final

from solders.account import Account
from solders.pubkey import Pubkey

SPL_TOKEN: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
SYSTEM: Final = Pubkey.default()

MINT_BYTES: Final = 82
ACCOUNT_BYTES: Final = 165
#: Byte 165 of a longer account says what it is.
IS_MINT, IS_ACCOUNT = 1, 2
UNINITIALIZED, INITIALIZED, FROZEN = 0, 1, 2
IMMUTABLE_OWNER: Final = 7
METADATA_POINTER, TOKEN_METADATA = 18, 19
#: Number → (name, bytes of its data) of the mint's extensions, as far as they have one length.
MINT_EXTENSIONS: Final = {
    1: ("TransferFeeConfig", 108),
    3: ("MintCloseAuthority", 32),
    4: ("ConfidentialTransferMint", 65),
    6: ("DefaultAccountState", 1),
    9: ("NonTransferable", 0),
    10: ("InterestBearingConfig", 52),
    12: ("PermanentDelegate", 32),
    14: ("TransferHook", 64),
    16: ("ConfidentialTransferFeeConfig", 129),
    20: ("GroupPointer", 64),
    21: ("TokenGroup", 80),
    22: ("GroupMemberPointer", 64),
    23: ("TokenGroupMember", 72),
    25: ("ScaledUiAmount", 56),
    26: ("Pausable", 33),
    28: ("PermissionedBurn", 32),
    65_535: ("a number that nobody has given away", 8),
}


def _option(key: Pubkey | None) -> bytes:
    return bytes(36) if key is None else pack("<I", 1) + bytes(key)


def mint_data(
    *, supply: int = 10**15, decimals: int = 6, freeze: Pubkey | None = None, initialized: int = 1
) -> bytes:
    """A mint without authority to mint, 82 bytes."""
    return _option(None) + pack("<QBB", supply, decimals, initialized) + _option(freeze)


def extension(number: int, data: bytes) -> bytes:
    return pack("<HH", number, len(data)) + data


def extended_mint(base: bytes, extensions: Sequence[bytes], *, kind: int = IS_MINT) -> bytes:
    """A mint of Token-2022 with extensions: they begin at byte 166."""
    return base.ljust(ACCOUNT_BYTES, b"\0") + bytes([kind]) + b"".join(extensions)


def token_data(
    mint: Pubkey,
    owner: Pubkey,
    amount: int = 0,
    *,
    state: int = INITIALIZED,
    delegate: Pubkey | None = None,
    close: Pubkey | None = None,
) -> bytes:
    """A token account, 165 bytes."""
    delegated = pack("<Q", 7 if delegate else 0)
    head = bytes(mint) + bytes(owner) + pack("<Q", amount) + _option(delegate)
    return head + bytes([state]) + bytes(12) + delegated + _option(close)


def immutable_owner(data: bytes) -> bytes:
    """The same as the associated token program makes it for Token-2022, 170 bytes."""
    return data + bytes([IS_ACCOUNT]) + extension(IMMUTABLE_OWNER, b"")


def amount_of(data: bytes) -> int:
    return int.from_bytes(data[64:72], "little")


def held(data: bytes, owner: Pubkey, lamports: int = 10**9) -> Account:
    """An account of that program with these bytes."""
    return Account(lamports, data, owner)


@lru_cache(maxsize=4096)
def _found(owner: Pubkey, token_program: Pubkey, mint: Pubkey) -> tuple[Pubkey, int]:
    seeds = [bytes(owner), bytes(token_program), bytes(mint)]
    return Pubkey.find_program_address(seeds, ASSOCIATED)


def associated(owner: Pubkey, token_program: Pubkey, mint: Pubkey) -> Pubkey:
    """The owner's associated token account."""
    return _found(owner, token_program, mint)[0]


def associated_bump(owner: Pubkey, token_program: Pubkey, mint: Pubkey) -> int:
    """Canonical bump of its address."""
    return _found(owner, token_program, mint)[1]
