"""The tables of `docs/program.md`, made from the program's declarations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onchain.program.instructions import EVENTS, INSTRUCTIONS, PROPOSALS
from onchain.program.layout import ACCOUNTS, CONSTANTS, STRUCTS, Field, Layout, size_of
from onchain.program.refusals import CODES, REFUSALS


def _layout(layout: Layout) -> Iterator[str]:
    seeds = f" Address: seeds ({', '.join(layout.seeds)})." if layout.seeds else ""
    yield f"**{layout.name}**, {layout.size} bytes. {layout.said}{seeds}"
    yield ""
    yield "| at | field | type | bytes | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for offset, field in layout.offsets():
        size = size_of(field.type)
        yield f"| {offset} | `{field.name}` | {field.type} | {size} | {field.said} |"
    yield ""


def accounts_table() -> str:
    return "\n".join(
        line for layout in (*ACCOUNTS, *STRUCTS.values()) for line in _layout(layout)
    ).rstrip()


def constants_table() -> str:
    rows = ["| constant | value | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{name}` | {value:,} | {said} |" for name, (value, said) in CONSTANTS.items()]
    return "\n".join(rows)


def _args(fields: tuple[Field, ...]) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in fields) or "none"


def instructions_table() -> str:
    """`+` after an account: it must be writable; `*`: it must sign."""
    rows = [
        "`+`: writable, `*`: signs.",
        "",
        "| instruction | accounts | arguments | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for each in INSTRUCTIONS:
        names = ", ".join(a.name + "+" * a.writable + "*" * a.signer for a in each.accounts)
        rows.append(f"| `{each.name}` | {names} | {_args(each.args)} | {each.said} |")
    return "\n".join(rows)


def proposals_table() -> str:
    rows = ["| kind | name | fields |", "| --- | --- | --- |"]
    rows += [f"| {kind} | {name} | {said} |" for kind, (name, said) in PROPOSALS.items()]
    return "\n".join(rows)


def errors_table() -> str:
    rows = ["| code | error | meaning |", "| --- | --- | --- |"]
    rows += [f"| {CODES[each.name]} | `{each.name}` | {each.message} |" for each in REFUSALS]
    return "\n".join(rows)


def events_table() -> str:
    rows = ["| event | fields | when |", "| --- | --- | --- |"]
    rows += [f"| `{each.name}` | {_args(each.fields)} | {each.said} |" for each in EVENTS]
    return "\n".join(rows)


#: Name of the marked part of the page → its text.
TABLES: dict[str, Callable[[], str]] = {
    "program accounts": accounts_table,
    "program constants": constants_table,
    "program instructions": instructions_table,
    "program proposals": proposals_table,
    "program errors": errors_table,
    "program events": events_table,
}
