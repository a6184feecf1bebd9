"""A submitted job: a handle that can be waited for, cancelled, and asked for its result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec
import trio

from hypernode.errors import Timeout, failure_of
from hypernode.inbox import Tracked
from hypernode.result import Blobs, Result, collect


class Owner(Protocol):
    """What a handle needs of its client."""

    async def until_done(self, tracked: Tracked) -> None: ...
    async def cancel(self, job: str) -> None: ...
    def logs(self, job: str, *, follow: bool = True) -> AsyncIterator[str]: ...
    @property
    def blobs(self) -> Blobs: ...


class Job:
    """One job of ours."""

    def __init__(
        self, owner: Owner, tracked: Tracked, *, key: str = "", price: str = "", spec: bytes = b""
    ) -> None:
        self._owner = owner
        self._tracked = tracked
        #: The submitter's own key: submitting with it again finds this job.
        self.key = key
        #: What the job costs, decimal text of HYPER; "" where only its id is known.
        self.price = price
        #: Its specification, where we submitted it: it names the outputs.
        self._spec = spec

    def __repr__(self) -> str:
        return f"Job({self.id}, {self.state})"

    @property
    def id(self) -> str:
        return self._tracked.id

    @property
    def state(self) -> str:
        """`queued assigned running verifying completed failed cancelled`, as far as we heard."""
        return self._tracked.state

    @property
    def progress(self) -> float | None:
        """From 0 to 1, if the agent tells."""
        return self._tracked.progress

    async def wait(self, timeout_s: float | None = None) -> str:
        """Wait for the end, whatever it is; the final state.

        Raises:
            Timeout: `timeout_s` is over; the job goes on.
            Unreachable: the coordinator stayed away too long; the job goes on.
        """
        with trio.move_on_after(float("inf") if timeout_s is None else timeout_s) as scope:
            await self._owner.until_done(self._tracked)
        if scope.cancelled_caught:
            msg = f"{self.id} is {self.state} after {timeout_s} s; it goes on"
            raise Timeout(msg)
        return self.state

    async def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the result: its arrays, with the receipt checked.

        Raises:
            Rejected: the result did not pass verification.
            JobFailed: the job failed; `code` says why, `log` what a command wrote.
            JobCancelled: it was cancelled.
            BadReceipt: the receipt or an array does not prove what the coordinator says.
            Timeout: `timeout_s` is over; the job goes on.
            Unreachable: the coordinator stayed away too long; the job goes on.
        """
        await self.wait(timeout_s)
        job = self._tracked
        if job.state == "completed" and job.output is not None:
            result = await collect(job.output, job.data, self._owner.blobs)
            return msgspec.structs.replace(result, spec=self._spec)
        failure = failure_of(job.id, job.state, job.code, job.detail)
        if job.output is not None and job.output.outputs:
            failure.log = (await collect(job.output, job.data, self._owner.blobs)).text
        raise failure

    async def cancel(self) -> None:
        """Stop the job; the hold returns to the wallet.

        Raises:
            TooLate: the job has ended, or its result is being verified.
        """
        await self._owner.cancel(self.id)

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call back once waiting would not block any more."""
        self._tracked.when_settled(lambda _: call())

    def when_changed(self, call: Callable[[], None]) -> None:
        """Call back at each change that is heard of."""
        self._tracked.on_change.append(call)

    def logs(self, *, follow: bool = True) -> AsyncIterator[str]:
        """Pieces of the job's log, from its beginning until its end; also of a finished job.

        Control characters are replaced. Where something is missing a line says so: of a running
        job the coordinator keeps the last part only.

        Args:
            follow: Go on until the job ends; otherwise only what is there now.
        """
        return self._owner.logs(self.id, follow=follow)

    def on_log(self, call: Callable[[str], None]) -> None:
        """Call with each piece of the job's log as it comes."""
        self._tracked.on_log = call
