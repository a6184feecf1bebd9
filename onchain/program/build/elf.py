"""The parts of ELF that objects and programs are made of, as tuples and their byte layouts.

Here:     the records (file header, section, segment, symbol, relocation) and the numbers in them.
Not here: what is done with them (`objects`, `writer`, `program_file`).
Source:   System V gABI chapters 4 and 5; LLVM's `BPF.def` for the relocation types.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from onchain.program.build.errors import BuildError

#: Little-endian, 64 bits, version 1, no operating system: what both compiler and loader use.
IDENTITY: Final = b"\x7fELF\x02\x01\x01" + bytes(9)
MACHINE_BPF: Final = 247
FILE_OBJECT, FILE_SHARED = 1, 3

SECTION_PROGRAM, SECTION_SYMBOLS, SECTION_STRINGS = 1, 2, 3
SECTION_RELA, SECTION_DYNAMIC, SECTION_NOTHING, SECTION_REL, SECTION_DYNSYM = 4, 6, 8, 9, 11
WRITABLE, ALLOCATED, EXECUTABLE = 1, 2, 4

SEGMENT_LOAD, SEGMENT_DYNAMIC = 1, 2
SEGMENT_X, SEGMENT_R = 1, 4

SYMBOL_SECTION = 3
BIND_LOCAL, BIND_GLOBAL = 0, 1
UNDEFINED = 0

#: An address in an `lddw`, an address in data, a call.
REL_LDDW, REL_DATA, REL_CALL = 1, 2, 10


class FileHeader(NamedTuple):
    identity: bytes
    kind: int
    machine: int
    version: int
    entry: int
    segments_at: int
    sections_at: int
    flags: int
    header_size: int
    segment_size: int
    segment_count: int
    section_size: int
    section_count: int
    names_index: int


class SectionHeader(NamedTuple):
    name_at: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class SegmentHeader(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    alignment: int


class SymbolRecord(NamedTuple):
    name_at: int
    info: int
    other: int
    section: int
    value: int
    size: int


FILE_HEADER: Final = Struct("<16sHHIQQQIHHHHHH")
SECTION: Final = Struct("<IIQQQQIIQQ")
SEGMENT: Final = Struct("<IIQQQQQQ")
SYMBOL: Final = Struct("<IBBHQQ")
RELOCATION: Final = Struct("<QQ")
DYNAMIC: Final = Struct("<QQ")


def unpack(layout: Struct, data: bytes, at: int, refusal: type[BuildError]) -> tuple[int, ...]:
    """One record; `refusal` where the file ends before it."""
    if not 0 <= at <= len(data) - layout.size:
        msg = f"the file ends within a record at {at:#x}"
        raise refusal(msg)
    return layout.unpack_from(data, at)


def text_at(table: bytes, at: int, refusal: type[BuildError]) -> str:
    """The name that begins at `at` in a table of names."""
    end = table.find(b"\0", at)
    if end < 0:
        msg = f"a name at {at:#x} has no end"
        raise refusal(msg)
    return table[at:end].decode("ascii", "backslashreplace")
