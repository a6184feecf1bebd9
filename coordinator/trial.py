"""The house's own short jobs: for a seed client's first minutes, and for a node that was drained.

Not here: when they are due (api, drains), what a drained node has to show (quarantine).
"""

from __future__ import annotations

from typing import Final

from coordinator import events as ev, payroll
from coordinator.ledger import HOUSE
from coordinator.lifecycle import begin
from coordinator.protocol.spec import decode_spec, hash_spec
from coordinator.store.values import Job, JobState
from coordinator.work import Work

DAY_MS: Final = 24 * 3600 * 1000


def give_test_job(work: Work, event: ev.TestJobDue) -> Job:
    """Make the house's own short job and assign it; paid from the treasury within the daily cap."""
    spec = decode_spec(event.spec)
    day = work.now_ms // DAY_MS
    budget = payroll.grant_for_test(work, spec.limits.execution_s, day) if event.is_paid else 0
    job = Job(
        id=(number := work.batch.next_job_id()),
        submitter=HOUSE,
        key=f"test-{number}",
        kind=spec.kind,
        spec=event.spec,
        spec_hash=hash_spec(event.spec),
        budget=budget,
        price=0,
        state=JobState.QUEUED,
        created_ms=work.now_ms,
    )
    if budget:
        payroll.hold_budget(work, job)
        work.batch.add_paid_to_tests(day, budget)
    work.batch.add_job(job)
    return begin(work, job, event.node)
