"""Addresses of programs and of accounts that a program derives: 32 raw bytes, found by solders."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from solders.pubkey import Pubkey

ZERO: Final = bytes(32)


def _known(text: str) -> bytes:
    return bytes(Pubkey.from_string(text))


#: Owner of every account that does not exist: its address is 32 zero bytes.
SYSTEM_PROGRAM: Final = _known("11111111111111111111111111111111")
TOKEN_PROGRAM: Final = _known("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = _known("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED_TOKEN_PROGRAM: Final = _known("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
ED25519_PROGRAM: Final = _known("Ed25519SigVerify111111111111111111111111111")
INSTRUCTIONS_SYSVAR: Final = _known("Sysvar1nstructions1111111111111111111111111")


@lru_cache(maxsize=65_536)
def derived(program: bytes, *seeds: bytes) -> tuple[bytes, int]:
    """The canonical address of the seeds and its bump, the highest that is off the curve."""
    address, bump = Pubkey.find_program_address(seeds, Pubkey(program))
    return bytes(address), bump


@lru_cache(maxsize=65_536)
def derived_with(program: bytes, bump: int, *seeds: bytes) -> bytes | None:
    """The address of the seeds with that bump; none where it is on the curve."""
    hashed = sha256(b"".join((*seeds, bytes([bump]), program, b"ProgramDerivedAddress")))
    address = hashed.digest()
    return None if Pubkey(address).is_on_curve() else address


def token_address(wallet: bytes, token_program: bytes, mint: bytes) -> tuple[bytes, int]:
    """The associated token account of a wallet, and its bump."""
    return derived(ASSOCIATED_TOKEN_PROGRAM, wallet, token_program, mint)


def claim_record_address(program: bytes, ledger: bytes, wallet: bytes) -> bytes:
    return derived(program, b"claim", ledger, wallet)[0]


def deposit_record_address(program: bytes, ledger: bytes, owner: bytes) -> bytes:
    return derived(program, b"deposit", ledger, owner)[0]
