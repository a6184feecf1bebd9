"""The house looks at itself: sums, files, books, disk. What it finds becomes numbers, or a stop.

In:   the API's store, writer and index; time.
Out:  gauges, the latest `Figures` for the status, and a halted writer where the books are wrong.
Rules:
  1. The books are added up before the doors open and then once a minute, off Trio's loop. If debits
     and credits differ, or an account of ours is overdrawn, the writer is halted: better to stop
     than to go on wrong. Only people and a restart undo that.
  2. A disk that takes no writes is asked once a second by a write that changes nothing, so that the
     service resumes by itself; an idle one now and then, so that readiness is never old.
  3. Who waits behind a commit that hangs is told.
Not covered: sums that are wrong but balance; the whole audit (`Store.check`) reads every row.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from coordinator import events as ev, solvency
from coordinator.alarms import LOOK_EVERY_S, Alarms
from coordinator.api import Api
from coordinator.ledger import OUTSIDE
from coordinator.log import get_log
from coordinator.metrics import NODE_STATES, Metrics
from coordinator.operations import Operations
from coordinator.promql import Expression
from coordinator.protocol.errors import Refusal
from coordinator.readiness import Readiness
from coordinator.store.interface import Reader, StoreError
from coordinator.store.settlement_values import EpochState, Settlement, SettlementFigures
from coordinator.store.values import BookSums, Totals

log = get_log(__name__)

T = TypeVar("T")

#: How often the gauges are set that need a look at rows or files.
FIGURES_EVERY_S: Final = 2.0
#: How often the ledger is added up.
BOOKS_EVERY_S: Final = 60.0
#: How often the writer is looked at.
STORE_EVERY_S: Final = 1.0
#: A store that has committed nothing for so long is asked whether it still can.
IDLE_PROBE_S: Final = 10.0


class Files(msgspec.Struct, frozen=True):
    """The database on the disk, bytes."""

    database: int = 0
    wal: int = 0
    free: int = 0


class Figures(msgspec.Struct, frozen=True):
    """What one look found."""

    totals: Totals
    files: Files
    #: Seconds that the oldest waiting job has waited; 0 if none waits.
    oldest_waiting_s: float = 0.0


class Watch:
    """The looks, each on its own beat."""

    def __init__(
        self,
        api: Api,
        reader: Reader,
        metrics: Metrics,
        readiness: Readiness,
        db: Path,
        also: Collection[Expression] = (),
    ) -> None:
        """Look at these.

        Args:
            api: The writer and the index.
            reader: One of its own: adding up a million accounts takes a second, and whoever shares
                a reader waits for it.
            metrics: Where what is found is told.
            readiness: What changes of it are a line in the log.
            db: The database's file.
            also: Expressions that `alarms` will be asked.
        """
        self._api = api
        self._reader = reader
        self._metrics = metrics
        self._readiness = readiness
        self._db = db
        self._is_probing = False
        self._said = ""
        self._failures = 0
        self._events_failed = 0
        self.figures = Figures(Totals({}, 0, 0), Files())
        #: Nodes by state, at the last look.
        self.nodes: dict[str, int] = {}
        self.books: BookSums | None = None
        self.alarms = Alarms(metrics.registry, also)

    async def run(self) -> None:
        """Look, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._repeat, FIGURES_EVERY_S, self.take_figures)
            nursery.start_soon(self._repeat, BOOKS_EVERY_S, self.add_up)
            if self._api.house.on_chain is not None:
                nursery.start_soon(self._repeat, BOOKS_EVERY_S, self.look_at_settlement)
            nursery.start_soon(self._repeat, STORE_EVERY_S, self.look_at_store)
            nursery.start_soon(self._repeat, LOOK_EVERY_S, self.look_at_alarms)

    async def _repeat(self, every_s: float, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await look()
            except (StoreError, OSError) as error:
                log.error("cannot look", look=look.__name__, error=str(error))  # noqa: TRY400
            await trio.sleep(every_s)

    async def _read(self, function: Callable[[Reader], T]) -> T:
        return await trio.to_thread.run_sync(function, self._reader)

    # ---- the books ------------------------------------------------------------------------------

    async def add_up(self) -> None:
        """Add up the ledger; a breach halts the writer.

        Raises:
            StoreError: the rows cannot be read.
        """
        sums = await self._read(lambda reader: reader.book_sums(OUTSIDE))
        self.books = sums
        self._metrics.set_books(sums)
        if not sums.imbalance and not sums.overdrawn:
            return
        writer = self._api.operations.writer
        if writer.halted is None:
            writer.halt(Refusal("read_only"))
            log.critical(
                "the books are wrong: read-only from now on",
                imbalance=sums.imbalance,
                overdrawn_accounts=sums.overdrawn,
                page="docs/alerts.md#hypernodeledgerimbalance",
            )

    async def look_at_settlement(self) -> None:
        """Set the gauges of settlement.

        Raises:
            StoreError: the rows cannot be read.
        """

        def look(
            reader: Reader,
        ) -> tuple[Settlement | None, SettlementFigures, Mapping[EpochState, int]]:
            return reader.settlement(), reader.settlement_figures(), reader.epochs_by_state()

        settlement, figures, epochs = await self._read(look)
        stop = solvency.why_no_spending(settlement, self._api.operations.clock.wall_ms())
        self._metrics.set_spending(stop.code if stop else "")
        if settlement is not None:
            self._metrics.set_settlement(settlement, figures, epochs)

    # ---- the disk -------------------------------------------------------------------------------

    async def look_at_store(self) -> None:
        """See that the writer writes; say so in the gauges."""
        writer = self._api.operations.writer
        self._metrics.commit_failures.inc(writer.failures - self._failures)
        self._failures = writer.failures
        idle_s = self._api.operations.clock.monotonic() - writer.committed_at
        if writer.is_stuck:
            writer.give_up_waiting()
        elif (writer.failure or idle_s > IDLE_PROBE_S) and not (self._is_probing or len(writer)):
            self._is_probing = True
            writer.tell(ev.WriteProbed(), self._on_probed)
        self._say()

    def _on_probed(self, _outcome: ev.Outcome) -> None:
        self._is_probing = False

    def _say(self) -> None:
        """Readiness as gauges, and one line whenever it changes."""
        reasons = self._readiness.reasons()
        self._metrics.set_reasons([reason.name for reason in reasons])
        said = ", ".join(reason.name for reason in reasons)
        if said != self._said:
            tell = log.error if said.startswith(("store", "read_only")) else log.info
            tell("readiness changed", reasons=said or "ready", before=self._said or "ready")
            self._said = said

    # ---- alarms ---------------------------------------------------------------------------------

    async def look_at_alarms(self) -> None:
        """Evaluate the alert rules."""
        self.alarms.look(self._api.operations.clock.wall_ms() / 1000)

    # ---- numbers --------------------------------------------------------------------------------

    async def take_figures(self) -> None:
        """Look at rows and files.

        Raises:
            StoreError: the rows cannot be read.
            OSError: the files cannot be looked at.
        """
        operations = self._api.operations
        oldest, now_ms = operations.scheduler.oldest(), operations.clock.wall_ms()

        def look(reader: Reader) -> Figures:
            waited_ms = 0
            if oldest is not None and (row := reader.job(oldest)) is not None:
                waited_ms = now_ms - max(row.job.created_ms, row.job.not_before_ms)
            return Figures(reader.totals(), files_of(self._db), max(0, waited_ms) / 1000)

        self.figures = found = await self._read(look)
        metrics = self._metrics
        metrics.set_totals(found.totals)
        self.nodes = nodes_by_state(operations, found.totals.nodes)
        metrics.set_nodes(self.nodes)
        metrics.set_counts(self._api.counts())
        metrics.oldest_waiting.set(found.oldest_waiting_s)
        metrics.database_bytes.set(found.files.database)
        metrics.wal_bytes.set(found.files.wal)
        metrics.free_bytes.set(found.files.free)
        failed = operations.writer.events_failed
        metrics.failed("event", failed - self._events_failed)
        self._events_failed = failed


def node_state(operations: Operations, node: int) -> str:
    """Where a node is: `online`, `starting`, `silent` or `offline`."""
    agent = operations.agents.get(node)
    if agent is None:
        return "offline"
    if not operations.registry.is_online(node, operations.clock.monotonic()):
        return "silent"
    return "online" if agent.is_ready else "starting"


def nodes_by_state(operations: Operations, known: int) -> dict[str, int]:
    """Nodes by state; those that are not connected are `offline`."""
    states = dict.fromkeys(NODE_STATES, 0)
    for node in operations.agents:
        states[node_state(operations, node)] += 1
    return {**states, "offline": max(0, known - len(operations.agents))}


def files_of(db: Path) -> Files:
    """Sizes of the database and its log, and what is free beside them; zeros in memory."""
    if str(db) == ":memory:":
        return Files()
    room = os.statvfs(db.parent)
    return Files(_size(db), _size(db.with_name(f"{db.name}-wal")), room.f_bavail * room.f_frsize)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
