"""Vouchers, and the instruction of the Ed25519 program that checks one.

In:   what a voucher says, the key that signs it.
Out:  the message of 164 bytes; the checking instruction, whole or with its header changed.
Source: `docs/program.md` (redeem); Agave's Ed25519 program (count, padding, offsets, the data).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from struct import pack
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

ED25519: Final = Pubkey.from_string("Ed25519SigVerify111111111111111111111111111")
INSTRUCTIONS_SYSVAR: Final = Pubkey.from_string("Sysvar1nstructions1111111111111111111111111")
TITLE: Final = b"\xffhyper-voucher-1"
#: Means: in this instruction itself.
HERE: Final = 0xFFFF
KEY_AT, SIGNATURE_AT, MESSAGE_AT = 16, 48, 112


@dataclass(frozen=True)
class Voucher:
    """What the voucher key signs. Amounts in base units, times in Unix seconds."""

    program: bytes
    ledger: bytes
    cluster_tag: bytes
    wallet: bytes
    cumulative: int
    expires_at: int
    key_epoch: int

    def message(self) -> bytes:
        return TITLE + b"".join(
            (
                *(bytes(self.program), bytes(self.ledger), bytes(self.cluster_tag)),
                *(
                    bytes(self.wallet),
                    pack("<QqI", self.cumulative, self.expires_at, self.key_epoch),
                ),
            )
        )


@dataclass(frozen=True)
class Check:
    """Bytes of an instruction of the Ed25519 program, field by field: what an attacker turns."""

    count: int = 1
    padding: int = 0
    signature_at: int = SIGNATURE_AT
    signature_in: int = HERE
    key_at: int = KEY_AT
    key_in: int = HERE
    message_at: int = MESSAGE_AT
    message_size: int = 164
    message_in: int = HERE

    def header(self) -> bytes:
        return pack("<BB", self.count, self.padding) + pack(
            "<7H",
            *(self.signature_at, self.signature_in, self.key_at, self.key_in),
            *(self.message_at, self.message_size, self.message_in),
        )


def signed_check(message: bytes, key: Keypair, check: Check | None = None) -> bytes:
    """The data of the checking instruction, 276 bytes for a voucher."""
    shown = check or replace(Check(), message_size=len(message))
    signature = bytes(key.sign_message(message))
    return shown.header() + bytes(key.pubkey()) + signature + message


def check_instruction(
    data: bytes, *, program: Pubkey = ED25519, accounts: tuple[AccountMeta, ...] = ()
) -> Instruction:
    return Instruction(program, data, list(accounts))
