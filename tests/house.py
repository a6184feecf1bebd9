"""A whole coordinator on a port of this machine, and honest people who use it.

In:   a folder for its database, flags of the configuration.
Out:  a `House` to dial; a `Market` with an agent at work and a submitter signed in; the log.
Rules:
  1. The coordinator is the real one, started as the command line starts it.
  2. An honest agent answers with the workloads' own reference, so that its results are right.
Not here: what the tests do to it; seeded histories (`world.py`).
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251 (an agent's waiting times)
from ssl import SSLContext
from typing import Any

import httpx
import msgspec
import numpy as np
import structlog
import trio

from agent.client import Agent, connect_url
from agent.disk import MemoryDisk, inline
from agent.downloads import HttpDownloader
from agent.inputs import InputCache
from agent.outbox import Outbox
from agent.setup import Setup
from agent.state import State
from agent.task import OnLog, OnProgress, Outcome, OutputData, Runner, Task
from agent.uploads import HttpUploader
from agent.welcome import Unwelcome
from coordinator.clock import SystemClock
from coordinator.config import load_config
from coordinator.log import configure_log
from coordinator.main import run_coordinator
from coordinator.notify import Notifier
from coordinator.protocol.arrays import AnyArray, to_wire
from coordinator.protocol.commitment import output_root
from coordinator.protocol.messages import Device, HostInfo, Inventory
from coordinator.protocol.signing import Keypair, encode_signature, generate
from coordinator.protocol.spec import decode_spec
from coordinator.protocol.trust import client_context
from coordinator.signals import Drain
from coordinator.workloads.catalogue import get
from hypernode.client import AsyncClient
from onchain.address import encode_address

#: HYPER in a new submitter's account.
CREDIT = "100"


@dataclass
class Log:
    """What the house wrote, a line each."""

    stream: io.StringIO = field(default_factory=io.StringIO)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def said(self, code: str) -> int:
        """Lines that name a code."""
        return sum(line.get("code") == code for line in self.lines())

    def failures(self) -> list[dict[str, Any]]:
        """Lines that say that something of our own went wrong, or that carry a traceback."""
        return [
            line
            for line in self.lines()
            if line["level"] in {"error", "critical"} or "exception" in line
        ]

    def forget(self) -> None:
        self.stream.seek(0)
        self.stream.truncate()


@contextmanager
def captured_log() -> Iterator[Log]:
    """The log of everything in this process, for the time of a block."""
    log, before = Log(), structlog.get_config()
    structlog.reset_defaults()
    configure_log(json_lines=True, stream=log.stream)
    try:
        yield log
    finally:
        structlog.configure(**before)


async def until(is_so: Callable[[], object], seconds: float = 5.0) -> None:
    """Look until something is so that has no event of its own."""
    with trio.fail_after(seconds):
        while not is_so():  # noqa: ASYNC110
            await trio.sleep(0.005)


@dataclass
class House:
    """A coordinator that listens."""

    port: int
    nursery: trio.Nursery
    #: Certificates to trust, where it speaks TLS.
    ca: Path | None = None
    is_tls: bool = False
    #: Set when the coordinator has ended by itself, after a drain.
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http{'s' if self.is_tls else ''}://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws{self.url.removeprefix('http')}/"

    @property
    def tls(self) -> SSLContext | None:
        return client_context(self.ca) if self.ca else None

    def http(self, bearer: str = "") -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return httpx.AsyncClient(
            base_url=self.url, trust_env=False, headers=headers, verify=self.tls or True
        )

    async def proof(self, path: str, keypair: Keypair, **query: str) -> dict[str, str]:
        """A signed challenge."""
        wallet = encode_address(keypair.address)
        async with self.http() as http:
            answer = await http.get(path, params={"wallet": wallet, **query})
        challenge = answer.json()
        signature = encode_signature(keypair.sign(challenge["message"].encode()))
        return {"wallet": wallet, "nonce": challenge["nonce"], "signature": signature}

    async def _bought(self, path: str, proof: Mapping[str, str], name: str) -> str:
        async with self.http() as http:
            answer = await http.post(path, json=dict(proof))
        text: str = answer.json()[name]
        return text

    async def token(self, keypair: Keypair, node_key: bytes = b"") -> str:
        """A token of this wallet's; with a node key, a delegation."""
        query = {"node": encode_address(node_key)} if node_key else {}
        proof = await self.proof("/api/nodes/challenge", keypair, **query)
        return await self._bought("/api/nodes/issue-token", proof, "token")

    async def bearer(self, keypair: Keypair, scope: str = "wallet") -> str:
        """A session of this wallet's."""
        proof = await self.proof("/api/session/challenge", keypair, scope=scope)
        return await self._bought("/api/session", proof, "bearer")


@asynccontextmanager
async def open_house(
    folder: Path,
    *,
    ca: Path | None = None,
    drain: Drain | None = None,
    notifier: Notifier | None = None,
    **flags: Any,
) -> AsyncIterator[House]:
    """Run a coordinator for the time of a block; it ends without a word, as a crash does.

    Args:
        folder: Of its database.
        ca: Certificates that its peers trust, where it gets one.
        drain: Ends it in good order, whenever the test begins it.
        notifier: Whom it tells how it goes.
        flags: Further settings.
    """
    settings = {
        "port": 0, "db": str(folder / "house.db"), "faucet": True, "withhold_hours": 0,
        "connections_per_address": 1000,
    }  # fmt: skip
    config = load_config({**settings, **flags}, {}, None)
    opened, port = trio.open_memory_channel[int](1)
    ended = trio.Event()

    async def run() -> None:
        await run_coordinator(config, drain or Drain(), ready=opened.send_nowait, notifier=notifier)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield House(await port.receive(), nursery, ca, config.tls_cert is not None, ended)
        nursery.cancel_scope.cancel()


# ---- honest agents ------------------------------------------------------------------------------


def reference(kind: str, params: bytes) -> list[AnyArray]:
    """The right outputs of a job, computed block by block."""
    workload = get(kind)
    decoded = workload.decode(params)
    blocks = [workload.reference(decoded, block) for block in range(workload.blocks(decoded))]
    columns = zip(*blocks, strict=True)
    schema = workload.schema(decoded)
    return [
        np.concatenate(parts) if output.shape == (None,) else np.stack(parts)
        for output, parts in zip(schema, columns, strict=True)
    ]


class HonestRunner:
    """Computes in process what it is given; `gate`, if closed, holds every job."""

    slots = 2

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.gate.set()
        #: Jobs that began here.
        self.began: list[Task] = []

    async def run(
        self, task: Task, *, on_log: OnLog | None = None, on_progress: OnProgress | None = None
    ) -> Outcome:
        self.began.append(task)
        await self.gate.wait()
        arrays = self.compute(task)
        outputs = tuple(OutputData(*to_wire(array)) for array in arrays)
        return Outcome("completed", outputs=outputs, root=output_root(o.data for o in outputs))

    def compute(self, task: Task) -> list[AnyArray]:
        return reference(task.kind, bytes(decode_spec(task.spec).params))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def inventory_of(*kinds: str, slots: int = 2) -> Inventory:
    device = Device(uuid="cpu", name="an honest CPU", backend="cpu")
    return Inventory(
        devices=[device], kinds=list(kinds), sandbox=0, worker_sandbox=2, slots=slots, window=16
    )


async def _run(agent: Agent) -> None:
    """An agent that is unwelcome ends alone: `agent.failure` says why."""
    with suppress(Unwelcome):
        await agent.run()


@asynccontextmanager
async def agent_at(
    house: House,
    runner: Runner,
    *kinds: str,
    wallet: Keypair | None = None,
    node_key: Keypair | None = None,
    sandbox: int = 0,
    inputs: Path | None = None,
) -> AsyncIterator[Agent]:
    """A real agent over TCP, with a runner of the test's; `inputs` is its folder for them."""
    uploader = HttpUploader(house.url, tls=house.tls)
    downloader = HttpDownloader(house.url, tls=house.tls)
    inventory = inventory_of(*kinds, slots=runner.slots)
    agent = Agent(
        Setup(
            connect=connect_url(house.ws, house.tls),
            node_key=node_key or generate(),
            token=await house.token(wallet or generate()),
            inventory=msgspec.structs.replace(inventory, sandbox=sandbox),
            runner=runner,
            outbox=await Outbox.load(disk := MemoryDisk(), inline),
            state=await State.load(disk, inline),
            uploader=uploader,
            inputs=None if inputs is None else InputCache(inputs, downloader, Random(0)),
            clock=SystemClock(),
            rng=Random(0),
            host_info=HostInfo(hostname="honest"),
            hop=inline,
        )
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run, agent)
        try:
            yield agent
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await uploader.aclose()
                await downloader.aclose()


# ---- the market ---------------------------------------------------------------------------------


def search(count: int = 100) -> dict[str, Any]:
    """Parameters of a small search that nobody has asked for before."""
    return {"prefix": secrets.token_hex(8), "start": 0, "count": count, "target_bits": 4}


@dataclass
class Market:
    """A house with an honest agent for searches and an honest submitter."""

    house: House
    log: Log
    runner: HonestRunner
    agent: Agent
    client: AsyncClient
    operator: Keypair

    async def prove_alive(self) -> float:
        """An honest job goes through, from end to end; how long it took, seconds."""
        began, params = trio.current_time(), search()
        with trio.fail_after(5):
            job = await self.client.submit("hashsearch", params, budget="1", retries=0)
            result = await job.result()
        for claimed, right in zip(
            result.outputs, reference("hashsearch", json.dumps(params).encode()), strict=True
        ):
            np.testing.assert_array_equal(claimed, right)
        assert result.receipt is not None
        assert result.receipt.verdict == "accepted"
        return trio.current_time() - began


@asynccontextmanager
async def open_market(folder: Path, **flags: Any) -> AsyncIterator[Market]:
    """A market for the time of a block; at its end an honest job must still go through.

    Raises:
        AssertionError: it does not, or the log tells of a failure of our own.
    """
    runner, operator = HonestRunner(), generate()
    with captured_log() as log:
        async with (
            open_house(folder, **flags) as house,
            agent_at(house, runner, "hashsearch", wallet=operator) as agent,
            AsyncClient(house.url, generate(), ca=house.ca) as client,
        ):
            await client.faucet(CREDIT)
            market = Market(house, log, runner, agent, client, operator)
            await market.prove_alive()
            log.forget()
            yield market
            await market.prove_alive()
        assert not log.failures(), log.failures()
