"""What the ledger keeps of settlement, as frozen values.

Amounts are base units; times that end in `_ms` are Unix ms on the coordinator's clock, those in
`_s` Unix seconds as the chain tells them. Wallets, hashes and ledgers are 32 raw bytes.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class _Value(msgspec.Struct, frozen=True):
    """A frozen value; change it with `msgspec.structs.replace`."""


class EpochState(StrEnum):
    """Where an epoch is; `coordinator.epochs` holds the table of moves."""

    #: Its leaves are fixed; nothing of it is on the chain.
    CLOSED = "closed"
    #: Its root is on the chain and waits for its moment.
    PUBLISHED = "published"
    #: Its root is, or was, what claims are checked against.
    ACTIVE = "active"
    #: Dropped by guardian or administrator before it was active. Final.
    CANCELLED = "cancelled"
    #: Taken back after it was active. Final.
    REVOKED = "revoked"


class Epoch(_Value, frozen=True):
    """A settlement period: which transfers its leaves count, and what became of its root."""

    #: The chain's number.
    number: int
    state: EpochState
    closed_ms: int
    #: Number of the last transfer that counts.
    last_transfer: int
    #: Sum of the earnings leaves.
    total: int
    #: Sum of the exit leaves.
    total_exitable: int
    #: Leaves of both kinds; 0 until the tree was built.
    leaf_count: int = 0
    #: Root of the tree and SHA-256 of the leaf file; `b""` until the tree was built.
    root: bytes = b""
    data_hash: bytes = b""
    published_s: int = 0
    active_s: int = 0
    #: When it was cancelled or revoked.
    ended_s: int = 0
    #: Of the transaction that published it, or `b""`.
    signature: bytes = b""


class Deposit(_Value, frozen=True):
    """An owner's deposit record on the chain, as far as it is booked."""

    owner: bytes
    #: All deposits; never falls.
    deposited: int = 0
    #: All that it took back by exits; never falls.
    exited: int = 0
    #: When it asked to leave; 0: it has not, or has thought better of it.
    exit_requested_s: int = 0
    #: Of the chain, when this was read.
    slot: int = 0


class Claim(_Value, frozen=True):
    """A wallet's claim record on the chain, as far as it is booked."""

    wallet: bytes
    #: All that it was paid, by claims and vouchers; never falls.
    claimed: int = 0
    slot: int = 0


class ChainSums(_Value, frozen=True):
    """What is booked of the chain, added up."""

    deposited: int
    exited: int
    claimed: int
    #: Owners with a deposit record.
    owners: int
    #: Wallets with a claim.
    claimants: int


class Withdrawal(_Value, frozen=True):
    """Unspent credit that its owner made earnings: it leaves by the next root."""

    wallet: bytes
    #: The wallet's own key for it; used once.
    key: str
    amount: int
    #: The time in the signed text.
    issued_ms: int
    asked_ms: int
    #: The epoch whose leaves count it first; 0: none does yet.
    epoch: int
    #: What was signed: `hy1` the text, `hy1e` an envelope of it, `hy1t` a memo transaction.
    form: str
    #: The signature, 64 bytes; the whole transaction in the form `hy1t`.
    proof: bytes


class Voucher(_Value, frozen=True):
    """The highest voucher that a wallet was given."""

    wallet: bytes
    #: What it proves as earned in all.
    cumulative: int
    expires_s: int
    issued_ms: int


class SponsoredState(StrEnum):
    """Where a claim is that the house pays for."""

    #: It may land at any moment: all that it may cost is spent.
    SENT = "sent"
    CONFIRMED = "confirmed"
    #: Nobody can take it back. Final.
    FINALIZED = "finalized"
    #: It never landed and cannot any more: it cost nothing. Final.
    EXPIRED = "expired"
    #: It landed and its program failed: its fee is gone, nothing else happened. Final.
    FAILED = "failed"


class Sponsored(_Value, frozen=True):
    """A claim whose fee and rents the house pays; kept for ever: it pays for an account once."""

    #: SHA-256 of the message that was signed.
    name: bytes
    wallet: bytes
    state: SponsoredState
    taken_ms: int
    #: What it pays to the wallet, base units.
    pay: int
    #: What it costs the house: at most, while it is out; what it did cost, once it ended.
    lamports: int
    #: Of them, signatures and priority.
    fee_lamports: int
    #: Whether the house pays for the wallet's token account.
    opens_token_account: bool
    signature: bytes
    #: The highest block in which it can land.
    last_height: int
    #: The signed transaction while it is out; `b""` afterwards.
    raw: bytes
    ended_ms: int = 0


class SponsorUse(_Value, frozen=True):
    """What the house has paid for a wallet, and for all."""

    #: When this wallet's claims were taken, since some moment.
    taken_ms: tuple[int, ...]
    #: Ever.
    token_account_paid: bool
    #: A claim of this wallet is out.
    is_out: bool
    #: Claims of all wallets that are out.
    out: int
    #: Lamports of all wallets' claims since that moment.
    lamports: int


class Settlement(_Value, frozen=True):
    """One row: to which ledger of the chain the books belong, and until when credit is spent."""

    #: Address of the ledger.
    ledger: bytes
    #: What the operator took out of the reserve on the chain; never falls.
    reserve_withdrawn: int = 0
    #: Of the chain, when that was read.
    reserve_slot: int = 0
    #: When the chain was last looked at; 0: never.
    told_ms: int = 0
    #: Credit is spent until then: two thirds of the time to the depositors' door.
    spend_until_ms: int = 0
    #: When a root last became active (or the ledger was made).
    last_activation_s: int = 0
    #: What hosts have earned and no active root covers, as told.
    unrooted: int = 0
    #: The reserve behind that; 0: nothing is promised.
    promise: int = 0


class Sums(_Value, frozen=True):
    """Accounts of one class added up."""

    debits: int
    credits: int

    @property
    def balance(self) -> int:
        return self.credits - self.debits


class SettlementFigures(_Value, frozen=True):
    """The money side of settlement, seen at one moment."""

    #: All deposits that were booked, the reserve's included.
    deposited: int
    #: All credits ever made to `earned`: what the next root would promise.
    lifetimes: int
    #: Still in the withholding window.
    withheld: int
    #: Withdrawals that no active root covers.
    withdrawals_unrooted: int
    #: Sum of the earnings leaves of the active root.
    active_total: int
    #: The operator's money behind what is not rooted.
    reserve: int
    #: What was paid beyond what was owed and is not made good yet.
    loss: int

    @property
    def unrooted(self) -> int:
        """What hosts have earned, withheld included, and no active root covers."""
        earned = self.lifetimes - self.withdrawals_unrooted - self.active_total
        return max(0, earned) + self.withheld
