"""The program's coder: anchorpy over our IDL, in terms of bytes and plain values.

In:   names and arguments in snake case; account and event data.
Out:  instruction data and account lists; fields by name, keys and hashes as bytes.
Why anchorpy and solders come late: who reads leaves, vouchers and decoded values does without them,
and anchorpy takes a third of a second.
Not here: which addresses an instruction is given (`calls`, `role_calls`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from onchain.program.idl import NAME
from onchain.program.instructions import EVENTS, INSTRUCTIONS
from onchain.program.layout import ACCOUNTS, STRUCTS, Field, size_of

if TYPE_CHECKING:
    from solders.instruction import Instruction

#: Fields without a meaning.
RESERVED: Final = frozenset({"reserved", "padding"})

_INSTRUCTIONS: Final = {each.name: each for each in INSTRUCTIONS}
_ACCOUNTS: Final = {each.discriminator: each for each in ACCOUNTS}
_EVENTS: Final = {each.discriminator: each for each in EVENTS}


@cache
def coder() -> Any:
    """The coder of the IDL that lies beside the program."""
    from anchorpy import Coder, Idl  # noqa: PLC0415

    text = files("onchain.program").joinpath(f"{NAME}.json").read_text(encoding="utf-8")
    return Coder(Idl.from_json(text))


def instruction(
    program: bytes, name: str, accounts: Mapping[str, bytes], arguments: Mapping[str, Any]
) -> Instruction:
    """One instruction of the program, as solders has it.

    Args:
        program: The program's address.
        name: Its name in snake case.
        accounts: Address of each account that the instruction lists, and of no other.
        arguments: Value of each argument; keys and hashes are 32 bytes.
    """
    from solders.instruction import AccountMeta, Instruction  # noqa: PLC0415
    from solders.pubkey import Pubkey  # noqa: PLC0415

    declared = _INSTRUCTIONS[name]
    assert accounts.keys() == {each.name for each in declared.accounts}, (name, [*accounts])
    assert arguments.keys() == {each.name for each in declared.args}, (name, [*arguments])
    types = {field.name: field.type for field in declared.args}
    data = coder().instruction.encode(
        name, {key: _to_anchor(types[key], value) for key, value in arguments.items()}
    )
    metas = [
        AccountMeta(Pubkey(accounts[each.name]), is_signer=each.signer, is_writable=each.writable)
        for each in declared.accounts
    ]
    return Instruction(Pubkey(program), data, metas)


def _to_anchor(type_: str, value: Any) -> Any:
    from solders.pubkey import Pubkey  # noqa: PLC0415

    if type_ == "pubkey":
        return Pubkey(value)
    if type_ == "hash":
        assert len(value) == 32
        return list(value)
    if type_ == "proof":
        return [list(each) for each in value]
    return value


def account_fields(data: bytes) -> tuple[str, dict[str, Any]]:
    """Name and fields of an account of the program; what is reserved is left out.

    Raises:
        ValueError: another size or discriminator than an account of the program has.
    """
    layout = _ACCOUNTS.get(data[:8])
    if layout is None or len(data) != layout.size:
        msg = f"{len(data)} bytes are no account of the settlement program"
        raise ValueError(msg)
    return layout.name, _plain(layout.fields, coder().accounts.decode(data))


def event_fields(data: bytes) -> tuple[str, dict[str, Any]] | None:
    """Name and fields of what was logged; None where that is no event of the program."""
    event = _EVENTS.get(data[:8])
    if event is None or len(data) != 8 + sum(size_of(field.type) for field in event.fields):
        return None
    return event.name, _plain(event.fields, coder().events.parse(data).data)


def _plain(fields: tuple[Field, ...], value: Any) -> dict[str, Any]:
    """Container of anchorpy as a dict: keys, hashes and arrays of bytes as bytes."""
    return {
        field.name: _from_anchor(field.type, getattr(value, field.name))
        for field in fields
        if field.name not in RESERVED
    }


def _from_anchor(type_: str, value: Any) -> Any:
    if type_ in {"pubkey", "hash"}:
        return bytes(value)
    if type_ in STRUCTS:
        return _plain(STRUCTS[type_].fields, value)
    return tuple(value) if "*" in type_ else value
