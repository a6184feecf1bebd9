"""A result's arrays, from the wire to values: every size checked before anything is copied.

Not here: whether the numbers are right (verification).
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.blobs import BlobFolder
from coordinator.limits import INLINE_ARRAY_BYTES_MAX, OUTPUT_BYTES_MAX
from coordinator.protocol.arrays import size_of
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Array
from coordinator.store.values import Output


def outputs_of(
    job: int, fence: int, arrays: Sequence[Array], data: memoryview, blobs: BlobFolder
) -> tuple[Output, ...]:
    """The outputs of one result.

    Args:
        job: The job.
        fence: The attempt.
        arrays: What the message says of each output, in declared order.
        data: The frame's data section.
        blobs: Where large outputs were uploaded before.

    Raises:
        Refusal: `bad_spec` for a type, shape or size that does not fit; `not_found` for a blob that
            is not here; `output_too_large`.
    """
    if sum([array.bytes for array in arrays]) > OUTPUT_BYTES_MAX:
        raise Refusal("output_too_large")
    return tuple(
        [_output(job, fence, index, array, data, blobs) for index, array in enumerate(arrays)]
    )


def _output(
    job: int, fence: int, index: int, array: Array, data: memoryview, blobs: BlobFolder
) -> Output:
    size = size_of(array.dtype, array.shape)
    if size != array.bytes:
        raise Refusal("bad_spec", f"output {index}: type, shape and size do not agree")
    shape = tuple(array.shape)
    if array.sha256 is not None:
        digest = bytes.fromhex(array.sha256)
        if blobs.size(digest) != size:
            raise Refusal("not_found", f"output {index}: its blob was not uploaded")
        return Output(job, fence, index, array.dtype, shape, b"", digest, size)
    if array.offset is None or size > INLINE_ARRAY_BYTES_MAX:
        raise Refusal(
            "bad_spec", f"output {index}: small arrays ride in the frame, others are blobs"
        )
    raw = bytes(data[array.offset : array.offset + size])
    if len(raw) != size:
        raise Refusal("bad_spec", f"output {index}: the frame is too short for it")
    return Output(job, fence, index, array.dtype, shape, raw, size=size)
