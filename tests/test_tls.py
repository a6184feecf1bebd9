"""TLS on the one port: what passes, who is refused, a new certificate while connections live."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog
import trio
from trio_websocket import open_websocket_url

from coordinator import server
from coordinator.metrics import Metrics
from coordinator.server import open_listeners, port_of
from coordinator.signals import Drain, heed_hangups
from coordinator.tls import Tls, reload_certificate, watch_certificate
from tests.authority import Authority
from tests.processes import free_port
from tests.serving import Served, local_config, serving
from tests.test_server import UPGRADE, count

GREETING: bytes = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls(authority: Authority) -> Tls:
    return authority.issue().tls()


async def shaken(
    house: Served, context: ssl.SSLContext, *, host: str = "127.0.0.1"
) -> trio.SSLStream[trio.SocketStream]:
    """A connection whose handshake is done."""
    plain = await trio.open_tcp_stream("127.0.0.1", house.port)
    stream = trio.SSLStream(plain, context, server_hostname=host, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def client_of(house: Served, context: ssl.SSLContext, **options: Any) -> httpx.AsyncClient:
    url = f"https://127.0.0.1:{house.port}"
    return httpx.AsyncClient(base_url=url, verify=context, trust_env=False, **options)


async def served_number(house: Served, context: ssl.SSLContext) -> str:
    """The serial number of the certificate that a new connection is shown."""
    async with await shaken(house, context) as stream:
        seen = stream.getpeercert()
        assert seen is not None
        return str(seen["serialNumber"])


# ---- what passes --------------------------------------------------------------------------------


async def test_http_and_websockets_share_the_port(authority: Authority, tls: Tls) -> None:
    context = authority.client()
    async with serving(count, tls=tls) as house:
        async with client_of(house, context) as client:
            answer = await client.post("/count", content=bytes(200_000))
        url = f"wss://127.0.0.1:{house.port}/ws"
        async with open_websocket_url(url, ssl_context=context) as socket:
            for message in ("hello", "z" * 500_000):
                await socket.send_message(message)
                assert await socket.get_message() == message

    assert answer.json() == {"size": 200_000, "peer": "127.0.0.1"}


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("h2", "http/1.1"), "http/1.1"), (("h2",), None), (("http/1.1",), "http/1.1"), ((), None)],
)
async def test_whatever_a_client_offers_its_websocket_works(
    authority: Authority, tls: Tls, offered: tuple[str, ...], chosen: str | None
) -> None:
    context = authority.client()
    context.set_alpn_protocols(list(offered))
    async with serving(count, tls=tls) as house, await shaken(house, context) as stream:
        agreed = stream.selected_alpn_protocol()
        await stream.send_all(UPGRADE)
        answer = await stream.receive_some(100)

    assert agreed == chosen
    assert answer.startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    ("version", "is_served"),
    [
        (ssl.TLSVersion.TLSv1_3, True),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_1, False),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_nothing_older_than_tls_1_2_is_spoken(
    authority: Authority, tls: Tls, version: ssl.TLSVersion, *, is_served: bool
) -> None:
    context = authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    async with serving(count, tls=tls) as house:
        try:
            async with await shaken(house, context) as stream:
                spoken = stream.version()
        except trio.BrokenResourceError:
            spoken = None

    assert (spoken is not None) is is_served


# ---- who is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
async def test_plain_http_on_a_tls_port_is_told_so_at_once(
    authority: Authority, tls: Tls, method: str
) -> None:
    async with serving(count, tls=tls) as house:
        with trio.fail_after(2):
            answer = await house.talk(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":"tls_required"' in answer
    assert b'refused_total{reason="tls_required"} 1.0' in house.metrics.exposition()


async def test_a_plain_websocket_on_a_tls_port_is_told_so_too(tls: Tls) -> None:
    async with serving(count, tls=tls) as house:
        answer = await house.talk(UPGRADE)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"wss://" in answer


async def test_tls_on_a_plain_port_fails_at_once(authority: Authority) -> None:
    async with serving(count) as house:
        with trio.fail_after(2), pytest.raises(trio.BrokenResourceError) as broken:
            await shaken(house, authority.client())

    assert "WRONG_VERSION_NUMBER" in str(broken.value.__cause__)


@pytest.mark.parametrize(
    "garbage", [GREETING + bytes(600), b"\x80\x2e\x01\x00\x02", bytes(100), b"\r\n"]
)
async def test_garbage_ends_its_own_connection_only(
    authority: Authority, tls: Tls, monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.05)
    with structlog.testing.capture_logs() as lines:
        async with serving(count, tls=tls) as house:
            await house.talk(garbage)
            async with client_of(house, authority.client()) as client:
                assert (await client.get("/")).status_code == 200

    assert [line for line in lines if line["log_level"] == "error"] == []


@pytest.mark.parametrize("garbage", [b"", b"\x16", GREETING])
async def test_a_handshake_that_stands_still_is_cut_off_and_others_are_served_meanwhile(
    authority: Authority, tls: Tls, monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.15)
    async with serving(count, tls=tls) as house, trio.open_nursery() as nursery:
        nursery.start_soon(house.talk, garbage)
        await house.connections_are(1)
        async with client_of(house, authority.client()) as client:
            assert (await client.get("/")).status_code == 200
        await house.connections_are(0)


async def drip(stream: trio.SocketStream, data: bytes) -> None:
    for byte in data:
        await stream.send_all(bytes([byte]))
        await trio.sleep(0.01)


async def test_a_handshake_that_drips_is_cut_off_by_the_same_deadline(
    tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.15)
    async with serving(count, tls=tls) as house:
        began = trio.current_time()
        stream = await trio.open_tcp_stream("127.0.0.1", house.port)
        async with stream:
            with pytest.raises(trio.BrokenResourceError), trio.fail_after(3):
                await drip(stream, GREETING + bytes(1000))
        took_s = trio.current_time() - began

    assert 0.1 < took_s < 1


@pytest.mark.slow
async def test_three_hundred_slow_handshakes_from_six_addresses_hold_up_nobody(
    authority: Authority, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 2.5)
    context, served_s = authority.client(), []
    slow: list[trio.SocketStream] = []

    async def begin(address: str, said: bytes) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", house.port, local_address=address)
        await stream.send_all(said)
        slow.append(stream)

    async with serving(count, tls=tls) as house:
        async with trio.open_nursery() as nursery:
            for number in range(300):
                said = (GREETING * 50)[: number % 50 * 2]
                nursery.start_soon(begin, f"127.0.1.{number // 50 + 1}", said)
        for _ in range(10):
            began = trio.current_time()
            async with client_of(house, context) as client:
                assert (await client.get("/")).status_code == 200
            served_s.append(trio.current_time() - began)
        held = house.connections.total
        await house.connections_are(0)
        for stream in slow:
            await trio.aclose_forcefully(stream)

    assert held > 250, "they were there all the time"
    assert sorted(served_s)[5] < 0.5


async def test_a_slow_head_after_the_handshake_is_answered_under_tls(
    authority: Authority, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.1)
    async with serving(count, tls=tls) as house, await shaken(house, authority.client()) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost")
        answer = await stream.receive_some(1000)

    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_refused_websocket_hears_why_under_tls(authority: Authority, tls: Tls) -> None:
    async with serving(count, tls=tls) as house, await shaken(house, authority.client()) as stream:
        await stream.send_all(UPGRADE[:-2] + b"Origin: https://evil.example\r\n\r\n")
        answer = await stream.receive_some(1000)

    assert answer.startswith(b"HTTP/1.1 403")
    assert b"bad_origin" in answer


async def test_a_socket_that_the_service_manager_opened_speaks_tls_too(
    authority: Authority, tls: Tls
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        (listener,) = await open_listeners(local_config(), tls, [opened.dup()])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_one, listener)
            plain = await trio.open_tcp_stream(*opened.getsockname())
            stream = trio.SSLStream(plain, authority.client(), server_hostname="127.0.0.1")
            await stream.do_handshake()
            await trio.aclose_forcefully(stream)
        await listener.aclose()


async def test_the_seeds_second_port_speaks_tls_too(authority: Authority, tls: Tls) -> None:
    first, second = await open_listeners(local_config(ws_port=free_port(24_500)), tls)
    async with trio.open_nursery() as nursery:
        for listener in (first, second):
            nursery.start_soon(accept_one, listener)
            plain = await trio.open_tcp_stream("127.0.0.1", port_of(listener))
            stream = trio.SSLStream(plain, authority.client(), server_hostname="127.0.0.1")
            await stream.do_handshake()
            await trio.aclose_forcefully(stream)
    await first.aclose()
    await second.aclose()


async def accept_one(listener: Any) -> None:
    stream = await listener.accept()
    await stream.do_handshake()
    await trio.aclose_forcefully(stream)


async def test_handshakes_of_one_address_have_a_rate(
    authority: Authority, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TLS_HANDSHAKES_BURST", 3)
    monkeypatch.setattr(server, "TLS_HANDSHAKES_PER_S", 0.001)
    config = local_config(connections_per_address=1)
    shaken_hands = 0
    async with serving(count, tls=tls, config=config) as house:
        for _ in range(6):
            try:
                async with await shaken(house, authority.client()):
                    shaken_hands += 1
            except (trio.BrokenResourceError, ssl.SSLError):
                continue
            await house.connections_are(0)

    assert shaken_hands == 4, "one place and a burst of three"
    assert b'rate_limited_total{scope="address"} 2.0' in house.metrics.exposition()


# ---- a new certificate --------------------------------------------------------------------------


@asynccontextmanager
async def hanging_up(tls: Tls | None, metrics: Metrics) -> AsyncIterator[None]:
    """Answers SIGHUP as a coordinator does, for the time of a block."""

    async def reload() -> None:
        await reload_certificate(tls, metrics)
        done.set()

    done = trio.Event()
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        os.kill(os.getpid(), signal.SIGHUP)  # before anybody heeds it
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heed_hangups, hangups, Drain(), reload)
            await done.wait()
            yield
            nursery.cancel_scope.cancel()


async def test_a_hangup_brings_the_new_certificate_and_open_connections_live_on(
    authority: Authority,
) -> None:
    files, context = authority.issue(), authority.client()
    tls = files.tls()
    async with serving(count, tls=tls) as house, client_of(house, context) as client:
        before = await served_number(house, context)
        await client.get("/")
        url = f"wss://127.0.0.1:{house.port}/ws"
        async with open_websocket_url(url, ssl_context=context) as socket:
            authority.issue(ends_days=30)
            async with hanging_up(tls, house.metrics):
                after = await served_number(house, context)
                await socket.send_message("still here")
                heard = await socket.get_message()
                answer = await client.get("/")

    assert before != after
    assert heard == "still here"
    assert answer.status_code == 200
    gauge = "hypernode_tls_certificate_expiry_timestamp_seconds"
    assert house.metrics.registry.get_sample_value(gauge) == tls.pair.expires_at_s


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ("expired", "tls_certificate_expired"),
        ("another key", "tls_pair_mismatched"),
        ("no key", "tls_file_unreadable"),
        ("exposed", "tls_key_exposed"),
        ("half written", "tls_not_pem"),
    ],
)
async def test_a_bad_new_certificate_leaves_the_old_one_and_says_so_by_name(
    authority: Authority, spoil: str, code: str
) -> None:
    files, context = authority.issue(), authority.client()
    tls = files.tls()
    async with serving(count, tls=tls) as house:
        before = await served_number(house, context)
        other = authority.issue(name="other")
        match spoil:
            case "expired":
                authority.issue(begins_days=-9, ends_days=-1)
            case "another key":
                files.key.write_bytes(other.key.read_bytes())
            case "no key":
                files.key.unlink()
            case "exposed":
                files.key.chmod(0o644)
            case "half written":
                files.cert.write_bytes(other.cert.read_bytes()[:200])
        with structlog.testing.capture_logs() as lines:
            async with hanging_up(tls, house.metrics):
                after = await served_number(house, context)

    assert after == before
    (line,) = [line for line in lines if line["event"] == "certificate not reloaded"]
    assert (line["log_level"], line["code"]) == ("error", code)
    assert str(files.key if "key" in line["reason"].split()[0] else files.cert) in line["reason"]


async def test_a_hangup_without_a_certificate_ends_nothing() -> None:
    metrics = Metrics()
    with structlog.testing.capture_logs() as lines:
        async with hanging_up(None, metrics):
            pass

    assert [line["event"] for line in lines] == ["nothing to reload"]
    assert b"certificate_expiry_timestamp_seconds +Inf" in metrics.exposition()


@pytest.mark.parametrize(
    ("names", "days", "warned"),
    [
        (("hyper.example",), 90, []),
        (("*.example",), 90, []),
        (("other.example",), 90, ["the certificate does not name the domain"]),
        (("hyper.example",), 13, ["the certificate expires soon"]),
    ],
)
async def test_what_is_wrong_with_a_serving_certificate_is_said(
    authority: Authority, names: tuple[str, ...], days: float, warned: list[str]
) -> None:
    tls = authority.issue(*names, ends_days=days, name="watched").tls()
    metrics = Metrics()
    with structlog.testing.capture_logs() as lines, trio.move_on_after(0.02):
        await watch_certificate(tls, metrics, "hyper.example:3001")

    assert [line["event"] for line in lines] == warned
    assert b"hypernode_tls_certificate_expiry_timestamp_seconds 1." in metrics.exposition()


def test_an_address_of_ipv6_is_a_name_too(authority: Authority) -> None:
    assert authority.issue().tls().stands_for("[::1]:3001")
    assert not authority.issue("a.example").tls().stands_for("b.a.example")
