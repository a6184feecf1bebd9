"""Jobs, attempts and outputs, inside a batch: the hot path.

Everything is buffered: a job that is added and assigned in one batch is one INSERT, a job that is
saved three times one UPDATE, and each kind of row is one call of the driver.
Rules:
  1. A job's submitter, key, kind, specification, budget and time of creation never change.
  2. The condition of `save_job` is decided on the row as of this batch, and written again into the
     statement: if anybody else changed the row, the whole batch fails.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from coordinator.store.rows import (
    FINAL,
    INSERT_ATTEMPT,
    INSERT_JOB,
    INSERT_OUTPUT,
    INSERT_RESULT,
    INSERT_SPEC,
    JOBS_BY_ID,
    JOBS_BY_KEY,
    SELECT_ATTEMPTS,
    SMALL_SPEC_BYTES_MAX,
    STATE_TEXT,
    UPDATE_ATTEMPT,
    UPDATE_JOB,
    Row,
    attempt_id,
    attempt_of,
    attempt_row,
    is_small,
    is_told,
    job_changes,
    job_of,
    job_row,
    output_ids,
    output_row,
    outputs_in,
    result_row,
    told_attempt,
)
from coordinator.store.sqlite_connection import Connection
from coordinator.store.sqlite_memory import Memory
from coordinator.store.sqlite_people import PeoplePart
from coordinator.store.values import Attempt, AttemptState, Job, JobState, Output

COUNT_JOBS: Final = "UPDATE job_counts SET jobs = jobs + ? WHERE state = ?"
#: Ends of an attempt that count against its node.
_AGAINST_NODE: Final = frozenset({AttemptState.FAILED, AttemptState.REJECTED, AttemptState.LOST})


_attempt_of_output = attrgetter("job", "fence")


class JobsPart(PeoplePart):
    """Jobs, attempts and outputs of one batch."""

    def __init__(self, connection: Connection, memory: Memory) -> None:
        super().__init__(connection, memory)
        self._jobs: dict[int, Job] = {}
        #: The committed row of each saved job; None for one that this batch added.
        self._jobs_before: dict[int, Job | None] = {}
        self._new_keys: dict[tuple[bytes, str], int] = {}
        self._open_jobs: dict[bytes, int] = defaultdict(int)
        self._attempts: dict[tuple[int, int], Attempt] = {}
        #: The committed value of each attempt that was saved; None for one that was added.
        self._attempts_before: dict[tuple[int, int], Attempt | None] = {}
        self._outputs: dict[tuple[int, int], list[Output]] = {}

    # jobs
    def next_job_id(self) -> int:
        return self._next_id("jobs")

    def jobs(self, ids: Iterable[int]) -> Mapping[int, Job]:
        changed, cached = self._jobs.get, self._memory.jobs.get
        found: dict[int, Job] = {}
        missing: list[int] = []
        for number in ids:
            job = changed(number) or cached(number)
            if job is None:
                missing.append(number)
            else:
                found[number] = job
        if missing:
            for row in self._all(JOBS_BY_ID, (str(missing),)):
                job = found[row[0]] = job_of(row)
                self._memory.jobs.put(job.id, job)
        return found

    def job(self, number: int) -> Job | None:
        return self._jobs.get(number) or self._memory.jobs.get(number) or self._load(number)

    def jobs_by_key(self, submitter: bytes, keys: Sequence[str]) -> Mapping[str, Job]:
        new = self._new_keys
        found = {key: self._jobs[new[submitter, key]] for key in keys if (submitter, key) in new}
        wallet = self._known_wallet(submitter)
        if wallet is not None and len(found) < len(keys):
            for row in self._all(JOBS_BY_KEY, (wallet, msgspec.json.encode(keys).decode())):
                job = job_of(row)
                found[job.key] = self._jobs.get(job.id) or job
        return found

    def open_jobs_of(self, submitter: bytes) -> int:
        count = self._memory.open_jobs.get(submitter)
        if count is None:
            row = self._one("SELECT open_jobs FROM wallets WHERE address = ?", (submitter,))
            count = 0 if row is None else row[0]
            self._memory.open_jobs.put(submitter, count)
        return count + self._open_jobs.get(submitter, 0)

    def add_job(self, job: Job) -> None:
        number = job.id
        assert number not in self._jobs
        assert number < self._next_ids.get("jobs", 0), "job ids come from next_job_id"
        self._jobs[number] = job
        self._jobs_before[number] = None
        self._new_keys[job.submitter, job.key] = number
        if job.state not in FINAL:
            self._open_jobs[job.submitter] += 1

    def save_job(self, job: Job, *, was: Job) -> bool:
        number = job.id
        assert number == was.id
        now = self.job(number)
        if now is None or now.state != was.state or now.fence != was.fence:
            return False
        assert job.key == now.key
        assert job.spec == now.spec
        assert job.submitter == now.submitter
        self._jobs_before.setdefault(number, now)
        self._jobs[number] = job
        change = (job.state not in FINAL) - (now.state not in FINAL)
        if change:
            self._open_jobs[job.submitter] += change
        return True

    def _load(self, number: int) -> Job | None:
        return self.jobs((number,)).get(number)

    # attempts
    def add_attempt(self, attempt: Attempt) -> None:
        key = (attempt.job, attempt.fence)
        self._attempts[key] = attempt
        self._attempts_before[key] = None
        self._count_end(attempt, 1)

    def save_attempt(self, attempt: Attempt) -> None:
        if (before := self.attempt(attempt.job, attempt.fence)) is not None:
            self._count_end(before, -1)
            self._attempts_before.setdefault((attempt.job, attempt.fence), before)
        self._attempts[attempt.job, attempt.fence] = attempt
        self._count_end(attempt, 1)

    def _count_end(self, attempt: Attempt, change: int) -> None:
        """Count it for its node; a result that came late takes back the loss."""
        if attempt.state is AttemptState.ACCEPTED:
            self._node_done[attempt.node] += change
        elif attempt.state in _AGAINST_NODE:
            self._node_failed[attempt.node] += change

    def attempt(self, job: int, fence: int) -> Attempt | None:
        key = (job, fence)
        found = self._attempts.get(key) or self._memory.attempts.get(key)
        if found is None:
            row = self._one(SELECT_ATTEMPTS + "WHERE id = ?", (attempt_id(job, fence),))
            if row is not None:
                found = attempt_of(row)
                self._memory.attempts.put(key, found)
            else:
                found = self._told(job, fence)
        return found

    def _told(self, job: int, fence: int) -> Attempt | None:
        """An attempt without a row, as its job's row tells it: the committed one, if it changes."""
        before = self._jobs_before.get(job) or self._load(job)
        return told_attempt(before) if before is not None and before.fence == fence else None

    # outputs
    def add_outputs(self, outputs: Sequence[Output]) -> None:
        for (job, fence), some in groupby(outputs, _attempt_of_output):
            self._outputs.setdefault((job, fence), []).extend(some)

    def drop_outputs(self, job: int, fence: int) -> None:
        if self._outputs.pop((job, fence), None) is None:
            self._run("DELETE FROM results WHERE id = ?", (attempt_id(job, fence),))
            self._run("DELETE FROM outputs WHERE id >= ? AND id < ?", output_ids(job, fence))

    def outputs(self, job: int, fence: int) -> Sequence[Output]:
        found = self._outputs.get((job, fence))
        if found is not None:
            return sorted(found, key=lambda output: output.index)
        return outputs_in(self._all, job, fence)

    def add_quarantined(self, job: int, ended_ms: int, hosts: int) -> None:
        self._run("INSERT INTO quarantine VALUES (?, ?, ?)", (job, ended_ms, hosts))

    # the end
    def _flush(self) -> None:
        super()._flush()
        self._flush_jobs()
        self._flush_attempts()
        self._flush_outputs()

    def _flush_outputs(self) -> None:
        results: list[Row] = []
        rows: list[Row] = []
        for outputs in self._outputs.values():
            if is_small(outputs):
                results.append(result_row(outputs))
            else:
                rows += map(output_row, outputs)
        self._run_many(INSERT_RESULT, results)
        self._run_many(INSERT_OUTPUT, rows)

    def _flush_jobs(self) -> None:
        counts: dict[JobState, int] = defaultdict(int)
        new: list[Row] = []
        specs: list[Row] = []
        changes: dict[tuple[bool, bool], list[Row]] = defaultdict(list)
        for number, before in self._jobs_before.items():
            job = self._jobs[number]
            counts[job.state] += 1
            if before is None:
                new.append(job_row(job, self._wallet(job.submitter), self._operator(job)))
                if len(job.spec) > SMALL_SPEC_BYTES_MAX:
                    specs.append((number, job.spec))
                continue
            counts[before.state] -= 1
            key, row = self._change(job, before)
            changes[key].append(row)
        self._run_many(INSERT_JOB, new)
        self._run_many(INSERT_SPEC, specs)
        for key, rows in changes.items():
            self._run_many(UPDATE_JOB[key], rows)
        self._flush_counts(counts)

    def _change(self, job: Job, before: Job) -> tuple[tuple[bool, bool], Row]:
        """Which of `UPDATE_JOB` a job needs, and its parameters."""
        is_open = job.state not in FINAL
        is_placed = job.node != before.node
        is_turned = is_open == (before.state in FINAL)
        extra: Row = (job.node or None, self._operator(job)) if is_placed else ()
        if is_turned:
            extra = (*extra, is_open)
        where = (job.id, STATE_TEXT[before.state], before.fence)
        return (is_placed, is_turned), (*job_changes(job), *extra, *where)

    def _operator(self, job: Job) -> int | None:
        """The number of the wallet that runs the job's node."""
        if not job.node:
            return None
        node = self.node(job.node)
        assert node is not None, "a job is assigned to a node that exists"
        return self._wallet(node.wallet)

    def _flush_counts(self, counts: Mapping[JobState, int]) -> None:
        for state, change in counts.items():
            if change:
                text = STATE_TEXT[state]
                # The row is there from a state's first job on.
                if not self._run(COUNT_JOBS, (change, text)):
                    self._run("INSERT INTO job_counts VALUES (?, ?)", (text, change))
        rows = [(change, wallet) for wallet, change in self._open_jobs.items() if change]
        sql = "UPDATE wallets SET open_jobs = open_jobs + ? WHERE address = ?"
        self._run_many(sql, rows)

    def _flush_attempts(self) -> None:
        self._note_untold()
        new: list[Row] = []
        saved: list[Row] = []
        gone: list[Row] = []
        for key, before in self._attempts_before.items():
            attempt = self._attempts[key]
            job = self._load(attempt.job)
            had_row = before is not None and not self._was_told(before)
            if job is not None and is_told(attempt, job):
                if had_row:
                    gone.append((attempt_id(*key),))
                continue
            row = attempt_row(attempt)
            if had_row:
                saved.append((*row[1:], row[0]))
            else:
                new.append(row)
        self._run_many(INSERT_ATTEMPT, new)
        self._run_many(UPDATE_ATTEMPT, saved)
        self._run_many("DELETE FROM attempts WHERE id = ?", gone)

    def _was_told(self, before: Attempt) -> bool:
        """Whether an attempt had no row before this batch."""
        job = self._jobs_before.get(before.job) or self._load(before.job)
        return job is not None and is_told(before, job)

    def _note_untold(self) -> None:
        """Attempts that nobody touched, but of which their jobs' rows tell no longer."""
        for number, before in self._jobs_before.items():
            if before is None or not before.fence or (number, before.fence) in self._attempts:
                continue
            told, job = told_attempt(before), self._jobs[number]
            if told is None or is_told(told, job):
                continue
            # As it was before: from its row, or from its job's.
            attempt = self.attempt(number, before.fence)
            if attempt is not None and is_told(attempt, before):
                self._attempts[number, before.fence] = attempt
                self._attempts_before[number, before.fence] = attempt

    def _remember(self) -> None:
        super()._remember()
        memory = self._memory
        for number, job in self._jobs.items():
            if job.state in FINAL:
                memory.jobs.drop(number)
            else:
                memory.jobs.put(number, job)
        for key, attempt in self._attempts.items():
            if attempt.ended_ms:
                memory.attempts.drop(key)
            else:
                memory.attempts.put(key, attempt)
        for wallet, change in self._open_jobs.items():
            count = memory.open_jobs.get(wallet)
            if count is not None:
                memory.open_jobs.put(wallet, count + change)
