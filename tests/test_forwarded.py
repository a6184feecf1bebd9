"""For whom a proxy asks: whose headers are believed, and how much of them."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import structlog
import trio
from hypothesis import given, strategies as st
from trio_websocket import WebSocketRequest

from coordinator.admission import Connections
from coordinator.door import Door
from coordinator.forwarded import (
    check_proxy,
    client_of,
    is_like_a_proxy,
    networks_of,
    scheme_of,
)
from coordinator.frame_stream import FrameStream
from coordinator.limits import FORWARDED_HOPS_MAX
from coordinator.metrics import Metrics
from tests.serving import local_config, serving
from tests.test_server import UPGRADE

PROXIES = networks_of(("10.0.0.0/8", "127.0.0.1", "fd00::/8", "::1"))
STRANGER = "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        # whose word counts
        (STRANGER, "192.0.2.7", STRANGER),
        (STRANGER, "10.0.0.1", STRANGER),
        ("11.0.0.1", "192.0.2.7", "11.0.0.1"),
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("", "192.0.2.7", ""),
        # which hop is the client
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, 10.1.1.1, 10.2.2.2", "192.0.2.7"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.7, 10.1.1.1", "192.0.2.7"),
        ("10.0.0.1", "127.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("10.0.0.1", "192.0.2.7,10.1.1.1", "192.0.2.7"),
        # garbage
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7, unknown, 10.1.1.1", "10.1.1.1"),
        ("10.0.0.1", "unknown, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", ", ,", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7,", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.007", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7; DROP", "10.0.0.1"),
        ("10.0.0.1", "\x00", "10.0.0.1"),
        ("10.0.0.1", "_hidden", "10.0.0.1"),
        # forms
        ("10.0.0.1", "192.0.2.7:51234", "192.0.2.7"),
        ("10.0.0.1", "[2001:db8::7]:51234", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::7]x", "10.0.0.1"),
        ("10.0.0.1", "2001:DB8:0::7", "2001:db8::7"),
        ("10.0.0.1", "::ffff:192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, ::ffff:10.1.1.1", "192.0.2.7"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::1"),
    ],
)
def test_the_client_is_the_first_hop_from_the_right_that_is_no_proxy(
    peer: str, header: str, client: str
) -> None:
    assert client_of(peer, header, PROXIES) == client


def test_a_long_chain_is_read_from_its_near_end_only() -> None:
    spoofed = ",".join(["1.1.1.1"] * 5000)
    chain = ",".join(["10.1.1.1"] * (FORWARDED_HOPS_MAX + 5))

    assert client_of("10.0.0.1", f"{spoofed}, 192.0.2.7, 10.1.1.1", PROXIES) == "192.0.2.7"
    assert client_of("10.0.0.1", f"192.0.2.7,{chain}", PROXIES) == "10.1.1.1"


@given(st.text(), st.text())
def test_nothing_that_a_client_writes_changes_what_its_proxy_appends(wrote: str, more: str) -> None:
    assert client_of("10.0.0.1", f"{wrote},{more}, 192.0.2.7", PROXIES) == "192.0.2.7"
    assert client_of(STRANGER, wrote, PROXIES) == STRANGER


@pytest.mark.parametrize(
    ("peer", "header", "scheme"),
    [
        (STRANGER, "https", "http"),
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "HTTPS", "https"),
        ("10.0.0.1", "", "http"),
        ("10.0.0.1", "gopher", "http"),
        ("10.0.0.1", "https, http", "http"),
        ("10.0.0.1", "http,https", "https"),
    ],
)
def test_the_scheme_is_the_last_proxys_word(peer: str, header: str, scheme: str) -> None:
    assert scheme_of("http", peer, header, PROXIES) == scheme


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "192.0.2.0/24"])
def test_a_proxy_is_an_address_or_a_network(text: str) -> None:
    check_proxy(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*", "an address or a network"),
        ("proxy.example", "an address or a network"),
        ("10.0.0.0/33", "an address or a network"),
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("0.0.0.0/0", "everybody"),
        ("::/0", "everybody"),
    ],
)
def test_what_is_no_proxy_is_refused_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_proxy(text)


# ---- over real sockets --------------------------------------------------------------------------


async def seen(scope: Any, _receive: Any, send: Any) -> None:
    """An application that says for whom it believes to be asked."""
    body = json.dumps({"client": scope["client"][0], "scheme": scope["scheme"]}).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def lines(*headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in headers).encode()


CASES = [
    ((), ("127.0.0.1", "http")),
    (("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"), ("192.0.2.7", "https")),
    (("X-Forwarded-For: 1.1.1.1, 192.0.2.7",), ("192.0.2.7", "http")),
    (("X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 192.0.2.7"), ("192.0.2.7", "http")),
    (("X-Forwarded-For: 192.0.2.7", "x-forwarded-for: 127.0.0.1"), ("192.0.2.7", "http")),
    (("X-Forwarded-For: garbage",), ("127.0.0.1", "http")),
    (("X-Real-IP: 192.0.2.7", "Forwarded: for=192.0.2.7"), ("127.0.0.1", "http")),
]


@pytest.mark.parametrize("is_trusted", [True, False])
@pytest.mark.parametrize(("headers", "expected"), CASES)
async def test_http_counts_for_the_client_that_a_trusted_proxy_names(
    headers: tuple[str, ...], expected: tuple[str, str], *, is_trusted: bool
) -> None:
    config = local_config(trusted_proxies=["127.0.0.1"] if is_trusted else [])
    async with serving(Door(seen, config, Metrics()), config=config) as house:
        answer = await house.talk(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + lines(*headers) + b"\r\n"
        )

    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    wanted = expected if is_trusted else ("127.0.0.1", "http")
    assert (told["client"], told["scheme"]) == wanted


@pytest.mark.parametrize("is_trusted", [True, False])
@pytest.mark.parametrize(("headers", "expected"), CASES)
async def test_a_websocket_counts_for_the_client_that_a_trusted_proxy_names(
    headers: tuple[str, ...], expected: tuple[str, str], *, is_trusted: bool
) -> None:
    peers: list[str] = []

    async def handler(request: WebSocketRequest, peer: str, _stream: FrameStream) -> None:
        peers.append(peer)
        await request.reject(404)

    config = local_config(trusted_proxies=["127.0.0.1"] if is_trusted else [])
    async with serving(seen, handler, config=config) as house:
        await house.talk(UPGRADE[:-2] + lines(*headers) + b"\r\n")

    assert peers == [expected[0] if is_trusted else "127.0.0.1"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_a_proxy_that_comes_by_ipv6_is_believed_by_its_address() -> None:
    config = local_config(host="::1", trusted_proxies=["::1"])
    async with serving(Door(seen, config, Metrics()), config=config) as house:
        stream = await trio.open_tcp_stream("::1", house.port)
        async with stream:
            await stream.send_all(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                b"X-Forwarded-For: [2001:db8::7]:443\r\n\r\n"
            )
            answer = b"".join([bytes(piece) async for piece in stream])

    assert b'"client": "2001:db8::7"' in answer


async def test_the_log_names_the_client_of_a_refused_websocket() -> None:
    config = local_config(trusted_proxies=["127.0.0.1"], allowed_hosts=["hyper.example"])
    with structlog.testing.capture_logs() as said:
        async with serving(seen, config=config) as house:
            await house.talk(UPGRADE[:-2] + lines("X-Forwarded-For: 192.0.2.7") + b"\r\n")

    assert [(line["code"], line["peer"]) for line in said] == [("bad_host", "192.0.2.7")]


@pytest.mark.parametrize(
    ("trusted", "header", "warnings"),
    [
        ([], "x-forwarded-for", 1),
        (["10.0.0.0/8"], "x-forwarded-for", 1),
        (["127.0.0.1"], "x-forwarded-for", 0),
        ([], "x-other", 0),
    ],
)
async def test_a_proxy_of_ones_own_that_is_not_trusted_is_told_of_once(
    trusted: list[str], header: str, warnings: int
) -> None:
    config = local_config(trusted_proxies=trusted)
    door = Door(seen, config, Metrics())
    with structlog.testing.capture_logs() as said:
        async with serving(door, config=config) as house, house.client() as client:
            for number in range(3):
                await client.get("/", headers={header: f"192.0.2.{number}"})

    told = [line for line in said if line["event"] == "a proxy is not trusted"]
    assert len(told) == warnings
    assert all("trusted_proxies = ['127.0.0.1']" in line["fix"] for line in told)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.1.2.3", True), ("127.0.0.1", True), ("fd00::1", True), ("8.8.8.8", False), ("", False)],
)
def test_only_a_machine_of_ones_own_is_taken_for_a_forgotten_proxy(
    address: str, *, expected: bool
) -> None:
    assert is_like_a_proxy(address) is expected


@pytest.mark.slow
async def test_behind_a_proxy_each_client_has_its_own_rate_of_requests() -> None:
    config = local_config(trusted_proxies=["127.0.0.1"])
    door = Door(seen, config, Metrics())

    async with serving(door, config=config) as house, house.client() as client:

        async def statuses(forwarded: str, count: int) -> set[int]:
            headers = {"x-forwarded-for": forwarded}
            return {(await client.get("/", headers=headers)).status_code for _ in range(count)}

        greedy = await statuses("192.0.2.7", 150)
        other = await statuses("192.0.2.8", 5)
        same_network = [await statuses(f"2001:db8::{n:x}", 1) for n in range(1, 151)]
        next_network = await statuses("2001:db8:0:1::1", 5)

    assert greedy == {200, 429}
    assert other == next_network == {200}
    assert {429} in same_network, "2^64 addresses of one customer are one"


@pytest.mark.slow
async def test_a_stranger_does_not_get_a_new_rate_by_naming_others() -> None:
    config = local_config(trusted_proxies=["10.0.0.0/8"])
    door = Door(seen, config, Metrics())
    async with serving(door, config=config) as house, house.client() as client:
        statuses = {
            (await client.get("/", headers={"x-forwarded-for": f"192.0.2.{n}"})).status_code
            for n in range(150)
        }

    assert statuses == {200, 429}


async def test_behind_a_proxy_each_client_has_its_own_places_for_websockets() -> None:
    config = local_config(trusted_proxies=["127.0.0.1"], connections_per_address=2)
    connections = Connections(per_network_max=2)
    async with serving(seen, config=config, connections=connections) as house:

        async def upgraded(forwarded: str) -> bytes:
            stream = await trio.open_tcp_stream("127.0.0.1", house.port)
            await stream.send_all(UPGRADE[:-2] + lines(f"X-Forwarded-For: {forwarded}") + b"\r\n")
            answer = await stream.receive_some(300)
            streams.append(stream)
            return bytes(answer).split(b" ", 2)[1]

        streams: list[trio.SocketStream] = []
        first = [await upgraded("192.0.2.7") for _ in range(3)]
        second = [await upgraded("192.0.2.8") for _ in range(2)]
        for stream in streams:
            await trio.aclose_forcefully(stream)
        await house.connections_are(0)
        async with house.client() as client:
            plain = [(await client.get("/")).status_code for _ in range(5)]

    assert first == [b"101", b"101", b"429"]
    assert second == [b"101", b"101"]
    assert plain == [200] * 5, "the proxy's own connections have no such bound"
