"""A connection that is used again: no byte of a body is ever taken for a head."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from coordinator.door import Door
from coordinator.metrics import Metrics
from tests.serving import local_config, serving

#: A body with which nothing begins, and one that looks like a request.
BODIES = [
    bytes(range(256)) * 1200,
    b"GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n" + bytes(300_000),
]


async def _slow_to_end(scope: Any, receive: Any, send: Any) -> None:
    """Answers whole, and says only a moment later that this was all."""
    size, more = 0, scope["method"] == "PUT"
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"" if scope["method"] == "HEAD" else str(size).encode()
    length = b"9" if scope["method"] == "HEAD" else str(len(body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await trio.sleep(0.05)
    await send({"type": "http.response.body", "body": b""})


async def _answer(stream: trio.SocketStream, *, has_body: bool) -> bytes:
    """One answer: its body."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += await stream.receive_some()
    head, _, body = heard.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) if has_body else 0
    while len(body) < length:
        body += await stream.receive_some()
    return body


@pytest.mark.parametrize("first", ["HEAD", "GET", "PUT"])
@pytest.mark.parametrize("body", BODIES, ids=["bytes", "like a head"])
async def test_a_request_right_after_a_whole_answer_keeps_its_body(first: str, body: bytes) -> None:
    config = local_config()
    async with serving(Door(_slow_to_end, config, Metrics()), config=config) as house:
        stream = await trio.open_tcp_stream("127.0.0.1", house.port)
        async with stream:
            host = f"Host: 127.0.0.1:{house.port}\r\n"
            for _ in range(3):
                length = "Content-Length: 0\r\n" if first == "PUT" else ""
                await stream.send_all(f"{first} / HTTP/1.1\r\n{host}{length}\r\n".encode())
                await _answer(stream, has_body=first != "HEAD")
                head = f"PUT / HTTP/1.1\r\n{host}Content-Length: {len(body)}\r\n\r\n"
                await stream.send_all(head.encode() + body)
                assert await _answer(stream, has_body=True) == str(len(body)).encode()
