"""claim, claim_to, cover, redeem, redeem_to: what wallets are paid."""

from __future__ import annotations

import struct
from typing import Final

from tests.settlement_model.addresses import ED25519_PROGRAM, INSTRUCTIONS_SYSVAR
from tests.settlement_model.money import (
    Breaker,
    pay_out,
    require_any_account,
    require_own_account,
    require_token_accounts,
)
from tests.settlement_model.state import U64_MAX, ClaimRecord, Root
from tests.settlement_model.step import CLAIM, REDEEM, Step, is_zero
from tests.settlement_model.tree import earnings_leaf, leads_to
from tests.settlement_model.world import Refusal, require

#: One signature; where signature, key and message of 164 bytes lie, all in this very instruction.
VOUCHER_HEADER: Final = bytes.fromhex("01003000ffff1000ffff7000a400ffff")
VOUCHER_CHECK_BYTES: Final = 276


def claim(step: Step) -> None:
    _claim(step, to_any=False)


def claim_to(step: Step) -> None:
    _claim(step, to_any=True)


def _claim(step: Step, *, to_any: bool) -> None:
    step.refuse_if_paused(CLAIM)
    step.promote()
    root = _claimable_root(step)
    step.signed("payer")
    if to_any:
        step.signed("wallet")
    require_token_accounts(step)
    _require_earnings_leaf(step, root)
    record = step.claim_record()
    lifetime = step.call.number("lifetime")
    covered = max(record.covered, lifetime)
    require(lifetime > record.claimed or covered != record.covered, "NothingToClaim")
    breaker = Breaker(step, "flow")
    pay = 0
    if lifetime > record.claimed:
        pay = min(lifetime - record.claimed, breaker.headroom())
    _account_for(step, record, pay, covered)
    _pay_wallet(step, record, breaker, pay, to_any=to_any)
    _emit_claimed(step, record, pay)


def cover(step: Step) -> None:
    step.refuse_if_paused(CLAIM)
    step.promote()
    root = _claimable_root(step)
    _require_earnings_leaf(step, root)
    record = step.claim_record(may_open=False)
    lifetime = step.call.number("lifetime")
    require(lifetime > record.covered, "NothingToClaim")
    _account_for(step, record, 0, lifetime)
    _emit_claimed(step, record, 0)


def redeem(step: Step) -> None:
    _redeem(step, to_any=False)


def redeem_to(step: Step) -> None:
    _redeem(step, to_any=True)


def _redeem(step: Step, *, to_any: bool) -> None:
    ledger = step.ledger
    require(not is_zero(ledger.voucher_key), "VouchersOff")
    step.refuse_if_paused(REDEEM)
    require(step.now <= step.call.number("expires_at"), "VoucherExpired")
    step.signed("payer")
    if to_any:
        step.signed("wallet")
    require_token_accounts(step)
    _require_voucher(step)
    record = step.claim_record()
    cumulative = step.call.number("cumulative")
    require(cumulative > record.claimed, "NothingToClaim")
    payable = max(0, record.covered - record.claimed) + _room(step, record)
    require(payable != 0, "AdvanceExhausted")
    breaker = Breaker(step, "voucher_flow")
    pay = min(cumulative - record.claimed, payable, breaker.headroom())
    _account_for(step, record, pay, record.covered)
    _pay_wallet(step, record, breaker, pay, to_any=to_any)
    step.emit(
        "Redeemed",
        wallet=step.call.key("wallet"),
        amount=pay,
        claimed=record.claimed,
        advance=ledger.advance,
    )


def _claimable_root(step: Step) -> Root:
    epoch, ledger = step.call.number("epoch"), step.ledger
    require(epoch != 0, "StaleEpoch")
    if epoch == ledger.active.epoch:
        return ledger.active
    require(epoch == ledger.previous.epoch, "StaleEpoch")
    return ledger.previous


def _require_earnings_leaf(step: Step, root: Root) -> None:
    wallet, lifetime = step.call.key("wallet"), step.call.number("lifetime")
    leaf = earnings_leaf(step.ledger_key, wallet, lifetime)
    index, proof = step.call.number("index"), step.call.proof()
    require(leads_to(root.root, leaf, index, root.leaf_count, proof), "InvalidProof")


def _room(step: Step, record: ClaimRecord) -> int:
    """What may still be paid to this wallet beyond what its leaf proves."""
    ledger, limits = step.ledger, step.ledger.limits
    in_all = max(0, min(limits.advance_cap, ledger.reserve) - ledger.advance)
    ahead = max(0, record.claimed - record.covered)
    return min(in_all, max(0, limits.wallet_advance_cap - ahead))


def _account_for(step: Step, record: ClaimRecord, pay: int, covered: int) -> None:
    """Records, totals and the advance after a payment.

    Raises:
        Refusal: ExceedsTotal.
    """
    ledger = step.ledger
    ahead = max(0, record.claimed - record.covered)
    ahead_after = max(0, record.claimed + pay - covered)
    advance = ledger.advance - ahead + ahead_after
    total_claimed = ledger.total_claimed + pay
    fits = total_claimed <= U64_MAX and total_claimed - advance <= ledger.active.total
    require(fits, "ExceedsTotal")
    record.claimed += pay
    record.covered = covered
    ledger.advance = advance
    ledger.total_claimed = total_claimed


def _pay_wallet(
    step: Step, record: ClaimRecord, breaker: Breaker, pay: int, *, to_any: bool
) -> None:
    if to_any:
        require_any_account(step)
    else:
        require_own_account(step, step.call.key("wallet"), record)
    if pay > 0:
        breaker.take(pay)
        pay_out(step, pay)


def _emit_claimed(step: Step, record: ClaimRecord, pay: int) -> None:
    step.emit(
        "Claimed",
        wallet=step.call.key("wallet"),
        amount=pay,
        claimed=record.claimed,
        covered=record.covered,
        epoch=step.call.number("epoch"),
    )


def voucher_message(
    program: bytes,
    ledger: bytes,
    cluster_tag: bytes,
    wallet: bytes,
    cumulative: int,
    expires_at: int,
    key_epoch: int,
) -> bytes:
    """The 164 bytes that the voucher key signs."""
    keys = program + ledger + cluster_tag + wallet
    return b"\xffhyper-voucher-1" + keys + struct.pack("<QqI", cumulative, expires_at, key_epoch)


def voucher_check(voucher_key: bytes, signature: bytes, message: bytes) -> bytes:
    """Data of the Ed25519SigVerify instruction that must come just before redeem."""
    return VOUCHER_HEADER + voucher_key + signature + message


def _require_voucher(step: Step) -> None:
    require(step.call.key("instructions_sysvar") == INSTRUCTIONS_SYSVAR, "BadVoucher")
    before, ledger = step.before, step.ledger
    if before is None:
        raise Refusal("BadVoucher")
    message = voucher_message(
        step.program,
        step.ledger_key,
        ledger.cluster_tag,
        step.call.key("wallet"),
        step.call.number("cumulative"),
        step.call.number("expires_at"),
        ledger.key_epoch,
    )
    good = (
        before.program == ED25519_PROGRAM
        and before.accounts == 0
        and len(before.data) == VOUCHER_CHECK_BYTES
        and before.data[:16] == VOUCHER_HEADER
        and before.data[16:48] == ledger.voucher_key
        and before.data[112:276] == message
    )
    require(good, "BadVoucher")
