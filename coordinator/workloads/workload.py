"""What every kind of job says about itself: the one interface that the house needs of it.

In:   a specification's `params` (JSON bytes), decoded once into a frozen structure, and for kinds
      that take them its input arrays, by name.
Out:  the work to be paid, the outputs' types and shapes, and for each *block* (the part of the
      outputs that is recomputed on its own) the claimed and the reference values.
Rules:
  1. A workload is pure: the same parameters have the same answer, on every device.
  2. A block is recomputed in NumPy within some 30 ms: checking must cost less than computing.
  3. `disagreement` and `inspect` answer a sentence, or "" where nothing is wrong.
  4. Inputs are read-only and may be views of files: a block looks at what it needs of them.
Not here: which blocks are recomputed (`coordinator.verification`), the kernels (`agent.kernels`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from coordinator.limits import CACHED_SPEC_BYTES, CACHED_SPECS_MAX, INTEGER_MAX
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal
from coordinator.protocol.inputs import Input
from coordinator.protocol.spec import Policy, Sample

#: Input arrays by name.
InputArrays: TypeAlias = Mapping[str, AnyArray]
#: What a job without inputs has.
NO_INPUTS: Final[InputArrays] = MappingProxyType({})

#: A seed of a counter-based generator: what JavaScript holds exactly.
Seed = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]

#: The share of blocks checked does not matter, their number does: whoever fakes a tenth of the
#: blocks passes 24 checks with probability 0.9^24 = 8 %, half of them with 6e-8. A faked block
#: saves its price and, once found, costs the price of the whole job.
SAMPLED: Policy = Sample(rate=0.0, floor=24)


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Parameters of a kind: bounded, unknown fields refused."""


class Work(msgspec.Struct, frozen=True, gc=False):
    """What a job costs a device, declared by its kind and the same for every agent."""

    #: Operations; integer ones count like floating-point ones.
    flop: int
    #: Bytes moved between the device's memory and its cores.
    bytes: int


class OutputSchema(msgspec.Struct, frozen=True):
    """Type and shape of one output; `None` is an extent that only the result knows."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    #: Whether every value must be finite: not where infinities may come from a submitter's own
    #: inputs, or kernel.
    is_finite: bool = True

    def fault(self, output: AnyArray) -> str:
        """What is wrong with an output's type, shape or values; "" if nothing is."""
        if fault := self.form_fault(output.dtype.name, output.shape):
            return fault
        if self.is_finite and output.dtype.kind == "f" and not np.isfinite(output).all():
            return f"{self.name} holds values that are not finite"
        return ""

    def form_fault(self, dtype: str, shape: tuple[int, ...]) -> str:
        """What is wrong with an output's type or shape; "" if nothing is."""
        if dtype != self.dtype:
            return f"{self.name} has type {dtype}, not {self.dtype}"
        fits = len(shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, shape, strict=True)
        )
        return "" if fits else f"{self.name} has shape {shape}, not {self.shape}"


class Given(NamedTuple):
    """Type and shape of an array that is given as an input."""

    dtype: str
    shape: tuple[int, ...]


class InputSchema(msgspec.Struct, frozen=True):
    """Name, type and shape of one input; `None` is an extent that the submitter chooses."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def fault(self, given: Input | Given) -> str:
        """What is wrong with an input's type or shape; "" if nothing is."""
        if given.dtype != self.dtype:
            return f"input {self.name} has type {given.dtype}, not {self.dtype}"
        fits = len(given.shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, given.shape, strict=True)
        )
        return "" if fits else f"input {self.name} has shape {given.shape}, not {self.shape}"


class Raw(NamedTuple):
    """An output as it travels: type, shape, raw C-order little-endian data."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


P = TypeVar("P", bound=Params)


class Workload(ABC, Generic[P]):
    """One kind of job."""

    kind: ClassVar[str]
    #: Least level of the sandbox where the specification names none.
    sandbox: ClassVar[int] = 0
    default_policy: ClassVar[Policy] = SAMPLED
    #: Whether the job is paid by time, since its work is unknown.
    is_timed: ClassVar[bool] = False
    #: Operations up to which a result is checked in the transaction that takes it in: what costs
    #: NumPy less than a hop to a thread. 0 where even the smallest block costs more.
    light_flop_max: ClassVar[int] = 0
    params_type: type[P]

    def decode(self, params: bytes) -> P:
        """The parameters of a job.

        Raises:
            Refusal: `bad_spec` naming the field.
        """
        if len(params) <= CACHED_SPEC_BYTES:
            decoded: P = _decode(self, params)
            return decoded
        return self._decode(params)

    def _decode(self, params: bytes) -> P:
        try:
            decoded = msgspec.json.decode(params, type=self.params_type)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Refusal("bad_spec", f"{self.kind}: {error}"[:500]) from error
        self.check_params(decoded)
        return decoded

    def check_params(self, params: P) -> None:
        """Refuse (`bad_spec`) what no bound of a single field can express."""

    def inputs(self, params: P) -> tuple[InputSchema, ...]:  # noqa: ARG002 - an interface
        """The inputs that a job of these parameters takes; most kinds take none."""
        return ()

    def check_inputs(self, params: P, given: Mapping[str, Input | Given]) -> None:
        """Compare names, types and shapes of a specification's inputs with what the kind takes.

        Raises:
            Refusal: `bad_spec` naming the input.
        """
        taken = self.inputs(params)
        if not (taken or given):
            return
        names = {schema.name for schema in taken}
        for name in given:
            if name not in names:
                takes = f"takes {', '.join(sorted(names))}" if names else "takes none"
                raise Refusal("bad_spec", f"{self.kind} has no input {name}: it {takes}")
        for schema in taken:
            if (found := given.get(schema.name)) is None:
                raise Refusal("bad_spec", f"{self.kind}: input {schema.name} is missing")
            if fault := schema.fault(found):
                raise Refusal("bad_spec", f"{self.kind}: {fault}")

    def check_arrays(self, params: P, arrays: InputArrays) -> None:
        """The same of arrays that are at hand (see `check_inputs`)."""
        self.check_inputs(
            params,
            {name: Given(each.dtype.name, each.shape) for name, each in arrays.items()},
        )

    def check_schema(self, params: P, outputs: Sequence[AnyArray]) -> None:
        """Compare number, types, shapes and finiteness of the outputs with the schema.

        Raises:
            Refusal: `rejected` naming the output.
        """
        schema = self.schema(params)
        if len(outputs) != len(schema):
            raise Refusal("rejected", f"{len(outputs)} outputs, not {len(schema)}")
        for expected, output in zip(schema, outputs, strict=True):
            if fault := expected.fault(output):
                raise Refusal("rejected", fault)

    def inspect(self, params: P, outputs: Sequence[AnyArray]) -> str:  # noqa: ARG002 - an interface
        """What is wrong with the outputs as a whole, found without recomputing a block."""
        return ""

    def answer(self, params: P) -> tuple[Raw, ...] | None:  # noqa: ARG002 - an interface
        """The whole right answer where it is one and cheaply had without NumPy, else None.

        Why: for the smallest jobs NumPy's calls cost ten times what they compute.
        """
        return None

    @abstractmethod
    def work(self, params: P) -> Work:
        """What the job costs, in operations and bytes."""

    @abstractmethod
    def schema(self, params: P) -> tuple[OutputSchema, ...]:
        """The outputs, in order."""

    @abstractmethod
    def blocks(self, params: P) -> int:
        """Number of blocks, at most `limits.BLOCKS_MAX`; 0 where nothing can be recomputed."""

    @abstractmethod
    def reference(
        self, params: P, block: int, inputs: InputArrays = NO_INPUTS
    ) -> tuple[AnyArray, ...]:
        """The true values of one block, computed here, and what else `disagreement` must know."""

    @abstractmethod
    def extract(self, params: P, outputs: Sequence[AnyArray], block: int) -> tuple[AnyArray, ...]:
        """The claimed values of one block; the outputs have passed `check_schema`."""

    @abstractmethod
    def disagreement(
        self, params: P, block: int, claimed: Sequence[AnyArray], reference: Sequence[AnyArray]
    ) -> str:
        """How claim and reference differ by more than arithmetic may; "" if they agree."""


@lru_cache(maxsize=CACHED_SPECS_MAX)
def _decode(workload: Workload[Any], params: bytes) -> Any:
    # Frozen, so that everybody may have the same one: a job's parameters are read at each step.
    return workload._decode(params)  # noqa: SLF001 - a part of the class that a cache holds
