"""Barriers without threads: a kernel is split where the threads of a block wait for each other.

In:   the statements of a thread, with `_syncthreads()` among them.
Out:  the statements of a block: loops over its threads, one for each part between two barriers;
      and the names that live across, of which every thread keeps its own value.
Rules:
  1. An `if` or a loop around a barrier is the block's: every thread that has not returned
     evaluates its condition or bounds, and they must agree (a loop's on how often it runs). Where
     they do not, the block's program returns the line, which is 0 otherwise.
  2. `break` and `continue` of such a loop are the block's too, and so the `if` around them.
  3. What is the same for all threads by its form (`barriers` does not run it to know) is computed
     once a block.
  4. A thread that has returned is not waited for, as on devices since Volta.
Not covered: a barrier in a device function, which the language refuses.
Source: Jääskeläinen et al., "pocl: A Performance-Portable OpenCL Implementation", 2015 (regions);
        Han et al., "COX: Exposing CUDA Warp-level Functions to CPUs", 2022.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.kernels.liveness import flow
from agent.kernels.quoting import dotted, names_read, names_written, quote
from agent.kernels.regions import Branch, Loop, Once, Piece, Region, cut, runs
from agent.kernels.uniform import Uniform


@dataclass(frozen=True, slots=True)
class Split:
    """A kernel as the program of a block."""

    body: list[ast.stmt]
    #: Names of which every thread keeps a value across barriers: `_kept_NAME`, an element a thread.
    kept: tuple[str, ...]
    #: Loops of which every thread keeps its first index and step: (`_first_NUMBER` and
    #: `_step_NUMBER`, the name that counts).
    counted: tuple[tuple[int, str], ...]
    #: Local arrays: `_local_NAME`, one a thread.
    local: tuple[str, ...]
    #: Whether threads may return early: `_gone`, an element a thread.
    has_returns: bool

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that the program takes besides the kernel's own."""
        return (
            *(f"_kept_{name}" for name in self.kept),
            *(f"_{part}_{number}" for number, _ in self.counted for part in ("first", "step")),
            *(f"_local_{name}" for name in self.local),
            *(["_gone"] if self.has_returns else []),
        )


def split(function: ast.FunctionDef, uniform: Uniform, local: Sequence[str]) -> Split:
    """Split a kernel at its barriers.

    Args:
        function: The kernel, rewritten, without what makes its buffers.
        uniform: Its uniform names.
        local: Names of its local arrays.
    """
    has_returns = any(isinstance(node, ast.Return) for node in ast.walk(function))
    pieces = cut(function, uniform)
    kept: set[str] = set()
    for run in runs(pieces):
        kept |= flow(run)[0] & uniform.varying - uniform.places.keys()
    writer = _Writer(uniform, kept, local, has_returns)
    body = writer.write(pieces)
    if has_returns:
        body[:0] = quote(_ALL_ALIVE, function.lineno)
    return Split(body, tuple(sorted(kept)), tuple(writer.counted), tuple(local), has_returns)


#: At a block's start.
_ALL_ALIVE: Final = """
_alive = _bdx * _bdy * _bdz
for _t in range(_alive):
    _gone[_t] = 0
"""
_THREADS: Final = """
for _tz in range(_bdz):
    for _ty in range(_bdy):
        for _tx in range(_bdx):
            _t = (_tz * _bdy + _ty) * _bdx + _tx
            _body
"""
_SKIP_GONE: Final = """
if _gone[_t] != 0:
    continue
"""
_LEAVE: Final = """
_gone[_t] = 1
_alive -= 1
"""
_NOBODY: Final = """
if _alive == 0:
    break
"""
_ASK: Final = """
if _agreed < 0:
    _agreed = _value
elif _agreed != _value:
    return _line
"""
_BRANCH: Final = """
if _agreed == 1:
    _body
else:
    _otherwise
"""
_WHILE: Final = """
while True:
    _question
    if _agreed != 1:
        break
    _body
"""
_BOUNDS: Final = """
_low = _from
_pace = _every
_value = _trips(_low, _to, _pace)
_first[_t] = _low
_step[_t] = _pace
"""


class _Writer:
    """Pieces → statements of the block."""

    def __init__(
        self, uniform: Uniform, kept: set[str], local: Sequence[str], has_returns: bool
    ) -> None:
        self.uniform = uniform
        self.kept = kept
        self.local = set(local)
        self.has_returns = has_returns
        self.counted: list[tuple[int, str]] = []

    def write(self, pieces: Sequence[Piece]) -> list[ast.stmt]:
        return [statement for piece in pieces for statement in self._piece(piece)]

    def _piece(self, piece: Piece) -> list[ast.stmt]:
        match piece:
            case Once():
                return [piece.statement]
            case Region():
                return self._threads(piece.body)
            case Branch():
                return self._branch(piece)
            case Loop(node=ast.While() as node):
                return self._while(piece, node)
            case Loop(node=ast.For() as node):
                return self._for(piece, node)
        raise AssertionError(piece)

    def _threads(self, body: list[ast.stmt], block: Sequence[ast.stmt] = ()) -> list[ast.stmt]:
        """A loop over the threads around statements of one of them, and some of the block's."""
        line = body[0].lineno
        needs, assigned = flow(body)
        written = set().union(*map(names_written, body))
        whole: list[ast.stmt] = quote(_SKIP_GONE, line) if self.has_returns else []
        whole += self._places(needs)
        for name in sorted(self.kept & (needs | (written - assigned))):
            whole += quote("_name = _array[_t]", line, _name=name, _array=f"_kept_{name}")
        for name in sorted(self.local & set().union(*map(names_read, body))):
            whole += quote("_name = _array[_t]", line, _name=name, _array=f"_local_{name}")
        whole += _without_returns(body, in_loop=False)
        for name in sorted(self.kept & written):
            whole += quote("_array[_t] = _name", line, _name=name, _array=f"_kept_{name}")
        return quote(_THREADS, line, _body=[*whole, *block])

    def _places(self, needs: set[str]) -> list[ast.stmt]:
        """Compute again what follows from a thread's place: that is cheaper than to keep it."""
        again: list[ast.stmt] = []
        for name, node in reversed(self.uniform.places.items()):
            if name in needs and node not in again:
                again.insert(0, node)
                needs = needs | names_read(node)
        return copy.deepcopy(again)

    def _ask(self, question: list[ast.stmt], line: int) -> list[ast.stmt]:
        """Have every thread compute `_value`, and see that all have the same."""
        ask = quote(_ASK, line, _line=ast.Constant(line))
        return [*quote("_agreed = -1", line), *self._threads(question, ask)]

    def _branch(self, piece: Branch) -> list[ast.stmt]:
        node = piece.node
        nothing: list[ast.stmt] = [ast.Pass(lineno=node.lineno, col_offset=0)]
        body, otherwise = self.write(piece.body) or nothing, self.write(piece.orelse) or nothing
        if self.uniform.holds(node.test):
            template = _BRANCH.replace("_agreed == 1", "_test")
            return quote(template, node.lineno, _test=node.test, _body=body, _otherwise=otherwise)
        asked = self._ask(_truth(node.test), node.lineno)
        return asked + quote(_BRANCH, node.lineno, _body=body, _otherwise=otherwise)

    def _while(self, piece: Loop, node: ast.While) -> list[ast.stmt]:
        body = self._loop_body(piece)
        if self.uniform.holds(node.test):
            return quote("while _test:\n    _body", node.lineno, _test=node.test, _body=body)
        asked = self._ask(_truth(node.test), node.lineno)
        return quote(_WHILE, node.lineno, _question=asked, _body=body)

    def _for(self, piece: Loop, node: ast.For) -> list[ast.stmt]:
        number, name, line = piece.number, dotted(node.target), node.lineno
        body = self._loop_body(piece)
        turn = name if name in self.uniform.names else f"_turn_{number}"
        template = "for _turn in _iter:\n    _body"
        if self.uniform.counts(node):
            return quote(template, line, _turn=turn, _iter=node.iter, _body=body)
        self.counted.append((number, name))
        assert isinstance(node.iter, ast.Call)
        low, high, step = _bounds(node.iter.args)
        bounds = quote(
            _BOUNDS, line, _from=low, _to=high, _every=step,
            _first=f"_first_{number}", _step=f"_step_{number}",
        )  # fmt: skip
        loop = quote("for _turn in range(_agreed):\n    _body", line, _turn=turn, _body=body)
        return self._ask(bounds, line) + loop

    def _loop_body(self, piece: Loop) -> list[ast.stmt]:
        line = piece.node.lineno
        nobody = quote(_NOBODY, line) if self.has_returns else []
        return nobody + self.write(piece.body) or [ast.Pass(lineno=line, col_offset=0)]


def _truth(test: ast.expr) -> list[ast.stmt]:
    return quote("_value = 1 if _test else 0", test.lineno, _test=test)


def _bounds(arguments: Sequence[ast.expr]) -> tuple[ast.expr, ast.expr, ast.expr]:
    """Start, stop and step of a `range`."""
    nought, one = ast.Constant(0), ast.Constant(1)
    if len(arguments) == 1:
        return nought, arguments[0], one
    return arguments[0], arguments[1], arguments[2] if len(arguments) > 2 else one


def _without_returns(statements: Sequence[ast.stmt], in_loop: bool) -> list[ast.stmt]:
    """Statements in which a thread that returns is noted as gone, and goes to the end of its turn.

    Args:
        statements: Of one thread.
        in_loop: Whether they stand in a loop of the thread's own.
    """
    made: list[ast.stmt] = []
    for node in statements:
        way: ast.stmt = ast.Break() if in_loop else ast.Continue()
        way.lineno, way.col_offset = node.lineno, 0
        if isinstance(node, ast.Return):
            made += [*quote(_LEAVE, node.lineno), way]
        elif not any(isinstance(found, ast.Return) for found in ast.walk(node)):
            made.append(node)
        elif isinstance(node, ast.If):
            body, orelse = (_without_returns(part, in_loop) for part in (node.body, node.orelse))
            made.append(ast.copy_location(ast.If(node.test, body, orelse), node))
        elif isinstance(node, ast.For | ast.While):
            node.body = _without_returns(node.body, in_loop=True)
            made += [node, *quote("if _gone[_t] != 0:\n    _way", node.lineno, _way=[way])]
    return made
