"""A coordinator that follows a script: real sign-in, HTTP and WebSocket on one port, no market.

In:   what a test puts on it: answers to HTTP paths, a function for each WebSocket message.
Out:  what the client really sent, in `messages` (over all connections) and `requests`.
Not here: the market; `tests/test_api.py` and the world have it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np
import trio
import trio_websocket

from coordinator.clock import SystemClock, iso
from coordinator.frame_stream import FrameStream
from coordinator.protocol import messages as m
from coordinator.protocol.arrays import AnyArray, to_wire
from coordinator.protocol.commitment import output_root
from coordinator.protocol.receipts import (
    Receipt,
    SignedRoot,
    build_batch,
    coordinator_text,
    to_wire as receipts_to_wire,
)
from coordinator.protocol.session import Role, Session
from coordinator.protocol.signin import Fields, Realm, build_text, fields_for
from coordinator.protocol.signing import Keypair, decode_signature, from_seed, verify
from onchain.address import decode_address, encode_address

WALLET = from_seed(bytes([7]) * 32)
COORDINATOR = from_seed(bytes([9]) * 32)


@dataclass
class Peer:
    """One WebSocket of a client, as the script sees it."""

    socket: trio_websocket.WebSocketConnection
    session: Session

    async def send(self, message: m.AnyMessage, data: bytes = b"") -> None:
        await self.socket.send_message(self.session.send(message, data))

    async def drop(self) -> None:
        """Cut the line without a word."""
        await trio.aclose_forcefully(self.socket._stream)


OnMessage = Callable[[Peer, m.AnyMessage], Awaitable[None]]
Reply = tuple[int, Any]


async def _ignore(peer: Peer, message: m.AnyMessage) -> None:
    """A script that says nothing."""


@dataclass
class Scripted:
    """The script and its record."""

    on_message: OnMessage = _ignore
    #: (method, path) → replies in order; the last one stays.
    routes: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)
    messages: list[m.AnyMessage] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    bearers: set[str] = field(default_factory=set)
    #: Changes a challenge before it is sent, as a dishonest coordinator would.
    twist: Callable[[dict[str, Any]], None] = lambda _challenge: None
    port: int = 0
    #: Every new connection ends before a word: the coordinator went away.
    is_gone: bool = False
    _nonces: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, kind: type[Any]) -> int:
        return sum(isinstance(message, kind) for message in self.messages)

    # ---- HTTP ---------------------------------------------------------------------------------

    def reply(self, method: str, target: str, body: bytes) -> Reply:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.requests.append((method, parts.path))
        if parts.path in {"/api/session/challenge", "/api/nodes/challenge"}:
            return 200, self._challenge(query)
        if (method, parts.path) == ("POST", "/api/session"):
            return self._open_session(msgspec.json.decode(body))
        replies = self.routes.get((method, parts.path))
        if not replies:
            return 404, {"error": "There is no such thing.", "code": "not_found"}
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def _challenge(self, query: dict[str, str]) -> dict[str, Any]:
        realm = Realm(COORDINATOR.address, f"127.0.0.1:{self.port}", self.url, "localnet")
        nonce = secrets.token_hex(8)
        fields = fields_for(
            realm,
            wallet=decode_address(query["wallet"]),
            scope=query.get("scope", "token"),  # type: ignore[arg-type]
            node_key=decode_address(query["node"]) if "node" in query else b"",
            nonce=nonce,
            issued_ms=SystemClock().wall_ms(),
        )
        self._nonces[nonce] = build_text(fields)
        challenge = {
            "message": build_text(fields),
            "fields": msgspec.to_builtins(fields),
            "nonce": nonce,
            "expiresAt": iso(SystemClock().wall_ms() + 600_000),
        }
        self.twist(challenge)
        return challenge

    def _open_session(self, proof: dict[str, str]) -> Reply:
        text = self._nonces.pop(proof["nonce"])
        verify(decode_address(proof["wallet"]), text.encode(), decode_signature(proof["signature"]))
        bearer = secrets.token_hex(16)
        self.bearers.add(bearer)
        session = {"bearer": bearer, "scope": "wallet", "wallet": proof["wallet"]}
        return 200, {**session, "expiresAt": iso(SystemClock().wall_ms() + 600_000)}

    # ---- WebSocket ----------------------------------------------------------------------------

    async def converse(self, socket: trio_websocket.WebSocketConnection) -> None:
        peer = Peer(socket, Session(Role.COORDINATOR))
        while True:
            message, _data = peer.session.receive(await socket.get_message())
            self.messages.append(message)
            if not isinstance(message, m.Open):
                await self.on_message(peer, message)
            elif message.bearer in self.bearers:
                key = encode_address(COORDINATOR.address)
                await peer.send(m.Opened(encode_address(WALLET.address), "wallet", key))
            else:
                await peer.send(m.Error("This session has expired.", "session_expired"))


@asynccontextmanager
async def serving(script: Scripted) -> AsyncIterator[Scripted]:
    """Serve a script on a free port of this machine."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(_handle, script), 0, host="127.0.0.1")
        )
        script.port = listeners[0].socket.getsockname()[1]
        with trio.fail_after(5):
            yield script
        nursery.cancel_scope.cancel()


async def _handle(script: Scripted, stream: trio.SocketStream) -> None:
    if script.is_gone:
        await trio.aclose_forcefully(stream)
        return
    try:
        head = bytearray()
        while b"\r\n\r\n" not in head:
            piece = await stream.receive_some()
            if not piece:
                return
            head += piece
        if b"upgrade: websocket" in head.lower():
            await _serve_socket(script, FrameStream(stream, bytes(head)))
        else:
            await _serve_request(script, stream, bytes(head))
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio_websocket.ConnectionClosed):
        return
    finally:
        await trio.aclose_forcefully(stream)


async def _serve_socket(script: Scripted, stream: FrameStream) -> None:
    async with trio.open_nursery() as nursery:
        request = await trio_websocket.wrap_server_stream(nursery, stream)
        socket = await request.accept()
        try:
            await script.converse(socket)
        except trio_websocket.ConnectionClosed:
            nursery.cancel_scope.cancel()


async def _serve_request(script: Scripted, stream: trio.SocketStream, head: bytes) -> None:
    front, _, body = head.partition(b"\r\n\r\n")
    line, *headers = front.decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (h.partition(":") for h in headers)}
    while len(body) < int(fields.get("content-length", 0)):
        body += await stream.receive_some()
    method, target, _version = line.split(" ")
    status, answer = script.reply(method, target, body)
    is_bytes = isinstance(answer, bytes)
    raw = answer if is_bytes else msgspec.json.encode(answer)
    kind = "application/octet-stream" if is_bytes else "application/json"
    await stream.send_all(
        f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + raw
    )


# ---- what coordinators say ----------------------------------------------------------------------


def output_of(
    job: str, *arrays: AnyArray, blobs: bool = False, signer: Keypair = COORDINATOR
) -> tuple[m.JobOutput, bytes]:
    """A result with a true receipt (of `signer`), its arrays inline or as blobs."""
    parts, data, raws = [], b"", []
    for array in arrays:
        dtype, shape, raw = to_wire(array)
        place: dict[str, Any] = (
            {"sha256": sha256(raw).hexdigest()} if blobs else {"offset": len(data)}
        )
        parts.append(m.Array(dtype, list(shape), len(raw), **place))
        data += b"" if blobs else raw
        raws.append(raw)
    receipt = receipt_of(raws)
    root, _levels = build_batch([receipt.pack()])
    text = coordinator_text(COORDINATOR.address, 1, 1, root)
    signed = SignedRoot(COORDINATOR.address, 1, 1, root, signer.sign(text))
    return m.JobOutput(job, parts, receipts_to_wire(signed, [receipt.pack()], [0])), data


def receipt_of(raws: list[bytes]) -> Receipt:
    return Receipt(
        job=1,
        fence=1,
        coordinator_key=COORDINATOR.address,
        node_key=bytes(32),
        wallet=bytes([3]) * 32,
        submitter=WALLET.address,
        spec_hash=bytes(32),
        input_root=bytes(32),
        output_root=output_root(raws),
        policy="sample",
        verdict="accepted",
        paid=975,
        fee=25,
        cumulative=975,
        time_ms=0,
    )


def accepted(message: m.Submit, first: int = 1) -> m.Submitted:
    """Every job of a submission accepted: `job-<n>`, counted from `first`."""
    answers = [
        m.SubmissionAnswer(job.key, id=f"job-{first + index}", price="0.001")
        for index, job in enumerate(message.jobs)
    ]
    return m.Submitted(answers, message.ref)


def instantly(*, array: AnyArray | None = None) -> OnMessage:
    """A script that accepts everything and answers each job at once with its number."""
    count = 0

    async def script(peer: Peer, message: m.AnyMessage) -> None:
        nonlocal count
        if isinstance(message, m.Submit):
            answer = accepted(message, count + 1)
            await peer.send(answer)
            for item in answer.jobs:
                count += 1
                value = np.array([count]) if array is None else array
                await peer.send(*output_of(item.id, value))
        elif isinstance(message, m.Cancel):
            states = [m.JobUpdate(job, "cancelled") for job in message.ids]
            await peer.send(m.Cancelled(states, message.ref))

    return script


__all__ = ["COORDINATOR", "WALLET", "Fields", "Peer", "Scripted", "serving"]
