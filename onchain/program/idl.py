"""The program's IDLs, made from its declarations: the old form for anchorpy, the new for others.

anchorpy reads the form of Anchor 0.29 and older (camelCase names, `isMut`); clients in TypeScript
read the form of 0.30 and newer (snake_case, discriminators, address).
"""

from __future__ import annotations

from typing import Any, Final

from onchain.address import encode_address
from onchain.program.instructions import EVENTS, INSTRUCTIONS, Account, Event, Instruction
from onchain.program.layout import ACCOUNTS, CONSTANTS, STRUCTS, Field, Layout
from onchain.program.refusals import CODES, REFUSALS

NAME: Final = "hyper_settlement"
VERSION: Final = "1.0.0"
#: Accounts whose key never changes: clients fill them in.
FIXED: Final = {
    "system_program": "11111111111111111111111111111111",
    "instructions_sysvar": "Sysvar1nstructions1111111111111111111111111",
}


def camel(name: str) -> str:
    """`total_exitable` → `totalExitable`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _type(type_: str, *, key: str) -> Any:
    name, _, count = type_.partition("*")
    if count:
        return {"array": [_type(name, key=key), int(count)]}
    if name == "proof":
        return {"vec": {"array": ["u8", 32]}}
    if name == "hash":
        return {"array": ["u8", 32]}
    if name == "pubkey":
        return key
    if name in STRUCTS:
        return {"defined": name if key == "publicKey" else {"name": name}}
    return name


def _old_fields(fields: tuple[Field, ...], **more: bool) -> list[dict[str, Any]]:
    return [
        {"name": camel(field.name), "type": _type(field.type, key="publicKey"), **more}
        for field in fields
    ]


def _old_struct(layout: Layout) -> dict[str, Any]:
    return {
        "name": layout.name,
        "docs": [layout.said],
        "type": {"kind": "struct", "fields": _old_fields(layout.fields)},
    }


def _old_instruction(instruction: Instruction) -> dict[str, Any]:
    return {
        "name": camel(instruction.name),
        "docs": [instruction.said],
        "accounts": [
            {"name": camel(a.name), "isMut": a.writable, "isSigner": a.signer}
            for a in instruction.accounts
        ],
        "args": _old_fields(instruction.args),
    }


def old_idl() -> dict[str, Any]:
    """The IDL that anchorpy reads."""
    return {
        "version": VERSION,
        "name": NAME,
        "instructions": [_old_instruction(instruction) for instruction in INSTRUCTIONS],
        "accounts": [_old_struct(account) for account in ACCOUNTS],
        "types": [_old_struct(struct) for struct in STRUCTS.values()],
        "events": [
            {"name": event.name, "fields": _old_fields(event.fields, index=False)}
            for event in EVENTS
        ],
        "errors": [
            {"code": CODES[refusal.name], "name": refusal.name, "msg": refusal.message}
            for refusal in REFUSALS
        ],
    }


def _new_fields(fields: tuple[Field, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": field.name,
            **({"docs": [field.said]} if field.said else {}),
            "type": _type(field.type, key="pubkey"),
        }
        for field in fields
    ]


def _new_account(account: Account) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": account.name}
    if account.writable:
        shown["writable"] = True
    if account.signer:
        shown["signer"] = True
    if account.name in FIXED:
        shown["address"] = FIXED[account.name]
    return shown


def _new_instruction(instruction: Instruction) -> dict[str, Any]:
    return {
        "name": instruction.name,
        "docs": [instruction.said],
        "discriminator": list(instruction.discriminator),
        "accounts": [_new_account(account) for account in instruction.accounts],
        "args": _new_fields(instruction.args),
    }


def _new_type(named: Layout | Event) -> dict[str, Any]:
    return {
        "name": named.name,
        **({"docs": [named.said]} if named.said else {}),
        "type": {"kind": "struct", "fields": _new_fields(named.fields)},
    }


def _told(named: Layout | Event) -> dict[str, Any]:
    return {"name": named.name, "discriminator": list(named.discriminator)}


def new_idl(program_id: bytes) -> dict[str, Any]:
    """The IDL that Anchor 0.30 and newer reads, for a program at that address."""
    return {
        "address": encode_address(program_id),
        "metadata": {
            "name": NAME,
            "version": VERSION,
            "spec": "0.1.0",
            "description": "HYPER earnings, settled by cumulative Merkle roots",
        },
        "instructions": [_new_instruction(instruction) for instruction in INSTRUCTIONS],
        "accounts": [_told(account) for account in ACCOUNTS],
        "events": [_told(event) for event in EVENTS],
        "errors": [
            {"code": CODES[refusal.name], "name": refusal.name, "msg": refusal.message}
            for refusal in REFUSALS
        ],
        "types": [
            *(_new_type(layout) for layout in (*STRUCTS.values(), *ACCOUNTS)),
            *(_new_type(event) for event in EVENTS),
        ],
        "constants": [
            {"name": name, "docs": [said], "type": "u64", "value": str(value)}
            for name, (value, said) in CONSTANTS.items()
        ],
    }
