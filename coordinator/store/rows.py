"""Between values and rows of SQLite: one pair of functions for each table that is written often.

In:   values of `coordinator.store.values`. Out: tuples in the order of the statements here.
Not here: running a statement (`sqlite_*`), what the columns are for (`schema`).
Rules:
  1. A statement is a constant: the driver finds it prepared.
  2. 0 and `b""` for "none" become NULL in the columns that are indexed or refer to a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from coordinator.store.values import (
    Attempt,
    AttemptState,
    Job,
    JobState,
    Node,
    Output,
    Transfer,
    TransferKind,
)

#: Rows come from the driver without types.
Row = Sequence[Any]

#: States of a job whose current attempt has not ended.
OUT: Final = frozenset({JobState.ASSIGNED, JobState.RUNNING, JobState.VERIFYING})
FINAL: Final = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})

#: A plain dictionary, since calling an enumeration costs ten times as much. Its values, because
#: the driver binds a plain `str` half again as fast as a member of a StrEnum.
_STATES: Final = {state.value: state for state in JobState}
_ATTEMPT_STATES: Final = {state.value: state for state in AttemptState}
_KINDS: Final = {kind.value: kind for kind in TransferKind}
STATE_TEXT: Final = {state: state.value for state in JobState}
ATTEMPT_STATE_TEXT: Final = {state: state.value for state in AttemptState}
KIND_TEXT: Final = {kind: kind.value for kind in TransferKind}

_pack: Final = msgspec.msgpack.Encoder().encode
_packed: Final = msgspec.msgpack.Decoder(list[tuple[str, tuple[int, ...], int, bytes]])

#: Room for attempts in a job's numbers, and for outputs in an attempt's (see `schema`).
FENCES_MAX: Final = 4096
OUTPUT_INDEXES_MAX: Final = 256

#: A large specification has a row of its own, looked for only then.
_SPEC: Final = "ifnull(j.spec, (SELECT spec FROM specs WHERE job = j.id))"
#: Most bytes of a specification in its job's row, which is written twice in a short life.
SMALL_SPEC_BYTES_MAX: Final = 512
JOB_COLUMNS: Final = (
    f"j.id, w.address, j.key, j.kind, {_SPEC}, j.spec_hash, j.budget, j.price, j.state,"
    " j.created_ms, j.fence, j.failures, j.losses, j.not_before_ms, ifnull(j.node, 0),"
    " j.assigned_ms, j.finished_ms, j.code, j.detail, j.paid, j.fee"
)
#: CROSS JOIN is SQLite's word for "in this order": the jobs are chosen first.
JOB_TABLES: Final = "jobs j CROSS JOIN wallets w ON w.id = j.submitter"
SELECT_JOBS: Final = f"SELECT {JOB_COLUMNS} FROM {JOB_TABLES} "
SELECT_NODES: Final = (
    "SELECT n.id, w.address, ifnull(n.node_key, x''), n.key_expires_ms, n.hostname, n.gpu, n.os,"
    " n.created_ms, n.last_heartbeat_ms, n.earned, n.is_revoked, n.inventory"
    " FROM nodes n CROSS JOIN wallets w ON w.id = n.wallet "
)
#: Every attempt by (id, node, state): those with rows, and those that their jobs' rows tell of.
ALL_ATTEMPTS: Final = f"""
SELECT id, node, state FROM attempts UNION ALL
SELECT j.id * {FENCES_MAX} + j.fence, j.node, iif(j.is_open, 'open', 'accepted') FROM jobs j
WHERE j.fence > 0 AND j.state IN ('assigned', 'running', 'verifying', 'completed')
AND j.id * {FENCES_MAX} + j.fence NOT IN (SELECT id FROM attempts)"""
SELECT_ATTEMPTS: Final = "SELECT id, node, state, started_ms, ended_ms, code FROM attempts "
SELECT_RESULT: Final = "SELECT id, outputs FROM results WHERE id = ?"
SELECT_OUTPUTS: Final = (
    "SELECT id, dtype, shape, data, ifnull(sha256, x''), size FROM outputs"
    " WHERE id >= ? AND id < ? ORDER BY id"
)

INSERT_JOB: Final = f"INSERT INTO jobs VALUES ({', '.join('?' * 23)})"
INSERT_SPEC: Final = "INSERT INTO specs VALUES (?, ?)"
INSERT_ATTEMPT: Final = "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?)"
INSERT_OUTPUT: Final = "INSERT INTO outputs VALUES (?, ?, ?, ?, ?, ?)"
INSERT_RESULT: Final = "INSERT INTO results VALUES (?, ?)"
INSERT_TRANSFER: Final = "INSERT INTO transfers VALUES (?, ?, ?, ?, ?, ?, ?)"

#: Lists travel as one JSON parameter: the statement stays the same whatever their length.
JOBS_BY_ID: Final = SELECT_JOBS + "WHERE j.id IN (SELECT value FROM json_each(?))"
JOBS_BY_KEY: Final = (
    SELECT_JOBS + "WHERE j.submitter = ? AND j.key IN (SELECT value FROM json_each(?))"
)
UPDATE_ATTEMPT: Final = (
    "UPDATE attempts SET node = ?, state = ?, started_ms = ?, ended_ms = ?, code = ? WHERE id = ?"
)


def _update_job(extra: str) -> str:
    return (
        "UPDATE jobs SET price = ?, state = ?, fence = ?, failures = ?, losses = ?,"
        " not_before_ms = ?, assigned_ms = ?, finished_ms = ?, code = ?, detail = ?,"
        " paid = ?, fee = ?"
        f"{extra} WHERE id = ? AND state = ? AND fence = ?"
    )


#: By (whether the node changes, whether `is_open` changes): an index is written only where one
#: of its columns is named, so most transitions write no index.
UPDATE_JOB: Final = {
    (False, False): _update_job(""),
    (True, False): _update_job(", node = ?, operator = ?"),
    (False, True): _update_job(", is_open = ?"),
    (True, True): _update_job(", node = ?, operator = ?, is_open = ?"),
}


def job_of(row: Row) -> Job:
    """The job in a row of `SELECT_JOBS`."""
    return Job(*(*row[:8], _STATES[row[8]], *row[9:]))


def job_row(job: Job, submitter: int, operator: int | None) -> Row:
    """The parameters of `INSERT_JOB`."""
    state = job.state
    return (
        job.id, submitter, job.key, job.kind, job.spec_hash, job.budget, job.price,
        STATE_TEXT[state], state not in FINAL, job.created_ms, job.fence, job.failures,
        job.losses, job.not_before_ms, job.node or None, operator, job.assigned_ms, job.finished_ms,
        job.code, job.detail, job.paid, job.fee,
        job.spec if len(job.spec) <= SMALL_SPEC_BYTES_MAX else None,
    )  # fmt: skip


def job_changes(job: Job) -> Row:
    """The parameters of every `UPDATE_JOB` before its extra columns."""
    return (
        job.price, STATE_TEXT[job.state], job.fence, job.failures, job.losses,
        job.not_before_ms, job.assigned_ms, job.finished_ms, job.code, job.detail, job.paid,
        job.fee,
    )  # fmt: skip


def attempt_id(job: int, fence: int) -> int:
    assert 0 <= fence < FENCES_MAX
    return job * FENCES_MAX + fence


def attempt_of(row: Row) -> Attempt:
    job, fence = divmod(row[0], FENCES_MAX)
    return Attempt(job, fence, row[1], _ATTEMPT_STATES[row[2]], row[3], row[4], row[5])


def attempt_row(attempt: Attempt) -> Row:
    return (
        attempt_id(attempt.job, attempt.fence), attempt.node, ATTEMPT_STATE_TEXT[attempt.state],
        attempt.started_ms, attempt.ended_ms, attempt.code,
    )  # fmt: skip


def is_told(attempt: Attempt, job: Job) -> bool:
    """Whether the row of an attempt's job says all of the attempt: it needs no row of its own.

    So it is while a job is out or verified for the first time in this attempt, and where the
    attempt ended the job well: the life of nearly every job.
    """
    if attempt.fence != job.fence or attempt.node != job.node or attempt.code:
        return False
    if attempt.started_ms != job.assigned_ms:
        return False
    if attempt.state is AttemptState.OPEN:
        return job.state in OUT and not attempt.ended_ms
    return (
        attempt.state is AttemptState.ACCEPTED
        and job.state is JobState.COMPLETED
        and attempt.ended_ms == job.finished_ms
    )


def told_attempt(job: Job) -> Attempt | None:
    """The attempt that a job's row tells of, if it has no row of its own."""
    if job.fence and job.state in OUT:
        return Attempt(job.id, job.fence, job.node, AttemptState.OPEN, job.assigned_ms)
    if job.fence and job.state is JobState.COMPLETED:
        ended_ms, state = job.finished_ms, AttemptState.ACCEPTED
        return Attempt(job.id, job.fence, job.node, state, job.assigned_ms, ended_ms)
    return None


def output_ids(job: int, fence: int) -> tuple[int, int]:
    """The smallest id of an attempt's outputs, and the first above them."""
    first = attempt_id(job, fence) * OUTPUT_INDEXES_MAX
    return first, first + OUTPUT_INDEXES_MAX


def output_of(row: Row) -> Output:
    attempt, index = divmod(row[0], OUTPUT_INDEXES_MAX)
    job, fence = divmod(attempt, FENCES_MAX)
    shape = msgspec.json.decode(row[2], type=tuple[int, ...])
    return Output(job, fence, index, row[1], shape, row[3], row[4], row[5])


def output_row(output: Output) -> Row:
    assert 0 <= output.index < OUTPUT_INDEXES_MAX
    number = attempt_id(output.job, output.fence) * OUTPUT_INDEXES_MAX + output.index
    shape = str(list(output.shape))
    return number, output.dtype, shape, output.size, output.sha256 or None, output.data


def is_small(outputs: Sequence[Output]) -> bool:
    """Whether an attempt's outputs go into one row of `results`: none is a blob, in order."""
    for place, each in enumerate(outputs):  # noqa: SIM110 (a generator costs as much again)
        if each.sha256 or each.index != place:
            return False
    return True


def result_row(outputs: Sequence[Output]) -> Row:
    """The parameters of `INSERT_RESULT` for the outputs of one attempt, in order."""
    assert len(outputs) <= OUTPUT_INDEXES_MAX
    first = outputs[0]
    packed = _pack([(each.dtype, each.shape, each.size, each.data) for each in outputs])
    return attempt_id(first.job, first.fence), packed


def result_of(row: Row) -> list[Output]:
    """The outputs in a row of `SELECT_RESULT`."""
    job, fence = divmod(row[0], FENCES_MAX)
    return [
        Output(job, fence, index, dtype, shape, data, size=size)
        for index, (dtype, shape, size, data) in enumerate(_packed.decode(row[1]))
    ]


def outputs_in(
    run: Callable[[str, Sequence[object]], Sequence[Row]], job: int, fence: int
) -> Sequence[Output]:
    """The outputs of an attempt, by index; `run` runs a statement that reads."""
    small = [
        each for row in run(SELECT_RESULT, (attempt_id(job, fence),)) for each in result_of(row)
    ]
    return small + list(map(output_of, run(SELECT_OUTPUTS, output_ids(job, fence))))


def node_of(row: Row) -> Node:
    return Node(*(*row[:10], bool(row[10]), row[11]))


def transfer_of(row: Row) -> Transfer:
    """The transfer in a row (kind, reference, debit's code, credit's code, amount, sequence)."""
    return Transfer(_KINDS[row[0]], *row[1:])
