"""Many WebSocket clients in one task: sockets that are ready are read in turns, by a plain epoll.

Why: a load generator has one core for as much work as the server has another one for. A task and a
checkpoint a message cost more than the message; here a message costs a `recv`, a call, a `send`.
In:   addresses; subclasses of `Link`, whose `on_message` is called for each message.
Rules:
  1. What a link sends while it is read leaves in one piece when the reading is over; anything else
     leaves at once.
  2. Any failure of a link ends the run: the kernel's error, a close that was not asked for, an
     exception of `on_message`.
Not covered: TLS; loads that pause a peer by not reading.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
from base64 import b64encode
from hashlib import sha1
from typing import Final, TypeVar
from urllib.parse import urlsplit

import trio

from benchmarks.frames import BINARY, CLOSE, PING, PONG, TEXT, BadFrame, Frames, frame

#: One read; batches arrive whole.
_RECEIVE_BYTES: Final = 256 * 1024
#: Sockets served before Trio's other tasks have their turn.
_EVENTS_MAX: Final = 512
#: Rounds of sockets that were ready at once, before Trio's other tasks have their turn.
_ROUNDS_MAX: Final = 8
_HANDSHAKE_S: Final = 60.0
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

L = TypeVar("L", bound="Link")


class LinkLost(Exception):
    """A server closed a connection, or refused one."""


class Link:
    """One client's WebSocket."""

    __slots__ = ("_frames", "_hub", "_is_reading", "_key", "_out", "is_closed", "is_here", "socket")

    def __init__(self) -> None:
        self._frames = Frames()
        self._key = _mask_key()
        self._out: list[bytes] = []
        self._is_reading = False
        #: Whether it has a connection; whether it had one.
        self.is_here = False
        self.is_closed = False
        self._hub: Hub
        self.socket: socket.socket

    def on_message(self, opcode: int, data: bytes) -> None:  # noqa: ARG002 - for who overrides it
        """Take a message in."""
        msg = f"{type(self).__name__} expects no message"
        raise AssertionError(msg)

    # ---- out -----------------------------------------------------------------------------------

    def send_text(self, data: bytes) -> None:
        self.send_raw(frame(TEXT, data, self._key))

    def send_binary(self, data: bytes) -> None:
        self.send_raw(frame(BINARY, data, self._key))

    def send_raw(self, data: bytes) -> None:
        """Send bytes that are frames already."""
        self._out.append(data)
        if not self._is_reading:
            self.flush()

    def flush(self) -> None:
        """Give the kernel what it takes; the rest leaves when it takes more."""
        out = self._out
        if not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        if not self.is_here:
            msg = "there is no connection"
            raise LinkLost(msg)
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            out.append(data[sent:])
            self._hub.watch(self, is_writing=True)

    # ---- in ------------------------------------------------------------------------------------

    def on_ready(self, events: int) -> None:
        """Read, and write what waits."""
        if events & ~select.EPOLLOUT:
            self._is_reading = True
            try:
                self._read()
            finally:
                self._is_reading = False
        if not self.is_closed:
            if events & select.EPOLLOUT:
                self._hub.watch(self)
            self.flush()

    def _read(self) -> None:
        try:
            data = self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            msg = "the server closed the connection"
            raise LinkLost(msg)
        for opcode, message in self._frames.feed(data):
            if opcode in {TEXT, BINARY}:
                self.on_message(opcode, message)
            else:
                self._control(opcode, message)

    def _control(self, opcode: int, data: bytes) -> None:
        if opcode == PING:
            self.send_raw(frame(PONG, data, self._key))
        elif opcode == CLOSE:
            code = int.from_bytes(data[:2], "big")
            msg = f"the server closed: {code} {data[2:].decode(errors='replace')}"
            raise LinkLost(msg)
        elif opcode != PONG:
            msg = f"an unknown opcode: {opcode}"
            raise BadFrame(msg)

    def on_lost(self, error: Exception) -> None:
        """The connection is gone without our doing: the end of the run, unless somebody waits."""
        msg = f"{type(self).__name__}: {error}"
        raise LinkLost(msg) from error

    def close(self) -> None:
        """Leave without a word, as a lost network does."""
        self.is_closed = True
        if self.is_here:
            self.is_here = False
            self._hub.forget(self)
            self.socket.close()


class Hub:
    """The sockets of a process's links."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._links: dict[int, Link] = {}

    def __len__(self) -> int:
        """Open links."""
        return len(self._links)

    async def run(self) -> None:
        """Serve the links for ever.

        Raises:
            LinkLost: a server closed one.
        """
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for _ in range(_ROUNDS_MAX):
                    ready = self._epoll.poll(0, _EVENTS_MAX)
                    if not ready:
                        break
                    self._serve(ready)
        finally:
            for link in tuple(self._links.values()):
                link.close()
            self._epoll.close()

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        for descriptor, events in ready:
            link = self._links.get(descriptor)
            # One link's message may close another one.
            if link is not None:
                try:
                    link.on_ready(events)
                except (OSError, LinkLost) as error:
                    link.on_lost(error)

    def watch(self, link: Link, *, is_writing: bool = False) -> None:
        """Look at a link's socket for reading, and for writing if something waits."""
        events = select.EPOLLIN | (select.EPOLLOUT if is_writing else 0)
        self._epoll.modify(link.socket.fileno(), events)

    def forget(self, link: Link) -> None:
        del self._links[link.socket.fileno()]
        self._epoll.unregister(link.socket.fileno())

    async def dial(self, url: str, link: L, *, local: str = "") -> L:
        """Open a link to a `ws://` address, from the local address if one is given.

        Raises:
            LinkLost: the server did not accept the WebSocket.
        """
        parts = urlsplit(url)
        assert parts.scheme == "ws"
        assert parts.hostname is not None
        with trio.fail_after(_HANDSHAKE_S):
            stream = await open_tcp(parts.hostname, parts.port or 80, local)
            rest = await _upgrade(stream, parts.netloc, parts.path or "/")
        link.socket = _plain(stream.socket)
        link._hub = self  # noqa: SLF001 - the two are one
        link._frames = Frames(rest)  # noqa: SLF001
        link.is_here = True
        self._links[link.socket.fileno()] = link
        self._epoll.register(link.socket.fileno(), select.EPOLLIN)
        return link


async def open_tcp(host: str, port: int, local: str = "") -> trio.SocketStream:
    """A connection from one of this machine's addresses."""
    stream = await trio.open_tcp_stream(host, port, local_address=local or None)
    assert isinstance(stream, trio.SocketStream)
    return stream


def _plain(wrapped: trio.socket.SocketType) -> socket.socket:
    """A plain socket of the same connection, that does not block."""
    plain = socket.socket(fileno=os.dup(wrapped.fileno()))
    plain.setblocking(False)
    wrapped.close()
    return plain


async def _upgrade(stream: trio.SocketStream, host: str, path: str) -> bytes:
    """The WebSocket handshake; what came after it."""
    key = b64encode(secrets.token_bytes(16))
    await stream.send_all(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        if not data:
            raise LinkLost("the server closed during the handshake")
        head += data
    head, _, rest = head.partition(b"\r\n\r\n")
    accept = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    if not head.startswith(b"HTTP/1.1 101 ") or accept not in head:
        msg = f"no WebSocket: {head.splitlines()[0].decode(errors='replace')}"
        raise LinkLost(msg)
    return rest


def _mask_key() -> bytes:
    """Four bytes, none of them zero: a server may skip a mask that does nothing."""
    return bytes(1 + byte % 255 for byte in secrets.token_bytes(4))
