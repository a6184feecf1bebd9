"""From what a task came to, to what is kept and sent: pure.

In:   a task, its outcome; later the results that wait.
Out:  a `Kept` result with its large arrays apart; then one `results` message that fits a frame.
Rules:
  1. Arrays up to `INLINE_ARRAY_BYTES_MAX` ride in the message, larger ones go by blob.
  2. What the wire would refuse (too many outputs, a shape that does not fit its data, a code that
     nobody knows) becomes a failed result here: a runner's error costs one job, not the session.
Not here: keeping (`outbox.py`), uploading (`uploads.py`), sending (`client.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

from agent.outbox import Kept
from agent.task import Outcome, OutputData, Task
from coordinator.limits import (
    FRAME_BYTES_MAX,
    INLINE_ARRAY_BYTES_MAX,
    INTEGER_MAX,
    ITEMS_PER_MESSAGE_MAX,
    OUTPUTS_MAX,
)
from coordinator.protocol.arrays import size_of
from coordinator.protocol.errors import CODES, Refusal
from coordinator.protocol.messages import Array, ResultItem, Results

_DETAIL_CHARS_MAX: Final = 2000
#: The frame without its results: `{"type":"results","results":[]}` and the header's length.
_FRAME_BYTES: Final = 64
#: What an item's JSON may grow when its offsets move: seven digits an array, and a comma.
_GROWTH_BYTES: Final = 8 * OUTPUTS_MAX + 1
_encoder: Final = msgspec.json.Encoder()


def clean_text(text: str) -> str:
    """Text that the wire takes: no NUL and no lone surrogates, whatever a job printed."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def failed(job: str, fence: int, code: str, detail: str = "") -> Kept:
    """A result that says why there is none."""
    assert code in CODES, code
    text = clean_text(detail)[:_DETAIL_CHARS_MAX]
    return Kept(ResultItem(job=job, fence=fence, status="failed", code=code, detail=text))


def keep(task: Task, outcome: Outcome) -> tuple[Kept, dict[str, bytes]]:
    """The result to keep, and the bytes of its large arrays by SHA-256."""
    code, detail = _flaw(task, outcome)
    if code:
        return failed(task.job, task.fence, code, detail), {}
    if outcome.status == "failed" and not outcome.outputs:
        return failed(task.job, task.fence, outcome.code, outcome.detail), {}
    blobs: dict[str, bytes] = {}
    inline = bytearray()
    arrays = [_array(output, inline, blobs) for output in outcome.outputs]
    item = ResultItem(
        job=task.job,
        fence=task.fence,
        status="completed" if outcome.status == "completed" else "failed",
        code=outcome.code,
        detail=clean_text(outcome.detail)[:_DETAIL_CHARS_MAX],
        outputs=arrays,
        root=outcome.root.hex() if outcome.root else None,
        duration_ms=min(max(outcome.duration_ms, 0), INTEGER_MAX),
    )
    return Kept(item, bytes(inline)), blobs


def _flaw(task: Task, outcome: Outcome) -> tuple[str, str]:
    """What the wire would not take, as code and detail."""
    if outcome.status not in {"completed", "failed"}:
        return "agent_error", f"the runner answered {outcome.status[:40]!r}"
    if outcome.status == "failed" and outcome.code not in CODES:
        return "agent_error", f"the runner failed with {outcome.code[:40]!r}: {outcome.detail}"
    if len(outcome.root) not in {0, 32} or len(outcome.outputs) > OUTPUTS_MAX:
        return "agent_error", "the runner's answer is not a result"
    misfit = next(filter(None, map(_misfit, outcome.outputs)), "")
    if misfit:
        return "agent_error", misfit
    total = sum(len(output.data) for output in outcome.outputs)
    if total > task.output_bytes:
        return "output_too_large", f"{total} bytes; the limit is {task.output_bytes}"
    return "", ""


def _misfit(output: OutputData) -> str:
    try:
        size = size_of(output.dtype, output.shape)
    except Refusal as refusal:
        return refusal.sentence
    return "" if size == len(output.data) else f"an output has {len(output.data)} bytes, not {size}"


def _array(output: OutputData, inline: bytearray, blobs: dict[str, bytes]) -> Array:
    shape = list(output.shape)
    size = len(output.data)
    if size <= INLINE_ARRAY_BYTES_MAX:
        offset = len(inline)
        inline += output.data
        return Array(dtype=output.dtype, shape=shape, bytes=size, offset=offset)
    digest = sha256(output.data).hexdigest()
    blobs[digest] = output.data
    return Array(dtype=output.dtype, shape=shape, bytes=size, sha256=digest)


def pack(results: Iterable[Kept]) -> tuple[Results, bytes, list[Kept]]:
    """As many of the first results as one frame holds: message, data and the results in it."""
    taken: list[Kept] = []
    items: list[ResultItem] = []
    data = bytearray()
    room = FRAME_BYTES_MAX - _FRAME_BYTES
    for result in results:
        room -= len(_encoder.encode(result.item)) + _GROWTH_BYTES + len(result.data)
        if room < 0 or len(taken) == ITEMS_PER_MESSAGE_MAX:
            break
        items.append(_moved(result.item, len(data)))
        data += result.data
        taken.append(result)
    return Results(items), bytes(data), taken


def _moved(item: ResultItem, by: int) -> ResultItem:
    """The item with its inline arrays `by` bytes further on in the frame."""
    if not by or not item.outputs:
        return item
    outputs = [
        array if array.offset is None else msgspec.structs.replace(array, offset=array.offset + by)
        for array in item.outputs
    ]
    return msgspec.structs.replace(item, outputs=outputs)
