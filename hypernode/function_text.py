"""The lines of one Python function as its author wrote them, and what its names stand for.

In:   a function.
Out:  its lines from `def` on, without the indentation around it; each name of its module with the
      object that it stands for; the lines again with names written otherwise.
Rules:
  1. Positions are bytes of UTF-8 in a line, as `ast` counts them.
  2. A name that the function itself assigns stands for nothing outside of it.
Not covered: a file that was changed after its import in a way that leaves the function's name and
parameters (Python keeps no text of its own).
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any, Final, Literal, NamedTuple

from hypernode.errors import KernelRefused

#: Columns of a tab, as Python counts indentation.
_TAB: Final = 8
_NOTHING: Final = object()


class Origin(NamedTuple):
    """Where a line of the text came from."""

    file: str
    line: int


class Found(NamedTuple):
    """A name, or names joined by dots, and what it stands for."""

    #: Place in the function's own lines, from 1.
    line: int
    start: int
    end: int
    #: The last of the names.
    last: str
    value: Any


class AsWritten(str):
    """A text that stands for itself."""

    __slots__ = ()


class Edit(NamedTuple):
    """Something that is written by another name."""

    line: int
    start: int
    end: int
    text: str


def refused(where: Origin, sentence: str) -> KernelRefused:
    """The error that names a line of the user's."""
    place = f"{PurePath(where.file).name}, line {where.line}: "
    return KernelRefused(place + sentence, file=where.file, line=where.line)


class FunctionText:
    """One function's text.

    Raises:
        KernelRefused: the text is not at hand, is not the function's, or has a second decorator.
    """

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.file = function.__code__.co_filename
        try:
            lines, self.first = inspect.getsourcelines(function)
        except (OSError, TypeError, SyntaxError):
            where = Origin(self.file, function.__code__.co_firstlineno)
            raise refused(where, _no_text(function)) from None
        self.lines = _dedented(lines)
        self.node = self._definition()
        self.first_line = 1
        if len(self.node.decorator_list) > 1:
            raise refused(self.origin(1), f"`{function.__name__}` has one decorator: ours")

    def origin(self, line: int) -> Origin:
        """Where a line of this text stands in the user's file."""
        return Origin(self.file, self.first + line - 1)

    def _definition(self) -> ast.FunctionDef:
        where, name = self.origin(1), self.function.__name__
        try:
            tree = ast.parse("\n".join(self.lines) + "\n")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise refused(where, f"the text of `{name}` cannot be read by itself") from None
        node = tree.body[0] if tree.body else None
        if isinstance(node, ast.AsyncFunctionDef):
            raise refused(where, f"`{name}` is `async`: a kernel waits for nothing")
        if not isinstance(node, ast.FunctionDef):
            raise refused(where, f"there is no `def {name}` here")
        code = self.function.__code__
        given = [argument.arg for argument in node.args.args]
        if node.name != name or tuple(given) != code.co_varnames[: code.co_argcount]:
            changed = f"this is not `{name}` any more: the file was changed since its import"
            raise refused(where, changed)
        return node

    # ---- names --------------------------------------------------------------------------------

    def names(self) -> list[Found]:
        """Every name of the module that the function reads, in the order of the text."""
        own = self._own()
        found: list[Found] = []
        parts: list[ast.AST] = [self.node.args, *self.node.body]
        if self.node.returns is not None:
            parts.append(self.node.returns)
        for part in parts:
            found += self._names(part, own)
        return sorted(found, key=lambda each: (each.line, each.start))

    def _own(self) -> set[str]:
        own = {each.arg for each in ast.walk(self.node.args) if isinstance(each, ast.arg)}
        for part in self.node.body:
            own |= {
                each.id
                for each in ast.walk(part)
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
        return own

    def _names(self, node: ast.AST, own: set[str]) -> Iterator[Found]:
        match node:
            case ast.Subscript(value=ast.Name() | ast.Attribute()):
                # What a type checker wants around the number of dimensions.
                value, _, _ = self._value(node.value, own)
                if value is Literal and isinstance(node.slice, ast.Constant):
                    yield self._found(node, str(node.slice.value), AsWritten(str(node.slice.value)))
                    return
            case ast.Name() | ast.Attribute():
                value, last, used = self._value(node, own)
                if value is not _NOTHING:
                    yield self._found(used, last, value)
                    return
        for child in ast.iter_child_nodes(node):
            yield from self._names(child, own)

    def _value(self, node: ast.expr, own: set[str]) -> tuple[Any, str, ast.expr]:
        """What a chain of names stands for: through modules, up to the first value."""
        match node:
            case ast.Name(id=name):
                return (_NOTHING if name in own else self._lookup(name)), name, node
            case ast.Attribute(value=inner, attr=name):
                value, last, used = self._value(inner, own)
                if used is inner and isinstance(value, ModuleType) and _is_entered(value):
                    return getattr(value, name, _NOTHING), name, node
                return value, last, used
        return _NOTHING, "", node

    def _lookup(self, name: str) -> Any:
        function = self.function
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        if name in cells:
            try:
                return cells[name].cell_contents
            except ValueError:
                return _NOTHING
        return function.__globals__.get(name, _NOTHING)

    def _found(self, node: ast.expr, last: str, value: Any) -> Found:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        if node.lineno != node.end_lineno:
            apart = f"write `{last}` and what it belongs to in one line"
            raise refused(self.origin(node.lineno), apart)
        return Found(node.lineno, node.col_offset, node.end_col_offset, last, value)

    # ---- lines --------------------------------------------------------------------------------

    def edited(self, edits: Sequence[Edit]) -> list[tuple[str, Origin]]:
        """The lines from `def` to the end of the body, with the edits, and where each came from."""
        last = self.node.end_lineno
        assert last is not None
        lines = [line.encode() for line in self.lines]
        for edit in sorted(edits, reverse=True):
            line = lines[edit.line - 1]
            lines[edit.line - 1] = line[: edit.start] + edit.text.encode() + line[edit.end :]
        return [
            (lines[number - 1].decode().rstrip(), self.origin(number))
            for number in range(self.node.lineno, last + 1)
        ]


def _is_entered(module: ModuleType) -> bool:
    """Whether names are looked up in a module; `math` and `cuda` have names of the language."""
    name = module.__name__
    return name not in {"math", "numba.cuda"} and name.split(".")[0] != "numpy"


def _dedented(lines: Sequence[str]) -> list[str]:
    """Lines without the first one's indentation, without tabs and blanks at their ends."""
    plain = [line.rstrip("\r\n").expandtabs(_TAB).rstrip() for line in lines]
    indent = len(plain[0]) - len(plain[0].lstrip(" "))
    return [line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in plain]


def _no_text(function: FunctionType) -> str:
    where = function.__code__.co_filename
    if where.startswith("<"):
        way = "write it into a file, or use IPython or a notebook"
        return f"the text of `{function.__name__}` is not at hand ({where} keeps none): {way}"
    return f"the text of `{function.__name__}` is not at hand: {where} cannot be read"
