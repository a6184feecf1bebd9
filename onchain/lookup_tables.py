"""Lookup tables: many addresses named by one byte each, so that more fits in a packet.

In:   a table's account from the chain, or an authority that makes one.
Out:  `LookupTable` for `transactions.Recipe`; the instructions that make and fill a table.
Rules:
  1. A table is believed only if the lookup-table program owns it and nobody is closing it.
  2. Addresses that were added in this slot count from the next one on: that is the runtime's rule.
Not covered: freezing and closing tables; a table whose authority turns hostile can be closed, which
delays our transactions but cannot change what is in them: it only grows.
Source: anza-xyz/solana-sdk `address-lookup-table-interface` (layout and instruction numbers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from onchain.address import encode_address
from onchain.chain import Account, Chain
from onchain.chain_errors import BadDraft

PROGRAM: Final = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
SYSTEM: Final = Pubkey.default()
#: Addresses that one transaction can add, beside its other bytes.
ADDED_PER_TRANSACTION_MAX: Final = 20
HEAD_BYTES: Final = 56

_HEAD: Final = Struct("<IQ")
_KIND_TABLE: Final = 1
_NOT_CLOSING: Final = 2**64 - 1
_CREATE: Final = Struct("<IQB")
_EXTEND: Final = Struct("<IQ")


@dataclass(frozen=True, slots=True)
class LookupTable:
    address: bytes
    addresses: tuple[bytes, ...]

    @property
    def in_solders(self) -> AddressLookupTableAccount:
        return AddressLookupTableAccount(Pubkey(self.address), [*map(Pubkey, self.addresses)])


def parse_table(account: Account | None) -> LookupTable:
    """The table in an account.

    Raises:
        BadDraft: there is none, another program owns it, or it is being closed.
    """
    if account is None or account.owner != bytes(PROGRAM) or len(account.data) < HEAD_BYTES:
        msg = "no lookup table at this address"
        raise BadDraft(msg)
    kind, closing = _HEAD.unpack_from(account.data)
    rows = account.data[HEAD_BYTES:]
    if kind != _KIND_TABLE or closing != _NOT_CLOSING or len(rows) % 32:
        msg = f"the lookup table {encode_address(account.address)} is closing or broken"
        raise BadDraft(msg)
    return LookupTable(account.address, tuple(rows[i : i + 32] for i in range(0, len(rows), 32)))


async def read_tables(chain: Chain, addresses: Sequence[bytes]) -> tuple[LookupTable, ...]:
    """Tables from the chain, in the order of their addresses."""
    found = await chain.accounts(addresses)
    return tuple(map(parse_table, found.values))


def create_table(authority: bytes, payer: bytes, recent_slot: int) -> tuple[bytes, Instruction]:
    """The address of a new table, and the instruction that makes it.

    Args:
        authority: May add addresses later.
        payer: Pays the rent; signs.
        recent_slot: A slot of the last 512 that has a block: it makes the address unique.
    """
    seeds = [authority, recent_slot.to_bytes(8, "little")]
    table, bump = Pubkey.find_program_address(seeds, PROGRAM)
    accounts = [
        AccountMeta(table, is_signer=False, is_writable=True),
        AccountMeta(Pubkey(authority), is_signer=False, is_writable=False),
        AccountMeta(Pubkey(payer), is_signer=True, is_writable=True),
        AccountMeta(SYSTEM, is_signer=False, is_writable=False),
    ]
    return bytes(table), Instruction(PROGRAM, _CREATE.pack(0, recent_slot, bump), accounts)


def extend_table(
    table: bytes, authority: bytes, payer: bytes, addresses: Sequence[bytes]
) -> Instruction:
    """The instruction that adds addresses to a table; authority and payer sign."""
    assert 0 < len(addresses) <= ADDED_PER_TRANSACTION_MAX
    accounts = [
        AccountMeta(Pubkey(table), is_signer=False, is_writable=True),
        AccountMeta(Pubkey(authority), is_signer=True, is_writable=False),
        AccountMeta(Pubkey(payer), is_signer=True, is_writable=True),
        AccountMeta(SYSTEM, is_signer=False, is_writable=False),
    ]
    return Instruction(PROGRAM, _EXTEND.pack(2, len(addresses)) + b"".join(addresses), accounts)
