"""One port for HTTP and WebSocket: heads are read once, then their connection is handed on.

In:   listeners, an ASGI application, a handler of WebSocket requests.
Out:  `Upgrade: websocket` goes to trio-websocket and the handler, also as a later request of its
      connection (`replay`); the rest to Hypercorn.
Rules:
  1. Past the bounds of `admission` a connection gets 503 or 429 in plain HTTP, and ends.
  2. A WebSocket whose host or origin is not listed is refused before it is accepted.
  3. Heads, TLS and WebSocket handshakes have `HEAD_S`; whoever drips bytes is cut off. Plain HTTP
     on a port with TLS, and TLS on one without, are told so at once.
  4. No peer's failure leaves its connection; what is our fault is logged with its traceback.
  5. When the drain begins nothing more is accepted; what is open has `drain_s` to end.
  6. Behind a trusted proxy a WebSocket counts for the address that the proxy names (`forwarded`).
Not here: requests (`door`, `http`), messages (`dispatcher`), which close their WebSockets.
Why Hypercorn's insides: its public face owns the listener. They are pinned, `tests/test_server.py`
keeps them honest, and the fallback is one port each.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketRequest,
    wrap_server_stream,
)

from coordinator.admission import (
    Connections,
    is_host_allowed,
    is_origin_allowed,
    network_of,
)
from coordinator.config import Config
from coordinator.door import ABORT, EXPECT_HEAD
from coordinator.forwarded import client_of, is_trusted, networks_of
from coordinator.frame_stream import FrameStream
from coordinator.head import Head, is_tls, parse_head, plain_answer, read_head
from coordinator.limits import (
    BLOB_CHUNK_BYTES,
    FRAME_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEAD_S,
    LEFT_S,
    READ_AHEAD_FRAMES_MAX,
    RECONNECT_ALL_S,
    REFUSE_S,
    REFUSING_MAX,
    SEND_S,
    TLS_HANDSHAKES_BURST,
    TLS_HANDSHAKES_PER_S,
)
from coordinator.log import bound_contextvars, get_log
from coordinator.metrics import Metrics
from coordinator.protocol.errors import Refusal
from coordinator.protocol.streams import first_of
from coordinator.ratelimit import RateLimiter
from coordinator.replay import Inner, ReplayStream
from coordinator.signals import Drain
from coordinator.tls import Tls, TlsListener, has_greeted, is_not_tls

WebSocketHandler: TypeAlias = Callable[[WebSocketRequest, str, FrameStream], Awaitable[None]]
Listener: TypeAlias = "trio.SocketListener | TlsListener"

#: From a connection's handing on to its first request being read, on a loop that has much to do.
HANDED_ON_S: Final = 0.2
#: For a further request of a connection that came in during a drain: the end waits for it.
LAST_REQUEST_S: Final = 0.5
#: Bytes of one read of a WebSocket: batches of results arrive whole.
_RECEIVE_BYTES: Final = 64 * 1024
#: What a peer can do to a connection by leaving or by breaking the wire.
_PEER_FAILED: Final = (
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    ConnectionClosed,
    HandshakeError,
)

log = get_log(__name__)


async def open_listeners(
    config: Config, tls: Tls | None = None, inherited: Sequence[socket.socket] = ()
) -> list[Listener]:
    """Listeners on the configured port, and on the second one where there is one.

    Args:
        config: Host and ports.
        tls: The certificate of both; plain without one.
        inherited: Sockets that somebody else opened and keeps: they are served instead.
    """
    if inherited:
        adopted = map(trio.socket.from_stdlib_socket, inherited)
        return _with(tls, [trio.SocketListener(each) for each in adopted])
    ports = [config.port]
    if config.ws_port is not None and config.ws_port != config.port:
        ports.append(config.ws_port)
    plain: list[trio.SocketListener] = []
    try:
        for port in ports:
            plain += await trio.open_tcp_listeners(port, host=config.host)
    except OSError:
        for listener in plain:
            await listener.aclose()
        raise
    return _with(tls, plain)


def _with(tls: Tls | None, plain: Sequence[trio.SocketListener]) -> list[Listener]:
    return list(plain) if tls is None else [TlsListener(listener, tls) for listener in plain]


def port_of(listener: Listener) -> int:
    """The port that a listener got."""
    plain = listener.plain if isinstance(listener, TlsListener) else listener
    port: int = plain.socket.getsockname()[1]
    return port


@dataclass(slots=True)
class _Guest:
    """Who is at the other end: the peer, or whom a trusted proxy names, once its head is read."""

    address: str = ""
    is_proxy: bool = False


class Server:
    """Serves the connections of some listeners until the drain."""

    def __init__(
        self,
        app: Any,
        ws_handler: WebSocketHandler,
        config: Config,
        *,
        connections: Connections,
        metrics: Metrics,
        drain: Drain,
    ) -> None:
        """Put a server together.

        Args:
            app: The ASGI application.
            ws_handler: Accepts and serves one WebSocket; gets the request, the peer's
                address, and the stream below.
            config: Origins, hosts, time for the drain.
            connections: Counts them; the dispatcher has the same one.
            metrics: Where connections and refusals are counted.
            drain: Ends the server.
        """
        self._ws_handler = ws_handler
        self._config = config
        self._connections = connections
        self._metrics = metrics
        self._drain = drain
        self._refusing = 0
        #: Connections that came.
        self._numbers = 0
        # All of an address's agents may come back at once, and again some seconds later.
        places = config.connections_per_address
        self._handshakes = RateLimiter(places / RECONNECT_ALL_S, places)
        self._tls_handshakes = RateLimiter(
            places / RECONNECT_ALL_S + TLS_HANDSHAKES_PER_S, places + TLS_HANDSHAKES_BURST
        )
        self._proxies = networks_of(config.trusted_proxies)
        self._context = WorkerContext(None)
        self._hypercorn = _hypercorn_config(HEAD_S)
        # Of connections that were accepted before a drain and speak during it: Hypercorn closes one
        # that begins under a context that has ended before it reads a word.
        self._last_context = WorkerContext(None)
        self._last_hypercorn = _hypercorn_config(LAST_REQUEST_S)
        self._app = wrap_app(app, self._hypercorn.wsgi_max_body_size, "asgi")

    async def run(
        self,
        listeners: Sequence[Listener],
        *,
        task_status: trio.TaskStatus[Sequence[Listener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until the drain has begun and what was open has ended."""
        async with trio.open_nursery() as open_connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(
                        trio.serve_listeners,
                        self._serve_connection,
                        list(listeners),
                        handler_nursery=open_connections,
                    )
                )
                task_status.started(listeners)
                await self._drain.wait()
                accepting.cancel_scope.cancel()
            open_connections.cancel_scope.deadline = trio.current_time() + self._config.drain_s
            # What was handed on just now has not begun its request yet: Hypercorn would close it
            # unheard. (By its code: the moment is too short for a test to meet it.)
            await trio.sleep(HANDED_ON_S)
            await self._context.terminated.set()

    async def _serve_connection(self, stream: Inner) -> None:
        # Every line about it names it, whoever writes it.
        self._numbers += 1
        with bound_contextvars(connection=self._numbers):
            await self._serve_one(stream)

    async def _serve_one(self, stream: Inner) -> None:
        guest = _Guest()
        try:
            guest.address = _peer_of(stream)
            guest.is_proxy = is_trusted(guest.address, self._proxies)
            with self._connections.open(None if guest.is_proxy else guest.address):
                self._metrics.connections.set(self._connections.total)
                await self._hand_on(stream, guest)
        except* Refusal as group:
            await self._refuse(stream, guest.address, first_of(group))
        except* _PEER_FAILED:
            # The peer left or broke the wire; whoever held its work has seen the same.
            log.debug("peer failed", peer=guest.address)
        except* Exception:
            # One connection's fault ends that one only.
            log.exception("connection failed", peer=guest.address)
            self._metrics.failed("connection")
        finally:
            self._metrics.connections.set(self._connections.total)
            await trio.aclose_forcefully(stream)

    async def _hand_on(self, stream: Inner, guest: _Guest) -> None:
        upgraded = await self._until_upgrade(stream, guest)
        if upgraded is None:
            return
        if guest.is_proxy:
            with self._connections.of_one_network(guest.address):
                await self._serve_websocket(upgraded, guest.address)
        else:
            await self._serve_websocket(upgraded, guest.address)

    async def _until_upgrade(self, stream: Inner, guest: _Guest) -> FrameStream | None:
        """Serve HTTP until a request becomes a WebSocket: its stream; `None` at the stream's end.

        A function of its own: what was read and parsed here must not stay while a WebSocket lasts.
        """
        with trio.move_on_after(HEAD_S) as scope:
            if isinstance(stream, trio.SSLStream):
                await self._greet(stream, guest)
            raw = await read_head(stream)
        if scope.cancelled_caught:
            raise Refusal("deadline", "the head of the request took too long")
        if not raw:
            return None
        if is_tls(raw):
            raise Refusal("malformed", "this port does not speak TLS: use http:// or ws://")
        if not parse_head(raw).is_upgrade:
            raw = await self._serve_http(stream, raw)
        head = parse_head(raw)
        if not head.is_upgrade:
            return None
        if guest.is_proxy:
            said = head.headers.get("x-forwarded-for", "")
            guest.address = client_of(guest.address, said, self._proxies)
        self._check_upgrade(head, guest.address)
        return FrameStream(stream, raw)

    async def _greet(self, stream: trio.SSLStream[trio.SocketStream], guest: _Guest) -> None:
        """The handshake of TLS, unless this peer had too many of them."""
        network, now = network_of(guest.address), trio.current_time()
        if not guest.is_proxy and self._tls_handshakes.allow(network, now):
            self._metrics.rate_limited("address")
            raise Refusal("rate_limited", "too many new connections from this address")
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            if is_not_tls(error):
                raise Refusal("tls_required") from error
            raise

    async def _serve_http(self, stream: Inner, raw: bytes) -> bytes:
        """Serve requests; the head of one that wants to become a WebSocket, if such a one came."""
        with trio.CancelScope() as scope:
            replay = ReplayStream(
                stream,
                raw,
                piece_s=SEND_S,
                piece_bytes=BLOB_CHUNK_BYTES,
                on_broken=scope.cancel,
                on_upgrade=scope.cancel,
                on_left=partial(_end_soon, scope),
            )
            state = {ABORT: scope.cancel, EXPECT_HEAD: replay.expect_head}
            # Hypercorn types its stream as SSLStream and takes any that looks like one of two.
            context, config = self._context, self._hypercorn
            if self._drain.is_draining:
                context, config = self._last_context, self._last_hypercorn
            await TCPServer(self._app, config, context, state, replay)  # type: ignore[arg-type]
        return replay.upgrade

    async def _serve_websocket(self, stream: FrameStream, peer: str) -> None:
        async with trio.open_nursery() as nursery:
            try:
                await self._ws_handler(await _shake_hands(nursery, stream), peer, stream)
            except Refusal as refusal:
                msg = "the handler of WebSockets let a refusal out"
                raise RuntimeError(msg) from refusal
            nursery.cancel_scope.cancel()

    def _check_upgrade(self, head: Head, peer: str) -> None:
        if self._drain.is_draining:
            raise Refusal("draining")
        if not is_host_allowed(head.headers.get("host", ""), self._config.allowed_hosts):
            raise Refusal("bad_host")
        if not is_origin_allowed(head.headers.get("origin"), self._config.cors_origins):
            raise Refusal("bad_origin")
        # trio-websocket would wait for the rest of a handshake that has these wrong.
        version = head.headers.get("sec-websocket-version")
        if version != "13" or "sec-websocket-key" not in head.headers:
            raise Refusal("malformed", "this is not a WebSocket handshake of version 13")
        if self._handshakes.allow(network_of(peer), trio.current_time()):
            self._metrics.rate_limited("address")
            raise Refusal("rate_limited", "too many new connections from this address")

    async def _refuse(self, stream: Inner, peer: str, refusal: Refusal) -> None:
        """Say why in plain HTTP, if there are not too many to say it to; and note it."""
        self._metrics.connection_refused(refusal.code)
        log.warning("connection refused", peer=peer, code=refusal.code, reason=refusal.sentence)
        plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        out: trio.abc.SendStream = plain if refusal.code == "tls_required" else stream
        is_heard = not isinstance(out, trio.SSLStream) or has_greeted(out)
        if self._refusing >= REFUSING_MAX or not is_heard:
            return
        self._refusing += 1
        try:
            with trio.move_on_after(REFUSE_S):
                await out.send_all(plain_answer(refusal))
                await plain.send_eof()
                # Closing on bytes that we did not read would reset the peer before it reads ours.
                await plain.receive_some(HEAD_BYTES_MAX)
        except _PEER_FAILED:
            log.debug("peer failed", peer=peer)
        finally:
            self._refusing -= 1


async def _shake_hands(nursery: trio.Nursery, stream: FrameStream) -> WebSocketRequest:
    with trio.fail_after(HEAD_S):
        return await wrap_server_stream(
            nursery,
            stream,
            message_queue_size=READ_AHEAD_FRAMES_MAX,
            max_message_size=FRAME_BYTES_MAX,
            receive_buffer_size=_RECEIVE_BYTES,
        )


def _hypercorn_config(idle_s: float) -> HypercornConfig:
    config = HypercornConfig()
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    # Between two requests of one connection, and for the head of the next one.
    config.keep_alive_timeout = idle_s
    return config


def _end_soon(scope: trio.CancelScope) -> None:
    scope.deadline = min(scope.deadline, trio.current_time() + LEFT_S)


def _peer_of(stream: Inner) -> str:
    plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    address: str = plain.socket.getpeername()[0]
    return address
