"""A kernel's statements, cut into what each thread runs and what the block does.

In:   the statements of a thread, with `_syncthreads()` among them.
Out:  pieces: regions between barriers, and the block's own assignments, branches and loops.
Rules: those of `barriers`, which makes a program of the pieces.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from agent.kernels.quoting import dotted, names_read, names_written, quote
from agent.kernels.uniform import Uniform, is_together


@dataclass(slots=True)
class Region:
    """Statements that each thread of a block runs by itself."""

    body: list[ast.stmt] = field(default_factory=list)


@dataclass(slots=True)
class Once:
    """A statement that is computed once for the block."""

    statement: ast.stmt


@dataclass(slots=True)
class Branch:
    """An `if` of the block."""

    node: ast.If
    body: list[Piece]
    orelse: list[Piece]


@dataclass(slots=True)
class Loop:
    """A `for` or a `while` of the block."""

    node: ast.For | ast.While
    body: list[Piece]
    #: Number of the loop, for the names of each thread's bounds.
    number: int


Piece: TypeAlias = Region | Once | Branch | Loop


def cut(function: ast.FunctionDef, uniform: Uniform) -> list[Piece]:
    """The pieces of a kernel."""
    return _Cutter(uniform).cut(function.body, in_loop=False)


class _Cutter:
    """Statements → pieces."""

    def __init__(self, uniform: Uniform) -> None:
        self.uniform = uniform
        self.loops = 0

    def cut(self, statements: Sequence[ast.stmt], in_loop: bool) -> list[Piece]:
        pieces: list[Piece] = []
        region = Region()
        for node in statements:
            if _does_nothing(node):
                continue
            if self.uniform.assigns(node):
                if names_written(node) & _names_of(region):
                    pieces, region = [*pieces, region], Region()
                pieces.append(Once(node))
            elif not is_together(node, in_loop):
                region.body.append(node)
            else:
                pieces, region = [*pieces, region], Region()
                if not isinstance(node, ast.Expr):
                    pieces.append(self._compound(node, in_loop))
        return [piece for piece in [*pieces, region] if piece != Region()]

    def _compound(self, node: ast.stmt, in_loop: bool) -> Piece:
        if isinstance(node, ast.Break | ast.Continue):
            return Once(node)
        if isinstance(node, ast.If):
            return Branch(node, self.cut(node.body, in_loop), self.cut(node.orelse, in_loop))
        assert isinstance(node, ast.For | ast.While)
        self.loops += 1
        number = self.loops
        body = self.cut(node.body, in_loop=True)
        if isinstance(node, ast.For) and not self._is_blocks(node):
            template = "_target = _first[_t] + _turn * _step[_t]"
            if self.uniform.counts(node):
                template = "_target = _turn"
            start = quote(
                template, node.lineno, _target=dotted(node.target), _first=f"_first_{number}",
                _turn=f"_turn_{number}", _step=f"_step_{number}",
            )  # fmt: skip
            if body and isinstance(body[0], Region):
                body[0].body[:0] = start
            else:
                body.insert(0, Region(start))
        return Loop(node, body, number)

    def _is_blocks(self, node: ast.For) -> bool:
        return self.uniform.counts(node) and dotted(node.target) in self.uniform.names


def _does_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _names_of(region: Region) -> set[str]:
    return {name for node in region.body for name in names_read(node) | names_written(node)}


def runs(pieces: Sequence[Piece]) -> Iterator[list[ast.stmt]]:
    """What threads run between two points where the block is in control, conditions included."""
    for piece in pieces:
        match piece:
            case Region():
                yield piece.body
            case Branch():
                yield [ast.Expr(piece.node.test)]
                yield from runs([*piece.body, *piece.orelse])
            case Loop():
                node = piece.node
                yield [ast.Expr(node.iter if isinstance(node, ast.For) else node.test)]
                yield from runs(piece.body)
