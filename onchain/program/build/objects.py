"""Relocatable BPF objects, as a compiler writes them, read into values.

In:   the bytes of one object file.
Out:  its sections, symbols and relocations.
Rules:
  1. What cannot be read is refused here (`ObjectError`): the linker sees whole objects only.
  2. Sections keep their number, for symbols and relocations speak of them by it.
Not covered: objects of other machines, RELA relocations, more than 65,279 sections.
"""

from __future__ import annotations

from dataclasses import dataclass

from onchain.program.build.elf import (
    FILE_HEADER,
    FILE_OBJECT,
    IDENTITY,
    MACHINE_BPF,
    RELOCATION,
    SECTION,
    SECTION_NOTHING,
    SECTION_REL,
    SECTION_RELA,
    SECTION_SYMBOLS,
    SYMBOL,
    FileHeader,
    SectionHeader,
    SymbolRecord,
    text_at,
    unpack,
)
from onchain.program.build.errors import ObjectError


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    header: SectionHeader
    data: bytes


@dataclass(frozen=True, slots=True)
class Symbol:
    name: str
    #: What it stands for: nothing, an object, a function, a section (`SYMBOL_SECTION`), a file.
    kind: int
    binding: int
    #: Number of the section that holds it; `UNDEFINED` where another object does.
    section: int
    #: Offset in that section.
    value: int


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place whose bytes depend on where a symbol comes to lie."""

    offset: int
    kind: int
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class Object:
    name: str
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    #: Number of the section whose bytes they change → its relocations.
    relocations: dict[int, tuple[Relocation, ...]]


def read_object(name: str, data: bytes) -> Object:
    """Read an object file.

    Args:
        name: What messages call it.
        data: Its bytes.

    Raises:
        ObjectError: not a whole little-endian 64-bit BPF object.
    """
    try:
        sections = _sections(data)
        symbols = _symbols(sections)
        relocations = dict(_relocations(sections, symbols))
    except ObjectError as error:
        msg = f"{name}: {error}"
        raise ObjectError(msg) from error
    return Object(name, sections, symbols, relocations)


def _sections(data: bytes) -> tuple[Section, ...]:
    header = FileHeader._make(unpack(FILE_HEADER, data, 0, ObjectError))
    if (header.identity, header.kind, header.machine) != (IDENTITY, FILE_OBJECT, MACHINE_BPF):
        msg = "this is no little-endian 64-bit BPF object"
        raise ObjectError(msg)
    headers = [
        SectionHeader._make(unpack(SECTION, data, header.sections_at + at, ObjectError))
        for at in range(0, header.section_count * SECTION.size, SECTION.size)
    ]
    if header.names_index >= len(headers):
        msg = "the sections have no names"
        raise ObjectError(msg)
    names = _content(data, headers[header.names_index])
    return tuple(
        Section(text_at(names, h.name_at, ObjectError), h, _content(data, h)) for h in headers
    )


def _content(data: bytes, header: SectionHeader) -> bytes:
    if header.kind == SECTION_NOTHING:
        return b""
    content = data[header.offset : header.offset + header.size]
    if len(content) != header.size:
        msg = f"a section of {header.size} bytes is cut off"
        raise ObjectError(msg)
    return content


def _symbols(sections: tuple[Section, ...]) -> tuple[Symbol, ...]:
    tables = [section for section in sections if section.header.kind == SECTION_SYMBOLS]
    if len(tables) != 1 or tables[0].header.link >= len(sections):
        msg = f"{len(tables)} tables of symbols where one belongs"
        raise ObjectError(msg)
    names = sections[tables[0].header.link].data
    records = (
        SymbolRecord._make(unpack(SYMBOL, tables[0].data, at, ObjectError))
        for at in range(0, len(tables[0].data), SYMBOL.size)
    )
    return tuple(
        Symbol(text_at(names, r.name_at, ObjectError), r.info & 15, r.info >> 4, r.section, r.value)
        for r in records
    )


def _relocations(
    sections: tuple[Section, ...], symbols: tuple[Symbol, ...]
) -> list[tuple[int, tuple[Relocation, ...]]]:
    found = []
    for section in sections:
        if section.header.kind == SECTION_RELA:
            msg = f"{section.name}: relocations with addends of their own are not BPF's"
            raise ObjectError(msg)
        if section.header.kind == SECTION_REL:
            found.append((section.header.info, _relocations_of(section, symbols)))
    return found


def _relocations_of(section: Section, symbols: tuple[Symbol, ...]) -> tuple[Relocation, ...]:
    found = []
    for at in range(0, len(section.data), RELOCATION.size):
        offset, info = unpack(RELOCATION, section.data, at, ObjectError)
        if info >> 32 >= len(symbols):
            msg = f"{section.name}: a relocation of symbol {info >> 32}, which is not there"
            raise ObjectError(msg)
        found.append(Relocation(offset, info & 0xFFFFFFFF, symbols[info >> 32]))
    return tuple(found)
