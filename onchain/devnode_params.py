"""Parameters of JSON-RPC, read strictly: what is not of the promised shape is -32602.

In:   the `params` of a request, from anybody.
Out:  bytes, integers and `Config`; `RpcError` with a text that says what was wrong.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import based58

from coordinator.limits import DEVNODE_BODY_BYTES_MAX
from onchain.address import decode_address
from onchain.chain import BytesAre, Commitment, Filter, SizeIs
from onchain.errors import BadAddress

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
PARSE_ERROR: Final = -32700
PREFLIGHT_FAILED: Final = -32002
BAD_SIGNATURE: Final = -32003
BLOCK_NOT_AVAILABLE: Final = -32004
VERSION_NOT_SUPPORTED: Final = -32015
SLOT_NOT_REACHED: Final = -32016

_U64_MAX: Final = 2**64 - 1
_FILTERS_MAX: Final = 4
_FILTER_BYTES_MAX: Final = 128
_SIGNATURE_CHARS_MAX: Final = 88


class RpcError(Exception):
    """An answer that is an error of JSON-RPC."""

    def __init__(self, code: int, text: str, data: object = None) -> None:
        super().__init__(text)
        self.code = code
        self.data = data

    @property
    def document(self) -> dict[str, object]:
        told: dict[str, object] = {"code": self.code, "message": str(self)}
        return told if self.data is None else {**told, "data": self.data}


def invalid(text: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"Invalid params: {text}")


@dataclass(frozen=True, slots=True)
class Config:
    """The options that most methods share; the rest is in `more`."""

    commitment: Commitment
    encoding: str | None
    slot_min: int
    #: Offset and length of the part of the data that is wanted.
    part: tuple[int, int] | None
    more: dict[str, Any]


class Params:
    """The parameters of one call, by position."""

    def __init__(self, values: object) -> None:
        if values is None:
            values = []
        if not isinstance(values, list):
            raise RpcError(INVALID_PARAMS, "Invalid params: a list is expected")
        self._values: list[Any] = values

    def __getitem__(self, index: int) -> Any:
        return self._values[index] if index < len(self._values) else None

    def address(self, index: int) -> bytes:
        return address(self[index])

    def signature(self, index: int) -> bytes:
        return signature(self[index])

    def integer(self, index: int) -> int:
        return integer(self[index])

    def texts(self, index: int, count_max: int) -> list[Any]:
        found = self[index]
        if not isinstance(found, list) or len(found) > count_max:
            msg = f"a list of at most {count_max} is expected"
            raise invalid(msg)
        return found

    def config(self, index: int) -> Config:
        found = {} if self[index] is None else self[index]
        if not isinstance(found, dict):
            raise invalid("an object is expected")
        return Config(
            commitment=_commitment(found.get("commitment")),
            encoding=_text(found.get("encoding")),
            slot_min=integer(found.get("minContextSlot") or 0),
            part=_part(found.get("dataSlice")),
            more=found,
        )


def address(value: Any) -> bytes:
    try:
        return decode_address(value)
    except (BadAddress, TypeError) as error:
        raise invalid("an address in base58 is expected") from error


def signature(value: Any) -> bytes:
    raw = from_base58(value) if isinstance(value, str) else b""
    if len(raw) != 64 or len(value) > _SIGNATURE_CHARS_MAX:
        raise invalid("a signature in base58 is expected")
    return raw


def integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _U64_MAX:
        raise invalid("a whole number is expected")
    return value


def from_base58(text: str) -> bytes:
    # Base58 takes time in the square of its length; a packet has some 1,700 characters.
    if len(text) > 2_000:
        raise invalid("base58 of more than a packet")
    try:
        return based58.b58decode(text.encode())
    except ValueError as error:
        raise invalid("this is not base58") from error


def from_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise invalid("this is not base64") from error


def packet(value: Any, encoding: str | None) -> bytes:
    """The bytes of a transaction or a message."""
    if not isinstance(value, str) or len(value) > DEVNODE_BODY_BYTES_MAX:
        raise invalid("an encoded transaction is expected")
    if encoding == "base64":
        return from_base64(value)
    if encoding in {None, "base58"}:
        return from_base58(value)
    raise invalid("encodings of a transaction are base64 and base58")


def filters(value: Any) -> Sequence[Filter]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _FILTERS_MAX:
        raise invalid("at most 4 filters are expected")
    return tuple(map(_filter, value))


def _filter(value: Any) -> Filter:
    if isinstance(value, dict) and "dataSize" in value:
        return SizeIs(integer(value["dataSize"]))
    inner = value.get("memcmp") if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("bytes"), str):
        raise invalid("a filter is dataSize or memcmp")
    decode = from_base64 if inner.get("encoding") == "base64" else from_base58
    wanted = decode(inner["bytes"])
    if len(wanted) > _FILTER_BYTES_MAX:
        raise invalid("memcmp compares at most 128 bytes")
    return BytesAre(integer(inner.get("offset", 0)), wanted)


def _commitment(value: Any) -> Commitment:
    # What nodes still take from clients of long ago.
    old = {"recent": "processed", "single": "confirmed", "singleGossip": "confirmed"}
    old |= {"root": "finalized", "max": "finalized"}
    told = "finalized" if value is None else value
    try:
        return Commitment(old.get(told, told))
    except (ValueError, TypeError) as error:
        raise invalid("commitments are processed, confirmed and finalized") from error


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise invalid("a word is expected")
    return value


def _part(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid("dataSlice has offset and length")
    return integer(value.get("offset")), integer(value.get("length"))
