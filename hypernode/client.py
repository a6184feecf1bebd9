"""Submit jobs and receive their results: the asynchronous client (Trio).

In:   kinds with parameters and a budget.
Out:  `Job` handles, then results as NumPy arrays, their receipts checked; refusals as exceptions.
Rules:
  1. One WebSocket carries submissions, updates and results. When it is lost it is dialled again,
     open jobs are watched again and unanswered requests are sent again, byte for byte: the keys in
     them make that harmless.
  2. A coordinator that stays silent for `patience_s` ends every waiting call with `Unreachable`.
     The jobs themselves go on; waiting again asks again.
Not here: the blocking `Client` (`blocking.py`), HTTP (`web.py`), what waits (`inbox.py`).
Source: market.md's sketch; Modal's `map`, websockets' reconnecting client.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, overload

import trio
import trio_websocket

from coordinator.limits import AUTH_S, FRAME_BYTES_MAX
from coordinator.protocol.codec import encode, submitter_decoder
from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.messages import (
    AnyMessage,
    Cancel,
    Cancelled,
    Error,
    Open,
    Opened,
    Price,
    Submit,
    Submitted,
)
from coordinator.protocol.signing import Keypair
from coordinator.protocol.spec import Limits, Policy, Resources
from hypernode.answers import Account, JobInfo
from hypernode.errors import (
    HypernodeError,
    NotFound,
    Timeout,
    TooLate,
    Unauthenticated,
    Unreachable,
    error_of,
    failure_of,
)
from hypernode.inbox import Answered, Ask, Inbox, Tracked
from hypernode.result import Result, collect
from hypernode.signin import keypair_of
from hypernode.stream import Stream
from hypernode.submission import Amount, amount_text, batches, spec_bytes, submissions
from hypernode.web import URL_DEFAULT, Web, socket_url

#: A quiet connection is asked for a sign of life this often; middleboxes forget sooner than 60 s.
PING_S: Final = 15.0
#: Time for the answer to that.
PONG_S: Final = 10.0
#: A result follows its `completed` at once; after this long it is fetched over HTTP.
RESULT_GRACE_S: Final = 2.0
#: Between two dials of a lost coordinator: doubles from the first to the second.
REDIAL_FIRST_S: Final = 0.1
REDIAL_MAX_S: Final = 3.0
#: Frames that may wait between two looks: a ping's answer must not queue behind results.
_QUEUE_FRAMES: Final = 256
_SIGN_IN_AGAIN: Final = frozenset({"unauthenticated", "session_expired"})


class Job:
    """A submitted job: a handle that can be waited for, cancelled, and asked for its result."""

    def __init__(self, client: AsyncClient, tracked: Tracked, *, key: str = "", price: str = ""):
        self._client = client
        self._tracked = tracked
        #: The submitter's own key: submitting with it again finds this job.
        self.key = key
        #: What the job costs at most, decimal text of HYPER.
        self.price = price

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

    def __repr__(self) -> str:
        return f"Job({self.id}, {self.state})"

    async def wait(self, timeout_s: float | None = None) -> str:
        """Wait for the end, whatever it is; the final state.

        Raises:
            Timeout: `timeout_s` is over; the job goes on.
            Unreachable: the coordinator stayed away too long; the job goes on.
        """
        with trio.move_on_after(timeout_s if timeout_s is not None else float("inf")):
            await self._client.until_done(self._tracked)
            return self.state
        raise Timeout(f"{self.id} is {self.state} after {timeout_s} s; it goes on")

    async def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the result: its arrays, with the receipt checked.

        Raises:
            Rejected: the result did not pass verification.
            JobFailed: the job failed; `code` says why.
            JobCancelled: it was cancelled.
            BadReceipt: the receipt or an array does not prove what the coordinator says.
            Timeout: `timeout_s` is over; the job goes on.
            Unreachable: the coordinator stayed away too long; the job goes on.
        """
        await self.wait(timeout_s)
        tracked = self._tracked
        if tracked.output is None:
            raise failure_of(self.id, tracked.state, tracked.code, tracked.detail)
        return await collect(tracked.output, tracked.data, self._client.web)

    async def cancel(self) -> None:
        """Stop the job; the hold returns to the wallet.

        Raises:
            TooLate: the job has ended, or its result is being verified.
        """
        await self._client.cancel(self)

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call back once waiting would not block any more."""
        self._tracked.when_settled(lambda _: call())

    def on_log(self, call: Callable[[str], None]) -> None:
        """Call with each piece of the job's log as it comes."""
        self._tracked.on_log = call


class AsyncClient:
    """A submitter's connection to one coordinator.

    Args:
        url: `http(s)://` or `ws(s)://`; by default `$HYPERNODE_URL`, else this machine's port 3001.
        keypair: The wallet that pays: a Solana key file's path, or a `Keypair`. Without one only
            public things can be asked (`quote`, `job`).
        timeout_s: For one question to the coordinator.
        patience_s: For a coordinator that went away, before waiting calls end with `Unreachable`.
    """

    def __init__(
        self,
        url: str | None = None,
        keypair: Keypair | Path | str | None = None,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
    ) -> None:
        self.url = url or os.environ.get("HYPERNODE_URL") or URL_DEFAULT
        self._keypair = keypair_of(keypair) if keypair is not None else None
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._inbox = Inbox()
        self._socket: trio_websocket.WebSocketConnection | None = None
        self._wanted = trio.Event()
        self._stack = AsyncExitStack()
        #: HTTP calls to the same coordinator, in the same session.
        self.web: Web

    async def __aenter__(self) -> AsyncClient:
        self.web = Web(self.url, self._keypair, timeout_s=self._timeout_s)
        await self._stack.enter_async_context(self.web)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(self._stay_connected)
        self._stack.callback(nursery.cancel_scope.cancel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The body's exception is not shown to the nursery: it would come back inside a group.
        await self._stack.aclose()

    # ---- asking -------------------------------------------------------------------------------

    async def quote(
        self,
        kind: str,
        params: Mapping[str, Any] | None = None,
        *,
        limits: Limits | None = None,
        **more: Any,
    ) -> Price:
        """What a job would cost now; needs no wallet.

        Raises:
            UnknownKind, BadSpec: there is no such job.
        """
        spec = spec_bytes(kind, {**(params or {}), **more}, limits=limits)
        price = (await self.web.quote([spec]))[0]
        if price.code:
            raise error_of(price.code, price.error)
        return price

    async def submit(
        self,
        kind: str,
        params: Mapping[str, Any] | None = None,
        *,
        budget: Amount,
        key: str | None = None,
        verify: Policy | None = None,
        limits: Limits | None = None,
        resources: Resources | None = None,
        retries: int | None = None,
        **more: Any,
    ) -> Job:
        """Submit one job; returns once the coordinator holds it durably.

        Args:
            kind: The workload, such as `"montecarlo"`.
            params: Its parameters; they may also be given as further keywords.
            budget: At most this many HYPER, such as `"0.02"`.
            key: Your own name for it. The same key and content again is the same job; random by
                default.
            verify: How the result is checked; the kind's own policy by default.
            limits: Time and memory.
            resources: What the device must have.
            retries: Further attempts after the first one failed.
            more: Parameters.

        Raises:
            OverBudget, InsufficientCredit, BadSpec, UnknownKind, KeyConflict, Unauthenticated, …
        """
        spec = spec_bytes(
            kind,
            {**(params or {}), **more},
            verify=verify,
            limits=limits,
            resources=resources,
            retries=retries,
        )
        keys = [key or secrets.token_hex(16)]
        job = (await self._submit([spec], amount_text(budget), keys))[0]
        if isinstance(job, HypernodeError):
            raise job
        return job

    @overload
    async def submit_many(
        self,
        kind: str,
        many: Iterable[Mapping[str, Any]],
        *,
        budget: Amount,
        keys: Sequence[str] | None = None,
        errors: Literal["raise"] = "raise",
        **options: Any,
    ) -> list[Job]: ...

    @overload
    async def submit_many(
        self,
        kind: str,
        many: Iterable[Mapping[str, Any]],
        *,
        budget: Amount,
        keys: Sequence[str] | None = None,
        errors: Literal["return"],
        **options: Any,
    ) -> list[Job | HypernodeError]: ...

    async def submit_many(
        self,
        kind: str,
        many: Iterable[Mapping[str, Any]],
        *,
        budget: Amount,
        keys: Sequence[str] | None = None,
        errors: Literal["raise", "return"] = "raise",
        **options: Any,
    ) -> Any:
        """Submit jobs of one kind together, one per element of `many`, each with this budget.

        Args:
            kind: The workload.
            many: Parameters of each job.
            budget: For each job.
            keys: Your own names, as many as jobs; random by default.
            errors: `raise` raises the first refusal (the others are jobs all the same); `return`
                puts refusals into the list.
            options: `verify`, `limits`, `resources`, `retries`, as in `submit`.
        """
        specs = [spec_bytes(kind, params, **options) for params in many]
        names = list(keys) if keys is not None else [secrets.token_hex(16) for _ in specs]
        if len(names) != len(specs):
            msg = f"{len(names)} keys for {len(specs)} jobs"
            raise ValueError(msg)
        jobs = await self._submit(specs, amount_text(budget), names)
        if errors == "raise":
            for job in jobs:
                if isinstance(job, HypernodeError):
                    raise job
        return jobs

    def map(
        self,
        kind: str,
        many: Iterable[Mapping[str, Any]],
        *,
        budget: Amount,
        order: bool = True,
        errors: Literal["raise", "return"] = "raise",
        max_in_flight: int = 256,
        **options: Any,
    ) -> Stream:
        """Results of many jobs as an asynchronous iterator; `many` is read as it goes.

        Memory stays flat however many there are: at most `max_in_flight` jobs are open.

        Args:
            kind: The workload.
            many: Parameters of each job.
            budget: For each job.
            order: Results in the order of `many`; otherwise as they come.
            errors: `raise` ends at the first failure and cancels what is open; `return` yields
                the exception in the result's place.
            max_in_flight: Jobs open at once.
            options: `verify`, `limits`, `resources`, `retries`, as in `submit`.
        """

        async def submit(part: Sequence[Mapping[str, Any]]) -> list[Job | HypernodeError]:
            return await self.submit_many(kind, part, budget=budget, errors="return", **options)

        return Stream(
            submit, many, order=order, errors=errors, max_in_flight=max_in_flight
        )

    async def result(self, job: Job | str, timeout_s: float | None = None) -> Result:
        """The result of a job, also of one that was submitted elsewhere (by its id)."""
        return await self.handle(job).result(timeout_s)

    async def cancel(self, job: Job | str) -> None:
        """Stop a job.

        Raises:
            TooLate: it has ended, or its result is being verified.
        """
        job_id = job if isinstance(job, str) else job.id
        answer = await self._request(Cancel([job_id], self._inbox.next_ref()))
        assert isinstance(answer, Cancelled)
        update = answer.jobs[0]
        if update.state != "cancelled":
            refused = error_of(update.code or "too_late", update.detail)
            raise refused if isinstance(refused, NotFound | TooLate) else TooLate("too_late")

    async def jobs(self) -> list[JobInfo]:
        """This wallet's newest jobs."""
        return await self.web.jobs()

    async def job(self, job: str) -> JobInfo:
        """One job by its id; needs no wallet (payment is shown to its submitter only)."""
        return await self.web.job(job)

    async def account(self) -> Account:
        """This wallet's money at the coordinator."""
        return await self.web.account()

    async def faucet(self, amount: Amount, key: str | None = None) -> Account:
        """Development money, where the coordinator's faucet is on."""
        return await self.web.faucet(amount_text(amount), key or secrets.token_hex(16))

    # ---- waiting ------------------------------------------------------------------------------

    def handle(self, job: Job | str) -> Job:
        """A handle of a job by its id."""
        return Job(self, self._inbox.track(job)) if isinstance(job, str) else job

    async def until_done(self, tracked: Tracked) -> None:
        """Wait until a job's end and, if it completed, its result are known."""
        if not tracked.is_done and not self._inbox.is_tracked(tracked):
            self._inbox.adopt(tracked)
        await self._watch(tracked)
        while not tracked.is_done:
            if tracked.lost is not None:
                raise tracked.lost
            changed = tracked.changed
            grace_s = RESULT_GRACE_S if tracked.state == "completed" else float("inf")
            with trio.move_on_after(grace_s) as grace:
                await changed.wait()
            if grace.cancelled_caught:
                await self._fetch(tracked)
