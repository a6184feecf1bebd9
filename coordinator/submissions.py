"""A submission on its way to the disk and back: checked, placed, told to the writer, answered.

In:   submissions of one wallet, from HTTP (whoever asks waits) or a WebSocket (nobody does).
Out:  one answer a submission, in order, once they are durable.
Rules:
  1. Nodes with room are found before the commit, so that a job is queued and assigned in one.
  2. Past `ITEMS_PER_MESSAGE_MAX` a submission is several, one after the other.
Not here: what a job costs (desk, pricing), what a commit does (lifecycle).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from coordinator import events as ev
from coordinator.demand import demand_for
from coordinator.desk import short, wish_of
from coordinator.limits import ITEMS_PER_MESSAGE_MAX
from coordinator.operations import Operations
from coordinator.pricing import Rules
from coordinator.protocol.errors import Refusal
from coordinator.protocol.ids import Ids
from coordinator.protocol.messages import Submission, SubmissionAnswer
from coordinator.protocol.spec import decode_spec
from coordinator.store.values import Job
from onchain.amounts import format_hyper

OnJob = Callable[[Job], None]
#: What becomes of each wish.
_Results = list[Job | Refusal]


class Submissions:
    """Takes them in."""

    def __init__(self, operations: Operations, ids: Ids, rules: Rules) -> None:
        self._operations = operations
        self._ids = ids
        self._rules = rules

    async def store(
        self, wallet: bytes, jobs: Sequence[Submission], on_job: OnJob | None
    ) -> list[SubmissionAnswer]:
        """Store them, and wait for it (see `Api.submit`)."""
        self._check_open()
        wishes = self._wishes_of(jobs)
        lawful = [wish for wish in wishes if isinstance(wish, ev.Wish)]
        results: _Results = []
        for start in range(0, len(lawful), ITEMS_PER_MESSAGE_MAX):
            part = tuple(lawful[start : start + ITEMS_PER_MESSAGE_MAX])
            event = self._place(wallet, part)
            results += await self._operations.writer.ask(
                event,
                on_value=partial(self._note_kept, event, on_job),
                on_refusal=partial(self._note_refused, event),
            )
        return self._answers(jobs, wishes, iter(results))

    def store_soon(
        self,
        wallet: bytes,
        jobs: Sequence[Submission],
        on_job: OnJob,
        then: Callable[[list[SubmissionAnswer] | Refusal], None],
    ) -> None:
        """Store one message's worth; `then` is told at the commit, or at once if nothing is lawful.

        Raises:
            Refusal: nothing was taken in, and `then` hears nothing.
        """
        assert len(jobs) <= ITEMS_PER_MESSAGE_MAX
        self._check_open()
        wishes = self._wishes_of(jobs)
        lawful = tuple([wish for wish in wishes if isinstance(wish, ev.Wish)])
        if not lawful:
            then(self._answers(jobs, wishes, iter(())))
            return
        writer = self._operations.writer
        writer.check_open(ev.JobsSubmitted(wallet, lawful))
        event = self._place(wallet, lawful)

        def answer(outcome: ev.Outcome) -> None:
            if outcome.refusal is not None:
                self._note_refused(event)
                then(outcome.refusal)
                return
            self._note_kept(event, on_job, outcome.value)
            then(self._answers(jobs, wishes, iter(outcome.value)))

        writer.tell(event, answer)

    def _check_open(self) -> None:
        if self._operations.is_draining:
            raise Refusal("draining")
        if self._operations.is_full:
            raise Refusal("busy", "the coordinator has as many open jobs as it can take")

    def _wishes_of(self, jobs: Sequence[Submission]) -> list[ev.Wish | Refusal]:
        wishes: list[ev.Wish | Refusal] = []
        for submission in jobs:
            try:
                wishes.append(wish_of(submission, self._rules))
            except Refusal as refusal:
                wishes.append(refusal)
        return wishes

    def _place(self, wallet: bytes, wishes: tuple[ev.Wish, ...]) -> ev.JobsSubmitted:
        demands = [demand_for(decode_spec(wish.spec)) for wish in wishes]
        return ev.JobsSubmitted(wallet, wishes, self._operations.place(demands))

    def _note_kept(self, event: ev.JobsSubmitted, on_job: OnJob | None, results: _Results) -> None:
        self._operations.matching.note_placed(event.nodes, is_kept=True)
        if on_job is not None:
            for result in results:
                if not isinstance(result, Refusal):
                    on_job(result)

    def _note_refused(self, event: ev.JobsSubmitted) -> None:
        self._operations.matching.note_placed(event.nodes, is_kept=False)

    def _answers(
        self,
        jobs: Sequence[Submission],
        wishes: Sequence[ev.Wish | Refusal],
        results: Iterator[Job | Refusal],
    ) -> list[SubmissionAnswer]:
        answers = [
            self._answer(submission.key, wish if isinstance(wish, Refusal) else next(results))
            for submission, wish in zip(jobs, wishes, strict=True)
        ]
        self._operations.metrics.jobs_submitted.inc(sum([bool(each.id) for each in answers]))
        return answers

    def _answer(self, key: str, result: Job | Refusal) -> SubmissionAnswer:
        if isinstance(result, Refusal):
            return SubmissionAnswer(key, code=result.code, error=short(result.sentence))
        public = self._ids.encode("job", result.id)
        return SubmissionAnswer(key, id=public, price=format_hyper(result.price))
