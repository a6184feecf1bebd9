"""What people do with their own money on the chain: claim, redeem, deposit, leave.

In:   a chain, a market, a wallet's key; a proof from the coordinator or from a leaf file that
      somebody kept; a voucher from a file.
Out:  `Paid`: the wallet's tokens before and after, and the signature that did it.
Rules:
  1. Nothing of the coordinator's is believed: a proof is checked against the root on the chain, a
     voucher against the key on the chain, before anything is signed.
  2. The wallet pays its own fee; money goes to its own token account.
  3. What is done already is not done again: a claim that pays nothing is refused by name.
Not here: flags (`hypernode.cli.claims`), a sponsor who pays the fee (`sponsored_claims`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from hypernode.answers import ProofInfo
from onchain import calls
from onchain.address import decode_address, encode_address
from onchain.amounts import format_hyper, parse_hyper
from onchain.chain import Chain, Commitment
from onchain.claim import Plan, claim_intent, plan_claim, plan_redeem
from onchain.deeds import carry_out, signature_text
from onchain.drafts import Signer
from onchain.errors import OnchainError
from onchain.fees import Fees
from onchain.journal import MemoryJournal
from onchain.leaf_errors import LeafFileError, NoLeaf
from onchain.leaves import Kind, LeafFile
from onchain.merkle import HASH_BYTES
from onchain.places import Market
from onchain.program.layout import CONSTANTS
from onchain.program_refusals import refusal_named
from onchain.reads import ClaimNow, ExitNow, read_claim, read_exit, read_ledger
from onchain.sender import Pace, Sender
from onchain.settlement_tree import Proof, SettlementTree
from onchain.shortages import check_tokens, in_words
from onchain.transactions import Recipe
from onchain.vouchers import (
    VOUCHER_BYTES,
    VoucherForged,
    VoucherMalformed,
    accept_voucher,
    parse_voucher,
)

_PROOF_MAX: Final = CONSTANTS["MAX_PROOF"][0]


class ForeignProof(OnchainError):
    """This proof is of another ledger or wallet, or is none."""


class PaysNothing(OnchainError):
    """A claim that costs its fee and pays nothing."""


class Paid(msgspec.Struct, frozen=True):
    """What came of it; base units of the wallet's own token account."""

    before: int
    after: int
    #: Base58; None where the chain showed it done before anything was signed.
    signature: str | None


def proof_of(info: ProofInfo, ledger: bytes, wallet: bytes) -> Proof:
    """A coordinator's answer as a proof; whether it holds, the chain says.

    Raises:
        ForeignProof: of another ledger or wallet, or no hashes.
    """
    try:
        path = tuple(bytes.fromhex(each) for each in info.proof)
        named = (decode_address(info.ledger), decode_address(info.wallet))
        amount = parse_hyper(info.lifetime)
    except (ValueError, OnchainError) as error:
        raise ForeignProof(str(error)) from error
    is_path = len(path) <= _PROOF_MAX and all(len(each) == HASH_BYTES for each in path)
    if named != (ledger, wallet) or not is_path or not 0 <= info.index < 2**32:
        raise ForeignProof(ForeignProof.__doc__)
    return Proof(
        kind=Kind.EARNINGS,
        ledger=ledger,
        address=wallet,
        epoch=info.epoch,
        index=info.index,
        amount=amount,
        path=path,
    )


def proof_in(file: Path, kind: Kind, address: bytes) -> Proof:
    """The proof of a leaf in a leaf file that somebody kept.

    Raises:
        LeafFileError, NoLeaf: no such file, or the address is not in it.
    """
    with file.open("rb") as opened, naming(file, address):
        leaves = LeafFile(opened)
        leaves.check()
        return SettlementTree(leaves).proof(kind, address)


@contextmanager
def naming(file: Path, address: bytes = b"") -> Iterator[None]:
    """Errors of a leaf file or a voucher's, with its path; of a missing leaf with whose it is."""
    try:
        yield
    except (LeafFileError, VoucherMalformed, VoucherForged) as error:
        whose = f" ({encode_address(address)})" if isinstance(error, NoLeaf) and address else ""
        msg = f"{file}: {error}{whose}"
        raise type(error)(msg) from error


async def claim(
    chain: Chain,
    market: Market,
    wallet: Signer,
    proof: Proof,
    fees: Fees,
    pace: Pace | None = None,
    *,
    may_pay_nothing: bool = False,
) -> Paid:
    """Pay a wallet what its leaf proves.

    Raises:
        PaysNothing: vouchers paid all of it before; nothing was signed.
        ProgramRefused: `NothingToClaim`, `StaleEpoch` and others; nothing was signed.
        ChainError: it did not land, or nobody knows.
    """
    if proof.ledger != market.ledger or proof.address != wallet.address:
        raise ForeignProof(ForeignProof.__doc__)
    state = await read_claim(chain, market, wallet.address)
    plan = plan_claim(market, state, proof, payer=wallet)
    if not plan.outlook.pay and not may_pay_nothing:
        paid = format_hyper(state.record.claimed)
        msg = (
            f"this claim pays nothing and costs its fee: vouchers paid {paid} HYPER before, the "
            f"leaf proves {format_hyper(proof.amount)}. It covers what they advanced, so that more "
            "vouchers can be redeemed; the next claim that pays covers it too"
        )
        raise PaysNothing(msg)
    return await _pay_out(chain, market, wallet, state, plan, fees, pace)


async def redeem(
    chain: Chain, market: Market, wallet: Signer, raw: bytes, fees: Fees, pace: Pace | None = None
) -> Paid:
    """Pay a wallet what a voucher proves, with no coordinator needed.

    Raises:
        VoucherError: it is worth nothing to this wallet.
        ProgramRefused, ChainError: as `claim`.
    """
    state = await read_claim(chain, market, wallet.address)
    voucher = accept_voucher(
        raw[: VOUCHER_BYTES + 1],
        market=market,
        wallet=wallet.address,
        key=state.ledger.voucher_key,
        key_epoch=state.ledger.key_epoch,
        now=state.clock.unix_s,
    )
    plan = plan_redeem(market, state, voucher, payer=wallet)
    return await _pay_out(chain, market, wallet, state, plan, fees, pace)


async def keep_voucher(chain: Chain, market: Market, wallet: bytes, raw: bytes, file: Path) -> int:
    """Check a voucher against the chain and the one that is kept, then keep it; base units.

    Raises:
        VoucherError: it is worth nothing, or less than what is kept: that stays.
        OSError: the file cannot be written.
    """
    state = await read_claim(chain, market, wallet)
    kept = trio.Path(file)
    before = parse_voucher(await kept.read_bytes()) if await kept.exists() else None
    if before is not None and before.voucher.key_epoch != state.ledger.key_epoch:
        before = None  # void since the key was replaced
    accepted = accept_voucher(
        raw,
        market=market,
        wallet=wallet,
        key=state.ledger.voucher_key,
        key_epoch=state.ledger.key_epoch,
        now=state.clock.unix_s,
        before=before,
    )
    draft = kept.with_name(f"{kept.name}.new")
    await draft.write_bytes(raw)
    await draft.rename(kept)
    return accepted.voucher.cumulative


async def _pay_out(
    chain: Chain,
    market: Market,
    wallet: Signer,
    state: ClaimNow,
    plan: Plan,
    fees: Fees,
    pace: Pace | None,
) -> Paid:
    before = await tokens(chain, market, wallet.address)
    intent = claim_intent(chain, market, wallet.address, state, plan)
    async with in_words(chain, plan.recipe, market.program):
        sent = await Sender(chain, MemoryJournal(), fees=fees, pace=pace).send(intent)
    after = await tokens(chain, market, wallet.address)
    return Paid(before, after, None if sent.signature is None else signature_text(sent.signature))


async def deposit(
    chain: Chain,
    market: Market,
    wallet: Signer,
    amount: int,
    fees: Fees,
    *,
    owner: bytes | None = None,
    pace: Pace | None = None,
) -> Paid:
    """Bring tokens of a wallet in, as credit of an owner's; its own unless said.

    Raises:
        ProgramRefused: `BelowMinimum`, `Paused`.
        NotEnoughTokens, NotEnoughSol: the wallet has not so much.
        ChainError: it did not land, or nobody knows.
    """
    owner = wallet.address if owner is None else owner
    call = calls.deposit(
        market, payer=wallet.address, authority=wallet.address, owner=owner, amount=amount
    )
    state = await read_exit(chain, market, owner)
    start = state.record.deposited
    _check_deposit(state, amount)

    async def is_done() -> bool:
        return (await read_exit(chain, market, owner)).record.deposited >= start + amount

    before = await check_tokens(chain, market, wallet.address, amount)
    recipe = Recipe((call,), (wallet,))
    sent = await carry_out(
        chain, recipe, market.program, fees, name="deposit", is_done=is_done, pace=pace
    )
    after = await tokens(chain, market, wallet.address)
    return Paid(before, after, None if sent.signature is None else signature_text(sent.signature))


def _check_deposit(state: ExitNow, amount: int) -> None:
    """What the program would refuse for reasons that it does not tell.

    Raises:
        ProgramRefused: `Paused`, `BelowMinimum`.
    """
    ledger, now_s = state.ledger, state.clock.unix_s
    until, least = ledger.paused_until[0], ledger.limits.min_deposit
    if now_s < until:
        raise refusal_named("Paused", until, now_s=now_s)
    if amount < least:
        detail = f"that is {format_hyper(least)} HYPER, and this is {format_hyper(amount)}"
        raise refusal_named("BelowMinimum", detail=detail)


async def tokens(chain: Chain, market: Market, wallet: bytes) -> int:
    """Base units in a wallet's own token account; 0 where it has none."""
    found = await chain.token_balance(market.token_account(wallet), Commitment.CONFIRMED)
    return 0 if found is None else found.amount


async def active_epoch(chain: Chain, market: Market) -> int:
    """Epoch of the active root; 0: none."""
    return (await read_ledger(chain, market)).ledger.active.epoch
