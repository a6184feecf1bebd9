"""The sample program's arithmetic in Python: what its C must give, whoever compiles it."""

from __future__ import annotations

import hashlib
import struct

WORD, HALF = 2**64, 2**32


def by_product(memory: bytearray, value: int, number: int) -> int:
    low = (value * 2654435761 + number) % HALF
    return value ^ (low << (number & 31)) % WORD


def by_sign(memory: bytearray, value: int, number: int) -> int:
    narrow = (value - number * 77777 + 2**31) % HALF - 2**31
    return ((narrow >> 3) + value) % WORD


def by_quotient(memory: bytearray, value: int, number: int) -> int:
    return value // (number + 3) ^ value % (number + 11)


def by_bytes(memory: bytearray, value: int, number: int) -> int:
    at = number & 7
    struct.pack_into("<Q", memory, at, value)
    (middle,) = struct.unpack_from("<I", memory, at + 1)
    struct.pack_into("<H", memory, at + 3, (middle + number) % 2**16)
    (result,) = struct.unpack_from("<Q", memory, at)
    return int(result ^ int.from_bytes(value.to_bytes(8, "little"), "big"))


STEPS = (by_product, by_sign, by_quotient, by_bytes)


def mix(value: int, rounds: int) -> bytes:
    """The return data of `mix`: the number that comes out, and a digest of it and of the memory."""
    memory, added = bytearray(16), 0
    for number in range(rounds, 0, -1):
        value = STEPS[value & 3](memory, value, number)
        added += number
    number = (value + added) % WORD
    first = struct.pack("<Q", number)
    return first + hashlib.sha256(first + memory).digest()
