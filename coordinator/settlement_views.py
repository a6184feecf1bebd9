"""What HTTP shows of settlement. As `views`: camelCase, ISO 8601, amounts decimal text of HYPER.

Hashes are hexadecimal, wallets and the signatures of transactions base58.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import based58
from msgspec import Meta

from coordinator.clock import iso
from coordinator.limits import WITHDRAWAL_KEY_CHARS_MAX
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.messages import Amount, Count, Name, Transaction, Wallet
from coordinator.store.settlement_values import Epoch, Sponsored, Withdrawal
from coordinator.views import View
from onchain.address import encode_address
from onchain.amounts import format_hyper

Hash: TypeAlias = Annotated[str, Meta(min_length=64, max_length=64)]
WithdrawalKey: TypeAlias = Annotated[str, Meta(min_length=1, max_length=WITHDRAWAL_KEY_CHARS_MAX)]


class SettlementView(View, frozen=True):
    """Where this coordinator settles, and how that stands."""

    chain_id: str
    #: Address of its ledger: pin it.
    ledger: Wallet
    coordinator_key: Wallet
    #: Epoch of the root that claims are checked against; 0: none yet.
    active_epoch: Count
    #: Until when credit is spent if no further root becomes active.
    spend_until: str | None
    #: What hosts have earned and no active root covers, and the reserve behind it.
    unrooted: Amount
    backed: Amount
    #: Code of why no credit is spent now; `""` if it is.
    stopped: Name = ""
    #: When the chain was last read, as of which slot; null: not yet.
    looked_at: str | None = None
    slot: Count = 0
    #: Epochs of the chain's active and pending roots at that time; 0: none.
    chain_epoch: Count = 0
    pending_epoch: Count = 0
    #: When the pending root may become active, on the chain's clock.
    pending_at: str | None = None
    #: Whether this coordinator publishes roots.
    publishes: bool = False
    #: Code of what went wrong in the latest round; `""`: nothing.
    alarm: Name = ""
    #: Nothing is published until the process starts anew.
    settler_stopped: bool = False
    #: The same in words; what the latest round did, what the next step waits for, and until when.
    said: str = ""
    did: tuple[str, ...] = ()
    waits: str = ""
    waits_until: str | None = None
    #: The chain's clock in that round, on which `pendingAt` and `waitsUntil` are.
    clock: str | None = None


class EpochView(View, frozen=True):
    """A settlement period, and what became of its root."""

    number: Count
    state: Literal["closed", "published", "active", "cancelled", "revoked"]
    closed_at: str
    #: Sums of the earnings leaves and of the exit leaves.
    total: Amount
    total_exitable: Amount
    #: Leaves of both kinds; this and the hashes are missing until the tree was built.
    leaves: Count | None = None
    root: Hash | None = None
    #: SHA-256 of the leaf file.
    data_hash: Hash | None = None
    published_at: str | None = None
    active_at: str | None = None
    #: When it was cancelled or revoked.
    ended_at: str | None = None
    #: Signature of the transaction that published it, base58.
    transaction: str | None = None


class WithdrawalRequest(View, frozen=True):
    """A wallet's wish to make credit its earnings, and the signature of its text."""

    amount: Amount
    #: Your own name for it, used once: letters, digits, `_` and `-`.
    key: WithdrawalKey
    #: The time in the text, to the second.
    issued_at: Annotated[str, Meta(min_length=20, max_length=20)]
    #: Of the text, base58 or base64.
    signature: Name = ""
    #: In its place: a hardware wallet's signed memo transaction, base64 or base64url.
    transaction: Transaction = ""


class WithdrawalView(View, frozen=True):
    """A withdrawal; what was signed can be checked by anybody."""

    wallet: Wallet
    amount: Amount
    key: WithdrawalKey
    #: The time in the signed text.
    issued_at: str
    asked_at: str
    #: The epoch whose leaves count it first; null: the next one.
    epoch: Count | None
    #: `hy1`: the text was signed; `hy1e`: an envelope of it; `hy1t`: a memo transaction with it.
    form: Name
    #: The signature, or the whole transaction; base64url.
    proof: str


class WithdrawalsView(View, frozen=True):
    """A part of an epoch's withdrawals."""

    withdrawals: list[WithdrawalView]
    #: What to ask for next (`after`); null: that was all.
    next: Count | None = None


class ProofView(View, frozen=True):
    """That a wallet's lifetime earnings are in a root: what a claim needs."""

    ledger: Wallet
    wallet: Wallet
    epoch: Count
    root: Hash
    #: Leaves of the tree, and the place of this one.
    leaf_count: Count
    index: Count
    lifetime: Amount
    #: Hashes from the leaf up to the root.
    proof: list[Hash]


class VoucherView(View, frozen=True):
    """What a wallet may redeem on the chain though no root holds it yet."""

    wallet: Wallet
    #: All that it earned so far.
    cumulative: Amount
    expires_at: str
    #: The 260 bytes of its file, base64url.
    voucher: Annotated[str, Meta(max_length=352)]


class ClaimRequest(View, frozen=True):
    """Whose claim the house shall pay for."""

    wallet: Wallet


class SignedClaim(View, frozen=True):
    """An offered claim with its wallet's signature."""

    #: The whole transaction, base64.
    transaction: Transaction


class ClaimView(View, frozen=True, omit_defaults=True):
    """A claim that the house pays for."""

    claim: Hash
    wallet: Wallet
    state: Literal["building", "sent", "confirmed", "finalized", "expired", "failed"]
    #: What it pays to the wallet.
    amount: Amount
    #: What it costs the house, lamports; at most, while it is on its way.
    lamports: Count
    #: While it waits for its wallet: the transaction to sign, base64.
    transaction: str | None = None
    #: By which the chain knows it, base58.
    signature: str | None = None
    taken_at: str | None = None
    ended_at: str | None = None


def claim_view(sponsored: Sponsored) -> ClaimView:
    """A claim that its wallet has signed."""
    return ClaimView(
        claim=sponsored.name.hex(),
        wallet=encode_address(sponsored.wallet),
        state=sponsored.state.value,
        amount=format_hyper(sponsored.pay),
        lamports=sponsored.lamports,
        signature=based58.b58encode(sponsored.signature).decode(),
        taken_at=iso(sponsored.taken_ms),
        ended_at=iso(sponsored.ended_ms) if sponsored.ended_ms else None,
    )


def epoch_view(epoch: Epoch) -> EpochView:
    """An epoch, as everybody sees it."""
    is_sealed = bool(epoch.root)
    return EpochView(
        number=epoch.number,
        state=epoch.state.value,
        closed_at=iso(epoch.closed_ms),
        total=format_hyper(epoch.total),
        total_exitable=format_hyper(epoch.total_exitable),
        leaves=epoch.leaf_count if is_sealed else None,
        root=epoch.root.hex() if is_sealed else None,
        data_hash=epoch.data_hash.hex() if is_sealed else None,
        published_at=_time(epoch.published_s),
        active_at=_time(epoch.active_s),
        ended_at=_time(epoch.ended_s),
        transaction=based58.b58encode(epoch.signature).decode() if epoch.signature else None,
    )


def _time(seconds: int) -> str | None:
    return iso(1000 * seconds) if seconds else None


def withdrawal_view(withdrawal: Withdrawal) -> WithdrawalView:
    """A withdrawal, with what its guardian needs."""
    return WithdrawalView(
        wallet=encode_address(withdrawal.wallet),
        amount=format_hyper(withdrawal.amount),
        key=withdrawal.key,
        issued_at=iso(withdrawal.issued_ms),
        asked_at=iso(withdrawal.asked_ms),
        epoch=withdrawal.epoch or None,
        form=withdrawal.form,
        proof=encode_base64url(withdrawal.proof),
    )
