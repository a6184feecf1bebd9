"""The names of CUDA in a kernel's tree, as names of a program for the CPU.

In:   the tree of one function of a source.
Out:  the same with a thread's place as the integers of `PLACE`, atomic and bit functions as those
      of `cpu_functions`, and its shared and local arrays as names that are given from outside.
Rules:
  1. A source has no name that begins with an underscore: ours all do.
  2. What is rewritten stands on the line where it stood.
Not here: loops over the threads (`port`), barriers (`barriers`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from agent.kernels.quoting import called, dotted, expression
from coordinator.workloads.kernel_types import SCALARS, Scalar, SourceRefused

#: Where a thread is: in its block, its block in the grid, and how large both are.
PLACE: Final = (
    *("_tx", "_ty", "_tz", "_bx", "_by", "_bz"),
    *("_bdx", "_bdy", "_bdz", "_gdx", "_gdy", "_gdz"),
)
CORNERS: Final = {
    f"cuda.{corner}.{axis}": f"_{short}{axis}"
    for corner, short in (
        ("threadIdx", "t"), ("blockIdx", "b"), ("blockDim", "bd"), ("gridDim", "gd"),
    )
    for axis in "xyz"
}  # fmt: skip
_WHOLE: Final = {
    "cuda.grid": [f"_natural(_b{axis} * _bd{axis} + _t{axis})" for axis in "xyz"],
    "cuda.gridsize": [f"_bd{axis} * _gd{axis}" for axis in "xyz"],
}
#: Calls that make an array, and where the array lives.
_MAKERS: Final[dict[str, Literal["shared", "local"]]] = {
    "cuda.shared.array": "shared",
    "cuda.local.array": "local",
}
BARRIER: Final = "cuda.syncthreads"


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array that a function makes by `cuda.shared.array` or `cuda.local.array`."""

    name: str
    where: Literal["shared", "local"]
    type: Scalar
    #: (0,): as many elements as the launch's bytes hold.
    shape: tuple[int, ...]
    line: int


class _Rewriter(ast.NodeTransformer):
    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if name := CORNERS.get(dotted(node)):
            return ast.copy_location(ast.Name(name, ast.Load()), node)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = called(node)
        if name in _WHOLE:
            return _whole(name, node)
        if name.startswith("cuda."):
            short = name.removeprefix("cuda.").replace(".", "_").rstrip("_")
            node.func = ast.copy_location(ast.Name(f"_{short}", ast.Load()), node.func)
        return self.generic_visit(node)


def rewrite(function: ast.FunctionDef) -> None:
    """Rewrite, in place, what a function asks of CUDA; barriers become calls of `_syncthreads`."""
    function.body = [_Rewriter().visit(statement) for statement in function.body]


def _whole(name: str, node: ast.Call) -> ast.expr:
    (dimensions,) = node.args
    assert isinstance(dimensions, ast.Constant)
    assert isinstance(dimensions.value, int)
    axes = _WHOLE[name][: dimensions.value]
    return expression(", ".join(axes), node.lineno)


def uses_place(function: ast.FunctionDef) -> bool:
    """Whether a rewritten function reads where its thread is."""
    return any(isinstance(node, ast.Name) and node.id in PLACE for node in ast.walk(function))


def has_barrier(node: ast.AST) -> bool:
    """Whether a tree, rewritten or not, waits for other threads."""
    return any(called(found) in {BARRIER, "_syncthreads"} for found in ast.walk(node))


def take_buffers(
    function: ast.FunctionDef, constants: Mapping[str, object]
) -> tuple[tuple[Buffer, ...], tuple[Buffer, ...]]:
    """The shared and the local arrays that a function makes; what makes them leaves its body.

    Raises:
        SourceRefused: Of a shape or a type that is no constant.
    """
    taken: list[Buffer] = []
    kept: list[ast.stmt] = []
    for statement in function.body:
        if isinstance(statement, ast.Assign) and called(statement.value) in _MAKERS:
            taken.append(_buffer(statement, constants))
        else:
            kept.append(statement)
    function.body = kept or [ast.Pass(lineno=function.lineno, col_offset=0)]
    return (
        tuple(buffer for buffer in taken if buffer.where == "shared"),
        tuple(buffer for buffer in taken if buffer.where == "local"),
    )


def _buffer(statement: ast.Assign, constants: Mapping[str, object]) -> Buffer:
    (target,) = statement.targets
    call = statement.value
    assert isinstance(call, ast.Call)
    if not isinstance(target, ast.Name) or len(call.args) != 2 or call.keywords:
        raise SourceRefused(statement.lineno, "write `name = cuda.local.array(shape, type)`")
    shape, element = call.args
    extents = shape.elts if isinstance(shape, ast.Tuple) else [shape]
    scalar = SCALARS.get(dotted(element))
    if scalar is None:
        raise SourceRefused(statement.lineno, "an array's type is one of " + ", ".join(SCALARS))
    where = _MAKERS[called(call)]
    sizes = tuple(_extent(extent, constants) for extent in extents)
    return Buffer(target.id, where, scalar, sizes, statement.lineno)


def _extent(node: ast.expr, constants: Mapping[str, object]) -> int:
    """The value of a constant extent: a number, a constant's name, or sums and products of them."""
    value: object = None
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.Name):
        value = constants.get(node.id)
    elif isinstance(node, ast.BinOp):
        left, right = _extent(node.left, constants), _extent(node.right, constants)
        match node.op:
            case ast.Add():
                value = left + right
            case ast.Sub():
                value = left - right
            case ast.Mult():
                value = left * right
            case ast.FloorDiv() if right:
                value = left // right
            case _:
                value = None
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise SourceRefused(node.lineno, "an array's extents are constants: whole numbers")
    return int(value)
