"""What a kernel's source may call and read: a closed list, from which docs/kernels.md is made.

Rules:
  1. What is not listed is refused. Every name works on a CUDA device, on a CPU and in Numba's
     simulator, with the same types.
  2. No name of a source begins with an underscore or holds two in a row (a lone `_` for what is
     not used apart): what translates a source may use such names freely.
  3. A name that is listed here, or that Python has built in, may not be given to anything else.
Not here: the statements and the shapes of expressions (`source`), the random functions' text
(`prelude`), what a device makes of them (`agent.kernels`).
Source: Numba's documentation, "CUDA Python Reference", "Supported Python features".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from coordinator.workloads.kernel_types import SCALARS


@dataclass(frozen=True, slots=True)
class Function:
    """One function that a source may call."""

    name: str
    #: Names of its arguments, as the page shows them; each must be given, by position.
    arguments: tuple[str, ...]
    #: Type of the result; "" where it has none.
    result: str
    meaning: str
    #: Further arguments are taken.
    takes_more: bool = False


def _functions(*rows: tuple[str, str, str, str]) -> dict[str, Function]:
    return {
        name: Function(
            name,
            tuple(argument for argument in arguments.split() if argument != "..."),
            result,
            meaning,
            takes_more="..." in arguments,
        )
        for name, arguments, result, meaning in rows
    }


#: Python's own.
BUILTINS: Final = _functions(
    ("abs", "x", "x's type", "absolute value"),
    ("min", "x y ...", "the wider type", "least; `y if y < x else x`"),
    ("max", "x y ...", "the wider type", "greatest; `y if y > x else x`"),
    ("len", "array", "i64", "extent of an array's first dimension"),
    ("int", "x", "i64", "towards zero"),
    ("float", "x", "f64", "conversion"),
    ("bool", "x", "bool", "whether x is not 0"),
)

_REAL: Final = "f32 of f32, else f64"

MATH: Final = _functions(
    *(
        (f"math.{name}", "x", _REAL, meaning)
        for name, meaning in (
            ("sqrt", "square root"),
            ("exp", "e to the power of x"),
            ("expm1", "exp(x) - 1, exact near 0"),
            ("log", "natural logarithm"),
            ("log1p", "log(1 + x), exact near 0"),
            ("log2", "logarithm to base 2"),
            ("log10", "logarithm to base 10"),
            ("sin", "sine of radians"),
            ("cos", "cosine of radians"),
            ("tan", "tangent of radians"),
            ("asin", "arc sine"),
            ("acos", "arc cosine"),
            ("atan", "arc tangent"),
            ("sinh", "hyperbolic sine"),
            ("cosh", "hyperbolic cosine"),
            ("tanh", "hyperbolic tangent"),
            ("asinh", "inverse of sinh"),
            ("acosh", "inverse of cosh"),
            ("atanh", "inverse of tanh"),
            ("erf", "error function"),
            ("erfc", "1 - erf(x), exact for large x"),
            ("gamma", "gamma function"),
            ("lgamma", "logarithm of the gamma function's absolute value"),
            ("fabs", "absolute value"),
        )
    ),
    ("math.atan2", "y x", _REAL, "angle of the point (x, y)"),
    ("math.hypot", "x y", _REAL, "sqrt(x² + y²) without overflow between"),
    ("math.pow", "x y", _REAL, "x to the power of y"),
    ("math.copysign", "x y", _REAL, "x with y's sign"),
    ("math.floor", "x", "i64", "greatest whole number not above x"),
    ("math.ceil", "x", "i64", "least whole number not below x"),
    ("math.trunc", "x", "i64", "towards zero"),
    ("math.isnan", "x", "bool", "whether x is not a number"),
    ("math.isinf", "x", "bool", "whether x is an infinity"),
    ("math.isfinite", "x", "bool", "whether x is neither"),
)
#: Names of `math` that are read, not called; each is an f64.
MATH_CONSTANTS: Final = ("math.e", "math.inf", "math.nan", "math.pi", "math.tau")

BITS: Final = _functions(
    ("cuda.popc", "x", "i64", "bits that are set in a 32- or 64-bit integer"),
    ("cuda.clz", "x", "i64", "leading zero bits, counted in x's own width"),
    ("cuda.ffs", "x", "i64", "1 + the lowest bit that is set; 0 for 0"),
    ("cuda.brev", "x", "x's type", "bits in reverse order"),
    ("cuda.fma", "x y z", "the widest type", "x * y + z, rounded once"),
)

#: Functions on one element of an array that no other thread gets in between; each returns the old
#: value. `place` is an integer, or as many in parentheses as the array has dimensions.
ATOMICS: Final = _functions(
    ("cuda.atomic.add", "array place value", "old value", "old + value"),
    ("cuda.atomic.sub", "array place value", "old value", "old - value"),
    ("cuda.atomic.max", "array place value", "old value", "the greater one"),
    ("cuda.atomic.min", "array place value", "old value", "the lesser one"),
    ("cuda.atomic.and_", "array place value", "old value", "old & value"),
    ("cuda.atomic.or_", "array place value", "old value", "old | value"),
    ("cuda.atomic.xor", "array place value", "old value", "old ^ value"),
    ("cuda.atomic.exch", "array place value", "old value", "value"),
    ("cuda.atomic.cas", "array place expected value", "old value", "value if old is expected"),
)
_WORDS: Final = ("i32", "i64", "u32", "u64")
_NUMBERS: Final = (*_WORDS, "f32", "f64")
#: The types of arrays that each atomic function takes.
ATOMIC_TYPES: Final[dict[str, tuple[str, ...]]] = {
    name: _NUMBERS if name.rsplit(".", 1)[1] in {"add", "sub", "max", "min"} else _WORDS
    for name in ATOMICS
}

#: The place of a thread: in the CUDA form only.
PLACES: Final = _functions(
    ("cuda.grid", "dimensions", "i64", "place in the whole grid; for 2 and 3 a tuple: `x, y = …`"),
    ("cuda.gridsize", "dimensions", "i64", "threads of the whole grid; for 2 and 3 a tuple"),
)
#: Also the place of a thread, each of i64: of these names `.x`, `.y` and `.z` are read.
CORNERS: Final = {
    "cuda.threadIdx": "place in the block",
    "cuda.blockIdx": "place of the block in the grid",
    "cuda.blockDim": "threads of a block",
    "cuda.gridDim": "blocks of the grid",
}
AXES: Final = ("x", "y", "z")

BARRIERS: Final = _functions(
    ("cuda.syncthreads", "", "", "waits until every thread of the block is here"),
)
#: What makes an array: alone on the right of an assignment, at the top of a function's body.
ARRAYS: Final = _functions(
    ("cuda.shared.array", "shape type", "array", "one for each block; shape 0: as the launch says"),
    ("cuda.local.array", "shape type", "array", "one for each thread"),
)

#: Counter-based random numbers: the same arguments give the same number, on every device. Device
#: functions of the language itself; their text is `prelude.PRELUDE`.
RANDOM: Final = _functions(
    ("philox", "seed index step", "u32 u32 u32 u32", "four words: `a, b, c, d = …`"),
    ("random_u32", "seed index step", "u32", "the first of the four words"),
    ("random_u64", "seed index step", "u64", "the first two, the first one low"),
    ("uniform_f32", "seed index step", "f32", "0 to 1 less 2^-24, a multiple of 2^-24"),
    ("uniform_f64", "seed index step", "f64", "0 to 1 less 2^-53, a multiple of 2^-53"),
    ("normal_f32", "seed index step", "f32", "standard normal (Box-Muller), from two words"),
    ("normal_f64", "seed index step", "f64", "standard normal (Box-Muller), from two words"),
    ("unit_f32", "word", "f32", "a u32 as uniform_f32 makes it: four for one `philox`"),
)

#: What is read of an array: its extents (`.shape[0]`, or unpacked), elements, dimensions.
ARRAY_ATTRIBUTES: Final = ("shape", "size", "ndim")

#: Every function by its dotted name; the types convert and are listed apart.
FUNCTIONS: Final[dict[str, Function]] = {
    **BUILTINS,
    **MATH,
    **BITS,
    **ATOMICS,
    **PLACES,
    **BARRIERS,
    **ARRAYS,
    **RANDOM,
}
#: What a kernel of the element form may not use: it has no block.
CUDA_FORM_ONLY: Final = frozenset({*PLACES, *CORNERS, *BARRIERS, "cuda.shared.array"})

#: Words that stand for something in every source, and so for nothing else.
LANGUAGE: Final = frozenset(
    {*SCALARS, *BUILTINS, *RANDOM}
    | {"range", "math", "cuda", "kernel", "device", "In", "Out", "Index"}
)
#: Python 3.11's built-in functions and types; written out, since they differ between versions.
PYTHON: Final = frozenset(
    {
        *("abs", "aiter", "all", "anext", "any", "ascii", "bin", "bool", "breakpoint", "bytearray"),
        *("bytes", "callable", "chr", "classmethod", "compile", "complex", "copyright", "credits"),
        *("delattr", "dict", "dir", "divmod", "enumerate", "eval", "exec", "exit", "filter"),
        *("float", "format", "frozenset", "getattr", "globals", "hasattr", "hash", "help", "hex"),
        *("id", "input", "int", "isinstance", "issubclass", "iter", "len", "license", "list"),
        *("locals", "map", "max", "memoryview", "min", "next", "object", "oct", "open", "ord"),
        *("pow", "print", "property", "quit", "range", "repr", "reversed", "round", "set"),
        *("setattr", "slice", "sorted", "staticmethod", "str", "sum", "super", "tuple", "type"),
        *("vars", "zip"),
    }
)
#: Names that nothing may be given.
RESERVED: Final = LANGUAGE | PYTHON

#: What people write first → what to write here.
INSTEAD: Final[dict[str, str]] = {
    "print": "nothing: a kernel has no output but its arrays",
    "round": "`math.floor(x + 0.5)`",
    "pow": "`x ** y` or `math.pow(x, y)`",
    "sum": "a loop",
    "enumerate": "`for k in range(len(x))`",
    "zip": "`for k in range(len(x))`",
    "divmod": "`a // b` and `a % b`",
    "math.fmod": "`x - y * math.trunc(x / y)`",
    "math.remainder": "`x - y * math.floor(x / y + 0.5)`",
    "math.exp2": "`2.0 ** x`",
    "math.cbrt": "`math.copysign(math.fabs(x) ** (1.0 / 3.0), x)`",
    "math.log2e": "`1.0 / math.log(2.0)`",
    "math.degrees": "`x * (180.0 / math.pi)`",
    "math.radians": "`x * (math.pi / 180.0)`",
    "math.factorial": "`math.gamma(n + 1.0)`",
    "cuda.atomic.compare_and_swap": "`cuda.atomic.cas(array, place, expected, value)`",
    "cuda.const.array_like": "an `In` parameter",
    "cuda.laneid": "`cuda.threadIdx.x % 32`",
    "cuda.syncwarp": "`cuda.syncthreads()`",
}
