"""WebSocket frames of a client, and nothing else of the protocol: what a lean load needs.

Out:  masked frames with a key of the connection's own; the messages in a server's stream.
Rules:
  1. Every frame is masked and never by zero: a server must do all of its work.
  2. A server's frames are whole (no fragments) and unmasked, or the run ends.
Not covered: extensions, fragments, UTF-8 checks; the key stays the same for a connection.
Source: RFC 6455.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
#: From this size on NumPy masks faster than one large integer does.
_NUMPY_BYTES: Final = 2048


class BadFrame(Exception):
    """A server sent what no server may, or what no load here expects."""


def masked(data: bytes, key: bytes) -> bytes:
    """The bytes under a key of four; the same call takes the mask off."""
    size = len(data)
    if size >= _NUMPY_BYTES:
        whole = size & ~3
        words = np.frombuffer(data, dtype="<u4", count=whole // 4)
        head: bytes = (words ^ np.frombuffer(key, dtype="<u4")[0]).tobytes()
        return head + masked(data[whole:], key)
    pad = (key * (size // 4 + 1))[:size]
    number = int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")
    return number.to_bytes(size, "little")


def header(opcode: int, size: int, key: bytes) -> bytes:
    """What stands before the masked data of a frame of `size` bytes."""
    first = bytes((_FINAL | opcode,))
    if size < _LENGTH_16:
        return first + bytes((_MASKED | size,)) + key
    if size < 1 << 16:
        return first + bytes((_MASKED | _LENGTH_16,)) + size.to_bytes(2, "big") + key
    return first + bytes((_MASKED | _LENGTH_64,)) + size.to_bytes(8, "big") + key


def frame(opcode: int, data: bytes, key: bytes) -> bytes:
    """One whole frame."""
    return header(opcode, len(data), key) + masked(data, key)


class Frames:
    """A server's stream, cut into messages."""

    __slots__ = ("_rest",)

    def __init__(self, rest: bytes = b"") -> None:
        self._rest = rest

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Opcode and data of each frame that is whole now.

        Raises:
            BadFrame: a fragment, or a frame that is masked.
        """
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while at + 2 <= end:
            first, size = data[at], data[at + 1]
            start = at + 2
            if size == _LENGTH_16:
                start += 2
                size = int.from_bytes(data[at + 2 : start], "big")
            elif size == _LENGTH_64:
                start += 8
                size = int.from_bytes(data[at + 2 : start], "big")
            elif size > _LENGTH:
                raise BadFrame("a server does not mask")
            if start + size > end or start > end:
                break
            if not first & _FINAL:
                raise BadFrame("this load knows no fragments")
            yield first & 0x0F, data[start : start + size]
            at = start + size
        self._rest = data[at:]
