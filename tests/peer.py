"""The other end of a WebSocket, which says whatever a test wants: lawful or not.

In:   a client's WebSocket.
Out:  what the coordinator answered, as plain dictionaries, and how it closed.
Not here: honest agents and submitters (`house.py`); this one knows the way in only so that tests
can misbehave behind it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import trio
import trio_websocket as tw

from coordinator.protocol import messages as m
from coordinator.protocol.codec import encode
from coordinator.protocol.handshake import AgentHandshake
from coordinator.protocol.signing import Keypair
from tests.house import House

#: For one answer; nothing here waits that long unless something is wrong.
ANSWER_S = 5.0


class End(NamedTuple):
    """How a connection ended: the codes of its `error` messages, and the WebSocket's own."""

    codes: list[str]
    close: int


class Peer:
    """One connection."""

    def __init__(self, socket: tw.WebSocketConnection) -> None:
        self.socket = socket
        self.node = ""
        self.session_key = ""
        #: Everything that was said here, for whoever wants to say it again.
        self.said: list[str | bytes] = []

    # ---- words ---------------------------------------------------------------------------------

    async def say(self, frame: str | bytes | m.AnyMessage, data: bytes = b"") -> None:
        """Send a frame, or a message of ours."""
        raw = encode(frame, data) if isinstance(frame, m.Message) else frame
        self.said.append(raw)
        await self.socket.send_message(raw)

    async def hear(self) -> tuple[dict[str, Any], bytes]:
        """The next message, and its data section."""
        with trio.fail_after(ANSWER_S):
            frame = await self.socket.get_message()
        if isinstance(frame, str):
            return msgspec.json.decode(frame), b""
        length = int.from_bytes(frame[:4], "little")
        return msgspec.json.decode(frame[4 : 4 + length]), frame[4 + length :]

    async def expect(self, *types: str) -> dict[str, Any]:
        """The next message of one of these types; what comes before it is passed over."""
        while True:
            message, _data = await self.hear()
            if message["type"] in types:
                return message
            assert message["type"] != "error", message

    async def end(self) -> End:
        """Listen until the coordinator closes."""
        codes: list[str] = []
        while True:
            try:
                message, _data = await self.hear()
            except tw.ConnectionClosed as closed:
                # The library's client leaves its stream open when the other end closed first.
                await trio.aclose_forcefully(self.socket._stream)
                return End(codes, closed.reason.code if closed.reason else 0)
            if message["type"] == "error":
                codes.append(message["code"])

    # ---- ways in -------------------------------------------------------------------------------

    async def greet(self, node_key: Keypair) -> tuple[AgentHandshake, m.Challenge]:
        """`hello`, up to the coordinator's challenge."""
        handshake = AgentHandshake(node_key, secrets.token_bytes(32))
        await self.say(handshake.hello())
        challenge = msgspec.convert(await self.expect("challenge"), m.Challenge)
        return handshake, challenge

    async def register(self, node_key: Keypair, token: str = "") -> None:
        """Become a node."""
        handshake, challenge = await self.greet(node_key)
        await self.say(handshake.answer(challenge, token=token))
        self._note(await self.expect("registered"))

    async def register_as_seed(self, token: str) -> None:
        await self.say(m.Register(token))
        self._note(await self.expect("registered"))

    def _note(self, registered: dict[str, Any]) -> None:
        self.node, self.session_key = registered["nodeId"], registered["sessionKey"]

    async def offer(self, inventory: m.Inventory) -> None:
        """Say what this node can do; jobs come after that."""
        await self.say(inventory)
        await self.say(m.Resume())
        await self.expect("resumed")

    async def open(self, bearer: str) -> None:
        """Become a submitter."""
        await self.say(m.Open(bearer))
        await self.expect("opened")

    async def submit(self, spec: bytes, budget: str = "1", key: str = "") -> str:
        """One job; its id."""
        job = m.Submission(key or secrets.token_hex(8), msgspec.Raw(spec), budget)
        await self.say(m.Submit([job], 1))
        answer = (await self.expect("submitted"))["jobs"][0]
        job_id: str = answer["id"]
        return job_id

    async def job(self) -> dict[str, Any]:
        """The next job that this node is given."""
        jobs: list[dict[str, Any]] = (await self.expect("jobs"))["jobs"]
        (job,) = jobs
        return job

    async def answer(self, result: m.ResultItem, data: bytes = b"") -> str:
        """Send one result; the code of its acknowledgement."""
        await self.say(m.Results([result]), data)
        ack = (await self.expect("acks"))["acks"][0]
        code: str = ack.get("code", "accepted")
        return code


@asynccontextmanager
async def dialled(house: House, *, queue: int = 1000) -> AsyncIterator[Peer]:
    """A connection over TCP for the time of a block; `queue` frames are read ahead."""
    stream = await trio.open_tcp_stream("127.0.0.1", house.port)
    async with trio.open_nursery() as nursery:
        try:
            socket = await tw.wrap_client_stream(
                nursery, stream, "127.0.0.1", "/", message_queue_size=queue
            )
            yield Peer(socket)
        finally:
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


async def knock(house: House, **headers: str) -> tuple[int, str]:
    """Ask for a WebSocket that is refused: the answer's status, and the code in its body."""
    lines = [
        "GET / HTTP/1.1", f"Host: 127.0.0.1:{house.port}", "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]  # fmt: skip
    async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        with trio.fail_after(ANSWER_S):
            answer = b"".join([piece async for piece in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    code: str = msgspec.json.decode(body)["code"]
    return int(head.split(b" ")[1]), code
