"""What each event does to a job: load, check who may, decide by the table, move the money, save.

In:   one batch at work (`Work`) and one event.
Out:  the event's answer; effects and writes in the batch; or a refusal and nothing done.
Not here: the table (jobs), how money moves (payroll, ledger), verification itself (verification).
Rules:
  1. Only (job, fence, node) of the current attempt moves a job that is out; others are `stale`. Its
     result is taken also after the lease, while the job waits and nobody else has it.
  2. A result that comes again gets the answer that it got before, until another attempt begins.
  3. A hold is resolved in the transaction that ends the job.
  4. Time ends a job by the rows and this batch's clock: `queue_timeout` while it waits,
     `total_timeout` wherever it is, except that a result which came in time gets its verdict.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from msgspec.structs import replace

from coordinator import chain_books, events as ev, job_blobs, jobs, payroll, quarantine, standing
from coordinator.checks import DRAW_BYTES, fault_of_timed, is_light, judge
from coordinator.limits import OPEN_JOBS_PER_WALLET_MAX
from coordinator.pricing import price_of_time, timed_limit_s
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import CODES, Refusal
from coordinator.protocol.spec import Spec, decode_spec
from coordinator.store.values import Attempt, AttemptState, Job, JobState
from coordinator.work import Work
from coordinator.workloads.catalogue import get
from coordinator.workloads.unchecked import PAID_FAILURES
from onchain.amounts import format_hyper

DAY_MS: Final = 24 * 3600 * 1000
#: What became of attempts whose results were taken in.
TAKEN: Final = frozenset({AttemptState.ACCEPTED, AttemptState.REJECTED})
#: Verdicts that pay nothing.
BAD_VERDICTS: Final = frozenset({"rejected", "unreadable"})

#: Codes that only the house gives to an attempt or a job.
OUR_CODES: Final = frozenset(
    {
        *("lease_lost", "queue_timeout", "total_timeout", "quarantined", "drained", "cancelled"),
        "outputs_lost",
    }
)


def submit(work: Work, event: ev.JobsSubmitted) -> list[Job | Refusal]:
    """Hold each wish's budget and queue it; the same key and content give the same job.

    A job for which there is a place is assigned at once.
    """
    known = work.batch.jobs_by_key(event.submitter, [wish.key for wish in event.wishes])
    room = OPEN_JOBS_PER_WALLET_MAX - work.batch.open_jobs_of(event.submitter)
    stop = chain_books.why_not_spent(work, event.submitter)
    fresh: dict[str, Job] = {}
    answers: list[Job | Refusal] = []
    nodes = event.nodes or (0,) * len(event.wishes)
    for wish, node in zip(event.wishes, nodes, strict=True):
        before = known.get(wish.key) or fresh.get(wish.key)
        if before is not None:
            answer = _repeat(before, wish)
        elif stop is not None:
            answer = stop
        elif len(fresh) >= room:
            answer = Refusal("too_many_open_jobs")
        else:
            answer = _queue(work, event.submitter, wish, node)
        if before is None and isinstance(answer, Job):
            fresh[wish.key] = answer
        elif node:
            work.order(ev.PlaceFree(node))
        answers.append(answer)
    return answers


def _repeat(before: Job, wish: ev.Wish) -> Job | Refusal:
    if before.spec_hash == wish.spec_hash and before.budget == wish.budget:
        return before
    return Refusal("key_conflict")


def _queue(work: Work, submitter: bytes, wish: ev.Wish, node: int) -> Job | Refusal:
    """A fresh job: with the node that has a place for it, or waiting."""
    if wish.blobs and (refusal := job_blobs.missing(work.batch, submitter, wish)):
        return refusal
    job = Job(
        id=work.batch.next_job_id(),
        submitter=submitter,
        key=wish.key,
        kind=wish.kind,
        spec=wish.spec,
        spec_hash=wish.spec_hash,
        budget=wish.budget,
        price=wish.price,
        state=JobState.QUEUED,
        created_ms=work.now_ms,
    )
    try:
        payroll.hold_budget(work, job)
    except Refusal as refusal:
        return refusal
    # One row, as the assigned job that it is at once where it has a place.
    is_placed = bool(node) and not _is_revoked(work, node)
    if is_placed:
        job = jobs.advance(job, jobs.Assigned(work.now_ms, node))
    work.batch.add_job(job)
    if wish.blobs:
        job_blobs.begin(work.batch, job, work.now_ms)
    if is_placed:
        return _begun(work, job)
    if node:
        work.order(ev.PlaceFree(node))
    work.order(ev.JobQueued(job))
    return job


def assign(work: Work, event: ev.JobMatched) -> Job | None:
    """Begin an attempt, unless the job has moved on since it was matched."""
    job = work.job(event.job)
    if job is None or job.state is not JobState.QUEUED:
        return None
    if _is_revoked(work, event.node):
        # It left the index when it was matched.
        work.order(ev.JobQueued(job))
        return None
    return begin(work, job, event.node)


def _is_revoked(work: Work, node: int) -> bool:
    found = work.batch.node(node)
    return found is not None and found.is_revoked


def begin(work: Work, job: Job, node: int) -> Job:
    """A new attempt: the job goes to the node."""
    after = jobs.advance(job, jobs.Assigned(work.now_ms, node))
    work.save(after, was=job)
    return _begun(work, after)


def _begun(work: Work, job: Job) -> Job:
    work.batch.add_attempt(
        Attempt(job.id, job.fence, job.node, AttemptState.OPEN, started_ms=work.now_ms)
    )
    work.order(ev.JobSent(job), ev.JobChanged(job))
    return job


def start(work: Work, event: ev.AttemptStarted) -> None:
    job = work.job(event.job)
    if _holds(job, event.fence, event.node) and job is not None:
        after = jobs.advance(job, jobs.Started(work.now_ms))
        if after != job:
            work.save(after, was=job)
            work.order(ev.JobChanged(after))


def _holds(job: Job | None, fence: int, node: int) -> bool:
    return job is not None and job.state in jobs.LEASED and job.fence == fence and job.node == node


def receive_result(work: Work, event: ev.ResultArrived) -> str:
    """Take a result under the current fence; its answer is the acknowledgement's code."""
    job = work.job(event.job)
    if _is_revoked(work, event.node):
        return "stale"
    if job is None or not (
        _holds(job, event.fence, event.node) or _is_late_but_wanted(work, job, event)
    ):
        return _answer_again(work, job, event)
    if fault := fault_of_timed(job, event):
        event = replace(event, is_completed=False, code="rejected", detail=fault, outputs=())
    if not event.is_completed:
        return _receive_failure(work, job, event)
    work.batch.add_outputs(event.outputs)
    after = jobs.advance(job, jobs.ResultReceived(work.now_ms))
    if get(job.kind).is_timed:
        price = _price_of_command(work, job)
        work.order(ev.AttemptOver(job.id, job.fence, job.node, "", stop=False))
        _accept(work, after, was=job, price=price, root=event.root, state="unverified")
        return "accepted"
    work.order(ev.AttemptOver(job.id, job.fence, job.node, "", stop=False))
    if is_light(job, event.outputs):
        _check_at_once(work, after, event, was=job)
    else:
        work.save(after, was=job)
        due = ev.VerificationDue(after, event.outputs, event.root)
        work.order(ev.JobChanged(after), due)
    return "accepted"


def _check_at_once(work: Work, job: Job, event: ev.ResultArrived, *, was: Job) -> None:
    """Verify and conclude in the transaction that takes the result in: one commit instead of two.

    The root came with the result, so the sample is drawn after it as ever.
    """
    raw = [memoryview(output.data) for output in event.outputs]
    draw = partial(work.house.random_bytes, DRAW_BYTES)
    verdict = judge(job, event.outputs, raw, event.root, draw)
    work.order(ev.ResultChecked(job, event.outputs, verdict.state))
    # The row goes from where it was to where the verdict brings it: nobody sees what is between.
    _conclude(work, job, verdict, was=was)


def _is_late_but_wanted(work: Work, job: Job, event: ev.ResultArrived) -> bool:
    """A result after its lease, of a job that nobody else has taken yet."""
    if job.state is not JobState.QUEUED or not event.is_completed or job.fence != event.fence:
        return False
    attempt = work.batch.attempt(job.id, job.fence)
    return attempt is not None and attempt.state is AttemptState.LOST and attempt.node == event.node


def _answer_again(work: Work, job: Job | None, event: ev.ResultArrived) -> str:
    """A result of an attempt that is no longer out: taken before, or stale."""
    if job is None or job.fence != event.fence:
        return "stale"
    attempt = work.batch.attempt(job.id, job.fence)
    if attempt is None or attempt.node != event.node:
        return "stale"
    if attempt.state is AttemptState.OPEN:
        # Its verdict is not reached yet.
        was_taken = event.is_completed and job.state is JobState.VERIFYING
    elif attempt.code == "execution_timeout":
        # A command whose time was over: whoever noticed first, it has ended and was paid.
        was_taken = not event.is_completed
    else:
        was_taken = attempt.state in (TAKEN if event.is_completed else {AttemptState.FAILED})
    return "accepted" if was_taken else "stale"


def _receive_failure(work: Work, job: Job, event: ev.ResultArrived) -> str:
    if event.code in PAID_FAILURES and get(job.kind).is_timed:
        work.batch.add_outputs(event.outputs)
        is_over = event.code == "execution_timeout"
        detail = _time_is_up(work, job) if is_over else event.detail
        _end_command(work, job, event.code, detail, event.root)
    else:
        # Agents write what they like; a submitter is told a code that exists, and not one of ours.
        code = event.code if event.code in CODES.keys() - OUR_CODES else "agent_error"
        _fail_attempt(work, job, AttemptState.FAILED, code, event.detail)
    return "accepted"


def _price_of_command(work: Work, job: Job) -> int:
    """Its time on our clock, and none past its limit: a late tick or a restart is ours to bear."""
    if not job.budget:
        return 0
    limit_ms = timed_limit_s(decode_spec(job.spec), job.budget, work.rules) * 1000
    elapsed_ms = min(work.now_ms - job.assigned_ms, limit_ms)
    return price_of_time(elapsed_ms, job.budget, work.rules)


def conclude(work: Work, event: ev.VerdictReached) -> None:
    """Pay an accepted result; try a rejected job again."""
    job = work.job(event.job)
    if job is not None and job.state is JobState.VERIFYING and job.fence == event.fence:
        _conclude(work, job, event, was=job)


def _conclude(work: Work, job: Job, event: ev.VerdictReached, *, was: Job) -> None:
    """End what a job's attempt came to, or try the job again; `was` is its row."""
    if event.state in BAD_VERDICTS:
        work.save(job, was=was)
        work.batch.drop_outputs(job.id, job.fence)
    if event.state == "rejected":
        _fail_attempt(work, job, AttemptState.REJECTED, "rejected", event.reason)
    elif event.state == "unreadable":
        # Ours to bear: nothing is said about the node that computed it.
        _fail_attempt(work, job, AttemptState.LOST, "outputs_lost", event.reason)
    else:
        if event.state == "accepted" and job.fence > 1:
            standing.note_who_failed(work, job)
        _accept(work, job, was=was, price=job.price, root=event.root, state=event.state)


def _accept(work: Work, job: Job, *, was: Job, price: int, root: bytes, state: str) -> None:
    fee = payroll.settle_hold(work, job, price=price, root=root, verdict=state)
    after = jobs.advance(job, jobs.Accepted(work.now_ms, paid=price, fee=fee))
    work.save(after, was=was)
    _end_attempt(work, job, AttemptState.ACCEPTED, "")
    work.order(ev.JobChanged(after))


def _end_attempt(work: Work, job: Job, state: AttemptState, code: str) -> None:
    attempt = work.batch.attempt(job.id, job.fence)
    assert attempt is not None, "an assigned job has an attempt"
    work.batch.save_attempt(replace(attempt, state=state, ended_ms=work.now_ms, code=code))


def lose_attempt(work: Work, event: ev.AttemptLost) -> None:
    """The lease is over: the job goes elsewhere.

    An agent that comes back without a job which it had begun did not give it back: it died.
    """
    job = work.job(event.job)
    if job is not None and job.state in jobs.LEASED and job.fence == event.fence:
        has_died = event.code == "abandoned" and job.state is JobState.RUNNING
        code = "lease_lost" if has_died else event.code
        _fail_attempt(work, job, AttemptState.LOST, code, "", stop=True)


def _fail_attempt(
    work: Work, job: Job, state: AttemptState, code: str, detail: str, *, stop: bool = False
) -> None:
    then = _after_failure(work, job, code, detail)
    if isinstance(then, jobs.Exhausted):
        payroll.void_hold(work, job)
    after = jobs.advance(job, then)
    work.save(after, was=job)
    _end_attempt(work, job, state, code)
    if job.state in jobs.LEASED:
        work.order(ev.AttemptOver(job.id, job.fence, job.node, code, stop=stop))
    if after.state is JobState.QUEUED:
        work.order(ev.JobQueued(after, avoid=job.node))
    work.order(ev.JobChanged(after))


def _after_failure(work: Work, job: Job, code: str, detail: str) -> jobs.Requeued | jobs.Exhausted:
    spec = decode_spec(job.spec)
    if code in quarantine.KILLS and (hosts := standing.hosts_killed(work, job)):
        work.batch.add_quarantined(job.id, work.now_ms, hosts)
        told = f"{hosts} attempts ended with their agent or its worker; the last one: {code}"
        return jobs.Exhausted(work.now_ms, code="quarantined", detail=told)
    then = jobs.after_failure(job, spec.retries, work.now_ms, code, detail)
    if isinstance(then, jobs.Requeued) and _is_over(work, job, spec):
        told = f"{_total_time_is_up(spec)}; its last attempt: {code}"
        return jobs.Exhausted(work.now_ms, code="total_timeout", detail=told)
    return then


def _is_over(work: Work, job: Job, spec: Spec) -> bool:
    """Whether the job's total time is over."""
    return work.now_ms >= job.created_ms + spec.limits.total_s * 1000


def _total_time_is_up(spec: Spec) -> str:
    return f"the job may take {spec.limits.total_s} s in all"


def _end_command(
    work: Work, job: Job, code: str, detail: str, root: bytes, *, stop: bool = False
) -> None:
    """End a command that ran and came to a bad end by its own doing: its time is paid.

    One that used up its time is cancelled, any other has failed.
    """
    price = _price_of_command(work, job)
    fee = payroll.settle_hold(work, job, price=price, root=root, verdict="unverified")
    is_over = code == "execution_timeout"
    end = jobs.Cancelled if is_over else jobs.Exhausted
    after = jobs.advance(job, end(work.now_ms, code=code, detail=detail, paid=price, fee=fee))
    work.save(after, was=job)
    # Whoever is stopped has not failed.
    is_stopped = is_over or stop
    _end_attempt(work, job, AttemptState.CANCELLED if is_stopped else AttemptState.FAILED, code)
    work.order(ev.AttemptOver(job.id, job.fence, job.node, code, stop=stop), ev.JobChanged(after))


def end_paid_time(work: Work, event: ev.TimePaidUp) -> None:
    """A command has used up its time and its agent does not say so: it is stopped, and paid."""
    job = work.job(event.job)
    if job is not None and job.state in jobs.LEASED and job.fence == event.fence:
        detail = _time_is_up(work, job)
        _end_command(work, job, "execution_timeout", detail, output_root(()), stop=True)


def _time_is_up(work: Work, job: Job) -> str:
    """What a submitter is told whose command used up its time, and so how to give it more."""
    spec = decode_spec(job.spec)
    limit_s = spec.limits.execution_s
    paid_s = timed_limit_s(spec, job.budget, work.rules)
    if paid_s < limit_s:
        return f"the budget of {format_hyper(job.budget)} HYPER pays for {paid_s} s"
    return f"the command may run for {limit_s} s"


def cancel(work: Work, event: ev.CancelAsked) -> Job:
    """Withdraw a submitter's job; cancelling twice is harmless."""
    job = work.job(event.job)
    if job is None or job.submitter != event.submitter:
        raise Refusal("not_found")
    if job.state is JobState.CANCELLED:
        return job
    if jobs.Cancelled not in jobs.TRANSITIONS[job.state]:
        raise Refusal("too_late")
    is_running_command = job.state in jobs.LEASED and get(job.kind).is_timed
    return _withdraw(work, job, _price_of_command(work, job) if is_running_command else 0)


def _withdraw(work: Work, job: Job, price: int) -> Job:
    if price:
        fee = payroll.settle_hold(
            work, job, price=price, root=output_root(()), verdict="unverified"
        )
    else:
        fee = 0
        payroll.void_hold(work, job)
    after = jobs.advance(job, jobs.Cancelled(work.now_ms, paid=price, fee=fee))
    work.save(after, was=job)
    if job.state in jobs.LEASED:
        _end_attempt(work, job, AttemptState.CANCELLED, "")
        work.order(ev.AttemptOver(job.id, job.fence, job.node, "cancelled", stop=True))
    work.order(ev.JobChanged(after))
    return after


def expire_queued(work: Work, event: ev.QueueTimedOut) -> None:
    job = work.job(event.job)
    if job is not None and job.state is JobState.QUEUED:
        _give_up(work, job, *_why_nobody_took(job))


def _why_nobody_took(job: Job) -> tuple[str, str]:
    """A code and a sentence. What another version took in may be none of this one's kinds."""
    try:
        spec = decode_spec(job.spec)
        get(spec.kind)
    except Refusal as refusal:
        return refusal.code, refusal.sentence
    return "queue_timeout", f"no agent took it within {spec.limits.queue_s} s"


def end_total_time(work: Work, event: ev.TotalTimedOut) -> None:
    """The job's total time is over: a command pays for what it ran, anything else costs nothing.

    A job whose result is in gets its verdict, however late: the agent was in time.
    """
    job = work.job(event.job)
    if job is None or job.state not in jobs.LEASED | {JobState.QUEUED}:
        return
    detail = _total_time_is_up(decode_spec(job.spec))
    if job.state in jobs.LEASED and get(job.kind).is_timed:
        _end_command(work, job, "total_timeout", detail, output_root(()), stop=True)
    else:
        _give_up(work, job, "total_timeout", detail)


def _give_up(work: Work, job: Job, code: str, detail: str) -> None:
    """End a job that waits or is out, and return its hold."""
    payroll.void_hold(work, job)
    after = jobs.advance(job, jobs.Exhausted(work.now_ms, code=code, detail=detail))
    work.save(after, was=job)
    if job.state in jobs.LEASED:
        _end_attempt(work, job, AttemptState.CANCELLED, code)
        work.order(ev.AttemptOver(job.id, job.fence, job.node, code, stop=True))
    work.order(ev.JobChanged(after))
