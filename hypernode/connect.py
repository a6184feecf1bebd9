"""What a connection to a coordinator stands on: a byte stream, and tasks that fail alone."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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


@asynccontextmanager
async def kept_apart(
    parent: trio.Nursery,
    kinds: tuple[type[Exception], ...],
    on_failure: Callable[[Exception], None],
) -> AsyncIterator[trio.Nursery]:
    """A nursery for the time of a block, below `parent`.

    Args:
        parent: Where it lives.
        kinds: Errors of its tasks that end it alone, and reach neither the parent nor the block.
        on_failure: Is told of the first of them.
    """

    async def hold(task_status: trio.TaskStatus[trio.Nursery]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await trio.sleep_forever()
        except* kinds as group:
            on_failure(_first(group))

    nursery = await parent.start(hold)
    try:
        yield nursery
    finally:
        nursery.cancel_scope.cancel()


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


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
