"""A guardian's port for receipts: bounded before anything is believed, under TLS."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import typer

from agent.guardians import HttpPoster, NotTaken
from coordinator.admission import network_of
from coordinator.evidence_limits import (
    GUARDIAN_BODY_BYTES_MAX,
    GUARDIAN_CONNECTIONS_PER_NETWORK_MAX,
    GUARDIAN_POSTS_BURST,
)
from coordinator.limits import HEAD_BYTES_MAX
from hypernode.cli.exit import Usage
from hypernode.cli.guardian import context_of, open_port
from hypernode.guardian import port as port_module
from hypernode.guardian.keeping import ReceiptStore
from hypernode.guardian.port import ReceiptPort
from onchain.address import encode_address
from tests.authority import Authority
from tests.fakes.scripted_coordinator import HOUSE, NODE
from tests.test_guardian_keeping import batch, lines, signature

KEY = encode_address(NODE.address)
BODY = lines(batch(1), signature(batch(1)))


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
    return bool(end) and len(body) == int(length)


class Site:
    """A port on this machine."""

    def __init__(self, number: int, port: ReceiptPort) -> None:
        self.number = number
        self.port = port

    async def say(self, raw: bytes) -> tuple[int, dict[str, Any]]:
        """Status and document of one connection's answer; 0: none came."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.number)
        async with stream:
            await stream.send_all(raw)
            answer = b""
            with trio.move_on_after(5):
                while not _is_whole(answer) and (piece := await stream.receive_some()):
                    answer += piece
        if not answer:
            return 0, {}
        head, _, document = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(document)

    async def until_connections(self, count: int) -> None:
        """Wait until so many are open there."""
        while self.port._of_network.total() != count:  # noqa: ASYNC110 (of another's making)
            await trio.sleep(0.01)

    async def post(self, body: bytes = BODY, path: str = f"/receipts/{KEY}") -> Any:
        head = f"POST {path} HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self.say(head.encode() + body)


@asynccontextmanager
async def site(folder: Path, *, is_ready: bool = True, tls: Any = None) -> AsyncIterator[Site]:
    store = ReceiptStore(folder, HOUSE.address) if is_ready else None
    port = ReceiptPort(lambda: store, run_thread=trio.to_thread.run_sync, network_of=network_of)
    listeners = await open_port("127.0.0.1", 0, tls)
    plain: Any = listeners[0] if tls is None else listeners[0].transport_listener  # type: ignore[attr-defined]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.serve, listeners)
            yield Site(plain.socket.getsockname()[1], port)
            nursery.cancel_scope.cancel()


async def test_receipts_are_taken_and_the_answer_says_how_many(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        first = await here.post()
        again = await here.post(BODY + b"no line\n")

    assert first == (200, {"read": len(BODY), "new": 3, "kept": 3, "refused": 0})
    assert again == (200, {"read": len(BODY) + 8, "new": 0, "kept": 3, "refused": 1})
    assert here.port.page() == (
        b"hypernode_guardian_receipts_kept_total 3\n"
        b"hypernode_guardian_receipts_refused_lines_total 1\n"
    )


async def test_an_agent_posts_under_tls_and_believes_its_own_authority_alone(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    files = authority.issue()
    tls = context_of("0.0.0.0", files.cert, files.key)
    (tmp_path / "receipts").mkdir()
    async with site(tmp_path / "receipts", tls=tls) as here:
        url = f"https://127.0.0.1:{here.number}"
        poster = HttpPoster(url, KEY, tls=authority.client())
        answer = await poster.post(BODY)
        await poster.aclose()
        (tmp_path / "other").mkdir()
        stranger = HttpPoster(url, KEY, tls=Authority(tmp_path / "other").client())
        with pytest.raises(NotTaken, match="not trusted"):
            await stranger.post(BODY)
        await stranger.aclose()

    assert (answer.new, answer.kept, answer.refused) == (3, 3, 0)


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: g", *fields, "", ""]).encode() + body


POST = f"POST /receipts/{KEY} HTTP/1.1"
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "another method": (request(f"GET /receipts/{KEY} HTTP/1.1"), 405, "method_not_allowed"),
    "another path": (request("POST /metrics HTTP/1.1"), 404, "not_found"),
    "a path upwards": (request("POST /receipts/../../x HTTP/1.1"), 404, "not_found"),
    "no key": (request("POST /receipts/ HTTP/1.1"), 404, "not_found"),
    "another protocol": (request(f"POST /receipts/{KEY} HTTP/2"), 400, "malformed"),
    "no request": (b"\x16\x03\x01\r\n\r\n", 400, "malformed"),
    "no length": (request(POST), 411, "length_required"),
    "two lengths": (
        request(POST, "Content-Length: 1", "Content-Length: 2"), 411, "length_required",
    ),
    "a length and chunks": (
        request(POST, "Content-Length: 1", "Transfer-Encoding: chunked"), 411, "length_required",
    ),
    "a negative length": (request(POST, "Content-Length: -1"), 411, "length_required"),
    "a length of other digits": (
        request(POST).replace(b"Host: g", "Content-Length: ²".encode("latin-1")),
        411, "length_required",
    ),
    "a body beyond its limit": (
        request(POST, f"Content-Length: {GUARDIAN_BODY_BYTES_MAX + 1}"), 413, "too_large",
    ),
    "more than was said": (request(POST, "Content-Length: 1", body=b"abc"), 400, "malformed"),
    "a head without an end": (b"POST /" + b"x" * (2 * HEAD_BYTES_MAX), 400, "head_too_large"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_what_is_no_post_is_refused_by_name(
    raw: bytes, status: int, code: str, tmp_path: Path
) -> None:
    async with site(tmp_path) as here:
        got = await here.say(raw)
        assert (got[0], got[1]["code"]) == (status, code)
        assert (await here.post())[0] == 200


async def test_before_the_coordinator_is_known_nothing_is_taken(tmp_path: Path) -> None:
    async with site(tmp_path, is_ready=False) as here:
        status, document = await here.post()

    assert (status, document["code"]) == (503, "not_ready")


async def test_who_sends_slowly_or_goes_away_costs_its_own_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_module, "HEAD_S", 0.2)
    monkeypatch.setattr(port_module, "BODY_S", 0.2)
    async with site(tmp_path) as here:
        for begun in (b"POST /rec", request(POST, "Content-Length: 9", body=b"abc")):
            status, document = await here.say(begun)
            assert (status, document["code"]) == (408, "deadline")
            gone = await trio.open_tcp_stream("127.0.0.1", here.number)
            await gone.send_all(begun)
            await gone.aclose()
        assert (await here.post())[0] == 200


async def test_posts_and_connections_of_one_network_are_bounded(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        slow = [
            await trio.open_tcp_stream("127.0.0.1", here.number)
            for _ in range(GUARDIAN_CONNECTIONS_PER_NETWORK_MAX)
        ]
        await here.until_connections(len(slow))
        one_more = await trio.open_tcp_stream("127.0.0.1", here.number)
        async with one_more:
            assert await one_more.receive_some() == b""
        for stream in slow:
            await stream.aclose()
        await here.until_connections(0)
        statuses = [(await here.post(b"\n"))[0] for _ in range(GUARDIAN_POSTS_BURST + 30)]

    assert statuses[:GUARDIAN_POSTS_BURST] == [200] * GUARDIAN_POSTS_BURST
    assert 429 in statuses[GUARDIAN_POSTS_BURST:]


async def test_a_full_store_and_a_failing_disk_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_handle: int) -> None:
        raise OSError(5, "input/output error")

    async with site(tmp_path) as here:
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail)
            failing = await here.post()
        store = here.port._store()
        assert store is not None
        store._bytes_max = 10
        full = await here.post()

    assert [(status, document["code"]) for status, document in (failing, full)] == [
        (503, "disk_failing"), (507, "store_full"),
    ]  # fmt: skip


def test_the_port_is_this_machines_alone_without_tls(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue()
    assert context_of("127.0.0.1", None, None) is None
    for host, cert, key in (
        ("0.0.0.0", None, None), ("127.0.0.1", files.cert, None), ("g.example", None, files.key),
    ):  # fmt: skip
        with pytest.raises((Usage, typer.BadParameter)):
            context_of(host, cert, key)
