"""Epochs: the leaves fixed, the tree noted, what becomes of the root; each in its transaction.

In:   one batch at work (`Work`) and one event.
Out:  the epoch's row; or a refusal and nothing done (what was released stays released).
Leaves: an earnings leaf of a wallet is all credits ever made to `earned:<wallet>`; an exit leaf of
an owner is its unspent credit, what is held for its jobs, and what it exited so far. What is held
for somebody who asked to leave is in no leaf: it may be paid to hosts after the root was made.
Rules:
  1. What is due is released first; what is withheld is in no leaf.
  2. Treasury and fees make a loss good. What is left of the fees, and the treasury beyond two days
     of test pay, becomes earnings of the house's own wallets.
  3. An epoch is decided (active, cancelled, revoked) before the next one is closed.
  4. What would promise more than was deposited is refused (`solvency`), and so is a sum below that
     of the root that is active on the chain.
  5. Money of the faucet reaches no root.
Not here: the leaves themselves (the store's reader), the tree and the chain (`settlement`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from coordinator import chain_events as cev, events as ev, ledger, payroll, solvency
from coordinator.chain_books import required
from coordinator.chain_place import OnChain
from coordinator.limits import BATCH_EVENTS_MAX, TREASURY_KEPT_DAYS
from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import Epoch, EpochState as S
from coordinator.store.values import Transfer, TransferKind
from coordinator.work import Work
from onchain.amounts import format_hyper

#: From which state to which the chain's news may lead. News may be missed: only the last counts.
MOVES: Final = {
    S.CLOSED: frozenset({S.PUBLISHED, S.ACTIVE, S.CANCELLED, S.REVOKED}),
    S.PUBLISHED: frozenset({S.ACTIVE, S.CANCELLED, S.REVOKED}),
    S.ACTIVE: frozenset({S.REVOKED}),
    S.CANCELLED: frozenset[S](),
    S.REVOKED: frozenset[S](),
}
#: Which news says less than what is known already: told late, it changes nothing.
_PASSED: Final = {S.ACTIVE: frozenset({S.PUBLISHED}), S.REVOKED: frozenset({S.PUBLISHED, S.ACTIVE})}


def close(work: Work, event: cev.EpochClosed) -> Epoch | None:
    """Fix the leaves of an epoch."""
    on_chain = required(work)
    known = _known(work, event)
    if known is not None and not event.is_anew:
        return known
    if work.books.account(ledger.FAUCET).debits:
        raise Refusal("faucet_money")
    if payroll.release_due(work, ev.ReleaseDue()) == BATCH_EVENTS_MAX:
        return None
    shares = _house_shares(work, on_chain)
    leaving = work.batch.leaving()
    promised = _promised(work, shares, leaving)
    solvency.check_solvent(promised)
    if promised.total < event.active_total:
        raise Refusal(
            "leaf_below",
            f"the active root promises {format_hyper(event.active_total)} HYPER, these books "
            f"{format_hyper(promised.total)}",
        )
    if not promised.total + promised.total_exitable:
        raise Refusal("epoch_empty")
    work.books.post(shares)
    for wallet in (on_chain.fee_wallet, on_chain.treasury_wallet):
        if wallet:
            work.batch.note_wallet(wallet)
    epoch = Epoch(
        number=event.number,
        state=S.CLOSED,
        closed_ms=work.now_ms,
        last_transfer=work.batch.last_transfer() + len(work.books.journal),
        total=promised.total,
        total_exitable=promised.total_exitable,
    )
    work.batch.save_epoch(epoch)
    work.batch.note_exits(event.number, leaving)
    work.batch.count_withdrawals(event.number)
    return epoch


def _known(work: Work, event: cev.EpochClosed) -> Epoch | None:
    """The epoch, if it is closed already (rule 3)."""
    if event.active_epoch and work.batch.epoch(event.active_epoch) is None:
        raise Refusal(
            "epoch_unknown", f"these books know nothing of epoch {event.active_epoch}: a restore?"
        )
    last = work.batch.last_epoch()
    if last is None:
        return None
    if last.number == event.number and last.state is S.CLOSED:
        return last
    if last.number >= event.number:
        raise Refusal("epoch_state", f"epoch {last.number} is {last.state} already")
    if last.state in {S.CLOSED, S.PUBLISHED}:
        raise Refusal("epoch_pending", f"epoch {last.number} is {last.state}")
    return None


def _house_shares(work: Work, on_chain: OnChain) -> list[Transfer]:
    """What becomes of `fees` and `treasury` (rule 2)."""
    loss = max(0, -work.books.account(ledger.LOSS).balance)
    kept = TREASURY_KEPT_DAYS * work.rules.test_pay_daily
    reference = work.batch.last_transfer() + len(work.books.journal)
    shares = []
    for sequence, (account, wallet, keep) in enumerate(
        (
            (ledger.TREASURY, on_chain.treasury_wallet, kept),
            (ledger.FEES, on_chain.fee_wallet, 0),
        )
    ):
        balance = work.books.account(account).balance
        good = min(loss, balance)
        loss -= good
        if good:
            shares.append(
                Transfer(TransferKind.COVER, reference, account, ledger.LOSS, good, sequence)
            )
        if wallet and balance - good > keep:
            earned, amount = ledger.earned_of(wallet), balance - good - keep
            shares.append(
                Transfer(TransferKind.HOUSE, reference, account, earned, amount, sequence)
            )
    return shares


def _promised(
    work: Work, shares: Iterable[Transfer], leaving: Iterable[bytes]
) -> solvency.Promised:
    """What the leaves would add up to, the batch's own transfers and `shares` included."""
    journal = [*work.books.journal, *shares]
    sums = work.batch.class_sums(("earned", "credit", "hold"))
    total = sums["earned"].credits + _credited(journal, "earned:")
    unspent = sum(
        sums[name].balance + _credited(journal, f"{name}:") - _debited(journal, f"{name}:")
        for name in ("credit", "hold")
    )
    # The house's own hold, and those of who is about to leave, are promised to nobody.
    held = (ledger.TREASURY_HOLD, *map(ledger.hold_of, leaving))
    unspent -= sum(work.books.account(code).balance for code in held)
    deposited, exited = work.batch.deposit_sums()
    settlement = work.batch.settlement()
    return solvency.Promised(
        total=total,
        total_exitable=unspent + exited,
        reserve=work.books.account(ledger.RESERVE).balance,
        reserve_withdrawn=settlement.reserve_withdrawn if settlement else 0,
        deposited=deposited,
    )


def _credited(journal: Iterable[Transfer], prefix: str) -> int:
    return sum(each.amount for each in journal if each.credit.startswith(prefix))


def _debited(journal: Iterable[Transfer], prefix: str) -> int:
    return sum(each.amount for each in journal if each.debit.startswith(prefix))


def _epoch(work: Work, number: int) -> Epoch:
    required(work)
    epoch = work.batch.epoch(number)
    if epoch is None:
        raise Refusal("not_found", f"there is no epoch {number}")
    return epoch


def seal(work: Work, event: cev.EpochSealed) -> Epoch:
    """Note the tree that was built of a closed epoch's leaves."""
    epoch = _epoch(work, event.number)
    if (event.total, event.total_exitable) != (epoch.total, epoch.total_exitable):
        raise Refusal(
            "leaves_differ",
            f"the leaves are {event.total} and {event.total_exitable} base units, epoch "
            f"{epoch.number} was closed with {epoch.total} and {epoch.total_exitable}",
        )
    after = replace(epoch, root=event.root, data_hash=event.data_hash, leaf_count=event.leaf_count)
    if epoch.root:
        if after != epoch:
            raise Refusal("root_mismatch", f"epoch {epoch.number} has another tree already")
        return epoch
    assert epoch.state is S.CLOSED, "only what is sealed moves on"
    work.batch.save_epoch(after)
    return after


def move(work: Work, event: cev.EpochMoved) -> Epoch:
    """Follow what the chain says of an epoch's root."""
    epoch = _epoch(work, event.number)
    if not epoch.root:
        raise Refusal("epoch_state", f"epoch {epoch.number} has no tree yet")
    if event.root != epoch.root:
        raise Refusal(
            "root_mismatch",
            f"epoch {epoch.number} is {event.root.hex()} on the chain, {epoch.root.hex()} here",
        )
    if event.state is epoch.state or event.state in _PASSED.get(epoch.state, ()):
        return epoch
    if event.state not in MOVES[epoch.state]:
        raise Refusal("epoch_state", f"an epoch that is {epoch.state} is never {event.state}")
    after = replace(
        epoch, state=event.state, signature=event.signature or epoch.signature, **_time(event)
    )
    work.batch.save_epoch(after)
    return after


def _time(event: cev.EpochMoved) -> dict[str, int]:
    match event.state:
        case S.PUBLISHED:
            return {"published_s": event.at_s}
        case S.ACTIVE:
            return {"active_s": event.at_s}
        case _:
            return {"ended_s": event.at_s}
