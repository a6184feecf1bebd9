"""Calls of the token programs: a mint is made, tokens are minted.

In:   addresses (32 bytes), amounts in base units.
Out:  instructions as solders has them.
Rules:
  1. A mint has no freeze authority: the settlement program takes no other.
  2. On Token-2022 the mint bears its own name (MetadataPointer, TokenMetadata); SPL Token has no
     place for one.
Not covered: burning, delegates, every other extension.
Source: spl-token's `TokenInstruction`, spl-token-metadata-interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from struct import pack
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account

from onchain.places import TOKEN_2022_PROGRAM, TOKEN_PROGRAM

MINT_BYTES: Final = 82
#: A mint of Token-2022 with a MetadataPointer: base, padding, kind, and the extension's 4 + 64.
_POINTED_BYTES: Final = 165 + 1 + 4 + 64
#: TokenMetadata besides its texts: type and length, authority, mint, lengths of 3 texts and 1 list.
_METADATA_BYTES: Final = 4 + 32 + 32 + 4 * 4
_INITIALIZE_MINT: Final = 20
_MINT_TO_CHECKED: Final = 14
_POINTER_INITIALIZE: Final = bytes([39, 0])
_METADATA_INITIALIZE: Final = sha256(b"spl_token_metadata_interface:initialize_account").digest()[
    :8
]


@dataclass(frozen=True, slots=True)
class NewMint:
    """A mint that is to be made; its `authority` may mint, and name it."""

    mint: bytes
    authority: bytes
    name: str
    symbol: str
    decimals: int = 6
    token_program: bytes = TOKEN_PROGRAM

    @property
    def size(self) -> int:
        """Bytes of the account in the end."""
        if self.token_program != TOKEN_2022_PROGRAM:
            return MINT_BYTES
        return _POINTED_BYTES + _METADATA_BYTES + len(f"{self.name}{self.symbol}".encode())


def create_mint(new: NewMint, *, payer: bytes, lamports: int) -> tuple[Instruction, ...]:
    """Make a mint; `payer`, the mint and, on Token-2022, the authority sign.

    Args:
        new: The mint.
        payer: Pays its rent.
        lamports: The rent of `new.size` bytes.
    """
    named = new.token_program == TOKEN_2022_PROGRAM
    account = create_account(
        CreateAccountParams(
            from_pubkey=Pubkey(payer),
            to_pubkey=Pubkey(new.mint),
            lamports=lamports,
            space=_POINTED_BYTES if named else MINT_BYTES,
            owner=Pubkey(new.token_program),
        )
    )
    data = pack("<BB32sB", _INITIALIZE_MINT, new.decimals, new.authority, 0)
    initialize = _call(new, data, (new.mint, False, True))
    if not named:
        return account, initialize
    pointer = _POINTER_INITIALIZE + new.authority + new.mint
    return account, _call(new, pointer, (new.mint, False, True)), initialize, _name(new)


def _name(new: NewMint) -> Instruction:
    texts = (new.name.encode(), new.symbol.encode(), b"")
    data = _METADATA_INITIALIZE + b"".join(pack("<I", len(text)) + text for text in texts)
    places = (
        (new.mint, False, True),
        (new.authority, False, False),
        (new.mint, False, False),
        (new.authority, True, False),
    )
    return _call(new, data, *places)


def mint_to(new: NewMint, *, account: bytes, amount: int) -> Instruction:
    """Mint base units into a token account; the authority signs."""
    data = pack("<BQB", _MINT_TO_CHECKED, amount, new.decimals)
    places = (new.mint, False, True), (account, False, True), (new.authority, True, False)
    return _call(new, data, *places)


def _call(new: NewMint, data: bytes, *places: tuple[bytes, bool, bool]) -> Instruction:
    metas = [
        AccountMeta(Pubkey(address), is_signer=signs, is_writable=written)
        for address, signs, written in places
    ]
    return Instruction(Pubkey(new.token_program), data, metas)
