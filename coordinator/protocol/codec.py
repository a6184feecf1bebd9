"""Frames: bytes to messages and back.

A message without arrays in it is a text frame of JSON. With arrays it is a binary frame: u32
little-endian header length | JSON header | raw data, to which `Array.offset` points.
Rules, in this order: size, UTF-8, depth, NUL; before authentication also one strict pass that
refuses duplicate keys and large integers; then the types.
Not here: what may come when (`session.py`), what arrays mean (`arrays.py`).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Generic, TypeVar

import msgspec

from coordinator.limits import FRAME_BYTES_MAX, INTEGER_MAX, JSON_DEPTH_MAX
from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.messages import AnyMessage, ToAgent, ToCoordinator, ToSubmitter

M = TypeVar("M")

_encoder: Final = msgspec.json.Encoder()
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_HEADER_LENGTH_BYTES: Final = 4
_NO_DATA: Final = memoryview(b"")


def encode(message: AnyMessage, data: bytes | bytearray = b"") -> str | bytes:
    """One frame: text without data, binary with.

    Raises:
        AssertionError: the frame would be larger than a peer accepts; callers split before.
    """
    payload, is_text = encode_payload(message, data)
    return payload.decode() if is_text else payload


def encode_payload(message: AnyMessage, data: bytes | bytearray = b"") -> tuple[bytes, bool]:
    """One frame's bytes, and whether they are text: see `encode`."""
    header = _encoder.encode(message)
    assert len(header) + len(data) + _HEADER_LENGTH_BYTES <= FRAME_BYTES_MAX, "frame too large"
    if not data:
        return header, True
    return len(header).to_bytes(_HEADER_LENGTH_BYTES, "little") + header + data, False


class Decoder(Generic[M]):
    """Decodes the frames that one role receives."""

    def __init__(self, union: Any) -> None:
        self._decoder: msgspec.json.Decoder[M] = msgspec.json.Decoder(union)

    def decode(
        self, frame: str | bytes, *, limit: int = FRAME_BYTES_MAX, strict: bool = False
    ) -> tuple[M, memoryview]:
        """The message of a frame, and the frame's data section (empty for text).

        Args:
            frame: What the WebSocket delivered.
            limit: Largest frame accepted, bytes.
            strict: Refuse duplicate keys and integers beyond 2^53 anywhere in the document.

        Raises:
            ProtocolError: `too_large`, `too_deep`, `unknown_type` or `malformed`.
        """
        header, data = split_frame(frame, limit)
        check_json(header, strict=strict)
        try:
            return self._decoder.decode(header), data
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            code = "unknown_type" if "`$.type`" in str(error) else "malformed"
            raise ProtocolError(code, f"not a valid message: {error}"[:500]) from error


def split_frame(frame: str | bytes, limit: int) -> tuple[bytes, memoryview]:
    """Header and data section of a frame of at most `limit` bytes."""
    if isinstance(frame, str):
        try:
            header = frame.encode()
        except UnicodeEncodeError as error:
            raise ProtocolError("malformed", "the frame holds lone surrogates") from error
        if len(header) > limit:
            raise ProtocolError("too_large", f"a frame has at most {limit} bytes here")
        return header, _NO_DATA
    if len(frame) > limit:
        raise ProtocolError("too_large", f"a frame has at most {limit} bytes here")
    if len(frame) < _HEADER_LENGTH_BYTES:
        raise ProtocolError("malformed", "a binary frame begins with its header's length")
    length = int.from_bytes(frame[:_HEADER_LENGTH_BYTES], "little")
    end = _HEADER_LENGTH_BYTES + length
    if end > len(frame):
        raise ProtocolError("malformed", "the header is longer than the frame")
    return frame[_HEADER_LENGTH_BYTES:end], memoryview(frame)[end:]


def check_json(document: bytes, *, strict: bool) -> None:
    """Refuse what the typed decoder would let through: depth, NUL, and (strict) duplicate keys."""
    if document.count(b"{") + document.count(b"[") > JSON_DEPTH_MAX:
        _check_depth(document)
    if b"\x00" in document or (b"\\u0000" in document and _NUL.search(document)):
        raise ProtocolError("malformed", "text may not hold NUL")
    if strict:
        try:
            json.loads(
                document,
                object_pairs_hook=_unique,
                parse_int=_bounded,
                parse_constant=_no_constant,
            )
        except (ValueError, RecursionError) as error:
            raise ProtocolError("malformed", f"not valid JSON: {error}"[:500]) from error


def _check_depth(document: bytes) -> None:
    if not _is_plainly_shallow(document):
        _count_depth(document)


def _is_plainly_shallow(document: bytes) -> bool:
    """Whether a document nests no deeper than is allowed; "no" if that takes a closer look.

    Ten times as fast as counting, and true of every honest frame. Without a backslash a quote
    always begins or ends a string. Each replacement takes at most one level off the deepest nest,
    so what is gone after `JSON_DEPTH_MAX` of them was no deeper than that.
    """
    if b"\\" in document:
        return False
    left = b"".join(document.split(b'"')[::2]).translate(None, _NO_BRACKETS)
    for _ in range(JSON_DEPTH_MAX // 2):
        if not left:
            break
        left = left.replace(b"[]", b"").replace(b"{}", b"")
    return not left


def _count_depth(document: bytes) -> None:
    depth = 0
    for token in _TOKENS.finditer(document):
        first = document[token.start()]
        if first in b"[{":
            depth += 1
            if depth > JSON_DEPTH_MAX:
                raise ProtocolError("too_deep", f"JSON nests at most {JSON_DEPTH_MAX} deep")
        elif first in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "an object holds a key twice"
        raise ValueError(msg)
    return found


def _bounded(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > INTEGER_MAX:
        msg = "an integer is beyond 2^53"
        raise ValueError(msg)
    return int(text)


def _no_constant(name: str) -> float:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


#: What the coordinator receives.
coordinator_decoder: Final[Decoder[ToCoordinator]] = Decoder(ToCoordinator)
#: What an agent receives.
agent_decoder: Final[Decoder[ToAgent]] = Decoder(ToAgent)
#: What a submitter receives.
submitter_decoder: Final[Decoder[ToSubmitter]] = Decoder(ToSubmitter)
