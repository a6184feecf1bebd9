"""What a ported kernel calls on a CPU: atomic and bit functions, arrays on the stack.

Rules:
  1. Atomic functions are the processor's own: several parts of a job run at once, on one memory.
  2. Types are those of CUDA's: the old value has the array's type, a count of bits is an i64.
Source: LLVM Language Reference, "atomicrmw", "cmpxchg"; CUDA C++ Programming Guide, "Atomic
Functions"; PTX ISA, "popc", "clz", "brev".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

#: Ours → LLVM's operation on signed, unsigned and floating-point numbers; "" where there is none.
_OPERATIONS: Final[dict[str, tuple[str, str, str]]] = {
    "add": ("add", "add", "fadd"),
    "sub": ("sub", "sub", "fsub"),
    "max": ("max", "umax", "fmax"),
    "min": ("min", "umin", "fmin"),
    "and": ("and", "and", ""),
    "or": ("or", "or", ""),
    "xor": ("xor", "xor", ""),
    "exch": ("xchg", "xchg", ""),
}
#: Nothing else is ordered by an atomic function, on CUDA either.
_ORDER: Final = "monotonic"


def _kind(dtype: Any) -> int:
    """Which column of `_OPERATIONS` a type reads."""
    if isinstance(dtype, types.Float):
        return 2
    return 0 if dtype.signed else 1


def _check_place(array: Any, place: Any) -> None:
    dimensions = len(place) if isinstance(place, types.BaseTuple) else 1
    if not isinstance(array, types.Array) or not array.mutable:
        raise TypingError("an atomic function takes an array that is written")
    if dimensions != array.ndim:
        more = f"an element of this array has {array.ndim} indices"
        raise TypingError(more)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array_type, place_type = signature.args[:2]
    array = context.make_array(array_type)(context, builder, arguments[0])
    if isinstance(place_type, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, arguments[1], count=len(place_type))
        kinds = list(place_type)
    else:
        parts, kinds = [arguments[1]], [place_type]
    indices = [
        context.cast(builder, part, kind, types.intp)
        for part, kind in zip(parts, kinds, strict=True)
    ]
    return cgutils.get_item_pointer(context, builder, array_type, array, indices, wraparound=True)


def _atomic(name: str) -> Callable[..., Any]:
    def typed(typing, array, place, value):
        _check_place(array, place)
        operation = _OPERATIONS[name][_kind(array.dtype)]
        if not operation:
            whole = f"cuda.atomic.{name} takes whole numbers only"
            raise TypingError(whole)

        def generate(context, builder, signature, arguments):
            pointer = _pointer(context, builder, signature, arguments)
            return builder.atomic_rmw(operation, pointer, arguments[2], _ORDER)

        return array.dtype(array, place, array.dtype), generate

    return _named(typed, f"cuda.atomic.{name}")


def _named(typed: Callable[..., Any], name: str) -> Callable[..., Any]:
    """An intrinsic whose complaints name what the user wrote."""
    typed.__name__ = name
    return cast("Callable[..., Any]", intrinsic(typed))


@intrinsic
def _atomic_cas(typing, array, place, expected, value):
    _check_place(array, place)

    def generate(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature, arguments)
        pair = builder.cmpxchg(pointer, arguments[2], arguments[3], _ORDER)
        return builder.extract_value(pair, 0)

    return array.dtype(array, place, array.dtype, array.dtype), generate


def _word(x: Any) -> Any:
    if not isinstance(x, types.Integer):
        raise TypingError("a bit function takes a whole number")
    return types.unliteral(x)


def _bits(name: str, emit: Callable[[Any, Any], Any], *, counts: bool) -> Callable[..., Any]:
    """A function of one integer's bits, by LLVM's instruction of it."""

    def typed(typing, x):
        word = _word(x)

        def generate(context, builder, signature, arguments):
            found = emit(builder, arguments[0])
            return context.cast(builder, found, types.uint64, types.int64) if counts else found

        return (types.int64 if counts else word)(word), generate

    return _named(typed, f"cuda.{name}")


def _as_i64(builder: Any, value: Any) -> Any:
    return builder.zext(value, ir.IntType(64)) if value.type.width < 64 else value


def _emit_ffs(builder: Any, value: Any) -> Any:
    one, nought = ir.Constant(value.type, 1), ir.Constant(value.type, 0)
    place = builder.add(builder.cttz(value, ir.Constant(ir.IntType(1), 0)), one)
    is_nought = builder.icmp_unsigned("==", value, nought)
    return _as_i64(builder, builder.select(is_nought, nought, place))


def _emit_popc(builder: Any, value: Any) -> Any:
    return _as_i64(builder, builder.ctpop(value))


def _emit_clz(builder: Any, value: Any) -> Any:
    return _as_i64(builder, builder.ctlz(value, ir.Constant(ir.IntType(1), 0)))


def _emit_brev(builder: Any, value: Any) -> Any:
    return builder.bitreverse(value)


@intrinsic
def _fma(typing, x, y, z):
    is_single = all(each == types.float32 for each in (x, y, z))
    wide = types.float32 if is_single else types.float64

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return wide(wide, wide, wide), generate


@intrinsic(prefer_literal=True)
def _local_array(typing, shape, element):
    """An array on the stack, uninitialised: it lives as long as the function that makes it."""
    extents = [extent.literal_value for extent in shape]
    made = types.Array(element.dtype, len(extents), "C")

    def generate(context, builder, signature, arguments):
        return _on_stack(context, builder, made, extents)

    return made(shape, element), generate


def _on_stack(context: Any, builder: Any, made: Any, extents: list[int]) -> Any:
    data_type = context.get_data_type(made.dtype)
    count = 1
    for extent in extents:
        count *= extent
    data = cgutils.alloca_once(builder, ir.ArrayType(data_type, count))
    item = context.get_abi_sizeof(data_type)
    strides = [item]
    for extent in reversed(extents[1:]):
        strides.insert(0, strides[0] * extent)
    array = context.make_array(made)(context, builder)
    context.populate_array(
        array,
        data=builder.bitcast(data, array.data.type),
        shape=[context.get_constant(types.intp, extent) for extent in extents],
        strides=[context.get_constant(types.intp, stride) for stride in strides],
        itemsize=context.get_constant(types.intp, item),
        meminfo=None,
    )
    return array._getvalue()  # noqa: SLF001 (Numba's own way to the struct as a value)


@intrinsic
def _natural(typing, x):
    """The same number, of which the compiler is told that it is not negative.

    A negative index counts from the end: asking for that in every turn keeps a loop from being
    vectorised (measured: 7 against 42 GB/s in a saxpy of one core).
    """
    word = _word(x)

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(1)])
        assume = builder.module.declare_intrinsic("llvm.assume", (), kind)
        nought = ir.Constant(arguments[0].type, 0)
        builder.call(assume, [builder.icmp_signed(">=", arguments[0], nought)])
        return arguments[0]

    return word(word), generate


@numba.njit(error_model="numpy")
def _trips(first, end, step):
    """How often a `range` runs."""
    if step > 0:
        return max((end - first + step - 1) // step, 0)
    return max((first - end - step - 1) // -step, 0)


#: Every function that a ported kernel may call, by the name that it has there.
FUNCTIONS: Final[dict[str, Any]] = {
    **{f"_atomic_{name}": _atomic(name) for name in _OPERATIONS},
    "_atomic_cas": _atomic_cas,
    "_popc": _bits("popc", _emit_popc, counts=True),
    "_clz": _bits("clz", _emit_clz, counts=True),
    "_ffs": _bits("ffs", _emit_ffs, counts=True),
    "_brev": _bits("brev", _emit_brev, counts=False),
    "_fma": _fma,
    "_local_array": _local_array,
    "_natural": _natural, "_trips": _trips,
}  # fmt: skip
