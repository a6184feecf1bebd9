"""Both ends of a connection: dialling, a stream that tells its end, the first error of a group."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TypeVar

import trio

E = TypeVar("E", bound=BaseException)


async def open_stream(
    host: str, port: int, tls: ssl.SSLContext | None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """Dial; under TLS the handshake is done, and the certificate believed.

    Raises:
        OSError: nobody answers.
        trio.BrokenResourceError: TLS failed; its cause says why.
    """
    if tls is None:
        return await trio.open_tcp_stream(host, port)
    stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=tls, https_compatible=True)
    try:
        # Here, where an untrusted certificate is an error: trio-websocket would only wait.
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


class WatchedStream(trio.abc.Stream):
    """A stream that tells when the peer ends it.

    Why: trio-websocket waits for the answer to its handshake for ever, also once the peer has
    closed the connection without one.
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


def first_of(group: BaseExceptionGroup[E]) -> E:
    """The first error of a group, which may lie in groups of its own."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
