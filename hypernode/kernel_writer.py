"""From a Python function to a kernel's canonical text, and from its lines back to the user's.

In:   the function that `@kernel` was put on.
Out:  the text that travels and is hashed; for each of its lines the file and line it came from.
Rules:
  1. The text is the user's own lines: what `ast.unparse` makes differs between versions of Python.
  2. A name means what it means in the user's module: types, `math` and `cuda` are written by the
     names of the language, device functions and constants are taken along.
  3. The text of a canonical text is the same text.
Not here: what the language is (`coordinator.workloads.source` reads what is written here).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from coordinator.workloads.kernel_types import SCALARS_BY_DTYPE, Scalar
from hypernode.function_text import AsWritten, Edit, Found, FunctionText, Origin, refused
from hypernode.language import Annotation, KernelOnly

DEVICE: Final = "@device"
#: Modules that a kernel may name, by how its text writes them; Numba's own is the same there.
_MODULES: Final = {"math": "math", "numba.cuda": "cuda"}


class Written(NamedTuple):
    """A canonical text, and the origin of each of its lines."""

    text: str
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """A decorated function: what a text takes from it."""

    function: FunctionType
    #: The line above it in the text: `@kernel(fastmath=True)`.
    decorator: str


class Decorated:
    """What stands in a module for a decorated function."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition


def define(function: object, decorator: str) -> Definition:
    """The function, if it can be a kernel's or a device function.

    Raises:
        TypeError: it is no function of Python's.
        KernelRefused: it is a method or a lambda.
    """
    if not isinstance(function, FunctionType):
        msg = f"`{decorator}` stands above a function, not a {type(function).__name__}"
        raise TypeError(msg)
    where = Origin(function.__code__.co_filename, function.__code__.co_firstlineno)
    if function.__name__ == "<lambda>":
        raise refused(where, "a lambda has no text of its own: write `def`")
    owner = function.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>"):
        inside = f"`{function.__name__}` stands in the class `{owner}`: write it outside"
        raise refused(where, inside)
    return Definition(function, decorator)


def write(kernel: Definition) -> Written:
    """The text of a kernel with all that it calls and reads.

    Raises:
        KernelRefused: the text is not at hand, or something that it reads cannot travel.
    """
    writer = _Writer()
    writer.take(kernel)
    lines: list[str] = []
    origins: list[Origin] = []
    parts = [part for part in (writer.constant_lines(), *writer.functions) if part]
    for part in parts:
        for gap in ("", "") if lines else ():
            lines.append(gap)
            origins.append(part[0][1])
        lines += [line for line, _ in part]
        origins += [origin for _, origin in part]
    return Written("\n".join(lines) + "\n", tuple(origins))


_Part: TypeAlias = list[tuple[str, Origin]]


@dataclass(slots=True)
class _Writer:
    """What was taken along so far."""

    functions: list[_Part] = field(default_factory=list)
    #: Constant → its literal, and where it is read first.
    constants: dict[str, tuple[str, Origin]] = field(default_factory=dict)
    #: Name → the function of it; those being written included.
    taken: dict[str, FunctionType] = field(default_factory=dict)

    def constant_lines(self) -> _Part:
        return [
            (f"{name} = {literal}", origin)
            for name, (literal, origin) in sorted(self.constants.items())
        ]

    def take(self, wanted: Definition) -> None:
        """Write a function, those that it calls before it."""
        self.taken[wanted.function.__name__] = wanted.function
        reader = FunctionText(wanted.function)
        edits = [
            Edit(found.line, found.start, found.end, text)
            for found in reader.names()
            if (text := self._written(found, reader.origin(found.line)))
        ]
        decorator = (wanted.decorator, reader.origin(reader.first_line))
        self.functions.append([decorator, *reader.edited(edits)])

    def _written(self, found: Found, origin: Origin) -> str:
        """How a name of the user's is written in the text; "" for as it stands."""
        value = found.value
        match value:
            case Decorated(definition=definition):
                return self._called(definition, origin)
            case bool() | int() | float() | np.generic():
                return self._constant(found, origin)
        if plain := _plainly(found):
            return plain
        _check_travels(found, origin)
        return ""

    def _constant(self, found: Found, origin: Origin) -> str:
        literal = _literal(found, origin)
        known, where = self.constants.setdefault(found.last, (literal, origin))
        if known != literal:
            other = f"`{found.last}` is {known} in line {where.line} of {PurePath(where.file).name}"
            raise refused(origin, f"{other}, and {literal} here: give one another name")
        return found.last

    def _called(self, wanted: Definition, origin: Origin) -> str:
        name = wanted.function.__name__
        if wanted.decorator != DEVICE:
            raise refused(origin, f"`{name}` is a kernel: a kernel calls `@hn.device` functions")
        if name not in self.taken:
            self.take(wanted)
        elif self.taken[name] is not wanted.function:
            raise refused(origin, f"two functions are named `{name}`: give one another name")
        return name


def _plainly(found: Found) -> str:
    """How the text writes a name of the language; "" for anything else."""
    match found.value:
        case AsWritten() as text:
            return text
        case Scalar(name=name) | Annotation(name=name) | KernelOnly(name=name):
            return name
        case ModuleType(__name__=name):
            return _MODULES.get(name, "")
    from_math = getattr(found.value, "__module__", "") == "math"
    # `from math import sqrt as root` has one more name, not another function.
    name = getattr(found.value, "__name__", "")
    return f"math.{name}" if from_math and getattr(math, name, None) is found.value else ""


def _literal(found: Found, origin: Origin) -> str:
    """A number as the text writes it: Python's `repr` of it, within its type."""
    value, kind = found.value, ""
    if isinstance(value, np.generic) and not isinstance(value, np.bool_):
        scalar = SCALARS_BY_DTYPE.get(value.dtype.name)
        if scalar is None:
            raise refused(origin, f"`{found.last}` is a {value.dtype.name}: kernels have none")
        kind = scalar.name
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        raise refused(origin, f"`{found.last}` is {plain}: write `math.inf` or `math.nan`")
    # Of an enumeration's member the number, not its name.
    base = bool if isinstance(plain, bool) else int if isinstance(plain, int) else float
    literal = base.__repr__(plain)
    return f"{kind}({literal})" if kind else literal


def _check_travels(found: Found, origin: Origin) -> None:
    """Refuse what a text cannot take along, with what to do instead."""
    name, value = found.last, found.value
    if isinstance(value, np.ndarray):
        scalar = SCALARS_BY_DTYPE.get(value.dtype.name)
        more = f", {value.ndim}" if value.ndim > 1 else ""
        kind = f"hn.In[hn.{scalar.name if scalar else 'f32'}{more}]"
        raise refused(origin, f"`{name}` is an array: take it as a parameter, `{name}: {kind}`")
    if isinstance(value, ModuleType):
        return
    if isinstance(value, str | bytes | list | tuple | dict | set):
        what = f"`{name}` is a {type(value).__name__}: a kernel takes numbers along"
        raise refused(origin, f"{what}, and arrays as parameters")
    if isinstance(value, FunctionType):
        raise refused(origin, f"`{name}` is a plain function: put `@hn.device` above it")
