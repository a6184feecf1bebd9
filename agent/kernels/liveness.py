"""Which names a run of statements reads before it gives them a value.

In:   statements of one thread, without barriers.
Out:  the names whose value must come from before the run, and those that it always assigns.
Rules:
  1. A loop's body may run no time: what only it assigns is not assigned after it.
  2. A branch that leaves (`return`, `break`, `continue`) demands nothing of what follows.
Source: live variables at entry, "Compilers", Aho, Lam, Sethi, Ullman, 9.2.5.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from agent.kernels.quoting import names_read, names_written


def flow(statements: Sequence[ast.stmt]) -> tuple[set[str], set[str]]:
    """The names that are read before they are surely assigned, and those that surely are."""
    needs: set[str] = set()
    assigned: set[str] = set()
    _walk(statements, assigned, needs)
    return needs, assigned


def _walk(statements: Sequence[ast.stmt], assigned: set[str], needs: set[str]) -> bool:
    """Go through statements, adding to both sets; whether the way ends before their end."""
    return any(_step(statement, assigned, needs) for statement in statements)


def _step(statement: ast.stmt, assigned: set[str], needs: set[str]) -> bool:
    match statement:
        case ast.Return() | ast.Break() | ast.Continue():
            needs |= names_read(statement) - assigned
            return True
        case ast.If():
            needs |= names_read(statement.test) - assigned
            return _branches([statement.body, statement.orelse], assigned, needs)
        case ast.For():
            needs |= names_read(statement.iter) - assigned
            _walk(statement.body, assigned | names_written(statement.target), needs)
        case ast.While():
            needs |= names_read(statement.test) - assigned
            _walk(statement.body, set(assigned), needs)
        case ast.AugAssign():
            needs |= (names_read(statement) | names_written(statement.target)) - assigned
            assigned |= names_written(statement.target)
        case _:
            needs |= names_read(statement) - assigned
            assigned |= names_written(statement)
    return False


def _branches(branches: Iterable[Sequence[ast.stmt]], assigned: set[str], needs: set[str]) -> bool:
    """Both ways of an `if`: after it, what every way that goes on has assigned."""
    going_on: list[set[str]] = []
    for branch in branches:
        here = set(assigned)
        if not _walk(branch, here, needs):
            going_on.append(here)
    if going_on:
        assigned |= set.intersection(*going_on)
    return not going_on
