"""`python -m benchmarks.schedulers.on_ours FOLDER real|light`: a coordinator and two agents.

The coordinator is durable (SQLite, `synchronous=FULL`), verifies each result by recomputing it,
pays it and signs receipts. Real agents are the package `agent`: our own kernel in a sandboxed
worker process each; light ones answer at once (`light_agents.py`), so that the agents' own work is
left out. Tasks are submitted by the asynchronous client, `batch` jobs a call, all of a chunk in
flight; results are arrays.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks.house import DATABASE, audit, coordinator_in
from benchmarks.join import Joins
from benchmarks.schedulers.driver import Voice, drive
from benchmarks.schedulers.processes import started
from coordinator.protocol.signing import generate
from hypernode.children import running
from hypernode.client import AsyncClient
from hypernode.result import Result
from hypernode.web import Web
from onchain.address import encode_address

_BUDGET: Final = "0.01"
_CREDIT: Final = "1000000"
_START_S: Final = 180.0
#: Calls of the client that are open at once, where a call has one job: as many as people run.
_CALLS_MAX: Final = 128


class Ours:
    """A client, seen from the driver's thread."""

    def __init__(self, client: AsyncClient, coordinator: int) -> None:
        self._client = client
        self.processes = [coordinator]

    def many(self, numbers: list[int], batch: int) -> list[list[int]]:
        answers: list[list[int]] = trio.from_thread.run(self._many, numbers, batch)
        return answers

    def one(self, number: int) -> list[int]:
        answer: list[int] = trio.from_thread.run(self._one, number)
        return answer

    async def _one(self, number: int) -> list[int]:
        job = await self._client.submit("hashsearch", _params(number), budget=_BUDGET)
        return _answer(await job.result())

    async def _many(self, numbers: list[int], batch: int) -> list[list[int]]:
        answers: dict[int, list[int]] = {}
        parts = [numbers[at : at + batch] for at in range(0, len(numbers), batch)]
        left = iter(parts)

        async def call() -> None:
            for part in left:
                many = [_params(number) for number in part]
                jobs = await self._client.submit_many("hashsearch", many, budget=_BUDGET)
                for number, job in zip(part, jobs, strict=True):
                    answers[number] = _answer(await job.result())

        async with trio.open_nursery() as nursery:
            for _ in range(min(_CALLS_MAX, len(parts))):
                nursery.start_soon(call)
        return [answers[number] for number in numbers]


def _params(number: int) -> dict[str, Any]:
    return {"prefix": "", "start": number, "count": 1, "target_bits": 200}


def _answer(result: Result) -> list[int]:
    _hits, best = result.outputs
    return [int(each) for each in best.reshape(2)]


@asynccontextmanager
async def _real_agents(folder: Path, url: str) -> AsyncIterator[None]:
    """Two agents of the package `agent`, each of its own wallet, both ready."""
    joins, wallets = Joins(url), [generate(), generate()]
    async with AsyncExitStack() as stack:
        for number, wallet in enumerate(wallets):
            token = folder / f"agent-{number}.token"
            token.touch(mode=0o600)
            token.write_text(await joins.token_of(wallet), encoding="ascii")
            await stack.enter_async_context(running(
                f"agent-{number}",
                ("agent", "--url", url, "--token-file", str(token), "--devices", "cpu",
                 "--state-dir", str(folder / f"agent-{number}"), "--log-json"),
                folder,
            ))  # fmt: skip
        await _ready(url, [encode_address(wallet.address) for wallet in wallets])
        yield


async def _ready(url: str, wallets: Sequence[str]) -> None:
    """Wait until a node of each wallet has said what it can do."""
    with trio.fail_after(_START_S):
        async with Web(url, None) as web:
            for wallet in wallets:
                while not any(node.kinds for node in await web.nodes(wallet)):  # noqa: ASYNC110
                    await trio.sleep(0.3)


@asynccontextmanager
async def _light_agents(folder: Path, url: str) -> AsyncIterator[None]:
    """Two agents that answer at once, in one process."""
    tokens = await Joins(url).tokens(2)
    socket_url = url.replace("http", "ws", 1)
    command = [sys.executable, "-m", "benchmarks.light_agents", socket_url, *tokens]
    with started(command, folder):
        yield


async def main(folder: Path, kind: str) -> None:
    """Start, obey, and look at the books."""
    voice = Voice()
    agents = {"real": _real_agents, "light": _light_agents}[kind]
    async with (
        coordinator_in(folder) as (child, url),
        agents(folder, url),
        AsyncClient(url, generate()) as client,
    ):
        await client.faucet(_CREDIT)
        await trio.to_thread.run_sync(drive, Ours(client, child.pid), voice)
    audit(folder / DATABASE)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2])
