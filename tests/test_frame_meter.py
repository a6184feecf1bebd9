"""Frames that carry no message have a rate, however the network cuts them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, memory_stream_pair

from coordinator.frame_meter import FRAGMENT_BYTES_FREE, FrameMeter
from coordinator.frame_stream import FrameStream
from coordinator.limits import PIECES_BURST, PIECES_PER_S

HEAD: Final = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


def frame(opcode: int, size: int, *, final: bool = True) -> bytes:
    """A client's frame: masked, its payload of bytes that look like other frames' heads."""
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return (
        bytes([0x80 * final | opcode])
        + length
        + b"mask"
        + b"\x89\x80" * (size // 2)
        + b"\x89" * (size % 2)
    )


class Fed(NamedTuple):
    """What came through, and when."""

    passed: bytes
    seconds: float


def feed(chunks: Sequence[bytes]) -> Fed:
    """Give everything to a meter and wait as often as it says."""
    meter, now, passed = FrameMeter(), 0.0, b""
    for chunk in chunks:
        rest = chunk
        while rest:
            count, wait_s = meter.admit(rest, now)
            assert (wait_s > 0) == (count < len(rest))
            passed += rest[:count]
            rest, now = rest[count:], now + wait_s
    return Fed(passed, now)


SIZES = st.sampled_from([0, 1, 125, 126, 127, 300, 65_535, 65_536])
FRAMES = st.one_of(
    st.tuples(st.sampled_from([TEXT, BINARY]), SIZES, st.booleans()),
    st.tuples(st.just(CONTINUATION), SIZES, st.booleans()),
    st.tuples(st.sampled_from([PING, PONG, CLOSE]), st.integers(0, 125), st.just(True)),
)


def costs(opcode: int, size: int, final: bool) -> bool:
    is_whole = final and opcode in {TEXT, BINARY}
    return opcode >= CLOSE or (not is_whole and size < FRAGMENT_BYTES_FREE)


@settings(max_examples=60)
@given(
    st.lists(FRAMES, max_size=12), st.lists(st.integers(0, 200), max_size=30), st.integers(1, 40)
)
def test_every_byte_passes_in_order_and_each_small_piece_costs_once(
    frames: list[tuple[int, int, bool]], cuts: list[int], times: int
) -> None:
    raw = HEAD + b"".join(frame(op, size, final=final) for op, size, final in frames) * times
    chunks, rest = [], raw
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    fed = feed([*chunks, rest])

    pieces = times * sum(costs(*each) for each in frames)
    assert fed.passed == raw
    assert fed.seconds == pytest.approx(max(0, pieces - PIECES_BURST) / PIECES_PER_S, abs=0.1)


@pytest.mark.parametrize(
    ("flood", "seconds"),
    [
        (frame(PING, 0), 20.0),
        (frame(PONG, 125), 20.0),
        (frame(CONTINUATION, 0, final=False), 20.0),
        (frame(TEXT, 125, final=False), 20.0),
        (frame(TEXT, 0), 0.0),
        (frame(CONTINUATION, 126, final=False), 0.0),
    ],
)
def test_a_flood_of_pieces_has_a_rate_and_messages_have_none_here(
    flood: bytes, seconds: float
) -> None:
    count = PIECES_BURST + int(20 * PIECES_PER_S)

    assert feed([HEAD, flood * count]).seconds == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_the_head_may_end_as_it_may_for_whoever_else_reads_it(end: bytes) -> None:
    flood = frame(PING, 0) * (PIECES_BURST + 50)

    for cut in range(1, len(end) + 1):
        fed = feed([b"GET / HTTP/1.1" + end[:cut], end[cut:] + flood])
        assert fed.seconds == pytest.approx(50 / PIECES_PER_S, abs=0.1)


async def test_a_stream_holds_back_what_comes_too_fast(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    stream = FrameStream(theirs, HEAD)
    flood = frame(PING, 0) * (PIECES_BURST + 100) + frame(TEXT, 9)
    await ours.send_all(flood)
    await ours.send_eof()

    began, heard, at_once = trio.current_time(), b"", 0
    while piece := await stream.receive_some(1 << 20):
        heard += piece
        if trio.current_time() == began:
            at_once = len(heard)

    assert heard == HEAD + flood
    assert at_once == len(HEAD) + PIECES_BURST * len(frame(PING, 0))
    assert trio.current_time() - began == pytest.approx(100 / PIECES_PER_S, abs=0.1)
