"""One round of settlement: read, book, follow, note, and then at most one step forward.

In:   the engine (`ask`), the books (`read`), a market on a chain, the publisher's key.
Out:  the chain's money in the books; roots on the chain; a `SettlementState` for people.
Rules:
  1. A round begins with the chain at finality, and what it decides follows from chain and rows
     alone: a process that dies anywhere goes on with the next round.
  2. An epoch is closed, its file written and synced, its tree noted, and only then its root is
     sent, by a sender that journals before it sends: one root an epoch, whoever restarts.
  3. What says that books and chain do not belong together stops the settler until people have
     looked (`STOPPING`): it reads and books, and publishes nothing.
  4. A chain that cannot be asked stops nothing but settlement.
  5. With a key that is not the role's, nothing is closed: it could not be published (`wrong_key`).
Not covered: books that lost epochs (an old backup): they stop here; people mend them (`taking`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import msgspec
import trio

from coordinator import chain_events as cev
from coordinator.events import Event
from coordinator.leaf_files import LeafFiles
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.settlement import telling
from coordinator.settlement.closing import Built, build, leaf_file
from coordinator.settlement.following import moves
from coordinator.settlement.proofs import Proofs
from coordinator.settlement.reading import News, ReadBooks, Reading
from coordinator.settlement_state import SettlementState
from coordinator.store.interface import Reader
from coordinator.store.settlement_values import Epoch, EpochState, SettlementFigures
from onchain.chain_errors import ChainError
from onchain.drafts import Signer
from onchain.errors import OnchainError
from onchain.leaves import LeafFile
from onchain.listing import RunThread
from onchain.outlook import is_due, promoted, shortest_exit_after
from onchain.places import Market
from onchain.program_refusals import ProgramRefused
from onchain.publication import (
    EpochCapExceeded,
    IntervalRunning,
    LeafFell,
    NotSolvent,
    PredecessorMissing,
    PublishingPaused,
    RootStillPending,
    TotalFell,
)
from onchain.publish import EpochTaken, Roots
from onchain.reads import LedgerNow
from onchain.role_keys import HeldKey, WrongKey, wrong_keys
from onchain.views import Ledger

log = get_log(__name__)

#: Refusals that say that books and chain do not belong together.
STOPPING: Final = frozenset(
    {"leaf_below", "root_mismatch", "epoch_unknown", "chain_went_back", "leaves_differ"}
    | {"faucet_money"}
)
#: The chain will take the same root later.
_LATER: Final = (IntervalRunning, RootStillPending, PublishingPaused, EpochCapExceeded)
#: Money has moved since the epoch was closed: its leaves are fixed anew.
_ANEW: Final = (TotalFell, NotSolvent)
#: An epoch is closed early once what no root covers has passed this part of the promise.
_EARLY: Final = 2


class _Step(msgspec.Struct, frozen=True):
    """What one step forward is decided on."""

    roots: Roots
    publisher: Signer
    now: LedgerNow
    last: Epoch | None
    active: Epoch | None


class Settler:
    """Settles one market; one round at a time."""

    def __init__(  # noqa: PLR0913 - what settling needs; made in one place
        self,
        *,
        ask: Callable[[Event], Awaitable[Any]],
        read: ReadBooks,
        reader: Reader,
        files: LeafFiles,
        reading: Reading,
        proofs: Proofs,
        market: Market,
        roots: Roots | None,
        publisher: Signer | None,
        keys: Mapping[str, HeldKey],
        epoch_every_s: float,
        wall_ms: Callable[[], int],
        run_thread: RunThread,
        on_trouble: Callable[[str], None],
    ) -> None:
        """Settle with these.

        Args:
            ask: Hands an event to the engine.
            read: Asks the books.
            reader: One of its own, for leaves.
            files: Where leaf files are kept.
            reading: Looks at the chain.
            proofs: Holds the active root's tree.
            market: What is settled.
            roots: Sends; its payer pays for activations.
            publisher: Signs roots; None, as `roots`: this house reads, and publishes nothing.
            keys: The keys at hand, by the ledger's role that each is meant for.
            epoch_every_s: From one closing to the next.
            wall_ms: Our clock.
            run_thread: Runs what takes long.
            on_trouble: Told the code of what went wrong in a round.
        """
        self._on_trouble = on_trouble
        self._ask = ask
        self._read = read
        self._reader = reader
        self._files = files
        self._reading = reading
        self._proofs = proofs
        self._market = market
        self._roots = roots
        self._publisher = publisher
        self._keys = keys
        self._every_ms = int(1000 * epoch_every_s)
        self._wall_ms = wall_ms
        self._run_thread = run_thread
        self._lock = trio.Lock()
        #: The ledger as it was last read.
        self.now: LedgerNow | None = None
        #: Signatures of roots that this process sent, by epoch.
        self._sent: dict[int, bytes] = {}
        self.state = SettlementState(publishes=publisher is not None)

    async def round(self, *, close_now: bool = False) -> None:
        """Read, book, and go one step; what went wrong stands in `state`.

        Args:
            close_now: Close an epoch though its time has not come, where the chain allows it.
        """
        async with self._lock:
            self.state.did, self.state.waits, self.state.waits_until_s = (), "", 0
            try:
                await self._round(close_now=close_now)
            except Refusal as refusal:
                self._trouble(refusal.code, refusal.sentence, stops=refusal.code in STOPPING)
            except (EpochTaken, LeafFell, PredecessorMissing) as error:
                code = "root_mismatch" if isinstance(error, EpochTaken) else "leaf_below"
                self._trouble(code, str(error), stops=True)
            except (ChainError, OnchainError) as error:
                self._trouble(name_of(error), str(error), stops=False)
            else:
                if not self.state.is_stopped:
                    self.state.alarm = self.state.said = ""

    async def close_anew(self, number: int) -> None:
        """Fix the leaves of the last epoch anew, of which no chain has the root, or ever will.

        What stopped the settler may be gone with that: it goes on, and stops again if it is not.

        Raises:
            Refusal: `epoch_state`: it is not the last one, or may be on the chain; others as at any
                closing. Nothing was done.
            ChainError, OnchainError: the chain could not be asked.
        """
        async with self._lock:
            ledger = (await self._reading.look()).now.ledger
            last, _ = await self._epochs()
            if last is None or (last.number, last.state) != (number, EpochState.CLOSED):
                what = f"the last epoch is {last.number}, {last.state.value}" if last else "none is"
                raise Refusal("epoch_state", f"only a closed epoch is closed anew: {what}")
            if ledger.last_epoch >= number or self._roots is None:
                why = "the chain has passed it" if self._roots else "this house publishes nothing"
                raise Refusal("epoch_state", f"epoch {number} is not closed anew: {why}")
            if last.root and await self._roots.may_land(number, last.root):
                raise Refusal(
                    "epoch_state",
                    f"the root of epoch {number} was signed and may still land: ask again when its "
                    "signature is void, after some two minutes",
                )
            log.warning("an epoch is closed anew", epoch=number, before=last.root.hex())
            await self._close(ledger, is_anew=True)
            state = self.state
            state.alarm, state.said, state.is_stopped = "", "", False

    def _trouble(self, code: str, said: str, *, stops: bool) -> None:
        state = self.state
        if state.is_stopped and not stops:
            return
        self._on_trouble(code)
        if code != state.alarm:
            tell = log.error if stops else log.warning
            tell("settlement", code=code, said=said, stopped=stops)
        state.alarm, state.said, state.is_stopped = code, said, state.is_stopped or stops

    async def _round(self, *, close_now: bool) -> None:
        news = await self._reading.look()
        for event in news.events:
            await self._ask(event)
        if news.events:
            self._did(f"booked {len(news.events)} deposits, exits or claims")
        last, active = await self._epochs()
        for move in moves(news.now.ledger, news.now.clock.unix_s, last, active):
            signature = self._sent.get(move.number, b"")
            await self._ask(msgspec.structs.replace(move, signature=signature))
            log.info("epoch", number=move.number, state=move.state.value)
            self._did(f"epoch {move.number} is {move.state.value}")
        last, active = await self._epochs()
        await self._proofs.adopt(active)
        await self._note(news)
        wrong = wrong_keys(news.now.ledger, self._keys)
        can_publish = "publisher" not in wrong and not self.state.is_stopped
        if self._publisher is not None and self._roots is not None and can_publish:
            step = _Step(self._roots, self._publisher, news.now, last, active)
            await self._forward(step, close_now=close_now)
        elif self._publisher is None:
            self._waits(telling.NO_PUBLISHER)
        if wrong:
            raise WrongKey("; ".join(wrong.values()))

    def _did(self, said: str) -> None:
        self.state.did = (*self.state.did, said)

    def _waits(self, wait: telling.Wait) -> None:
        self.state.waits, self.state.waits_until_s = wait

    async def _epochs(self) -> tuple[Epoch | None, Epoch | None]:
        def load(reader: Reader) -> tuple[Epoch | None, Epoch | None]:
            return next(iter(reader.epochs(1)), None), reader.active_epoch()

        found: tuple[Epoch | None, Epoch | None] = await self._read(load)
        return found

    async def _note(self, news: News) -> None:
        """Tell the engine how settlement stands: until when credit is spent follows from it."""
        ledger, clock = news.now.ledger, news.now.clock
        figures: SettlementFigures = await self._read(lambda reader: reader.settlement_figures())
        promise = min(ledger.reserve, ledger.limits.advance_cap) if _vouches(ledger) else 0
        await self._ask(
            cev.ChainLooked(
                clock.unix_s,
                promoted(ledger, clock).active.active_at,
                shortest_exit_after(ledger),
                figures.unrooted,
                promise,
            )
        )
        if news.unexplained and news.unexplained != self.state.unexplained:
            log.error("paid to wallets that these books do not know", units=news.unexplained)
        self.now = news.now
        state = self.state
        state.looked_ms, state.slot = self._wall_ms(), news.now.slot
        state.clock_s = clock.unix_s
        state.active_epoch, state.active_since_s = ledger.active.epoch, ledger.active.active_at
        state.exit_after_s = ledger.limits.exit_after
        state.pending_epoch, state.pending_at_s = ledger.pending.epoch, ledger.pending.active_at
        state.unrooted, state.promise = figures.unrooted, promise
        state.unexplained = news.unexplained

    # ---- one step -----------------------------------------------------------------------------

    async def _forward(self, step: _Step, *, close_now: bool) -> None:
        now, last = step.now, step.last
        if now.ledger.pending.epoch:
            if not is_due(now.ledger, now.clock):
                self._waits(telling.pending(now.ledger, now.clock))
                return
            await self._activate(step.roots, now.ledger.pending.epoch)
            return
        if last is None or last.state is not EpochState.CLOSED:
            if not (close_now or self._is_time(now, last)):
                self._waits(telling.before_closing(now.ledger, last, self._due_s(now, last)))
                return
            last = await self._close(now.ledger)
            if last is None:
                self._waits(telling.NOTHING_EARNED)
                return
        if not last.root:
            last = await self._seal(last)
        try:
            await self._publish(last, step)
        except _LATER as error:
            log.info("a root waits", epoch=last.number, said=str(error))
            self._waits(telling.Wait(f"epoch {last.number}: {error}", error.until_s))
        except _ANEW as error:
            log.warning("an epoch is closed anew", epoch=last.number, said=str(error))
            await self._close(now.ledger, is_anew=True)
            raise

    async def _activate(self, roots: Roots, epoch: int) -> None:
        """Activate what is due at finality; somebody, or a round before, may have been quicker."""
        try:
            sent = await roots.activate()
        except ProgramRefused as refused:
            if refused.name != "NoPendingRoot":
                raise
        else:
            self._did(telling.sent("activated", epoch, sent.signature))
        self._waits(telling.after_activating(epoch))

    def _is_time(self, now: LedgerNow, last: Epoch | None) -> bool:
        """Whether an epoch is closed now: on schedule, or early before the promise is used up."""
        ledger = now.ledger
        since_s = now.clock.unix_s - ledger.active.published_at
        if since_s < ledger.limits.min_epoch_interval:
            return False
        if now.clock.unix_s >= self._due_s(now, last):
            return True
        return bool(self.state.promise) and _EARLY * self.state.unrooted > self.state.promise

    def _due_s(self, now: LedgerNow, last: Epoch | None) -> int:
        """When the next epoch is closed by the schedule, on the chain's clock, Unix s."""
        if last is None:
            # The schedule begins with the ledger.
            return now.ledger.active.active_at + self._every_ms // 1000
        left_ms = last.closed_ms + self._every_ms - self._wall_ms()
        return now.clock.unix_s - (-left_ms // 1000)

    async def _close(self, ledger: Ledger, *, is_anew: bool = False) -> Epoch | None:
        """Fix an epoch's leaves; None where nothing can be closed yet."""
        event = cev.EpochClosed(
            ledger.last_epoch + 1, ledger.active.epoch, ledger.active.total, is_anew
        )
        try:
            while (epoch := await self._ask(event)) is None:
                await trio.lowlevel.checkpoint()
        except Refusal as refusal:
            if refusal.code == "epoch_empty":
                return None
            raise
        closed: Epoch = epoch
        log.info("epoch", number=closed.number, state="closed", total=closed.total)
        self._did(telling.closed(closed))
        return closed

    async def _seal(self, epoch: Epoch) -> Epoch:
        """Write an epoch's leaf file, then note its tree."""
        built: Built = await self._run_thread(
            partial(build, self._reader, self._files, self._market.ledger, epoch.number)
        )
        sealed: Epoch = await self._ask(
            cev.EpochSealed(
                epoch.number,
                built.root,
                built.data_hash,
                built.leaf_count,
                built.total,
                built.total_exitable,
            )
        )
        self._did(telling.sealed(sealed))
        return sealed

    async def _publish(self, epoch: Epoch, step: _Step) -> None:
        """Send the root of an epoch whose file can be fetched already."""
        ledger = self._market.ledger
        with ExitStack() as stack:

            def open_files() -> list[LeafFile]:
                return [
                    stack.enter_context(leaf_file(self._reader, self._files, ledger, each))
                    for each in (epoch, step.active)
                    if each is not None
                ]

            file, *before = await self._run_thread(open_files)
            sent = await step.roots.publish(
                file, publisher=step.publisher, before=before[0] if before else None
            )
        self._sent = {epoch.number: sent.signature or b""}
        log.info("epoch", number=epoch.number, state="sent", slot=sent.slot)
        self._did(telling.sent("published", epoch.number, sent.signature))
        self._waits(telling.after_publishing(epoch.number))


def _vouches(ledger: Ledger) -> bool:
    return ledger.voucher_key != bytes(32)


def name_of(error: Exception) -> str:
    """`ChainUnreachable` as `chain_unreachable`."""
    name = type(error).__name__
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")
