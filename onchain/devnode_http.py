"""HTTP/1.1 for the dev node: bodies of POST are put to JSON-RPC, whatever else is said no to.

In:   connections; `answer`, from a body to a `Reply`.
Out:  answers with CORS for any origin: pages of this machine are what a dev node is for.
Rules:
  1. A connection is one task with one request at a time; silence and length have their limits.
  2. No peer's failure leaves its connection.
Not covered: TLS, compression, trailers; a page of any site that knows the port can ask it (its
lamports are worth nothing; bind it to this machine only).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import h11
import trio

from coordinator.limits import DEVNODE_BODY_BYTES_MAX, DEVNODE_CONNECTIONS_MAX, DEVNODE_IDLE_S

_CHUNK_BYTES: Final = 64 * 1024
_CORS: Final = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "POST, GET, OPTIONS"),
    ("access-control-max-age", "86400"),
)
_PEER_FAILED: Final = (
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    h11.LocalProtocolError,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered to a request."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[bytes], Awaitable[Reply]]


class HttpServer:
    """Serves connections for as long as its task lives."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.open = 0

    async def serve(
        self,
        listeners: list[trio.SocketListener],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(self._connection, listeners, handler_nursery=nursery)

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.open += 1
        try:
            async with stream:
                await _Connection(stream, self._answer, full=self._is_full()).run()
        except _PEER_FAILED:
            return
        finally:
            self.open -= 1

    def _is_full(self) -> bool:
        return self.open > DEVNODE_CONNECTIONS_MAX


class _Connection:
    def __init__(self, stream: trio.abc.Stream, answer: Answer, *, full: bool) -> None:
        self._stream = stream
        self._answer = answer
        self._is_full = full
        self._h11 = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        """Answer requests until one side has enough."""
        while True:
            try:
                request = await self._next()
                if not isinstance(request, h11.Request):
                    return
                await self._say(await self._reply(request))
            except h11.RemoteProtocolError as error:
                if self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    await self._say(_plain(error.error_status_hint, "no HTTP that is served here"))
                return
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def _next(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event | None:
        """The next event; None after too long a silence."""
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._stream.send_all(self._h11.send(go_on) or b"")
            with trio.move_on_after(DEVNODE_IDLE_S) as scope:
                self._h11.receive_data(bytes(await self._stream.receive_some(_CHUNK_BYTES)))
            if scope.cancelled_caught:
                return None
        return event

    async def _reply(self, request: h11.Request) -> Reply:
        if self._is_full:
            return _plain(503, "too many connections")
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > DEVNODE_BODY_BYTES_MAX:
                return _plain(413, f"a body holds {DEVNODE_BODY_BYTES_MAX} bytes at most")
        if not isinstance(event, h11.EndOfMessage):
            return _plain(408, "the request has no end")
        return await self._answer_to(request, bytes(body))

    async def _answer_to(self, request: h11.Request, body: bytes) -> Reply:
        if request.method == b"POST":
            return await self._answer(body)
        if request.method == b"OPTIONS":
            return Reply(b"", 204)
        if request.method == b"GET" and request.target.startswith(b"/health"):
            return _plain(200, "ok")
        return _plain(405, "JSON-RPC is spoken by POST")

    async def _say(self, reply: Reply) -> None:
        headers = [*_CORS, *reply.headers]
        if not any(name == "content-type" for name, _ in reply.headers):
            headers.append(("content-type", "application/json"))
        if reply.status != 204:
            headers.append(("content-length", str(len(reply.body))))
        if self._is_full or reply.status in {408, 413}:
            headers.append(("connection", "close"))
        said = [h11.Response(status_code=reply.status, headers=headers)]
        parts = [*said, h11.Data(data=reply.body), h11.EndOfMessage()]
        await self._stream.send_all(b"".join(self._h11.send(part) or b"" for part in parts))


def _plain(status: int, text: str) -> Reply:
    return Reply(text.encode(), status, (("content-type", "text/plain; charset=utf-8"),))
