"""A mint, read from its account: what the settlement program asks of it, and who holds it. Pure.

In:   an account of the chain.
Out:  `Mint`; `refused_for` says, by the program's names, why a market cannot have it.
Not covered: the values of extensions; the program takes none that has any but metadata.
Source: spl-token's `Mint`, spl-token-2022's extensions; `docs/program.md`, "initialize".
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from onchain.account_words import described
from onchain.address import encode_address
from onchain.chain import Account
from onchain.places import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from onchain.program_refusals import ProgramRefused, refusal_named

_MINT: Final = Struct("<I32sQBBI32s")
_EXTENSIONS_AT: Final = 166
_KIND_AT, _IS_MINT = 165, 1
#: Names of Token-2022's extensions of mints, by number.
_NAMES: Final = {
    1: "TransferFeeConfig", 3: "MintCloseAuthority", 4: "ConfidentialTransferMint",
    6: "DefaultAccountState", 9: "NonTransferable", 10: "InterestBearingConfig",
    12: "PermanentDelegate", 14: "TransferHook", 16: "ConfidentialTransferFeeConfig",
    18: "MetadataPointer", 19: "TokenMetadata", 20: "GroupPointer", 21: "TokenGroup",
    22: "GroupMemberPointer", 23: "TokenGroupMember", 24: "ConfidentialMintBurn",
    25: "ScaledUiAmount", 26: "Pausable",
}  # fmt: skip
METADATA: Final = frozenset({"MetadataPointer", "TokenMetadata"})


@dataclass(frozen=True, slots=True)
class Mint:
    """What a mint's account says."""

    address: bytes
    token_program: bytes
    #: Base units in existence.
    supply: int
    decimals: int
    #: Who may mint; None: nobody, ever.
    mint_authority: bytes | None
    #: Who may freeze accounts; None: nobody, ever.
    freeze_authority: bytes | None
    #: Names, or `extension 99` where we know none.
    extensions: tuple[str, ...] = ()

    def refused_for(self) -> ProgramRefused | None:
        """Why no ledger can be made with it; None where nothing speaks against it."""
        if self.freeze_authority is not None:
            return refusal_named("MintFreezable")
        if not METADATA.issuperset(self.extensions):
            return refusal_named("MintExtension")
        return None


def parse_mint(account: Account | None) -> Mint:
    """The mint in an account.

    Raises:
        ProgramRefused: `WrongTokenProgram` or `WrongMint`, as the program would say.
    """
    if account is None:
        raise refusal_named("WrongMint")
    data, program = account.data, account.owner
    if program not in {TOKEN_PROGRAM, TOKEN_2022_PROGRAM}:
        where = encode_address(account.address)
        raise refusal_named("WrongTokenProgram", detail=f"at {where} lies {described(account)}")
    if len(data) < _MINT.size or (program == TOKEN_PROGRAM and len(data) != _MINT.size):
        where = encode_address(account.address)
        raise refusal_named("WrongMint", detail=f"at {where} lies {described(account)}")
    has_authority, authority, supply, decimals, initialized, freezable, freezer = _MINT.unpack_from(
        data
    )
    if initialized != 1:
        raise refusal_named("WrongMint")
    return Mint(
        account.address,
        program,
        supply,
        decimals,
        authority if has_authority else None,
        freezer if freezable else None,
        _extensions(data) if len(data) > _MINT.size else (),
    )


def _extensions(data: bytes) -> tuple[str, ...]:
    if len(data) < _EXTENSIONS_AT or data[_KIND_AT] != _IS_MINT:
        raise refusal_named("WrongMint")
    found, at = [], _EXTENSIONS_AT
    while at + 2 <= len(data) and (kind := int.from_bytes(data[at : at + 2], "little")):
        size = int.from_bytes(data[at + 2 : at + 4], "little")
        if at + 4 + size > len(data):
            raise refusal_named("MintExtension")
        found.append(_NAMES.get(kind, f"extension {kind}"))
        at += 4 + size
    return tuple(found)
