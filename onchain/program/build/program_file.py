"""A program file read back, as the loader reads it: what is checked is what is deployed.

In:   the bytes of a `.so`, SBPF v0 or v3.
Out:  its code, constants, first instruction and system calls.
Why not the linker's own values: a mistake of `writer` would stay unseen.
Not covered: files of other linkers, v1 and v2; of v0 the tables that the loader needs besides
(`.dynamic`, segments): a test loads it.
Source: anza-xyz/sbpf `elf.rs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from onchain.program.build.elf import (
    FILE_HEADER,
    FILE_SHARED,
    IDENTITY,
    MACHINE_BPF,
    REL_CALL,
    RELOCATION,
    SECTION,
    SEGMENT,
    SEGMENT_LOAD,
    SEGMENT_R,
    SEGMENT_X,
    SYMBOL,
    FileHeader,
    SectionHeader,
    SegmentHeader,
    SymbolRecord,
    text_at,
    unpack,
)
from onchain.program.build.errors import ProgramError
from onchain.program.build.image import REGION, Version
from onchain.program.build.instructions import CALL, SIZE, decode_all
from onchain.program.build.syscalls import NAMES


@dataclass(frozen=True, slots=True)
class Program:
    version: Version
    text: bytes
    rodata: bytes
    #: Addresses at which the VM sees the first byte of each.
    text_base: int
    rodata_base: int
    #: Index of the first instruction.
    entry: int
    #: Index of an instruction that is a system call → its name.
    syscalls: dict[int, str]


def verifiers_hash(data: bytes) -> str:
    """SHA-256 as those who verify a deployed program compute it: zeros at the end left out.

    The account of a program is longer than its file, and the file's own length is not kept.
    """
    return sha256(data.rstrip(b"\0")).hexdigest()


def read_program(data: bytes) -> Program:
    """Read a program file.

    Raises:
        ProgramError: not a file that the loader would take.
    """
    header = FileHeader._make(unpack(FILE_HEADER, data, 0, ProgramError))
    if (header.identity, header.kind, header.machine) != (IDENTITY, FILE_SHARED, MACHINE_BPF):
        msg = "this is no BPF program"
        raise ProgramError(msg)
    sizes = header.version, header.segments_at, header.header_size, header.segment_size
    if sizes != (1, FILE_HEADER.size, FILE_HEADER.size, SEGMENT.size):
        msg = "the file header's version and sizes are not ELF's"
        raise ProgramError(msg)
    if header.flags == Version.V3:
        program = _read_v3(data, header)
    elif header.flags == Version.V0:
        program = _read_v0(data, header)
    else:
        msg = f"SBPF v{header.flags} is not written here"
        raise ProgramError(msg)
    aligned = not (len(program.text) | header.entry) % SIZE
    if not aligned or not 0 <= program.entry < len(program.text) // SIZE:
        msg = "the program begins outside its code"
        raise ProgramError(msg)
    return program


def _bytes_at(data: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(data):
        msg = f"{size} bytes at {offset:#x} are beyond the end of the file"
        raise ProgramError(msg)
    return data[offset : offset + size]


def _read_v3(data: bytes, header: FileHeader) -> Program:
    at = header.segments_at
    rodata, code = (
        SegmentHeader._make(unpack(SEGMENT, data, at + n * SEGMENT.size, ProgramError))
        for n in range(2)
    )
    start = FILE_HEADER.size + 2 * SEGMENT.size
    wanted = [
        (SEGMENT_LOAD, SEGMENT_R, start, 0, 0),
        (SEGMENT_LOAD, SEGMENT_X, start + rodata.file_size, REGION, REGION),
    ]
    if header.segment_count != 2 or [rodata[:5], code[:5]] != wanted:
        msg = "the segments are not constants at 0 and then code at 2^32"
        raise ProgramError(msg)
    if any(each.file_size % SIZE or each.file_size != each.memory_size for each in (rodata, code)):
        msg = "a segment is not as long in memory, in whole words"
        raise ProgramError(msg)
    text = _bytes_at(data, code.offset, code.file_size)
    syscalls = {
        index: NAMES.get(i.immediate & 0xFFFFFFFF, f"{i.immediate & 0xFFFFFFFF:#010x}")
        for index, i in decode_all(text).items()
        if i.opcode == CALL and i.src == 0
    }
    constants = _bytes_at(data, rodata.offset, rodata.file_size)
    entry = (header.entry - REGION) // SIZE
    return Program(Version.V3, text, constants, REGION, 0, entry, syscalls)


def _read_v0(data: bytes, header: FileHeader) -> Program:
    sections = _sections(data, header)
    code, constants = sections.get(".text"), sections.get(".rodata")
    if code is None or constants is None:
        msg = "there is no .text or no .rodata"
        raise ProgramError(msg)
    if code.address != code.offset or constants.address != constants.offset:
        msg = "an address is not the offset in the file"
        raise ProgramError(msg)
    return Program(
        Version.V0,
        _bytes_at(data, code.offset, code.size),
        _bytes_at(data, constants.offset, constants.size),
        REGION + code.offset,
        REGION + constants.offset,
        (header.entry - code.offset) // SIZE,
        _named_calls(data, sections, code.offset),
    )


def _sections(data: bytes, header: FileHeader) -> dict[str, SectionHeader]:
    headers = [
        SectionHeader._make(unpack(SECTION, data, header.sections_at + at, ProgramError))
        for at in range(0, header.section_count * SECTION.size, SECTION.size)
    ]
    if header.names_index >= len(headers):
        msg = "the sections have no names"
        raise ProgramError(msg)
    table = headers[header.names_index]
    names = _bytes_at(data, table.offset, table.size)
    return {text_at(names, section.name_at, ProgramError): section for section in headers}


def _named_calls(data: bytes, sections: dict[str, SectionHeader], start: int) -> dict[int, str]:
    """The system calls of a v0 program: relocations by name."""
    table = sections.get(".rel.dyn")
    if table is None:
        return {}
    if not {".dynstr", ".dynsym"} <= sections.keys():
        msg = "system calls have no names"
        raise ProgramError(msg)
    names = _bytes_at(data, sections[".dynstr"].offset, sections[".dynstr"].size)
    found = {}
    for at in range(table.offset, table.offset + table.size, RELOCATION.size):
        offset, info = unpack(RELOCATION, data, at, ProgramError)
        if info & 0xFFFFFFFF != REL_CALL:
            msg = f"a relocation of type {info & 0xFFFFFFFF} is left to the loader"
            raise ProgramError(msg)
        symbol_at = sections[".dynsym"].offset + (info >> 32) * SYMBOL.size
        symbol = SymbolRecord._make(unpack(SYMBOL, data, symbol_at, ProgramError))
        found[(offset - start) // SIZE] = text_at(names, symbol.name_at, ProgramError)
    return found
