"""Every instruction that may not stand in a program, made by hand and refused by name."""

from __future__ import annotations

from typing import Final

import pytest

from onchain.program.build.checks import OPCODES, check
from onchain.program.build.errors import FrameExceeded, InstructionRefused, SyscallRefused
from onchain.program.build.image import REGION, Version
from onchain.program.build.instructions import Instruction, decode_all, encode, spell
from onchain.program.build.program_file import Program

I = Instruction  # noqa: E741  # a table of them is read by its columns
EXIT: Final = I(0x95, 0, 0, 0, 0)
MOV: Final = I(0xB7, 0, 0, 0, 0)
NOTHING: Final = I(0, 0, 0, 0, 0)
V0, V3 = Version


def program(
    *instructions: Instruction, version: Version = V0, syscalls: dict[int, str] | None = None
) -> Program:
    text = b"".join(map(encode, instructions))
    return Program(version, text, bytes(16), REGION, 0, 0, syscalls or {})


def checked(*instructions: Instruction, version: Version = V0) -> None:
    check(program(*instructions, version=version), {0: "first"})


@pytest.mark.parametrize("opcode", sorted(set(range(256)) - OPCODES))
@pytest.mark.parametrize("version", Version)
def test_an_opcode_of_no_bpf_v2_is_refused(opcode: int, version: Version) -> None:
    with pytest.raises(InstructionRefused, match=r"^first, instruction 0 "):
        checked(I(opcode, 0, 0, 0, 1), EXIT, version=version)


@pytest.mark.parametrize(
    ("opcode", "words"),
    [
        (0x04, "sign-extends"),  # add32
        (0x0C, "sign-extends"),
        (0xB4, "sign-extends"),  # mov32
        (0x16, "32-bit comparisons"),  # jeq32
        (0xC3, "no opcode 0xc3"),  # atomic
        (0xDB, "no opcode 0xdb"),
        (0xD7, "no opcode 0xd7"),  # bswap of v4
        (0x81, "no opcode 0x81"),  # sign-extending load of v4
        (0x06, "32-bit comparisons"),  # gotol of v4
    ],
)
def test_a_refused_opcode_says_why(opcode: int, words: str) -> None:
    with pytest.raises(InstructionRefused, match=words):
        checked(I(opcode, 0, 0, 0, 1), EXIT)


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        pytest.param(I(0x37, 1, 0, 0, 0), "divides by 0", id="div"),
        pytest.param(I(0x97, 1, 0, 0, 0), "divides by 0", id="mod"),
        pytest.param(I(0x37, 1, 0, 1, 5), "offset 1", id="signed div"),
        pytest.param(I(0xBF, 1, 2, 8, 0), "offset 8", id="sign-extending mov"),
        pytest.param(I(0x67, 1, 0, 0, 64), "0 to 63", id="lsh 64"),
        pytest.param(I(0x77, 1, 0, 0, -1), "0 to 63", id="rsh -1"),
        pytest.param(I(0xC7, 1, 0, 0, 64), "0 to 63", id="arsh 64"),
        pytest.param(I(0xD4, 1, 0, 0, 8), "16, 32 or 64", id="le8"),
        pytest.param(I(0xDC, 1, 0, 0, 0), "16, 32 or 64", id="be0"),
        pytest.param(I(0x0F, 1, 2, 0, 7), "constant has no meaning", id="add of both"),
        pytest.param(I(0x87, 1, 0, 0, 7), "constant has no meaning", id="neg of a constant"),
        pytest.param(I(0x07, 10, 0, 0, -64), "the VM's own", id="add to r10"),
        pytest.param(I(0xB7, 10, 0, 0, 0), "the VM's own", id="mov to r10"),
        pytest.param(I(0x79, 10, 1, 0, 0), "the VM's own", id="load into r10"),
        pytest.param(I(0x87, 10, 0, 0, 0), "the VM's own", id="neg of r10"),
        pytest.param(I(0xD4, 10, 0, 0, 64), "the VM's own", id="le of r10"),
        pytest.param(I(0x15, 10, 0, 0, 0), "the VM's own", id="compare r10"),
        pytest.param(I(0xB7, 11, 0, 0, 0), "r0 to r10", id="r11"),
        pytest.param(I(0xBF, 0, 15, 0, 0), "r0 to r10", id="from r15"),
        pytest.param(I(0x95, 0, 0, 1, 0), "offset has no meaning", id="exit with an offset"),
        pytest.param(I(0x05, 0, 0, 5, 0), "out of the code", id="jump behind the end"),
        pytest.param(I(0x05, 0, 0, -2, 0), "out of the code", id="jump before the start"),
        pytest.param(I(0x15, 0, 0, 9, 0), "out of the code", id="branch behind the end"),
        pytest.param(I(0x85, 0, 2, 0, 0), "no registers", id="call of a third kind"),
        pytest.param(I(0x85, 1, 1, 0, -1), "no registers", id="call with a register"),
        pytest.param(I(0x85, 0, 1, 0, 1), "no beginning", id="call into a function"),
        pytest.param(I(0x85, 0, 1, 0, -1), "no beginning", id="call that means a name"),
        pytest.param(I(0x85, 0, 1, 0, 99), "no beginning", id="call behind the end"),
        pytest.param(I(0x85, 0, 0, 0, -1), "nothing that has a name", id="call of nothing"),
    ],
)
@pytest.mark.parametrize("version", Version)
def test_an_instruction_that_the_vm_refuses_or_misreads_is_refused(
    instruction: Instruction, words: str, version: Version
) -> None:
    with pytest.raises(InstructionRefused, match=words):
        checked(instruction, MOV, MOV, EXIT, version=version)


@pytest.mark.parametrize(
    "halves",
    [
        pytest.param([I(0x18, 1, 0, 0, 5)], id="none"),
        pytest.param([I(0x18, 1, 0, 0, 5), MOV], id="an instruction"),
        pytest.param([I(0x18, 1, 0, 0, 5), I(0, 1, 0, 0, 0)], id="with a register"),
        pytest.param([I(0x18, 1, 0, 0, 5), I(0, 0, 0, 1, 0)], id="with an offset"),
        pytest.param([I(0x18, 1, 1, 0, 5), NOTHING], id="of a map"),
    ],
)
def test_half_a_constant_is_refused(halves: list[Instruction]) -> None:
    after = [] if len(halves) == 1 else [EXIT]
    with pytest.raises(InstructionRefused, match="not whole"):
        checked(MOV, *halves, *after)


def test_a_jump_into_a_constant_is_refused() -> None:
    with pytest.raises(InstructionRefused, match="middle of an lddw"):
        checked(I(0x05, 0, 0, 1, 0), I(0x18, 1, 0, 0, 5), NOTHING, EXIT)


def test_a_jump_into_another_function_is_refused() -> None:
    with pytest.raises(InstructionRefused, match=r"^first, .*out of its function"):
        check(program(I(0x05, 0, 0, 1, 0), EXIT, MOV, EXIT), {0: "first", 16: "second"})


def test_a_function_that_runs_into_the_next_is_refused() -> None:
    with pytest.raises(InstructionRefused, match=r"^first, instruction 0 .*without `exit`"):
        check(program(MOV, EXIT), {0: "first", 8: "second"})


def test_code_that_runs_out_is_refused() -> None:
    with pytest.raises(InstructionRefused, match="without `exit`"):
        checked(EXIT, MOV)


def test_a_function_that_begins_within_a_constant_is_refused() -> None:
    code = program(I(0x18, 1, 0, 0, 5), NOTHING, EXIT)
    with pytest.raises(InstructionRefused, match="middle of an lddw"):
        check(code, {0: "first", 8: "second"})


@pytest.mark.parametrize("functions", [{}, {8: "late"}, {0: "first", 16: "beyond"}])
def test_code_that_belongs_to_no_function_is_refused(functions: dict[int, str]) -> None:
    with pytest.raises(InstructionRefused, match="begin with a function"):
        check(program(MOV, EXIT), functions)


# -- calls by pointer and by name --------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "call"),
    [
        pytest.param(V0, I(0x8D, 3, 0, 0, 0), id="v3's form in v0"),
        pytest.param(V3, I(0x8D, 0, 0, 0, 3), id="v0's form in v3"),
        pytest.param(V0, I(0x8D, 0, 0, 0, 10), id="r10 in v0"),
        pytest.param(V3, I(0x8D, 10, 0, 0, 0), id="r10 in v3"),
        pytest.param(V0, I(0x8D, 0, 3, 0, 3), id="v2's form in v0"),
        pytest.param(V0, I(0x8D, 0, 0, 0, -1), id="no register"),
    ],
)
def test_a_call_by_pointer_in_a_form_of_another_version_is_refused(
    version: Version, call: Instruction
) -> None:
    with pytest.raises(InstructionRefused):
        checked(call, EXIT, version=version)


@pytest.mark.parametrize(
    ("version", "call"),
    [
        pytest.param(V0, I(0x8D, 0, 0, 0, 3), id="v0"),
        pytest.param(V3, I(0x8D, 3, 0, 0, 0), id="v3"),
        pytest.param(V0, I(0x8D, 0, 0, 0, 0), id="r0"),
    ],
)
def test_a_call_by_pointer_in_its_versions_form_passes(version: Version, call: Instruction) -> None:
    checked(call, EXIT, version=version)


def test_an_unknown_system_call_is_refused() -> None:
    code = program(I(0x85, 0, 0, 0, -1), EXIT, syscalls={0: "sol_big_mod_exp"})

    with pytest.raises(SyscallRefused, match=r"^first, .*sol_big_mod_exp is no system call"):
        check(code, {0: "first"})


def test_a_name_that_the_v0_loader_would_not_look_for_is_refused() -> None:
    code = program(I(0x85, 0, 0, 0, 1), EXIT, syscalls={0: "sol_log_"})

    with pytest.raises(InstructionRefused, match="would not look"):
        check(code, {0: "first"})


# -- frames ------------------------------------------------------------------------------------

COPY: Final = I(0xBF, 1, 10, 0, 0)


def moved(by: int, register: int = 1) -> Instruction:
    return I(0x07, register, 0, 0, by)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param([I(0x7B, 10, 0, -4097, 0)], id="store below"),
        pytest.param([I(0x79, 0, 10, -4104, 0)], id="load below"),
        pytest.param([I(0x7B, 10, 0, 0, 0)], id="store above"),
        pytest.param([I(0x7B, 10, 0, -7, 0)], id="store across the end"),
        pytest.param([I(0x72, 10, 0, 0, 1)], id="a byte above"),
        pytest.param([COPY, moved(-4096), I(0x7B, 1, 0, -8, 0)], id="below by a copy"),
        pytest.param([COPY, moved(-8), I(0x79, 2, 1, 8, 0)], id="above by a copy"),
        pytest.param([COPY, moved(-8), moved(-4089), I(0x72, 1, 0, 0, 1)], id="in two steps"),
        pytest.param([COPY, I(0xBF, 2, 1, 0, 0), I(0x72, 2, 0, 0, 1)], id="a copy's copy"),
        pytest.param([I(0xBF, 6, 10, 0, 0), I(0x8D, 0, 0, 0, 3), I(0x72, 6, 0, 0, 1)], id="kept"),
    ],
)
def test_memory_outside_the_frame_is_refused(code: list[Instruction]) -> None:
    with pytest.raises(FrameExceeded, match="outside the frame"):
        checked(*code, EXIT)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param([I(0x7B, 10, 0, -4096, 0), I(0x7B, 10, 0, -8, 0)], id="both ends"),
        pytest.param([I(0x73, 10, 0, -1, 0)], id="the last byte"),
        pytest.param([COPY, moved(-4096), I(0x7B, 1, 0, 4088, 0)], id="both ends by a copy"),
        pytest.param([COPY, I(0x79, 1, 1, -8, 0), I(0x79, 2, 1, 64, 0)], id="loaded over"),
        pytest.param([COPY, I(0x0F, 1, 2, 0, 0), I(0x79, 2, 1, 64, 0)], id="a computed index"),
        pytest.param([COPY, I(0x8D, 0, 0, 0, 3), I(0x79, 2, 1, 64, 0)], id="lost by a call"),
        pytest.param([COPY, I(0x05, 0, 0, 0, 0), I(0x79, 2, 1, 64, 0)], id="behind a label"),
    ],
)
def test_memory_in_the_frame_or_of_unknown_place_passes(code: list[Instruction]) -> None:
    checked(*code, EXIT)


# -- what is written out -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        (I(0x79, 1, 10, -8, 0), "ldx u64 r1, [r10-8]"),
        (I(0x62, 1, 0, 4, 7), "st u32 [r1+4], 7"),
        (I(0x6B, 1, 2, 0, 0), "st u16 [r1+0], r2"),
        (I(0x07, 1, 0, 0, -8), "add r1, -8"),
        (I(0xC7, 1, 0, 0, 3), "arsh r1, 3"),
        (I(0x0C, 1, 2, 0, 0), "add32 r1, r2"),
        (I(0x87, 1, 0, 0, 0), "neg r1"),
        (I(0xD4, 1, 0, 0, 16), "le16 r1"),
        (I(0xDC, 1, 0, 0, 64), "be64 r1"),
        (I(0x05, 0, 0, 3, 0), "ja 9"),
        (I(0x1D, 1, 2, -2, 0), "jeq r1, r2, 4"),
        (I(0xD5, 1, 0, 0, 9), "jsle r1, 9, 6"),
        (I(0x26, 1, 0, 0, 9), "jgt32 r1, 9, 6"),
        (I(0x85, 0, 1, 0, 3), "call 3"),
        (I(0x8D, 4, 0, 0, 0), "callx r4"),
        (I(0x8D, 0, 0, 0, 4), "callx r4"),
        (I(0x95, 0, 0, 0, 0), "exit"),
        (I(0x18, 1, 0, 0, 255), "lddw r1, 0xff"),
        (I(0xF7, 1, 0, 0, 2), "op15 r1, 2"),
        (I(0xF5, 1, 0, 0, 2), "jump15 r1, 2, 6"),
    ],
)
def test_an_instruction_is_written_as_llvm_would(instruction: Instruction, words: str) -> None:
    assert spell(5, instruction) == words


def test_reading_and_writing_instructions_are_inverse() -> None:
    code = [I(0x18, 1, 0, 0, -1), NOTHING, I(0x7B, 10, 9, -4096, 0), EXIT]
    text = b"".join(map(encode, code))

    assert decode_all(text) == {0: code[0], 2: code[2], 3: code[3]}
