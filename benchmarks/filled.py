"""A coordinator's database as after a busy year: finished jobs with books and receipts, open ones.

In:   a path, how many jobs of each sort.
Out:  a file as the house itself would have left it: every hold, post, receipt and signature is made
      by the house's own functions, only without the peers; its audit is clean.
Of the open jobs one in twenty waits for its verdict, three in twenty are with a node, the rest are
queued. One submitter in `SUBMITTERS` and one operator in `OPERATORS` take turns.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from coordinator import payroll
from coordinator.config import load_config
from coordinator.ledger import faucet
from coordinator.main import open_house
from coordinator.protocol.arrays import to_wire
from coordinator.protocol.commitment import output_root
from coordinator.protocol.spec import decode_spec
from coordinator.store.interface import Batch, Store
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import (
    Attempt,
    AttemptState,
    Job,
    JobState,
    Node,
    Output,
)
from coordinator.work import House, Work
from coordinator.workloads.catalogue import get

SUBMITTERS: Final = 100
OPERATORS: Final = 50
#: Jobs in one transaction: as large as memory likes, since nobody waits for an answer here.
BATCH_JOBS: Final = 5_000
#: What each submitter may spend, and one job's money, base units.
CREDIT: Final = 10**12
BUDGET: Final = 1_000
PRICE: Final = 900
DAY_MS: Final = 24 * 3600 * 1000
#: Of twenty open jobs in a row.
VERIFYING: Final = frozenset({7})
RUNNING: Final = frozenset({3, 11, 17})


def fill(path: Path, *, finished: int, open_jobs: int, now_ms: int) -> None:
    """Make the database.

    Args:
        path: A new file.
        finished: Jobs that were completed and paid, over the year before `now_ms`.
        open_jobs: Jobs that are not final, submitted during the last hour.
        now_ms: Unix ms of its last batch.
    """
    store = open_sqlite(path)
    try:
        config = load_config({"db": str(path), "faucet": True}, {}, None)
        house, _ = open_house(store, config, lambda _: secrets.token_bytes(32))
        nodes = _settle_in(store, house, now_ms)
        for count, is_open in ((finished, False), (open_jobs, True)):
            for first in range(0, count, BATCH_JOBS):
                size = min(BATCH_JOBS, count - first)
                age_ms = 3600_000 if is_open else 365 * DAY_MS * (count - first) // count
                with store.batch() as batch:
                    work = Work(batch, house, now_ms - age_ms)
                    for job in _submitted(batch, size, first, work.now_ms):
                        node = nodes[job.id % len(nodes)]
                        if is_open:
                            _leave_open(work, job, node)
                        else:
                            _finish(work, job, node)
                    payroll.close_batch(work)
    finally:
        store.close()


def _settle_in(store: Store, house: House, now_ms: int) -> list[Node]:
    """Credit for the submitters, and the operators' nodes."""
    with store.batch() as batch:
        work = Work(batch, house, now_ms - 366 * DAY_MS)
        for number in range(SUBMITTERS):
            work.books.post(faucet(_wallet("submitter", number), CREDIT, number + 1))
        nodes = []
        for number in range(OPERATORS):
            node = Node(
                id=batch.next_node_id(),
                wallet=_wallet("operator", number),
                node_key=_wallet("node", number),
                key_expires_ms=now_ms + 30 * DAY_MS,
                hostname=f"host-{number}",
                gpu="a GPU",
                os="linux",
                created_ms=work.now_ms,
                last_heartbeat_ms=now_ms,
            )
            batch.add_node(node)
            nodes.append(node)
        payroll.close_batch(work)
    return nodes


def _wallet(what: str, number: int) -> bytes:
    return sha256(f"{what} {number}".encode()).digest()


def _submitted(batch: Batch, size: int, first: int, now_ms: int) -> Iterator[Job]:
    for index in range(first, first + size):
        number = batch.next_job_id()
        spec = (
            b'{"kind":"hashsearch","params":{"prefix":"%08x","start":0,"count":1,"target_bits":64}}'
        ) % number
        yield Job(
            id=number,
            submitter=_wallet("submitter", index % SUBMITTERS),
            key=f"job {number}",
            kind="hashsearch",
            spec=spec,
            spec_hash=sha256(spec).digest(),
            budget=BUDGET,
            price=PRICE,
            state=JobState.QUEUED,
            created_ms=now_ms,
        )


def _finish(work: Work, job: Job, node: Node) -> None:
    """The job's whole life in one batch: held, computed, paid, receipted."""
    batch, now_ms = work.batch, work.now_ms
    payroll.hold_budget(work, job)
    outputs = _outputs(job)
    sent = replace(job, node=node.id, fence=1, assigned_ms=now_ms, finished_ms=now_ms)
    fee = payroll.settle_hold(
        work, sent, price=PRICE, root=output_root(each.data for each in outputs), verdict="accepted"
    )
    batch.add_job(replace(sent, state=JobState.COMPLETED, paid=PRICE, fee=fee))
    batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.ACCEPTED, now_ms, now_ms))
    batch.add_outputs(outputs)


def _leave_open(work: Work, job: Job, node: Node) -> None:
    """Queued, with a node, or waiting for its verdict."""
    batch, now_ms = work.batch, work.now_ms
    payroll.hold_budget(work, job)
    turn = job.id % 20
    if turn in VERIFYING | RUNNING:
        state = JobState.VERIFYING if turn in VERIFYING else JobState.RUNNING
        job = replace(job, state=state, node=node.id, fence=1, assigned_ms=now_ms)
        batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, now_ms))
    batch.add_job(job)
    if turn in VERIFYING:
        batch.add_outputs(_outputs(job))


def _outputs(job: Job) -> list[Output]:
    """The right answer: no hit, and the one nonce as the best."""
    workload = get(job.kind)
    hits, best = workload.reference(workload.decode(bytes(decode_spec(job.spec).params)), 0)
    outputs = []
    for index, array in enumerate((hits, best.reshape(1, 2))):
        dtype, shape, data = to_wire(array)
        outputs.append(Output(job.id, 1, index, dtype, shape, data, b"", len(data)))
    return outputs
