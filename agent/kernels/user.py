"""A user's kernel on the CPU: compile its source, run it on arrays, or some of its blocks only.

In:   a source that the language has accepted; arrays, scalars, and how it is launched.
Out:  the outputs, written in place.
Rules:
  1. Nothing of it is kept on a disk: Numba's cache of compiled code is a pickle.
  2. Blocks run on all processors, by threads that hold no lock of Python's (`parts`); compiled
     code starts no threads of its own, so a process may fork before and after.
  3. A block's result does not depend on which others run: an audit runs the blocks that it was
     asked for into fresh outputs. Atomic functions on an output are the exception.
  4. Whether the arguments fit the signature is the specification's matter; what does not fit here
     is a `ValueError`.
Not covered: an index outside of an array ends the process, or does harm in it: strangers' kernels
      run in a child of their own.
"""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError

from agent.kernels import bounds
from agent.kernels.cpu_functions import FUNCTIONS
from agent.kernels.diagnosis import refusal_of
from agent.kernels.inference import types_of
from agent.kernels.parts import KernelFailed, Run, neighbours, work_off
from agent.kernels.port import ROW_PIECE, Ported, port
from agent.kernels.threads import PLACE, Buffer
from agent.kernels.trees import constants_of
from coordinator.protocol.arrays import AnyArray
from coordinator.workloads.kernel_types import SCALARS, KernelSource, Parameter

#: Compiled code holds no lock of Python's, and divides by zero as a GPU does.
_OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "no_cfunc_wrapper": True}

Arrays: TypeAlias = Mapping[str, AnyArray]
Numbers: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Launch:
    """How a kernel is launched: an extent of the element form, or a grid and a block."""

    extent: tuple[int, ...] = ()
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    #: Bytes of the shared array whose shape is 0.
    shared: int = 0

    @property
    def blocks(self) -> int:
        """Blocks in all: what a job is cut into."""
        if self.grid:
            return math.prod(self.grid)
        return math.prod(self.extent[:-1]) * -(-self.extent[-1] // ROW_PIECE)

    @property
    def sizes(self) -> tuple[int, ...]:
        """What the ported kernel asks for: the extent of its loops."""
        if self.grid:
            return (*_three(self.grid), *_three(self.block))
        inner = self.extent[-1]
        middle = self.extent[-2] if len(self.extent) > 1 else 1
        return inner, middle, -(-inner // ROW_PIECE), ROW_PIECE

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return math.prod(self.block)


def _three(sizes: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


class Compiled:
    """A kernel as machine code for this processor."""

    def __init__(self, ported: Ported, run: Callable[..., int], kinds: Mapping[str, Any]) -> None:
        self.source = ported.source
        self._ported = ported
        self._run = run
        self._kinds = kinds

    def run(
        self,
        arrays: Arrays,
        scalars: Numbers,
        launch: Launch,
        *,
        blocks: Iterable[int] | None = None,
        processors: int | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """Run the kernel.

        Args:
            arrays: Parameter → C-contiguous array of its type; outputs are written.
            scalars: Parameter → number.
            launch: Extent, or grid and block.
            blocks: Which blocks to run: all, if not given.
            processors: Threads at once; by default as many as this process may use.
            on_progress: Called with how much is done, from 0 to 1.

        Raises:
            KernelFailed: Threads of a block that went different ways around a barrier; an index
                outside of an array, where the kernel was compiled `checked`.
            ValueError: Arguments that do not fit the kernel.
        """
        given = [
            array_of(parameter, arrays) if parameter.is_array else scalar_of(parameter, scalars)
            for parameter in self.source.parameters
            if parameter.kind != "index"
        ]

        def run() -> Run:
            scratch = self._scratch(launch)
            return lambda start, stop: self._part(start, stop, *given, *scratch, *launch.sizes)

        count = 1 if self._in_order() else processors or len(os.sched_getaffinity(0))
        work_off(run, neighbours(blocks, launch.blocks), count, on_progress)

    def _part(self, *arguments: Any) -> int:
        try:
            return self._run(*arguments)
        except IndexError as error:
            raise KernelFailed(*bounds.outside(error)) from None

    def _in_order(self) -> bool:
        """Whether sums of floating-point numbers would otherwise depend on chance.

        In the element form every element adds to them: several processors at one place gain little.
        """
        if self.source.form == "cuda" or not self.source.has_atomics:
            return False
        return any(parameter.type.is_float for parameter in self.source.outputs)

    def _scratch(self, launch: Launch) -> list[AnyArray]:
        """Arrays of one thread of this process: a block's shared ones, what its threads keep."""
        shared, words = _shared(self._ported.shared, launch.shared)
        cut = self._ported.split
        own: list[AnyArray] = []
        if cut is not None:
            own += [np.zeros(launch.threads, self._kinds[name]) for name in cut.kept]
            for _, name in cut.counted:
                own += [np.zeros(launch.threads, self._kinds[name]) for _ in range(2)]
            own += [
                np.zeros((launch.threads, *buffer.shape), buffer.type.dtype)
                for buffer in self._ported.local
            ]
            own += [np.zeros(launch.threads, np.uint8)] if cut.has_returns else []
        return [*shared, *own, *([words] if shared else [])]


@dataclass(frozen=True, slots=True)
class Program:
    """A kernel that Numba has compiled."""

    ported: Ported
    #: Numba's function, `launch(start, stop, …)`, and the types of its arguments.
    launch: Callable[..., int]
    signature: tuple[Any, ...]
    #: NumPy's types of what threads keep across barriers.
    dtypes: Mapping[str, Any]


def compile_cpu(source: KernelSource, *, checked: bool = False) -> Compiled:
    """Compile a kernel for this processor.

    Args:
        source: The kernel.
        checked: Whether an index outside of an array ends a run, with its line: slower.

    Raises:
        SourceRefused: Of a source whose types do not fit together, with the line.
    """
    program = program_of(source, checked=checked)
    return Compiled(program.ported, program.launch, program.dtypes)


def program_of(source: KernelSource, *, checked: bool = False, for_python: bool = True) -> Program:
    """The same, before it can be called with arrays by name.

    Args:
        source: The kernel.
        checked: As of `compile_cpu`.
        for_python: Whether it is called from Python, or by compiled code only.
    """
    ported = port(source, checked=checked)
    space = _namespace(source)
    try:
        devices = {function.name for function in ported.functions[:-1]}
        _define([*ported.functions, *([] if ported.split is None else [ported.thread])], space)
        for name in devices:
            space[name] = numba.njit(**_OPTIONS, fastmath=source.fastmath, no_cpython_wrapper=True)(
                space[name]
            )
        kinds = _kept_types(ported, space)
        signature = _signature(ported, kinds)
        launch = numba.njit(
            signature, **_OPTIONS, fastmath=source.fastmath, nogil=True,
            no_cpython_wrapper=not for_python,
        )(space["_launch"])  # fmt: skip
    except NumbaError as error:
        raise refusal_of(error, source) from error
    dtypes = {name: np.dtype(str(kind)) for name, kind in kinds.items()}
    return Program(ported, launch, signature, dtypes)


def _namespace(source: KernelSource) -> dict[str, Any]:
    """What a ported kernel's names mean."""
    numbers = {name: getattr(numba, scalar.dtype) for name, scalar in SCALARS.items()}
    return {"math": math, **numbers, **FUNCTIONS, **bounds.FUNCTIONS, **constants_of(source)}


def _define(functions: Sequence[ast.FunctionDef], space: dict[str, Any]) -> None:
    module = ast.Module(list(functions), [])
    exec(compile(ast.fix_missing_locations(module), "<kernel>", "exec"), space)  # noqa: S102 (closed list)


def _array_type(parameter: Parameter) -> Any:
    element = getattr(types, parameter.type.dtype)
    return types.Array(element, parameter.ndim, "C", readonly=parameter.kind == "in")


def _buffer_type(buffer: Buffer, extra: int = 0) -> Any:
    return types.Array(getattr(types, buffer.type.dtype), len(buffer.shape) + extra, "C")


def _parameter_types(source: KernelSource) -> list[Any]:
    return [
        _array_type(parameter) if parameter.is_array else getattr(types, parameter.type.dtype)
        for parameter in source.parameters
        if parameter.kind != "index"
    ]


def _kept_types(ported: Ported, space: dict[str, Any]) -> dict[str, Any]:
    """The types of what threads keep across barriers."""
    cut = ported.split
    if cut is None or not (cut.kept or cut.counted):
        return {}
    thread = space[ported.source.entry]
    arguments = [
        *_parameter_types(ported.source),
        *map(_buffer_type, (*ported.shared, *ported.local)),
        *[types.int64] * len(PLACE),
    ]
    return types_of(thread, arguments, {*cut.kept, *(name for _, name in cut.counted)})


def _signature(ported: Ported, kinds: Mapping[str, Any]) -> tuple[Any, ...]:
    """Types of the arguments of `_launch`, in the order of `Compiled.run`."""
    cut = ported.split
    arrays = list(map(_buffer_type, ported.shared))
    if cut is not None:
        arrays += [types.Array(kinds[name], 1, "C") for name in cut.kept]
        arrays += [types.Array(kinds[name], 1, "C") for _, name in cut.counted for _ in range(2)]
        arrays += [_buffer_type(buffer, 1) for buffer in ported.local]
        arrays += [types.Array(types.uint8, 1, "C")] if cut.has_returns else []
    arrays += [types.Array(types.uint64, 1, "C")] if ported.shared else []
    sizes = 4 if ported.source.form == "element" else 6
    return (
        *[types.int64] * 2, *_parameter_types(ported.source), *arrays, *[types.int64] * sizes,
    )  # fmt: skip


def _shared(buffers: Sequence[Buffer], dynamic: int) -> tuple[list[AnyArray], AnyArray]:
    """A block's shared arrays, and all their bytes as one array of words."""
    shapes = [
        (dynamic // buffer.type.bytes,) if buffer.shape == (0,) else buffer.shape
        for buffer in buffers
    ]
    sizes = [
        -(-math.prod(shape) * buffer.type.bytes // 8) * 8
        for buffer, shape in zip(buffers, shapes, strict=True)
    ]
    words = np.zeros(sum(sizes) // 8, np.uint64)
    arrays, place = [], 0
    for buffer, shape, size in zip(buffers, shapes, sizes, strict=True):
        flat = words.view(np.uint8)[place : place + math.prod(shape) * buffer.type.bytes]
        arrays.append(flat.view(buffer.type.dtype).reshape(shape))
        place += size
    return arrays, words


def scalar_of(parameter: Parameter, scalars: Numbers) -> Any:
    """A scalar as a value of its type.

    Raises:
        ValueError: Of a scalar that is missing.
    """
    if parameter.name not in scalars:
        missing = f"the scalar {parameter.name} is missing"
        raise ValueError(missing)
    return parameter.type(scalars[parameter.name])


def array_of(parameter: Parameter, arrays: Arrays) -> AnyArray:
    """An argument as the compiled code takes it; an input as an array that is read only.

    Raises:
        ValueError: Of an array that is missing or does not fit.
    """
    array = arrays.get(parameter.name)
    if array is None or array.dtype != parameter.type.dtype or array.ndim != parameter.ndim:
        missing = f"the array {parameter} is missing or of another type"
        raise ValueError(missing)
    if parameter.kind == "out":
        if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
            partial = f"the output array {parameter.name} is not whole and writable"
            raise ValueError(partial)
        return array
    view = np.require(array, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view
