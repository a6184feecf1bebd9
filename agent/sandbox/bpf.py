"""The few instructions of classic BPF that system call filters are made of.

A filter is a list of 8-byte steps over `struct seccomp_data`: load a word, compare, jump forward,
return what becomes of the call.
Source: `bpf(4)`, `seccomp(2)`; linux/filter.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Final

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets in `struct seccomp_data`; the low halves of the arguments on a little-endian machine.
NUMBER, ARCHITECTURE, ARGUMENT_0, ARGUMENT_1, ARGUMENT_2 = 0, 4, 16, 24, 32
_X32_BIT: Final = 0x40000000


def step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """One instruction; `then` and `otherwise` are steps to skip after a comparison."""
    return struct.pack("<HBBI", code, then, otherwise, value)


def refuse(number: int) -> bytes:
    """End: the call fails with this errno."""
    return step(RETURN, ERRNO | number)


def when(call: int, argument: int, test: Sequence[bytes]) -> list[bytes]:
    """Refuse `call` where `test` falls through to the next step; load the number again after it."""
    body = [step(LOAD, argument), *test, refuse(errno.EPERM), step(LOAD, NUMBER)]
    return [step(EQUAL, call, otherwise=len(body)), *body]


def architecture_check(architecture: int, *, has_x32: bool) -> list[bytes]:
    """The beginning of each filter: foreign calls end the process; the call's number is loaded."""
    program = [
        step(LOAD, ARCHITECTURE),
        step(EQUAL, architecture, then=1),
        step(RETURN, KILL_PROCESS),
        step(LOAD, NUMBER),
    ]
    if has_x32:
        program += [step(AT_LEAST, _X32_BIT, otherwise=1), refuse(errno.ENOSYS)]
    return program
