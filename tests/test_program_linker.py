"""Objects, made by hand and by the compiler, laid out as one program or refused by name."""

from __future__ import annotations

import random  # noqa: TID251  # seeded: the same damage in every run
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from onchain.program.build.compile import compile_folder
from onchain.program.build.construct import construct
from onchain.program.build.elf import (
    ALLOCATED,
    BIND_GLOBAL,
    BIND_LOCAL,
    EXECUTABLE,
    REL_CALL,
    REL_DATA,
    REL_LDDW,
    SECTION_NOTHING,
    SECTION_PROGRAM,
    SYMBOL_SECTION,
    WRITABLE,
    SectionHeader,
)
from onchain.program.build.errors import BuildError, LinkError, ObjectError, SyscallRefused
from onchain.program.build.image import REGION, Part, Version, base_of
from onchain.program.build.instructions import Instruction, decode, encode, lddw_value
from onchain.program.build.linker import NULL_GUARD, link
from onchain.program.build.objects import Object, Relocation, Section, Symbol, read_object
from onchain.program.build.syscalls import NUMBERS
from tests.tree import ROOT

SAMPLE: Final = ROOT / "tests" / "program_samples" / "tally"
V0, V3 = Version
CODE, CONSTANTS = 1, 2
CALL: Final = Instruction(0x85, 0, 1, 0, -1)
CALLX: Final = Instruction(0x8D, 0, 0, 0, 0)
EXIT: Final = Instruction(0x95, 0, 0, 0, 0)
LOAD: Final = (Instruction(0x18, 1, 0, 0, 0), Instruction(0, 0, 0, 0, 0))
FUNCTION, OBJECT, NOTHING = 2, 1, 0


def section(name: str, flags: int, data: bytes, kind: int = SECTION_PROGRAM) -> Section:
    return Section(name, SectionHeader(0, kind, flags, 0, 0, len(data), 0, 0, 8, 0), data)


def symbol(name: str, place: int, value: int = 0, kind: int = FUNCTION) -> Symbol:
    return Symbol(name, kind, BIND_GLOBAL, place, value)


def made(
    *code: Instruction,
    constants: bytes = b"",
    symbols: tuple[Symbol, ...] = (),
    relocations: dict[int, list[Relocation]] | None = None,
    name: str = "hand.c",
) -> Object:
    """An object of one section of code and one of constants."""
    sections = (
        section("", 0, b""),
        section(".text", ALLOCATED | EXECUTABLE, b"".join(map(encode, code))),
        section(".rodata", ALLOCATED, constants),
    )
    relocated = {index: tuple(each) for index, each in (relocations or {}).items()}
    return Object(name, sections, symbols, relocated)


ENTRY: Final = symbol("entrypoint", CODE)
PLAIN: Final = made(EXIT, symbols=(ENTRY,))


def calling(name: str, place: int = 0, kind: int = NOTHING) -> Object:
    relocation = Relocation(0, REL_CALL, symbol(name, place, kind=kind))
    return made(CALL, EXIT, symbols=(ENTRY,), relocations={CODE: [relocation]})


# -- what is filled in -------------------------------------------------------------------------


def test_a_call_of_another_object_leads_to_its_function() -> None:
    other = made(EXIT, EXIT, EXIT, symbols=(symbol("third", CODE, 16),), name="other.c")

    for version in Version:
        image = link([calling("third"), other], version)

        assert decode(image.text, 0) == Instruction(0x85, 0, 1, 0, 3)
        assert image.functions == {0: "entrypoint", 32: "third"}


def test_a_call_relative_to_a_section_keeps_its_own_distance() -> None:
    """The immediate says which instruction of the section, less one."""
    target = Symbol("", SYMBOL_SECTION, BIND_LOCAL, CODE, 0)
    code = (Instruction(0x85, 0, 1, 0, 2), EXIT, EXIT, EXIT)
    relocations = {CODE: [Relocation(0, REL_CALL, target)]}
    thing = made(*code, symbols=(ENTRY,), relocations=relocations)
    before = made(EXIT, EXIT, symbols=(symbol("before", CODE),), name="before.c")

    assert decode(link([before, thing], V3).text, 2).immediate == 2


def test_a_system_call_is_a_name_in_v0_and_a_number_in_v3() -> None:
    thing = calling("sol_sha256")
    v0, v3 = link([thing], V0), link([thing], V3)

    assert decode(v0.text, 0) == Instruction(0x85, 0, 0, 0, -1)
    assert decode(v3.text, 0) == Instruction(0x85, 0, 0, 0, NUMBERS["sol_sha256"])
    assert v0.syscalls == v3.syscalls == ((0, "sol_sha256"),)


def test_the_number_of_a_system_call_may_have_its_highest_bit() -> None:
    immediate = decode(link([calling("sol_invoke_signed_c")], V3).text, 0).immediate

    assert immediate & 0xFFFFFFFF == NUMBERS["sol_invoke_signed_c"] > 2**31


@pytest.mark.parametrize("version", Version)
def test_an_address_in_code_is_where_the_vm_sees_the_constant(version: Version) -> None:
    """With what the compiler added to it: `&table[2]`."""
    load = (LOAD[0]._replace(immediate=16), LOAD[1])
    table = symbol("table", CONSTANTS, 8, OBJECT)
    relocations = {CODE: [Relocation(0, REL_LDDW, table)]}
    constants = bytes(32)
    thing = made(*load, EXIT, constants=constants, symbols=(ENTRY,), relocations=relocations)
    image = link([thing], version)

    base = base_of(version, Part.RODATA, len(image.text))
    assert lddw_value(image.text, 0) == base + len(NULL_GUARD) + 8 + 16


@pytest.mark.parametrize("version", Version)
def test_an_address_in_constants_may_be_a_function(version: Version) -> None:
    """A table of functions; the number that is there is added, as a section's offset is."""
    code = Symbol("", SYMBOL_SECTION, BIND_LOCAL, CODE, 0)
    relocations = {CONSTANTS: [Relocation(8, REL_DATA, code)]}
    constants = struct.pack("<QQ", 7, 8)
    thing = made(EXIT, EXIT, constants=constants, symbols=(ENTRY,), relocations=relocations)
    image = link([thing], version)

    start = REGION if version is V3 else REGION + 64 + 4 * 56
    assert image.rodata == NULL_GUARD + struct.pack("<QQ", 7, start + 8)


@pytest.mark.parametrize(
    "call", [CALLX._replace(dst=3), CALLX._replace(immediate=3)], ids=["LLVM 19", "LLVM 14"]
)
def test_a_call_by_pointer_has_its_register_where_the_version_wants_it(call: Instruction) -> None:
    thing = made(call, EXIT, symbols=(ENTRY,))

    assert decode(link([thing], V0).text, 0) == CALLX._replace(immediate=3)
    assert decode(link([thing], V3).text, 0) == CALLX._replace(dst=3)


def test_constants_of_several_objects_keep_their_alignment() -> None:
    one = made(EXIT, constants=b"abc", symbols=(ENTRY,))
    two = made(EXIT, constants=b"defg", name="two.c")

    assert link([one, two], V3).rodata == NULL_GUARD + b"abc" + bytes(5) + b"defg" + bytes(4)


def test_tables_for_unwinding_are_left_out() -> None:
    thing = replace(PLAIN, sections=(*PLAIN.sections, section(".eh_frame", ALLOCATED, b"12345678")))

    assert link([thing], V3) == link([PLAIN], V3)


def test_the_order_of_objects_is_kept(tmp_path: Path) -> None:
    objects = compile_folder(SAMPLE, tmp_path)
    forward, backward = construct(objects), construct(objects[::-1])

    assert [thing.name for thing in objects] == ["account.c", "entry.c", "mix.c"]
    assert set(forward.functions.values()) == set(backward.functions.values())
    assert forward.files != backward.files


# -- what is refused ---------------------------------------------------------------------------


def with_section(added: Section) -> Object:
    return replace(PLAIN, sections=(*PLAIN.sections, added))


def with_relocation(where: int, offset: int, kind: int, target: Symbol) -> Object:
    relocations = {where: [Relocation(offset, kind, target)]}
    return made(*LOAD, EXIT, constants=bytes(8), symbols=(ENTRY,), relocations=relocations)


TABLE: Final = symbol("table", CONSTANTS, 0, OBJECT)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        pytest.param(
            with_section(section(".data", ALLOCATED | WRITABLE, b"12345678")),
            r"hand\.c: \.data is writable",
            id="a mutable global",
        ),
        pytest.param(
            with_section(
                Section(
                    ".bss", SectionHeader(0, SECTION_NOTHING, ALLOCATED, 0, 0, 8, 0, 0, 8, 0), b""
                )
            ),
            r"\.bss is writable",
            id="a zeroed global",
        ),
        pytest.param(
            with_section(
                Section(
                    ".rodata.wide",
                    SectionHeader(0, SECTION_PROGRAM, ALLOCATED, 0, 0, 8, 0, 0, 32, 0),
                    bytes(8),
                )
            ),
            "alignment of 32",
            id="a wide alignment",
        ),
        pytest.param(
            with_section(section(".text.odd", ALLOCATED | EXECUTABLE, b"123")),
            "not made of whole instructions",
            id="half an instruction",
        ),
        pytest.param(
            made(EXIT, symbols=(ENTRY, symbol("far", CODE, 8))), "far lies outside", id="far"
        ),
        pytest.param(
            made(EXIT, EXIT, symbols=(ENTRY, symbol("odd", CODE, 4))), "odd lies outside", id="odd"
        ),
        pytest.param(
            made(
                CALL._replace(immediate=7),
                EXIT,
                symbols=(ENTRY,),
                relocations={
                    CODE: [Relocation(0, REL_CALL, Symbol("", SYMBOL_SECTION, 0, CODE, 0))]
                },
            ),
            "leads to no instruction",
            id="a call of nothing",
        ),
        pytest.param(made(EXIT), "no object defines the function entrypoint", id="no entry"),
        pytest.param(
            made(EXIT, constants=b"12345678", symbols=(symbol("entrypoint", CONSTANTS),)),
            "no object defines the function entrypoint",
            id="an entry that is data",
        ),
        pytest.param(made(EXIT, symbols=(ENTRY, ENTRY)), "entrypoint is defined twice", id="twice"),
        pytest.param(
            made(EXIT, symbols=(ENTRY, Symbol("weak", FUNCTION, 2, CODE, 0))),
            "weak is weak, common",
            id="a weak symbol",
        ),
        pytest.param(
            made(EXIT, symbols=(ENTRY, symbol("common", 0xFFF2, 8, OBJECT))),
            "common is weak, common",
            id="a common symbol",
        ),
        pytest.param(
            with_relocation(CODE, 0, REL_LDDW, symbol("lost", 0)),
            r"\.text\+0x0: lost is not part of the program",
            id="an undefined address",
        ),
        pytest.param(with_relocation(CODE, 16, REL_LDDW, TABLE), "what loads none", id="no lddw"),
        pytest.param(
            with_relocation(CODE, 24, REL_LDDW, TABLE), "outside its section", id="outside"
        ),
        pytest.param(with_relocation(CODE, 0, REL_CALL, ENTRY), "what is no call", id="no call"),
        pytest.param(
            with_relocation(CODE, 0, REL_DATA, TABLE), "type 2 has no meaning", id="data in code"
        ),
        pytest.param(
            with_relocation(CONSTANTS, 0, REL_LDDW, TABLE),
            "type 1 has no meaning",
            id="in data",
        ),
        pytest.param(
            with_relocation(CONSTANTS, 0, 3, TABLE), "type 3 has no meaning", id="32 bits"
        ),
        pytest.param(
            made(CALLX._replace(dst=1, immediate=2), EXIT, symbols=(ENTRY,)),
            "names two registers",
            id="two registers",
        ),
        pytest.param(
            made(CALLX._replace(immediate=12), EXIT, symbols=(ENTRY,)),
            "in register 12",
            id="no such register",
        ),
    ],
)
def test_objects_that_make_no_program_are_refused(thing: Object, words: str) -> None:
    with pytest.raises(LinkError, match=words):
        link([thing], V3)


@pytest.mark.parametrize("name", ["memcpy", "helper", "sol_big_mod_exp", "__multi3"])
def test_a_function_that_nobody_has_is_refused(name: str) -> None:
    with pytest.raises(SyscallRefused, match=rf"hand\.c: \.text\+0x0 calls {name}"):
        link([calling(name)], V3)


def test_a_call_of_a_dropped_section_is_refused() -> None:
    with pytest.raises(SyscallRefused, match="far is not part of the program"):
        link([calling("far", place=9, kind=FUNCTION)], V3)


def test_a_call_of_data_is_refused() -> None:
    relocations = {CODE: [Relocation(0, REL_CALL, TABLE)]}
    thing = made(CALL, EXIT, constants=bytes(8), symbols=(ENTRY,), relocations=relocations)

    with pytest.raises(LinkError, match="table is called but is no function"):
        link([thing], V3)


def test_a_name_of_two_objects_is_refused() -> None:
    with pytest.raises(LinkError, match=r"other\.c: entrypoint is defined twice"):
        link([PLAIN, replace(PLAIN, name="other.c")], V3)


# -- objects as files --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    work = tmp_path_factory.mktemp("objects")
    compile_folder(SAMPLE, work)
    return (work / "mix.c.o").read_bytes()


def at(offset: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + new + data[offset + len(new) :]


def section_at(data: bytes, kind: int) -> int:
    """Where the header of the first section of a kind lies."""
    (start,) = struct.unpack_from("<Q", data, 40)
    return next(
        int(start) + 64 * n
        for n in range(data[60])
        if struct.unpack_from("<I", data, start + 64 * n + 4)[0] == kind
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(at(0, b"MZ"), "no little-endian", id="no ELF"),
        pytest.param(at(5, b"\x02"), "no little-endian", id="big-endian"),
        pytest.param(at(16, b"\x03"), "no little-endian", id="no object"),
        pytest.param(at(18, b"\x3e"), "no little-endian", id="x86"),
        pytest.param(at(62, b"\xff"), "have no names", id="no names"),
        pytest.param(at(40, b"\xff\xff\xff"), "within a record", id="sections beyond the end"),
        pytest.param(lambda d: at(section_at(d, 9) + 4, b"\4")(d), "addends", id="RELA"),
        pytest.param(lambda d: at(section_at(d, 2) + 4, b"\1")(d), "0 tables", id="no symbols"),
        pytest.param(lambda d: at(section_at(d, 2) + 40, b"\xff")(d), "tables", id="no link"),
        pytest.param(lambda d: at(section_at(d, 1) + 35, b"\x7f")(d), "cut off", id="too long"),
    ],
)
def test_a_file_that_is_no_object_is_refused(
    compiled: bytes, change: Callable[[bytes], bytes], words: str
) -> None:
    with pytest.raises(ObjectError, match=rf"^mix\.c: .*{words}"):
        read_object("mix.c", change(compiled))


def test_a_relocation_of_no_symbol_is_refused(compiled: bytes) -> None:
    (start,) = struct.unpack_from("<Q", compiled, section_at(compiled, 9) + 24)

    with pytest.raises(ObjectError, match="which is not there"):
        read_object("mix.c", at(start + 12, b"\xff")(compiled))


def test_an_object_cut_anywhere_is_refused(compiled: bytes) -> None:
    for size in range(0, len(compiled), 13):
        with pytest.raises(ObjectError):
            read_object("mix.c", compiled[:size])


@pytest.mark.slow
def test_damaged_objects_are_refused_by_name_or_linked(tmp_path: Path) -> None:
    """Whatever an object says, the answer is a program that passed every check, or a refusal."""
    objects = compile_folder(SAMPLE, tmp_path)
    files = [(tmp_path / f"{thing.name}.o").read_bytes() for thing in objects]
    chance = random.Random(20)  # seeded: the same damage in every run
    answers = set()
    for _ in range(600):
        chosen = chance.randrange(len(objects))
        data = bytearray(files[chosen])
        for _ in range(chance.choice([1, 1, 2, 4])):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 255, chance.randrange(256)])
        try:
            damaged = read_object(objects[chosen].name, bytes(data))
            construct([*objects[:chosen], damaged, *objects[chosen + 1 :]])
            answers.add("linked")
        except BuildError as refusal:
            answers.add(type(refusal).__name__)

    assert answers > {"linked", "ObjectError", "LinkError", "InstructionRefused"}
