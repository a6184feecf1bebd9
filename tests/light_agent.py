"""An agent whose kernels are a few lines of hashlib: the real one in all else, quick to kill.

`python -m tests.light_agent URL FOLDER TOKEN SEED [AUTHORITIES]`
Real: the wire, the handshake, the session over TCP, the outbox and the state in a folder, signals.
Not here: devices and workers (starting them takes seconds, and a kill is over before).
It keeps two journals beside its state, written through to the disk:
  - `lies`: attempts whose results are wrong, written before the result is in the outbox;
  - `acks`: what the coordinator answered to its results.
"""

from __future__ import annotations

import random  # noqa: TID251 - one seeded generator
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import trio

from agent.client import Agent, connect_url
from agent.disk import FolderDisk, in_thread
from agent.link import Connect, Connection
from agent.main import Ending, node_key_in, run_until_signal
from agent.outbox import Outbox
from agent.setup import Setup
from agent.state import State
from agent.task import OnLog, OnProgress, Outcome, OutputData, Task
from agent.uploads import HttpUploader
from coordinator.clock import SystemClock
from coordinator.log import configure_log
from coordinator.protocol.arrays import to_wire
from coordinator.protocol.codec import agent_decoder
from coordinator.protocol.commitment import output_root
from coordinator.protocol.messages import Acks, Device, HostInfo, Inventory
from coordinator.protocol.spec import decode_spec
from coordinator.protocol.trust import client_context
from coordinator.workloads.hashsearch import HashSearch

#: Seconds that a job takes: most are short; the last one is long enough to be told of.
TIMES_S = (*(0.0, 0.0, 0.002, 0.01, 0.03) * 8, 1.3)
LIE = 0.04
INVENTORY = Inventory(
    devices=[Device(uuid="cpu", name="a light CPU", backend="cpu")],
    kinds=["command", "hashsearch"],
    # It runs no command: what it says is that it might.
    sandbox=2,
    worker_sandbox=2,
    slots=8,
    window=64,
)


class Journal:
    """Lines in a file; each is durable when `write` returns."""

    def __init__(self, folder: Path, name: str) -> None:
        self._disk = FolderDisk(folder / "journals")
        self._name = name

    async def write(self, *words: object) -> None:
        line = msgspec.json.encode(words) + b"\n"
        await in_thread(lambda: self._disk.append(self._name, line))

    def lines(self) -> Iterator[list[str | int]]:
        """What was written, by any process that had this folder."""
        for line in (self._disk.read(self._name) or b"").splitlines():
            yield msgspec.json.decode(line, type=list[str | int])


class Impatient(random.Random):
    """Waits of a second at most before the coordinator is dialled again, where others take thirty.

    Why: with longer ones most kills of the coordinator would meet it without an agent.
    """

    def random(self) -> float:
        return 0.03 * super().random()


class LightRunner:
    """Computes small searches with hashlib; sometimes it lies, and says so in its journal."""

    slots = INVENTORY.slots

    def __init__(self, lies: Journal, rng: random.Random) -> None:
        self._lies = lies
        self._rng = rng

    async def run(
        self, task: Task, *, on_log: OnLog | None = None, on_progress: OnProgress | None = None
    ) -> Outcome:
        await trio.sleep(self._rng.choice(TIMES_S))
        if task.kind == "command":
            said = OutputData(*to_wire(np.frombuffer(task.job.encode(), dtype=np.uint8)))
            return Outcome("completed", outputs=(said,), root=output_root([said.data]))
        workload = HashSearch()
        params = workload.decode(bytes(decode_spec(task.spec).params))
        hits, best = workload.reference(params, 0)
        if self._rng.random() < LIE:
            best = best + best.dtype.type(1)
            await self._lies.write(task.job, task.fence)
        outputs = tuple(OutputData(*to_wire(array)) for array in (hits, best.reshape(1, 2)))
        return Outcome("completed", outputs=outputs, root=output_root(o.data for o in outputs))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Listener:
    """A connection whose acknowledgements are noted before the agent acts on them."""

    def __init__(self, inner: Connection, acks: Journal) -> None:
        self._inner = inner
        self._acks = acks

    async def send(self, frame: str | bytes) -> None:
        await self._inner.send(frame)

    async def receive(self) -> str | bytes:
        frame = await self._inner.receive()
        message, _ = agent_decoder.decode(frame)
        if isinstance(message, Acks):
            for ack in message.acks:
                await self._acks.write(ack.job, ack.fence, ack.code)
        return frame


def _noted(connect: Connect, acks: Journal) -> Connect:
    @asynccontextmanager
    async def noted() -> AsyncIterator[Connection]:
        async with connect() as connection:
            yield Listener(connection, acks)

    return noted


async def run(url: str, folder: Path, token: str, seed: str, ca: Path | None) -> None:
    """Work until a signal."""
    tls = client_context(ca) if ca else None
    uploader = HttpUploader(url.replace("ws", "http", 1), tls=tls)
    disk = FolderDisk(folder)
    rng = random.Random(seed)
    agent = Agent(
        Setup(
            connect=_noted(connect_url(url, tls), Journal(folder, "acks")),
            node_key=node_key_in(folder),
            token=token,
            inventory=INVENTORY,
            runner=LightRunner(Journal(folder, "lies"), rng),
            outbox=await Outbox.load(disk),
            state=await State.load(disk),
            uploader=uploader,
            clock=SystemClock(),
            rng=Impatient(seed),
            host_info=HostInfo(hostname=folder.name),
        )
    )

    async def live(ending: Ending) -> None:
        ending.agent = agent
        await agent.run()

    await run_until_signal(live)


if __name__ == "__main__":
    configure_log(json_lines=False)
    authorities = Path(sys.argv[5]) if len(sys.argv) > 5 else None
    trio.run(run, sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4], authorities)
