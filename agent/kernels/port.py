"""A user's kernel as a plain program for the CPU: the same text, without CUDA.

In:   a source that the language has accepted.
Out:  a tree whose functions `numba.njit` compiles: `_launch(_start, _stop, …)` runs some of a job's
      blocks, one after the other; several threads run several parts of it.
Rules:
  1. Blocks are numbered x first. A block of the element form is one row of the extent's last
     dimension, cut into pieces of `ROW_PIECE` elements where it is longer.
  2. Without barriers a thread is a call. With them the block is one program (`barriers`).
  3. Types, wrap-around and division are Numba's, as for CUDA: `_launch` is compiled with the same
     typing rules and the same error model.
Not covered: an index outside of an array, which goes where it goes, as on a GPU, unless the kernel
      is `checked`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from agent.kernels.barriers import Split, split
from agent.kernels.bounds import check_indices
from agent.kernels.quoting import called, quote
from agent.kernels.threads import PLACE, Buffer, has_barrier, rewrite, take_buffers, uses_place
from agent.kernels.trees import constants_of, functions_of
from agent.kernels.uniform import Uniform
from coordinator.workloads.kernel_types import KernelSource

#: Elements of a block of the element form at most: some microseconds of work at least.
ROW_PIECE: Final = 4096

_EXTENT: Final = ("_inner", "_middle", "_pieces", "_piece")
_SHAPE: Final = ("_gdx", "_gdy", "_gdz", "_bdx", "_bdy", "_bdz")

_BLOCKS: Final = """
for _block in range(_start, _stop):
    _bx = _block % _gdx
    _by = _block // _gdx % _gdy
    _bz = _block // _gdx // _gdy
    _body
return 0
"""
_CALLS: Final = """
for _tz in range(_bdz):
    for _ty in range(_bdy):
        for _tx in range(_bdx):
            _call
"""
_CLEAR: Final = """
for _t in range(_shared_words.size):
    _shared_words[_t] = 0
"""
#: `_inner` elements a row in `_pieces` blocks of `_piece`; the last loop alone is long.
_ROWS: Final = """
for _block in range(_start, _stop):
    _row = _block // _pieces
    _low = max((_block % _pieces) * _piece, 0)
    _high = min(_low + _piece, _inner)
    _indices
    for _last in range(_low, _high):
        _call
return 0
"""
_EVERY_INDEX: Final = {1: "", 2: "_i0 = _row", 3: "_i0 = _row // _middle\n_i1 = _row % _middle"}


@dataclass(frozen=True, slots=True)
class Ported:
    """A kernel for the CPU, before it is compiled."""

    source: KernelSource
    #: The functions: devices first, `_launch` last.
    functions: tuple[ast.FunctionDef, ...]
    #: The kernel as one thread sees it, where its variables' types are asked for.
    thread: ast.FunctionDef
    shared: tuple[Buffer, ...]
    #: Local arrays that live across barriers: one for each thread of a block.
    local: tuple[Buffer, ...]
    #: How it is split, if it has barriers.
    split: Split | None

    @property
    def text(self) -> str:
        """The program, to be read."""
        return "\n\n".join(map(ast.unparse, self.functions)) + "\n"


def port(source: KernelSource, *, checked: bool = False) -> Ported:
    """Rewrite a kernel for the CPU.

    Args:
        source: The kernel.
        checked: Whether an index outside of an array is to end it (`bounds`).

    Raises:
        SourceRefused: Of what cannot be had on a CPU, with the line.
    """
    functions = functions_of(source)
    kernel = functions.pop(source.entry)
    shared, local = take_buffers(kernel, constants_of(source))
    for function in functions.values():
        _, own = take_buffers(function, constants_of(source))
        function.body[:0] = _on_the_stack(own)
    for function in (kernel, *functions.values()) if checked else ():
        check_indices(function)
    _place_threads({source.entry: kernel, **functions}, source)
    kernel.args.args = _arguments(_thread_names(source, shared, ()))
    devices = tuple(functions.values())
    if has_barrier(kernel):
        return _split(source, devices, kernel, shared, local)
    kernel.body[:0] = _on_the_stack(local)
    launch = _element_launch(source) if source.form == "element" else _block_launch(source, shared)
    return Ported(source, (*devices, kernel, launch), kernel, shared, (), None)


def _on_the_stack(buffers: Iterable[Buffer]) -> list[ast.stmt]:
    return [
        statement
        for buffer in buffers
        for statement in quote(
            f"_name = _local_array({buffer.shape!r}, _type)",
            buffer.line, _name=buffer.name, _type=buffer.type.name,
        )
    ]  # fmt: skip


def _place_threads(functions: dict[str, ast.FunctionDef], source: KernelSource) -> None:
    """Rewrite the functions, and hand a thread's place on to those that ask for it."""
    for function in functions.values():
        rewrite(function)
    if source.form == "element":
        return
    placed = {source.entry}
    # Each device function stands before who calls it: one pass over them finds all.
    for name, function in list(functions.items())[1:]:
        if uses_place(function) or any(called(n) in placed for n in ast.walk(function)):
            placed.add(name)
            function.args.args += _arguments(PLACE)
    for function in functions.values():
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and called(node) in placed:
                node.args += [ast.Name(name, ast.Load()) for name in PLACE]


def _arguments(names: Iterable[str]) -> list[ast.arg]:
    return [ast.arg(name) for name in names]


def _thread_names(
    source: KernelSource, shared: Iterable[Buffer], local: Iterable[Buffer]
) -> list[str]:
    """The arguments of a kernel as one thread sees it."""
    names = [parameter.name for parameter in source.parameters]
    names += [buffer.name for buffer in (*shared, *local)]
    return names + (list(PLACE) if source.form == "cuda" else [])


def _launch(
    names: Sequence[str], body: list[ast.stmt], arguments: Sequence[str]
) -> ast.FunctionDef:
    """The function `_launch` with these arguments after `_start` and `_stop`."""
    (made,) = quote("def _launch(_start, _stop):\n    _body", 1, _body=body)
    assert isinstance(made, ast.FunctionDef)
    made.args.args += _arguments([*names, *arguments])
    return ast.fix_missing_locations(made)


def _element_launch(source: KernelSource) -> ast.FunctionDef:
    dimensions = len(source.indices)
    given = [parameter.name for parameter in source.parameters if parameter.kind != "index"]
    places = [f"_i{axis}" for axis in range(dimensions - 1)] + ["_natural(_last)"]
    call = quote(f"{source.entry}({', '.join([*places, *given])})", 1)
    rows = quote(_EVERY_INDEX[dimensions], 1)
    return _launch(given, quote(_ROWS, 1, _indices=rows, _call=call), _EXTENT)


def _block_launch(source: KernelSource, shared: tuple[Buffer, ...]) -> ast.FunctionDef:
    """Each thread is a call: a block's shared arrays are cleared before its first."""
    names = [parameter.name for parameter in source.parameters]
    names += [buffer.name for buffer in shared]
    call = quote(f"{source.entry}({', '.join([*names, *PLACE])})", 1)
    body = quote(_CALLS, 1, _call=call)
    return _whole_launch(names, body, shared)


def _whole_launch(
    names: list[str], body: list[ast.stmt], shared: tuple[Buffer, ...]
) -> ast.FunctionDef:
    """Blocks one after the other; shared arrays begin as zeros, so that a result repeats."""
    if shared:
        names = [*names, "_shared_words"]
        body = quote(_CLEAR, 1) + body
    return _launch(names, quote(_BLOCKS, 1, _body=body), _SHAPE)


def _split(
    source: KernelSource,
    devices: tuple[ast.FunctionDef, ...],
    kernel: ast.FunctionDef,
    shared: tuple[Buffer, ...],
    local: tuple[Buffer, ...],
) -> Ported:
    """A block is one program, its threads loops between barriers."""
    thread = copy.deepcopy(kernel)
    thread.args.args = _arguments(_thread_names(source, shared, local))
    thread.body = [_Unsynchronized().visit(statement) for statement in thread.body]
    read_only = [parameter.name for parameter in source.inputs]
    uniform = Uniform(kernel, [c.name for c in source.constants], read_only)
    cut = split(kernel, uniform, [buffer.name for buffer in local])
    names = [parameter.name for parameter in source.parameters]
    names += [buffer.name for buffer in shared] + list(cut.arrays)
    launch = _whole_launch(names, cut.body, shared)
    return Ported(source, (*devices, launch), thread, shared, local, cut)


class _Unsynchronized(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if has_barrier(node) else node
