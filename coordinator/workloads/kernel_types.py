"""The types of the kernel language: what a number is, what a kernel's parameter is.

Rules:
  1. Seven numbers, by the short names that a source writes; each is one of the wire's types.
  2. A parameter is an index of the element form, a scalar, or an array of 1 to 3 dimensions that
     is read (`In`) or written (`Out`).
  3. Outside of a kernel a type converts as NumPy does: `f32(0.1)` is `numpy.float32(0.1)`.
Not here: what may be written with them (`allowed`), how a source is read (`source`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

#: Dimensions of an array, and of an extent: what a grid of CUDA has.
DIMENSIONS_MAX: Final = 3

Form: TypeAlias = Literal["element", "cuda"]
ParameterKind: TypeAlias = Literal["index", "scalar", "in", "out"]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One type of numbers."""

    #: As a source writes it: `f32`.
    name: str
    #: NumPy's name of it, and the wire's: `float32`.
    dtype: str
    #: Bytes of one number.
    bytes: int

    @property
    def is_float(self) -> bool:
        return self.name.startswith("f")

    @property
    def is_unsigned(self) -> bool:
        return self.name.startswith("u")

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest value of an integer type."""
        bits = 8 * self.bytes - (not self.is_unsigned)
        return (0 if self.is_unsigned else -(2**bits), 2**bits - 1)

    def __call__(self, value: object = 0) -> Any:
        """The value as this type, as NumPy converts it."""
        return np.dtype(self.dtype).type(value)

    def __repr__(self) -> str:
        return self.name


#: All types, by name.
SCALARS: Final[dict[str, Scalar]] = {
    scalar.name: scalar
    for scalar in (
        Scalar("f32", "float32", 4),
        Scalar("f64", "float64", 8),
        Scalar("i32", "int32", 4),
        Scalar("i64", "int64", 8),
        Scalar("u32", "uint32", 4),
        Scalar("u64", "uint64", 8),
        Scalar("u8", "uint8", 1),
    )
}
#: The same by NumPy's name.
SCALARS_BY_DTYPE: Final[dict[str, Scalar]] = {scalar.dtype: scalar for scalar in SCALARS.values()}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a kernel, in the order of its definition."""

    name: str
    kind: ParameterKind
    #: Type of the scalar or of the array's elements; an index is an `i64`.
    type: Scalar
    #: Dimensions of an array; 0 for an index and a scalar.
    ndim: int = 0

    @property
    def is_array(self) -> bool:
        return self.kind in {"in", "out"}

    def __str__(self) -> str:
        if self.kind == "index":
            return self.name
        if self.kind == "scalar":
            return f"{self.name}: {self.type.name}"
        more = f", {self.ndim}" if self.ndim > 1 else ""
        return f"{self.name}: {self.kind.capitalize()}[{self.type.name}{more}]"


@dataclass(frozen=True, slots=True)
class Constant:
    """A number of the module that functions read."""

    name: str
    value: bool | int | float
    #: Its type where it was written as one (`f32(0.1)`), else None: an i64 or an f64.
    type: Scalar | None
    line: int


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter of a device function."""

    name: str
    is_array: bool
    #: Whether the function, or one that it calls, writes the array.
    is_written: bool
    #: As annotated: a scalar is converted to it, an array has it; None where nothing is said.
    type: Scalar | None
    #: Dimensions of an array as annotated, or as indexed; 0 where neither says.
    ndim: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """A function that kernels and other such functions call."""

    name: str
    arguments: tuple[Argument, ...]
    #: Numbers that it returns; 0 for nothing, more than 1 for a tuple.
    results: int
    #: What the numbers are converted to where that is annotated; empty otherwise.
    result_types: tuple[Scalar, ...]
    line: int


@dataclass(frozen=True, slots=True)
class KernelSource:
    """A source that was read and found good; equal texts are equal sources."""

    text: str
    #: SHA-256 of the text's UTF-8, in hexadecimal.
    sha256: str
    #: Name of the kernel function.
    entry: str
    form: Form
    parameters: tuple[Parameter, ...]
    #: In the order of the text, as are the device functions: each stands before who reads it.
    constants: tuple[Constant, ...]
    devices: tuple[Device, ...]
    #: Random functions (`allowed.RANDOM`) that it calls.
    random: tuple[str, ...]
    has_barriers: bool
    has_atomics: bool
    fastmath: bool
    #: Bytes of shared arrays of constant shape.
    shared_bytes: int
    #: Whether an array takes the shared bytes that the launch asks for.
    has_dynamic_shared: bool

    @property
    def indices(self) -> tuple[Parameter, ...]:
        return tuple(each for each in self.parameters if each.kind == "index")

    @property
    def scalars(self) -> tuple[Parameter, ...]:
        return tuple(each for each in self.parameters if each.kind == "scalar")

    @property
    def inputs(self) -> tuple[Parameter, ...]:
        return tuple(each for each in self.parameters if each.kind == "in")

    @property
    def outputs(self) -> tuple[Parameter, ...]:
        return tuple(each for each in self.parameters if each.kind == "out")

    @property
    def signature(self) -> str:
        """`saxpy(i, a: f32, x: In[f32], out: Out[f32])`."""
        return f"{self.entry}({', '.join(map(str, self.parameters))})"


class SourceRefused(ValueError):
    """A source is not one of this language: which line, what, and what to write instead."""

    def __init__(self, line: int, sentence: str) -> None:
        self.line = line
        self.sentence = sentence
        super().__init__(f"line {line}: {sentence}")
