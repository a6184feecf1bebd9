"""A kernel and its arguments, as a job asks for them: parameters of the kind `kernel`, and arrays.

In:   a kernel, its launch, a value for each scalar, an array for each input, shapes of outputs.
Out:  what `submit` takes: parameters to be encoded, arrays to be hashed and sent.
Rules:
  1. Nothing is lost silently: an array is converted where every value of its type is held by the
     parameter's, otherwise refused; a number that is given for an f32 is rounded to it.
  2. The same call makes the same parameters: what has its default is left out.
Not here: sending (`client`), limits on bytes (the specification's own).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import msgspec
import numpy as np

from coordinator.limits import INTEGER_MAX
from coordinator.protocol.arrays import DTYPES, AnyArray
from coordinator.protocol.errors import Refusal
from coordinator.workloads.kernel import Kernel as KernelKind, Value, scalar_fault
from coordinator.workloads.kernel_types import SCALARS_BY_DTYPE, KernelSource, Parameter, Scalar
from hypernode.errors import KernelRefused
from hypernode.kernels import Kernel

#: One number, or one for each dimension.
Extents: TypeAlias = int | Sequence[int] | np.ndarray[Any, np.dtype[np.integer[Any]]]

_KIND: Final = KernelKind()
#: Type of floating-point numbers → bits of the whole numbers that it holds all of.
_WHOLE_BITS: Final = {"f32": 24, "f64": 53}


class KernelRequest(NamedTuple):
    """What a job of a kernel consists of."""

    params: dict[str, Any]
    inputs: dict[str, AnyArray]


def kernel_request(
    kernel: Kernel,
    arguments: Mapping[str, Any],
    *,
    n: Extents | None = None,
    grid: Extents | None = None,
    block: Extents | None = None,
    shared: int = 0,
) -> KernelRequest:
    """The parameters and inputs of a job.

    Args:
        kernel: The kernel.
        arguments: A number for each scalar, a NumPy array for each input. An output may have its
            shape; one without has the extent's, where the dimensions agree.
        n: Indices of each dimension: the element form.
        grid: Blocks along x, y and z: the CUDA form.
        block: Threads of a block along x, y and z: the CUDA form.
        shared: Bytes of the shared array of shape 0.

    Raises:
        KernelRefused: naming the parameter, what is wrong with it, and what to write.
    """
    source = kernel.parsed
    _check_names(source, arguments, n, grid)
    extent = () if n is None else _extents("n", n)
    said: dict[str, Any] = {"source": source.text}
    scalars = {each.name: _scalar(each, arguments[each.name]) for each in source.scalars}
    if scalars:
        said["scalars"] = scalars
    said["outputs"] = {
        each.name: _shape(each, arguments.get(each.name), extent) for each in source.outputs
    }
    launch = {"extent": n, "grid": grid, "block": block}
    said |= {name: _extents(name, given) for name, given in launch.items() if given is not None}
    if shared:
        said["shared"] = shared
    _check(said)
    return KernelRequest(
        said, {each.name: _array(each, arguments[each.name]) for each in source.inputs}
    )


def _refuse(sentence: str) -> NoReturn:
    raise KernelRefused(sentence[:500]) from None


def _check_names(
    source: KernelSource, arguments: Mapping[str, Any], n: object, grid: object
) -> None:
    names = [each.name for each in source.parameters if each.kind != "index"]
    for name in arguments:
        if name not in names:
            _refuse(f"there is no parameter `{name}`: {source.signature}")
    for each in (*source.scalars, *source.inputs):
        if each.name not in arguments:
            _refuse(f"`{each.name}` is missing: {source.entry} is {source.signature}")
    if source.form == "element" and n is None:
        _refuse(f"`n` is missing: how many indices {source.entry} runs for")
    if source.form == "cuda" and grid is None:
        _refuse(f"`grid` and `block` are missing: {source.entry} is of the CUDA form")


def _check(said: Mapping[str, Any]) -> None:
    """Refuse here what the coordinator would refuse."""
    try:
        _KIND.decode(msgspec.json.encode(said))
    except Refusal as refusal:
        raise KernelRefused(refusal.sentence.replace("`extent`", "`n`")) from refusal


def _extents(name: str, given: Extents) -> tuple[int, ...]:
    numbers = given if isinstance(given, Sequence | np.ndarray) else [given]
    try:
        found = tuple(index(number) for number in numbers)
    except (TypeError, ValueError):
        _refuse(f"`{name}` is a whole number, or several: not {given!r}")
    if any(not 0 <= number <= INTEGER_MAX for number in found):
        _refuse(f"`{name}` holds a number below 0 or above 2^53: {given!r}")
    return found


def _shape(parameter: Parameter, given: Any, extent: tuple[int, ...]) -> tuple[int, ...]:
    name = parameter.name
    if isinstance(given, np.ndarray):
        _refuse(f"`{name}` is an output: give its shape, `{name}={given.shape}`")
    if given is not None:
        return _extents(name, given)
    if len(extent) != parameter.ndim:
        dimensions = "one number" if parameter.ndim == 1 else f"{parameter.ndim} numbers"
        _refuse(f"the shape of the output `{name}` is missing: `{name}=` {dimensions}")
    return extent


def _scalar(parameter: Parameter, given: Any) -> Value:
    """The value as it stands in JSON."""
    number, scalar = _plain(parameter, given), parameter.type
    value = _in_json(float(number) if scalar.is_float else number)
    if fault := scalar_fault(parameter, value):
        _refuse(fault)
    if not scalar.is_float:
        return value
    kept = float(scalar(number))
    if isinstance(number, int) and kept != number:
        _refuse(f"`{parameter.name}`: no {scalar} is exactly {number}")
    return _in_json(kept)


def _in_json(number: float) -> Value:
    """A number; whole ones beyond 2^53 and what is not finite as text."""
    if isinstance(number, int):
        return number if abs(number) <= INTEGER_MAX else str(number)
    return number if math.isfinite(number) else str(number)


def _plain(parameter: Parameter, given: Any) -> int | float:
    """Python's own number of a number of Python's or NumPy's."""
    name, scalar = parameter.name, parameter.type
    if isinstance(given, np.generic) or (isinstance(given, np.ndarray) and given.ndim == 0):
        given = given.item()
    if isinstance(given, bool) or not isinstance(given, int | float):
        _refuse(f"`{name}` is one {scalar}, not a {type(given).__name__}")
    if isinstance(given, float):
        if not scalar.is_float:
            _refuse(f"`{name}` is a whole number ({scalar}): write `int(…)` around {given!r}")
        return float(given)
    if given.bit_length() > 64:
        _refuse(f"`{name}`: no {scalar} holds a number of {given.bit_length()} bits")
    return int(given)


def _array(parameter: Parameter, given: Any) -> AnyArray:
    """The input, contiguous and of its parameter's type; not copied where it is both already."""
    name, scalar = parameter.name, parameter.type
    if not isinstance(given, np.ndarray):
        write = f"write `np.array({name}, np.{scalar.dtype})`"
        _refuse(f"`{name}` is a {type(given).__name__}, not an array: {write}")
    if given.ndim != parameter.ndim:
        _refuse(f"`{name}` has {given.ndim} dimensions, {parameter} has {parameter.ndim}")
    if not _holds_all(scalar, given.dtype):
        write = f"write `{name}.astype(np.{scalar.dtype})`"
        lossy = f"an {scalar} does not hold every {given.dtype.name}"
        _refuse(f"`{name}` is of {given.dtype.name}, {parameter}: {lossy}; {write}")
    return np.ascontiguousarray(given, dtype=DTYPES[scalar.dtype])


def _holds_all(scalar: Scalar, dtype: np.dtype[Any]) -> bool:
    """Whether a type holds every value of an array's type."""
    given = SCALARS_BY_DTYPE.get(dtype.name)
    if given is None:
        return False
    if scalar.is_float:
        if given.is_float:
            return given.bytes <= scalar.bytes
        return 8 * given.bytes <= _WHOLE_BITS[scalar.name]
    if given.is_float:
        return False
    least, most = scalar.range
    return least <= given.range[0] and given.range[1] <= most
