"""The names that a kernel's text uses, as Python and as a type checker see them.

Rules:
  1. Outside of kernels a type converts as NumPy does; `cuda` and the random functions are there to
     be written in kernels only.
  2. A type checker sees `f32` as `float` and `i32` as `int`, so that bodies check as plain Python;
     `In[f32, Literal[2]]` is what it takes for two dimensions.
Not here: what the names mean (docs/kernels.md), the decorators (`kernels`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from coordinator.workloads.allowed import RANDOM
from coordinator.workloads.kernel_types import SCALARS

__all__ = [
    "In",
    "Index",
    "Out",
    "cuda",
    "f32",
    "f64",
    "i32",
    "i64",
    "normal_f32",
    "normal_f64",
    "philox",
    "random_u32",
    "random_u64",
    "u8",
    "u32",
    "u64",
    "uniform_f32",
    "uniform_f64",
    "unit_f32",
]


class KernelOnly:
    """A name that means something in the text of a kernel only."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> KernelOnly:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return KernelOnly(f"{self.name}.{attribute}")

    def __call__(self, *_: object, **__: object) -> NoReturn:
        msg = f"`{self.name}` stands in the text of a kernel: Python does not run it"
        raise TypeError(msg)

    def __repr__(self) -> str:
        return f"<{self.name} of the kernel language>"


class Annotation:
    """`In`, `Out` and `Index`, written in a kernel's head; `In[f32, 2]` is itself again."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, _: object) -> Annotation:
        return self

    def __repr__(self) -> str:
        return self.name


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, Literal, Protocol, TypeAlias, overload

    from typing_extensions import TypeVar

    f32 = float
    f64 = float
    i32 = int
    i64 = int
    u32 = int
    u64 = int
    u8 = int
    Index = int

    T = TypeVar("T")
    D = TypeVar("D", default=Literal[1])
    _Place: TypeAlias = int | tuple[int, ...]
    _Three: TypeAlias = tuple[int, int, int]

    class In(Generic[T, D]):
        """An array that a kernel reads."""

        shape: tuple[int, ...]
        size: int
        ndim: int

        def __getitem__(self, place: _Place, /) -> T: ...
        def __len__(self) -> int: ...

    class Out(In[T, D]):
        """An array that a kernel writes."""

        def __setitem__(self, place: _Place, value: float, /) -> None: ...

    class _Corner(Protocol):
        x: int
        y: int
        z: int

    class _Memory(Protocol):
        def array(self, shape: _Place, type: type[T], /) -> Out[T, Any]: ...  # noqa: A002 - CUDA's

    class _Atomic(Protocol):
        def add(self, array: Out[T, Any], place: _Place, value: float, /) -> T: ...
        def sub(self, array: Out[T, Any], place: _Place, value: float, /) -> T: ...
        def max(self, array: Out[T, Any], place: _Place, value: float, /) -> T: ...
        def min(self, array: Out[T, Any], place: _Place, value: float, /) -> T: ...
        def and_(self, array: Out[T, Any], place: _Place, value: int, /) -> T: ...
        def or_(self, array: Out[T, Any], place: _Place, value: int, /) -> T: ...
        def xor(self, array: Out[T, Any], place: _Place, value: int, /) -> T: ...
        def exch(self, array: Out[T, Any], place: _Place, value: int, /) -> T: ...
        def cas(self, array: Out[T, Any], place: _Place, old: int, value: int, /) -> T: ...

    class _Cuda(Protocol):
        threadIdx: _Corner  # noqa: N815 - CUDA's names
        blockIdx: _Corner  # noqa: N815
        blockDim: _Corner  # noqa: N815
        gridDim: _Corner  # noqa: N815
        shared: _Memory
        local: _Memory
        atomic: _Atomic

        @overload
        def grid(self, dimensions: Literal[1], /) -> int: ...
        @overload
        def grid(self, dimensions: Literal[2], /) -> tuple[int, int]: ...
        @overload
        def grid(self, dimensions: Literal[3], /) -> _Three: ...
        @overload
        def gridsize(self, dimensions: Literal[1], /) -> int: ...
        @overload
        def gridsize(self, dimensions: Literal[2], /) -> tuple[int, int]: ...
        @overload
        def gridsize(self, dimensions: Literal[3], /) -> _Three: ...
        def syncthreads(self) -> None: ...
        def popc(self, x: int, /) -> int: ...
        def clz(self, x: int, /) -> int: ...
        def ffs(self, x: int, /) -> int: ...
        def brev(self, x: int, /) -> int: ...
        def fma(self, x: float, y: float, z: float, /) -> float: ...

    cuda: _Cuda
    philox: Callable[[int, int, int], tuple[int, int, int, int]]
    random_u32: Callable[[int, int, int], int]
    random_u64: Callable[[int, int, int], int]
    uniform_f32: Callable[[int, int, int], float]
    uniform_f64: Callable[[int, int, int], float]
    normal_f32: Callable[[int, int, int], float]
    normal_f64: Callable[[int, int, int], float]
    unit_f32: Callable[[int], float]
else:
    In, Out, Index = Annotation("In"), Annotation("Out"), Annotation("Index")
    cuda = KernelOnly("cuda")
    globals().update(SCALARS)
    globals().update({name: KernelOnly(name) for name in RANDOM})

#: Objects of this module that a text writes by their own name, whatever the user calls them.
WRITTEN: Final[dict[str, Any]] = {name: globals()[name] for name in __all__}
