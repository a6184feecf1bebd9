"""What the program would answer now: the page's rules over values, before anything is signed.

In:   a decoded `Ledger`, a record, a proof or voucher, the chain's clock.
Out:  `Outlook`: how much would be paid, or the refusal's name and when to ask again.
Rules:
  1. Steps are in the page's order, so that the refusal is the one that the program would give.
  2. It is a forecast: blocks come in between, and only the program decides.
Not covered: whether token accounts are as they should be; fees.
Source: `docs/program.md`, "Parts used by several", "claim", "cover", "redeem", "exit".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from onchain.amounts import format_hyper
from onchain.chain import ChainClock
from onchain.program.instructions import PROPOSALS
from onchain.program.layout import CONSTANTS
from onchain.settlement_tree import Proof
from onchain.views import ClaimRecord, DepositRecord, Ledger, Root
from onchain.vouchers import Voucher

_EXIT_SETTLE = CONSTANTS["EXIT_SETTLE"][0]
(_LIMITS,) = (kind for kind, (name, _) in PROPOSALS.items() if name == "LIMITS")
_DEPOSIT, _CLAIM, _PUBLISH, _REDEEM = range(4)


#: Why an owner has no deposit record.
NEVER_DEPOSITED: Final = "this wallet has never deposited in this market"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would happen."""

    #: Base units that would be paid; 0 with no refusal where only what is covered rises.
    pay: int = 0
    #: Name of the page's error; "" where it would go through.
    refusal: str = ""
    #: Unix s when the refusal may have gone; None where no moment is known.
    again_at: int | None = None
    #: Names and numbers that the refusal's sentence cannot know; no part of what it is.
    detail: str = field(default="", compare=False)

    @property
    def is_open(self) -> bool:
        return not self.refusal


def headroom(level: int, updated_at: int, limit: int, window_secs: int, now: int) -> int:
    """What a breaker still lets out: a leaky bucket that empties in one window. Base units."""
    elapsed = max(0, now - updated_at)
    if elapsed >= window_secs:
        return limit
    fallen = (limit // window_secs) * elapsed + (limit % window_secs) * elapsed // window_secs
    return limit - min(max(0, level - fallen), limit)


def claim_headroom(ledger: Ledger, now: int) -> int:
    """What claims and exits may still take out now."""
    limits = ledger.limits
    return headroom(
        ledger.flow_level, ledger.flow_updated_at, limits.window_limit, limits.window_secs, now
    )


def voucher_headroom(ledger: Ledger, now: int) -> int:
    """What vouchers may still take out now."""
    level, updated_at = ledger.voucher_flow_level, ledger.voucher_flow_updated_at
    limits = ledger.limits
    return headroom(level, updated_at, limits.voucher_limit, limits.window_secs, now)


def is_due(ledger: Ledger, clock: ChainClock) -> bool:
    """Whether the pending root is to become active."""
    return (
        ledger.pending.epoch != 0
        and clock.unix_s >= ledger.paused_until[_PUBLISH]
        and clock.unix_s >= ledger.pending.active_at
        and (ledger.approved == 1 or clock.slot >= ledger.pending_min_slot)
    )


def promoted(ledger: Ledger, clock: ChainClock) -> Ledger:
    """The ledger as most instructions see it: a due root has become active."""
    if not is_due(ledger, clock):
        return ledger
    return msgspec.structs.replace(
        ledger,
        previous=ledger.active,
        active=msgspec.structs.replace(ledger.pending, active_at=clock.unix_s),
        pending=Root(),
        pending_min_slot=0,
        approved=0,
        revocable=1,
    )


def root_of_epoch(ledger: Ledger, epoch: int) -> Root | None:
    """The root that a claim of this epoch is checked against; the ledger is promoted."""
    if epoch == 0:
        return None
    return next((each for each in (ledger.active, ledger.previous) if each.epoch == epoch), None)


def claim_outlook(ledger: Ledger, record: ClaimRecord, proof: Proof, clock: ChainClock) -> Outlook:
    """What a claim would pay."""
    return _claim(ledger, record, proof, clock, pays=True)


def cover_outlook(ledger: Ledger, record: ClaimRecord, proof: Proof, clock: ChainClock) -> Outlook:
    """Whether covering would change something; it never pays."""
    return _claim(ledger, record, proof, clock, pays=False)


def _claim(  # noqa: PLR0911 - one return for each step of the page
    ledger: Ledger, record: ClaimRecord, proof: Proof, clock: ChainClock, *, pays: bool
) -> Outlook:
    now = clock.unix_s
    if now < ledger.paused_until[_CLAIM]:
        return Outlook(refusal="Paused", again_at=ledger.paused_until[_CLAIM])
    ledger = promoted(ledger, clock)
    root = root_of_epoch(ledger, proof.epoch)
    if root is None:
        return Outlook(refusal="StaleEpoch", detail=_stale(ledger, proof))
    if not proof.leads_to(root.root, root.leaf_count):
        return Outlook(refusal="InvalidProof")
    if not pays and not record.exists:
        return Outlook(refusal="InvalidRecord", detail="this wallet was never paid here")
    wanted = max(0, proof.amount - record.claimed) if pays else 0
    covered = max(record.covered, proof.amount)
    if wanted == 0 and covered == record.covered:
        detail = f"the leaf of epoch {proof.epoch} says {_paid(proof.amount, record)}"
        return Outlook(refusal="NothingToClaim", detail=detail)
    room = claim_headroom(ledger, now)
    if wanted and not room:
        return Outlook(refusal="RateLimited", again_at=now + 1)
    pay = min(wanted, room)
    after = ClaimRecord(record.claimed + pay, covered)
    return _within_total(ledger, record, after, pay)


def _paid(proven: int, record: ClaimRecord) -> str:
    return f"{format_hyper(proven)} HYPER in all, and {format_hyper(record.claimed)} are paid"


def _stale(ledger: Ledger, proof: Proof) -> str:
    active = f"the active one is of epoch {ledger.active.epoch}"
    if not ledger.active.epoch:
        active = "no root is active yet"
    return f"this proof is of epoch {proof.epoch}, {active}"


def _within_total(ledger: Ledger, before: ClaimRecord, after: ClaimRecord, pay: int) -> Outlook:
    advance = ledger.advance - before.advance + after.advance
    if ledger.total_claimed + pay - advance > ledger.active.total:
        return Outlook(refusal="ExceedsTotal")
    return Outlook(pay=pay)


def redeem_outlook(  # noqa: PLR0911 - one return for each step of the page
    ledger: Ledger, record: ClaimRecord, voucher: Voucher, clock: ChainClock
) -> Outlook:
    """What redeeming a voucher would pay; its signature is taken for granted."""
    now = clock.unix_s
    if ledger.voucher_key == bytes(32):
        return Outlook(refusal="VouchersOff")
    if now < ledger.paused_until[_REDEEM]:
        return Outlook(refusal="Paused", again_at=ledger.paused_until[_REDEEM])
    if now > voucher.expires_at:
        return Outlook(refusal="VoucherExpired")
    if voucher.key_epoch != ledger.key_epoch:
        return Outlook(refusal="BadVoucher")
    if voucher.cumulative <= record.claimed:
        detail = f"the voucher says {_paid(voucher.cumulative, record)}"
        return Outlook(refusal="NothingToClaim", detail=detail)
    limits = ledger.limits
    ours = max(0, min(limits.advance_cap, ledger.reserve) - ledger.advance)
    theirs = max(0, limits.wallet_advance_cap - record.advance)
    payable = max(0, record.covered - record.claimed) + min(ours, theirs)
    if not payable:
        return Outlook(refusal="AdvanceExhausted")
    room = voucher_headroom(ledger, now)
    if not room:
        return Outlook(refusal="RateLimited", again_at=now + 1)
    pay = min(voucher.cumulative - record.claimed, payable, room)
    after = ClaimRecord(record.claimed + pay, record.covered)
    return _within_total(ledger, record, after, pay)


def exit_outlook(  # noqa: PLR0911 - one return for each step of the page
    ledger: Ledger, record: DepositRecord, proof: Proof, clock: ChainClock
) -> Outlook:
    """What an exit would pay."""
    now = clock.unix_s
    if now < ledger.paused_until[_CLAIM]:
        return Outlook(refusal="Paused", again_at=ledger.paused_until[_CLAIM])
    ledger = promoted(ledger, clock)
    if proof.epoch == 0 or proof.epoch != ledger.active.epoch:
        return Outlook(refusal="StaleEpoch", detail=_stale(ledger, proof))
    if not proof.leads_to(ledger.active.root, ledger.active.leaf_count):
        return Outlook(refusal="InvalidProof")
    if not record.exists:
        return Outlook(refusal="InvalidRecord", detail=NEVER_DEPOSITED)
    door = exit_door(ledger, record)
    if now < door:
        return Outlook(refusal="ExitClosed", again_at=door)
    if proof.amount <= record.exited:
        return Outlook(refusal="NothingToExit")
    room = claim_headroom(ledger, now)
    if not room:
        return Outlook(refusal="RateLimited", again_at=now + 1)
    pay = min(proof.amount - record.exited, room)
    if ledger.total_exited + pay > exitable_at_most(ledger):
        return Outlook(refusal="ExceedsTotal")
    return Outlook(pay=pay)


def exit_door(ledger: Ledger, record: DepositRecord) -> int:
    """Unix s when the first door to exit opens, if no other root becomes active before."""
    after = ledger.limits.exit_after
    unattended = ledger.active.active_at + after
    asked = record.exit_requested_at
    if asked == 0 or ledger.active.published_at < asked + _EXIT_SETTLE:
        return unattended
    return min(unattended, asked + after)


def shortest_exit_after(ledger: Ledger) -> int:
    """Seconds without a root after which the first door opens, also under limits that are proposed.

    A shorter wait counts from the moment in which somebody applies the proposal.
    """
    if ledger.proposal_kind != _LIMITS:
        return ledger.limits.exit_after
    return min(ledger.limits.exit_after, ledger.proposal_limits.exit_after)


def exitable_at_most(ledger: Ledger) -> int:
    """What all exits together may come to: promoting the pending root must not promise too much."""
    if ledger.pending.epoch == 0:
        return ledger.active.total_exitable
    return min(ledger.active.total_exitable, ledger.pending.total_exitable)
