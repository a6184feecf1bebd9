"""Submit jobs and receive their results: the asynchronous client (Trio).

In:   kinds with parameters and a budget.
Out:  `Job` handles, then results as NumPy arrays, their receipts checked; refusals as exceptions.
Rules:
  1. One WebSocket carries submissions, updates and results. When it is lost it is dialled again,
     open jobs are watched again and unanswered requests are sent again, byte for byte: the keys in
     them make that harmless.
  2. A coordinator that stays away for `patience_s` ends every waiting call with `Unreachable`.
     The jobs themselves go on; waiting again asks again.
Not here: the blocking `Client` (`blocking.py`), HTTP (`web.py`), redialling (`link.py`).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from coordinator.limits import FRAME_BYTES_MAX, HEAD_S, KIB
from coordinator.protocol.codec import submitter_decoder
from coordinator.protocol.errors import said_in
from coordinator.protocol.messages import Cancel, Cancelled, JobOutput, Price
from coordinator.protocol.signing import Keypair
from coordinator.protocol.spec import Limits, Policy, Resources
from coordinator.protocol.streams import WatchedStream, open_stream
from coordinator.protocol.trust import why_untrusted
from hypernode.answers import Account, JobInfo, Withdrawn
from hypernode.blob_web import BlobWeb
from hypernode.connect import kept_apart
from hypernode.errors import HypernodeError, TooLate, Unreachable, error_of
from hypernode.inbox import Tracked
from hypernode.job import Job
from hypernode.kernels import Kernel
from hypernode.link import Link
from hypernode.logs import LogPieces, OnPart
from hypernode.result import Blobs, Result
from hypernode.stream import Stream
from hypernode.submission import Amount, amount_text
from hypernode.submitting import Submitting
from hypernode.wallet_file import wallet_of
from hypernode.web import URL_DEFAULT, socket_url
from hypernode.wishes import Arrays, JobArguments, wishes_of

#: A result follows its `completed` at once; after this long it is fetched over HTTP.
RESULT_GRACE_S: Final = 2.0
#: The log of a failed command follows too, but only where the command was paid.
LOG_GRACE_S: Final = 0.5
#: Frames that may wait: a ping's answer must not queue behind results.
_QUEUE_FRAMES: Final = 256
#: Bytes of one read: batches of results arrive whole.
_RECEIVE_BYTES: Final = 64 * KIB
#: Time for a polite end.
_CLOSE_S: Final = 1.0


class AsyncClient:
    """A submitter's connection to one coordinator; an asynchronous context manager.

    Args:
        url: `http(s)://` or `ws(s)://`; by default `$HYPERNODE_URL`, else this machine's port 3001.
        keypair: The wallet that pays: a Solana key file's path, or a `Keypair`; by default
            `$HYPERNODE_KEYPAIR`, else `~/.config/hypernode/wallet.json`. Without any of them only
            public things can be asked (`quote`, `job`).
        timeout_s: For one question to the coordinator.
        patience_s: For a coordinator that went away, before waiting calls end with `Unreachable`.
        ca: Certificates of the authorities (PEM) that are believed under TLS, by default
            `$HYPERNODE_CA`, else the system's.

    Raises:
        ValueError: `url` is no coordinator's address, or `ca` holds no certificates.
    """

    def __init__(
        self,
        url: str | None = None,
        keypair: Keypair | Path | str | None = None,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        ca: Path | str | None = None,
    ) -> None:
        self.url = url or os.environ.get("HYPERNODE_URL") or URL_DEFAULT
        #: HTTP calls to the same coordinator, in the same session.
        self.web = BlobWeb(self.url, wallet_of(keypair), timeout_s=timeout_s, ca=ca)
        self._link = Link(self._dial, self.web, patience_s=patience_s, timeout_s=timeout_s)
        self._submitting = Submitting(self, self._link, self.web)
        self._stack = AsyncExitStack()
        self._nursery: trio.Nursery

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.web)
        self._nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(self._nursery.cancel_scope.cancel)
        self._nursery.start_soon(self._link.run)
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
        kind: str | Kernel,
        params: Mapping[str, Any] | None = None,
        *,
        limits: Limits | None = None,
        timeout_s: int | None = None,
        **more: Any,
    ) -> Price:
        """What a job would cost now; asked without a session where there is no wallet.

        Raises:
            UnknownKind, BadSpec: there is no such job.
        """
        asked = [{**(params or {}), **more}]
        wishes = await wishes_of(kind, asked, limits=limits, timeout_s=timeout_s)
        price = (await self.web.quote([wishes[0].spec]))[0]
        if price.code:
            raise error_of(price.code, price.error)
        return price

    async def submit(  # noqa: PLR0913 (each is a keyword with a meaning of its own)
        self,
        kind: str | Kernel,
        params: Mapping[str, Any] | None = None,
        *,
        budget: Amount,
        key: str | None = None,
        verify: Policy | None = None,
        limits: Limits | None = None,
        resources: Resources | None = None,
        retries: int | None = None,
        timeout_s: int | None = None,
        queue_timeout_s: int | None = None,
        total_timeout_s: int | None = None,
        inputs: Arrays | None = None,
        **more: Any,
    ) -> Job:
        """Submit one job; returns once the coordinator holds it durably.

        Args:
            kind: The workload, such as `"montecarlo"`; or a kernel of yours (`hypernode.kernel`).
            params: Its parameters, or the kernel's arguments; they may also be given as further
                keywords. A kernel takes `n`, or `grid`, `block` and `shared`, besides.
            budget: At most this many HYPER, such as `"0.02"`.
            key: Your own name for it. The same key and content again is the same job; random by
                default.
            verify: How the result is checked; the kind's own policy by default.
            limits: Time and memory.
            resources: What the device must have.
            retries: Further attempts after the first one failed.
            timeout_s: Whole seconds that one attempt may run (`execution_timeout` past it).
            queue_timeout_s: That it may wait for an agent (`queue_timeout`), anew after an attempt.
            total_timeout_s: From submission to the end, attempts and waits (`total_timeout`).
            inputs: Input arrays by name: `{"a": array, …}`. Large ones are uploaded before.
            more: Parameters.

        Raises:
            OverBudget, InsufficientCredit, BadSpec, UnknownKind, KeyConflict, Unauthenticated, …
        """
        wishes = await wishes_of(
            kind,
            [{**(params or {}), **more}],
            None if key is None else [key],
            inputs,
            verify=verify,
            limits=limits,
            resources=resources,
            retries=retries,
            timeout_s=timeout_s,
            queue_timeout_s=queue_timeout_s,
            total_timeout_s=total_timeout_s,
        )
        job = (await self._submitting.submit(wishes, amount_text(budget), is_new=key is None))[0]
        if isinstance(job, HypernodeError):
            raise job
        return job

    async def submit_many(
        self,
        kind: str | Kernel,
        many: Iterable[JobArguments],
        *,
        budget: Amount,
        keys: Sequence[str] | None = None,
        **options: Any,
    ) -> list[Job]:
        """Submit jobs of one kind together, one per element of `many`, each with this budget.

        Args:
            kind: The workload.
            many: Parameters of each job, or pairs of parameters and input arrays.
            budget: For each job.
            keys: Your own names, as many as jobs; random by default.
            options: `verify`, `limits`, `resources`, `retries`, timeouts, `inputs` (of all of
                them), as in `submit`.

        Raises:
            HypernodeError: the first refusal; what was accepted before and after it is a job.
        """
        jobs = await self._submit_many(kind, list(many), budget, keys, **options)
        accepted = [job for job in jobs if isinstance(job, Job)]
        for job in jobs:
            if isinstance(job, HypernodeError):
                raise job
        return accepted

    def map(
        self,
        kind: str | Kernel,
        many: Iterable[JobArguments],
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
            many: Parameters of each job, or pairs of parameters and input arrays.
            budget: For each job.
            order: Results in the order of `many`; otherwise as they come.
            errors: `raise` ends at the first failure and cancels what is open; `return` yields
                the exception in the result's place, also that of an input which was refused
                (`BadSpec`, `OverBudget`, …), so that there are as many items as inputs.
            max_in_flight: Jobs open at once.
            options: `verify`, `limits`, `resources`, `retries`, timeouts, `inputs` (of all of
                them), as in `submit`.
        """

        async def submit(part: Sequence[JobArguments]) -> list[Job | HypernodeError]:
            return await self._submit_many(kind, part, budget, None, **options)

        return Stream(submit, many, order=order, errors=errors, max_in_flight=max_in_flight)

    async def result(self, job: Job | str, timeout_s: float | None = None) -> Result:
        """The result of a job, also of one that was submitted elsewhere (by its id)."""
        return await self.handle(job).result(timeout_s)

    async def cancel(self, job: Job | str) -> None:
        """Stop a job.

        Raises:
            TooLate: it has ended, or its result is being verified.
        """
        job_id = job if isinstance(job, str) else job.id
        await self.web.bearer()
        asked = await self._link.ask(Cancel([job_id], self._link.inbox.next_ref()))
        assert isinstance(asked.answer, Cancelled)
        update = asked.answer.jobs[0]
        if update.state != "cancelled":
            raise error_of(update.code, update.detail) if update.code else TooLate("too_late")

    def logs(
        self, job: Job | str, *, follow: bool = True, on_part: OnPart = lambda _: None
    ) -> AsyncIterator[str]:
        """Pieces of a job's log (see `Job.logs`); `on_part` hears its state and progress too."""
        job_id = job if isinstance(job, str) else job.id
        return LogPieces(partial(self.web.logs, job_id), follow=follow, on_part=on_part)

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

    async def withdraw(self, amount: Amount, key: str | None = None, ledger: str = "") -> Withdrawn:
        """Take unspent credit back by the next root (see `SettlementWeb.withdraw`)."""
        return await self.web.withdraw(amount, key, ledger)

    def handle(self, job: Job | str) -> Job:
        """A handle of a job by its id."""
        if isinstance(job, Job):
            return job
        return Job(self, Tracked(job))

    @property
    def blobs(self) -> Blobs:
        """Where arrays come from that did not ride in a message."""
        return self.web

    async def until_done(self, tracked: Tracked) -> None:
        """Wait until a job's end and, if it completed, its result are known."""
        inbox = self._link.inbox
        if not tracked.is_done and not inbox.is_tracked(tracked):
            await self.web.bearer()  # nobody listens without a wallet: say so at once
            inbox.adopt(tracked)
            await self._link.watch([tracked.id])
        while not tracked.is_done:
            if tracked.lost is not None:
                raise tracked.lost
            with trio.move_on_after(_grace_s(tracked)) as grace:
                await tracked.changed.wait()
            if grace.cancelled_caught:
                await self._fetch(tracked)

    async def _fetch(self, tracked: Tracked) -> None:
        """The result over HTTP, where it did not come by itself."""
        try:
            frame = await self.web.result_frame(tracked.id)
        except HypernodeError:
            if tracked.state == "completed":
                raise
            tracked.give_up_output()  # nothing was paid, so nothing was kept: the failure is all
            return
        message, data = submitter_decoder.decode(frame)
        if not isinstance(message, JobOutput) or message.id != tracked.id:
            raise error_of("malformed", "the coordinator's answer is not this job's result")
        tracked.complete(message, data)

    async def _submit_many(
        self,
        kind: str | Kernel,
        many: Sequence[JobArguments],
        budget: Amount,
        keys: Sequence[str] | None,
        **options: Any,
    ) -> list[Job | HypernodeError]:
        wishes = await wishes_of(kind, many, keys, **options)
        return await self._submitting.submit(wishes, amount_text(budget), is_new=keys is None)

    @asynccontextmanager
    async def _dial(self) -> AsyncIterator[_Socket]:
        """One WebSocket to the coordinator; its stream is closed whatever happens."""
        parts = urlsplit(socket_url(self.url))
        assert parts.hostname is not None
        port = parts.port or (80 if self.web.tls is None else 443)
        stream: WatchedStream | None = None
        connecting = trio.CancelScope(deadline=trio.current_time() + HEAD_S)
        refusals: list[Exception] = []

        def refuse(error: Exception) -> None:
            refusals.append(error)
            connecting.cancel()

        kinds = (trio_websocket.HandshakeError,)
        try:
            async with kept_apart(self._nursery, kinds, refuse) as nursery:
                with connecting:
                    stream = WatchedStream(
                        await open_stream(parts.hostname, port, self.web.tls),
                        on_end=connecting.cancel,
                    )
                    connection = await trio_websocket.wrap_client_stream(
                        nursery,
                        stream,
                        parts.netloc,
                        parts.path,
                        message_queue_size=_QUEUE_FRAMES,
                        max_message_size=FRAME_BYTES_MAX,
                        receive_buffer_size=_RECEIVE_BYTES,
                    )
                if connecting.cancelled_caught:
                    msg = f"{self.url} does not speak WebSocket, or is busy"
                    raise refusals[0] if refusals else Unreachable(msg)
                yield _Socket(connection)
                with trio.move_on_after(_CLOSE_S):
                    await connection.aclose()
        except (OSError, trio.BrokenResourceError, trio_websocket.HandshakeError) as error:
            msg = f"no connection to {self.url}: {_reason(error)}"
            raise Unreachable(msg) from error
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)


def _grace_s(tracked: Tracked) -> float:
    """How long the next change is waited for before the result is fetched, seconds."""
    if not tracked.is_final:
        return float("inf")
    return RESULT_GRACE_S if tracked.state == "completed" else LOG_GRACE_S


class _Socket:
    """trio-websocket's connection, with our one exception."""

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, frame: str | bytes) -> None:
        await self._do(self._connection.send_message, frame)

    async def receive(self) -> str | bytes:
        frame: str | bytes = await self._do(self._connection.get_message)
        return frame

    async def ping(self) -> None:
        await self._do(self._connection.ping)

    async def _do(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        try:
            return await call(*args)
        except (trio_websocket.ConnectionClosed, LocalProtocolError) as error:
            # The second: the peer's closing frame is being answered at this moment.
            raise Unreachable(_reason(error)) from error


def _reason(error: Exception) -> str:
    """One line about why a connection ended."""
    if isinstance(error, trio_websocket.ConnectionRejected):
        return said_in(error.status_code, error.body or b"")
    if isinstance(error, trio_websocket.ConnectionClosed) and error.reason is not None:
        return f"the connection closed ({error.reason.code} {error.reason.reason or ''})".strip()
    return why_untrusted(error) or str(error) or str(error.__cause__ or type(error).__name__)
