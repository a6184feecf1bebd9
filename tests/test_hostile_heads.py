"""Heads that two servers could read differently: one request each, or a refusal and an end.

Whoever stands in front of the coordinator may read a length in another way; so nothing that allows
two readings is served.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Final

import pytest
import trio

from coordinator.protocol.signing import generate
from onchain.address import encode_address
from tests.house import House, open_house

WALLET: Final = encode_address(generate().address)
SMUGGLED: Final = f"GET /api/nodes/mine?wallet={WALLET} HTTP/1.1\r\nHost: h\r\n\r\n"
BODY: Final = json.dumps({"wallet": WALLET})


def post(*headers: str, body: str) -> bytes:
    lines = ["POST /api/nodes/issue-token HTTP/1.1", "Host: h", "Content-Type: application/json"]
    return ("\r\n".join([*lines, *headers, "", ""]) + body).encode("latin-1")


#: Each must be answered at most once, and never by what was smuggled in.
AMBIGUOUS: Final[dict[str, bytes]] = {
    "a length and chunks": post(
        f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked", body=f"0\r\n\r\n{SMUGGLED}"
    ),
    "chunks and a length": post(
        "Transfer-Encoding: chunked", "Content-Length: 4",
        body=f"5\r\n{BODY[:5]}\r\n0\r\n\r\n{SMUGGLED}",
    ),
    "two lengths": post("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}", body=SMUGGLED),
    "a list of lengths": post(f"Content-Length: 0, {len(SMUGGLED)}", body=SMUGGLED),
    "a length with a sign": post(f"Content-Length: +{len(BODY)}", body=BODY + SMUGGLED),
    "a negative length": post("Content-Length: -1", body=SMUGGLED),
    "a length that is no number": post("Content-Length: ten", body=SMUGGLED),
    "an encoding nobody knows": post("Transfer-Encoding: xchunked", body=f"0\r\n\r\n{SMUGGLED}"),
    "chunked twice": post("Transfer-Encoding: chunked, chunked", body=f"0\r\n\r\n{SMUGGLED}"),
    "a name with a blank": post("Content-Length : 0", body=SMUGGLED),
    "a NUL in a value": post("X: a\0b", "Content-Length: 0", body=""),
    "a chunk size beyond its field": post(
        "Transfer-Encoding: chunked", body=f"{'f' * 20}\r\n{SMUGGLED}"
    ),
    "a chunk size that is none": post("Transfer-Encoding: chunked", body=f"zz\r\n{SMUGGLED}"),
    "a negative chunk": post("Transfer-Encoding: chunked", body=f"-1\r\n{SMUGGLED}"),
}  # fmt: skip


async def talk(house: House, raw: bytes) -> bytes:
    """Everything that is answered, up to the end or to silence."""
    heard = b""
    async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
        await stream.send_all(raw)
        with trio.move_on_after(1.0):
            try:
                async for piece in stream:
                    heard += piece
            except trio.BrokenResourceError:
                pass
    return heard


@pytest.mark.slow
@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_head_with_two_readings_smuggles_nothing(tmp_path: Path, raw: bytes) -> None:
    async with open_house(tmp_path) as house:
        heard = await talk(house, raw)

    statuses = [line.split()[1] for line in heard.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert b"[]" not in heard, "the smuggled request was answered"
    assert len(statuses) <= 1
    assert all(b"400" <= status < b"500" or status == b"501" for status in statuses), statuses


async def test_a_body_in_honest_chunks_is_served(tmp_path: Path) -> None:
    half = len(BODY) // 2
    chunks = (
        f"{half:x};ext=1\r\n{BODY[:half]}\r\n{len(BODY) - half:x}\r\n{BODY[half:]}\r\n0\r\n\r\n"
    )
    async with open_house(tmp_path) as house:
        heard = await talk(house, post("Transfer-Encoding: chunked", body=chunks))

    assert b'"code":"challenge_required"' in heard


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "A" * 200])
async def test_a_method_of_nobodys_is_refused_without_a_trace(tmp_path: Path, method: str) -> None:
    head = (
        f"{method} /api/jobs HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Secret: s3cr3t\r\n\r\n"
    )
    async with open_house(tmp_path) as house:
        heard = await talk(house, head.encode())

    assert heard.split()[1] in {b"400", b"404", b"405", b"501"}, heard[:80]
    assert b"s3cr3t" not in heard
    assert b"Traceback" not in heard


async def test_a_body_that_says_it_is_compressed_is_not_unpacked(tmp_path: Path) -> None:
    """No bomb can be: nothing here inflates; the bytes are read as the JSON that they are not."""
    bomb = zlib.compress(b'{"wallet":"' + b"a" * 3_000_000 + b'"}').decode("latin-1")
    async with open_house(tmp_path) as house:
        headers = ("Content-Encoding: deflate", f"Content-Length: {len(bomb)}", "Connection: close")
        heard = await talk(house, post(*headers, body=bomb))

    assert heard.split()[1] in {b"400", b"413"}
