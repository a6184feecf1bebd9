"""One port for HTTP and WebSocket; Hypercorn's insides, which are pinned, are kept honest here."""

from __future__ import annotations

import json
import struct
from typing import Any

import httpx
import pytest
import structlog
import trio
from trio.testing import MockClock
from trio_websocket import (
    ConnectionClosed,
    WebSocketRequest,
    open_websocket_url,
)

from coordinator import server
from coordinator.admission import Connections
from coordinator.door import Door
from coordinator.frame_stream import FrameStream
from coordinator.head import parse_head, read_head
from coordinator.limits import HEAD_BYTES_MAX
from coordinator.metrics import Metrics
from coordinator.server import open_listeners, port_of
from tests.house import captured_log
from tests.serving import local_config, serving

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: A masked frame of text, by a mask of zeros.
HELLO = b"\x81\x85\x00\x00\x00\x00hello"


async def count(scope: Any, receive: Any, send: Any) -> None:
    """An application that counts the body of a POST to /count, and knows nothing else."""
    if scope["path"] == "/fail":
        msg = "the application fails"
        raise RuntimeError(msg)
    if scope["path"] == "/slow":
        await trio.sleep(0.2)
    size, more = 0, scope["method"] == "POST"
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    status = 200 if scope["method"] == "POST" or scope["path"] != "/count" else 405
    body = json.dumps({"size": size, "peer": scope["client"][0]}).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def early(_scope: Any, _receive: Any, send: Any) -> None:
    """An application that answers before it has read anything."""
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"early"})


async def test_a_large_body_passes_and_the_application_sees_the_peers_address() -> None:
    async with serving(count) as house, house.client() as client:
        answer = await client.post("/count", content=b"a" * 200_000)

    assert answer.json() == {"size": 200_000, "peer": "127.0.0.1"}


async def test_requests_follow_each_other_on_one_connection() -> None:
    async with serving(count) as house, house.client() as client:
        statuses = [(await client.get("/count")).status_code for _ in range(3)]
        assert house.connections.total == 1

    assert statuses == [405, 405, 405]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_answered_400(garbage: bytes) -> None:
    async with serving(count) as house:
        answer = await house.talk(garbage)

    assert answer.split(b" ", 2)[1] in {b"400", b"501"}


async def ask(stream: trio.SocketStream, *pieces: bytes) -> bytes:
    """Send a request and read its whole answer, as those do who use a connection again."""
    for piece in pieces:
        await stream.send_all(piece)
        await trio.sleep(0.01)
    heard = bytes(await stream.receive_some(10_000))
    while b"\r\n\r\n" not in heard or (b"HEAD" not in pieces[0] and not heard.endswith(b"}")):
        heard += bytes(await stream.receive_some(10_000))
    return heard


@pytest.mark.parametrize("size", [HEAD_BYTES_MAX, 50_000])
@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_a_head_beyond_the_limit_is_refused_also_on_a_used_connection(
    size: int, end: bytes, *, is_used: bool
) -> None:
    door = Door(count, local_config(), Metrics())
    async with (
        serving(door) as house,
        await trio.open_tcp_stream("127.0.0.1", house.port) as stream,
    ):
        if is_used:
            assert (await ask(stream, PLAIN)).startswith(b"HTTP/1.1 200")
        await stream.send_all(PLAIN[:-2] + b"X: " + b"a" * size + end)
        answer = bytes(await stream.receive_some(1000))

    assert answer.startswith(b"HTTP/1.1 431")


async def test_a_head_of_the_limit_is_served() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: "
    async with serving(count) as house:
        fill = b"a" * (HEAD_BYTES_MAX - len(head))
        answer = await house.talk(head + fill + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_head_may_come_in_pieces() -> None:
    async with serving(count) as house:
        stream = await trio.open_tcp_stream("127.0.0.1", house.port)
        async with stream:
            for piece in (UPGRADE[:40], UPGRADE[40:41], UPGRADE[41:-1], UPGRADE[-1:]):
                await stream.send_all(piece)
                await trio.sleep(0.01)
            answer = await stream.receive_some(100)

    assert answer.startswith(b"HTTP/1.1 101")


CHUNKED = b"POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
COUNTED = b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"


@pytest.mark.parametrize(
    "before",
    [
        [(PLAIN,)],
        [(COUNTED, b"c")],
        [(PLAIN.replace(b"GET", b"HEAD"),), (PLAIN,)],
        [(CHUNKED, b"0\r\n\r\n"), (COUNTED + b"c",)],
    ],
)
@pytest.mark.parametrize("cut", [None, 1, 60])
async def test_a_connection_that_was_used_for_http_may_become_a_websocket(
    before: list[tuple[bytes, ...]], cut: int | None
) -> None:
    door = Door(count, local_config(), Metrics())
    async with (
        serving(door) as house,
        await trio.open_tcp_stream("127.0.0.1", house.port) as stream,
    ):
        for pieces in before:
            assert (await ask(stream, *pieces)).startswith(b"HTTP/1.1 200")
        await stream.send_all(UPGRADE[:cut])
        if cut:
            await trio.sleep(0.02)
            await stream.send_all(UPGRADE[cut:])
        answer = bytes(await stream.receive_some(1000))
        await stream.send_all(HELLO)
        echo = bytes(await stream.receive_some(1000))

    assert answer.startswith(b"HTTP/1.1 101")
    assert echo == b"\x81\x05hello"


async def test_a_used_connection_goes_on_as_http_where_nothing_upgrades() -> None:
    door = Door(count, local_config(), Metrics())
    async with (
        serving(door) as house,
        await trio.open_tcp_stream("127.0.0.1", house.port) as stream,
    ):
        answers = [await ask(stream, *p) for p in ((PLAIN,), (COUNTED, b"c"), (PLAIN,))]

    assert [answer.split(b" ")[1] for answer in answers] == [b"200"] * 3
    assert b'"size": 3' in answers[1]


async def test_http_2_without_tls_is_served_too_request_after_request() -> None:
    door = Door(count, local_config(), Metrics())
    async with (
        serving(door) as house,
        httpx.AsyncClient(base_url=house.url, trust_env=False, http1=False, http2=True) as client,
    ):
        answers = [await client.post("/count", content=bytes(50_000)) for _ in range(3)]
        total = house.connections.total

    assert [(a.http_version, a.json()["size"]) for a in answers] == [("HTTP/2", 50_000)] * 3
    assert total == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["close", "reset", "half a head"])
async def test_a_peer_that_leaves_between_two_requests_frees_its_place_at_once(how: str) -> None:
    """Hypercorn alone keeps it for as long as it waits for another request."""
    async with serving(Door(count, local_config(), Metrics())) as house:
        stream = await trio.open_tcp_stream("127.0.0.1", house.port)
        await ask(stream, PLAIN)
        await trio.sleep(0.1)  # until Hypercorn waits for the next request
        if how == "half a head":
            await stream.send_all(UPGRADE[:30])
        if how == "reset":
            stream.socket.setsockopt(
                trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        await stream.aclose()
        with trio.fail_after(2):
            await house.connections_are(0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 3_000_000])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_who_asks_once_and_closes_that_side_gets_the_whole_answer(
    monkeypatch: pytest.MonkeyPatch, size: int, *, is_chunked: bool
) -> None:
    monkeypatch.setattr(server, "LEFT_S", 0.02)

    async def large(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [] if is_chunked else [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})

    door = Door(large, local_config(), Metrics())
    async with (
        serving(door) as house,
        await trio.open_tcp_stream("127.0.0.1", house.port) as stream,
    ):
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await trio.sleep(0.05)
        await stream.send_eof()
        heard = bytearray()
        while data := await stream.receive_some(100_000):
            heard += data
            await trio.sleep(0.01)

    assert heard.count(0) == size
    assert heard.endswith(b"\r\n0\r\n\r\n" if is_chunked else b"\0")


async def test_a_websocket_echoes_small_and_large_messages() -> None:
    async with serving(count) as house, open_websocket_url(house.ws + "/ws") as socket:
        for message in ("hello", "z" * 500_000):
            await socket.send_message(message)
            assert await socket.get_message() == message


async def test_a_message_beyond_the_limit_closes_the_socket() -> None:
    async with serving(count) as house, open_websocket_url(house.ws + "/ws") as socket:
        await socket.send_message("z" * (2**20 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()
        # The library's client leaves its stream open when the other end closed first.
        await socket._stream.aclose()

    assert closed.value.reason.code == 1009


async def test_a_handler_may_refuse_a_websocket() -> None:
    async with serving(count) as house:
        answer = await house.talk(UPGRADE.replace(b"/ws", b"/elsewhere"))

    assert answer.startswith(b"HTTP/1.1 404")
    assert answer.endswith(b"no")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("Origin", "https://evil.example"), 403),
        (("Origin", "null"), 403),
        (("Origin", "https://hyper.example"), 101),
        (None, 101),
    ],
)
async def test_a_websocket_of_a_foreign_page_is_refused_before_it_is_accepted(
    header: tuple[str, str] | None, status: int
) -> None:
    asked = False

    async def handler(request: WebSocketRequest, _peer: str, _stream: FrameStream) -> None:
        nonlocal asked
        asked = True
        await (await request.accept()).aclose()

    config = local_config(cors_origins=["https://hyper.example"])
    extra = b"" if header is None else f"{header[0]}: {header[1]}\r\n".encode()
    async with serving(count, handler, config=config) as house:
        stream = await trio.open_tcp_stream("127.0.0.1", house.port)
        async with stream:
            await stream.send_all(UPGRADE[:-2] + extra + b"\r\n")
            answer = await stream.receive_some(200)

    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert asked is (status == 101)


async def test_a_websocket_for_a_host_that_is_not_served_is_refused() -> None:
    async with serving(count, config=local_config(allowed_hosts=["hyper.example"])) as house:
        answer = await house.talk(UPGRADE)

    assert answer.startswith(b"HTTP/1.1 421")
    assert b'"code":"bad_host"' in answer


@pytest.mark.parametrize("missing", [b"Sec-WebSocket-Key", b"Sec-WebSocket-Version"])
async def test_half_a_websocket_handshake_is_refused_at_once(missing: bytes) -> None:
    async with serving(count) as house:
        answer = await house.talk(UPGRADE.replace(missing, b"X-Nothing"))

    assert answer.startswith(b"HTTP/1.1 400")


async def test_connections_beyond_the_bounds_get_an_answer_and_an_end() -> None:
    connections = Connections(per_network_max=1)
    async with serving(count, connections=connections) as house:
        async with open_websocket_url(house.ws + "/ws"):
            answer = await house.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await trio.sleep(0.02)
        async with house.client() as client:
            after = await client.get("/")

    assert answer.startswith(b"HTTP/1.1 429")
    assert b"Retry-After" in answer
    assert after.status_code == 200, "a place that became free is taken again"
    assert b'refused_total{reason="rate_limited"} 1.0' in house.metrics.exposition()


async def test_websockets_of_one_address_may_all_come_at_once_but_not_again_and_again() -> None:
    async with serving(count, config=local_config(connections_per_address=3)) as house:
        for _ in range(3):
            async with open_websocket_url(house.ws + "/ws"):
                pass
        answer = await house.talk(UPGRADE)

    assert answer.startswith(b"HTTP/1.1 429")
    assert b'"code":"rate_limited"' in answer


async def test_a_slow_head_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.05)
    async with serving(count) as house:
        answer = await house.talk(b"GET / HTTP/1.1\r\nHost")

    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_reader_that_stands_still_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_S", 0.001)
    finished = trio.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(10_000):
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        finally:
            finished.set()

    async with serving(Door(endless, local_config(), Metrics())) as house:
        stream = await trio.open_tcp_stream("127.0.0.1", house.port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await finished.wait()
            await house.connections_are(0)

    assert house.connections.total == 0


@pytest.mark.slow
async def test_a_body_that_nobody_reads_does_not_hold_the_connection() -> None:
    door = Door(early, local_config(), Metrics())
    async with serving(door) as house:
        stream = await trio.open_tcp_stream("127.0.0.1", house.port)
        async with stream:
            await stream.send_all(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n" + bytes(2_000_000)
            )
            answer = await stream.receive_some(1000)
            await house.connections_are(0)

    assert answer.startswith(b"HTTP/1.1 401")


async def test_a_body_that_ends_in_time_keeps_the_connection_after_an_early_answer() -> None:
    door = Door(early, local_config(), Metrics())
    async with serving(door) as house, house.client() as client:
        answers = [await client.post("/", content=bytes(2_000_000)) for _ in range(2)]
        total = house.connections.total

    assert [(a.status_code, a.text) for a in answers] == [(401, "early")] * 2
    assert total == 1


async def test_peers_that_leave_at_any_point_do_no_harm() -> None:
    async with serving(Door(count, local_config(), Metrics())) as house:
        for piece in (
            b"",
            b"GET",
            UPGRADE,
            UPGRADE[:-4],
            b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(1000),
            b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", house.port)
            if piece:
                await stream.send_all(piece)
                await trio.sleep(0.005)
            await trio.aclose_forcefully(stream)
        async with house.client() as client:
            answer = await client.get("/")

    assert answer.status_code == 200


async def test_a_handlers_fault_ends_its_connection_only_and_is_logged() -> None:
    async def faulty(request: WebSocketRequest, _peer: str, _stream: FrameStream) -> None:
        await request.accept()
        msg = "our fault"
        raise RuntimeError(msg)

    with structlog.testing.capture_logs() as lines:
        async with serving(count, faulty) as house:
            heard = await house.talk(UPGRADE)
            async with house.client() as client:
                answer = await client.get("/")

    assert heard.startswith(b"HTTP/1.1 101")
    assert answer.status_code == 200
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "connection failed"
    ]


async def test_an_applications_fault_is_500_without_a_traceback() -> None:
    door = Door(count, local_config(), Metrics())
    with structlog.testing.capture_logs() as lines:
        async with serving(door) as house, house.client() as client:
            answer = await client.get("/fail")

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "application fails" not in answer.text
    assert [line["event"] for line in lines] == ["request failed"]


async def test_the_drain_lets_open_things_end_and_takes_nothing_new() -> None:
    statuses: list[int] = []
    begun = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            begun.set()
        await count(scope, receive, send)

    async with serving(app, config=local_config(drain_s=2)) as house:

        async def ask() -> None:
            async with house.client() as client:
                statuses.append((await client.get("/slow")).status_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await begun.wait()
            house.drain.begin()
            await trio.sleep(0.02)
            with pytest.raises(OSError, match="failed"):
                await trio.open_tcp_stream("127.0.0.1", house.port)
        await house.stopped.wait()

    assert statuses == [200]


async def test_a_connection_that_was_accepted_is_answered_though_the_drain_begins() -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(count, config=local_config(drain_s=3)) as house:
        async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
            await stream.send_all(request[:10])
            await house.connections_are(1)
            house.drain.begin()
            await trio.sleep(0.3)
            await stream.send_all(request[10:])
            answer = await stream.receive_some(1000)
        with trio.fail_after(1):
            await house.stopped.wait()

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.slow
async def test_a_request_that_arrives_with_the_drain_is_answered() -> None:
    """Whichever step of its way it has come to: closing it there would tell the client nothing."""
    answers = set()
    for steps in range(40):
        async with (
            serving(count, config=local_config(drain_s=3)) as house,
            await trio.open_tcp_stream("127.0.0.1", house.port) as stream,
        ):
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while not house.connections.total:
                await trio.lowlevel.checkpoint()
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            house.drain.begin()
            answers.add((await stream.receive_some(1000))[:12])

    assert answers == {b"HTTP/1.1 200"}


async def test_a_websocket_that_stays_is_cut_when_the_drains_time_is_over() -> None:
    cut = trio.Event()

    async def stay(request: WebSocketRequest, _peer: str, _stream: FrameStream) -> None:
        await request.accept()
        try:
            await trio.sleep_forever()
        finally:
            cut.set()

    config = local_config(drain_s=0.05)
    async with serving(count, stay, config=config) as house, trio.open_nursery() as nursery:
        nursery.start_soon(house.talk, UPGRADE)
        await house.connections_are(1)
        await trio.sleep(0.02)
        house.drain.begin()
        with trio.fail_after(1):
            await cut.wait()
            await house.stopped.wait()


async def test_the_second_port_serves_the_same() -> None:
    config = local_config(ws_port=0, port=0)
    plain = await open_listeners(config)
    async with trio.open_nursery() as nursery:
        for listener in plain:
            nursery.start_soon(listener.aclose)

    assert len(plain) == 1, "the same number is one port"


async def test_two_numbers_are_two_ports(free_port: int) -> None:
    listeners = await open_listeners(local_config(ws_port=free_port))
    ports = [port_of(listener) for listener in listeners]
    for listener in listeners:
        await listener.aclose()

    assert ports[1] == free_port
    assert ports[0] != free_port


@pytest.fixture
async def free_port() -> int:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listener.socket.getsockname()[1]
    await listener.aclose()
    return port


async def test_a_line_is_logged_for_refused_connections_but_not_for_each_of_a_flood() -> None:
    connections = Connections(per_network_max=0)
    with captured_log() as log:
        async with serving(count, connections=connections) as house:
            for _ in range(40):
                stream = await trio.open_tcp_stream("127.0.0.1", house.port)
                await trio.aclose_forcefully(stream)
            await trio.sleep(0.05)

    refused = [line for line in log.lines() if line["event"] == "connection refused"]
    assert 1 <= len(refused) <= 21
    assert refused[0]["code"] == "rate_limited"


@pytest.mark.parametrize(
    ("raw", "is_upgrade"),
    [
        (UPGRADE, True),
        (UPGRADE.replace(b"\r\n", b"\n"), True),
        (UPGRADE.replace(b"Upgrade: websocket", b"uPgRaDe:WebSocket  "), True),
        (UPGRADE.replace(b"GET", b"POST"), False),
        (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"), False),
        (b"GET /?a=%0d%0aUpgrade:%20websocket HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nUpgrade: websocket\r\n\r\n", False),
        (b"", False),
    ],
)
def test_only_a_get_with_the_header_is_an_upgrade(raw: bytes, *, is_upgrade: bool) -> None:
    assert parse_head(raw).is_upgrade is is_upgrade


async def test_a_peer_that_leaves_before_the_end_of_its_head_said_nothing(
    autojump_clock: MockClock,
) -> None:
    one, other = trio.testing.memory_stream_pair()
    await one.send_all(b"GET / HTTP/1.1\r\n")
    await one.send_eof()

    assert await read_head(other) == b""
