"""Power cuts under the real store: what was acknowledged is there, whole, and the books add up.

`python -m tests.power_cuts --cuts 20000` cuts the power so often, at any operation of the disk: in
batches of the real engine, in checkpoints, in recoveries, while the store is closed. After each cut
the store is opened on what is left and must have
  kept      every row of every batch that was acknowledged, as it was acknowledged;
  whole     all of the batch that was under way, or nothing of it, and no row of anybody else;
  chained   the ledger's last link, and
  sound     a clean audit: integrity, references, sums, holds, hash chain; receipts now and then.
Controls, houses that are broken on purpose, must be found: synchronous NORMAL and OFF, a disk whose
fsync lies, an acknowledgement before the commit.
`--faults 300` lets the k-th operation fail instead, for each k up to that: an I/O error or a full
disk, once or until space comes back. The failure must be a named one, nothing acknowledged may be
lost, and the store must go on once the disk does.
The store is `open_sqlite` with its own settings. Its log is checkpointed sooner than by default in
two runs of three, since the files here are small.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random  # noqa: TID251 - seeded
from typing import Any, Final
from unittest.mock import patch

from coordinator import events as ev
from coordinator.audit import audit
from coordinator.engine import Engine
from coordinator.store import sqlite, sqlite_connection as connections
from coordinator.store.interface import Store, StoreError
from coordinator.store.sqlite import open_sqlite
from coordinator.store.sqlite_batch import SqliteBatch
from coordinator.store.sqlite_connection import DriverError
from coordinator.store.values import Job, JobState, LedgerBatch, Node
from coordinator.work import House
from tests.build import (
    ALICE,
    BOB,
    COORDINATOR,
    HOUR_MS,
    NODE,
    NOW_MS,
    OPERATOR,
    REALM,
    RULES,
    answer,
    montecarlo_spec,
    wish,
)
from tests.power_disk import FSYNC, FULL, IOERR, READ, TRUNCATE, WRITE, Disk, Failed, mounted, swap

#: Operations until the next cut, at most: a recovery, some batches, a long log and its checkpoints.
CUT_WITHIN: Final = (80, 300, 1500)
#: Batches between two cuts, at most.
BATCHES_MAX: Final = 40
#: Jobs at which a new database is begun: an audit stays short.
JOBS_MAX: Final = 120
#: Pages of the log before it is copied into the table.
CHECKPOINTS: Final = (8, 64, connections.CHECKPOINT_PAGES)
SPEC: Final = montecarlo_spec()
BUDGET: Final = 10_000


class Violation(AssertionError):
    """A promise was broken; the first word says which."""


class Journal:
    """What was acknowledged, and the batch that is on its way to the disk."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.last: LedgerBatch | None = None
        self.under_way: dict[int, Job] = {}
        self.link_under_way: LedgerBatch | None = None

    def begin(self, batch: SqliteBatch) -> None:
        self.under_way = dict(batch._jobs)
        self.link_under_way = batch._posted[-1][0] if batch._posted else self.last

    def acknowledge(self) -> None:
        self.jobs |= self.under_way
        self.last = self.link_under_way
        self.under_way = {}

    def compare(self, store: Store) -> None:
        """Look at what is there after a cut, and go on from it.

        Raises:
            Violation: something acknowledged is not there, or something else is.
        """
        reader = store.reader()
        rows = {job.id: job for job in reader.all_jobs(1_000_000)}
        last = reader.last_ledger_batch()
        reader.close()
        changed = {number: job for number, job in self.under_way.items()
                   if self.jobs.get(number) != job}  # fmt: skip
        is_there = {rows.get(number) == job for number, job in changed.items()}
        if len(is_there) > 1:
            raise Violation("torn: a part of the batch under way is there")
        expected = self.jobs | self.under_way if is_there == {True} else self.jobs
        for number, job in expected.items():
            if rows.get(number) != job:
                msg = f"lost: job {number} was acknowledged as {job.state}"
                raise Violation(msg)
        if len(rows) > len(expected):
            msg = f"ghost: {len(rows) - len(expected)} jobs of nobody"
            raise Violation(msg)
        if last not in {self.last, self.link_under_way}:
            raise Violation("chain: the last link is not the one that was acknowledged")
        self.jobs, self.last, self.under_way = rows, last, {}


class Watched(SqliteBatch):
    """A batch that tells the journal when it begins to end, and when it has."""

    journal: Journal
    is_early = False

    def _commit(self) -> None:
        self.journal.begin(self)
        if self.is_early:
            self.journal.acknowledge()
        super()._commit()
        if not self.is_early:
            self.journal.acknowledge()


class Script:
    """Batches of events, from a seed: the life of many small jobs."""

    def __init__(self, rng: Random, journal: Journal) -> None:
        self._rng = rng
        self._journal = journal
        self._keys = 0
        self._used: set[int] = set()

    def found(self, store: Store) -> Engine:
        """An engine over a store that may be fresh: its key, two submitters' money, one node."""
        house = House(RULES, COORDINATOR, REALM)
        engine = Engine(store, house)
        with store.batch() as batch:
            batch.secret("coordinator_key", bytes([1]) * 32)
            if batch.node(1) is None:
                node = Node(
                    batch.next_node_id(), OPERATOR.address, NODE.address, NOW_MS * 2, "host",
                    "gpu", "linux", NOW_MS, NOW_MS,
                )  # fmt: skip
                batch.add_node(node)
        for submitter in (ALICE, BOB):
            engine.apply([ev.FaucetAsked(submitter.address, 10**10, "start")], NOW_MS)
        return engine

    def batch(self) -> list[ev.Event]:
        self._used = set()
        return [self._event() for _ in range(self._rng.choice((1, 1, 2, 6)))]

    def _event(self) -> ev.Event:
        rng, job = self._rng, None
        choice = rng.choice(("submit", "match", "match", "result", "result", "verdict", "verdict",
                             "cancel", "release"))  # fmt: skip
        match choice:
            case "match" if job := self._pick(JobState.QUEUED):
                return ev.JobMatched(job.id, 1)
            case "result" if job := self._pick(JobState.ASSIGNED):
                return answer(job)
            case "verdict" if job := self._pick(JobState.VERIFYING):
                state = rng.choice(("accepted", "accepted", "rejected"))
                return ev.VerdictReached(job.id, job.fence, state, "", bytes(32))
            case "cancel" if job := self._pick(JobState.QUEUED):
                return ev.CancelAsked(job.submitter, job.id)
            case "release":
                return ev.ReleaseDue()
        return self._submission()

    def _submission(self) -> ev.Event:
        wishes = []
        for _ in range(self._rng.choice((1, 1, 3))):
            self._keys += 1
            wishes.append(wish(f"{self._rng.random()} {self._keys}", SPEC, BUDGET))
        submitter = self._rng.choice((ALICE, BOB))
        return ev.JobsSubmitted(submitter.address, tuple(wishes))

    def _pick(self, state: JobState) -> Job | None:
        """A job in this state that no other event of the batch is about."""
        some = [job for job in self._journal.jobs.values()
                if job.state is state and job.id not in self._used]  # fmt: skip
        if not some:
            return None
        job = self._rng.choice(some)
        self._used.add(job.id)
        return job


# ---- power cuts -------------------------------------------------------------------------------
class Cuts:
    """Cut after cut, until there were enough."""

    def __init__(self, folder: Path, seed: int, *, lies: bool = False) -> None:
        self._path = folder / "market.db"
        self._rng = Random(seed)
        self._lies = lies
        self.cuts = 0
        self.batches = 0
        self.violations: Counter[str] = Counter()
        self.examples: list[str] = []
        self._begin()

    def _begin(self) -> None:
        """A new disk, and an empty database."""
        self._disk = Disk(lies=self._lies)
        swap(self._disk)
        self._now_ms = NOW_MS
        Watched.journal = self._journal = Journal()
        self._script = Script(self._rng, self._journal)
        connections.CHECKPOINT_PAGES = self._rng.choice(CHECKPOINTS)  # type: ignore[misc]

    def run(self, cuts: int) -> None:
        while self.cuts < cuts:
            try:
                self._one_life()
            except Violation as violation:
                self.violations[str(violation).split(":", 1)[0]] += 1
                self.examples.append(f"cut {self.cuts}: {violation}")
                self._begin()
            if len(self._journal.jobs) > JOBS_MAX:
                self._begin()

    def _one_life(self) -> None:
        """From power to power cut."""
        disk, rng = self._disk, self._rng
        if rng.random() < 0.5:
            # Perhaps while the store is opened: in a recovery.
            disk.dies_at = self._moment()
        store = None
        try:
            store = open_sqlite(self._path)
            self._look(store)
            if not disk.dies_at:
                disk.dies_at = self._moment()
            self._work(store)
        except StoreError as error:
            if not disk.is_dead:
                msg = f"error: {error} on a disk that works"
                raise Violation(msg) from error
        finally:
            if store is not None:
                with suppress(DriverError):
                    store.close()
        disk.is_dead = True
        self.cuts += 1
        self._disk = disk.after_cut(rng)
        swap(self._disk)

    def _moment(self) -> int:
        return self._disk.operations + self._rng.randrange(1, self._rng.choice(CUT_WITHIN))

    def _look(self, store: Store) -> None:
        """Compare and audit, with the power held meanwhile."""
        disk = self._disk
        dies_in, disk.dies_at = disk.dies_at - disk.operations, 0
        self._journal.compare(store)
        is_whole = self._rng.random() < 0.05
        faults = audit(store) if is_whole else store.check()
        if faults:
            msg = f"audit: {'; '.join(faults)}"
            raise Violation(msg)
        if dies_in > 0:
            disk.dies_at = disk.operations + dies_in

    def _work(self, store: Store) -> None:
        engine = self._script.found(store)
        for _ in range(self._rng.randrange(1, BATCHES_MAX)):
            self._now_ms += self._rng.randrange(HOUR_MS)
            engine.apply(self._script.batch(), self._now_ms)
            self.batches += 1


@contextmanager
def _watched(*, is_early: bool = False, pragma: str = "") -> Iterator[None]:
    """The store with the journal's batches; and, for a control, with one more setting."""
    real = connections.connect

    def connect(path: Path | None, **how: Any) -> Any:
        connection = real(path, **how)
        if pragma:
            connection.execute(pragma)
        return connection

    pages = connections.CHECKPOINT_PAGES
    with (
        patch.object(sqlite, "SqliteBatch", Watched),
        patch.object(Watched, "is_early", is_early),
        patch.object(connections, "connect", connect),
    ):
        try:
            yield
        finally:
            connections.CHECKPOINT_PAGES = pages  # type: ignore[misc]


#: Name → how the house or its disk is broken; the first one is not.
HOUSES: Final[dict[str, dict[str, Any]]] = {
    "as it is": {},
    "synchronous=NORMAL": {"pragma": "PRAGMA synchronous = NORMAL"},
    "synchronous=OFF": {"pragma": "PRAGMA synchronous = OFF"},
    "fsync lies": {"lies": True},
    "acknowledged before the commit": {"is_early": True},
}


def cut(name: str, cuts: int, seed: int) -> Cuts:
    """Cut the power of one of `HOUSES` so often."""
    how = dict(HOUSES[name])
    lies = how.pop("lies", False)
    with tempfile.TemporaryDirectory() as folder, mounted(Path(folder), Disk()), _watched(**how):
        done = Cuts(Path(folder), seed, lies=lies)
        done.run(cuts)
    return done


# ---- faults -----------------------------------------------------------------------------------
#: By operation, the code that it fails with.
ERRORS: Final = {
    "read": READ, "write": WRITE, "sync": FSYNC, "truncate": TRUNCATE, "open": IOERR,
    "delete": IOERR,
}  # fmt: skip
FAULTS: Final = ("once", "full for a while")


class Fault:
    """Lets the k-th operation fail: once, or every write from it until it is cleared."""

    def __init__(self, number: int, kind: str) -> None:
        self._number = number
        self._kind = kind
        self.seen = 0
        self.is_cleared = False

    def __call__(self, what: str, _name: str) -> None:
        self.seen += 1
        if self.is_cleared:
            return
        if self._kind == "once" and self.seen == self._number:
            raise Failed(ERRORS[what])
        if self._kind != "once" and self.seen >= self._number and what == "write":
            raise Failed(FULL)

    @property
    def has_struck(self) -> bool:
        return self.seen >= self._number


def fail_at(number: int, kind: str, seed: int = 1) -> bool:
    """Let the k-th operation of a history fail; whether the history has so many.

    Raises:
        Violation: the failure had no name, something acknowledged is gone, or the store did not go
            on once the disk did.
    """
    rng = Random(seed)
    with tempfile.TemporaryDirectory() as folder, mounted(Path(folder), Disk()), _watched():
        path, disk = Path(folder) / "market.db", Disk()
        swap(disk)
        connections.CHECKPOINT_PAGES = 8  # type: ignore[misc]
        Watched.journal = journal = Journal()
        script, fault = Script(rng, journal), Fault(number, kind)
        disk.on_operation = fault
        try:
            _live_through(path, script, fault)
        except (StoreError, Violation, DriverError) as error:
            msg = f"stuck: operation {number} failed {kind}, then {error}"
            raise Violation(msg) from error
        has_struck = fault.has_struck
        # What is left also survives a cut right after it.
        for _ in range(2):
            store = open_sqlite(path)
            journal.compare(store)
            if faults := audit(store):
                msg = f"audit: operation {number} failed {kind}: {faults}"
                raise Violation(msg)
            store.close()
            swap(disk.after_cut(rng))
        return has_struck


def _live_through(path: Path, script: Script, fault: Fault) -> None:
    """Open and work; go on in the same process as the writer does, or start again where it must."""
    failures = 0
    done = 0
    while done < BATCHES_MAX:
        store = None
        try:
            store = open_sqlite(path)
            script._journal.compare(store)
            engine = script.found(store)
            while done < BATCHES_MAX:
                try:
                    engine.apply(script.batch(), NOW_MS)
                    done += 1
                except StoreError:
                    # Named, and nothing was acknowledged: the writer waits and goes on.
                    failures += 1
                    fault.is_cleared = failures > 3
                    if failures > 9:
                        raise
                    script._journal.under_way = {}
        except StoreError:
            failures += 1
            fault.is_cleared = failures > 3
            if failures > 9:
                raise
        finally:
            if store is not None:
                store.close()


def sweep(faults: int, tell: Callable[[str], None] = print) -> Counter[str]:
    """Let each operation up to this number fail in each way; violations by their first word."""
    violations: Counter[str] = Counter()
    for kind in FAULTS:
        struck = 0
        for number in range(1, faults + 1):
            try:
                struck += fail_at(number, kind)
            except Violation as violation:
                violations[str(violation).split(":", 1)[0]] += 1
                tell(str(violation))
        tell(f"operations that failed {kind}: {struck} of {faults}")
    return violations


# ---- the command ------------------------------------------------------------------------------
def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.power_cuts", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--cuts", type=int, default=20_000, help="of the house as it is (20000)")
    parser.add_argument("--control-cuts", type=int, default=500, help="of each broken one (500)")
    parser.add_argument("--faults", type=int, default=300, help="operations to let fail (300)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    is_well = True
    for name in HOUSES:
        cuts = options.control_cuts if HOUSES[name] else options.cuts
        began = time.perf_counter()
        done = cut(name, cuts, options.seed)
        seconds = time.perf_counter() - began
        found = dict(done.violations) or "none"
        print(f"{name}: {done.cuts} cuts, {done.batches} batches acknowledged, {seconds:.0f} s;"
              f" violations: {found}", flush=True)  # fmt: skip
        if bool(done.violations) != bool(HOUSES[name]):
            is_well = False
            print("\n".join(done.examples[:5]) or "this one had to be found")
    return 0 if not sweep(options.faults) and is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
