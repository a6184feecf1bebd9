"""The coordinator's end of the wire for agents' tests: real WebSocket, session and proofs over a
memory stream; what it says is the test's script."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from random import Random  # noqa: TID251 (seeded)
from typing import Any, TypeVar

import msgspec
import trio
import trio.testing
from trio_websocket import ConnectionClosed, wrap_server_stream

from agent.client import Agent, connect_stream
from agent.disk import MemoryDisk, inline
from agent.outbox import Outbox
from agent.setup import Setup
from agent.state import State
from agent.task import OnLog, OnProgress, Outcome, OutputData, Task
from agent.uploads import ReadPart
from coordinator.clock import TrioClock
from coordinator.limits import FRAME_BYTES_MAX
from coordinator.protocol import messages as m
from coordinator.protocol.commitment import output_root
from coordinator.protocol.handshake import CoordinatorHandshake
from coordinator.protocol.session import Role, Session
from coordinator.protocol.signin import Realm, build_text, fields_for
from coordinator.protocol.signing import Keypair, from_seed
from coordinator.protocol.spec import Limits, Spec, encode_spec
from coordinator.protocol.token import SignedText, encode_token

M = TypeVar("M")
WALLET, HOUSE, NODE, STRANGER = (from_seed(bytes([i]) * 32) for i in range(1, 5))


def token_for(house: Keypair = HOUSE) -> str:
    """A token that the wallet signed for a coordinator."""
    realm = Realm(house.address, "hyper.example", "https://hyper.example", "mainnet")
    text = build_text(
        fields_for(
            realm,
            wallet=WALLET.address,
            scope="token",
            node_key=b"",
            nonce="ab" * 16,
            issued_ms=1_795_507_200_000,
        )
    )
    return encode_token(SignedText(text, WALLET.sign(text.encode())))


def job(name: str, fence: int = 1, *, kind: str = "matmul", **limits: int) -> m.JobItem:
    spec = encode_spec(Spec(kind=kind, limits=Limits(**limits)))
    return m.JobItem(name, fence, msgspec.Raw(spec), 300)


def outcome(*sizes: int) -> Outcome:
    """A completed outcome with one array of bytes for each size."""
    data = [bytes(size) for size in sizes]
    outputs = tuple(OutputData("uint8", (len(raw),), raw) for raw in data)
    return Outcome("completed", outputs=outputs, root=output_root(data), duration_ms=1)


class ScriptedRunner:
    """Runs what the test says; a job that it does not name ends at once with 8 bytes."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.begun: list[tuple[str, int]] = []
        self.cancelled: list[tuple[str, int]] = []
        self.at_once = 0
        self.at_once_max = 0
        #: By job: where to say how far it is.
        self.tell: dict[str, OnProgress] = {}
        self.scripts: dict[str, Callable[[Task, Callable[[str], None]], Any]] = {}

    def wait(self, name: str, *, then: Outcome | None = None) -> trio.Event:
        """Let a job run until the event is set."""
        event = trio.Event()

        async def script(_task: Task, _on_log: Callable[[str], None]) -> Outcome:
            await event.wait()
            return then or outcome(8)

        self.scripts[name] = script
        return event

    async def run(
        self, task: Task, *, on_log: OnLog | None = None, on_progress: OnProgress | None = None
    ) -> Outcome:
        assert on_log is not None
        assert on_progress is not None
        self.tell[task.job] = on_progress
        self.begun.append((task.job, task.fence))
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            if task.job in self.scripts:
                answer: Outcome = await self.scripts[task.job](task, on_log)
                return answer
            await trio.lowlevel.checkpoint()
            return outcome(8)
        except trio.Cancelled:
            self.cancelled.append((task.job, task.fence))
            raise
        finally:
            self.at_once -= 1

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class MemoryUploader:
    """Keeps blobs; `refuse` and `fail` are answered first."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.bearers: set[str] = set()
        self.answers: list[Exception] = []

    async def put(self, sha256_hex: str, size: int, read_part: ReadPart, *, bearer: str) -> None:
        self.bearers.add(bearer)
        if self.answers:
            await trio.lowlevel.checkpoint()
            raise self.answers.pop(0)
        data = await read_part(0, size)
        assert sha256(data).hexdigest() == sha256_hex
        self.blobs[sha256_hex] = data


class Peer:
    """One connection, seen from the coordinator."""

    def __init__(self, websocket: Any, house: Keypair) -> None:
        self.websocket = websocket
        self.house = house
        self.session = Session(Role.COORDINATOR)
        self.frames: list[int] = []
        self.registers: list[m.Register] = []
        self.inventories: list[m.Inventory] = []
        self.is_mute = False

    async def send(self, message: m.AnyMessage) -> None:
        await self.websocket.send_message(self.session.send(message))

    async def receive(self) -> tuple[m.AnyMessage, bytes]:
        frame = await self.websocket.get_message()
        self.frames.append(len(frame.encode() if isinstance(frame, str) else frame))
        message, data = self.session.receive(frame)
        return message, bytes(data)

    async def expect(self, kind: type[M]) -> M:
        return (await self.expect_data(kind))[0]

    async def expect_data(self, kind: type[M]) -> tuple[M, bytes]:
        """The next message of a kind; heartbeats in between are answered."""
        while True:
            message, data = await self.receive()
            if isinstance(message, kind):
                return message, data
            assert isinstance(message, m.Heartbeat | m.Progress), message
            if isinstance(message, m.Heartbeat) and not self.is_mute:
                await self.send(m.Ack())

    async def challenge(self) -> None:
        """The handshake up to the agent's proof."""
        handshake = CoordinatorHandshake(self.house, bytes(range(32)))
        hello = await self.expect(m.Hello)
        await self.send(handshake.answer(hello))
        register = await self.expect(m.Register)
        assert handshake.check(register) == NODE.address
        self.registers.append(register)

    async def register(self) -> m.Resume:
        """The handshake up to the agent's `resume`."""
        await self.challenge()
        await self.send(m.Registered("node-1-0123456789abcdef", session_key="bearer"))
        self.inventories.append(await self.expect(m.Inventory))
        return await self.expect(m.Resume)

    async def open(self, *, keep: bool = True) -> m.Resume:
        """An open session: everything that the agent holds is kept, or nothing is."""
        resume = await self.register()
        listed = resume.attempts
        await self.send(m.Resumed(listed, []) if keep else m.Resumed([], listed))
        return resume

    async def ack(self, results: m.Results, code: str = "accepted") -> None:
        await self.send(m.Acks([m.AckItem(r.job, r.fence, code) for r in results.results]))

    async def read_on(self) -> None:
        """Answer heartbeats until the connection ends."""
        try:
            await self.expect(m.Quote)
        except ConnectionClosed:
            return

    async def read_on_anything(self) -> None:
        """Take whatever comes, and answer nothing."""
        try:
            while True:
                await self.websocket.get_message()
        except ConnectionClosed:
            return

    async def break_off(self) -> None:
        """The cable is pulled."""
        await trio.aclose_forcefully(self.websocket._stream)


class Host:
    """An agent's whole surroundings: it outlives agents, as a machine does."""

    def __init__(self, nursery: trio.Nursery, *, house: Keypair = HOUSE, slots: int = 1) -> None:
        self.nursery = nursery
        self.house = house
        self.disk = MemoryDisk()
        self.runner = ScriptedRunner(slots)
        self.uploader = MemoryUploader()
        self.is_down = False
        self.opened_at: list[float] = []
        self._peers_in, self.peers = trio.open_memory_channel[Peer](100)
        self._nonces = itertools.count()

    async def open_stream(self) -> trio.abc.Stream:
        self.opened_at.append(trio.current_time())
        if self.is_down:
            await trio.lowlevel.checkpoint()
            msg = "connection refused"
            raise OSError(msg)
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self._accept, theirs)
        return ours

    async def _accept(self, stream: Any) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream, max_message_size=FRAME_BYTES_MAX)
            await self._peers_in.send(Peer(await request.accept(), self.house))

    async def setup(self, **changes: Any) -> Setup:
        parts: Mapping[str, Any] = {
            "connect": connect_stream(self.open_stream),
            "node_key": NODE,
            "token": token_for(),
            "inventory": m.Inventory(
                devices=[m.Device("cpu", "a processor", "cpu")],
                kinds=["matmul", "command"],
                sandbox=1,
                slots=self.runner.slots,
                window=8,
            ),
            "runner": self.runner,
            "outbox": await Outbox.load(self.disk, inline),
            "state": await State.load(self.disk, inline),
            "uploader": self.uploader,
            "clock": TrioClock(0),
            "rng": Random(0),
            "new_nonce": lambda: next(self._nonces).to_bytes(32, "little"),
            "hop": inline,
        }
        return Setup(**{**parts, **changes})

    async def start(self, **changes: Any) -> Agent:
        agent = Agent(await self.setup(**changes))
        self.nursery.start_soon(agent.run)
        return agent

    async def peer(self) -> Peer:
        with trio.fail_after(60):
            return await self.peers.receive()


@asynccontextmanager
async def host(**options: Any) -> AsyncIterator[Host]:
    """Surroundings in which everything ends when the test does."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(3600):
            yield Host(nursery, **options)
        nursery.cancel_scope.cancel()
