"""How settlement stands, for people, gauges and the status; written by the settler.

Amounts are base units; `_ms` is Unix ms on our clock, `_s` Unix seconds as the chain tells them.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from coordinator.settlement_views import VoucherView
from coordinator.store.settlement_values import Sponsored


class SettlementState(msgspec.Struct):
    """What the latest round found."""

    #: When a look at the chain last came through; 0: never.
    looked_ms: int = 0
    slot: int = 0
    active_epoch: int = 0
    pending_epoch: int = 0
    #: When the pending root may become active.
    pending_at_s: int = 0
    active_since_s: int = 0
    #: Seconds without an active root after which depositors may leave.
    exit_after_s: int = 0
    #: Earned without a root, and the reserve that is promised for it.
    unrooted: int = 0
    promise: int = 0
    #: Paid on the chain to wallets that these books do not know.
    unexplained: int = 0
    #: Code of what is wrong, and in words; `""`: nothing.
    alarm: str = ""
    said: str = ""
    #: The settler publishes nothing until the process starts anew.
    is_stopped: bool = False
    #: This house signs roots.
    publishes: bool = False
    #: What the latest round did, one sentence each; and what the next step waits for.
    did: tuple[str, ...] = ()
    waits: str = ""
    #: When that wait ends, and what time it was, on the chain's clock, Unix s; 0: not known.
    waits_until_s: int = 0
    clock_s: int = 0


class Built(msgspec.Struct, frozen=True):
    """A claim that a wallet may sign."""

    #: The transaction, its signatures zeros.
    raw: bytes
    #: What it would pay, base units.
    pay: int


class Offered(msgspec.Struct, frozen=True):
    """A claim that the house would pay for, once its wallet has signed it."""

    #: SHA-256 of its message.
    name: bytes
    wallet: bytes
    #: The transaction, its signatures zeros.
    raw: bytes
    #: What it would pay, base units, and what it would cost the house, lamports.
    pay: int
    lamports: int


class Claiming(Protocol):
    """Builds claims from the chain as it is now; every method may raise a `Refusal`."""

    @property
    def chain_name(self) -> str:
        """CAIP-2 name of the chain."""
        ...

    async def payable(self, wallet: bytes) -> int:
        """What a claim of this wallet would pay now, base units."""
        ...

    async def build(self, wallet: bytes, payer: bytes) -> Built:
        """A claim of this wallet whose fee `payer` pays."""
        ...


class SponsoringClaims(Protocol):
    """Pays for claims; every method may raise a `Refusal`."""

    async def offer(self, wallet: bytes) -> Offered:
        """A claim for its wallet to sign."""
        ...

    def offered(self, name: bytes) -> Offered | None:
        """An offer that nobody has signed yet."""
        ...

    async def accept(self, name: bytes, returned: bytes) -> Sponsored:
        """Pay for what its wallet has signed."""
        ...


class Settling(Protocol):
    """The shell that settles, as the desk knows it."""

    @property
    def state(self) -> SettlementState: ...

    @property
    def claiming(self) -> Claiming | None:
        """None until the chain was read once."""
        ...

    @property
    def sponsoring(self) -> SponsoringClaims | None:
        """None where nobody's fee is paid, and until the chain was read once."""
        ...

    async def voucher(self, wallet: bytes) -> VoucherView:
        """A wallet's voucher, or a `Refusal`."""
        ...

    async def round_now(self, anew: int = 0) -> SettlementState:
        """One round now, and how it ended; it closes an epoch where the chain allows that.

        With `anew` the leaves of the last epoch are fixed anew before, or a `Refusal` says why not.
        """
        ...
