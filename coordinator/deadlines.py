"""When waits and attempts end: from a job's limits and its rows, at a given moment. Pure.

Times are of the house's own clock (`clock.SteadyClock`), which nobody can set while it runs.
Rules:
  1. A job that comes back to the queue waits anew: what it ran is not waiting.
  2. Its total time goes on through everything.
  3. Times of before a restart count; where the system's clock was set back meanwhile, no wait is
     longer than one that began now. What ended while we were away has one lease more.
Not here: who looks at the clock (operations), what an end means (lifecycle).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from coordinator import events as ev
from coordinator.demand import demand_for
from coordinator.limits import LEASE_GRACE_S, LEASE_S
from coordinator.pricing import Rules, timed_limit_s
from coordinator.protocol.spec import Spec, decode_spec
from coordinator.registry import EXECUTION_GRACE_S, AttemptKey
from coordinator.scheduler import Demand, Waiting
from coordinator.store.values import Job
from coordinator.workloads.catalogue import get

#: What ended while we were away has this long to be told in: agents come back, with results.
AFTER_RESTART_S: Final = LEASE_S + LEASE_GRACE_S


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """An attempt that is out: who holds it, and what ends it."""

    node: int
    #: Whether its time is paid.
    is_timed: bool
    #: Seconds that it may run, as its agent is told.
    limit_s: int
    #: When its job's total time ends, ms.
    total_ms: int
    #: The job's specification: what it asks of a device.
    spec: bytes = b""


def waiting_of(job: Job, now_ms: int, *, avoid: int = 0, at_least_s: float = 0.0) -> Waiting:
    """A job in the queue, with the end of its wait and of its total time."""
    spec = decode_spec(job.spec)
    since_ms = max(min(job.created_ms, now_ms), job.not_before_ms)
    total_ms = _total_end_ms(job, spec, now_ms)
    until_ms = min(since_ms + spec.limits.queue_s * 1000, total_ms)
    until_ms = max(until_ms, now_ms + int(at_least_s * 1000))
    demand = demand_for(spec)
    return Waiting(job.id, job.submitter, demand, job.not_before_ms, avoid, until_ms, total_ms)


def attempt_of(job: Job, rules: Rules, now_ms: int) -> Attempt:
    """A job that is out."""
    spec = decode_spec(job.spec)
    is_timed = get(job.kind).is_timed
    limit_s = timed_limit_s(spec, job.budget, rules) if is_timed else spec.limits.execution_s
    return Attempt(job.node, is_timed, limit_s, _total_end_ms(job, spec, now_ms), job.spec)


def seconds_left(job: Job, attempt: Attempt, now_ms: int, *, at_least_s: float = 0.0) -> float:
    """How long the attempt may still take.

    The agent ends it first and sends what there is; we end it if no word comes. The price of a
    command stops at the limit.
    """
    ran_s = max(0, now_ms - job.assigned_ms) / 1000
    left_s = attempt.limit_s + EXECUTION_GRACE_S - ran_s
    return max(at_least_s, min(left_s, (attempt.total_ms - now_ms) / 1000))


def _total_end_ms(job: Job, spec: Spec, now_ms: int) -> int:
    return min(job.created_ms, now_ms) + spec.limits.total_s * 1000


def demands_of(attempts: Mapping[AttemptKey, Attempt], held: Iterable[AttemptKey]) -> list[Demand]:
    """What the jobs ask whose attempts a node holds."""
    return [demand_for(decode_spec(attempts[key].spec)) for key in held if key in attempts]


def time_is_up(job: int, fence: int, attempt: Attempt, now_ms: int) -> ev.Event:
    """What to tell the engine of an attempt whose time is over."""
    if attempt.total_ms <= now_ms:
        return ev.TotalTimedOut(job)
    if attempt.is_timed:
        return ev.TimePaidUp(job, fence)
    return ev.AttemptLost(job, fence, "execution_timeout")
