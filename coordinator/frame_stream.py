"""The stream below a WebSocket: its first bytes were read already, and small frames leave together.

In:   the peer's stream, and the head that was read from it; messages, as frames of a server.
Out:  a `trio.abc.Stream` for trio-websocket, which shakes hands, reads, answers pings and closes.
Rules:
  1. Frames gather (`put`) until `flush` lets them go in as few calls as the system takes: one call
     costs as much as ten small frames. Each is put in whole, so nobody's frame tears another's.
  2. One task flushes at a time. Whoever else sends meanwhile (a pong) leaves its bytes to it, and
     waits for it once `HELD_BYTES_MAX` have gathered: a peer that only asks cannot fill memory.
  3. On a plain socket the system is called directly: it is asked to read when there is something to
     read, and Trio's own wrapper around each call is left out (measured: a quarter of a message).
Not here: what a peer may send (trio-websocket), deadlines (conversation).
Not covered: a flush has no checkpoint where the system takes all at once; who sends has others.
"""

from __future__ import annotations

import os

import trio

from coordinator.limits import HELD_BYTES_MAX


class FrameStream(trio.abc.Stream):
    """Gives back `head`, then reads on from `inner`; gathers what is sent."""

    def __init__(self, inner: trio.abc.Stream, head: bytes = b"") -> None:
        self._inner = inner
        self._head = head
        self._plain = inner if isinstance(inner, trio.SocketStream) else None
        self._held = bytearray()
        #: Set when the flush that is under way has ended; None while there is none.
        self._flushed: trio.Event | None = None

    @property
    def held(self) -> int:
        """Bytes that wait for a flush."""
        return len(self._held)

    # ---- reading -------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._head:
            await trio.lowlevel.checkpoint()
            size = len(self._head) if max_bytes is None else max_bytes
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        if self._plain is None:
            return await self._inner.receive_some(max_bytes)
        return await self._read(self._plain, HELD_BYTES_MAX if max_bytes is None else max_bytes)

    async def _read(self, plain: trio.SocketStream, size: int) -> bytes:
        while True:
            descriptor = plain.socket.fileno()
            if descriptor < 0:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(descriptor)
            try:
                return os.read(descriptor, size)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    # ---- sending -------------------------------------------------------------------------------

    def put(self, message: str | bytes) -> None:
        """Let one message wait for the next flush: text as text, bytes as binary."""
        payload = message.encode() if isinstance(message, str) else message
        self._held += head_of(len(payload), is_text=isinstance(message, str))
        self._held += payload

    async def flush(self) -> None:
        """Send what waits."""
        await self._send_held()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._held += data
        await self._send_held()

    async def _send_held(self) -> None:
        if self._flushed is not None:
            # Somebody sends already, and takes ours along.
            if len(self._held) > HELD_BYTES_MAX:
                await self._flushed.wait()
            return
        self._flushed = trio.Event()
        try:
            while self._held:
                data, self._held = self._held, bytearray()
                await self._send(data)
        finally:
            self._flushed.set()
            self._flushed = None

    async def _send(self, data: bytearray) -> None:
        plain = self._plain
        if plain is None:
            await self._inner.send_all(data)
            return
        view = memoryview(data)
        while view:
            descriptor = plain.socket.fileno()
            if descriptor < 0:
                raise trio.ClosedResourceError
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(descriptor)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


def head_of(size: int, *, is_text: bool) -> bytes:
    """The head of an unfragmented frame of a server (RFC 6455, 5.2): final, not masked."""
    first = 0x81 if is_text else 0x82
    if size < 126:
        return bytes((first, size))
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")
