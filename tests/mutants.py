"""Houses with a bug each: the world must find every one of them, by the promise that it breaks.

A simulation that finds nothing shows something only if it would find something. Each mutant here is
the real house with one mistake that people make: it is lived through seed after seed until some
promise breaks, and that promise must be one of those that are named beside it.
`python -m tests.mutants [NAME …]` tells which seed found which mutant, and by what.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import structlog

from coordinator import (
    chain_books,
    chain_events as cev,
    checks,
    deadlines,
    events as ev,
    lifecycle,
    payroll,
    quarantine,
    refill,
    solvency,
)
from coordinator.engine import HANDLERS
from coordinator.ledger import CHAIN, credit_of, withheld_of
from coordinator.operations import Operations
from coordinator.protocol.errors import HypernodeError
from coordinator.protocol.spec import Spec
from coordinator.registry import Registry
from coordinator.store import sqlite_connection as connections
from coordinator.store.sqlite_batch import SqliteBatch
from coordinator.store.sqlite_reader import SqliteReader
from coordinator.store.values import Job, Transfer, TransferKind
from coordinator.verification.verdict import Verdict
from coordinator.work import Work
from coordinator.writer import Writer
from tests.world import Fate, live

#: A mutant must be found within this many seeds.
SEEDS_TO_FIND: Final = 12
ENDS: Final = "every job ends once the faults are over"


class Mutant(NamedTuple):
    """A broken house."""

    #: Makes the bug while it lasts.
    broken: Callable[[], AbstractContextManager[Any]]
    #: First words of the promises by which it may be found.
    promises: tuple[str, ...]
    fate: Fate = Fate()


# ---- leases and fences ------------------------------------------------------------------------
def _no_fences() -> AbstractContextManager[Any]:
    """A result is taken from whoever brings one."""

    def holds(job: Job | None, _fence: int, _node: int) -> bool:
        return job is not None and job.state in {"assigned", "running"}

    return patch.object(lifecycle, "_holds", holds)


@contextmanager
def _eternal_leases() -> Iterator[None]:
    """A silent agent keeps its jobs."""
    with (
        patch.object(Registry, "overdue", lambda *_: []),
        patch.object(Registry, "out_of_time", lambda *_: []),
    ):
        yield


def _forgotten_leases() -> AbstractContextManager[Any]:
    """A restart forgets which attempts were out."""

    def restore(self: Operations, _reader: object) -> None:
        self.moved = set()

    return patch.object(Operations, "restore", restore)


# ---- the queue --------------------------------------------------------------------------------
def _lost_requeue() -> AbstractContextManager[Any]:
    """A job that comes back from an agent is not matched again."""
    real = Operations._add_waiting

    def add(self: Operations, job: Job, *arguments: Any, **more: Any) -> None:
        if not job.fence:
            real(self, job, *arguments, **more)

    return patch.object(Operations, "_add_waiting", add)


def _short_refill() -> AbstractContextManager[Any]:
    """A restart takes back all of the queue but one job of each page."""
    real = refill._page
    return patch.object(refill, "_page", lambda reader, after: real(reader, after)[1:])


def _early_timeouts() -> AbstractContextManager[Any]:
    """A job's total time is over after half of it."""

    def end_ms(job: Job, spec: Spec, now_ms: int) -> int:
        return min(job.created_ms, now_ms) + spec.limits.total_s * 500

    return patch.object(deadlines, "_total_end_ms", end_ms)


def _endless_poison() -> AbstractContextManager[Any]:
    """A job that ends its hosts goes to the next one."""
    return patch.object(quarantine, "hosts_killed", lambda _kills: 0)


def _repeated_submissions() -> AbstractContextManager[Any]:
    """A repeated submission is not recognised."""
    return patch.object(SqliteBatch, "jobs_by_key", lambda *_: {})


# ---- money ------------------------------------------------------------------------------------
def _credited_twice() -> AbstractContextManager[Any]:
    """A result that is sent again is paid again."""
    real = lifecycle._answer_again

    def answer(work: Work, job: Job | None, event: ev.ResultArrived) -> str:
        code = real(work, job, event)
        if code == "accepted" and job is not None and job.paid > job.fee:
            wallet = _wallet_of(work, job)
            work.books.post([_transfer(TransferKind.PAY, job, CHAIN, withheld_of(wallet))])
        return code

    return patch.object(lifecycle, "_answer_again", answer)


def _wallet_of(work: Work, job: Job) -> bytes:
    node = work.batch.node(job.node)
    assert node is not None
    return node.wallet


def _transfer(kind: TransferKind, job: Job, debit: str, credit: str) -> Transfer:
    """A second one of its kind; many of them would have one name, so it is numbered by chance."""
    return Transfer(kind, job.id, debit, credit, job.paid or job.budget, sequence=1)


def _posted_and_voided() -> AbstractContextManager[Any]:
    """A job that is paid gets its budget back as well."""
    real = payroll.settle_hold

    def settle(work: Work, job: Job, **how: Any) -> int:
        fee = real(work, job, **how)
        if job.budget:
            back = _transfer(TransferKind.RETURN, job, CHAIN, credit_of(job.submitter))
            work.books.post([back])
        return fee

    return patch.object(payroll, "settle_hold", settle)


def _kept_holds() -> AbstractContextManager[Any]:
    """What was held for a job that came to nothing is not returned."""

    def void(work: Work, job: Job) -> None:
        payroll._take_hold(job)

    return patch.object(payroll, "void_hold", void)


def _no_receipts() -> AbstractContextManager[Any]:
    """A payment without a receipt."""
    return patch.object(payroll, "_note_receipt", lambda *_: None)


def _unchecked() -> AbstractContextManager[Any]:
    """Every result is taken for right."""
    return patch.object(checks, "verify", lambda *_: Verdict("accepted"))


# ---- the disk ---------------------------------------------------------------------------------
def _answer_first() -> AbstractContextManager[Any]:
    """Whoever submits is told before it is durable."""
    flush = Writer.flush

    async def early(self: Writer) -> None:
        for waiting in list(self._queue):
            if isinstance(waiting.event, ev.JobsSubmitted) and waiting.then is not None:
                number = 1 + max(_numbers(self), default=0)
                job = Job(number, b"", "", "", b"", b"", 0, 0, "queued", 0)  # type: ignore[arg-type]
                waiting.then(ev.Outcome([job]))
                waiting.then = None
        await flush(self)

    return patch.object(Writer, "flush", early)


def _numbers(writer: Writer) -> list[int]:
    reader = writer._engine._store.reader()
    try:
        return [job.id for job in reader.all_jobs(1_000_000)]
    finally:
        reader.close()


def _no_sync() -> AbstractContextManager[Any]:
    """The database leaves its writes to the system."""
    real = connections.connect

    def connect(path: Path | None, **how: Any) -> Any:
        connection = real(path, **how)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    return patch.object(connections, "connect", connect)


def _no_transactions() -> AbstractContextManager[Any]:
    """Each statement is a transaction of its own."""
    real = SqliteBatch._run

    def run(self: SqliteBatch, sql: str, parameters: Sequence[object] = ()) -> int:
        return 0 if sql in {"BEGIN IMMEDIATE", "COMMIT"} else real(self, sql, parameters)

    return patch.object(SqliteBatch, "_run", run)


_DARK = Fate(power_cut=0.05)
#: What will not end has not ended after half an hour: the house as it is needs less, with agents
#: that left too (tried on twelve seeds).
_SHORT = Fate(leavers=2, peace_s=2000.0)
#: Enough operators for a job to end one more than it may.
_MANY = Fate(agents=7, poison=0.5)
_ROWS = (
    *("debits equal credits", "the books balance", "holds stand behind", "resolved once"),
    *("fences grow by one", "the row has the fence", "a final state stays", "every paid job"),
    *("an acknowledged submission is never lost", "an open job keeps its hold", "receipts add up"),
    *("paid what the job says", "a final job has no hold", "nothing unhandled"),
    "an acknowledged epoch is never lost",
    # What was torn apart need not even be a database.
    *("cannot open the database", "DatabaseError"),
)


# ---- settlement -------------------------------------------------------------------------------
def _deposits_again() -> AbstractContextManager[Any]:
    """What the chain shows is taken for what is new."""
    return patch.object(chain_books, "_rise", lambda _what, _booked, seen, **_: seen)


def _forgotten_claims() -> AbstractContextManager[Any]:
    """Claims stay on the chain."""
    return patch.dict(HANDLERS, {cev.ClaimSeen: lambda _work, _event: None})


def _spent_while_leaving() -> AbstractContextManager[Any]:
    """Credit goes on being spent that its owner is about to take out."""
    return patch.object(chain_books, "_is_leaving", lambda _record: False)


def _unchecked_sums() -> AbstractContextManager[Any]:
    """A root promises whatever the books say."""
    return patch.object(solvency, "check_solvent", lambda _promised: None)


def _leaves_of_now() -> AbstractContextManager[Any]:
    """Leaves are what the accounts are when they are asked for."""
    return patch.object(SqliteReader, "_late", lambda _self, _number: {})


MUTANTS: Final = {
    "no fencing tokens": Mutant(_no_fences, ("the paid node holds the job's current fence",)),
    "leases never end": Mutant(_eternal_leases, (ENDS,), _SHORT),
    "a restart forgets leases": Mutant(_forgotten_leases, (ENDS,), _SHORT),
    "a lost attempt is not requeued": Mutant(_lost_requeue, (ENDS,), _SHORT),
    "a restart loses waiting jobs": Mutant(_short_refill, (ENDS,), _SHORT),
    "timeouts come early": Mutant(_early_timeouts, ("no timeout before its time",)),
    "poison goes round": Mutant(_endless_poison, ("a job ends three operators' hosts",), _MANY),
    "a repeated submission is new": Mutant(_repeated_submissions, ("nothing unhandled",)),
    # The store refuses a payment that comes without its job's end: an event that failed.
    "a repeated result is paid again": Mutant(_credited_twice, ("credited once", "nothing unh")),
    "posted and voided": Mutant(_posted_and_voided, ("resolved once",)),
    "holds are not returned": Mutant(_kept_holds, ("resolved once", "holds stand behind")),
    "payments without receipts": Mutant(_no_receipts, ("every paid job has one receipt",)),
    "unchecked results are paid": Mutant(_unchecked, ("nothing is paid for a lie",)),
    "acknowledged before the commit": Mutant(
        _answer_first,
        ("an acknowledged submission is never lost",),
        Fate(crash_before_commit=0.02),
    ),
    "deposits are credited again": Mutant(
        _deposits_again, ("no deposit is credited twice", "no exit is booked twice")
    ),
    "claims are forgotten": Mutant(_forgotten_claims, ("all claims are booked",)),
    "who leaves goes on spending": Mutant(_spent_while_leaving, ("who leaves spends nothing",)),
    "roots are not checked": Mutant(
        _unchecked_sums, ("no root is insolvent", "leaves are never"), Fate(theft=0.2)
    ),
    "leaves are read too late": Mutant(
        _leaves_of_now, ("leaves never change", "leaves add up", "a leaf is all", "exits add up")
    ),
    "synchronous=OFF": Mutant(_no_sync, _ROWS, _DARK),
    "no transactions": Mutant(_no_transactions, _ROWS, _DARK),
}


def found(mutant: Mutant, folder: Path, seeds: int = SEEDS_TO_FIND) -> tuple[int, str]:
    """The first seed that finds it, and the broken promise; (0, "") if none does."""
    for seed in range(1, seeds + 1):
        try:
            with mutant.broken():
                live(seed, folder, mutant.fate)
        except BaseException as error:  # noqa: BLE001 - whatever ends the world is what was found
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if isinstance(error, HypernodeError):
                # The bug's own consequence ended this world before a checker looked.
                continue
            return seed, str(error).splitlines()[0] if str(error) else repr(error)
    return 0, ""


def main(names: Sequence[str]) -> int:
    """Tell of each mutant who finds it; 1 if one is not found, or by another promise."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    is_well = True
    for name in names or MUTANTS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            seed, promise = found(MUTANTS[name], Path(folder))
        is_found = promise.startswith(MUTANTS[name].promises)
        is_well = is_well and is_found
        told = f"seed {seed}: {promise[:90]}" if seed else f"not in {SEEDS_TO_FIND} seeds"
        print(f"{name:<32}{'' if is_found else 'NOT '}found, {told} "
              f"({time.perf_counter() - began:.1f} s)", flush=True)  # fmt: skip
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
