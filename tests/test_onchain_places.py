"""Addresses that follow from others."""

from __future__ import annotations

from solders.pubkey import Pubkey
from solders.sysvar import INSTRUCTIONS
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import get_associated_token_address

from onchain.address import decode_address, encode_address
from onchain.places import (
    ATA_PROGRAM,
    ED25519_PROGRAM,
    INSTRUCTIONS_SYSVAR,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    Market,
    claim_record_place,
    derived,
    ledger_place,
    token_account_place,
)
from onchain.program import DEVELOPMENT_ID
from onchain.program.idl import FIXED

WALLET = decode_address("9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM")
MINT = decode_address("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")


def test_a_token_account_is_where_everybody_looks_for_it() -> None:
    ours = token_account_place(WALLET, MINT)
    theirs = get_associated_token_address(Pubkey(WALLET), Pubkey(MINT))

    assert ours.address == bytes(theirs)
    assert token_account_place(WALLET, MINT, TOKEN_2022_PROGRAM).address != ours.address


def test_a_place_is_off_the_curve_and_made_of_its_seeds_and_bump() -> None:
    place = derived(DEVELOPMENT_ID, b"claim", WALLET)

    seeds = [b"claim", WALLET, bytes([place.bump])]
    again = Pubkey.create_program_address(seeds, Pubkey(DEVELOPMENT_ID))
    assert bytes(again) == place.address
    assert not Pubkey(place.address).is_on_curve()


def test_every_part_of_a_place_counts() -> None:
    places = {
        ledger_place(DEVELOPMENT_ID, WALLET).address,
        ledger_place(DEVELOPMENT_ID, MINT).address,
        ledger_place(ATA_PROGRAM, WALLET).address,
        claim_record_place(DEVELOPMENT_ID, WALLET, MINT).address,
        claim_record_place(DEVELOPMENT_ID, MINT, WALLET).address,
    }

    assert len(places) == 5


def test_a_market_has_its_vault_and_records() -> None:
    ledger = ledger_place(DEVELOPMENT_ID, WALLET).address
    market = Market(DEVELOPMENT_ID, ledger, MINT)

    assert market.vault == token_account_place(ledger, MINT, TOKEN_PROGRAM).address
    assert market.claim_record(WALLET) == claim_record_place(DEVELOPMENT_ID, ledger, WALLET).address
    assert market.deposit_record(WALLET) != market.claim_record(WALLET)


def test_fixed_addresses_are_those_of_solana() -> None:
    assert encode_address(INSTRUCTIONS_SYSVAR) == str(INSTRUCTIONS) == FIXED["instructions_sysvar"]
    assert (bytes(TOKEN_PROGRAM_ID), bytes(ASSOCIATED_TOKEN_PROGRAM_ID)) == (
        TOKEN_PROGRAM,
        ATA_PROGRAM,
    )
    assert encode_address(ED25519_PROGRAM) == "Ed25519SigVerify111111111111111111111111111"
