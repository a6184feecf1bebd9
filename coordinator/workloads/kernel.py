"""kernel: a submitter's own kernel, sent as text (docs/kernels.md).

Outputs: its `Out` arrays by their names, in the order of its parameters, of the shapes that are
         asked for; they may hold values that are not finite.
Inputs:  its `In` arrays by their names.

Nothing here is computed again yet: a job of this kind is paid by the time it took on the
coordinator's clock, runs in a sandbox of level 1 at least, and its receipt says *unverified*.
Not covered: types of numbers within the text (Numba finds those errors, on the agent).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, TypeAlias

import numpy as np
from msgspec import Meta, field

from coordinator.limits import INPUTS_MAX, INTEGER_MAX, OUTPUT_BYTES_MAX, OUTPUTS_MAX
from coordinator.protocol.arrays import size_of
from coordinator.protocol.errors import Refusal
from coordinator.workloads.kernel_launch import Launch, launch_fault
from coordinator.workloads.kernel_limits import (
    SOURCE_BYTES_MAX,
    SOURCE_NAME_CHARS_MAX,
    SOURCE_PARAMETERS_MAX,
    SOURCES_CACHED_MAX,
)
from coordinator.workloads.kernel_types import (
    DIMENSIONS_MAX,
    KernelSource,
    Parameter,
    SourceRefused,
)
from coordinator.workloads.source import parse_source
from coordinator.workloads.unchecked import Unchecked
from coordinator.workloads.workload import InputSchema, OutputSchema, Params

#: Digits of a u64, and a sign.
_NUMBER_CHARS_MAX: Final = 20
_NOT_FINITE: Final = ("inf", "-inf", "nan")

_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=SOURCE_NAME_CHARS_MAX)]
_Extent: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
_Three: TypeAlias = Annotated[tuple[_Extent, ...], Meta(max_length=DIMENSIONS_MAX)]
#: A number; a whole one beyond 2^53 and what is not finite stand as text.
Value: TypeAlias = int | float | Annotated[str, Meta(max_length=_NUMBER_CHARS_MAX)]


class KernelParams(Params, frozen=True):
    """A kernel and how it is started."""

    #: The kernel's text.
    source: Annotated[str, Meta(min_length=1, max_length=SOURCE_BYTES_MAX)]
    #: Shape of each output.
    outputs: Annotated[dict[_Name, _Three], Meta(max_length=OUTPUTS_MAX)]
    #: Value of each scalar.
    scalars: Annotated[dict[_Name, Value], Meta(max_length=SOURCE_PARAMETERS_MAX)] = field(
        default_factory=dict
    )
    #: Indices of each dimension: the element form.
    extent: _Three = ()
    #: Blocks along x, y and z: the CUDA form.
    grid: _Three = ()
    #: Threads of a block along x, y and z: the CUDA form.
    block: _Three = ()
    #: Bytes of the shared array of shape 0: the CUDA form.
    shared: _Extent = 0

    @property
    def launch(self) -> Launch:
        return Launch(self.extent, self.grid, self.block, self.shared)


class Kernel(Unchecked[KernelParams]):
    """A submitter's own kernel."""

    kind = "kernel"
    params_type = KernelParams

    def check_params(self, params: KernelParams) -> None:
        try:
            source = read_source(params.source)
        except SourceRefused as refused:
            raise Refusal("bad_spec", f"kernel: source, {refused}") from refused
        fault = (
            _count_fault(source)
            or _names_fault("scalar", source.scalars, params.scalars)
            or _names_fault("output", source.outputs, params.outputs)
            or launch_fault(source, params.launch)
            or _scalars_fault(source, params)
            or _outputs_fault(source, params)
        )
        if fault:
            raise Refusal("bad_spec", f"kernel: {fault}")

    def inputs(self, params: KernelParams) -> tuple[InputSchema, ...]:
        return tuple(
            InputSchema(each.name, each.type.dtype, (None,) * each.ndim)
            for each in read_source(params.source).inputs
        )

    def schema(self, params: KernelParams) -> tuple[OutputSchema, ...]:
        return tuple(
            OutputSchema(each.name, each.type.dtype, params.outputs[each.name], is_finite=False)
            for each in read_source(params.source).outputs
        )


@lru_cache(maxsize=SOURCES_CACHED_MAX)
def read_source(text: str) -> KernelSource:
    """`parse_source`, remembered: a job's text is read at each of its steps."""
    return parse_source(text)


def scalar_values(params: KernelParams) -> dict[str, np.generic]:
    """The scalars as their types; the parameters have been checked."""
    return {
        each.name: each.type(_number(each, params.scalars[each.name]))
        for each in read_source(params.source).scalars
    }


def scalar_fault(parameter: Parameter, value: object) -> str:
    """What is wrong with a scalar's value on the wire; "" if nothing is."""
    try:
        number = _number(parameter, value)
    except (TypeError, ValueError):
        return f"scalar `{parameter.name}` is of {parameter.type}, not {str(value)[:40]!r}"
    if parameter.type.is_float:
        # What is finite stays so: an f32 holds no 1e300.
        with np.errstate(over="ignore"):
            kept = float(parameter.type(number))
        is_held = math.isfinite(kept) or not math.isfinite(number)
    else:
        least, most = parameter.type.range
        is_held = least <= number <= most
    return "" if is_held else f"scalar `{parameter.name}`: no {parameter.type} holds {number}"


def _number(parameter: Parameter, value: object) -> Any:
    if isinstance(value, bool):
        raise TypeError
    if parameter.type.is_float:
        if isinstance(value, str) and value not in _NOT_FINITE:
            raise ValueError
        return float(value)  # type: ignore[arg-type]
    if isinstance(value, int):
        return value
    # Python reads more as a number than stands in JSON: blanks, underscores, other digits.
    if not isinstance(value, str) or not value.isascii() or not value.removeprefix("-").isdigit():
        raise ValueError
    return int(value)


def _count_fault(source: KernelSource) -> str:
    for what, given, most in (
        ("inputs", source.inputs, INPUTS_MAX),
        ("outputs", source.outputs, OUTPUTS_MAX),
    ):
        if len(given) > most:
            return f"the kernel has {len(given)} {what}, a job has at most {most}"
    return ""


def _names_fault(what: str, wanted: Iterable[Parameter], given: Mapping[str, object]) -> str:
    names = [each.name for each in wanted]
    for name in names:
        if name not in given:
            return f"{what} `{name}` is missing"
    for name in given:
        if name not in names:
            takes = f"it has {', '.join(names)}" if names else "it has none"
            return f"the kernel has no {what} `{name[:40]}`: {takes}"
    return ""


def _scalars_fault(source: KernelSource, params: KernelParams) -> str:
    faults = (scalar_fault(each, params.scalars[each.name]) for each in source.scalars)
    return next(filter(None, faults), "")


def _outputs_fault(source: KernelSource, params: KernelParams) -> str:
    total = 0
    for each in source.outputs:
        shape = params.outputs[each.name]
        if len(shape) != each.ndim:
            return f"output `{each.name}` has {each.ndim} dimensions, not {len(shape)}"
        if min(shape) < 1:
            return f"output `{each.name}` has an extent of 0"
        try:
            total += size_of(each.type.dtype, shape)
        except Refusal as refusal:
            return f"output `{each.name}`: {refusal.sentence}"
    if total > OUTPUT_BYTES_MAX:
        return f"the outputs have {total} bytes together, at most {OUTPUT_BYTES_MAX} are possible"
    return ""
