"""The processor's extended precision, given back after LiteSVM has run a program.

Why: the machine code that LiteSVM makes of a program leaves the x87 registers marked as full
     (seen where a token account is made, solders 0.26 on x86-64). Whoever computes in extended
     precision in that thread afterwards gets NaN: C's `fmod` (and with it the reading of `-0.0` as
     an integer), NumPy's `longdouble` and the factors of its Fourier transforms.
How: the instruction `emms`, which marks them as empty.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, "EMMS".
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from functools import cache
from mmap import PAGESIZE, PROT_EXEC, PROT_READ, PROT_WRITE, mmap
from typing import Any, Final

#: `emms`, `ret`.
_CODE: Final = b"\x0f\x77\xc3"


def give_back() -> None:
    """Mark the registers of this thread as empty; nothing where there are none."""
    if platform.machine() == "x86_64":
        _instruction()()


@cache
def _instruction() -> Callable[[], None]:
    page = mmap(-1, PAGESIZE, prot=PROT_READ | PROT_WRITE | PROT_EXEC)
    page.write(_CODE)
    # The buffer keeps the page, and the function that is cached keeps the buffer.
    held: Any = ctypes.c_char.from_buffer(page)
    function = ctypes.CFUNCTYPE(None)(ctypes.addressof(held))

    def run(_held: Any = held) -> None:
        function()

    return run
