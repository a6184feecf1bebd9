"""The system calls that the program may use, and the numbers by which SBPF v3 calls them.

In:   the name of an undefined function.
Out:  its number, or a refusal.
Why a list: a v3 program that names an unknown system call is deployed all the same, and fails
when it is run (anza-xyz/agave issue 15094). The list is what `include/sbpf.h` declares: whoever
needs one more declares it there, with the types of Agave's `definitions`.
"""

from __future__ import annotations

from typing import Final

from onchain.program.build.errors import SyscallRefused

_WORD: Final = 0xFFFFFFFF

#: Declared in `include/sbpf.h`, each of them.
ALLOWED: Final = (
    *("sol_log_", "sol_log_64_", "sol_log_compute_units_", "sol_log_pubkey", "sol_log_data"),
    *("sol_panic_", "sol_memcpy_", "sol_memmove_", "sol_memset_", "sol_memcmp_"),
    *("sol_sha256", "sol_create_program_address", "sol_try_find_program_address"),
    *("sol_invoke_signed_c", "sol_get_stack_height"),
    *("sol_get_clock_sysvar", "sol_get_rent_sysvar", "sol_get_sysvar"),
    *("sol_set_return_data", "sol_get_return_data"),
)


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _WORD


def _scramble(word: int) -> int:
    return _rotate(word * 0xCC9E2D51 & _WORD, 15) * 0x1B873593 & _WORD


def murmur3(name: bytes) -> int:
    """MurmurHash3, 32 bits, seed 0: the number of a system call is that of its name."""
    whole = len(name) & ~3
    state = 0
    for at in range(0, whole, 4):
        word = int.from_bytes(name[at : at + 4], "little")
        state = (_rotate(state ^ _scramble(word), 13) * 5 + 0xE6546B64) & _WORD
    state ^= _scramble(int.from_bytes(name[whole:], "little")) ^ len(name)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = (state ^ state >> shift) * factor & _WORD
    return state ^ state >> 16


#: Name → number.
NUMBERS: Final = {name: murmur3(name.encode()) for name in ALLOWED}
#: Number → name.
NAMES: Final = {number: name for name, number in NUMBERS.items()}


def number_of(name: str, wanted_by: str) -> int:
    """The number of a system call.

    Raises:
        SyscallRefused: not one that the program may use; or a function that nobody defines.
    """
    number = NUMBERS.get(name)
    if number is None:
        msg = (
            f"{wanted_by} calls {name}, which no object defines and which is no system call of"
            " include/sbpf.h"
        )
        raise SyscallRefused(msg)
    return number
