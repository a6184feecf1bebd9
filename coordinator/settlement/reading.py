"""What the chain shows that is not in the books yet: read at finality, as events.

In:   a chain, the market, the books' own sums (through a reader, off Trio's loop).
Out:  `News`: events in the order in which the engine takes them, and the market as it was then.
Rules:
  1. Everything is finalized, and no look is of an older slot than the one before it.
  2. Lists of accounts only say where to look: what is booked was read again by address, in one
     answer with the ledger and the chain's clock.
  3. What would be booked never exceeds what the ledger itself counts.
  4. A rise above the threshold is asked of a second node, where there are two.
Not covered: who was paid without having earned. A claim of a wallet that these books do not know
has no event; it is `News.unexplained`, at which people should look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from coordinator import chain_events as cev
from coordinator.events import Event
from coordinator.store.interface import Reader
from coordinator.store.settlement_values import Claim, Deposit
from onchain.address import decode_address
from onchain.chain import Account, Chain
from onchain.chain_errors import ChainLied
from onchain.listing import RunThread, list_claims, list_deposits
from onchain.places import Market
from onchain.reads import RECORDS_AT_ONCE, LedgerNow, read_records
from onchain.views import (
    DepositRecord,
    decode_claim_record,
    decode_deposit_record,
)

#: Asks the books, or does whatever else takes long, off Trio's loop.
ReadBooks: TypeAlias = Callable[[Callable[[Reader], Any]], Awaitable[Any]]

_EARNED: Final = "earned:"


class News(msgspec.Struct, frozen=True):
    """One look at the chain."""

    now: LedgerNow
    events: tuple[Event, ...]
    #: Paid to wallets that these books do not know, base units: 0, or a key was stolen.
    unexplained: int


class Booked(msgspec.Struct, frozen=True):
    """What is in the books."""

    deposits: Mapping[bytes, Deposit]
    claims: Mapping[bytes, Claim]
    #: Wallets that ever earned.
    earners: Sequence[bytes]
    reserve_withdrawn: int

    def deposited(self, owner: bytes) -> int:
        return self.deposits[owner].deposited if owner in self.deposits else 0

    def claimed(self, wallet: bytes) -> int:
        return self.claims[wallet].claimed if wallet in self.claims else 0


def booked_in(reader: Reader) -> Booked:
    """What is in the books; reads every account."""
    settlement = reader.settlement()
    return Booked(
        {each.owner: each for each in reader.deposits()},
        {each.wallet: each for each in reader.claims()},
        [
            decode_address(account.code.removeprefix(_EARNED))
            for account in reader.accounts()
            if account.code.startswith(_EARNED) and account.credits
        ],
        settlement.reserve_withdrawn if settlement else 0,
    )


class Reading:
    """Looks at one market; remembers what never changes: where each wallet's record lies."""

    def __init__(
        self,
        chain: Chain,
        market: Market,
        *,
        read: ReadBooks,
        run_thread: RunThread,
        threshold: int,
        opinions: int = 1,
    ) -> None:
        """Look with these.

        Args:
            chain: The nodes.
            market: What was pinned.
            read: Asks the books.
            run_thread: Runs what takes long.
            threshold: A rise of so many base units or more is asked of `opinions` nodes.
            opinions: 2 where two nodes are configured.
        """
        self._chain = chain
        self._market = market
        self._read = read
        self._run_thread = run_thread
        self._threshold = threshold
        self._opinions = opinions
        self._slot = 0
        self._wallet_at: dict[bytes, bytes] = {}

    async def look(self) -> News:
        """Read what is new.

        Raises:
            ChainError: the chain could not be asked, or said what cannot be.
            NotOfTheProgram, OtherMarket: it is not the market that was pinned.
        """
        booked: Booked = await self._read(booked_in)
        now, deposits = await self._deposits(booked)
        now, claims, unexplained = await self._claims(booked, now)
        reserve: list[Event] = []
        if now.ledger.total_withdrawn > booked.reserve_withdrawn:
            reserve.append(cev.ReserveSeen(now.ledger.total_withdrawn, now.slot))
        return News(now, (*deposits, *claims, *reserve), unexplained)

    # ---- deposits -----------------------------------------------------------------------------

    async def _deposits(self, booked: Booked) -> tuple[LedgerNow, list[Event]]:
        """What is new of deposits, the ledger's own (the reserve's) first."""
        slot, listed = await list_deposits(self._chain, self._market, self._run_thread)
        self._slot = max(self._slot, slot)
        owners = sorted(
            (
                owner
                for owner, record in listed.items()
                if _differs(record, booked.deposits.get(owner) or Deposit(owner))
            ),
            key=lambda owner: owner != self._market.ledger,
        )
        rise = sum(listed[owner].deposited - booked.deposited(owner) for owner in owners)
        places = [self._market.deposit_record(owner) for owner in owners]
        events: list[Event] = []
        fresh = sum(each.deposited for each in booked.deposits.values())
        now, accounts = await self._again(places, rise)
        for owner, account in zip(owners, accounts, strict=True):
            record = self._deposit_of(account, owner)
            fresh += max(0, record.deposited - booked.deposited(owner))
            events.append(_deposit_seen(owner, record, now.slot))
        if fresh > now.ledger.total_deposited:
            msg = f"deposits of {fresh}, the ledger counts {now.ledger.total_deposited}"
            raise ChainLied(msg)
        return now, events

    def _deposit_of(self, account: Account | None, owner: bytes) -> DepositRecord:
        return decode_deposit_record(account, self._market, owner)

    # ---- claims -------------------------------------------------------------------------------

    async def _claims(self, booked: Booked, now: LedgerNow) -> tuple[LedgerNow, list[Event], int]:
        """What is new of claims; nothing is listed while the ledger's own sum has not moved."""
        before = sum(claim.claimed for claim in booked.claims.values())
        if before == now.ledger.total_claimed:
            return now, [], 0
        await self._run_thread(lambda: self._place({*booked.earners, *booked.claims}))
        slot, listed = await list_claims(
            self._chain, self._market, self._wallet_at, self._run_thread
        )
        self._slot = max(self._slot, slot)
        wallets = [
            wallet for wallet, record in listed.items() if record.claimed != booked.claimed(wallet)
        ]
        rise = sum(listed[wallet].claimed - booked.claimed(wallet) for wallet in wallets)
        places = [self._market.claim_record(wallet) for wallet in wallets]
        events: list[Event] = []
        fresh = before
        now, accounts = await self._again(places, rise)
        for wallet, account in zip(wallets, accounts, strict=True):
            record = decode_claim_record(account, self._market, wallet)
            fresh += max(0, record.claimed - booked.claimed(wallet))
            events.append(cev.ClaimSeen(wallet, record.claimed, now.slot))
        if fresh > now.ledger.total_claimed:
            msg = f"claims of {fresh}, the ledger counts {now.ledger.total_claimed}"
            raise ChainLied(msg)
        return now, events, now.ledger.total_claimed - fresh

    def _place(self, wallets: set[bytes]) -> None:
        """Know where these wallets' records lie: 10 us for each new one."""
        for wallet in wallets.difference(self._wallet_at.values()):
            self._wallet_at[self._market.claim_record(wallet)] = wallet

    # ---- asking -------------------------------------------------------------------------------

    async def _again(
        self, places: Sequence[bytes], rise: int
    ) -> tuple[LedgerNow, list[Account | None]]:
        """These accounts by address, each in one answer with the ledger; the market in the end."""
        opinions = self._opinions if rise >= self._threshold else 1
        accounts: list[Account | None] = []
        while True:
            part = places[len(accounts) : len(accounts) + RECORDS_AT_ONCE]
            now, found = await read_records(
                self._chain, self._market, part, slot_min=self._slot, opinions=opinions
            )
            self._slot = now.slot
            accounts += found
            if len(accounts) >= len(places):
                return now, accounts


def _differs(record: DepositRecord, booked: Deposit) -> bool:
    return (record.deposited, record.exited, record.exit_requested_at) != (
        booked.deposited,
        booked.exited,
        booked.exit_requested_s,
    )


def _deposit_seen(owner: bytes, record: DepositRecord, slot: int) -> cev.DepositSeen:
    return cev.DepositSeen(owner, record.deposited, record.exited, record.exit_requested_at, slot)
