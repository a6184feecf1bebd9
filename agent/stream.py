"""A byte stream that tells when the peer ends it.

Why: trio-websocket waits for the answer to its handshake for ever, also once the peer has closed
the connection without one.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class WatchedStream(trio.abc.Stream):
    """Another stream, and a call at its end."""

    def __init__(self, inner: trio.abc.Stream, *, on_end: Callable[[], None]) -> None:
        self._inner = inner
        self._on_end = on_end

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            piece = await self._inner.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._on_end()
            raise
        if not piece:
            self._on_end()
        return piece

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()
