"""Submissions on their way: the blobs that they name, then the jobs, then their handles.

Rules:
  1. What a job names is with the coordinator before the job is sent.
  2. A blob that is missing there all the same is brought again, and its jobs are sent again: once.
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.protocol.messages import Submit, Submitted
from hypernode.blob_web import BlobWeb
from hypernode.errors import HypernodeError, error_of
from hypernode.inputs import Uploads
from hypernode.job import Job, Owner
from hypernode.link import Link
from hypernode.submission import batches, submissions
from hypernode.wishes import Wish


class Submitting:
    """Those of one client."""

    def __init__(self, owner: Owner, link: Link, web: BlobWeb) -> None:
        """Send over `link`, upload over `web`; the jobs' handles ask `owner`."""
        self._owner = owner
        self._link = link
        self._web = web
        self._uploads = Uploads(web)

    async def submit(
        self, wishes: Sequence[Wish], budget: str, *, is_new: bool
    ) -> list[Job | HypernodeError]:
        """Submit jobs; a job or a refusal each, in order.

        Args:
            wishes: The jobs.
            budget: For each of them, HYPER.
            is_new: Whether their keys are new: no job of theirs has ended yet.
        """
        await self._web.bearer()
        blobs = [blob for wish in wishes for blob in wish.blobs]
        await self._uploads.ensure(blobs)
        handles = await self._send(wishes, budget)
        lost = [place for place, handle in enumerate(handles) if _lacks_input(handle)]
        if lost:
            await self._uploads.ensure(blobs, again=True)
            answers = await self._send([wishes[place] for place in lost], budget)
            for place, answer in zip(lost, answers, strict=True):
                handles[place] = answer
        if not is_new:
            # A key that was used before may name a job that ended: ask how.
            await self._link.watch([job.id for job in handles if isinstance(job, Job)])
        return handles

    async def _send(self, wishes: Sequence[Wish], budget: str) -> list[Job | HypernodeError]:
        """One round, in as many messages as it takes."""
        handles: list[Job | HypernodeError] = []
        specs, keys = [wish.spec for wish in wishes], [wish.key for wish in wishes]
        for part in batches(submissions(specs, budget, keys)):
            asked = await self._link.ask(Submit(part, self._link.inbox.next_ref()))
            assert isinstance(asked.answer, Submitted)
            # One answer a job, in the order in which they were sent.
            for sent, item in zip(part, asked.answer.jobs, strict=True):
                if item.id:
                    tracked = asked.jobs[item.id]
                    spec = bytes(sent.spec)
                    handles.append(
                        Job(self._owner, tracked, key=item.key, price=item.price, spec=spec)
                    )
                else:
                    handles.append(error_of(item.code, item.error))
        return handles


def _lacks_input(handle: Job | HypernodeError) -> bool:
    return isinstance(handle, HypernodeError) and handle.code == "input_missing"
