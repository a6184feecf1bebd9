"""What was read of the chain, booked: deposits, exits, claims, the reserve; each whole or not.

In:   one batch at work (`Work`) and one event that tells a sum of the chain's (never a difference).
Out:  transfers of what is new; or a refusal and nothing done.
Rules:
  1. The chain's sums never fall. The difference to what was booked is moved once, however often and
     in whatever order the sums are told; a read of an older slot changes nothing, a newer one that
     shows less is `chain_went_back`.
  2. A deposit of the ledger itself is the reserve's; one of the house's treasury wallet makes a
     loss good first, then it is the treasury's; any other is its owner's credit.
  3. What was paid beyond what the books owe is a loss: it is credited to whom it was paid, out of
     `loss`, so that a wallet's leaf is never below what it was paid.
  4. Who asked to leave spends nothing and withdraws nothing.
Not covered: a lost database. What an older backup does not know was earned is booked as a loss when
its claim is seen, or when people take its root over (`takeover`).
Not here: epochs (`epochs`), withdrawals (`withdrawals`), reading the chain.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec
from msgspec.structs import replace

from coordinator import chain_events as cev, ledger, solvency
from coordinator.chain_place import OnChain
from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import Deposit, Settlement, Voucher
from coordinator.store.values import Transfer, TransferKind
from coordinator.work import Work
from onchain.amounts import AMOUNT_MAX, format_hyper


class Booked(msgspec.Struct, frozen=True):
    """What a sum of the chain's changed, base units."""

    #: Came in.
    credited: int = 0
    #: Went out.
    paid: int = 0
    #: Of it: more than the books owed.
    loss: int = 0


def required(work: Work) -> OnChain:
    """Where the house settles.

    Raises:
        Refusal: `no_chain`.
    """
    if work.house.on_chain is None:
        raise Refusal("no_chain")
    return work.house.on_chain


def bind(work: Work, event: cev.LedgerFound) -> Settlement:
    """Note which ledger these books belong to from now on; again, it changes nothing."""
    on_chain = required(work)
    assert event.ledger == on_chain.ledger, "who reads the chain reads the configured ledger"
    bound = work.batch.settlement()
    if bound is None:
        bound = Settlement(event.ledger)
        work.batch.save_settlement(bound)
    return bound


def reference_of(what: bytes, who: bytes, before: int) -> int:
    """A transfer's number that follows from what it is for: said again, it is the same."""
    digest = sha256(b"%s\x00%s%d" % (what, who, before)).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _rise(what: str, booked: int, seen: int, *, is_older: bool) -> int:
    """How much more the chain shows than was booked (rule 1)."""
    if seen > AMOUNT_MAX:
        raise Refusal("bad_amount", f"{what}: more than any account can hold")
    if seen < booked and not is_older:
        raise Refusal(
            "chain_went_back",
            f"{what}: {format_hyper(seen)} HYPER, {format_hyper(booked)} were booked",
        )
    return max(0, seen - booked)


def see_deposit(work: Work, event: cev.DepositSeen) -> Booked:
    """Book what is new in an owner's deposit record."""
    on_chain = required(work)
    record = work.batch.deposit(event.owner)
    is_older = event.slot < record.slot
    rise = _rise("deposits", record.deposited, event.deposited, is_older=is_older)
    exits = _rise("exits", record.exited, event.exited, is_older=is_older)
    if event.exited > event.deposited:
        raise Refusal("chain_went_back", "more exited than was deposited")
    requested_s = record.exit_requested_s if is_older else event.exit_requested_s
    after = replace(
        record,
        deposited=record.deposited + rise,
        exited=record.exited + exits,
        exit_requested_s=requested_s,
    )
    if after == record:
        return Booked()
    if rise:
        reference = reference_of(b"deposit", event.owner, record.deposited)
        shares = enumerate(_shares(work, on_chain, event.owner, rise))
        work.books.post(
            [
                Transfer(TransferKind.DEPOSIT, reference, ledger.CHAIN, account, amount, sequence)
                for sequence, (account, amount) in shares
            ]
        )
    loss = 0
    if exits:
        reference = reference_of(b"exit", event.owner, record.exited)
        account = ledger.credit_of(event.owner)
        loss = _pay_out(work, TransferKind.EXIT, reference, account, exits)
    work.batch.save_deposit(replace(after, slot=max(record.slot, event.slot)))
    return Booked(rise, exits, loss)


def _shares(work: Work, on_chain: OnChain, owner: bytes, amount: int) -> list[tuple[str, int]]:
    """Which accounts a deposit is for (rule 2)."""
    if owner == on_chain.ledger:
        return [(ledger.RESERVE, amount)]
    if owner != on_chain.treasury_wallet:
        return [(ledger.credit_of(owner), amount)]
    good = min(amount, max(0, -work.books.account(ledger.LOSS).balance))
    shares = [(ledger.LOSS, good), (ledger.TREASURY, amount - good)]
    return [(account, share) for account, share in shares if share]


def see_claim(work: Work, event: cev.ClaimSeen) -> Booked:
    """Book what is new of what a wallet was paid."""
    required(work)
    record = work.batch.claim(event.wallet)
    rise = _rise("claims", record.claimed, event.claimed, is_older=event.slot < record.slot)
    if not rise:
        return Booked()
    reference = reference_of(b"claim", event.wallet, record.claimed)
    account = ledger.earned_of(event.wallet)
    loss = _pay_out(work, TransferKind.CLAIM, reference, account, rise)
    slot = max(record.slot, event.slot)
    work.batch.save_claim(replace(record, claimed=event.claimed, slot=slot))
    return Booked(paid=rise, loss=loss)


def see_reserve(work: Work, event: cev.ReserveSeen) -> Booked:
    """Book what is new of what the operator took out of the reserve."""
    settlement = _settlement(work)
    is_older = event.slot < settlement.reserve_slot
    rise = _rise("reserve", settlement.reserve_withdrawn, event.withdrawn, is_older=is_older)
    if not rise:
        return Booked()
    if event.withdrawn > work.batch.deposit(settlement.ledger).deposited:
        raise Refusal("out_of_order", "the ledger's own deposits are told first")
    reference = reference_of(b"reserve", settlement.ledger, settlement.reserve_withdrawn)
    transfer = Transfer(TransferKind.RESERVE, reference, ledger.RESERVE, ledger.CHAIN, rise)
    work.books.post([transfer])
    work.batch.save_settlement(
        replace(
            settlement,
            reserve_withdrawn=event.withdrawn,
            reserve_slot=max(settlement.reserve_slot, event.slot),
        )
    )
    return Booked(paid=rise)


def _pay_out(work: Work, kind: TransferKind, reference: int, account: str, amount: int) -> int:
    """Move from an account to the chain; what it lacks is a loss (rule 3), and answered."""
    lacking = max(0, amount - work.books.account(account).balance)
    transfers = [Transfer(kind, reference, account, ledger.CHAIN, amount)]
    if lacking:
        loss = Transfer(TransferKind.LOSS, reference, ledger.LOSS, account, lacking)
        transfers.insert(0, loss)
    work.books.post(transfers)
    return lacking


def check_staying(work: Work, owner: bytes) -> None:
    """Refuse who asked to leave (rule 4).

    Raises:
        Refusal: `exit_pending`.
    """
    if _is_leaving(work.batch.deposit(owner)):
        raise Refusal("exit_pending")


def _is_leaving(record: Deposit) -> bool:
    return record.exit_requested_s != 0


def why_not_spent(work: Work, owner: bytes) -> Refusal | None:
    """Why this owner's credit is not spent now, if it is not; the same for a whole submission."""
    if work.house.on_chain is None:
        return None
    if _is_leaving(work.batch.deposit(owner)):
        return Refusal("exit_pending")
    return solvency.why_no_spending(work.batch.settlement(), work.now_ms)


def _settlement(work: Work) -> Settlement:
    on_chain = required(work)
    return work.batch.settlement() or Settlement(on_chain.ledger)


def note_look(work: Work, event: cev.ChainLooked) -> Settlement:
    """Decide until when credit is spent."""
    until_ms = solvency.spend_until_ms(
        work.now_ms, event.now_s, event.last_activation_s, event.exit_after_s
    )
    after = replace(
        _settlement(work),
        told_ms=work.now_ms,
        spend_until_ms=until_ms,
        last_activation_s=event.last_activation_s,
        unrooted=event.unrooted,
        promise=event.promise,
    )
    work.batch.save_settlement(after)
    return after


def give_voucher(work: Work, event: cev.VoucherAsked) -> Voucher:
    """Note the voucher that a wallet is given: all that it earned, but withdrawals without a root.

    Those are no earnings that the reserve was put behind: they wait for their root.
    """
    required(work)
    active = work.batch.active_epoch()
    lifetime = work.books.account(ledger.earned_of(event.wallet)).credits
    waiting = work.batch.withdrawn_since(event.wallet, active.number if active else 0)
    before = work.batch.voucher(event.wallet)
    # A revoked root makes withdrawals wait again; what was vouched for stays vouched for.
    cumulative = max(lifetime - waiting, before.cumulative if before else 0)
    if not cumulative:
        raise Refusal("not_found", "this wallet has earned nothing that a voucher could prove")
    voucher = Voucher(event.wallet, cumulative, event.expires_s, work.now_ms)
    work.batch.save_voucher(voucher)
    return voucher
