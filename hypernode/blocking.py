"""The same client for plain programs: every call blocks until it is answered.

One background thread runs Trio and the asynchronous client; calls enter it through Trio's own
door for threads. The thread starts at the first call and ends with `close`, at the end of a `with`
block, or with the program. Safe to use from several threads.
Not here: what the calls mean (`client.py` documents each one).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import trio

from coordinator.protocol.messages import Price
from coordinator.protocol.signing import Keypair
from coordinator.protocol.spec import Limits
from hypernode.answers import Account, JobInfo, Withdrawn
from hypernode.client import AsyncClient
from hypernode.job import Job as AsyncJob
from hypernode.kernels import Kernel
from hypernode.result import Result
from hypernode.submission import Amount
from hypernode.wishes import JobArguments

T = TypeVar("T")


class _Portal:
    """A thread with Trio and one open `AsyncClient`."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self._stop = trio.Event()
        started: SimpleQueue[trio.lowlevel.TrioToken | BaseException] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._main, args=(started,), name="hypernode-client", daemon=True
        )
        self._thread.start()
        token = started.get()
        if isinstance(token, BaseException):
            raise token
        self._token = token

    def _main(self, started: SimpleQueue[trio.lowlevel.TrioToken | BaseException]) -> None:
        async def serve() -> None:
            async with self.client:
                started.put(trio.lowlevel.current_trio_token())
                await self._stop.wait()

        try:
            trio.run(serve)
        except BaseException as error:  # noqa: BLE001 (it is handed to the thread that waits)
            started.put(error)

    def call(self, ask: Callable[..., Awaitable[T]], *args: Any) -> T:
        result: T = trio.from_thread.run(ask, *args, trio_token=self._token)
        return result

    def close(self) -> None:
        try:
            self._token.run_sync_soon(self._stop.set)
        except trio.RunFinishedError:
            return
        self._thread.join(timeout=5)


class Job:
    """A submitted job (see `hypernode.job.Job`); its calls block."""

    def __init__(self, client: Client, job: AsyncJob) -> None:
        self._client = client
        self._job = job
        self.id = job.id
        self.key = job.key
        self.price = job.price

    def __repr__(self) -> str:
        return repr(self._job)

    @property
    def state(self) -> str:
        """The state as far as we heard."""
        return self._job.state

    @property
    def progress(self) -> float | None:
        """From 0 to 1, if the agent tells."""
        return self._job.progress

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait for the end, whatever it is; the final state."""
        return self._client.call(self._job.wait, timeout_s)

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the result; raises what `hypernode.job.Job.result` raises."""
        return self._client.call(self._job.result, timeout_s)

    def logs(self, *, follow: bool = True) -> Iterator[str]:
        """Pieces of the job's log, until its end (see `hypernode.job.Job.logs`)."""
        return self._client.logs(self.id, follow=follow)

    def cancel(self) -> None:
        """Stop the job; `TooLate` if it has ended."""
        self._client.call(self._job.cancel)


class Client:
    """A submitter's connection to one coordinator, for programs without an event loop.

    Args:
        url: `http(s)://` or `ws(s)://`; by default `$HYPERNODE_URL`, else this machine's port 3001.
        keypair: The wallet that pays: a Solana key file's path, or a `Keypair`; by default
            `$HYPERNODE_KEYPAIR`, else `~/.config/hypernode/wallet.json`.
        timeout_s: For one question to the coordinator.
        patience_s: For a coordinator that went away, before waiting calls end with `Unreachable`.
        ca: Certificates of the authorities (PEM) that are believed under TLS, by default
            `$HYPERNODE_CA`, else the system's.

    Example:
        >>> with Client("http://127.0.0.1:3001") as client:  # doctest: +SKIP
        ...     job = client.submit("render", width=640, height=360, budget="0.02")
        ...     print(job.result().output.shape)
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
        self._connect = partial(
            AsyncClient, url, keypair, timeout_s=timeout_s, patience_s=patience_s, ca=ca
        )
        self._starting = threading.Lock()
        self._portal: _Portal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; open jobs go on. A later call opens a new one."""
        with self._starting:
            portal, self._portal = self._portal, None
        if portal is not None:
            portal.close()

    def call(self, ask: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run one asynchronous call of the client in its thread."""
        return self._open().call(ask, *args)

    def _open(self) -> _Portal:
        with self._starting:
            if self._portal is None:
                self._portal = _Portal(self._connect())
                weakref.finalize(self, self._portal.close)
            return self._portal

    def submit(
        self,
        kind: str | Kernel,
        params: Mapping[str, Any] | None = None,
        *,
        budget: Amount,
        **options: Any,
    ) -> Job:
        """Submit one job; options and further parameters as in `AsyncClient.submit`."""
        client = self._open().client

        async def submit() -> AsyncJob:
            return await client.submit(kind, params, budget=budget, **options)

        return Job(self, self.call(submit))

    def submit_many(
        self, kind: str | Kernel, many: Iterable[JobArguments], *, budget: Amount, **options: Any
    ) -> list[Job]:
        """Submit jobs of one kind together (see `AsyncClient.submit_many`)."""
        client = self._open().client

        async def submit() -> list[AsyncJob]:
            return await client.submit_many(kind, many, budget=budget, **options)

        return [Job(self, job) for job in self.call(submit)]

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
    ) -> Iterator[Any]:
        """Results of many jobs, one after the other (see `AsyncClient.map`)."""
        stream = self._open().client.map(
            kind,
            many,
            budget=budget,
            order=order,
            errors=errors,
            max_in_flight=max_in_flight,
            **options,
        )
        try:
            while True:
                try:
                    yield self.call(stream.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            self.call(stream.aclose)

    def quote(
        self,
        kind: str | Kernel,
        params: Mapping[str, Any] | None = None,
        *,
        limits: Limits | None = None,
        timeout_s: int | None = None,
        **more: Any,
    ) -> Price:
        """What a job would cost now; needs no wallet."""
        client = self._open().client

        async def quote() -> Price:
            return await client.quote(kind, params, limits=limits, timeout_s=timeout_s, **more)

        return self.call(quote)

    def result(self, job: Job | str, timeout_s: float | None = None) -> Result:
        """The result of a job, also of one that was submitted elsewhere (by its id)."""
        job_id = job if isinstance(job, str) else job.id
        return self.call(self._open().client.result, job_id, timeout_s)

    def logs(self, job: Job | str, *, follow: bool = True) -> Iterator[str]:
        """Pieces of a job's log (see `hypernode.job.Job.logs`)."""
        job_id = job if isinstance(job, str) else job.id
        stream = self._open().client.logs(job_id, follow=follow)
        while True:
            try:
                yield self.call(stream.__anext__)
            except StopAsyncIteration:
                return

    def cancel(self, job: Job | str) -> None:
        """Stop a job; `TooLate` if it has ended."""
        self.call(self._open().client.cancel, job if isinstance(job, str) else job.id)

    def jobs(self) -> list[JobInfo]:
        """This wallet's newest jobs."""
        return self.call(self._open().client.jobs)

    def job(self, job: str) -> JobInfo:
        """One job by its id."""
        return self.call(self._open().client.job, job)

    def account(self) -> Account:
        """This wallet's money at the coordinator."""
        return self.call(self._open().client.account)

    def faucet(self, amount: Amount, key: str | None = None) -> Account:
        """Development money, where the coordinator's faucet is on."""
        return self.call(self._open().client.faucet, amount, key)

    def withdraw(self, amount: Amount, key: str | None = None, ledger: str = "") -> Withdrawn:
        """Take unspent credit back by the next root (see `SettlementWeb.withdraw`)."""
        return self.call(self._open().client.withdraw, amount, key, ledger)
