"""A connection's stream as Hypercorn sees it: what was read before comes first, then the rest.

It shows what Hypercorn's server looks for on a stream: `socket` on a plain one, the handshake's
methods and `transport_stream` on TLS; never both sets, since that is how it tells them apart.
Rules:
  1. A peer that does not take what we send in time breaks the stream: Hypercorn sends under a
     shield, which no deadline of ours could reach from outside.
  2. A stream that broke under a sender ends its connection: Hypercorn would let the application
     go on sending, piece by piece, to nobody.
  3. A later request of the connection may be a WebSocket's: reverse proxies use their connections
     again. It is looked for where a request begins, which is what `expect_head` says, and taken out
     of Hypercorn's hands.
  4. A peer that leaves where a request might begin leaves at once: Hypercorn would keep its place
     for as long as it waits for another request.
Not covered: an upgrade that is sent before the answer to the request in front of it has ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import trio

from coordinator.head import parse_head, read_head

#: How a request begins, as far as it has come.
_BEGINNING = re.compile(rb"[A-Z]{1,32}(?: |\Z)")

Inner: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"


class ReplayStream(trio.abc.HalfCloseableStream):
    """Gives back `head`, then reads on from `inner`."""

    def __init__(
        self,
        inner: Inner,
        head: bytes,
        *,
        piece_s: float,
        piece_bytes: int,
        on_broken: Callable[[], None],
        on_upgrade: Callable[[], None] = lambda: None,
        on_left: Callable[[], None] = lambda: None,
    ) -> None:
        """Wrap a stream.

        Args:
            inner: The peer's stream.
            head: What was read from it.
            piece_s: Seconds that the peer may take for each piece that we send.
            piece_bytes: Size of a piece.
            on_broken: Called when a send failed.
            on_upgrade: Called when `upgrade` has come; it must cancel whoever reads.
            on_left: Called when the peer asks nothing more; what was sent last may still be on
                its way out of Hypercorn.
        """
        self._inner = inner
        self._head = head
        self._piece_s = piece_s
        self._piece_bytes = piece_bytes
        self._on_broken = on_broken
        self._on_upgrade = on_upgrade
        self._on_left = on_left
        #: Set while nothing is being sent.
        self._quiet = trio.Event()
        self._quiet.set()
        self._is_between = False
        #: The head of a WebSocket's request that came later, and what was read after it.
        self.upgrade = b""
        if isinstance(inner, trio.SSLStream):
            self.transport_stream = inner.transport_stream
            self.do_handshake = inner.do_handshake
            self.selected_alpn_protocol = inner.selected_alpn_protocol
        else:
            self.socket = inner.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self._head:
            data = await self._receive(max_bytes)
            if not self._is_between:
                return data
            if data and not _BEGINNING.match(data):
                # No head: bytes of a body, which are nobody's to cut.
                self._is_between = False
                return data
            self._head = bytes(data)
            if not self._head:
                await self._quiet.wait()
                self._on_left()
                return b""
            self._is_between = False
            if parse_head(self._head).is_upgrade:
                self.upgrade = self._head
                self._on_upgrade()
                await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        size = len(self._head) if max_bytes is None else max_bytes
        piece, self._head = self._head[:size], self._head[size:]
        return piece

    async def _receive(self, max_bytes: int | None) -> bytes | bytearray:
        """What comes next: a whole head where a request may begin."""
        try:
            data = await self._inner.receive_some(max_bytes)
            is_head = data and self._is_between and _BEGINNING.match(data)
            return await read_head(self._inner, data) if is_head else data
        except trio.BrokenResourceError:
            if self._is_between:
                self._on_left()
            raise

    def expect_head(self) -> None:
        """The answer is complete but for its last piece: another request may come now."""
        self._is_between = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        pieces = 1 + len(data) // self._piece_bytes
        self._quiet = quiet = trio.Event()
        try:
            with trio.fail_after(self._piece_s * pieces):
                await self._inner.send_all(data)
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            self._on_broken()
            msg = "the peer does not read"
            raise trio.BrokenResourceError(msg) from error
        finally:
            quiet.set()

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        if isinstance(self._inner, trio.SocketStream) and not self.upgrade:
            await self._inner.send_eof()

    async def aclose(self) -> None:
        if not self.upgrade:
            await self._inner.aclose()
