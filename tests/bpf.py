"""A small interpreter of the filters' instructions: what the kernel would answer to a call."""

from __future__ import annotations

import struct


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What becomes of a call: what the filter returns."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *padded)
    steps = list(struct.iter_unpack("<HBBI", program))
    at, accumulator = 0, 0
    while True:
        code, then, otherwise, value = steps[at]
        at += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
            continue
        is_met = {
            0x15: accumulator == value,
            0x35: accumulator >= value,
            0x45: bool(accumulator & value),
        }[code]
        at += then if is_met else otherwise
