"""Bytes of the settlement program's accounts, arguments and events, made from its declarations.

In:   a layout or instruction of `onchain.program`, values by field.
Out:  the bytes, and back again. A struct's fields have its name before theirs: `active.epoch`.
Values: numbers are int, keys and hashes 32 bytes or what `bytes()` makes them of, arrays tuples.
Why not anchorpy's: what the program is tested with must not need the IDLs to be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from onchain.program.instructions import EVENTS, Event, Instruction
from onchain.program.layout import SIZES, STRUCTS, Field, Layout, size_of

_SIGNED: Final = {"i64"}


def pack(type_: str, value: Any) -> bytes:
    """One value of a primitive, an array or a struct (a mapping by field)."""
    name, _, count = type_.partition("*")
    if count:
        assert len(value) == int(count), type_
        return b"".join(pack(name, each) for each in value)
    if name in STRUCTS:
        return b"".join(pack(f.type, value.get(f.name, zero(f.type))) for f in STRUCTS[name].fields)
    if name == "proof":
        return len(value).to_bytes(4, "little") + b"".join(bytes(each) for each in value)
    if name in {"pubkey", "hash"}:
        raw = bytes(value)
        assert len(raw) == 32, type_
        return raw
    return int(value).to_bytes(SIZES[name], "little", signed=name in _SIGNED)


def unpack(type_: str, raw: bytes) -> Any:
    """The value of a primitive or an array."""
    name, _, count = type_.partition("*")
    if count:
        size = size_of(name)
        return tuple(unpack(name, raw[at : at + size]) for at in range(0, len(raw), size))
    if name in {"pubkey", "hash"}:
        return bytes(raw)
    return int.from_bytes(raw, "little", signed=name in _SIGNED)


def zero(type_: str) -> Any:
    """What a field holds that nobody has written."""
    if type_ in STRUCTS:
        return {}
    return unpack(type_, bytes(size_of(type_)))


def flat_fields(
    fields: Sequence[Field], start: int, prefix: str = ""
) -> Iterator[tuple[int, str, str]]:
    """Offset, flat name and type of each field, those of structs in their place."""
    at = start
    for field in fields:
        if field.type in STRUCTS:
            yield from flat_fields(STRUCTS[field.type].fields, at, f"{prefix}{field.name}.")
        else:
            yield at, prefix + field.name, field.type
        at += size_of(field.type)


_FLAT: Final[dict[str, list[tuple[int, str, str]]]] = {}


def _flat(layout: Layout) -> list[tuple[int, str, str]]:
    if layout.name not in _FLAT:
        _FLAT[layout.name] = list(flat_fields(layout.fields, layout.start))
    return _FLAT[layout.name]


def pack_account(layout: Layout, values: Mapping[str, Any]) -> bytes:
    """An account's bytes from values by flat name; fields without one are zero."""
    raw = bytearray(layout.size)
    raw[:8] = layout.discriminator
    unknown = set(values)
    for at, name, type_ in _flat(layout):
        if name in values:
            raw[at : at + size_of(type_)] = pack(type_, values[name])
            unknown.discard(name)
    assert not unknown, (layout.name, unknown)
    return bytes(raw)


def unpack_account(layout: Layout, raw: bytes) -> dict[str, Any]:
    """An account's values by flat name."""
    assert raw[:8] == layout.discriminator, layout.name
    assert len(raw) == layout.size, layout.name
    return {name: unpack(type_, raw[at : at + size_of(type_)]) for at, name, type_ in _flat(layout)}


def pack_instruction(instruction: Instruction, args: Mapping[str, Any]) -> bytes:
    """An instruction's data. Every argument must be there, and no other."""
    assert {field.name for field in instruction.args} == set(args), (instruction.name, set(args))
    return instruction.discriminator + b"".join(
        pack(field.type, args[field.name]) for field in instruction.args
    )


def pack_event(event: Event, values: Mapping[str, Any]) -> bytes:
    return event.discriminator + b"".join(pack(f.type, values[f.name]) for f in event.fields)


def unpack_event(raw: bytes) -> tuple[str, dict[str, Any]]:
    """Name and flat values of what the program logged."""
    event = next(each for each in EVENTS if each.discriminator == raw[:8])
    flat = list(flat_fields(event.fields, 8))
    end = flat[-1][0] + size_of(flat[-1][2])
    assert len(raw) == end, event.name
    return event.name, {
        name: unpack(type_, raw[at : at + size_of(type_)]) for at, name, type_ in flat
    }
