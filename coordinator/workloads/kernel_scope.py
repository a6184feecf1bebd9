"""What a name of a source stands for: constants and functions of the text, names of one function.

Rules:
  1. A name stands for one thing: a number, an array, a constant, a function.
  2. Device functions stand above those that call them: no function reaches itself.
Not here: what may be done with them (`kernel_expressions`, `kernel_statements`).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, Literal, NoReturn, TypeAlias

from coordinator.workloads import allowed
from coordinator.workloads.kernel_numbers import Number
from coordinator.workloads.kernel_types import SCALARS, Constant, Device, Scalar, SourceRefused

Role: TypeAlias = Literal["element", "cuda", "device"]
ArrayKind: TypeAlias = Literal["in", "out", "argument", "shared", "local"]

_NAME: Final = re.compile(r"[A-Za-z](?!\w*__)\w*", re.ASCII)


@dataclass(slots=True)
class Array:
    """An array that a function can reach by a name."""

    name: str
    kind: ArrayKind
    #: Type and dimensions; None and 0 where nothing says them (arguments of device functions).
    type: Scalar | None
    ndim: int
    is_written: bool = False


@dataclass(slots=True)
class Module:
    """What stands above a function in its text."""

    constants: dict[str, Constant] = field(default_factory=dict)
    #: The constants' values: what expressions are computed with.
    values: dict[str, Number] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    #: Device function → nodes of its tree, those of the functions that it calls included.
    costs: dict[str, int] = field(default_factory=dict)
    #: Device function → bytes of its local arrays, with those of the deepest call from it.
    local_bytes: dict[str, int] = field(default_factory=dict)
    #: Device function → what it uses that only the CUDA form has; "" for nothing.
    needs_blocks: dict[str, str] = field(default_factory=dict)
    #: Every function of the text: those below are called by nobody above them.
    functions: frozenset[str] = frozenset()


@dataclass(slots=True)
class Scope:
    """What one function knows, and what was seen of it so far."""

    name: str
    role: Role
    module: Module
    #: First index of a kernel of the element form, for sentences.
    index: str = ""
    parameters: frozenset[str] = frozenset()
    arrays: dict[str, Array] = field(default_factory=dict)
    #: Names that hold numbers: parameters and whatever is assigned somewhere in the function.
    numbers: set[str] = field(default_factory=set)
    cost: int = 0
    random: set[str] = field(default_factory=set)
    needs_blocks: str = ""
    has_barriers: bool = False
    has_atomics: bool = False
    shared_bytes: int = 0
    local_bytes: int = 0
    #: The same of the function called that has most of them.
    called_local_bytes: int = 0
    has_dynamic_shared: bool = False


def refuse(node: ast.AST, sentence: str) -> NoReturn:
    """Raise: the sentence, with the line of the node."""
    raise SourceRefused(getattr(node, "lineno", 1), sentence)


def dotted(node: ast.expr) -> str:
    """`cuda.atomic.add` of names joined by dots; "" for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def check_name(node: ast.AST, name: str, what: str = "name") -> None:
    """Refuse a name that a translator may use, or that stands for something else already."""
    if not _NAME.fullmatch(name):
        refuse(node, f"the {what} `{name[:40]}` begins with an underscore or holds two in a row")
    if name in allowed.RESERVED:
        whose = "this language" if name in allowed.LANGUAGE else "Python"
        refuse(node, f"`{name}` is a name of {whose}: choose another one")


def unknown_call(node: ast.AST, name: str, scope: Scope) -> NoReturn:
    """Refuse a call of what is not listed, with what to write instead."""
    if name in {"shared.array", "local.array", "syncthreads"}:
        refuse(node, f"`{name}` cannot be called in a kernel: write `cuda.{name}`")
    if instead := _instead_of(name, scope):
        refuse(node, f"`{name}` cannot be called in a kernel: write {instead}")
    if name == scope.name:
        refuse(node, f"`{name}` calls itself: write a loop")
    if name in scope.module.functions:
        refuse(node, f"`{name}` stands below: a function calls those above it")
    if name in scope.arrays or name in scope.numbers or name in scope.module.constants:
        refuse(node, f"`{name}` is no function")
    refuse(node, f"`{name or 'this'}` cannot be called in a kernel")


def _instead_of(name: str, scope: Scope) -> str:
    if name in allowed.INSTEAD:
        return allowed.INSTEAD[name]
    root, _, last = name.rpartition(".")
    if f"math.{last}" in allowed.MATH and root in {
        "",
        "np",
        "numpy",
        "numpy.math",
        "cuda.libdevice",
    }:
        return f"`math.{last}(…)`"
    for scalar in SCALARS.values():
        if last == scalar.dtype:
            return f"`{scalar.name}(…)`"
    known = [*allowed.FUNCTIONS, *SCALARS, *scope.module.devices]
    close = get_close_matches(name, known, n=1, cutoff=0.8)
    return f"`{close[0]}(…)`" if close else ""
