"""A WebSocket by hand, byte for byte: what no library would send.

In:   a coordinator's port.    Out: what it answered, and how it closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
MASK = b"\x11\x22\x33\x44"


def frame(
    first: int, payload: bytes = b"", *, length: int | None = None, masked: bool = True
) -> bytes:
    """A frame: its first byte whole, its payload masked, its length as declared."""
    size = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 1 << 16:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))


@dataclass
class Raw:
    """One connection after its handshake."""

    stream: trio.SocketStream
    #: The coordinator's answer to the handshake.
    head: bytes

    async def send(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def end(self, seconds: float = 5.0) -> int:
        """Read until it closes; the code of its closing frame, 0 for none."""
        heard = bytearray()
        with trio.fail_after(seconds):
            try:
                async for piece in self.stream:
                    heard += piece
                    if code := _close_code(heard):
                        return code
            except trio.BrokenResourceError:
                return 0
        return _close_code(heard)


def _close_code(heard: bytes | bytearray) -> int:
    """The code in the first closing frame among a server's frames (short or medium ones)."""
    at = 0
    while at + 2 <= len(heard):
        size, start = heard[at + 1] & 0x7F, at + 2
        if size == 126:
            size, start = int.from_bytes(heard[at + 2 : at + 4], "big"), at + 4
        if heard[at] & 0x0F == 8:
            return int.from_bytes(heard[start : start + 2], "big")
        at = start + size
    return 0


@asynccontextmanager
async def raw_socket(port: int, *, extensions: str = "") -> AsyncIterator[Raw]:
    """A connection that has shaken hands, for the time of a block."""
    more = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(f"{UPGRADE}{more}\r\n".encode())
        head = b""
        with trio.fail_after(5):
            while b"\r\n\r\n" not in head:
                head += await stream.receive_some()
        yield Raw(stream, head)
