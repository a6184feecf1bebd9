"""Transactions of those who get money: claims, vouchers, exits; planned, fitted, never half-known.

In:   a `Market`, what it looks like now (`reads`), a proof or voucher, who pays the fee.
Out:  `Plan`s: a `Recipe`, how much it pays, and what it opens besides; `claim_intent` for `sender`.
Rules:
  1. What the program would refuse now is refused here, by the program's own name.
  2. A wallet's token account is made in the same transaction where it is missing, and only then.
  3. Every transaction fits in a packet: first without a lookup table, then with one. Where a wallet
     signs elsewhere, room is left for what wallets put in, as far as there is any.
  4. Anybody may pay the fee for anybody; the money goes to the wallet's own token account, unless
     the wallet itself signs.
Not covered: which fee is worth it (`sponsor`), signatures of others (`cosign`, `sponsored`).
Source: `docs/program.md`; Solana Actions for unsigned transactions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NoReturn

from solders.instruction import AccountMeta, Instruction

from coordinator.limits import TRANSACTION_BYTES_MAX
from onchain import calls
from onchain.address import encode_address
from onchain.chain import LAMPORTS_PER_SIGNATURE, Chain, ChainClock, Commitment, LatestBlockhash
from onchain.chain_errors import BadDraft, PacketTooLarge
from onchain.drafts import UNITS_MAX, Budget, Signer
from onchain.fees import Fees
from onchain.lookup_tables import LookupTable
from onchain.outlook import (
    NEVER_DEPOSITED,
    Outlook,
    claim_outlook,
    cover_outlook,
    exit_outlook,
    redeem_outlook,
)
from onchain.places import INSTRUCTIONS_SYSVAR, SYSTEM_PROGRAM, Market
from onchain.program_refusals import explained, refusal_named
from onchain.reads import ClaimNow, ExitNow, read_claim
from onchain.sender import Intent
from onchain.settlement_tree import Proof
from onchain.sponsor import Rents, SponsorRequest
from onchain.transactions import Recipe
from onchain.vouchers import SignedVoucher

#: Bytes for two instructions of a guard program that wallets add (Phantom one, Solflare two): its
#: address, and twice 40 for an account, indexes and an assertion.
WALLET_ROOM: Final = 32 + 2 * 40
#: The longest that a transaction can become by its budget: a price is set.
_DEAREST: Final = Budget(UNITS_MAX, 1)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A signer whose key is not here: a wallet signs the unsigned bytes."""

    address: bytes

    def sign(self, message: bytes) -> NoReturn:
        """Refuses.

        Raises:
            BadDraft: always.
        """
        del message
        msg = f"the key of {encode_address(self.address)} is not here"
        raise BadDraft(msg)


@dataclass(frozen=True, slots=True)
class Plan:
    """A transaction that would do something now."""

    recipe: Recipe
    outlook: Outlook
    opens_token_account: bool = False
    opens_record: bool = False
    #: Bytes of the packet that are left, with a priority fee set.
    room: int = 0

    def sponsor_request(self, budget: Budget, rents: Rents | None = None) -> SponsorRequest:
        """What it would take from whoever pays for it."""
        return SponsorRequest(
            payout=self.outlook.pay,
            fee_lamports=self.recipe.signatures * LAMPORTS_PER_SIGNATURE + budget.lamports,
            opens_token_account=self.opens_token_account,
            opens_record=self.opens_record,
            rents=rents or Rents(),
        )


def plan_claim(
    market: Market,
    state: ClaimNow,
    proof: Proof,
    *,
    payer: Signer,
    wallet: Signer | None = None,
    tables: tuple[LookupTable, ...] = (),
) -> Plan:
    """Pay a wallet what its leaf proves, into its own token account.

    Args:
        market: The market.
        state: As `reads.read_claim` gave it for the leaf's wallet.
        proof: The wallet's leaf under the active root or the one before.
        payer: Pays fee and rents; the wallet, or anybody.
        wallet: The leaf's wallet, where it shall sign although the program does not ask for it: a
            sponsor pays for what the wallet itself wants.
        tables: Used where the transaction would not fit without.

    Raises:
        ProgramRefused: the program would refuse it now; `again_at` says when to come again.
        PacketTooLarge: it does not fit, with the tables neither.
    """
    outlook = _open(claim_outlook(state.ledger, state.record, proof, state.clock), state.clock)
    call = calls.claim(market, payer=payer.address, proof=proof)
    recipe = Recipe((call,), (payer,))
    if wallet is not None:
        assert wallet.address == proof.address
        recipe = Recipe((_signed_by(call, wallet.address),), _both(payer, wallet))
    plan = Plan(recipe, outlook, opens_record=not state.record.exists)
    return _fitted(_with_token_account(plan, market, state, proof.address), tables)


def plan_claim_to(
    market: Market,
    state: ClaimNow,
    proof: Proof,
    *,
    payer: Signer,
    wallet: Signer,
    destination: bytes,
    tables: tuple[LookupTable, ...] = (),
) -> Plan:
    """The same into any token account of the mint, which must be there; the wallet signs too."""
    assert wallet.address == proof.address
    outlook = _open(claim_outlook(state.ledger, state.record, proof, state.clock), state.clock)
    call = calls.claim_to(market, payer=payer.address, proof=proof, destination=destination)
    recipe = Recipe((call,), _both(payer, wallet))
    return _fitted(Plan(recipe, outlook, opens_record=not state.record.exists), tables)


def plan_cover(
    market: Market,
    state: ClaimNow,
    proof: Proof,
    *,
    payer: Signer,
    tables: tuple[LookupTable, ...] = (),
) -> Plan:
    """Prove a leaf without paying, so that what vouchers advanced counts as covered."""
    outlook = _open(cover_outlook(state.ledger, state.record, proof, state.clock), state.clock)
    return _fitted(Plan(Recipe((calls.cover(market, proof=proof),), (payer,)), outlook), tables)


def plan_redeem(
    market: Market,
    state: ClaimNow,
    voucher: SignedVoucher,
    *,
    payer: Signer,
    tables: tuple[LookupTable, ...] = (),
) -> Plan:
    """Pay a voucher into the wallet's own token account; the voucher has passed its check."""
    outlook = _open(
        redeem_outlook(state.ledger, state.record, voucher.voucher, state.clock), state.clock
    )
    pair = calls.redeem(market, payer=payer.address, voucher=voucher)
    plan = Plan(Recipe(pair, (payer,)), outlook, opens_record=not state.record.exists)
    return _fitted(_with_token_account(plan, market, state, voucher.voucher.wallet), tables)


def plan_redeem_to(
    market: Market,
    state: ClaimNow,
    voucher: SignedVoucher,
    *,
    payer: Signer,
    wallet: Signer,
    destination: bytes,
    tables: tuple[LookupTable, ...] = (),
) -> Plan:
    """The same into any token account of the mint, which must be there; the wallet signs too."""
    assert wallet.address == voucher.voucher.wallet
    outlook = _open(
        redeem_outlook(state.ledger, state.record, voucher.voucher, state.clock), state.clock
    )
    pair = calls.redeem_to(market, payer=payer.address, voucher=voucher, destination=destination)
    recipe = Recipe(pair, _both(payer, wallet))
    return _fitted(Plan(recipe, outlook, opens_record=not state.record.exists), tables)


def plan_exit(
    market: Market,
    state: ExitNow,
    proof: Proof,
    *,
    payer: Signer,
    tables: tuple[LookupTable, ...] = (),
) -> Plan:
    """Pay an owner's unspent credit back, into its own token account."""
    outlook = _open(exit_outlook(state.ledger, state.record, proof, state.clock), state.clock)
    plan = Plan(Recipe((calls.exit_credit(market, proof=proof),), (payer,)), outlook)
    return _fitted(_with_token_account(plan, market, state, proof.address), tables)


def plan_exit_request(
    market: Market, state: ExitNow, *, owner: Signer, payer: Signer, cancel: bool = False
) -> Plan:
    """Ask to leave, or take that back; the owner signs."""
    record = state.record
    if not record.exists:
        raise refusal_named("InvalidRecord", detail=NEVER_DEPOSITED)
    if cancel != (record.exit_requested_at != 0):
        raise refusal_named("NoExitRequest" if cancel else "ExitRequested")
    ask = calls.cancel_exit if cancel else calls.request_exit
    call = ask(market, owner=owner.address)
    return _fitted(Plan(Recipe((call,), _both(payer, owner)), Outlook()), ())


def table_addresses(market: Market) -> tuple[bytes, ...]:
    """What a market's lookup table holds; programs that are called cannot be named by one."""
    return (
        *(market.ledger, market.vault, market.mint),
        *(market.token_program, SYSTEM_PROGRAM, INSTRUCTIONS_SYSVAR),
    )


async def unsigned_transaction(chain: Chain, plan: Plan, market: Market, fees: Fees) -> bytes:
    """A plan's bytes for a wallet to sign: the answer of an action's POST.

    Signatures are zeros, the fee payer is the plan's first signer and the blockhash the latest one;
    a client of Solana Actions puts its own in place of both, as the standard says.

    Raises:
        ProgramRefused, TransactionRefused: it would fail.
        FeeTooHigh: it costs more than the ceiling.
        ChainError: the chain could not be asked.
    """
    budget, latest = await priced(chain, plan, market, fees)
    return plan.recipe.unsigned(latest.blockhash, budget)


async def priced(
    chain: Chain, plan: Plan, market: Market, fees: Fees
) -> tuple[Budget, LatestBlockhash]:
    """What a plan may cost now, and the blockhash to build it on.

    Raises:
        ProgramRefused, TransactionRefused: it would fail.
        FeeTooHigh: it costs more than the ceiling.
        ChainError: the chain could not be asked.
    """
    with explained(plan.recipe, market.program):
        budget = await fees.budget(chain, plan.recipe, (market.ledger, market.vault), 0)
    return budget, await chain.latest_blockhash()


def claim_intent(
    chain: Chain, market: Market, wallet: bytes, state: ClaimNow, plan: Plan
) -> Intent:
    """A claim, cover or voucher as a deed for `Sender`: done when the wallet's record has moved.

    A second one would pay only what is owed still, so nothing is lost if both land.
    """
    before = (state.record.claimed, state.record.covered)

    async def is_done() -> bool:
        record = (await read_claim(chain, market, wallet)).record
        return (record.claimed, record.covered) != before

    name = f"claim:{market.ledger.hex()}:{wallet.hex()}:{before[0]}:{before[1]}"
    contended = (market.ledger, market.vault)
    return Intent(
        name,
        plan.recipe,
        is_done,
        lands_once=True,
        commitment=Commitment.CONFIRMED,
        contended=contended,
    )


def _open(outlook: Outlook, clock: ChainClock) -> Outlook:
    if not outlook.is_open:
        raise refusal_named(
            outlook.refusal, outlook.again_at, now_s=clock.unix_s, detail=outlook.detail
        )
    return outlook


def _both(payer: Signer, signer: Signer) -> tuple[Signer, ...]:
    return (payer,) if payer.address == signer.address else (payer, signer)


def _signed_by(call: Instruction, wallet: bytes) -> Instruction:
    """The same call, of a transaction that is good only with this account's signature."""
    metas = [
        AccountMeta(
            each.pubkey,
            is_signer=each.is_signer or bytes(each.pubkey) == wallet,
            is_writable=each.is_writable,
        )
        for each in call.accounts
    ]
    return Instruction(call.program_id, call.data, metas)


def _with_token_account(
    plan: Plan, market: Market, state: ClaimNow | ExitNow, wallet: bytes
) -> Plan:
    """With the instruction in front that makes the wallet's token account, where it has none."""
    if state.has_token_account or not plan.outlook.pay:
        # Where nothing is paid the program still wants the account: `cover` is for that.
        if not state.has_token_account:
            raise refusal_named("InvalidTokenAccount")
        return plan
    payer = plan.recipe.signers[0].address
    first: Instruction = calls.create_token_account(market, payer=payer, wallet=wallet)
    recipe = replace(plan.recipe, instructions=(first, *plan.recipe.instructions))
    return replace(plan, recipe=recipe, opens_token_account=True)


def _fitted(plan: Plan, tables: tuple[LookupTable, ...]) -> Plan:
    """With lookup tables if it needs them, and what is left of the packet."""
    recipe = plan.recipe
    room = WALLET_ROOM if any(isinstance(each, Elsewhere) for each in recipe.signers) else 0
    size = _size(recipe)
    if size + room > TRANSACTION_BYTES_MAX and tables:
        recipe = replace(recipe, tables=tables)
        size = _size(recipe)
    # A wallet that finds no room leaves its guards out; a proof that is cut proves nothing.
    if size > TRANSACTION_BYTES_MAX:
        raise PacketTooLarge(size, TRANSACTION_BYTES_MAX)
    return replace(plan, recipe=recipe, room=TRANSACTION_BYTES_MAX - size)


def _size(recipe: Recipe) -> int:
    """Bytes of the transaction at its longest; of one that fits in no packet as it says."""
    try:
        return len(recipe.unsigned(bytes(32), _DEAREST))
    except PacketTooLarge as error:
        return error.size
