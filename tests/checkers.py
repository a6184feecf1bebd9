"""What must be true of the house at every step, recomputed independently of the house's own code.

Nothing here calls the ledger, the engine or the store's own `check`: balances are summed from the
transfers by hand, leases are remembered from what was sent, receipts are verified as an operator
would. A violation is an `AssertionError` whose first words name the promise.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from coordinator import events as ev
from coordinator.ledger import hold_of
from coordinator.protocol.receipts import SignedRoot, unpack, verify_receipt
from coordinator.store.interface import Reader
from coordinator.store.values import Job, JobState, TransferKind
from onchain.merkle import hash_leaf, levels_of, path_of

FINAL = {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}
OUTSIDE = {"faucet", "chain", "loss"}


class Checkers:
    """Watches every commit of one world, across restarts."""

    def __init__(self, coordinator_key: bytes, public_id: Callable[[int], str]) -> None:
        self._key = coordinator_key
        self.public_id = public_id
        #: job → (node, fence) that was last sent: who holds the lease.
        self.holder: dict[int, tuple[int, int]] = {}
        #: Jobs that were acknowledged to their submitters.
        self.acknowledged: set[int] = set()
        self.finished: dict[int, JobState] = {}
        #: Attempts whose results lie, by (public id, fence): the liars themselves say so.
        self.lies: set[tuple[str, int]] = set()
        #: How far clocks were set back between two processes of the house, ms.
        self.set_back_ms = 0
        self.commits = 0
        #: Counts of what happened, for the test that the world is eventful.
        self.seen: Counter[str] = Counter()

    def after_commit(
        self,
        events: Sequence[ev.Event],
        outcomes: Sequence[ev.Outcome],
        effects: Sequence[ev.Effect],
    ) -> None:
        """Check one batch by what went in and came out."""
        self.commits += 1
        for event, outcome in zip(events, outcomes, strict=True):
            self._check_event(event, outcome)
        for effect in effects:
            if isinstance(effect, ev.JobSent):
                self._check_sent(effect.job)
            elif isinstance(effect, ev.JobChanged):
                self._check_changed(effect.job)

    def _check_event(self, event: ev.Event, outcome: ev.Outcome) -> None:
        self.seen[type(event).__name__] += 1
        code = outcome.refusal.code if outcome.refusal else ""
        assert code != "internal", f"nothing unhandled: {event}"
        if isinstance(event, ev.ResultArrived):
            self.seen[f"result {outcome.value}"] += 1
            if outcome.value == "accepted" and event.is_completed:
                holder = self.holder.get(event.job)
                assert holder == (event.node, event.fence), (
                    f"the paid node holds the job's current fence: job {event.job} is held by "
                    f"{holder}, but a result of {(event.node, event.fence)} was accepted"
                )
        if isinstance(event, ev.VerdictReached):
            self.seen[f"verdict {event.state}"] += 1

    def _check_sent(self, job: Job) -> None:
        _, fence = self.holder.get(job.id, (0, 0))
        assert job.fence == fence + 1, f"fences grow by one: job {job.id}"
        assert job.id not in self.finished, f"a final job is not sent: job {job.id}"
        self.holder[job.id] = (job.node, job.fence)

    def _check_changed(self, job: Job) -> None:
        if job.state in FINAL:
            assert job.id not in self.finished, f"a final state accepts nothing: job {job.id}"
            self.finished[job.id] = job.state
            self.seen[f"job {job.state}"] += 1
            self.seen[job.code] += bool(job.code)
            self._check_time(job)
            if job.state is JobState.COMPLETED:
                assert self.holder[job.id] == (job.node, job.fence), f"paid by lease: {job.id}"
                lie = (self.public_id(job.id), job.fence)
                assert lie not in self.lies, f"nothing is paid for a lie: job {job.id}"

    def _check_time(self, job: Job) -> None:
        """A job that time ended took as long as it may, by the limits it was submitted with."""
        limits = json.loads(job.spec).get("limits", {})
        took_ms = job.finished_ms - job.created_ms + self.set_back_ms
        if job.code == "total_timeout":
            assert took_ms >= limits["total_s"] * 1000, f"no timeout before its time: {job.id}"
            assert not job.paid or job.kind == "command", f"only time is paid: {job.id}"
        if job.code == "quarantined":
            assert not job.paid, f"a quarantined job is refunded: {job.id}"
        if job.code == "queue_timeout":
            assert took_ms >= limits["queue_s"] * 1000, f"no timeout before its time: {job.id}"
            assert not job.paid, f"waiting costs nothing: {job.id}"

    def adopt(self, reader: Reader, jobs: Iterable[int]) -> None:
        """Take these jobs as the rows have them: nobody knows whether their commit was cut off."""
        for number in sorted(jobs):
            row = reader.job(number)
            if row is None:
                continue
            job = row.job
            _, fence = self.holder.get(number, (0, 0))
            assert fence <= job.fence <= fence + 1, f"fences grow by one: job {number}"
            if job.fence:
                self.holder[number] = (job.node, job.fence)
            if job.state in FINAL and number not in self.finished:
                self._check_changed(job)
            self.seen["cut off"] += 1

    # ---- the rows ------------------------------------------------------------------------------

    def check_rows(self, reader: Reader) -> None:
        """Check everything that is durable."""
        jobs = self._check_jobs(reader)
        self._check_money(reader, jobs)
        self._check_receipts(reader, jobs)

    def _check_jobs(self, reader: Reader) -> dict[int, Job]:
        rows = {job.id: job for job in reader.all_jobs(1_000_000)}
        lost = self.acknowledged - rows.keys()
        assert not lost, f"an acknowledged submission is never lost: {sorted(lost)}"
        listed = {job.id for job in reader.quarantined_jobs(1_000_000)}
        named = {job.id for job in rows.values() if job.code == "quarantined"}
        assert listed == named, f"the quarantine lists what ended by it: {listed ^ named}"
        for number, state in self.finished.items():
            assert rows[number].state == state, f"a final state stays: job {number}"
        for job in rows.values():
            held = self.holder.get(job.id, (0, 0))
            assert job.fence == held[1], f"the row has the fence that was sent: job {job.id}"
        return rows

    def _check_money(self, reader: Reader, jobs: dict[int, Job]) -> None:
        balance: dict[str, int] = defaultdict(int)
        debits: dict[str, int] = defaultdict(int)
        by_job: dict[int, dict[TransferKind, int]] = defaultdict(lambda: defaultdict(int))
        for transfer in reader.transfers():
            assert transfer.amount > 0, "an amount is more than nothing"
            balance[transfer.debit] -= transfer.amount
            balance[transfer.credit] += transfer.amount
            debits[transfer.debit] += transfer.amount
            if transfer.kind in {
                TransferKind.HOLD, TransferKind.PAY, TransferKind.FEE, TransferKind.RETURN
            }:  # fmt: skip
                by_job[transfer.reference][transfer.kind] += transfer.amount
                if transfer.kind is not TransferKind.RETURN:
                    assert transfer.sequence == 0, f"credited once: job {transfer.reference}"
        assert sum(balance.values()) == 0, "debits equal credits"
        for account in reader.accounts():
            assert account.balance == balance[account.code], f"the books balance: {account.code}"
            assert account.debits == debits[account.code], f"the books balance: {account.code}"
            if account.code not in OUTSIDE:
                assert account.balance >= 0, f"no account is negative: {account.code}"
        self._check_holds(jobs, by_job, balance)

    def _check_holds(
        self,
        jobs: dict[int, Job],
        by_job: dict[int, dict[TransferKind, int]],
        balance: dict[str, int],
    ) -> None:
        standing: dict[str, int] = defaultdict(int)
        for job in jobs.values():
            moved = by_job[job.id]
            assert moved[TransferKind.HOLD] == job.budget, f"held once: job {job.id}"
            paid = moved[TransferKind.PAY] + moved[TransferKind.FEE]
            back = moved[TransferKind.RETURN]
            if job.state not in FINAL:
                standing[hold_of(job.submitter)] += job.budget
                assert paid + back == 0, f"an open job keeps its hold: job {job.id}"
                continue
            assert paid + back == job.budget, f"resolved once: job {job.id}"
            assert paid == job.paid <= job.budget, f"paid what the job says: job {job.id}"
            if job.state is JobState.COMPLETED and job.budget:
                assert paid > 0, f"a completed job is credited: job {job.id}"
        for code, amount in balance.items():
            if code.startswith("hold:"):
                assert amount == standing[code], f"holds stand behind their account: {code}"

    def _check_receipts(self, reader: Reader, jobs: dict[int, Job]) -> None:
        cumulative: dict[bytes, int] = defaultdict(int)
        batch = 1
        receipts_of_paid = {job.id for job in jobs.values() if job.paid}
        while (root := reader.receipt_root(batch)) is not None:
            rows = reader.receipts_in(batch)
            levels = levels_of(hash_leaf(b"\x11" + row.data) for row in rows)
            signed = SignedRoot(self._key, batch, root.count, root.root, root.signature)
            assert len(rows) == root.count
            for row in rows:
                receipt = verify_receipt(row.data, row.index, path_of(levels, row.index), signed)
                assert receipt == unpack(row.data)
                job = jobs[receipt.job]
                assert receipt.paid + receipt.fee == job.paid, f"receipts tell prices: {job.id}"
                cumulative[receipt.wallet] += receipt.paid
                assert receipt.cumulative == cumulative[receipt.wallet], "receipts add up"
                receipts_of_paid.remove(job.id)
            batch += 1
        assert not receipts_of_paid, f"every paid job has one receipt: {receipts_of_paid}"

    def _check_poison(self, reader: Reader) -> None:
        """However a job ends its hosts, it does so to three operators at most."""
        owners = {node.id: node.wallet for node in reader.all_nodes(1_000_000)}
        for job in reader.all_jobs(1_000_000):
            row = reader.job(job.id)
            assert row is not None
            killed = {
                owners[attempt.node]
                for attempt in row.attempts
                if attempt.code in {"lease_lost", "worker_crashed"}
            }
            assert len(killed) <= 3, f"a job ends three operators' hosts at most: job {job.id}"

    def check_end(self, reader: Reader) -> None:
        """When the faults are over: everything acknowledged has ended, by itself."""
        self.check_rows(reader)
        open_jobs = [job.id for job in reader.open_jobs()]
        assert not open_jobs, f"every job ends once the faults are over: {open_jobs}"
        self._check_poison(reader)
        earned = reader_earned(reader)
        paid = sum(t.amount for t in reader.transfers() if t.kind is TransferKind.PAY)
        assert earned == paid, "what nodes earned is what was paid"


def reader_earned(reader: Reader) -> int:
    return sum(node.earned for node in reader.all_nodes(1_000_000))


def trace_hash(lines: Iterable[str]) -> str:
    """One hash over a world's history."""
    digest = sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
