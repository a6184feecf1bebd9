"""Claims that the house pays for: offered, signed by the wallet and by us, sent, followed.

In:   a wallet that wants its claim; the same transaction with the wallet's signature.
Out:  an offer (bytes, what it pays), a `Sponsored` row that moves; lamports of the sponsor's key.
Rules:
  1. Nothing is kept of an offer but in memory, and it binds nobody: a stranger who asks for
     thousands spends no lamport of the budget. The wallet's signature makes it a claim.
  2. Decided, written, sent, in that order: our signature leaves this process only after the row,
     with the signed bytes in it, is on the disk; the sender's journal follows. A process that
     starts goes on with every row that is out.
  3. It is sent as it was signed and never signed anew. How it ended the chain says, at finality.
  4. Before it is sent it is simulated again: what would fail, or pay dust by now, is not paid for.
Not here: rules (`sponsor`, `sponsored_books`), what is signed (`cosign`), HTTP (`claims_desk`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import trio

from coordinator import chain_events as cev, sponsored_books
from coordinator.claim_limits import CLAIM_OFFERS_MAX, SPONSORED_OUT_MAX
from coordinator.events import Event
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import Keypair
from coordinator.settlement.claiming import Claims
from coordinator.settlement.reading import ReadBooks
from coordinator.settlement_state import Offered
from coordinator.sponsor_metrics import SponsorMetrics
from coordinator.store.interface import StoreError
from coordinator.store.settlement_values import Sponsored, SponsoredState, SponsorUse
from onchain.address import encode_address
from onchain.chain import Chain, Commitment, Simulation
from onchain.chain_errors import (
    ChainError,
    TransactionExpired,
    TransactionRefused,
)
from onchain.claim import Elsewhere, plan_claim
from onchain.cosign import NotAsBuilt, countersign
from onchain.fees import Fees
from onchain.journal import Attempt, Journal, JournalBroken
from onchain.places import Market
from onchain.program_events import Claimed, events_in
from onchain.sender import Pace, Sender
from onchain.sponsor import Rents, SponsorRules
from onchain.sponsored import Offer, make_offer, read_rents, sponsored_intent

log = get_log(__name__)

#: Between two looks at the sponsor's account.
_WATCH_S: Final = 60.0
#: Blocks in which every node still knows a transaction that landed: seven minutes. Later, silence
#: about one proves nothing (nodes prune), and nothing is free again because of it.
_REMEMBERED_BLOCKS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Held:
    """An offer, and whose it is."""

    wallet: bytes
    offer: Offer


class Sponsoring:
    """Pays for claims of one market; `run` follows those that are out."""

    def __init__(  # noqa: PLR0913 - what sponsoring needs; made in one place
        self,
        claims: Claims,
        chain: Chain,
        market: Market,
        *,
        key: Keypair,
        rules: SponsorRules,
        fees: Fees,
        journal: Journal,
        ask: Callable[[Event], Awaitable[Any]],
        read: ReadBooks,
        wall_ms: Callable[[], int],
        metrics: SponsorMetrics,
        pace: Pace | None = None,
    ) -> None:
        """Sponsor with these.

        Args:
            claims: Reads records and proofs; its places bound what is built at once.
            chain: The nodes.
            market: What was pinned.
            key: Pays.
            rules: As configured.
            fees: Ceilings of one transaction.
            journal: The sender's, of this task alone.
            ask: Hands an event to the engine.
            read: Asks the books.
            wall_ms: Our clock.
            metrics: Told what claims cost and how they end.
            pace: Of the sender.
        """
        self._claims = claims
        self._chain = chain
        self._market = market
        self._key = key
        self._rules = rules
        self._fees = fees
        self._journal = journal
        self._ask = ask
        self._read = read
        self._wall_ms = wall_ms
        self._metrics = metrics
        self._pace = pace or Pace()
        # The fee is in the bytes; a ceiling that was lowered since must not keep them from ending.
        self._sender = Sender(chain, journal, fees=Fees(lamports_max=2**62), pace=pace)
        self._rents: Rents | None = None
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._new, self._came = trio.open_memory_channel[Sponsored](SPONSORED_OUT_MAX)

    # ---- asking -------------------------------------------------------------------------------

    async def offer(self, wallet: bytes) -> Offered:
        """A claim that we would pay for, for the wallet to sign.

        Raises:
            Refusal: we would not, or the program would not; the code says why.
        """
        if wallet == self._key.address:
            raise Refusal("bad_address", "the sponsor pays its own fee already")
        with self._claims.working():
            state, proof = await self._claims.look(wallet)
            plan = plan_claim(
                self._market,
                state,
                proof,
                payer=Elsewhere(self._key.address),
                wallet=Elsewhere(wallet),
                tables=await self._claims.tables(),
            )
            if self._rents is None:
                self._rents = await read_rents(self._chain, self._market)
            try:
                offer = await make_offer(self._chain, plan, self._market, self._fees, self._rents)
            except TransactionRefused as error:
                raise await self._why(error) from error
        # Once more when it is signed, inside a transaction; here so that nobody signs for nothing.
        now_ms = self._wall_ms()
        since_ms = sponsored_books.since_ms(self._rules, now_ms)
        use: SponsorUse = await self._read(lambda reader: reader.sponsor_use(wallet, since_ms))
        sponsored_books.check(self._rules, use, offer.request, now_ms)
        self._hold(_Held(wallet, offer))
        return Offered(offer.name, wallet, offer.raw, offer.request.payout, offer.request.lamports)

    def _hold(self, held: _Held) -> None:
        self._held[held.offer.name] = held
        while len(self._held) > CLAIM_OFFERS_MAX:
            self._held.popitem(last=False)

    def offered(self, name: bytes) -> Offered | None:
        """An offer that nobody has signed yet."""
        held = self._held.get(name)
        if held is None:
            return None
        request = held.offer.request
        return Offered(name, held.wallet, held.offer.raw, request.payout, request.lamports)

    async def accept(self, name: bytes, returned: bytes) -> Sponsored:
        """Pay for an offer that its wallet has signed; answered as before where it was already.

        Raises:
            Refusal: `not_as_built`, `claim_unknown`, `claim_expired`; or as `offer`.
        """
        known: Sponsored | None = await self._read(lambda reader: reader.sponsored(name))
        if known is not None:
            return known
        held = self._held.get(name)
        if held is None:
            raise Refusal("claim_unknown")
        offer = held.offer
        try:
            signed = countersign(offer.raw, returned, self._key)
        except NotAsBuilt as error:
            raise Refusal("not_as_built") from error
        with self._claims.working():
            if await self._chain.block_height() > offer.last_valid_block_height:
                self._held.pop(name, None)
                raise Refusal("claim_expired")
            simulated = await self._chain.simulate(signed.raw)
            if simulated.fault is not None:
                said = f"the chain would refuse it now: {simulated.fault}"
                raise Refusal("claim_refused", said)
            self._check_pay(simulated)
        event = cev.SponsorAsked(
            name, held.wallet, self._rules, offer.request, signed.signature, signed.raw,
            offer.last_valid_block_height,
        )  # fmt: skip
        # Nobody who hangs up leaves a row that is not followed.
        with trio.CancelScope(shield=True):
            sponsored: Sponsored = await self._ask(event)
            if self._held.pop(name, None) is not None:
                self._metrics.moved(sponsored.state)
                # There is room: no more claims are out than the channel holds.
                self._new.send_nowait(sponsored)
        wallet = encode_address(held.wallet)
        log.info("sponsored", wallet=wallet, lamports=sponsored.lamports, pay=sponsored.pay)
        return sponsored

    def _check_pay(self, simulated: Simulation) -> None:
        """That it pays enough still: the breaker may have closed since it was offered.

        A hint is enough for a no: logs may lack the event, and then what was offered counts.
        """
        events = events_in(simulated.logs, self._market.program)
        pays = [event.amount for event in events if isinstance(event, Claimed)]
        if pays and sum(pays) < max(1, self._rules.payout_min):
            raise Refusal("payout_too_small")

    async def _why(self, error: TransactionRefused) -> Refusal:
        """Why a simulation failed: an empty sponsor's first."""
        if await self._chain.balance(self._key.address) < self._rules.lamports_max:
            log.warning("the sponsor's account is empty", address=encode_address(self._key.address))
            return Refusal("sponsor_empty")
        return Refusal("claim_refused", f"the chain would refuse it: {error.fault}")

    # ---- following ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow what is out, and what comes, for ever."""
        out: list[Sponsored] = list(await self._read(lambda reader: reader.sponsored_out()))
        following: set[bytes] = set()
        async with trio.open_nursery() as nursery:

            def follow(sponsored: Sponsored) -> None:
                if sponsored.name not in following and not sponsored.ended_ms:
                    following.add(sponsored.name)
                    nursery.start_soon(self._follow, sponsored, following.discard)

            self._metrics.begin(self._rules.lamports_window_max)
            nursery.start_soon(self._watch)
            for each in out:
                follow(each)
            async for each in self._came:
                follow(each)

    async def _watch(self) -> None:
        """Look at what the sponsor has and what it spent, for ever."""
        while True:
            since_ms = sponsored_books.since_ms(self._rules, self._wall_ms())
            key = self._key.address
            try:
                use: SponsorUse = await self._read(lambda reader: reader.sponsor_use(key, since_ms))  # noqa: B023
                balance = await self._chain.balance(key)
            except (ChainError, StoreError) as error:
                log.warning("the sponsor was not looked at", said=str(error)[:300])
            else:
                self._metrics.tell(balance=balance, spent=use.lamports)
            await trio.sleep(_WATCH_S)

    async def _follow(self, sponsored: Sponsored, then: Callable[[bytes], None]) -> None:
        """One claim to its end."""
        while not sponsored.ended_ms:
            try:
                move = await self._move_of(sponsored)
                if move is not None:
                    sponsored = await self._ask(move)
                    self._metrics.moved(sponsored.state)
                    log.info("sponsored", state=sponsored.state.value, lamports=sponsored.lamports)
            except (ChainError, JournalBroken, Refusal, StoreError) as error:
                log.warning("a sponsored claim waits", said=str(error)[:300])
            if not sponsored.ended_ms:
                await trio.sleep(5 * self._pace.poll_s)
        then(sponsored.name)

    async def _move_of(self, sponsored: Sponsored) -> cev.SponsoredMoved | None:
        """What became of it; None: nothing new."""
        if sponsored.state is SponsoredState.SENT:
            return await self._send(sponsored)
        return await self._finality(sponsored)

    async def _send(self, sponsored: Sponsored) -> cev.SponsoredMoved:
        """Send it until it landed or can no longer land."""
        name = sponsored.name
        intent = sponsored_intent(self._market, sponsored.name)
        is_known = await self._journal.open_attempts(intent.name)
        if not is_known and await self._journal.landed(intent.name) is None:
            attempt = Attempt(
                intent.name, sponsored.signature, sponsored.raw, sponsored.last_height
            )
            await self._journal.write(attempt)
        try:
            await self._sender.send(intent)
        except TransactionExpired:
            is_free = await self._past(sponsored) < _REMEMBERED_BLOCKS
            return cev.SponsoredMoved(name, SponsoredState.EXPIRED, is_free=is_free)
        except TransactionRefused as error:
            if error.signature is None:
                raise
            return cev.SponsoredMoved(name, SponsoredState.FAILED)
        return cev.SponsoredMoved(name, SponsoredState.CONFIRMED)

    async def _finality(self, sponsored: Sponsored) -> cev.SponsoredMoved | None:
        """Whether nobody can take it back any more; None: not yet."""
        name, past = sponsored.name, await self._past(sponsored)
        slot = await self._chain.slot(Commitment.FINALIZED)
        found = await self._chain.statuses([sponsored.signature], search_history=True)
        status = found.values[0]
        if status is None:
            if past <= 0 or found.slot < slot:
                return None
            is_forgotten = past >= _REMEMBERED_BLOCKS
            state = SponsoredState.FINALIZED if is_forgotten else SponsoredState.EXPIRED
            return cev.SponsoredMoved(name, state)
        if not status.commitment.covers(Commitment.FINALIZED):
            return None
        is_good = status.fault is None
        return cev.SponsoredMoved(
            name, SponsoredState.FINALIZED if is_good else SponsoredState.FAILED
        )

    async def _past(self, sponsored: Sponsored) -> int:
        """How many final blocks there are behind the last one in which it could land."""
        return await self._chain.block_height(Commitment.FINALIZED) - sponsored.last_height
