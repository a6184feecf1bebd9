"""What the engine is told of the chain, and of what is about to be promised on it.

As `coordinator.events`: frozen facts, each handled inside one transaction. Sums are the chain's own
and never differences; times in `_s` are the chain's, Unix seconds; amounts base units.
Who tells them: the shell that reads the chain and publishes (`settlement`), and the HTTP API.
"""

from __future__ import annotations

from coordinator.events import Event
from coordinator.store.settlement_values import EpochState, SponsoredState
from onchain.sponsor import SponsorRequest, SponsorRules


class LedgerFound(Event, frozen=True):
    """The configured ledger was read, and is one: the books belong to it from now on."""

    ledger: bytes


class DepositSeen(Event, frozen=True):
    """An owner's deposit record, read at finality; answered by a `chain_books.Booked`.

    Told again it changes nothing; so does a read that is older than what was booked. One event for
    the whole record: an exit that was booked before its deposit would look like a loss.
    """

    owner: bytes
    #: All that it ever deposited.
    deposited: int
    #: All that it took back by exits.
    exited: int
    #: When it asked to leave, Unix s of the chain; 0: it has not, or stays after all. Its credit is
    #: frozen meanwhile.
    exit_requested_s: int
    #: Of the chain, as of which this was read.
    slot: int


class ClaimSeen(Event, frozen=True):
    """What a wallet was paid in all, by claims and vouchers; answered by a `chain_books.Booked`."""

    wallet: bytes
    claimed: int
    slot: int


class ReserveSeen(Event, frozen=True):
    """What the operator took out of the reserve in all; answered by a `chain_books.Booked`.

    The ledger's own deposits, from which it comes, are told before.
    """

    withdrawn: int
    slot: int


class ChainLooked(Event, frozen=True):
    """How settlement stands, by the chain's own clock: decides until when credit is spent."""

    #: The chain's time, Unix s.
    now_s: int
    #: When the active root became so; when the ledger was made, if there is none.
    last_activation_s: int
    #: Seconds without an activation after which depositors may leave, also under limits proposed.
    exit_after_s: int
    #: What hosts have earned and no active root covers (`SettlementFigures.unrooted`).
    unrooted: int
    #: What backs it: the smaller of reserve and advance cap; 0: nothing is promised.
    promise: int


class WithdrawAsked(Event, frozen=True):
    """A wallet makes credit of its own earnings; answered by the `Withdrawal`."""

    wallet: bytes
    amount: int
    key: str
    issued_ms: int
    signature: bytes
    transaction: bytes = b""


class VoucherAsked(Event, frozen=True):
    """A voucher is about to be signed for a wallet; answered by the `Voucher`."""

    wallet: bytes
    expires_s: int


class EpochClosed(Event, frozen=True):
    """Time to fix the leaves of an epoch; answered by the `Epoch`.

    Answered by None while withheld earnings are still being released: tell it again. An epoch that
    is closed already is answered as it is.
    """

    #: The chain's last epoch and one.
    number: int
    #: The root that is active on the chain: its epoch (0: none) and the sum that it promises.
    active_epoch: int = 0
    active_total: int = 0
    #: Fix the leaves anew, of an epoch that is closed and will never be published as it is.
    is_anew: bool = False


class EpochSealed(Event, frozen=True):
    """The tree of a closed epoch was built; answered by the `Epoch`."""

    number: int
    root: bytes
    data_hash: bytes
    leaf_count: int
    #: Sums over the leaves as they were read.
    total: int
    total_exitable: int


class EpochMoved(Event, frozen=True):
    """What the chain says of a sealed epoch; answered by the `Epoch`. Again it changes nothing."""

    number: int
    state: EpochState
    #: The chain's time, Unix s.
    at_s: int
    #: The root that the chain has under this number.
    root: bytes
    #: Of the transaction that published it, where we sent it.
    signature: bytes = b""


class LeavesTaken(Event, frozen=True):
    """Earnings leaves of a root that the chain holds and these books have forgotten: a restore.

    Answered by what the books lacked, base units. Told again it changes nothing.
    """

    #: Wallets and lifetimes, some of the file's leaves.
    leaves: tuple[tuple[bytes, int], ...]


class EpochTaken(Event, frozen=True):
    """Such a root, once all its leaves were taken; answered by the `Epoch`."""

    number: int
    state: EpochState
    root: bytes
    data_hash: bytes
    leaf_count: int
    total: int
    total_exitable: int
    published_s: int
    active_s: int


class SponsorAsked(Event, frozen=True):
    """A wallet has signed a claim that we would pay for; answered by the `Sponsored`.

    Told again it is answered as it was the first time. Our signature leaves this process only
    after the row of this is on the disk.
    """

    #: SHA-256 of the message.
    name: bytes
    wallet: bytes
    rules: SponsorRules
    request: SponsorRequest
    #: Of our signature: the one by which the chain knows the transaction.
    signature: bytes
    raw: bytes
    last_height: int


class SponsoredMoved(Event, frozen=True):
    """What the chain says of such a claim; answered by the `Sponsored`. Again changes nothing."""

    name: bytes
    state: SponsoredState
    #: Whether what an expired claim did not cost is free again: not where nodes may have forgotten.
    is_free: bool = True
