"""The tables of `docs/kernels.md`, made from the language's declarations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from coordinator.workloads import allowed, kernel_limits
from coordinator.workloads.allowed import Function
from coordinator.workloads.kernel_types import SCALARS
from tests.tree import read


def table(head: str, rows: Iterable[str]) -> str:
    return "\n".join([head, "|".join(["", *[" --- "] * (head.count("|") - 1), ""]), *rows])


def cell(text: str) -> str:
    return text.replace("|", r"\|")


def types() -> str:
    said = {"f": "floating point", "i": "whole numbers", "u": "whole numbers from 0"}
    return table(
        "| type | NumPy's | bytes | |",
        (
            f"| `{scalar.name}` | `{scalar.dtype}` | {scalar.bytes} | {said[scalar.name[0]]} |"
            for scalar in SCALARS.values()
        ),
    )


def functions(*tables: dict[str, Function]) -> str:
    return table(
        "| call | result | |",
        (
            f"| `{function.name}({', '.join(function.arguments)}"
            f"{', …' if function.takes_more else ''})` | {function.result or 'none'}"
            f" | {cell(function.meaning)} |"
            for functions in tables
            for function in functions.values()
        ),
    )


def threads() -> str:
    corners = [
        f"| `{name}.x` `.y` `.z` | i64 | {meaning} |" for name, meaning in allowed.CORNERS.items()
    ]
    called = functions(allowed.PLACES, allowed.BARRIERS, allowed.ARRAYS)
    return "\n".join([called, *corners])


def atomics() -> str:
    return table(
        "| call | the element becomes | types of the array |",
        (
            f"| `{name}({', '.join(function.arguments)})` | {cell(function.meaning)} |"
            f" {' '.join(allowed.ATOMIC_TYPES[name])} |"
            for name, function in allowed.ATOMICS.items()
        ),
    )


def bounds() -> str:
    return table(
        "| limit | value | what and why |",
        (
            f"| `{name}` | {getattr(kernel_limits, name):,} | {cell(reason)} |"
            for name, reason in _reasons().items()
        ),
    )


def _reasons() -> dict[str, str]:
    """Constant → the comment above it."""
    found = re.findall(
        r"^((?:#: .*\n)+)([A-Z_]+): Final",
        read(Path("coordinator/workloads/kernel_limits.py")),
        re.MULTILINE,
    )
    return {name: " ".join(re.findall(r"^#: (.*)$", said, re.MULTILINE)) for said, name in found}


TABLES: Final[dict[str, Callable[[], str]]] = {
    "kernel types": types,
    "kernel builtins": lambda: functions(allowed.BUILTINS),
    "kernel math": lambda: functions(allowed.MATH),
    "kernel bits": lambda: functions(allowed.BITS),
    "kernel threads": threads,
    "kernel atomics": atomics,
    "kernel random": lambda: functions(allowed.RANDOM),
    "kernel limits": bounds,
}
