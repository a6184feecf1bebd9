"""Instruction by instruction: what the VM refuses, and what it runs otherwise than was compiled.

In:   a program read back from its file, and where its functions begin.
Out:  nothing, or the first refusal, with its function and instruction.
Rules (both versions alike, so that v0 and v3 can be the same code):
  1. Only opcodes of `-mcpu=v2`. SBPF sign-extends 32-bit add, sub and mul where BPF zero-extends:
     code of `-mcpu=v3` would compute something else without a word.
  2. A field that SBPF ignores is zero: a signed division is an offset of 1 in BPF and none in SBPF.
  3. Jumps stay in their function and off the second half of an `lddw`; no function runs into the
     next one.
  4. A call leads to the beginning of a function, or to an allowed system call.
  5. r10 is only read, and memory at a known distance from it is in the frame of 4 KiB. v3 has no
     gap between frames: an overrun there reads and writes the caller's.
Not covered: frames reached by a computed index or in a called function; 64 frames of depth;
which function a pointer leads to.
Source: anza-xyz/sbpf `verifier.rs`, `interpreter.rs`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from onchain.program.build.errors import FrameExceeded, InstructionRefused, SyscallRefused
from onchain.program.build.image import Version
from onchain.program.build.instructions import (
    ADD_IMMEDIATE,
    ALU32,
    ALU64,
    BRANCH32,
    CALL,
    CALLX,
    EXIT,
    FRAME,
    JUMP,
    LDDW,
    LOAD,
    MOV_REGISTER,
    SIZE,
    STORE,
    STORE_IMMEDIATE,
    Instruction,
    branch_target,
    decode,
    decode_all,
    spell,
)
from onchain.program.build.program_file import Program
from onchain.program.build.syscalls import NUMBERS

FRAME_BYTES: Final = 4096

_MEMORY: Final = {
    mode | width | family
    for family in (LOAD, STORE_IMMEDIATE, STORE)
    for mode, width in ((0x60, 0x00), (0x60, 0x08), (0x60, 0x10), (0x60, 0x18))
}
#: add … arsh with a constant or a register, without the negation of a register, which is none.
_ARITHMETIC: Final = {op << 4 | source | ALU64 for op in range(13) for source in (0, 8)} - {0x8F}
_SWAPS: Final = {0xD4, 0xDC}
_BRANCHES: Final = {
    op << 4 | source | 5 for op in (*range(1, 8), *range(10, 14)) for source in (0, 8)
}
OPCODES: Final = frozenset(
    {LDDW, CALL, CALLX, EXIT, JUMP} | _MEMORY | _ARITHMETIC | _SWAPS | _BRANCHES
)
_DIVISIONS, _SHIFTS = {3, 9}, {6, 7, 12}
_NEGATION: Final = 8


@dataclass(frozen=True, slots=True)
class _Code:
    """The program with what the checks ask of it."""

    program: Program
    instructions: dict[int, Instruction]
    #: Index of the first instruction of each function, in order, and their names.
    starts: list[int]
    names: list[str]

    def function_at(self, index: int) -> int:
        """Number of the function that holds an instruction."""
        return bisect_right(self.starts, index) - 1

    def where(self, index: int) -> str:
        number = max(self.function_at(index), 0)
        line = spell(index, decode(self.program.text, index))
        return f"{self.names[number]}, instruction {index} ({line})"


def check(program: Program, functions: Mapping[int, str]) -> None:
    """Check every instruction of a program.

    Args:
        program: As its file says.
        functions: Offset in the code of each function, and its name.

    Raises:
        InstructionRefused: an instruction breaks a rule (`FrameExceeded` for rule 5).
        SyscallRefused: it calls a system call that is not allowed.
    """
    starts = sorted(offset // SIZE for offset in functions)
    known = {*starts} <= {*range(len(program.text) // SIZE)}
    if not known or starts[:1] != [0] or program.entry not in starts:
        msg = "the code or the program does not begin with a function"
        raise InstructionRefused(msg)
    names = [functions[start * SIZE] for start in starts]
    code = _Code(program, decode_all(program.text), starts, names)
    for index, instruction in code.instructions.items():
        _check_opcode(code, index, instruction)
        _check_fields(code, index, instruction)
        _check_registers(code, index, instruction)
        _check_branch(code, index, instruction)
        _check_call(code, index, instruction)
    _check_ends(code)
    _check_frames(code)


def _refuse(code: _Code, index: int, why: str) -> InstructionRefused:
    return InstructionRefused(f"{code.where(index)}: {why}")


def _check_opcode(code: _Code, index: int, i: Instruction) -> None:
    if i.opcode in OPCODES:
        return
    if i.family == ALU32:
        raise _refuse(code, index, "32-bit arithmetic sign-extends in SBPF: compile for v2")
    if i.family == BRANCH32:
        raise _refuse(code, index, "v0 has no 32-bit comparisons: compile for v2")
    raise _refuse(code, index, f"SBPF has no opcode {i.opcode:#04x}")


def _check_fields(code: _Code, index: int, i: Instruction) -> None:
    if i.family in {ALU32, ALU64}:
        _check_arithmetic(code, index, i)
    elif i.opcode == LDDW:
        second = code.program.text[(index + 1) * SIZE : (index + 2) * SIZE]
        if i.src or i.offset or len(second) != SIZE or any(second[:4]):
            raise _refuse(code, index, "the constant is not whole")
    elif i.opcode in {CALL, CALLX, EXIT} and i.offset:
        raise _refuse(code, index, "its offset has no meaning")


def _check_arithmetic(code: _Code, index: int, i: Instruction) -> None:
    if i.offset:
        raise _refuse(code, index, f"SBPF ignores the offset {i.offset}, BPF does not")
    if i.opcode in _SWAPS:
        if i.immediate not in {16, 32, 64}:
            raise _refuse(code, index, "a swap has 16, 32 or 64 bits")
    elif i.takes_register or i.operation == _NEGATION:
        if i.immediate:
            raise _refuse(code, index, "its constant has no meaning")
    elif i.operation in _DIVISIONS and i.immediate == 0:
        raise _refuse(code, index, "it divides by 0")
    elif i.operation in _SHIFTS and not 0 <= i.immediate < 64:
        raise _refuse(code, index, "a shift is by 0 to 63 bits")


def _check_registers(code: _Code, index: int, i: Instruction) -> None:
    if i.dst > FRAME or i.src > FRAME:
        raise _refuse(code, index, "there are registers r0 to r10")
    if i.dst == FRAME and i.family not in {STORE_IMMEDIATE, STORE}:
        raise _refuse(code, index, "r10 is the VM's own")


def _check_branch(code: _Code, index: int, i: Instruction) -> None:
    target = branch_target(index, i)
    if target is None:
        return
    if not 0 <= target < len(code.program.text) // SIZE:
        raise _refuse(code, index, "it jumps out of the code")
    if target not in code.instructions:
        raise _refuse(code, index, "it jumps into the middle of an lddw")
    if code.function_at(target) != code.function_at(index):
        raise _refuse(code, index, "it jumps out of its function")


def _check_call(code: _Code, index: int, i: Instruction) -> None:
    if i.opcode == CALLX:
        v0 = code.program.version is Version.V0
        register, other = (i.immediate, i.dst) if v0 else (i.dst, i.immediate)
        if not 0 <= register < FRAME or other or i.src:
            raise _refuse(code, index, "a call by pointer takes r0 to r9 where the version has it")
    elif i.opcode == CALL:
        if i.dst or i.src > 1:
            raise _refuse(code, index, "a call has no registers")
        if i.src:
            _check_internal_call(code, index, i)
        else:
            _check_system_call(code, index, i)


def _check_internal_call(code: _Code, index: int, i: Instruction) -> None:
    # The v0 loader takes a distance of -1 for a name that it is to fill in.
    if i.immediate == -1 or index + 1 + i.immediate not in code.starts:
        raise _refuse(code, index, "it calls what is no beginning of a function")


def _check_system_call(code: _Code, index: int, i: Instruction) -> None:
    name = code.program.syscalls.get(index)
    if name is None:
        raise _refuse(code, index, "it calls nothing that has a name")
    if name not in NUMBERS:
        msg = f"{code.where(index)}: {name} is no system call of include/sbpf.h"
        raise SyscallRefused(msg)
    if code.program.version is Version.V0 and i.immediate != -1:
        raise _refuse(code, index, "the loader would not look for its name")


def _check_ends(code: _Code) -> None:
    """No function runs into the next one, nor the last one out of the code."""
    before = {b: a for a, b in zip(code.instructions, list(code.instructions)[1:], strict=False)}
    last = next(reversed(code.instructions))
    for start in code.starts[1:]:
        if start not in code.instructions:
            raise _refuse(code, start, "a function begins in the middle of an lddw")
    for index in (*(before[start] for start in code.starts[1:]), last):
        if code.instructions[index].opcode not in {EXIT, JUMP}:
            raise _refuse(code, index, "the function ends without `exit`")


def _check_frames(code: _Code) -> None:
    """Follow copies of r10 through straight code and look at what is read and written by them."""
    labels = {branch_target(index, i) for index, i in code.instructions.items()}
    labels.update(code.starts)
    distance = {FRAME: 0}
    for index, i in code.instructions.items():
        if index in labels:
            distance = {FRAME: 0}
        _check_frame(code, index, i, distance)
        _follow(i, distance)


def _check_frame(code: _Code, index: int, i: Instruction, distance: dict[int, int]) -> None:
    if i.family not in {LOAD, STORE_IMMEDIATE, STORE}:
        return
    base = distance.get(i.src if i.family == LOAD else i.dst)
    if base is None:
        return
    if not -FRAME_BYTES <= base + i.offset <= -i.width:
        msg = f"{code.where(index)}: outside the frame, {base + i.offset:+d} from its end"
        raise FrameExceeded(msg)


def _follow(i: Instruction, distance: dict[int, int]) -> None:
    """Update which registers are at a known distance from r10."""
    if i.opcode == MOV_REGISTER and i.src in distance:
        distance[i.dst] = distance[i.src]
    elif i.opcode == ADD_IMMEDIATE and i.dst in distance:
        distance[i.dst] += i.immediate
    elif i.opcode in {CALL, CALLX}:
        for register in range(6):
            distance.pop(register, None)
    elif i.family in {LOAD, ALU32, ALU64} or i.opcode == LDDW:
        distance.pop(i.dst, None)
