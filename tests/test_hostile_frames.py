"""Frames that no library sends, at a live coordinator: each ends or delays its own sender only."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from coordinator import conversation, limits
from coordinator.protocol.codec import encode
from coordinator.protocol.messages import Open
from coordinator.protocol.signing import generate
from tests.house import Market, open_market, until
from tests.raw_frames import frame, raw_socket

TEXT, FIN_TEXT, CONTINUATION, FIN, PING, CLOSE = 0x01, 0x81, 0x00, 0x80, 0x89, 0x88
RSV1 = 0x40
FLOOD = 200_000


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(tmp_path) as opened:
        yield opened


async def test_compression_is_never_agreed_on_and_a_compressed_frame_ends_its_sender(
    market: Market,
) -> None:
    offer = "permessage-deflate; client_max_window_bits"
    async with raw_socket(market.house.port, extensions=offer) as peer:
        await peer.send(frame(FIN_TEXT | RSV1, b"\xaa" * 20))
        await peer.end()
    await until(lambda: bool(closes(market)))

    assert b"101" in peer.head.split(b"\r\n")[0]
    assert b"extensions" not in peer.head.lower()
    assert closes(market) == [1002]


def closes(market: Market) -> list[int]:
    """The WebSocket codes under which the log has refused connections."""
    return [line["close"] for line in market.log.lines() if "close" in line]


BROKEN = {
    "bytes that are no UTF-8": (frame(FIN_TEXT, b"\xff\xfe\xfd"), 1007),
    "half a character": (frame(FIN_TEXT, b"\xe2\x82"), 1007),
    "no mask": (frame(FIN_TEXT, b"{}", masked=False), 1002),
    "a reserved opcode": (frame(0x83, b"x"), 1002),
    "a reserved control opcode": (frame(0x8B, b"x"), 1002),
    "the second reserved bit": (frame(FIN_TEXT | 0x20, b"x"), 1002),
    "a ping in pieces": (frame(0x09, b"x"), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a continuation of nothing": (frame(FIN | CONTINUATION, b"x"), 1002),
    "a message inside another": (frame(TEXT, b"x") + frame(FIN_TEXT, b"x"), 1002),
    "a close of one byte": (frame(CLOSE, b"x"), 1002),
    "a close with a code of nobody's": (frame(CLOSE, b"\x03\xed"), 1002),
}


@pytest.mark.parametrize(("words", "code"), BROKEN.values(), ids=BROKEN)
async def test_a_frame_that_breaks_the_protocol_ends_its_connection(
    market: Market, words: bytes, code: int
) -> None:
    """The library closes it without a word to whoever broke it; the log has the code."""
    async with raw_socket(market.house.port) as peer:
        await peer.send(words)
        await peer.end()
    await until(lambda: bool(closes(market)))

    assert closes(market) == [code]
    assert market.log.said("malformed") == 1


@pytest.mark.parametrize("is_submitter", [False, True])
async def test_a_frame_that_declares_two_to_the_62_holds_its_place_no_longer_than_silence_does(
    market: Market, monkeypatch: pytest.MonkeyPatch, is_submitter: bool
) -> None:
    """Nothing is kept for what was declared; a stranger has `AUTH_S`, a submitter its pings."""
    monkeypatch.setattr("coordinator.dispatcher.AUTH_S", 0.3)
    monkeypatch.setattr(conversation, "IDLE_S", 0.2)
    monkeypatch.setattr(conversation, "SEND_S", 0.3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with raw_socket(market.house.port) as peer:
        if is_submitter:
            bearer = await market.house.bearer(generate())
            await peer.send(frame(FIN_TEXT, str(encode(Open(bearer))).encode()))
        await peer.send(frame(FIN_TEXT, b"{" * 100, length=2**62))
        began = trio.current_time()
        await peer.end()

    assert trio.current_time() - began < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", [frame(CONTINUATION), frame(PING)], ids=["empty fragments", "pings"]
)
async def test_a_flood_of_small_frames_delays_its_sender_and_nobody_else(
    market: Market, piece: bytes
) -> None:
    quiet = sorted([await market.prove_alive() for _ in range(5)])[2]
    sent = 0

    async def flood(peer_port: int, task_status: trio.TaskStatus[None]) -> None:
        nonlocal sent
        async with raw_socket(peer_port) as peer:
            bearer = await market.house.bearer(generate())
            await peer.send(frame(FIN_TEXT, str(encode(Open(bearer))).encode()), frame(TEXT, b"{"))
            task_status.started()
            for _ in range(FLOOD // 1000):
                await peer.send(piece * 1000)
                sent += 1000

    async with trio.open_nursery() as nursery:
        await nursery.start(flood, market.house.port)
        times = sorted([await market.prove_alive() for _ in range(30)])
        nursery.cancel_scope.cancel()

    assert sent > 2 * limits.PIECES_BURST, "the flood was under way"
    assert times[15] < max(10 * quiet, 0.25), (times[15], quiet)


async def test_fragments_are_put_together_and_counted_as_one_message(market: Market) -> None:
    text = json.dumps({"type": "open", "bearer": await market.house.bearer(generate())}).encode()
    async with raw_socket(market.house.port) as peer:
        await peer.send(
            frame(TEXT, text[:10]),
            frame(PING, b"between"),
            frame(CONTINUATION, text[10:30]),
            frame(FIN | CONTINUATION, text[30:]),
        )
        heard = b""
        with trio.fail_after(5):
            while b'"opened"' not in heard:
                heard += await peer.stream.receive_some()

    assert b"\x8a\x07between" in heard
