"""Input arrays as a specification names them: type, shape, and the data or their hash.

In:   one entry of `Spec.inputs`.
Out:  its size, and where its bytes are: in the specification, or in a blob of the submitter's.
Rules:
  1. Data are raw, in C order, little-endian, without any header: the same array has one hash.
  2. Small arrays stand in the specification (`data`, base64), larger ones are blobs (`sha256`);
     never both, never neither.
  3. `prod(shape) * itemsize` is counted in whole numbers before anything is allocated.
Not here: which inputs a kind takes (workloads), whether a blob is there and whose (the engine).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from coordinator.limits import (
    ARRAY_DIMENSIONS_MAX,
    INLINE_ARRAY_BYTES_MAX,
    INPUT_NAME_CHARS_MAX,
    INPUTS_BYTES_MAX,
    INPUTS_MAX,
    MIB,
)
from coordinator.protocol.arrays import AnyArray, size_of, to_numpy
from coordinator.protocol.errors import Refusal
from coordinator.protocol.parts import Count, Hex32

#: What names a parameter of a kernel, too.
InputName: TypeAlias = Annotated[
    str, Meta(max_length=INPUT_NAME_CHARS_MAX, pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")
]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One input array."""

    #: NumPy's name of a listed type, such as `float32` (see `arrays.DTYPES`).
    dtype: Annotated[str, Meta(max_length=8)]
    shape: Annotated[tuple[Count, ...], Meta(max_length=ARRAY_DIMENSIONS_MAX)]
    #: SHA-256 of the raw data, a blob; or
    sha256: Hex32 | None = None
    #: the raw data themselves (base64 on the wire).
    data: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse what does not agree with itself.

        Raises:
            ValueError: so that the decoder names the place.
        """
        try:
            size = self.size
        except Refusal as refusal:
            raise ValueError(refusal.sentence) from refusal
        if (self.sha256 is None) == (self.data is None):
            msg = "an input has either `sha256` or `data`"
            raise ValueError(msg)
        if self.data is None:
            return
        if size > INLINE_ARRAY_BYTES_MAX:
            msg = f"an input of {size} bytes is a blob: at most {INLINE_ARRAY_BYTES_MAX} stand here"
            raise ValueError(msg)
        if len(self.data) != size:
            msg = f"type and shape take {size} bytes, the data are {len(self.data)}"
            raise ValueError(msg)

    @property
    def size(self) -> int:
        """Bytes of the raw data."""
        return size_of(self.dtype, self.shape)

    @property
    def digest(self) -> bytes:
        """The blob's hash, 32 bytes; `b""` for data that stand in the specification."""
        return b"" if self.sha256 is None else bytes.fromhex(self.sha256)

    def array(self, blob: bytes | memoryview = b"") -> AnyArray:
        """The array, a read-only view of its data.

        Args:
            blob: The blob's bytes, where it is one.

        Raises:
            Refusal: `bad_spec` if the blob has another size.
        """
        return to_numpy(self.dtype, self.shape, blob if self.data is None else self.data)


#: A specification's inputs by name.
Inputs: TypeAlias = Mapping[str, Input]


def check_inputs(inputs: Inputs, memory_mb: int) -> None:
    """Refuse more inputs, or more bytes, than one job may have, and a blob with two sizes.

    Args:
        inputs: All of them.
        memory_mb: What the job may use, MB: its inputs count.

    Raises:
        Refusal: `bad_spec`.
    """
    if len(inputs) > INPUTS_MAX:
        raise Refusal("bad_spec", f"a job has at most {INPUTS_MAX} inputs, not {len(inputs)}")
    if (size := total_size(inputs.values())) > INPUTS_BYTES_MAX:
        raise Refusal(
            "bad_spec", f"the inputs have {size} bytes together, more than {INPUTS_BYTES_MAX}"
        )
    if size > memory_mb * MIB:
        said = f"the inputs have {size} bytes, the job's memory is {memory_mb} MB"
        raise Refusal("bad_spec", said)
    blob_sizes(inputs)


def total_size(inputs: Iterable[Input]) -> int:
    """Bytes of some inputs together."""
    return sum([each.size for each in inputs])


def blob_sizes(inputs: Inputs) -> dict[bytes, int]:
    """Hash → size of the blobs that a specification names.

    Raises:
        Refusal: `bad_spec` if one blob has two sizes.
    """
    sizes: dict[bytes, int] = {}
    for name, each in inputs.items():
        if each.sha256 is not None and sizes.setdefault(each.digest, each.size) != each.size:
            raise Refusal("bad_spec", f"input {name}: its blob has another size under another name")
    return sizes
