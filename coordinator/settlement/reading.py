"""What the chain shows that is not in the books yet: read at finality, as events.

In:   a chain, the market, the books' own sums (through a reader, off Trio's loop).
Out:  `News`: events in the order in which the engine takes them, and the market as it was then.
Rules:
  1. Everything is finalized, and no look is of an older slot than the one before it.
  2. Lists of accounts only say where to look: what is booked was read again by address, in one
     answer with the ledger and the chain's clock.
  3. What would be booked never exceeds what the ledger itself counts.
  4. A rise above the threshold is asked of a second node, where there are two.
  5. A look costs what has changed. Who deposited since the last look, and who asked to leave, is
     asked for; all records are gone through at the start, once an hour, and when the ledger's sums
     stay ahead of the books' (exits by the first door, claims): a part of them a look where they
     are many (`sweeping`).
Not covered: who was paid without having earned. A claim of a wallet that these books do not know
has no event; it is `News.unexplained`, at which people should look. Of long lists it is known at
the end of a pass only; and who thought better of leaving a year later is seen within an hour.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from coordinator import chain_events as cev
from coordinator.events import Event
from coordinator.settlement.sweeping import Places, Sweep
from coordinator.store.interface import Reader
from coordinator.store.settlement_values import ChainSums, Deposit
from onchain.chain import Account, BytesAre, Chain
from onchain.chain_errors import ChainLied, ChainUnreachable
from onchain.listing import (
    RunThread,
    asked_in,
    claim_page,
    deposit_page,
    deposited_in,
    list_claims,
    list_deposits,
)
from onchain.places import Market
from onchain.reads import RECORDS_AT_ONCE, LedgerNow, read_records
from onchain.views import (
    ClaimRecord,
    DepositRecord,
    decode_claim_record,
    decode_deposit_record,
)

#: Asks the books, or does whatever else takes long, off Trio's loop.
ReadBooks: TypeAlias = Callable[[Callable[[Reader], Any]], Awaitable[Any]]

#: Records that one look reads again by address, because the list shows them changed: 52 questions.
RECORDS_CHANGED_MAX: Final = 5_000
#: Wallets whose records' addresses one look finds out: 10 us each, 0.2 s.
RECORDS_PLACED_MAX: Final = 20_000
#: Owners that are leaving, beside the ledger's own record, in the first answer of a look.
_LEAVING_AT_ONCE: Final = RECORDS_AT_ONCE - 1


class News(msgspec.Struct, frozen=True):
    """One look at the chain."""

    now: LedgerNow
    events: tuple[Event, ...]
    #: Paid to wallets that these books do not know, base units: 0, or a key was stolen.
    unexplained: int


class _Look:
    """One look as it goes on: the market as it was last read, what was found, what is summed up."""

    def __init__(self, now: LedgerNow, sums: ChainSums) -> None:
        self.now = now
        self.deposited, self.exited, self.claimed = sums.deposited, sums.exited, sums.claimed
        self.owners, self.claimants = sums.owners, sums.claimants
        self.events: list[Event] = []
        #: What this look has found already: as good as booked.
        self.deposits: dict[bytes, Deposit] = {}
        self.claims: dict[bytes, int] = {}
        #: Records that may still be read again.
        self.room = RECORDS_CHANGED_MAX

    @property
    def now_s(self) -> int:
        return self.now.clock.unix_s

    @property
    def unbooked(self) -> int:
        """What the ledger counts of deposits and exits beyond what is booked or found."""
        ledger = self.now.ledger
        return ledger.total_deposited - self.deposited + ledger.total_exited - self.exited

    def check(self) -> None:
        """Refuse more than the ledger counts (rule 3)."""
        ledger = self.now.ledger
        if self.deposited > ledger.total_deposited:
            msg = f"deposits of {self.deposited}, the ledger counts {ledger.total_deposited}"
            raise ChainLied(msg)
        if self.claimed > ledger.total_claimed:
            msg = f"claims of {self.claimed}, the ledger counts {ledger.total_claimed}"
            raise ChainLied(msg)


class Reading:
    """Looks at one market; remembers how far it has looked, and where each wallet's record lies."""

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
        #: Deposits up to this slot were seen; None: none was looked for yet.
        self._since: int | None = None
        #: What the last look left unbooked; what the last whole pass over claims did.
        self._left = self._unexplained = 0
        self._deposit_sweep, self._claim_sweep = Sweep(deposit_page), Sweep(claim_page)
        self._places = Places(market.claim_record)
        #: Wallets up to this number have their places.
        self._placed = 0
        #: Which of the owners that are leaving are read next.
        self._leaver = 0

    @property
    def has_seen_all(self) -> bool:
        """Whether all deposit records were gone through once."""
        return not (self._deposit_sweep.is_new or self._deposit_sweep.is_running)

    async def look(self) -> News:
        """Read what is new.

        Raises:
            ChainError: the chain could not be asked, or said what cannot be.
            NotOfTheProgram, OtherMarket: it is not the market that was pinned.
        """
        sums, withdrawn, owners = await self._read(self._booked)
        now, accounts = await self._again([self._market.deposit_record(each) for each in owners], 0)
        look = _Look(now, sums)
        await self._see_deposits(look, zip(owners, accounts, strict=True))
        await self._new_deposits(look)
        await self._all_deposits(look)
        await self._claims(look)
        if look.now.ledger.total_withdrawn > withdrawn:
            look.events.append(cev.ReserveSeen(look.now.ledger.total_withdrawn, look.now.slot))
        return News(look.now, tuple(look.events), self._unexplained)

    def _booked(self, reader: Reader) -> tuple[ChainSums, int, list[bytes]]:
        """Sums; what left the reserve; the ledger and some owners that are leaving."""
        settlement, leaving = reader.settlement(), reader.leaving()
        at = self._leaver = self._leaver % max(1, len(leaving))
        some = leaving[at : at + _LEAVING_AT_ONCE]
        self._leaver += len(some)
        withdrawn = settlement.reserve_withdrawn if settlement else 0
        others = [each for each in some if each != self._market.ledger]
        return reader.chain_sums(), withdrawn, [self._market.ledger, *others]

    # ---- deposits -----------------------------------------------------------------------------

    async def _new_deposits(self, look: _Look) -> None:
        """Who deposited since the last look, and who asked to leave."""
        if self._since is None:
            return
        slot, filters = look.now.slot, asked_in(look.now_s)
        if look.unbooked:
            filters += deposited_in(min(self._since, slot), slot)
        for each in filters:
            if await self._listed_deposits(look, each) is None:
                return  # the next look goes on from the same slot
        self._since = slot

    async def _all_deposits(self, look: _Look) -> None:
        """A pass over all records, or a part of it, where there is a reason for one (rule 5)."""
        sweep, now_s, left = self._deposit_sweep, look.now_s, self._left
        self._left = look.unbooked
        # In a long list a deposit that came just now is no reason: the next look finds it.
        is_reason = self._left and (left or not sweep.is_paged)
        if sweep.is_due(now_s) or (is_reason and sweep.may_begin(now_s)):
            sweep.begin(look.owners, now_s)
            self._since = look.now.slot if self._since is None else self._since
        await self._walk(sweep, look, self._listed_deposits)
        self._left = look.unbooked

    async def _listed_deposits(self, look: _Look, *filters: BytesAre) -> int | None:
        """Records of a list, and what is new of them; None where there is no room for all."""
        slot, listed = await list_deposits(self._chain, self._market, self._run_thread, *filters)
        self._slot = max(self._slot, slot)
        booked = await self._deposits_of(look, listed)
        owners = [owner for owner, record in listed.items() if _differs(record, booked[owner])]
        some = owners[: look.room]
        look.room -= len(some)
        if some:
            rise = sum(listed[owner].deposited - booked[owner].deposited for owner in some)
            places = [self._market.deposit_record(owner) for owner in some]
            look.now, accounts = await self._again(places, rise)
            await self._see_deposits(look, zip(some, accounts, strict=True))
        return None if len(some) < len(owners) else len(listed)

    async def _see_deposits(
        self, look: _Look, read: Iterable[tuple[bytes, Account | None]]
    ) -> None:
        """Records as they were read by address: what is new of them."""
        records = {
            owner: decode_deposit_record(account, self._market, owner) for owner, account in read
        }
        booked = await self._deposits_of(look, records)
        for owner, record in records.items():
            if _differs(record, booked[owner]):
                look.deposited += max(0, record.deposited - booked[owner].deposited)
                look.exited += max(0, record.exited - booked[owner].exited)
                look.events.append(_deposit_seen(owner, record, look.now.slot))
                look.deposits[owner] = Deposit(
                    owner, record.deposited, record.exited, record.exit_requested_at
                )
        look.check()

    async def _deposits_of(self, look: _Look, owners: Iterable[bytes]) -> Mapping[bytes, Deposit]:
        booked: Mapping[bytes, Deposit] = await self._read(partial(_deposits_of, [*owners]))
        return {**booked, **{each: look.deposits[each] for each in booked if each in look.deposits}}

    # ---- claims -------------------------------------------------------------------------------

    async def _claims(self, look: _Look) -> None:
        """What is new of claims; nothing is listed while the ledger's own sum has not moved."""
        sweep, now_s = self._claim_sweep, look.now_s
        unbooked = look.now.ledger.total_claimed - look.claimed
        if not unbooked and not sweep.is_running:
            self._unexplained = 0
            return
        if not await self._read(self._place):
            return  # the next look knows more of them
        if sweep.may_begin(now_s):
            sweep.begin(look.claimants, now_s)
        await self._walk(sweep, look, self._listed_claims)
        if not sweep.is_running:
            self._unexplained = look.now.ledger.total_claimed - look.claimed

    async def _listed_claims(self, look: _Look, *filters: BytesAre) -> int | None:
        """As `_listed_deposits`."""
        slot, listed = await list_claims(
            self._chain, self._market, self._places, self._run_thread, *filters
        )
        self._slot = max(self._slot, slot)
        booked: Mapping[bytes, int] = await self._read(partial(_claimed_by, [*listed]))
        claimed = {wallet: look.claims.get(wallet, booked[wallet]) for wallet in listed}
        wallets = [wallet for wallet, record in listed.items() if record.claimed != claimed[wallet]]
        some = wallets[: look.room]
        look.room -= len(some)
        if some:
            rise = sum(listed[wallet].claimed - claimed[wallet] for wallet in some)
            places = [self._market.claim_record(wallet) for wallet in some]
            look.now, accounts = await self._again(places, rise)
            for wallet, account in zip(some, accounts, strict=True):
                record: ClaimRecord = decode_claim_record(account, self._market, wallet)
                look.claimed += max(0, record.claimed - claimed[wallet])
                look.events.append(cev.ClaimSeen(wallet, record.claimed, look.now.slot))
                look.claims[wallet] = record.claimed
            look.check()
        return None if len(some) < len(wallets) else len(listed)

    def _place(self, reader: Reader) -> bool:
        """Know where the next wallets' records lie; whether there are no more of them."""
        found = reader.earners(self._placed, RECORDS_PLACED_MAX)
        self._places.add(wallet for _, wallet in found)
        self._placed = found[-1][0] if found else self._placed
        return len(found) < RECORDS_PLACED_MAX

    # ---- asking -------------------------------------------------------------------------------

    async def _walk(
        self, sweep: Sweep, look: _Look, see: Callable[..., Awaitable[int | None]]
    ) -> None:
        """The pages of this look, as far as there is room for what they show."""
        for filters in sweep.pages():
            try:
                records = await see(look, *filters)
            except ChainUnreachable:
                sweep.failed()
                raise
            if records is None:
                return
            sweep.saw(records, look.now_s)

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


def _deposits_of(owners: Sequence[bytes], reader: Reader) -> dict[bytes, Deposit]:
    return {owner: reader.deposit(owner) for owner in owners}


def _claimed_by(wallets: Sequence[bytes], reader: Reader) -> dict[bytes, int]:
    return {wallet: reader.claim(wallet).claimed for wallet in wallets}


def _differs(record: DepositRecord, booked: Deposit) -> bool:
    return (record.deposited, record.exited, record.exit_requested_at) != (
        booked.deposited,
        booked.exited,
        booked.exit_requested_s,
    )


def _deposit_seen(owner: bytes, record: DepositRecord, slot: int) -> cev.DepositSeen:
    return cev.DepositSeen(owner, record.deposited, record.exited, record.exit_requested_at, slot)
