"""A root before it is signed: everything that could make it wrong, by name. Pure.

In:   a leaf file, the one before it, and the market as the chain has it.
Out:  a `Publication`: what the chain is asked to promise; or a `PublicationError`.
Rules:
  1. No root without its file: root and data hash are computed here, from a file that passed.
  2. Whatever the program would refuse is refused here first, by the page's rules.
  3. What the program cannot see is looked at here: that no wallet's leaf fell, and that none is
     below what was proven on the chain already.
Not covered: whether the leaves are what was earned: books, receipts and the guardian say that.
Source: `docs/program.md`, "publish_root", "approve_root".
"""

from __future__ import annotations

from dataclasses import dataclass

from onchain.errors import OnchainError
from onchain.leaves import Kind, LeafFile
from onchain.outlook import promoted
from onchain.program.layout import CONSTANTS
from onchain.reads import LedgerNow
from onchain.settlement_tree import SettlementTree
from onchain.views import Ledger, Root

_CAP_INTERVALS_MAX = CONSTANTS["CAP_INTERVALS_MAX"][0]
_PUBLISH = 2


class PublicationError(OnchainError):
    """This root must not be signed."""

    def __init__(self, text: str | None = None, until_s: int = 0) -> None:
        super().__init__(text)
        #: When the chain may take it, Unix s of its clock; 0: no moment is known.
        self.until_s = until_s


class FileOfAnotherLedger(PublicationError):
    """The leaf file names another ledger."""


class EpochOutOfOrder(PublicationError):
    """The number of an epoch is the last published one plus one."""


class RootStillPending(PublicationError):
    """Another root waits for its activation."""


class PublishingPaused(PublicationError):
    """Publishing is paused."""


class IntervalRunning(PublicationError):
    """The interval since the active root's publication is not over."""


class TotalFell(PublicationError):
    """A total is below what was promised or paid before."""


class EpochCapExceeded(PublicationError):
    """The total rises by more than the cap of an epoch."""


class NotSolvent(PublicationError):
    """More is promised than was deposited, or the vault lacks money."""


class LeafFell(PublicationError):
    """A wallet's leaf is below its leaf before, or missing, or below what it has proven."""


class PredecessorMissing(PublicationError):
    """The leaves of the active root are needed, to see that none falls."""


class RootDiffers(PublicationError):
    """The root on the chain is not the one that follows from the leaf file."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A root that follows from a leaf file."""

    ledger: bytes
    #: Its times are zero: the program sets them.
    promised: Root
    tree: SettlementTree


def prepare(file: LeafFile) -> Publication:
    """Check a leaf file and compute what is to be promised: a second for a million leaves.

    Raises:
        LeafFileError: see `LeafFile.check`.
    """
    data_hash = file.check()
    tree, head = SettlementTree(file), file.head
    promised = Root(
        epoch=head.epoch,
        root=tree.root,
        data_hash=data_hash,
        total=head.total,
        total_exitable=head.total_exitable,
        leaf_count=head.leaf_count,
    )
    return Publication(head.ledger, promised, tree)


def check_publication(publication: Publication, ledger_address: bytes, state: LedgerNow) -> None:
    """Whether the program would take this root now.

    Raises:
        FileOfAnotherLedger, PublishingPaused, RootStillPending, EpochOutOfOrder, IntervalRunning,
        TotalFell, EpochCapExceeded, NotSolvent: as they say, the first that fails.
    """
    if publication.ledger != ledger_address:
        raise FileOfAnotherLedger(FileOfAnotherLedger.__doc__)
    now = state.clock.unix_s
    if now < state.ledger.paused_until[_PUBLISH]:
        raise PublishingPaused(PublishingPaused.__doc__, state.ledger.paused_until[_PUBLISH])
    ledger, promised = promoted(state.ledger, state.clock), publication.promised
    if ledger.pending.epoch:
        msg = f"the root of epoch {ledger.pending.epoch} waits for its activation"
        raise RootStillPending(msg, ledger.pending.active_at)
    if promised.epoch != ledger.last_epoch + 1:
        msg = f"epoch {promised.epoch} cannot follow {ledger.last_epoch}"
        raise EpochOutOfOrder(msg)
    since = now - ledger.active.published_at
    if since < ledger.limits.min_epoch_interval:
        left_s = ledger.limits.min_epoch_interval - since
        msg = f"{left_s} s of the interval between two roots are left"
        raise IntervalRunning(msg, now + left_s)
    _check_sums(promised, ledger, state, now)


def _check_sums(promised: Root, ledger: Ledger, state: LedgerNow, now: int) -> None:
    if promised.total < ledger.active.total or promised.total_exitable < ledger.total_exited:
        msg = (
            f"total {promised.total} of {ledger.active.total}, "
            f"exitable {promised.total_exitable} of {ledger.total_exited}"
        )
        raise TotalFell(msg)
    cap = epoch_cap(ledger, now)
    if promised.total - ledger.active.total > cap:
        msg = f"the total rises by {promised.total - ledger.active.total}, the cap is {cap}"
        raise EpochCapExceeded(msg)
    missing = (
        promised.total
        + promised.total_exitable
        + ledger.reserve
        + ledger.total_withdrawn
        - ledger.total_deposited
    )
    if missing > 0:
        msg = f"{missing} base units more are promised than were deposited"
        raise NotSolvent(msg)
    if state.vault_balance < ledger.owed:
        msg = f"the vault lacks {ledger.owed - state.vault_balance} base units"
        raise NotSolvent(msg)


def epoch_cap(ledger: Ledger, now: int) -> int:
    """By how much the total may rise now, base units; the ledger is promoted."""
    intervals = (now - ledger.active.active_at) // ledger.limits.min_epoch_interval
    return ledger.limits.max_epoch_increase * min(_CAP_INTERVALS_MAX, max(1, intervals))


def check_predecessor(before: LeafFile | None, after: LeafFile, active: Root) -> None:
    """That no leaf falls below the active root's, whose own file it takes.

    Args:
        before: The file of the active root; None where there is no such root yet.
        after: The file of the next one; it has passed its check.
        active: The active root; promoted.

    Raises:
        PredecessorMissing: no file, or another one than the chain's data hash says.
        LeafFileError: it does not pass its check.
        FileOfAnotherLedger, LeafFell: see `check_successor`.
    """
    if active.epoch == 0:
        return
    if before is None or before.check() != active.data_hash:
        msg = f"the leaf file of epoch {active.epoch}, which is active, is needed"
        raise PredecessorMissing(msg)
    check_successor(before, after)


def check_successor(before: LeafFile, after: LeafFile) -> None:
    """That no wallet's leaf fell or vanished; both files have passed their check.

    Raises:
        FileOfAnotherLedger: they are of two ledgers.
        LeafFell: with the first wallet that it happened to.
    """
    if before.head.ledger != after.head.ledger:
        raise FileOfAnotherLedger(FileOfAnotherLedger.__doc__)
    later = after.leaves(Kind.EARNINGS)
    wallet, amount = next(later, (b"\xff" * 33, 0))
    for earlier, least in before.leaves(Kind.EARNINGS):
        while wallet < earlier:
            wallet, amount = next(later, (b"\xff" * 33, 0))
        found = amount if wallet == earlier else 0
        if found < least:
            raise _fell(earlier, found, least)


def _fell(wallet: bytes, found: int, least: int) -> LeafFell:
    return LeafFell(f"the leaf of {wallet.hex()} is {found}, it was {least}")


def check_pending(publication: Publication, ledger_address: bytes, ledger: Ledger) -> None:
    """That the pending root is the one that follows from a leaf file: before one approves it.

    Raises:
        FileOfAnotherLedger, RootDiffers: as they say.
    """
    if publication.ledger != ledger_address:
        raise FileOfAnotherLedger(FileOfAnotherLedger.__doc__)
    if promised_part(ledger.pending) != publication.promised:
        msg = f"the pending root of epoch {ledger.pending.epoch} does not follow from the leaf file"
        raise RootDiffers(msg)


def promised_part(root: Root) -> Root:
    """A root without the times that the program set."""
    return Root(
        epoch=root.epoch,
        root=root.root,
        data_hash=root.data_hash,
        total=root.total,
        total_exitable=root.total_exitable,
        leaf_count=root.leaf_count,
    )
