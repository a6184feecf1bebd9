"""Where things lie on the chain: addresses that follow from others, and one market's own.

In:   program, ledger, wallet, mint: 32 bytes each.
Out:  `Place`s (address and bump), `Market` (what all its transactions name).
Rules:
  1. A market is known by its ledger's address, never by the program's alone: a stranger's ledger
     under the same program is a ledger too.
  2. Bumps are the canonical ones: the highest that gives an address off the curve.
Source: Solana's `find_program_address`; the seeds are in `docs/program.md`, "Accounts".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from onchain.address import decode_address

SYSTEM_PROGRAM: Final = bytes(32)
TOKEN_PROGRAM: Final = decode_address("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM: Final = decode_address("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ATA_PROGRAM: Final = decode_address("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
ED25519_PROGRAM: Final = decode_address("Ed25519SigVerify111111111111111111111111111")
INSTRUCTIONS_SYSVAR: Final = decode_address("Sysvar1nstructions1111111111111111111111111")

#: Addresses that are remembered: finding one takes some 10 us, and a coordinator asks for the same
#: wallets again and again.
_REMEMBERED: Final = 65_536


@dataclass(frozen=True, slots=True)
class Place:
    """An address that follows from seeds, and the bump that takes it off the curve."""

    address: bytes
    bump: int


@lru_cache(maxsize=_REMEMBERED)
def derived(program: bytes, *seeds: bytes) -> Place:
    """The canonical address of seeds under a program."""
    from solders.pubkey import Pubkey  # noqa: PLC0415 - not everybody who reads leaves has solders

    address, bump = Pubkey.find_program_address(seeds, Pubkey(program))
    return Place(bytes(address), bump)


def ledger_place(program: bytes, base: bytes) -> Place:
    """The ledger that the key `base` made."""
    return derived(program, b"ledger", base)


def claim_record_place(program: bytes, ledger: bytes, wallet: bytes) -> Place:
    """The record of what a wallet was paid."""
    return derived(program, b"claim", ledger, wallet)


def deposit_record_place(program: bytes, ledger: bytes, owner: bytes) -> Place:
    """The record of what an owner brought in."""
    return derived(program, b"deposit", ledger, owner)


def token_account_place(wallet: bytes, mint: bytes, token_program: bytes = TOKEN_PROGRAM) -> Place:
    """The associated token account of a wallet."""
    return derived(ATA_PROGRAM, wallet, token_program, mint)


@dataclass(frozen=True, slots=True)
class Market:
    """One market on one cluster: what its clients pin, and what follows from it."""

    program: bytes
    ledger: bytes
    mint: bytes
    token_program: bytes = TOKEN_PROGRAM
    #: Genesis hash of its cluster.
    cluster_tag: bytes = bytes(32)

    def __post_init__(self) -> None:
        raws = (self.program, self.ledger, self.mint, self.token_program, self.cluster_tag)
        assert all(len(raw) == 32 for raw in raws)

    @property
    def vault(self) -> bytes:
        """The ledger's token account: all money."""
        return self.token_account(self.ledger)

    def claim_record(self, wallet: bytes) -> bytes:
        return claim_record_place(self.program, self.ledger, wallet).address

    def deposit_record(self, owner: bytes) -> bytes:
        return deposit_record_place(self.program, self.ledger, owner).address

    def token_account(self, wallet: bytes) -> bytes:
        return token_account_place(wallet, self.mint, self.token_program).address
