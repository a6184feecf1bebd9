"""The life of a job, as one table.

In:   a job and an event, with the time.
Out:  the job after the event (`store.values.Job`), or `IllegalTransition` and nothing changed.
Not here: money (ledger), choosing agents (scheduler), sending (dispatcher), saving (engine).
Rules:
  1. A job in a final state accepts nothing.
  2. Only the holder of the current fence moves a job that is out; the engine checks it before.
  3. `fence` grows by one with each assignment and never falls.
  4. Which of `Requeued` and `Exhausted` follows a failure is decided here, by `after_failure`.
Source: h11 `_state.py` (table), dask/distributed `worker_state_machine.py`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from coordinator.limits import BACKOFF_FIRST_MS, BACKOFF_MAX_MS, LOST_ATTEMPTS_MAX
from coordinator.store.values import Job, JobState


class _Event(msgspec.Struct, frozen=True, gc=False):
    """A fact about one job."""

    now_ms: int


class Assigned(_Event, frozen=True):
    """An agent was chosen: a new attempt begins."""

    node: int


class Started(_Event, frozen=True):
    """The agent says that it computes."""


class ResultReceived(_Event, frozen=True):
    """A result is in: outputs and root are about to be durable."""


class Accepted(_Event, frozen=True):
    """The verdict allows payment."""

    paid: int
    fee: int
    code: str = ""


class Requeued(_Event, frozen=True):
    """The attempt came to nothing; the job waits for another one."""

    code: str
    not_before_ms: int


class Exhausted(_Event, frozen=True):
    """The job is given up; `paid` is what a command's time cost."""

    code: str
    detail: str = ""
    paid: int = 0
    fee: int = 0


class Cancelled(_Event, frozen=True):
    """The job was withdrawn, or its paid time is over; `paid` is what a command's time cost."""

    paid: int = 0
    fee: int = 0
    code: str = ""
    detail: str = ""


Event: TypeAlias = Assigned | Started | ResultReceived | Accepted | Requeued | Exhausted | Cancelled

_S: TypeAlias = JobState
_OUT: Final[dict[type[_Event], JobState]] = {
    ResultReceived: _S.VERIFYING,
    Requeued: _S.QUEUED,
    Exhausted: _S.FAILED,
    Cancelled: _S.CANCELLED,
}
#: state → event → next state. What is not here is illegal.
TRANSITIONS: Final[dict[JobState, dict[type[_Event], JobState]]] = {
    # A result under the current fence is taken also after its lease, while nobody else has the job.
    _S.QUEUED: {
        Assigned: _S.ASSIGNED,
        ResultReceived: _S.VERIFYING,
        Exhausted: _S.FAILED,
        Cancelled: _S.CANCELLED,
    },
    _S.ASSIGNED: {Started: _S.RUNNING, **_OUT},
    _S.RUNNING: {Started: _S.RUNNING, **_OUT},
    _S.VERIFYING: {Accepted: _S.COMPLETED, Requeued: _S.QUEUED, Exhausted: _S.FAILED},
    _S.COMPLETED: {},
    _S.FAILED: {},
    _S.CANCELLED: {},
}
FINAL: Final = frozenset(state for state, events in TRANSITIONS.items() if not events)
#: Codes of attempts that were lost, not failed.
LOSSES: Final = frozenset({"lease_lost", "abandoned", "input_unavailable", "outputs_lost"})
#: States in which an agent holds the job under a lease.
LEASED: Final = frozenset({_S.ASSIGNED, _S.RUNNING})


class IllegalTransition(Exception):
    """An event that the job's state does not accept: our mistake, never a peer's."""


def advance(job: Job, event: Event) -> Job:
    """The job after the event.

    Raises:
        IllegalTransition: the table has no such entry.
    """
    state = TRANSITIONS[job.state].get(type(event))
    if state is None:
        msg = f"job {job.id} is {job.state}: it does not accept {type(event).__name__}"
        raise IllegalTransition(msg)
    return _apply(job, state, event)


def _apply(job: Job, state: JobState, event: Event) -> Job:
    match event:
        case Assigned(now_ms=now_ms, node=node):
            return replace(job, state=state, fence=job.fence + 1, node=node, assigned_ms=now_ms)
        case Accepted(now_ms=now_ms, paid=paid, fee=fee, code=code):
            return replace(job, state=state, finished_ms=now_ms, paid=paid, fee=fee, code=code)
        case Requeued(code=code, not_before_ms=not_before_ms):
            after = _counted(job, code)
            return replace(after, state=state, not_before_ms=not_before_ms, code=code)
        case Exhausted() | Cancelled():
            return replace(
                job,
                state=state,
                finished_ms=event.now_ms,
                code=event.code,
                detail=event.detail,
                paid=event.paid,
                fee=event.fee,
            )
        case Started() | ResultReceived():
            return replace(job, state=state)


def _counted(job: Job, code: str) -> Job:
    if code in LOSSES:
        return replace(job, losses=job.losses + 1)
    return replace(job, failures=job.failures + 1)


def after_failure(
    job: Job, retries: int, now_ms: int, code: str, detail: str = ""
) -> Requeued | Exhausted:
    """What follows an attempt that came to nothing: another one after a wait, or the end.

    An agent that falls silent or gives a job back says little about the job: such attempts do not
    use up its retries, and end it only after `LOST_ATTEMPTS_MAX` of them; or at once if the
    submitter wants no further attempt at all.
    """
    after = _counted(job, code)
    lost_max = max(LOST_ATTEMPTS_MAX, retries + 1)
    if not retries or after.failures > retries or after.losses >= lost_max:
        return Exhausted(now_ms, code=code, detail=detail)
    wait_ms = min(BACKOFF_FIRST_MS << (job.failures + job.losses), BACKOFF_MAX_MS)
    return Requeued(now_ms, code=code, not_before_ms=now_ms + wait_ms)
