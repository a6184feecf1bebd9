"""A byte stream to a coordinator: plain or under TLS, and one that tells when the peer ends it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import trio


async def open_stream(
    url: str, tls: ssl.SSLContext | None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """Dial a WebSocket's address; under TLS the handshake is done, and the certificate believed.

    Raises:
        OSError: nobody answers.
        trio.BrokenResourceError: TLS failed; its cause says why.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    if tls is None:
        return await trio.open_tcp_stream(parts.hostname, parts.port or 80)
    stream = await trio.open_ssl_over_tcp_stream(
        parts.hostname, parts.port or 443, ssl_context=tls, https_compatible=True
    )
    try:
        # Here, where an untrusted certificate is an error: trio-websocket would only wait.
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


class WatchedStream(trio.abc.Stream):
    """A stream that tells when the peer ends it.

    Why: trio-websocket would wait for ever for the answer of a peer that closed without one.
    """

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
