"""Light peers of a coordinator: real WebSockets, real messages, and as little work as possible.

An agent answers a search over one nonce with its hash, which it makes on the spot (2 µs); a
submitter sends specifications that all differ and counts what comes back.
Rules:
  1. What they say is what our own agents and clients say: handshake, inventory, resume, results
     with roots, counter-signed receipts; open, submit.
  2. Nothing is kept on disk here: the coordinator is measured, not its peers.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, Final

import msgspec
import trio
import trio_websocket as tw

from coordinator.limits import (
    AGENT_WINDOW_MAX,
    FRAME_BYTES_MAX,
    HEARTBEAT_S,
    ITEMS_PER_MESSAGE_MAX,
    KIB,
)
from coordinator.protocol import messages as m
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.handshake import NONCE_BYTES, AgentHandshake
from coordinator.protocol.receipts import node_text
from coordinator.protocol.session import Role, Session
from coordinator.protocol.signing import Keypair, generate
from coordinator.workloads.hashsearch import leading_zeros

#: A search over one nonce; the price is set so that it has a fee.
SPEC_HEAD: Final = b'{"kind":"hashsearch","params":{"prefix":"","start":'
SPEC_TAIL: Final = b',"count":1,"target_bits":200}}'
BUDGET: Final = "0.01"
_QUEUE_FRAMES: Final = 256
_RECEIVE_BYTES: Final = 64 * KIB


def spec_of(start: int) -> bytes:
    """A specification of which there is only one."""
    return SPEC_HEAD + str(start).encode() + SPEC_TAIL


class Peer:
    """One connection: messages instead of frames."""

    def __init__(self, ws: Any, role: Role) -> None:
        self._ws = ws
        self._session = Session(role)

    async def send(self, message: m.AnyMessage, data: bytes = b"") -> None:
        await self._ws.send_message(self._session.send(message, data))

    async def receive(self) -> m.AnyMessage:
        """The next message.

        Raises:
            ProtocolError: the coordinator complained.
        """
        message, _ = self._session.receive(await self._ws.get_message())
        if isinstance(message, m.Error):
            raise ProtocolError(message.code, message.message)
        return message


@asynccontextmanager
async def connected(url: str, role: Role) -> AsyncIterator[Peer]:
    """A peer at a `ws://` address."""
    async with tw.open_websocket_url(
        url,
        message_queue_size=_QUEUE_FRAMES,
        max_message_size=FRAME_BYTES_MAX,
        receive_buffer_size=_RECEIVE_BYTES,
    ) as ws:
        yield Peer(ws, role)


class LightAgent:
    """An agent that answers at once, `batch` results a message at most, then waits for `gap_s`."""

    def __init__(self, url: str, token: str, *, batch: int, gap_s: float = 0.0) -> None:
        self._url = url
        self._token = token
        self._batch = batch
        self._gap_s = gap_s
        self._node_key: Keypair = generate()
        self._coordinator_key = b""
        self._due: deque[m.JobItem] = deque()
        self._wake = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Register, then answer for ever."""
        async with connected(self._url, Role.AGENT) as peer:
            await self._register(peer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._answer, peer)
                nursery.start_soon(self._beat, peer)
                task_status.started()
                while True:
                    await self._take(peer, await peer.receive())

    async def _register(self, peer: Peer) -> None:
        handshake = AgentHandshake(self._node_key, secrets.token_bytes(NONCE_BYTES))
        await peer.send(handshake.hello())
        challenge = await peer.receive()
        assert isinstance(challenge, m.Challenge)
        await peer.send(handshake.answer(challenge, token=self._token))
        assert isinstance(await peer.receive(), m.Registered)
        assert handshake.coordinator_key is not None
        self._coordinator_key = handshake.coordinator_key
        device = m.Device(uuid="cpu", name="a light CPU", backend="cpu")
        await peer.send(
            m.Inventory([device], ["hashsearch"], sandbox=0, slots=256, window=AGENT_WINDOW_MAX)
        )
        await peer.send(m.Resume())
        assert isinstance(await peer.receive(), m.Resumed)

    async def _beat(self, peer: Peer) -> None:
        while True:
            await trio.sleep(HEARTBEAT_S)
            await peer.send(m.Heartbeat())

    async def _take(self, peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Jobs):
            self._due.extend(message.jobs)
            self._wake.set()
        elif isinstance(message, m.Receipts):
            for batch in message.batches:
                root = bytes.fromhex(batch.root)
                text = node_text(self._coordinator_key, batch.batch, batch.count, root)
                signature = encode_base64url(self._node_key.sign(text))
                await peer.send(m.ReceiptsSigned(batch.batch, signature))
        elif isinstance(message, m.Acks):
            refused = [ack.code for ack in message.acks if ack.code != "accepted"]
            assert not refused, f"a right result was refused: {refused}"

    async def _answer(self, peer: Peer) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._due:
                count = min(self._batch, len(self._due), ITEMS_PER_MESSAGE_MAX)
                await peer.send(*results_of([self._due.popleft() for _ in range(count)]))
            if self._gap_s:
                await trio.sleep(self._gap_s)


def results_of(items: list[m.JobItem]) -> tuple[m.Results, bytes]:
    """The right results of these jobs in one message, and its data."""
    results = []
    data = bytearray()
    for item in items:
        spec = bytes(item.spec)
        start = int(spec[len(SPEC_HEAD) : -len(SPEC_TAIL)])
        bits = leading_zeros(sha256(start.to_bytes(8, "little")).digest())
        best = start.to_bytes(8, "little") + bits.to_bytes(8, "little")
        arrays = [
            m.Array("uint64", [0], 0, offset=len(data)),
            m.Array("uint64", [1, 2], 16, offset=len(data)),
        ]
        data += best
        root = output_root((b"", best)).hex()
        results.append(m.ResultItem(item.id, item.fence, "completed", outputs=arrays, root=root))
    return m.Results(results), bytes(data)


class LightSubmitter:
    """A submitter's connection: sends what it is told to, counts what comes back."""

    def __init__(self, url: str, bearer: str, numbers: Callable[[], int]) -> None:
        self._url = url
        self._bearer = bearer
        self._numbers = numbers
        self._peer: Peer
        self._refs = 0
        #: When each unanswered submission was due, by its reference; then by job.
        self._due_by_ref: dict[int, float] = {}
        self._due_by_job: dict[str, float] = {}
        #: Jobs completed before their submission was answered: the wire allows it.
        self._early: dict[str, float] = {}
        #: Results that came, with receipts; and the latencies of completed jobs, s.
        self.results = 0
        self.latencies: list[float] = []
        self.open = 0
        self._changed = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Open, then take in what comes for ever."""
        async with connected(self._url, Role.SUBMITTER) as peer:
            self._peer = peer
            await peer.send(m.Open(bearer=self._bearer))
            assert isinstance(await peer.receive(), m.Opened)
            task_status.started()
            while True:
                self._take(await peer.receive())

    async def submit(self, count: int, due: float) -> None:
        """Submit so many jobs in one message; their latency counts from `due`."""
        jobs = []
        for _ in range(count):
            number = self._numbers()
            jobs.append(m.Submission(str(number), msgspec.Raw(spec_of(number)), BUDGET))
        self._refs += 1
        self._due_by_ref[self._refs] = due
        self.open += count
        await self._peer.send(m.Submit(jobs, self._refs))

    async def changed(self) -> None:
        """Wait until a result has come."""
        await self._changed.wait()

    def _take(self, message: m.AnyMessage) -> None:
        match message:
            case m.Submitted():
                self._note_ids(message)
            case m.Update():
                now = trio.current_time()
                for update in message.jobs:
                    self._note_update(update, now)
            case m.JobOutput():
                assert message.receipt is not None, "a paid result has its receipt"
                self.results += 1
                self.open -= 1
                self._changed.set()
                self._changed = trio.Event()

    def _note_ids(self, message: m.Submitted) -> None:
        due = self._due_by_ref.pop(message.ref)
        for answer in message.jobs:
            assert answer.id, f"a submission was refused: {answer.code}"
            ended = self._early.pop(answer.id, None)
            if ended is None:
                self._due_by_job[answer.id] = due
            else:
                self.latencies.append(ended - due)

    def _note_update(self, update: m.JobUpdate, now: float) -> None:
        if update.state == "completed":
            due = self._due_by_job.pop(update.id, None)
            if due is None:
                self._early[update.id] = now
            else:
                self.latencies.append(now - due)
        assert update.state not in {"failed", "cancelled"}, f"a job failed: {update}"
