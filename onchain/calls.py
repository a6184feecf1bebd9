"""Calls of the settlement program that move a user's money: deposits, claims, vouchers, exits.

In:   a `Market`, and named arguments: addresses 32 bytes, amounts base units.
Out:  instructions as solders has them, for `transactions.Recipe`.
Rules:
  1. Accounts follow from market and wallet; a destination is given only where the wallet signs.
  2. A call says what it wants, not whether the program will have it: see `outlook`.
Not here: what roles do (`role_calls`), transactions (`claim`, `publish`).
Source: `docs/program.md`, "Instructions".
"""

from __future__ import annotations

from typing import Any, Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from onchain.anchor import instruction
from onchain.leaves import Kind
from onchain.places import ATA_PROGRAM, ED25519_PROGRAM, INSTRUCTIONS_SYSVAR, SYSTEM_PROGRAM, Market
from onchain.settlement_tree import Proof
from onchain.vouchers import SignedVoucher

#: Of the associated token account program: no failure where the account is there.
_CREATE_IDEMPOTENT: Final = b"\x01"


def create_token_account(market: Market, *, payer: bytes, wallet: bytes) -> Instruction:
    """Make a wallet's associated token account, or do nothing where it has one; `payer` signs."""
    metas = [
        AccountMeta(Pubkey(payer), is_signer=True, is_writable=True),
        AccountMeta(Pubkey(market.token_account(wallet)), is_signer=False, is_writable=True),
        *(
            AccountMeta(Pubkey(each), is_signer=False, is_writable=False)
            for each in (wallet, market.mint, SYSTEM_PROGRAM, market.token_program)
        ),
    ]
    return Instruction(Pubkey(ATA_PROGRAM), _CREATE_IDEMPOTENT, metas)


def deposit(
    market: Market,
    *,
    payer: bytes,
    authority: bytes,
    owner: bytes,
    amount: int,
    source: bytes | None = None,
) -> Instruction:
    """Bring tokens in for an owner; for the ledger itself they are its reserve.

    Args:
        market: The market.
        payer: Pays the rent of the record; signs.
        authority: Owns the source; signs.
        owner: Whose credit it will be.
        amount: Base units, at least the ledger's `min_deposit`.
        source: A token account of the mint; the authority's own unless said.
    """
    accounts = {
        "payer": payer,
        "authority": authority,
        "owner": owner,
        "ledger": market.ledger,
        "deposit_record": market.deposit_record(owner),
        "source": source or market.token_account(authority),
        "vault": market.vault,
        "mint": market.mint,
        "token_program": market.token_program,
        "system_program": SYSTEM_PROGRAM,
    }
    return instruction(market.program, "deposit", accounts, {"amount": amount})


def _paying(
    market: Market, payer: bytes, wallet: bytes, destination: bytes | None
) -> dict[str, bytes]:
    return {
        "payer": payer,
        "wallet": wallet,
        "ledger": market.ledger,
        "claim_record": market.claim_record(wallet),
        "vault": market.vault,
        "destination": destination or market.token_account(wallet),
        "mint": market.mint,
        "token_program": market.token_program,
        "system_program": SYSTEM_PROGRAM,
    }


def _proven(market: Market, proof: Proof, kind: Kind) -> dict[str, Any]:
    assert (proof.ledger, proof.kind) == (market.ledger, kind)
    amount = "lifetime" if kind is Kind.EARNINGS else "exitable"
    return {"epoch": proof.epoch, "index": proof.index, amount: proof.amount, "proof": proof.path}


def claim(market: Market, *, payer: bytes, proof: Proof) -> Instruction:
    """Pay a wallet what its leaf proves, into its own token account; `payer` signs."""
    accounts = _paying(market, payer, proof.address, None)
    return instruction(market.program, "claim", accounts, _proven(market, proof, Kind.EARNINGS))


def claim_to(market: Market, *, payer: bytes, proof: Proof, destination: bytes) -> Instruction:
    """The same into any token account of the mint; `payer` and the wallet sign."""
    accounts = _paying(market, payer, proof.address, destination)
    return instruction(market.program, "claim_to", accounts, _proven(market, proof, Kind.EARNINGS))


def cover(market: Market, *, proof: Proof) -> Instruction:
    """Prove a leaf without paying: what vouchers advanced counts as covered. Nobody signs."""
    accounts = {
        "wallet": proof.address,
        "ledger": market.ledger,
        "claim_record": market.claim_record(proof.address),
    }
    return instruction(market.program, "cover", accounts, _proven(market, proof, Kind.EARNINGS))


def check_voucher(voucher: SignedVoucher) -> Instruction:
    """The check of a voucher's signature; it must stand just before `redeem`."""
    return Instruction(Pubkey(ED25519_PROGRAM), voucher.ed25519_data(), [])


def redeem(
    market: Market, *, payer: bytes, voucher: SignedVoucher
) -> tuple[Instruction, Instruction]:
    """Pay a voucher into the wallet's own token account; `payer` signs. The order counts."""
    return _redeem(market, "redeem", payer, voucher, None)


def redeem_to(
    market: Market, *, payer: bytes, voucher: SignedVoucher, destination: bytes
) -> tuple[Instruction, Instruction]:
    """The same into any token account of the mint; `payer` and the wallet sign."""
    return _redeem(market, "redeem_to", payer, voucher, destination)


def _redeem(
    market: Market, name: str, payer: bytes, voucher: SignedVoucher, destination: bytes | None
) -> tuple[Instruction, Instruction]:
    said = voucher.voucher
    assert (said.program, said.ledger) == (market.program, market.ledger)
    accounts = _paying(market, payer, said.wallet, destination)
    accounts["instructions_sysvar"] = INSTRUCTIONS_SYSVAR
    arguments = {"cumulative": said.cumulative, "expires_at": said.expires_at}
    return check_voucher(voucher), instruction(market.program, name, accounts, arguments)


def exit_credit(market: Market, *, proof: Proof) -> Instruction:
    """Pay an owner's unspent credit back, into its own token account (`exit`). Nobody signs."""
    accounts = {
        "owner": proof.address,
        "ledger": market.ledger,
        "deposit_record": market.deposit_record(proof.address),
        "vault": market.vault,
        "destination": market.token_account(proof.address),
        "mint": market.mint,
        "token_program": market.token_program,
    }
    return instruction(market.program, "exit", accounts, _proven(market, proof, Kind.EXIT))


def request_exit(market: Market, *, owner: bytes) -> Instruction:
    """Ask to leave; the owner signs."""
    return _ask(market, "request_exit", owner)


def cancel_exit(market: Market, *, owner: bytes) -> Instruction:
    """Stay after all; the owner signs."""
    return _ask(market, "cancel_exit", owner)


def _ask(market: Market, name: str, owner: bytes) -> Instruction:
    accounts = {
        "owner": owner,
        "ledger": market.ledger,
        "deposit_record": market.deposit_record(owner),
    }
    return instruction(market.program, name, accounts, {})
