"""After a restore: a root that the chain holds and the books have forgotten, by its leaf file.

In:   a leaf file, from the folder of leaf files or from whoever fetched it; the chain; the engine.
Out:  the books beside the chain again (`Taken`), or a refusal and nothing taken.
Rules:
  1. The file is believed as far as the chain goes: it has the hash and the tree of the root that is
     active or pending at finality, leaf by leaf.
  2. What the chain shows of deposits and claims is booked first, the leaves then, the epoch last:
     broken off anywhere, it is said again and goes on.
  3. The older root first: where the active one is unknown too, it is taken before the pending one.
  4. Nobody does this but people: see `coordinator.takeover`.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from coordinator import chain_events as cev
from coordinator.events import Event
from coordinator.leaf_files import LeafFiles
from coordinator.protocol.errors import Refusal
from coordinator.settlement.reading import ReadBooks, Reading
from coordinator.store.settlement_values import Epoch, EpochState
from onchain.leaves import Kind, LeafFile
from onchain.listing import RunThread
from onchain.places import Market
from onchain.publication import prepare, promised_part
from onchain.reads import LedgerNow
from onchain.views import Root

#: Leaves of one event: each may be a transfer of its batch.
LEAVES_AT_ONCE: Final = 1_000
#: Looks at the chain until nothing is new: a million owners take some twenty.
_LOOKS_MAX: Final = 10_000


class Taken(msgspec.Struct, frozen=True):
    """What came of it."""

    epoch: Epoch
    #: What the books lacked of the leaves, base units: it is in `loss` now.
    lacked: int
    #: What `loss` is in all: so much is to be deposited for the treasury before the next root.
    loss: int


class Taking:
    """Takes roots of one market over."""

    def __init__(
        self,
        market: Market,
        *,
        ask: Callable[[Event], Awaitable[Any]],
        read: ReadBooks,
        reading: Reading,
        files: LeafFiles,
        run_thread: RunThread,
    ) -> None:
        self._market = market
        self._ask = ask
        self._read = read
        self._reading = reading
        self._files = files
        self._run_thread = run_thread

    async def take(self, path: Path) -> Taken:
        """Take the root of a leaf file over.

        Raises:
            Refusal: `leaves_differ`: the chain has no such root; `epoch_unknown`: the active root
                is taken first; what the engine refuses.
            LeafFileError: it is no whole leaf file.
            ChainError: the chain could not be asked.
            OSError: the file cannot be read, or not be copied into the folder of leaf files.
        """
        now = await self._catch_up()
        promised = await self._run_thread(lambda: self._promised(path))
        root, state = await self._on_chain(now, promised)
        await self._run_thread(lambda: self._keep(path, promised))
        lacked = await self._take_leaves(path)
        epoch: Epoch = await self._ask(
            cev.EpochTaken(
                root.epoch,
                state,
                root.root,
                root.data_hash,
                root.leaf_count,
                root.total,
                root.total_exitable,
                root.published_at,
                root.active_at if state is EpochState.ACTIVE else 0,
            )
        )
        await self._catch_up()  # claims of wallets that were unknown before
        loss = await self._read(lambda reader: max(0, -reader.account("loss").balance))
        return Taken(epoch, lacked, loss)

    async def _catch_up(self) -> LedgerNow:
        """Book what the chain shows until nothing is new."""
        for _ in range(_LOOKS_MAX):
            news = await self._reading.look()
            for event in news.events:
                await self._ask(event)
            if not news.events and self._reading.has_seen_all:
                return news.now
        raise Refusal("settlement_unread", "the chain shows something new at each look")

    def _promised(self, path: Path) -> Root:
        with path.open("rb") as opened:
            found = prepare(LeafFile(opened))
        if found.ledger != self._market.ledger:
            raise Refusal("leaves_differ", f"{path.name} is of another ledger")
        return found.promised

    async def _on_chain(self, now: LedgerNow, promised: Root) -> tuple[Root, EpochState]:
        """The chain's root that is this file's, and whether it is active (rules 1 and 3)."""
        ledger = now.ledger
        held = ((ledger.active, EpochState.ACTIVE), (ledger.pending, EpochState.PUBLISHED))
        same = [each for each in held if promised_part(each[0]) == promised]
        if not same:
            raise Refusal(
                "leaves_differ",
                f"the chain has neither as active nor as pending root what epoch {promised.epoch} "
                f"of this file is: active is {ledger.active.epoch}, pending {ledger.pending.epoch}",
            )
        ((root, state),) = same
        active = ledger.active.epoch
        if root.epoch != active and active and not await self._knows(active):
            raise Refusal("epoch_unknown", f"the leaves of epoch {active} are taken first")
        return root, state

    async def _knows(self, number: int) -> bool:
        found: Epoch | None = await self._read(lambda reader: reader.epoch(number))
        return found is not None and bool(found.root)

    def _keep(self, path: Path, promised: Root) -> None:
        """A copy in the folder of leaf files, from where proofs are served."""
        if self._files.size(promised.epoch, promised.data_hash) is None:
            with self._files.new(promised.epoch) as (opened, draft), path.open("rb") as source:
                shutil.copyfileobj(source, opened)
                self._files.keep(opened, draft, promised.epoch, promised.data_hash)

    async def _take_leaves(self, path: Path) -> int:
        lacked = 0
        with path.open("rb") as opened:
            leaves = LeafFile(opened).leaves(Kind.EARNINGS)
            while some := await self._run_thread(lambda: tuple(islice(leaves, LEAVES_AT_ONCE))):
                lacked += await self._ask(cev.LeavesTaken(some))
        return lacked
