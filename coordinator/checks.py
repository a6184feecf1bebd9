"""One result, checked: from the job's row and its outputs to the verdict as the engine takes it.

In:   a job that is being verified, its outputs' raw data, random bytes drawn after the root was
      committed.
Out:  a `VerdictReached`.
Rules:
  1. Whatever goes wrong here is no acceptance: the job is tried elsewhere, never paid unchecked.
  2. A check is light where its blocks are few and small: less work than a hop to a thread. It is
     made in the very transaction that takes the result in; the others have workers (`verifier`).
Not here: threads and blobs (verifier), what is checked (coordinator.verification).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from coordinator import events as ev
from coordinator.limits import LOG_BYTES_MAX
from coordinator.log import get_log
from coordinator.protocol.arrays import AnyArray, to_numpy
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Sample, Spec, decode_spec
from coordinator.store.values import Job, Output
from coordinator.task import Task, task_of
from coordinator.verification.verdict import verify
from coordinator.workloads.catalogue import get
from coordinator.workloads.workload import NO_INPUTS, Raw

log = get_log(__name__)

#: Gives a blob's bytes by its hash, as a view.
OpenBlob: TypeAlias = Callable[[bytes], memoryview]

#: Random bytes that a sample is drawn from.
DRAW_BYTES: Final = 32
#: Longest reason that is kept.
REASON_CHARS_MAX: Final = 500


def judge(
    job: Job,
    outputs: Sequence[Output],
    raw: Sequence[memoryview],
    root: bytes,
    draw: Callable[[], bytes],
    open_blob: OpenBlob | None = None,
) -> ev.VerdictReached:
    """Check a result.

    Args:
        job: Its job.
        outputs: The result's outputs, in order.
        raw: The raw data of each.
        root: The outputs' root.
        draw: Gives `DRAW_BYTES` random bytes that the agent could not know when it committed the
            root; called where blocks are drawn.
        open_blob: Opens the blobs that are inputs; None where the job is known to have none.

    Raises:
        OSError: an input cannot be read.
    """
    try:
        task = task_of(job.spec)
        if is_the_answer(task, outputs, raw):
            return ev.VerdictReached(job.id, job.fence, "accepted", "", root)
        arrays = [
            to_numpy(output.dtype, output.shape, data)
            for output, data in zip(outputs, raw, strict=True)
        ]
        inputs = _inputs_of(task.spec, open_blob) if task.spec.inputs else NO_INPUTS
        verdict = verify(task.spec, task.workload, arrays, draw(), inputs)
        state, reason = verdict.state, verdict.reason
    except Refusal as refusal:
        return rejected(job, root, refusal.sentence)
    except OSError:
        raise
    except Exception:
        log.exception("verification failed", job=job.id)
        return rejected(job, root, "the result could not be verified")
    return ev.VerdictReached(job.id, job.fence, state, reason[:REASON_CHARS_MAX], root)


def _inputs_of(spec: Spec, open_blob: OpenBlob | None) -> dict[str, AnyArray]:
    """A job's inputs: views, of which a check reads what its blocks need.

    Raises:
        OSError: a blob is not there, or not of its size any more.
    """
    arrays: dict[str, AnyArray] = {}
    for name, each in spec.inputs.items():
        if each.data is not None:
            arrays[name] = each.array()
            continue
        assert open_blob is not None, "a light check has no blobs"
        blob = open_blob(each.digest)
        if len(blob) != each.size:
            msg = f"the blob of input {name} has {len(blob)} bytes, not {each.size}"
            raise OSError(msg)
        arrays[name] = each.array(blob)
    return arrays


def is_the_answer(task: Task, outputs: Sequence[Output], raw: Sequence[memoryview]) -> bool:
    """Whether a result is, byte for byte, the only right answer of a job whose blocks are checked.

    No: that takes the check itself to tell.
    """
    if not isinstance(task.policy, Sample):
        return False
    if sum([len(data) for data in raw]) > task.spec.limits.output_bytes:
        return False
    answer = task.workload.answer(task.params)
    return answer is not None and answer == tuple(
        [Raw(each.dtype, each.shape, bytes(data)) for each, data in zip(outputs, raw, strict=True)]
    )


def rejected(job: Job, root: bytes, reason: str) -> ev.VerdictReached:
    """The verdict on a result that is not accepted."""
    return ev.VerdictReached(job.id, job.fence, "rejected", reason[:REASON_CHARS_MAX], root)


def unreadable(job: Job, root: bytes) -> ev.VerdictReached:
    """No verdict: we have lost what was to be checked."""
    return ev.VerdictReached(job.id, job.fence, "unreadable", "", root)


def blocks_of(job: Job) -> int | None:
    """Number of blocks that a check of the job recomputes; None if that cannot be told."""
    try:
        return task_of(job.spec).blocks
    except Refusal:
        # The check itself will say so.
        return None


def is_light(job: Job, outputs: Sequence[Output]) -> bool:
    """Whether checking this result costs less than handing it to somebody else."""
    try:
        return task_of(job.spec).is_light and not any(output.sha256 for output in outputs)
    except Refusal:
        return False


def fault_of_timed(job: Job, event: ev.ResultArrived) -> str:
    """What is wrong with the outputs of a job that nobody verifies: their number, types, shapes."""
    if not get(job.kind).is_timed:
        return ""
    if job.kind != "command":
        return _fault_of_form(job, event)
    if not event.outputs:
        return ""
    size = sum(output.size for output in event.outputs)
    limit = min(decode_spec(job.spec).limits.output_bytes, LOG_BYTES_MAX)
    if size > limit:
        return f"the log has {size} bytes, more than {limit}"
    (first, *more) = event.outputs
    if more or first.dtype != "uint8" or len(first.shape) != 1:
        return "a command has one output: its log, as bytes"
    return ""


def _fault_of_form(job: Job, event: ev.ResultArrived) -> str:
    """The same of a kernel: each output that its parameters ask for, and of a failed one none."""
    task = task_of(job.spec)
    schema = task.workload.schema(task.params) if event.is_completed else ()
    if len(event.outputs) != len(schema):
        return f"{len(event.outputs)} outputs, not {len(schema)}"
    for expected, output in zip(schema, event.outputs, strict=True):
        if fault := expected.form_fault(output.dtype, tuple(output.shape)):
            return fault
    size = sum(output.size for output in event.outputs)
    limit = task.spec.limits.output_bytes
    return f"the outputs have {size} bytes, more than {limit}" if size > limit else ""
