"""An image becomes the file that the loader takes.

In:   an `Image`.
Out:  the bytes of a shared object, SBPF v0 or v3; the same image gives the same bytes.
Rules:
  1. v3: two segments, constants then code, no section and no relocation.
  2. v0: sections in the order of the file, the image's addresses equal to file offsets, a
     relocation with the name of each system call; the table is left out where there is none, for
     the loader refuses an empty one.
Source: anza-xyz/sbpf `elf.rs`, `elf_parser/mod.rs`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from onchain.program.build.elf import (
    ALLOCATED,
    DYNAMIC,
    EXECUTABLE,
    FILE_HEADER,
    FILE_SHARED,
    IDENTITY,
    MACHINE_BPF,
    REL_CALL,
    RELOCATION,
    SECTION,
    SECTION_DYNAMIC,
    SECTION_DYNSYM,
    SECTION_PROGRAM,
    SECTION_REL,
    SECTION_STRINGS,
    SEGMENT,
    SEGMENT_DYNAMIC,
    SEGMENT_LOAD,
    SEGMENT_R,
    SEGMENT_X,
    SYMBOL,
    FileHeader,
    SectionHeader,
    SegmentHeader,
    SymbolRecord,
)
from onchain.program.build.image import (
    ALIGNMENT_MAX,
    SEGMENT_COUNT,
    Image,
    Part,
    Version,
    base_of,
    head_size,
)

#: Tags of the dynamic table: what the loader looks for.
_STRTAB, _SYMTAB, _STRSZ, _SYMENT, _REL, _RELSZ, _RELENT, _FLAGS = 5, 6, 10, 11, 17, 18, 19, 30
_TEXTREL: Final = 4
_GLOBAL_NOTHING, _GLOBAL_FUNCTION = 0x10, 0x12


def write(image: Image) -> bytes:
    """The program as a file."""
    return _write_v3(image) if image.version is Version.V3 else _write_v0(image)


def _header(image: Image, entry: int, sections_at: int = 0, section_count: int = 0) -> bytes:
    return FILE_HEADER.pack(
        *FileHeader(
            identity=IDENTITY,
            kind=FILE_SHARED,
            machine=MACHINE_BPF,
            version=1,
            entry=entry,
            segments_at=FILE_HEADER.size,
            sections_at=sections_at,
            flags=image.version,
            header_size=FILE_HEADER.size,
            segment_size=SEGMENT.size,
            segment_count=SEGMENT_COUNT[image.version],
            section_size=SECTION.size,
            section_count=section_count,
            names_index=max(section_count - 1, 0),
        )
    )


def _segment(kind: int, flags: int, offset: int, address: int, size: int) -> bytes:
    return SEGMENT.pack(*SegmentHeader(kind, flags, offset, address, address, size, size, 8))


def _write_v3(image: Image) -> bytes:
    text, rodata = image.text, image.rodata
    start = head_size(image.version)
    code = base_of(image.version, Part.TEXT, len(text))
    return b"".join(
        (
            _header(image, code + image.entry),
            _segment(SEGMENT_LOAD, SEGMENT_R, start, 0, len(rodata)),
            _segment(SEGMENT_LOAD, SEGMENT_X, start + len(rodata), code, len(text)),
            rodata,
            text,
        )
    )


@dataclass(slots=True)
class _File:
    """A v0 file that grows section by section; its head is filled in at the end."""

    body: bytearray
    headers: list[SectionHeader] = field(default_factory=list)
    names: bytearray = field(default_factory=lambda: bytearray(b"\0"))

    def add(self, name: str, kind: int, data: bytes, **fields: int) -> SectionHeader:
        alignment = fields.get("alignment", 8)
        self.body += bytes(-len(self.body) % alignment)
        at = len(self.body)
        flags = fields.get("flags", ALLOCATED)
        header = SectionHeader(
            name_at=len(self.names),
            kind=kind,
            flags=flags,
            address=at if flags else 0,
            offset=at,
            size=len(data),
            link=fields.get("link", 0),
            info=fields.get("info", 0),
            alignment=alignment,
            entry_size=fields.get("entry_size", 0),
        )
        self.headers.append(header)
        self.names += name.encode() + b"\0"
        self.body += data
        return header


def _write_v0(image: Image) -> bytes:
    file = _File(bytearray(head_size(image.version)), [SectionHeader(*[0] * 10)])
    file.add(".text", SECTION_PROGRAM, image.text, flags=ALLOCATED | EXECUTABLE)
    file.add(".rodata", SECTION_PROGRAM, image.rodata, alignment=ALIGNMENT_MAX)
    dynamic = _add_dynamic(file, image)
    end = len(file.body)
    # Its own name is the last: the table is complete before it is added.
    names = bytes(file.names) + b".shstrtab\0"
    file.add(".shstrtab", SECTION_STRINGS, names, flags=0, alignment=1)
    file.body += bytes(-len(file.body) % 8)
    sections_at = len(file.body)
    file.body += b"".join(SECTION.pack(*header) for header in file.headers)
    _, text, rodata, *_ = file.headers
    head = (
        _header(image, text.offset + image.entry, sections_at, len(file.headers)),
        _segment(SEGMENT_LOAD, SEGMENT_R | SEGMENT_X, text.offset, text.offset, text.size),
        _segment(SEGMENT_LOAD, SEGMENT_R, rodata.offset, rodata.offset, rodata.size),
        _segment(SEGMENT_LOAD, SEGMENT_R, dynamic.offset, dynamic.offset, end - dynamic.offset),
        _segment(SEGMENT_DYNAMIC, SEGMENT_R, dynamic.offset, dynamic.offset, dynamic.size),
    )
    return b"".join(head) + bytes(file.body[head_size(image.version) :])


def _add_dynamic(file: _File, image: Image) -> SectionHeader:
    """The tables by which the loader finds the system calls; returns the first of them."""
    first = len(file.headers)
    names, symbols, relocations = _dynamic_tables(image)
    tags = 9 if relocations else 5
    symbols_at = len(file.body) + -len(file.body) % 8 + tags * DYNAMIC.size
    names_at = symbols_at + len(symbols)
    relocations_at = names_at + len(names) + -(names_at + len(names)) % 8
    table = [
        (_SYMTAB, symbols_at),
        (_SYMENT, SYMBOL.size),
        (_STRTAB, names_at),
        (_STRSZ, len(names)),
    ]
    if relocations:
        table += [(_FLAGS, _TEXTREL), (_REL, relocations_at), (_RELSZ, len(relocations))]
        table += [(_RELENT, RELOCATION.size)]
    data = b"".join(DYNAMIC.pack(*tag) for tag in [*table, (0, 0)])
    dynamic = file.add(".dynamic", SECTION_DYNAMIC, data, link=first + 2, entry_size=DYNAMIC.size)
    file.add(".dynsym", SECTION_DYNSYM, symbols, link=first + 2, info=1, entry_size=SYMBOL.size)
    file.add(".dynstr", SECTION_STRINGS, names, alignment=1)
    if relocations:
        size = RELOCATION.size
        file.add(".rel.dyn", SECTION_REL, relocations, link=first + 1, entry_size=size)
    return dynamic


def _dynamic_tables(image: Image) -> tuple[bytes, bytes, bytes]:
    """Names, symbols and relocations of the system calls, in the order of their first use."""
    start = head_size(image.version)
    names, numbers = bytearray(b"\0"), dict[str, int]()
    symbols = [SymbolRecord(0, 0, 0, 0, 0, 0)]
    for _, name in image.syscalls:
        if name not in numbers:
            numbers[name] = len(symbols)
            symbols.append(SymbolRecord(len(names), _GLOBAL_NOTHING, 0, 0, 0, 0))
            names += name.encode() + b"\0"
    symbols.append(SymbolRecord(len(names), _GLOBAL_FUNCTION, 0, 1, start + image.entry, 0))
    names += b"entrypoint\0"
    relocations = b"".join(
        RELOCATION.pack(start + at, numbers[name] << 32 | REL_CALL) for at, name in image.syscalls
    )
    return bytes(names), b"".join(SYMBOL.pack(*symbol) for symbol in symbols), relocations
