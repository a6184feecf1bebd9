"""`@hn.kernel` and `@hn.device`: a Python function becomes a text that travels.

Rules:
  1. The function is read, never run and never pickled: what it is, its text says.
  2. Whatever the language refuses is refused here already, with the line of the user's own file.
Not here: how the text is made (`kernel_writer`), what it may hold (docs/kernels.md), running it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Generic, NoReturn, ParamSpec, TypeVar, overload

from coordinator.workloads.kernel_types import KernelSource, SourceRefused
from coordinator.workloads.source import parse_source
from hypernode.function_text import refused
from hypernode.kernel_writer import DEVICE, Decorated, Definition, Written, define, write

P = ParamSpec("P")
R = TypeVar("R")


class Kernel(Decorated):
    """A kernel: its text, and what the text says."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        written = write(definition)
        #: The text as read: parameters, form, constants.
        self.parsed: KernelSource = _read(written)
        update_wrapper(self, definition.function)

    @property
    def name(self) -> str:
        return self.parsed.entry

    @property
    def source(self) -> str:
        """The canonical text: what travels and is hashed."""
        return self.parsed.text

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, in hexadecimal: the kernel's identity."""
        return self.parsed.sha256

    @property
    def signature(self) -> str:
        """`saxpy(i, a: f32, x: In[f32], out: Out[f32])`."""
        return self.parsed.signature

    def __call__(self, *_: object, **__: object) -> NoReturn:
        given = [f"{each.name}=…" for each in (*self.parsed.scalars, *self.parsed.inputs)]
        launch = ["n=…"] if self.parsed.form == "element" else ["grid=…", "block=…"]
        call = f"client.submit({', '.join([self.name, *launch, *given])})"
        msg = f"a kernel runs as a job, not here: {call}"
        raise TypeError(msg)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kernel) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __repr__(self) -> str:
        return f"<kernel {self.signature} {self.sha256[:8]}>"


class Device(Decorated, Generic[P, R]):
    """A function that kernels call; in Python it is the function that it was."""

    def __init__(self, function: Callable[P, R]) -> None:
        super().__init__(define(function, DEVICE))
        self._function = function
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<device function {self.definition.function.__name__}>"


@overload
def kernel(function: Callable[..., None], /) -> Kernel: ...
@overload
def kernel(*, fastmath: bool = False) -> Callable[[Callable[..., None]], Kernel]: ...
def kernel(
    function: Callable[..., None] | None = None, /, *, fastmath: bool = False
) -> Kernel | Callable[[Callable[..., None]], Kernel]:
    """Make a kernel of a function.

    Args:
        function: The function below the decorator.
        fastmath: Let compilers reorder sums and forget about NaN and infinities.

    Raises:
        KernelRefused: the function is not in the language; which line, what, and what to write.
        TypeError: it is not a function.
    """
    decorator = "@kernel(fastmath=True)" if fastmath else "@kernel"

    def decorate(wanted: Callable[..., None]) -> Kernel:
        return Kernel(define(wanted, decorator))

    return decorate if function is None else decorate(function)


def device(function: Callable[P, R], /) -> Device[P, R]:
    """Make a function one that kernels call.

    Its text is read when a kernel that calls it is decorated.

    Raises:
        KernelRefused: it is a lambda or a method.
        TypeError: it is not a function.
    """
    return Device(function)


def _read(written: Written) -> KernelSource:
    try:
        return parse_source(written.text)
    except SourceRefused as error:
        origin = written.origins[min(error.line, len(written.origins)) - 1]
        raise refused(origin, error.sentence) from None
