"""A compiled kernel as bytes: object code that another process of this host loads and runs.

In:   a source that the language has accepted.
Out:  a header, JSON, with the symbol and the types of what threads keep; then an ELF object.
Rules:
  1. It holds for the processor, the Numba and the source that made it: whoever keeps it says so.
  2. Loading it parses and links what the compiler wrote: no pickle, no Python of a stranger.
  3. It is called through C: addresses and numbers, in the order of the signature.
Not covered: bytes that `build` did not make: LLVM's loader ends the process on many of them; so
      only compile children make them, and only confined children load them.
Why:  who compiles a stranger's kernel is not who runs it, and the next job with the same source
      pays milliseconds.
Source: LLVM's MCJIT; `ctypes`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import llvmlite.binding as llvm
import msgspec
import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target

from agent.kernels.diagnosis import refusal_of
from agent.kernels.port import port
from agent.kernels.user import Compiled, program_of
from coordinator.workloads.kernel_types import KernelSource

_LENGTH: Final = struct.Struct("<I")
_C_TYPES: Final[dict[str, Any]] = {
    "float32": ctypes.c_float, "float64": ctypes.c_double, "int32": ctypes.c_int32,
    "int64": ctypes.c_int64, "uint32": ctypes.c_uint32, "uint64": ctypes.c_uint64,
    "uint8": ctypes.c_uint8,
}  # fmt: skip


class _Header(msgspec.Struct, frozen=True):
    symbol: str
    #: Name → NumPy's type of what threads keep across barriers.
    kinds: dict[str, str]
    #: Each argument: a type, and the dimensions of an array of it; 0 for a number.
    arguments: list[tuple[str, int]]


def build(source: KernelSource) -> bytes:
    """Compile a kernel.

    Raises:
        SourceRefused: Of a source whose types do not fit together, with the line.
    """
    program = program_of(source, for_python=False)
    arguments = [_argument(kind) for kind in program.signature]
    try:
        entry = _entry(program.launch, arguments)
    except NumbaError as error:
        raise refusal_of(error, source) from error
    kinds = {name: str(kind) for name, kind in program.dtypes.items()}
    header = msgspec.json.encode(_Header(entry.native_name, kinds, arguments))
    module = entry._library._final_module  # noqa: SLF001 - Numba has no other way to it
    machine = cpu_target.target_context.codegen()._tm  # noqa: SLF001
    return _LENGTH.pack(len(header)) + header + bytes(machine.emit_object(module))


def load(source: KernelSource, code: bytes) -> Compiled:
    """A kernel from what `build` made of the same source, in a process of this host.

    Raises:
        ValueError: It has no such symbol, or does not link.
    """
    start = _LENGTH.size + _LENGTH.unpack_from(code)[0]
    header = msgspec.json.decode(code[_LENGTH.size : start], type=_Header)
    address = _link(code[start:], header.symbol)
    kinds = {name: np.dtype(kind) for name, kind in header.kinds.items()}
    return Compiled(port(source), _caller(address, header.arguments), kinds)


def _argument(kind: Any) -> tuple[str, int]:
    if isinstance(kind, types.Array):
        return str(kind.dtype), kind.ndim
    return str(kind), 0


def _entry(launch: Any, arguments: Sequence[tuple[str, int]]) -> Any:
    """A function of C around `launch`: each array is an address and its extents."""
    names: list[str] = []
    kinds: list[Any] = []
    given: list[str] = []
    for place, (dtype, dimensions) in enumerate(arguments):
        kind = getattr(types, dtype)
        extents = [f"n{place}_{axis}" for axis in range(dimensions)]
        names += [f"v{place}", *extents]
        kinds += [types.CPointer(kind) if dimensions else kind, *[types.int64] * dimensions]
        shape = f"({', '.join(extents)},)"
        given.append(f"carray(v{place}, {shape})" if dimensions else f"v{place}")
    text = f"def entry({', '.join(names)}):\n    return launch({', '.join(given)})\n"
    space: dict[str, Any] = {"launch": launch, "carray": numba.carray}
    exec(text, space)  # noqa: S102 - our own words and numbers
    return numba.cfunc(types.int64(*kinds))(space["entry"])


#: Linked code lives as long as the engine that linked it.
_engines: list[Any] = []


def _link(code: bytes, symbol: str) -> int:
    """The address of a symbol of object code, linked into this process."""
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    try:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    _engines.append(engine)
    address = int(engine.get_function_address(symbol))
    if not address:
        missing = f"there is no {symbol} in this object code"
        raise ValueError(missing)
    return address


def _caller(address: int, arguments: Sequence[tuple[str, int]]) -> Callable[..., int]:
    """A function that takes what `launch` takes."""
    kinds: list[Any] = []
    for dtype, dimensions in arguments:
        kinds += (
            [ctypes.c_void_p, *[ctypes.c_int64] * dimensions] if dimensions else [_C_TYPES[dtype]]
        )
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(address)

    def call(*values: Any) -> int:
        words: list[Any] = []
        for value, (_, dimensions) in zip(values, arguments, strict=True):
            words += [value.ctypes.data, *value.shape] if dimensions else [_plain(value)]
        return int(function(*words))

    return call


def _plain(value: Any) -> Any:
    """A number as `ctypes` takes it."""
    return value.item() if isinstance(value, np.generic) else value
