"""What all threads of a block have in common by the form of the text alone.

In:   a kernel's function, rewritten, and which of its names are arrays.
Out:  the names that have one value for the whole block, whether an expression has; the names that a
      thread may compute again wherever it needs them.
Rules:
  1. A name is uniform when each of its assignments is the block's (around it only what all threads
     do together) and gives it a uniform value.
  2. Elements of an array that nobody writes are uniform at a uniform place; of others none is.
Source: divergence analysis: Coutinho et al., "Divergence Analysis and Optimizations", 2011.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from agent.kernels.quoting import called, dotted, names_read, names_written
from agent.kernels.threads import has_barrier
from coordinator.workloads.allowed import ARRAY_ATTRIBUTES, BITS, BUILTINS, MATH
from coordinator.workloads.kernel_types import SCALARS

#: Functions of their arguments alone.
_PURE: Final = frozenset(
    {*BUILTINS, *MATH, *SCALARS, *(f"_{name.removeprefix('cuda.')}" for name in BITS)}
    | {"_natural", "_min", "_max"}
)
_OF_A_THREAD: Final = {"_tx", "_ty", "_tz"}
_COMPOUND: Final = (
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Tuple, ast.Constant),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)


_WRITERS: Final = (ast.Assign, ast.AugAssign, ast.For)
#: What an expression of a thread's place is made of: sums, products, conversions; nothing is read
#: from memory, where a guard around it would be lost.
_CHEAP: Final = (
    *(ast.Assign, ast.Name, ast.Tuple, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.operator, ast.unaryop, ast.cmpop, ast.expr_context),
)


def _target(node: ast.Assign | ast.AugAssign | ast.For) -> ast.AST:
    """What holds the names that a statement itself assigns."""
    return node.target if isinstance(node, ast.For) else node


def _is_cheap(node: ast.Assign) -> bool:
    return all(
        isinstance(part, _CHEAP)
        or (isinstance(part, ast.Call) and called(part) in {"_natural", *SCALARS})
        for part in ast.walk(node)
    )


def leaves_loop(node: ast.stmt) -> bool:
    """Whether a statement holds a `break` or `continue` of a loop around it."""
    if isinstance(node, ast.Break | ast.Continue):
        return True
    if isinstance(node, ast.If):
        return any(map(leaves_loop, [*node.body, *node.orelse]))
    return False


def is_together(node: ast.stmt, in_loop: bool) -> bool:
    """Whether a statement is the block's: around a barrier, or leaving a loop that is.

    Args:
        node: A statement of the block's program.
        in_loop: Whether it stands in a loop of the block.
    """
    return has_barrier(node) or (in_loop and leaves_loop(node))


class Uniform:
    """The uniform names of one kernel."""

    def __init__(
        self, function: ast.FunctionDef, constants: Iterable[str], read_only: Iterable[str]
    ) -> None:
        """Find them.

        Args:
            function: The kernel, without what makes its buffers.
            constants: Names of the module's constants.
            read_only: Arrays that no thread writes.
        """
        # A thread's place is among its parameters.
        parameters = {argument.arg for argument in function.args.args}
        assigned = names_written(function)
        self.read_only = set(read_only)
        self.constants = set(constants)
        self.names = {*parameters, *constants, *assigned} - _OF_A_THREAD
        while varying := self._varying(function.body, in_loop=False) & self.names:
            self.names -= varying
        #: Names of which threads have values of their own.
        self.varying = set(assigned - self.names)
        #: Names that have one assignment, from a thread's place and what never changes: → it.
        self.places = self._places(function, parameters - assigned)

    def holds(self, node: ast.AST) -> bool:
        """Whether an expression has one value for the whole block."""
        match node:
            case ast.Name():
                return node.id in self.names
            case ast.Attribute():
                return node.attr in ARRAY_ATTRIBUTES or dotted(node.value) == "math"
            case ast.Subscript():
                array = node.value
                fixed = isinstance(array, ast.Attribute) or dotted(array) in self.read_only
                return fixed and self.holds(node.slice)
            case ast.Call():
                pure = called(node) in _PURE and all(map(self.holds, node.args))
                return pure or called(node) == "len"
        return isinstance(node, _COMPOUND) and all(map(self.holds, ast.iter_child_nodes(node)))

    def _places(self, function: ast.FunctionDef, fixed: set[str]) -> dict[str, ast.Assign]:
        """In the order of the text, so that each may need those before it."""
        writers = [node for node in ast.walk(function) if isinstance(node, _WRITERS)]
        times = Counter(name for node in writers for name in names_written(_target(node)))
        known = fixed | self.constants
        found: dict[str, ast.Assign] = {}
        for node in sorted(writers, key=lambda node: node.lineno):
            names = names_written(_target(node))
            if not isinstance(node, ast.Assign) or any(times[name] > 1 for name in names):
                continue
            if _is_cheap(node) and names_read(node) <= known | {"_natural", *SCALARS}:
                found.update(dict.fromkeys(names, node))
                known |= names
        return found

    def assigns(self, node: ast.stmt) -> bool:
        """Whether a statement gives uniform names a uniform value, and does nothing else."""
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AugAssign):
            targets = [node.target]
        else:
            return False
        return self.holds(node.value) and all(map(self._is_uniform_target, targets))

    def _is_uniform_target(self, target: ast.expr) -> bool:
        if isinstance(target, ast.Tuple):
            return all(map(self._is_uniform_target, target.elts))
        return isinstance(target, ast.Name) and target.id in self.names

    def _varying(self, statements: Sequence[ast.stmt], in_loop: bool) -> set[str]:
        """Names that these statements of the block give values that may differ."""
        found: set[str] = set()
        for node in statements:
            if not is_together(node, in_loop):
                found |= set() if self.assigns(node) else names_written(node)
            elif isinstance(node, ast.If):
                found |= self._varying([*node.body, *node.orelse], in_loop)
            elif isinstance(node, ast.For | ast.While):
                if isinstance(node, ast.For) and not self.counts(node):
                    found |= names_written(node.target)
                found |= self._varying(node.body, in_loop=True)
        return found

    def counts(self, node: ast.For) -> bool:
        """Whether a loop's bounds are uniform."""
        return isinstance(node.iter, ast.Call) and all(map(self.holds, node.iter.args))
