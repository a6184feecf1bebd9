"""What settlement asks of the store: the part of `Batch` and `Reader` that knows the chain's books.

Rules: those of `interface`. Nothing here decides; sums are added up, leaves are read as of a
transfer that an epoch names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from coordinator.store.settlement_values import (
    ChainSums,
    Claim,
    Deposit,
    Epoch,
    EpochState,
    Settlement,
    SettlementFigures,
    Sponsored,
    SponsorUse,
    Sums,
    Voucher,
    Withdrawal,
)
from coordinator.store.values import Receipt


class SettlementBatch(Protocol):
    """Inside a transaction; what is read includes what the batch did."""

    def settlement(self) -> Settlement | None:
        """Where the books stand towards the chain; None where there is none."""
        ...

    def save_settlement(self, settlement: Settlement) -> None: ...
    def deposit(self, owner: bytes) -> Deposit:
        """What was booked of an owner's deposits; zeros for a new one."""
        ...

    def save_deposit(self, deposit: Deposit) -> None: ...
    def leaving(self) -> Sequence[bytes]:
        """Owners that have asked to leave."""
        ...

    def deposit_sums(self) -> tuple[int, int]:
        """All that was deposited, and all that has exited."""
        ...

    def claim(self, wallet: bytes) -> Claim:
        """What was booked of a wallet's claims; zeros for a new one."""
        ...

    def save_claim(self, claim: Claim) -> None: ...
    def class_sums(self, names: Sequence[str]) -> Mapping[str, Sums]:
        """Accounts of classes (`earned`, `credit`, …) with a wallet, as committed before."""
        ...

    def last_transfer(self) -> int:
        """Number of the last transfer that was committed; the batch's own follow it."""
        ...

    def last_epoch(self) -> Epoch | None: ...
    def epoch(self, number: int) -> Epoch | None: ...
    def active_epoch(self) -> Epoch | None:
        """The epoch whose root claims are checked against."""
        ...

    def save_epoch(self, epoch: Epoch) -> None:
        """Write an epoch over the one of its number."""
        ...

    def note_exits(self, epoch: int, owners: Sequence[bytes]) -> None:
        """Whose held money is in no leaf of this epoch, in the place of what was noted before."""
        ...

    def note_wallet(self, wallet: bytes) -> None:
        """Know a wallet that has earned without ever being seen: leaves are found by wallets."""
        ...

    def withdrawal(self, wallet: bytes, key: str) -> Withdrawal | None: ...
    def add_withdrawal(self, withdrawal: Withdrawal) -> None: ...
    def withdrawals_open(self, wallet: bytes) -> int:
        """How many of a wallet's withdrawals no epoch counts yet."""
        ...

    def withdrawn_since(self, wallet: bytes, epoch: int) -> int:
        """A wallet's withdrawals that only later epochs than this one count, or none yet; units."""
        ...

    def count_withdrawals(self, epoch: int) -> int:
        """Note that this epoch is the first that counts those that no epoch counted; how many."""
        ...

    def voucher(self, wallet: bytes) -> Voucher | None: ...
    def save_voucher(self, voucher: Voucher) -> None: ...
    def sponsored(self, name: bytes) -> Sponsored | None: ...
    def save_sponsored(self, sponsored: Sponsored) -> None:
        """Write a claim that the house pays for over the one of its name."""
        ...

    def sponsor_use(self, wallet: bytes, since_ms: int) -> SponsorUse:
        """What was paid for a wallet and for all, after a moment."""
        ...


class SettlementReader(Protocol):
    """Committed data."""

    def settlement(self) -> Settlement | None: ...
    def epoch(self, number: int) -> Epoch | None: ...
    def epochs(self, limit: int, *, before: int | None = None) -> Sequence[Epoch]:
        """The newest epochs, with numbers below `before`."""
        ...

    def active_epoch(self) -> Epoch | None: ...
    def epochs_by_state(self) -> Mapping[EpochState, int]: ...
    def earnings_leaves(self, number: int) -> Iterator[tuple[bytes, int]]:
        """Wallets and lifetimes of an epoch's earnings leaves, sorted by the wallet's bytes.

        One snapshot from the first to the last: use it up, in one thread, without a pause. Of a
        store in memory nobody writes meanwhile.
        """
        ...

    def exit_leaves(self, number: int) -> Iterator[tuple[bytes, int]]:
        """Owners and what they may take back, likewise."""
        ...

    def deposit(self, owner: bytes) -> Deposit: ...
    def deposits(self) -> Iterator[Deposit]:
        """All that was booked of deposits, in no certain order."""
        ...

    def claim(self, wallet: bytes) -> Claim: ...
    def claims(self) -> Iterator[Claim]: ...
    def chain_sums(self) -> ChainSums:
        """Deposits, exits and claims added up, at one moment."""
        ...

    def leaving(self) -> Sequence[bytes]:
        """Owners that have asked to leave."""
        ...

    def earners(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Wallets that have an account of earnings, with their numbers, from above `after`."""
        ...

    def voucher(self, wallet: bytes) -> Voucher | None: ...
    def sponsored(self, name: bytes) -> Sponsored | None: ...
    def sponsored_out(self) -> Sequence[Sponsored]:
        """Claims that the house pays for and that have not ended, oldest first."""
        ...

    def sponsor_use(self, wallet: bytes, since_ms: int) -> SponsorUse: ...
    def withdrawals_of(self, wallet: bytes, limit: int) -> Sequence[Withdrawal]:
        """A wallet's newest withdrawals."""
        ...

    def withdrawals_in(
        self, epoch: int, after: int, limit: int
    ) -> Sequence[tuple[int, Withdrawal]]:
        """Withdrawals that an epoch counts first, with their numbers, from above `after`."""
        ...

    def receipts_of(self, wallet: bytes, after: int, limit: int) -> Sequence[Receipt]:
        """A wallet's receipts by job, from above job `after`."""
        ...

    def settlement_figures(self) -> SettlementFigures:
        """The money side, added up at one moment; reads every account."""
        ...
