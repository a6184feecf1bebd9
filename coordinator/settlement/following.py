"""What the chain says of epochs, compared with what the books say: pure.

In:   the ledger at finality, rows of epochs.
Out:  `EpochMoved` events that bring the rows up to the chain, oldest first; or a refusal.
Rules:
  1. A number is published once. A row that the chain has passed without holding its root was
     cancelled, or, if it was active, revoked.
  2. Only the last epoch can be undecided, and only the active one can be revoked.
  3. A root that these books do not know, and that is active or pending, means that they are older
     than the chain: nothing is published over it. One that was cancelled or revoked binds nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

from coordinator.chain_events import EpochMoved
from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import Epoch, EpochState as S
from onchain.views import Ledger, Root


def moves(ledger: Ledger, now_s: int, last: Epoch | None, active: Epoch | None) -> list[EpochMoved]:
    """The moves that the rows lack.

    Args:
        ledger: At finality.
        now_s: The chain's time, Unix s.
        last: The newest epoch's row.
        active: The row whose root the books hold for active.

    Raises:
        Refusal: `epoch_unknown`, `root_mismatch`.
    """
    known = last.number if last is not None and last.root else (last.number - 1 if last else 0)
    for root, name in ((ledger.active, "active"), (ledger.pending, "pending")):
        if root.epoch > known:
            raise Refusal(
                "epoch_unknown",
                f"the {name} root is of epoch {root.epoch}, these books are at {known}: a restore?",
            )
    found: list[EpochMoved] = []
    if active is not None and active.number > ledger.active.epoch:
        found.append(EpochMoved(active.number, S.REVOKED, now_s, active.root))
    if last is not None and last.root and last.number <= ledger.last_epoch:
        found.extend(_of_last(ledger, now_s, last))
    return found


def _of_last(ledger: Ledger, now_s: int, last: Epoch) -> Iterator[EpochMoved]:
    if last.state not in {S.CLOSED, S.PUBLISHED}:
        return
    for root, state, at_s in (
        (ledger.pending, S.PUBLISHED, ledger.pending.published_at),
        (ledger.active, S.ACTIVE, ledger.active.active_at),
    ):
        if root.epoch == last.number:
            _check_same(root, last)
            if state is not last.state:
                yield EpochMoved(last.number, state, at_s, root.root)
            return
    yield EpochMoved(last.number, S.CANCELLED, now_s, last.root)


def _check_same(root: Root, epoch: Epoch) -> None:
    if (root.root, root.data_hash) != (epoch.root, epoch.data_hash):
        raise Refusal(
            "root_mismatch",
            f"epoch {epoch.number} is {root.root.hex()} on the chain, {epoch.root.hex()} here",
        )
