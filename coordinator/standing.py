"""What a job's attempts say about their hosts, and a node's standing: rows, within a batch.

Not here: what is too much (quarantine), who is told and when test jobs are due (drains).
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from coordinator import events as ev, quarantine
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import decode_spec
from coordinator.store.values import Attempt, Job, NodeDrain
from coordinator.work import Work


def drain_node(work: Work, event: ev.NodeFailing) -> NodeDrain:
    """No jobs for this node from now on; what it holds it may end.

    Raises:
        Refusal: `not_found`.
    """
    if work.batch.node(event.node) is None:
        raise Refusal("not_found")
    before = work.batch.node_drain(event.node)
    drained = quarantine.drain(event.node, before, work.now_ms, event.reason, event.ms)
    work.batch.save_node_drain(drained)
    work.order(ev.NodeDrained(event.node, drained))
    return drained


def undrain_node(work: Work, event: ev.NodeWell) -> None:
    """The node gets jobs again; how often it was drained is remembered.

    Raises:
        Refusal: `not_found`.
    """
    if work.batch.node(event.node) is None:
        raise Refusal("not_found")
    before = work.batch.node_drain(event.node)
    if before is not None and before.until_ms:
        work.batch.save_node_drain(replace(before, until_ms=0))
        work.order(ev.NodeDrained(event.node, None))


def hosts_killed(work: Work, job: Job) -> int:
    """How many hosts the job has ended with this attempt, if that is reason to give it up."""
    ended = [attempt for attempt in _attempts(work, job) if attempt.code in quarantine.KILLS]
    nodes = [*(attempt.node for attempt in ended), job.node]
    return quarantine.hosts_killed(_operator(work, node) for node in nodes)


def _attempts(work: Work, job: Job) -> Iterator[Attempt]:
    """The job's attempts before its current one, oldest first."""
    for fence in range(1, job.fence):
        attempt = work.batch.attempt(job.id, fence)
        assert attempt is not None, "every fence is an attempt's"
        yield attempt


def _operator(work: Work, node: int) -> bytes:
    found = work.batch.node(node)
    assert found is not None, "an attempt names its node"
    return found.wallet


def note_who_failed(work: Work, job: Job) -> None:
    """Hold it against the hosts that failed a job which another operator has completed."""
    limits = decode_spec(job.spec).limits
    completer = _operator(work, job.node)
    for attempt in _attempts(work, job):
        if (
            quarantine.is_hosts_fault(attempt.code, limits)
            and _operator(work, attempt.node) != completer
        ):
            strike = quarantine.Strike(attempt.node, job.submitter, attempt.code, completer)
            work.order(ev.HostFailed(strike))
