"""SBPF instructions: eight bytes each, their fields, and how they are written out.

In:   the bytes of `.text`.
Out:  instructions, and a line of text for each.
Not here: which are allowed (`checks`); where calls and addresses lead (`disassemble`).
Source: RFC 9669 (BPF instruction set); the names are LLVM's.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

#: Bytes of one instruction; `lddw` takes two.
SIZE: Final = 8
LDDW, CALL, CALLX, EXIT, JUMP = 0x18, 0x85, 0x8D, 0x95, 0x05
MOV_REGISTER, ADD_IMMEDIATE = 0xBF, 0x07
#: The class of an instruction is its lowest three bits.
LOAD_IMMEDIATE, LOAD, STORE_IMMEDIATE, STORE, ALU32, BRANCH, BRANCH32, ALU64 = range(8)
#: Read-only, the end of the stack frame.
FRAME: Final = 10

_FIELDS: Final = Struct("<BBhi")
_OPERATIONS: Final = (
    *("add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor", "mov", "arsh"),
    "end",
)
_BRANCHES: Final = (
    *("ja", "jeq", "jgt", "jge", "jset", "jne", "jsgt", "jsge", "call", "exit"),
    *("jlt", "jle", "jslt", "jsle"),
)
#: Of memory instructions, by bits 3 and 4.
WIDTHS: Final = (4, 2, 1, 8)


class Instruction(NamedTuple):
    opcode: int
    dst: int
    src: int
    offset: int
    immediate: int

    @property
    def family(self) -> int:
        return self.opcode & 7

    @property
    def operation(self) -> int:
        return self.opcode >> 4

    @property
    def takes_register(self) -> bool:
        return bool(self.opcode & 8)

    @property
    def width(self) -> int:
        """Bytes that a memory instruction moves."""
        return WIDTHS[self.opcode >> 3 & 3]


def decode(text: bytes | bytearray, index: int) -> Instruction:
    opcode, registers, offset, immediate = _FIELDS.unpack_from(text, index * SIZE)
    return Instruction(opcode, registers & 15, registers >> 4, offset, immediate)


def encode(instruction: Instruction) -> bytes:
    opcode, dst, src, offset, immediate = instruction
    return _FIELDS.pack(opcode, dst | src << 4, offset, immediate)


def decode_all(text: bytes) -> dict[int, Instruction]:
    """Index → instruction; the second half of an `lddw` is none."""
    found = {}
    index = 0
    while index < len(text) // SIZE:
        found[index] = decode(text, index)
        index += 2 if found[index].opcode == LDDW else 1
    return found


def lddw_value(text: bytes, index: int) -> int:
    """The 64-bit constant of the `lddw` at `index`; a missing second half counts as zero."""
    low = decode(text, index).immediate & 0xFFFFFFFF
    last = len(text) // SIZE - 1
    high = decode(text, index + 1).immediate & 0xFFFFFFFF if index < last else 0
    return low | high << 32


def branch_target(index: int, instruction: Instruction) -> int | None:
    """Index where a jump leads; None for what is no jump."""
    if instruction.family not in {BRANCH, BRANCH32} or instruction.operation in {8, 9}:
        return None
    return index + 1 + instruction.offset


def spell(index: int, instruction: Instruction) -> str:
    """An instruction in words, calls and `lddw` by their raw fields."""
    family = instruction.family
    if family in {LOAD, STORE_IMMEDIATE, STORE}:
        return _spell_memory(instruction)
    if family in {ALU32, ALU64}:
        return _spell_operation(instruction)
    if family in {BRANCH, BRANCH32}:
        return _spell_branch(index, instruction)
    return f"lddw r{instruction.dst}, {instruction.immediate:#x}"


def _operand(i: Instruction) -> str:
    return f"r{i.src}" if i.takes_register else str(i.immediate)


def _spell_memory(i: Instruction) -> str:
    base = i.src if i.family == LOAD else i.dst
    place = f"[r{base}{i.offset:+d}]"
    kind = f"u{8 * i.width}"
    if i.family == LOAD:
        return f"ldx {kind} r{i.dst}, {place}"
    value = f"r{i.src}" if i.family == STORE else str(i.immediate)
    return f"st {kind} {place}, {value}"


def _spell_operation(i: Instruction) -> str:
    name = _OPERATIONS[i.operation] if i.operation < len(_OPERATIONS) else f"op{i.operation}"
    if name == "end":
        return f"{'be' if i.takes_register else 'le'}{i.immediate} r{i.dst}"
    if name == "neg":
        return f"neg r{i.dst}"
    return f"{name}{'32' if i.family == ALU32 else ''} r{i.dst}, {_operand(i)}"


def _spell_branch(index: int, i: Instruction) -> str:
    name = _BRANCHES[i.operation] if i.operation < len(_BRANCHES) else f"jump{i.operation}"
    if name == "exit":
        return name
    if name == "call":
        return f"callx r{i.dst or i.immediate}" if i.takes_register else f"call {i.immediate}"
    if name == "ja":
        return f"ja {branch_target(index, i)}"
    narrow = "32" if i.family == BRANCH32 else ""
    return f"{name}{narrow} r{i.dst}, {_operand(i)}, {branch_target(index, i)}"
