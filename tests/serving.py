"""A server on a port of this machine, for tests: any ASGI application, any WebSocket handler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest

from coordinator.admission import Connections
from coordinator.config import Config, load_config
from coordinator.door import App
from coordinator.frame_stream import FrameStream
from coordinator.metrics import Metrics
from coordinator.server import Listener, Server, WebSocketHandler, open_listeners, port_of
from coordinator.signals import Drain
from coordinator.tls import Tls


async def echo(request: WebSocketRequest, _peer: str, _stream: FrameStream) -> None:
    """Accept on /ws and say back what is said; refuse elsewhere."""
    if request.path != "/ws":
        await request.reject(404, body=b"no")
        return
    async with await request.accept() as socket:
        try:
            while True:
                await socket.send_message(await socket.get_message())
        except ConnectionClosed:
            return


def local_config(**flags: object) -> Config:
    """A configuration on a free port of this machine."""
    return load_config({"port": 0, "drain_s": 0.5, **flags}, {}, None)


@dataclass
class Served:
    """What a test sees of its server."""

    port: int
    connections: Connections
    metrics: Metrics
    drain: Drain
    stopped: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, trust_env=False)

    async def connections_are(self, count: int) -> None:
        """Wait until so many connections are open."""
        while self.connections.total != count:  # noqa: ASYNC110 (a counter has no event)
            await trio.sleep(0.001)

    async def talk(self, *pieces: bytes) -> bytes:
        """Send raw bytes, then read until the server closes."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            for piece in pieces:
                await stream.send_all(piece)
                await trio.sleep(0.01)
            heard = bytearray()
            try:
                async for data in stream:
                    heard += data
            except trio.BrokenResourceError:
                heard += b"<reset>"
            return bytes(heard)


@asynccontextmanager
async def serving(
    app: App,
    ws_handler: WebSocketHandler = echo,
    *,
    config: Config | None = None,
    connections: Connections | None = None,
    metrics: Metrics | None = None,
    drain: Drain | None = None,
    tls: Tls | None = None,
    within_s: float = 5,
) -> AsyncIterator[Served]:
    """Serve for the time of a block, five seconds at most unless said."""
    house = Served(0, connections or Connections(), metrics or Metrics(), drain or Drain())
    config = config or local_config()
    server = Server(
        app,
        ws_handler,
        config,
        connections=house.connections,
        metrics=house.metrics,
        drain=house.drain,
    )

    async def run(task_status: trio.TaskStatus[Sequence[Listener]]) -> None:
        await server.run(await open_listeners(config, tls), task_status=task_status)
        house.stopped.set()

    with trio.fail_after(within_s):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(run)
            house.port = port_of(listeners[0])
            yield house
            nursery.cancel_scope.cancel()
