"""A page of numbers on a port of its own, for Prometheus on this machine: `GET /metrics`, no more.

In:   a port, a function that gives the page.
Out:  one answer a connection, on 127.0.0.1 only.
Rules:
  1. It answers to this machine's names only: a browser's page that was led here by DNS gets 421.
  2. A request has `HEAD_S` and `HEAD_BYTES_MAX`; `ASKERS_MAX` are served at a time, others wait.
  3. No asker's failure leaves its connection.
Shared by the coordinator and the agent, so it imports nothing of theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import trio

from coordinator.limits import HEAD_BYTES_MAX, HEAD_S
from coordinator.log import get_log

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HOST: Final = "127.0.0.1"
ASKERS_MAX: Final = 8
_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_REASONS: Final = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    421: "Misdirected Request", 500: "Internal Server Error",
}  # fmt: skip

log = get_log(__name__)
Page = Callable[[], Awaitable[bytes]]


async def open_metrics_port(port: int) -> Sequence[trio.SocketListener]:
    """Listeners on this machine's own address; 0 lets the system choose.

    Raises:
        OSError: the port is taken.
    """
    return await trio.open_tcp_listeners(port, host=HOST)


async def serve_metrics(listeners: Sequence[trio.SocketListener], page: Page) -> None:
    """Answer until cancelled."""
    port = listeners[0].socket.getsockname()[1]
    log.info("metrics", url=f"http://{HOST}:{port}/metrics")
    answer = partial(_answer, page, trio.Semaphore(ASKERS_MAX))
    await trio.serve_listeners(answer, list(listeners))


async def _answer(page: Page, places: trio.Semaphore, stream: trio.SocketStream) -> None:
    try:
        async with places, stream:
            with trio.move_on_after(HEAD_S):
                head = await _head(stream)
                await stream.send_all(await _answer_to(head, page))
    except OSError as error:
        log.debug("asker left", error=str(error))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        log.debug("asker left")


async def _head(stream: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) <= HEAD_BYTES_MAX:
        piece = await stream.receive_some(HEAD_BYTES_MAX)
        if not piece:
            break
        head += piece
    return head


async def _answer_to(head: bytes, page: Page) -> bytes:
    status = _status_of(head)
    body = b""
    if status == 200:
        try:
            body = await page()
        except Exception:
            log.exception("no page of metrics")
            status = 500
    is_head = head.startswith(b"HEAD ")
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if is_head else body)


def _status_of(head: bytes) -> int:
    """What a request gets."""
    first, *fields = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    words = first.split(" ")
    is_whole = b"\r\n\r\n" in head and len(head) <= HEAD_BYTES_MAX
    if not is_whole or len(words) != 3 or not words[2].startswith("HTTP/1."):
        return 400
    hosts = [f.partition(":")[2].strip().lower() for f in fields if f.lower().startswith("host:")]
    name = hosts[0] if len(hosts) == 1 else ""
    bare, colon, port = name.rpartition(":")
    if (bare if colon and port.isdigit() else name) not in _NAMES:
        return 421
    if words[0] not in {"GET", "HEAD"}:
        return 405
    return 200 if words[1].partition("?")[0] == "/metrics" else 404
