"""Our reader and the library together hear what the library alone hears, however bytes arrive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from coordinator.frame_reader import FrameReader, Message, unmask
from coordinator.limits import FRAME_BYTES_MAX

MASK = b"\x01\x80\xfe\x55"


def frame(
    payload: bytes,
    opcode: int = 1,
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    size: bytes | None = None,
) -> bytes:
    """A client's frame; `size` replaces the bytes of its length."""
    length = len(payload)
    if size is None:
        size = bytes([length]) if length < 126 else b"\x7f" + length.to_bytes(8, "big")
        if 126 <= length <= 0xFFFF:
            size = b"\x7e" + length.to_bytes(2, "big")
    first = bytes([(final << 7) | (reserved << 4) | opcode, size[0] | (masked << 7)])
    body = MASK + unmask(MASK, payload) if masked else payload
    return first + size[1:] + body


class Library:
    """wsproto's reading side: whole messages, pings, closes, and the first mistake."""

    def __init__(self) -> None:
        self._frames = FrameProtocol(client=False, extensions=[])
        self._parts: list[Any] = []
        self.heard: list[Message | tuple[int, bytes]] = []

    def feed(self, data: bytes) -> None:
        if self.heard and isinstance(self.heard[-1], tuple) and self.heard[-1][0] == -1:
            return
        self._frames.receive_bytes(data)
        try:
            for each in self._frames.received_frames():
                if each.opcode >= Opcode.CLOSE:
                    self.heard.append((int(each.opcode), repr(each.payload).encode()))
                    continue
                self._parts.append(each.payload)
                if each.message_finished:
                    kind = str if isinstance(self._parts[0], str) else bytes
                    parts: list[Any] = [p if isinstance(p, str) else bytes(p) for p in self._parts]
                    self.heard.append(kind().join(parts))
                    self._parts = []
        except ParseFailed as error:
            self.heard.append((-1, str(error.code).encode()))


def alone(data: bytes) -> list[Message | tuple[int, bytes]]:
    library = Library()
    library.feed(data)
    return library.heard


def together(pieces: Sequence[bytes]) -> tuple[list[Message], list[Message | tuple[int, bytes]]]:
    """Messages that our reader took, and what it left to the library."""
    reader, library = FrameReader(), Library()
    ours: list[Message] = []
    for piece in pieces:
        messages, passed = reader.feed(piece)
        ours += messages
        library.feed(passed)
    return ours, library.heard


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(ends)]


PAYLOADS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=60).map(str.encode),
    st.sampled_from([125, 126, 65_535, 65_536]).map(bytes),
)
PLAIN = st.builds(frame, PAYLOADS, st.sampled_from([1, 2, 2]))
PINGS = st.builds(frame, st.binary(max_size=125), st.sampled_from([9, 10]))
STRANGE = st.one_of(
    st.builds(frame, st.just(b"part"), st.sampled_from([0, 1, 2]), final=st.booleans()),
    st.builds(frame, st.just(b"x"), st.integers(0, 15), reserved=st.integers(0, 7)),
    st.builds(frame, st.just(b"x"), masked=st.booleans()),
    st.builds(frame, st.just(b"\x03\xe8bye"), st.just(8)),
    st.builds(
        frame, st.just(b"x"), size=st.sampled_from([b"\x7e\0\x01", b"\x7f" + bytes(7) + b"\1"])
    ),
    st.builds(frame, st.just(b"p"), st.just(9), final=st.booleans(), size=st.just(b"\x7e\0\x7e")),
)


def _order(heard: Sequence[Message | tuple[int, bytes]]) -> tuple[list[Message], list[object]]:
    """Messages in their order, and the rest in its own: pings may overtake messages."""
    messages = [each for each in heard if not isinstance(each, tuple)]
    return messages, [each for each in heard if isinstance(each, tuple)]


@given(
    st.lists(st.one_of(PLAIN, PLAIN, PINGS), max_size=6),
    st.lists(st.one_of(PLAIN, PINGS, STRANGE), max_size=4),
    st.lists(st.integers(0, 10**6), max_size=12),
)
def test_together_they_hear_what_the_library_alone_hears(
    first: list[bytes], then: list[bytes], places: list[int]
) -> None:
    data = b"".join([*first, *then])

    ours, left = together(cut(data, places))

    assert _order([*ours, *left]) == _order(alone(data))


def test_plain_messages_never_reach_the_library() -> None:
    data = frame(b'{"type":"heartbeat"}') + frame(b"\x00\xff", 2) + frame(b"", 2)

    reader = FrameReader()
    assert reader.feed(data) == (['{"type":"heartbeat"}', b"\x00\xff", b""], b"")
    assert reader.is_plain


@pytest.mark.parametrize(
    "strange",
    [
        frame(b"part", final=False),
        frame(b"text \xff"),
        frame(b"x", reserved=4),
        frame(b"x", masked=False),
        frame(b"\x03\xe8", 8),
        frame(b"x", 3),
        frame(b"x", size=b"\x7e\0\x01"),
        frame(b"", 2, size=b"\x7f" + (FRAME_BYTES_MAX + 1).to_bytes(8, "big")),
        frame(b"", 2, size=b"\x7f" + (1 << 62).to_bytes(8, "big")),
    ],
    ids=[
        "fragment", "not UTF-8", "reserved bit", "not masked", "close", "unknown opcode",
        "long length", "too large", "2^62",
    ],
)  # fmt: skip
def test_at_a_strange_frame_the_library_gets_it_and_all_that_follows(strange: bytes) -> None:
    reader = FrameReader()
    after = frame(b"later")

    assert reader.feed(frame(b"first") + strange) == (["first"], strange)
    assert not reader.is_plain
    assert reader.feed(after) == ([], after)


def test_pings_are_passed_on_and_change_nothing() -> None:
    ping = frame(b"are you there", 9)
    reader = FrameReader()

    assert reader.feed(frame(b"a") + ping + frame(b"b")) == (["a", "b"], ping)
    assert reader.is_plain


@given(st.binary(max_size=5000), st.binary(min_size=4, max_size=4))
def test_unmasking_twice_gives_the_payload_back(payload: bytes, mask: bytes) -> None:
    masked = unmask(mask, payload)

    assert unmask(mask, masked) == payload
    assert masked == bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def test_a_large_frame_that_comes_in_pieces_is_put_together_once() -> None:
    payload = os.urandom(FRAME_BYTES_MAX)
    data = frame(payload, 2)
    reader = FrameReader()

    found = [reader.feed(data[start : start + 65_536]) for start in range(0, len(data), 65_536)]

    assert [messages for messages, _ in found[:-1]] == [[]] * (len(found) - 1)
    assert found[-1] == ([payload], b"")
