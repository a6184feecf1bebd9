"""A user's kernel on a CUDA GPU, or in Numba's simulator of one: the same source as on a CPU.

In:   a source that the language has accepted; arrays, scalars, and how it is launched.
Out:  the outputs, written in place; or the kernel's PTX, made without any GPU.
Rules:
  1. Types are the language's: where Numba's CUDA target gives others than its CPU target (whole
     numbers of `math.floor`, of counts of bits and of a thread's place), they are converted.
  2. The element form has a kernel of ours around it; the CUDA form is launched as it is.
  3. The simulator's bit functions know 32 bits and no negative numbers: it gets others.
Not covered: running some blocks only (`user` does, on a CPU); streams; several GPUs.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError

from agent.kernels._cuda import cuda, why_not
from agent.kernels.diagnosis import refusal_of
from agent.kernels.quoting import called, dotted, expression, quote
from agent.kernels.threads import CORNERS, take_buffers
from agent.kernels.trees import constants_of, functions_of
from agent.kernels.user import Arrays, Launch, Numbers, array_of, scalar_of
from coordinator.protocol.errors import Refusal
from coordinator.workloads.kernel_types import SCALARS, KernelSource

#: Compute capabilities that a kernel is compiled for: Turing to Blackwell. Numba's built-in target
#: knows none above 9.0 and makes that one's, which a driver takes for the newer ones too.
CAPABILITIES: Final = ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0))

#: Calls whose result is an i64 here, and something else for Numba's CUDA target.
_COUNTS: Final = {
    *("math.floor", "math.ceil", "math.trunc"),
    *("cuda.popc", "cuda.clz", "cuda.ffs"),
}
_ENTRY: Final = "_entry"
#: Threads of a block of the element form, by number of indices; x runs along the last one.
_THREADS: Final = {1: (256, 1, 1), 2: (32, 8, 1), 3: (32, 4, 2)}
#: Blocks along x, and along y and z: CUDA's bounds. A larger extent is gone through in turns.
_GRID_MAX: Final = (2**31 - 1, 65_535, 65_535)
#: Every index of an extent, the last one along x.
_TURNS: Final = {
    1: "for _i0 in range(cuda.grid(1), _n0, cuda.gridsize(1)):\n    _call",
    2: """
_x, _y = cuda.grid(2)
_w, _h = cuda.gridsize(2)
for _i0 in range(_y, _n0, _h):
    for _i1 in range(_x, _n1, _w):
        _call
""",
    3: """
_x, _y, _z = cuda.grid(3)
_w, _h, _d = cuda.gridsize(3)
for _i0 in range(_z, _n0, _d):
    for _i1 in range(_y, _n1, _h):
        for _i2 in range(_x, _n2, _w):
            _call
""",
}


def run_cuda(source: KernelSource, arrays: Arrays, scalars: Numbers, launch: Launch) -> None:
    """Run a kernel on the GPU; in the simulator, if that is what Numba was loaded as.

    Raises:
        Refusal: `agent_error` without a device.
        SourceRefused: Of a source whose types do not fit together, with the line.
        ValueError: Arguments that do not fit the kernel.
    """
    if reason := why_not():
        raise Refusal("agent_error", reason)
    given: list[Any] = []
    held: list[tuple[Any, Any]] = []
    for parameter in source.parameters:
        if parameter.is_array:
            host = array_of(parameter, arrays)
            given.append(cuda.to_device(host))
            held += [(given[-1], host)] if parameter.kind == "out" else []
        elif parameter.kind == "scalar":
            given.append(scalar_of(parameter, scalars))
    grid, block = _shape(launch)
    kernel = cuda.jit(_entry(source), fastmath=source.fastmath)
    try:
        kernel[grid, block, 0, launch.shared](*given, *launch.extent)
    except NumbaError as error:
        raise refusal_of(error, source) from error
    for device, host in held:
        device.copy_to_host(host)


def ptx_of(source: KernelSource, capability: tuple[int, int]) -> str:
    """Compile a kernel for a GPU that need not be there.

    Args:
        source: The kernel.
        capability: Compute capability, major and minor.

    Raises:
        SourceRefused: Of a source whose types do not fit together, with the line.
    """
    given = [
        types.Array(getattr(types, each.type.dtype), each.ndim, "C")
        if each.is_array
        else getattr(types, each.type.dtype)
        for each in source.parameters
        if each.kind != "index"
    ]
    signature = (*given, *[types.int64] * len(source.indices))
    with _compiling_for(capability):
        try:
            ptx, _ = cuda.compile_ptx(
                _entry(source), signature, cc=capability, fastmath=source.fastmath
            )
        except NumbaError as error:
            raise refusal_of(error, source) from error
    return str(ptx)


@contextmanager
def _compiling_for(capability: tuple[int, int]) -> Iterator[None]:
    """Answer for a device while a device function is compiled: Numba asks, even where none is."""
    dispatcher: Any = import_module("numba.cuda.dispatcher")
    asked = dispatcher.get_current_device
    device = type("Device", (), {"compute_capability": capability})
    dispatcher.get_current_device = lambda: device
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


def _entry(source: KernelSource) -> Any:
    """The function that Numba compiles as a kernel; its device functions are compiled ones."""
    functions = functions_of(source)
    for function in functions.values():
        _write_extents(function, constants_of(source))
        _Numbers().visit(function)
    if source.form == "element":
        functions[_ENTRY] = _around(source)
    else:
        functions[_ENTRY] = functions.pop(source.entry)
    *devices, entry = functions.values()
    space: dict[str, Any] = {
        "cuda": cuda, "math": math,
        **{name: getattr(numba, scalar.dtype) for name, scalar in SCALARS.items()},
        **constants_of(source),
        **(_SIMULATED if numba.config.ENABLE_CUDASIM else {}),
    }  # fmt: skip
    module = ast.fix_missing_locations(ast.Module([*devices, entry], []))
    exec(compile(module, "<kernel>", "exec"), space)  # noqa: S102 (a closed list)
    for device in devices:
        made = space[device.name]
        space[device.name] = cuda.jit(device=True, fastmath=source.fastmath)(made)
    return space[entry.name]


def _write_extents(function: ast.FunctionDef, constants: Mapping[str, object]) -> None:
    """Write the extents of a function's own arrays as numbers: Numba takes no sums there."""
    arrays: list[ast.stmt] = []
    for buffers in take_buffers(function, constants):
        for buffer in buffers:
            shape = buffer.shape if len(buffer.shape) > 1 else buffer.shape[0]
            arrays += quote(
                f"_name = cuda.{buffer.where}.array({shape}, _type)",
                buffer.line, _name=buffer.name, _type=buffer.type.name,
            )  # fmt: skip
    function.body[:0] = arrays


class _Numbers(ast.NodeTransformer):
    """Whole numbers as the language has them: i64."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        simulated = f"_{called(node).removeprefix('cuda.')}"
        if numba.config.ENABLE_CUDASIM and simulated in _SIMULATED:
            node.func = ast.copy_location(ast.Name(simulated, ast.Load()), node.func)
            return node
        return _as_i64(node) if called(node) in _COUNTS else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return _as_i64(node) if dotted(node) in CORNERS else self.generic_visit(node)


def _as_i64(node: ast.expr) -> ast.expr:
    return expression("i64(_value)", node.lineno, _value=node)


def _around(source: KernelSource) -> ast.FunctionDef:
    """The kernel around an element: each thread takes indices in turns."""
    dimensions = len(source.indices)
    given = [parameter.name for parameter in source.parameters if parameter.kind != "index"]
    places = [f"_i{axis}" for axis in range(dimensions)]
    extents = [f"_n{axis}" for axis in range(dimensions)]
    call = quote(f"{source.entry}({', '.join([*places, *given])})", 1)
    turns = quote(_TURNS[dimensions], 1, _call=call)
    head = f"def {_ENTRY}({', '.join([*given, *extents])}):\n    _body"
    (made,) = quote(head, 1, _body=turns)
    assert isinstance(made, ast.FunctionDef)
    return made


def _word(x: Any) -> tuple[int, int]:
    """An integer's bits as a number from 0, and how many they are."""
    width = 8 * np.asarray(x).dtype.itemsize
    return int(x) % 2**width, width


def _popc(x: Any) -> Any:
    return np.int64(_word(x)[0].bit_count())


def _clz(x: Any) -> Any:
    bits, width = _word(x)
    return np.int64(width - bits.bit_length())


def _ffs(x: Any) -> Any:
    bits, _ = _word(x)
    return np.int64((bits & -bits).bit_length())


def _brev(x: Any) -> Any:
    bits, width = _word(x)
    unsigned = np.array(int(f"{bits:0{width}b}"[::-1], 2), f"uint{width}")
    return unsigned.astype(np.asarray(x).dtype)[()]


_SIMULATED: Final = {"_popc": _popc, "_clz": _clz, "_ffs": _ffs, "_brev": _brev}


def _shape(launch: Launch) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Grid and block of a launch."""
    if launch.grid:
        return launch.grid, launch.block
    threads = _THREADS[len(launch.extent)]
    sizes = (*launch.extent[::-1], 1, 1)[:3]
    blocks = (
        min(-(-size // count), most)
        for size, count, most in zip(sizes, threads, _GRID_MAX, strict=True)
    )
    return tuple(blocks), threads
