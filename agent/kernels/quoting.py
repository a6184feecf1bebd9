"""Pieces of Python trees: written as text with gaps, read as dotted names.

In:   a template, and nodes or statements for its gaps.
Out:  statements whose every node stands on one line of the user's source, so that a compiler's
      complaint names that line.
Source: quasi-quotation, as in Lisp and MetaOCaml.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TypeAlias

#: What fills a gap: a name, an expression, or the statements of a body.
Part: TypeAlias = str | ast.expr | Sequence[ast.stmt]


def dotted(node: ast.AST) -> str:
    """`cuda.atomic.add` of the attribute of that name; "" of anything but names and dots."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def called(node: ast.AST) -> str:
    """The dotted name of what a call calls; "" of anything else."""
    return dotted(node.func) if isinstance(node, ast.Call) else ""


def quote(template: str, line: int, **parts: Part) -> list[ast.stmt]:
    """Statements of a template in which each name of `parts` is replaced.

    Args:
        template: Python; a gap is a name, alone on its line where statements come in.
        line: The line of the source on which the result stands.
        parts: Gap → what fills it. Nodes that are given keep their own lines.
    """
    made: list[ast.stmt] = []
    for statement in ast.parse(template).body:
        made.extend(_as_list(_Fill(line, parts).visit(statement)))
    return made


def expression(template: str, line: int, **parts: Part) -> ast.expr:
    """The same for a template that is one expression."""
    (statement,) = quote(template, line, **parts)
    assert isinstance(statement, ast.Expr)
    return statement.value


def _as_list(made: ast.AST | list[ast.stmt]) -> list[ast.stmt]:
    if isinstance(made, list):
        return made
    assert isinstance(made, ast.stmt)
    return [made]


class _Fill(ast.NodeTransformer):
    def __init__(self, line: int, parts: dict[str, Part]) -> None:
        self.line = line
        self.parts = parts

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
        gap = node.value if isinstance(node, ast.Expr) else node
        part = self.parts.get(gap.id) if isinstance(gap, ast.Name) else None
        if isinstance(part, ast.expr):
            return ast.Expr(part, lineno=self.line, col_offset=0) if gap is not node else part
        if isinstance(part, str):
            assert isinstance(gap, ast.Name)
            gap.id = part
        elif part is not None:
            return list(part)
        if isinstance(node, ast.stmt | ast.expr | ast.arg):
            node.lineno = node.end_lineno = self.line
            node.col_offset = node.end_col_offset = 0
        made: ast.AST = self.generic_visit(node)
        return made


def names_read(node: ast.AST) -> frozenset[str]:
    """Every name that a tree reads."""
    return _names(node, ast.Load)


def names_written(node: ast.AST) -> frozenset[str]:
    """Every name that a tree assigns."""
    return _names(node, ast.Store)


def _names(node: ast.AST, context: type[ast.expr_context]) -> frozenset[str]:
    return frozenset(
        found.id
        for found in ast.walk(node)
        if isinstance(found, ast.Name) and isinstance(found.ctx, context)
    )
