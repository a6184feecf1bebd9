"""The C header of the program's interface: offsets, sizes, discriminators, errors, constants.

A program in C that takes each number from here cannot disagree with the IDLs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from onchain.program.instructions import EVENTS, FLAGS, INSTRUCTIONS, PROPOSALS
from onchain.program.layout import ACCOUNTS, CONSTANTS, STRUCTS, Field, Layout, size_of
from onchain.program.refusals import CODES, REFUSALS

_TOP = """\
/* Made from onchain/program/{layout,instructions,refusals}.py by
 * `python -m onchain.program.generate`: change them, not this file. */
#ifndef HYPER_INTERFACE_H
#define HYPER_INTERFACE_H
"""


def constant_name(name: str) -> str:
    """`TotalExitable` and `total_exitable` → `TOTAL_EXITABLE`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _number(raw: bytes) -> str:
    return f"0x{int.from_bytes(raw, 'little'):016x}ULL"


def _layout(layout: Layout) -> Iterator[str]:
    prefix = constant_name(layout.name)
    yield f"\n/* {layout.name}: {layout.said} */"
    yield f"#define {prefix}_SIZE {layout.size}"
    if layout.seeds:
        yield f"#define {prefix}_TAG {_number(layout.discriminator)}"
    for offset, field in layout.offsets():
        name = f"{prefix}_{constant_name(field.name)}"
        yield f"#define {name} {offset} /* {field.type}: {field.said} */"


def args_size(fields: tuple[Field, ...]) -> int:
    """Bytes of an instruction's arguments, of a proof only its count."""
    return sum(4 if field.type == "proof" else size_of(field.type) for field in fields)


def _instructions() -> Iterator[str]:
    yield "\n/* Instructions: discriminator, accounts, bytes of arguments (a proof: its count). */"
    for instruction in INSTRUCTIONS:
        prefix = f"IX_{constant_name(instruction.name)}"
        yield f"#define {prefix} {_number(instruction.discriminator)}"
        yield f"#define {prefix}_ACCOUNTS {len(instruction.accounts)}"
        yield f"#define {prefix}_ARGS {args_size(instruction.args)}"


def header() -> str:
    """The text of `interface.h`."""
    lines = [_TOP.rstrip("\n")]
    lines.append("\n/* Constants. */")
    for name, (value, said) in CONSTANTS.items():
        lines.append(f"#define {name} {value} /* {said} */")
    for layout in (*STRUCTS.values(), *ACCOUNTS):
        lines += _layout(layout)
    lines += _instructions()
    lines.append("\n/* Events: discriminator. */")
    lines += [f"#define EVENT_{constant_name(e.name)} {_number(e.discriminator)}" for e in EVENTS]
    lines.append("\n/* Flags of pause, kinds of proposals. */")
    lines += [f"#define FLAG_{name} {value}" for name, value in FLAGS.items()]
    lines += [f"#define PROPOSAL_{name} {number}" for number, (name, _) in PROPOSALS.items()]
    lines.append("\n/* Errors. */\nenum {")
    lines += [
        f"    ERR_{constant_name(r.name)} = {CODES[r.name]}, /* {r.message} */" for r in REFUSALS
    ]
    return "\n".join([*lines, "};", "", "#endif", ""])
