"""The head of a request: read once, understood only as far as it must be.

Rules:
  1. A head beyond `HEAD_BYTES_MAX` is cut before its end: h11 refuses it as too long. (By itself
     it takes longer ones that come in one read.) Whoever calls has the deadline.
  2. Lines may end in LF alone, as h11 allows. A head that this reading and h11's see differently
     is harmless: what is no upgrade here goes to Hypercorn, whose application has no WebSocket.
  3. A header that stands there several times is one, joined by commas (RFC 9110): no second `Host`
     or `Origin` hides behind a first one.
  4. A greeting of TLS is known by its first byte, and ends the reading.
Not here: whether it is valid (h11 parses the same bytes again, strictly).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
import trio

from coordinator.door import error_body
from coordinator.limits import HEAD_BYTES_MAX
from coordinator.protocol.errors import Refusal

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_HEAD_END_BYTES_MAX: Final = 4
#: The first byte of a TLS record that begins a handshake; no HTTP method begins so.
_TLS_HANDSHAKE: Final = b"\x16"


class Head(msgspec.Struct, frozen=True):
    """What the server has to know of a request's head."""

    is_upgrade: bool
    headers: dict[str, str]


async def read_head(stream: trio.abc.ReceiveStream, begun: bytes | bytearray = b"") -> bytes:
    """A head and what was read after it; one beyond the limit, cut; `b""` if the peer left before.

    Args:
        stream: Where it comes from.
        begun: What was read of it already.
    """
    buffer, seen = bytearray(begun), 0
    while True:
        end = _HEAD_END.search(buffer, seen)
        if end is not None and end.start() <= HEAD_BYTES_MAX:
            return bytes(buffer)
        if end is not None or len(buffer) > HEAD_BYTES_MAX + _HEAD_END_BYTES_MAX:
            # Without its end, so that nobody takes it for one.
            return bytes(buffer[: HEAD_BYTES_MAX + 1])
        if is_tls(buffer):
            return bytes(buffer)
        seen = max(0, len(buffer) - 3)
        data = await stream.receive_some(HEAD_BYTES_MAX + 1)
        if not data:
            return b""
        buffer += data


def is_tls(raw: bytes | bytearray) -> bool:
    """Whether a peer greets in TLS."""
    return raw[:1] == _TLS_HANDSHAKE


def parse_head(raw: bytes) -> Head:
    """Read a head only far enough to know where it goes: h11 parses it again, strictly."""
    end = _HEAD_END.search(raw)
    lines = raw[: end.start() if end else 0].decode("latin-1").split("\n")
    pairs = (line.partition(":") for line in lines[1:])
    headers: dict[str, str] = {}
    for name, _, value in pairs:
        key = name.strip().lower()
        headers[key] = f"{headers[key]},{value.strip()}" if key in headers else value.strip()
    is_upgrade = lines[0].startswith("GET ") and headers.get("upgrade", "").lower() == "websocket"
    return Head(is_upgrade, headers)


def plain_answer(refusal: Refusal) -> bytes:
    """A refusal as one whole HTTP answer."""
    body = error_body(refusal)
    wait = "Retry-After: 5\r\n" if refusal.status in {429, 503} else ""
    head = (
        f"HTTP/1.1 {refusal.status} {refusal.code}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{wait}Connection: close\r\n\r\n"
    )
    return head.encode() + body
