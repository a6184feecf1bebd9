"""A root that the chain holds and the books have forgotten, taken over after a restore.

In:   one batch at work (`Work`); leaves and figures of a root that was compared with the chain.
Out:  earnings raised to the leaves, the epoch's row; or a refusal and nothing done.
Rules:
  1. A leaf is a floor: what the books lack of it is credited to the wallet out of `loss`, so that
     no leaf falls. What they hold beyond it (earned since the restore) stays.
  2. The row is written when all leaves are in the books; then epochs go on after it.
  3. An epoch that was on its way when the backup was made, and that the chain has passed, is over.
Why not by itself: a root that these books do not know may be a thief's. Its leaves would be paid
out of the house's money, so people say that it is ours (`settlement.taking`).
Not covered: what was spent after the backup. It is its owners' again, and the house's loss: a
root tells what somebody has left, not what of it was deposited since.
"""

from __future__ import annotations

from msgspec.structs import replace

from coordinator import chain_events as cev, ledger
from coordinator.chain_books import reference_of, required
from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import Epoch, EpochState as S
from coordinator.store.values import Transfer, TransferKind
from coordinator.work import Work
from onchain.amounts import format_hyper


def take_leaves(work: Work, event: cev.LeavesTaken) -> int:
    """Raise earnings to these leaves (rule 1)."""
    required(work)
    transfers = []
    for wallet, lifetime in event.leaves:
        account = work.books.account(ledger.earned_of(wallet))
        if account.credits < lifetime:
            reference = reference_of(b"leaf", wallet, account.credits)
            amount = lifetime - account.credits
            transfers.append(
                Transfer(TransferKind.LOSS, reference, ledger.LOSS, account.code, amount)
            )
            work.batch.note_wallet(wallet)
    work.books.post(transfers)
    return sum(each.amount for each in transfers)


def take_epoch(work: Work, event: cev.EpochTaken) -> Epoch:
    """Write the row of a root whose leaves were taken (rules 2 and 3)."""
    required(work)
    known = work.batch.epoch(event.number)
    if known is not None and known.root:
        if known.root != event.root:
            raise Refusal("root_mismatch", f"epoch {event.number} has another tree here")
        return known
    last = work.batch.last_epoch()
    if last is not None and last.number > event.number:
        raise Refusal("epoch_state", f"these books are at epoch {last.number} already")
    _check_taken(work, event)
    if last is not None and last.number < event.number and last.state in {S.CLOSED, S.PUBLISHED}:
        work.batch.save_epoch(replace(last, state=S.CANCELLED, ended_s=event.published_s))
    epoch = Epoch(
        number=event.number,
        state=event.state,
        closed_ms=1000 * event.published_s,
        last_transfer=work.batch.last_transfer() + len(work.books.journal),
        total=event.total,
        total_exitable=event.total_exitable,
        leaf_count=event.leaf_count,
        root=event.root,
        data_hash=event.data_hash,
        published_s=event.published_s,
        active_s=event.active_s,
    )
    work.batch.save_epoch(epoch)
    work.batch.note_exits(event.number, work.batch.leaving())
    work.batch.count_withdrawals(event.number)
    return epoch


def _check_taken(work: Work, event: cev.EpochTaken) -> None:
    """Whether the books can have all leaves: each is a floor, so their sum is one too."""
    held = work.batch.class_sums(("earned",))["earned"].credits + sum(
        each.amount for each in work.books.journal if each.credit.startswith("earned:")
    )
    if held < event.total:
        raise Refusal(
            "leaf_below",
            f"the root promises {format_hyper(event.total)} HYPER, these books hold "
            f"{format_hyper(held)}: its leaves are taken first",
        )
