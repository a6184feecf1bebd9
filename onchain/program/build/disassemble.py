"""A program as text, and the proof that its two versions are one program.

In:   a program read back from its file.
Out:  a line an instruction, with calls and addresses by name; or the first difference.
Rules of the proof:
  1. An instruction has the same eight bytes in both, but for calls and `lddw`.
  2. A call leads to the same instruction or to the same system call in both; a call by pointer
     takes the same register.
  3. An `lddw`, and eight bytes of constants, hold the same number in both, or an address of the
     same code or constant.
Why it proves something: it reads files alone and asks the linker nothing.
Not covered: that the VM runs the two alike (v0 has gaps between stack frames, v3 has none).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onchain.program.build.errors import VersionsDiffer
from onchain.program.build.image import Version
from onchain.program.build.instructions import (
    CALL,
    CALLX,
    LDDW,
    SIZE,
    Instruction,
    decode_all,
    lddw_value,
    spell,
)
from onchain.program.build.program_file import Program


def disassemble(program: Program, functions: Mapping[int, str] | None = None) -> list[str]:
    """One line an instruction.

    Args:
        program: As its file says.
        functions: Offset in the code of each function, and its name; numbers stand in without.
    """
    names = {offset // SIZE: name for offset, name in (functions or {}).items()}
    names.setdefault(program.entry, "entrypoint")
    return list(_lines(program, names))


def _lines(program: Program, names: Mapping[int, str]) -> Iterator[str]:
    for index, instruction in decode_all(program.text).items():
        if index in names:
            yield f"{names[index]}:"
        yield f"{index:6}  {_line(program, names, index, instruction)}"


def _line(program: Program, names: Mapping[int, str], index: int, i: Instruction) -> str:
    if i.opcode == LDDW:
        value = lddw_value(program.text, index)
        return f"lddw r{i.dst}, {address_of(program, value) or hex(value)}"
    target = call_target(program, index, i)
    if isinstance(target, int) and i.opcode == CALL:
        return f"call {names.get(target, target)}"
    return f"call {target}" if isinstance(target, str) else spell(index, i)


def address_of(program: Program, value: int) -> str | None:
    """Name of a place in the program that a number may be the address of."""
    if 0 <= value - program.text_base < len(program.text):
        return f"text+{value - program.text_base:#x}"
    if 0 <= value - program.rodata_base < len(program.rodata):
        return f"rodata+{value - program.rodata_base:#x}"
    return None


def call_target(program: Program, index: int, i: Instruction) -> int | str | None:
    """Name of the system call, index of the function, or register by which it is called."""
    if i.opcode == CALL:
        return program.syscalls.get(index, index + 1 + i.immediate)
    if i.opcode == CALLX:
        return i.immediate if program.version is Version.V0 else i.dst
    return None


def prove_same(v0: Program, v3: Program) -> None:
    """Prove that two files are one program.

    Raises:
        VersionsDiffer: they are not, or it cannot be seen.
    """
    if (v0.entry, len(v0.text)) != (v3.entry, len(v3.text)):
        msg = "the two do not have as much code, or begin elsewhere"
        raise VersionsDiffer(msg)
    first, second = decode_all(v0.text), decode_all(v3.text)
    if first.keys() != second.keys():
        msg = "the two have other instructions"
        raise VersionsDiffer(msg)
    for index in first:
        if not _is_same(v0, v3, index, first[index], second[index]):
            a, b = (_line(p, {}, index, i) for p, i in ((v0, first[index]), (v3, second[index])))
            msg = f"instruction {index} is {a} in v0 and {b} in v3"
            raise VersionsDiffer(msg)
    _prove_constants(v0, v3)


def _is_same(v0: Program, v3: Program, index: int, a: Instruction, b: Instruction) -> bool:
    if a.opcode == b.opcode == LDDW:
        halves = (p.text[(index + 1) * SIZE :][:4] for p in (v0, v3))
        values = lddw_value(v0.text, index), lddw_value(v3.text, index)
        same = a._replace(immediate=b.immediate) == b and next(halves) == next(halves)
        return same and _is_same_number(v0, v3, *values)
    if a.opcode == b.opcode == CALL:
        targets = call_target(v0, index, a), call_target(v3, index, b)
        return a._replace(immediate=b.immediate) == b and targets[0] == targets[1]
    if a.opcode == b.opcode == CALLX:
        return a._replace(dst=a.immediate, immediate=a.dst) == b
    return a == b


def _is_same_number(v0: Program, v3: Program, a: int, b: int) -> bool:
    return a == b or (address_of(v0, a) is not None and address_of(v0, a) == address_of(v3, b))


def _prove_constants(v0: Program, v3: Program) -> None:
    if len(v0.rodata) != len(v3.rodata):
        msg = "the two have other constants"
        raise VersionsDiffer(msg)
    for at in range(0, len(v0.rodata), SIZE):
        a, b = (int.from_bytes(p.rodata[at : at + SIZE], "little") for p in (v0, v3))
        if not _is_same_number(v0, v3, a, b):
            msg = f"the constant at {at:#x} is {a:#x} in v0 and {b:#x} in v3"
            raise VersionsDiffer(msg)
