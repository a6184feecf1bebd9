"""Withdrawals: unspent credit that its owner makes earnings, in its transaction.

In:   one batch at work (`Work`) and what a wallet signed.
Out:  the withdrawal, one transfer `credit` → `earned`; or the first refusal that applies.
Rules:
  1. The same key and amount again is the same withdrawal, whenever it comes; another amount is
     `key_conflict`.
  2. The wallet signed our own text of it (`protocol.withdrawal`), minutes ago.
  3. Who asked to leave on the chain withdraws nothing: that credit is on its way already.
  4. What was signed is kept: guardians check that each withdrawal was its owner's wish.
"""

from __future__ import annotations

from coordinator import chain_events as cev, ledger
from coordinator.chain_books import check_staying, reference_of, required
from coordinator.chain_place import OnChain
from coordinator.limits import CLOCK_SKEW_MS, WITHDRAWAL_MS, WITHDRAWALS_OPEN_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import check_point
from coordinator.protocol.token import SignedText, signed_text
from coordinator.protocol.withdrawal import withdrawal_text
from coordinator.store.settlement_values import Withdrawal
from coordinator.store.values import Transfer, TransferKind
from coordinator.work import Work


def withdraw(work: Work, event: cev.WithdrawAsked) -> Withdrawal:
    """Move credit to its owner's earnings, once a key."""
    on_chain = required(work)
    before = work.batch.withdrawal(event.wallet, event.key)
    if before is not None:
        if before.amount != event.amount:
            raise Refusal("key_conflict", "this key was used for another withdrawal")
        return before
    signed = _signed(work, on_chain, event)
    check_staying(work, event.wallet)
    if work.batch.withdrawals_open(event.wallet) >= WITHDRAWALS_OPEN_MAX:
        raise Refusal("too_many_withdrawals")
    transfer = Transfer(
        TransferKind.WITHDRAW,
        reference_of(b"withdraw", event.wallet + event.key.encode(), 0),
        ledger.credit_of(event.wallet),
        ledger.earned_of(event.wallet),
        event.amount,
    )
    work.books.post([transfer])
    withdrawal = Withdrawal(
        wallet=event.wallet,
        key=event.key,
        amount=event.amount,
        issued_ms=event.issued_ms,
        asked_ms=work.now_ms,
        epoch=0,
        form=signed.form.value,
        proof=signed.transaction or signed.signature,
    )
    work.batch.add_withdrawal(withdrawal)
    return withdrawal


def _signed(work: Work, on_chain: OnChain, event: cev.WithdrawAsked) -> SignedText:
    """What the wallet signed (rule 2)."""
    if not -CLOCK_SKEW_MS <= work.now_ms - event.issued_ms <= WITHDRAWAL_MS:
        raise Refusal("withdrawal_expired")
    check_point(event.wallet)
    text = withdrawal_text(
        coordinator_key=work.house.realm.coordinator_key,
        chain=work.house.realm.chain,
        ledger=on_chain.ledger,
        wallet=event.wallet,
        amount=event.amount,
        key=event.key,
        issued_ms=event.issued_ms,
    )
    return signed_text(text, event.wallet, event.signature, event.transaction)
