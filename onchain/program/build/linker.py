"""Several objects become one program: sections laid out, symbols found, addresses filled in.

In:   objects (`objects.read_object`), a version of SBPF, the name of the first function.
Out:  an `Image`; the same objects in the same order give the same image.
Rules:
  1. Code is laid out object by object, and so are constants; nothing is merged or dropped.
  2. Nothing is writable: a program has no state but its accounts.
  3. A name is defined once. What nobody defines is a system call, or refused.
  4. A call by pointer keeps its register where the version wants it: v0 in the immediate, v3 in
     the destination field. LLVM before 19 writes the former, later LLVM the latter.
Not covered: weak symbols, archives, garbage collection of unused functions, debug information.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

from onchain.program.build.elf import (
    ALLOCATED,
    BIND_GLOBAL,
    BIND_LOCAL,
    EXECUTABLE,
    REL_CALL,
    REL_DATA,
    REL_LDDW,
    SECTION_NOTHING,
    SYMBOL_SECTION,
    UNDEFINED,
    WRITABLE,
)
from onchain.program.build.errors import LinkError, SyscallRefused
from onchain.program.build.image import ALIGNMENT_MAX, Image, Part, Version, base_of
from onchain.program.build.instructions import (
    CALL,
    CALLX,
    FRAME,
    LDDW,
    SIZE,
    decode,
    decode_all,
    encode,
)
from onchain.program.build.objects import Object, Relocation, Section, Symbol
from onchain.program.build.syscalls import number_of

#: v3 sees constants at address 0: these bytes keep every one of them away from the null pointer.
#: v0 has them too, so that a constant has the same offset in both.
NULL_GUARD: Final = bytes(ALIGNMENT_MAX)
#: The immediate of a call that the loader is to fill in (v0).
BY_NAME: Final = -1
_FUNCTION: Final = 2
_WORD: Final = Struct("<Q")


class Place(NamedTuple):
    part: Part
    offset: int


@dataclass(slots=True)
class _Link:
    """What is being put together."""

    version: Version
    objects: Sequence[Object]
    parts: dict[Part, bytearray]
    #: (number of the object, number of the section) → where it came to lie.
    places: dict[tuple[int, int], Place] = field(default_factory=dict)
    #: Name → where what every object can see came to lie.
    shared: dict[str, Place] = field(default_factory=dict)
    syscalls: list[tuple[int, str]] = field(default_factory=list)

    def address(self, place: Place) -> int:
        return base_of(self.version, place.part, len(self.parts[Part.TEXT])) + place.offset


def link(objects: Iterable[Object], version: Version, entry: str = "entrypoint") -> Image:
    """Link objects into a program.

    Args:
        objects: In the order in which they are laid out.
        version: The version of SBPF that is written.
        entry: The function that the VM calls.

    Raises:
        LinkError: the objects do not make one program.
        SyscallRefused: a function is missing, or a system call may not be used.
    """
    parts = {Part.TEXT: bytearray(), Part.RODATA: bytearray(NULL_GUARD)}
    state = _Link(version, list(objects), parts)
    _lay_out(state)
    _share(state)
    start = state.shared.get(entry)
    if start is None or start.part is not Part.TEXT:
        msg = f"no object defines the function {entry}"
        raise LinkError(msg)
    for number, thing in enumerate(state.objects):
        for index, relocations in thing.relocations.items():
            if (number, index) in state.places:
                for relocation in relocations:
                    _relocate(state, number, index, relocation)
    text = _calls_by_pointer(version, bytes(state.parts[Part.TEXT]))
    rodata = bytes(state.parts[Part.RODATA])
    functions = dict(_functions(state))
    return Image(version, text, rodata, start.offset, tuple(state.syscalls), functions)


def _lay_out(state: _Link) -> None:
    for number, thing in enumerate(state.objects):
        for index, section in enumerate(thing.sections):
            if _belongs(thing, section):
                part = Part.TEXT if section.header.flags & EXECUTABLE else Part.RODATA
                out = state.parts[part]
                out += bytes(-len(out) % max(section.header.alignment, 1))
                state.places[number, index] = Place(part, len(out))
                out += section.data
    for out in state.parts.values():
        out.extend(bytes(-len(out) % SIZE))


def _belongs(thing: Object, section: Section) -> bool:
    """Whether a section is part of the program; tables for unwinding the stack are not."""
    header = section.header
    if not header.flags & ALLOCATED or not header.size or section.name.startswith(".eh_frame"):
        return False
    written = header.flags & WRITABLE and not section.name.startswith(".data.rel.ro")
    if written or header.kind == SECTION_NOTHING:
        msg = f"{thing.name}: {section.name} is writable, and a program has no mutable globals"
        raise LinkError(msg)
    if header.alignment > ALIGNMENT_MAX:
        msg = f"{thing.name}: {section.name} asks for an alignment of {header.alignment}"
        raise LinkError(msg)
    if header.flags & EXECUTABLE and (header.size % SIZE or header.alignment % SIZE):
        msg = f"{thing.name}: {section.name} is not made of whole instructions"
        raise LinkError(msg)
    return True


def _share(state: _Link) -> None:
    for number, thing in enumerate(state.objects):
        for symbol in thing.symbols:
            if symbol.binding == BIND_LOCAL or symbol.section == UNDEFINED:
                continue
            place = _own_place(state, number, symbol)
            if symbol.binding != BIND_GLOBAL or place is None:
                msg = f"{thing.name}: {symbol.name} is weak, common or in no section"
                raise LinkError(msg)
            if symbol.name in state.shared:
                msg = f"{thing.name}: {symbol.name} is defined twice"
                raise LinkError(msg)
            state.shared[symbol.name] = place


def _own_place(state: _Link, number: int, symbol: Symbol) -> Place | None:
    """Where a symbol that its own object defines came to lie; None where that was left out."""
    section = state.places.get((number, symbol.section))
    if section is None:
        return None
    thing = state.objects[number]
    # An address just behind an array is one that C may take.
    last = thing.sections[symbol.section].header.size - SIZE * (symbol.kind == _FUNCTION)
    if symbol.value > last or (symbol.kind == _FUNCTION and symbol.value % SIZE):
        msg = f"{thing.name}: {symbol.name or 'a symbol'} lies outside of what its section holds"
        raise LinkError(msg)
    return Place(section.part, section.offset + symbol.value)


def _functions(state: _Link) -> Iterator[tuple[int, str]]:
    for number, thing in enumerate(state.objects):
        for symbol in thing.symbols:
            if symbol.kind != _FUNCTION:
                continue
            place = _own_place(state, number, symbol)
            if place is not None and place.part is Part.TEXT:
                yield place.offset, symbol.name


def _relocate(state: _Link, number: int, index: int, relocation: Relocation) -> None:
    """Fill in one address or call."""
    thing, section = state.objects[number], state.places[number, index]
    symbol, at = relocation.symbol, section.offset + relocation.offset
    where = f"{thing.name}: {thing.sections[index].name}+{relocation.offset:#x}"
    if not 0 <= relocation.offset <= thing.sections[index].header.size - SIZE:
        msg = f"{where}: a relocation outside its section"
        raise LinkError(msg)
    target = _own_place(state, number, symbol) if symbol.section else state.shared.get(symbol.name)
    match section.part, relocation.kind:
        case Part.TEXT, kind if kind == REL_CALL:
            _fill_call(state, at, symbol, target, where)
        case Part.TEXT, kind if kind == REL_LDDW:
            _fill_lddw(state, at, _found(target, symbol, where), where)
        case Part.RODATA, kind if kind == REL_DATA:
            _fill_word(state, at, _found(target, symbol, where))
        case _:
            msg = f"{where}: a relocation of type {relocation.kind} has no meaning there"
            raise LinkError(msg)


def _found(target: Place | None, symbol: Symbol, where: str) -> Place:
    if target is None:
        msg = f"{where}: {symbol.name or 'a section'} is not part of the program"
        raise LinkError(msg)
    return target


def _fill_call(state: _Link, at: int, symbol: Symbol, target: Place | None, where: str) -> None:
    text = state.parts[Part.TEXT]
    call = decode(text, at // SIZE)
    if call.opcode != CALL or at % SIZE:
        msg = f"{where}: a call's relocation on what is no call"
        raise LinkError(msg)
    if target is None:
        if symbol.section != UNDEFINED:
            raise SyscallRefused(f"{where}: {symbol.name} is not part of the program")  # noqa: EM102
        number = number_of(symbol.name, where)
        state.syscalls.append((at, symbol.name))
        immediate = BY_NAME if state.version is Version.V0 else number - ((number >> 31) << 32)
        text[at : at + SIZE] = encode(call._replace(src=0, immediate=immediate))
        return
    if target.part is not Part.TEXT:
        msg = f"{where}: {symbol.name} is called but is no function"
        raise LinkError(msg)
    # Relative to a section, the call's own immediate says which instruction of it, less one.
    inside = (call.immediate + 1) * SIZE if symbol.kind == SYMBOL_SECTION else 0
    goal = target.offset + inside
    if goal % SIZE or not 0 <= goal < len(text):
        msg = f"{where}: a call that leads to no instruction"
        raise LinkError(msg)
    text[at : at + SIZE] = encode(call._replace(src=1, immediate=(goal - at) // SIZE - 1))


def _fill_lddw(state: _Link, at: int, target: Place, where: str) -> None:
    text = state.parts[Part.TEXT]
    if text[at] != LDDW or at % SIZE or at + 2 * SIZE > len(text):
        msg = f"{where}: an address's relocation on what loads none"
        raise LinkError(msg)
    added = int.from_bytes(text[at + 4 : at + 8] + text[at + 12 : at + 16], "little")
    value = _WORD.pack((state.address(target) + added) % (1 << 64))
    text[at + 4 : at + 8], text[at + 12 : at + 16] = value[:4], value[4:]


def _fill_word(state: _Link, at: int, target: Place) -> None:
    rodata = state.parts[Part.RODATA]
    try:
        (added,) = _WORD.unpack_from(rodata, at)
        _WORD.pack_into(rodata, at, (state.address(target) + added) % (1 << 64))
    except struct.error as error:
        raise LinkError(str(error)) from error


def _calls_by_pointer(version: Version, text: bytes) -> bytes:
    """The code with the register of each call by pointer where the version wants it."""
    out = bytearray(text)
    for index, call in decode_all(text).items():
        if call.opcode != CALLX:
            continue
        if call.dst and call.immediate:
            msg = f"instruction {index}: a call by pointer names two registers"
            raise LinkError(msg)
        dst, immediate = call.dst or call.immediate, 0
        if version is Version.V0:
            dst, immediate = immediate, dst
        elif not 0 <= dst < FRAME:
            msg = f"instruction {index}: a call by pointer in register {dst}"
            raise LinkError(msg)
        out[index * SIZE : (index + 1) * SIZE] = encode(call._replace(dst=dst, immediate=immediate))
    return bytes(out)
