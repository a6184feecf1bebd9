"""The warm worker: imports the kernels once, warms them up, then runs one task after the other.

In, out: frames (`frames.py`) on standard input and output; the process ends with its input.
Rules:
  1. Standard output belongs to the frames: what a library prints goes to standard error.
  2. Outputs are committed to here (Merkle root), so that what left the kernel is what is signed.
  3. While a task runs, it says how far it is every `PROGRESS_GAP_S`; short tasks end before that.
     After each launch it looks whether it is to stop: the agent cancelled, or is gone.
  4. A kernel's exception is the task's failure, not the worker's; a crash is the worker's.
Not here: time and memory limits, the sandbox around this process (`warm_worker.py`).
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final, Protocol

from agent.frames import OutputHeader, ReplyHeader, TaskFrame, head, read_task
from coordinator.limits import MIB, OUTPUTS_MAX, PROGRESS_GAP_S
from coordinator.protocol.arrays import AnyArray, to_wire
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal

_PR_SET_PDEATHSIG: Final = 1
_DETAIL_CHARS_MAX: Final = 300
_FILE_BYTES_MAX: Final = 64 * MIB


class Kernels(Protocol):
    """What `agent.kernels` offers."""

    def run(
        self,
        kind: str,
        params: bytes,
        backend: str,
        on_progress: Callable[[float], None],
        **inputs: Mapping[str, AnyArray],
    ) -> list[AnyArray]:
        """See `agent.kernels.run`; `inputs` is given where there are any."""
        ...

    def warm(self, backend: str) -> Any: ...


def main(arguments: Sequence[str]) -> None:
    """Serve until the input ends.

    Args:
        arguments: Name of the kernels' module, and the backend.
    """
    name, backend = arguments
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Standard error is a file in memory, which the agent reads when something went wrong.
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES_MAX, _FILE_BYTES_MAX))
    die_with_the_agent()
    kernels: Kernels = importlib.import_module(name)
    kernels.warm(backend)
    _send(replies, ReplyHeader("ready"), ())
    with os.fdopen(0, "rb", buffering=0) as requests:
        while (task := read_task(requests)) is not None:
            _send(replies, *_serve(kernels, backend, task, tell=_Teller(replies, requests)))
            # Not kept until the next one: inputs are large.
            del task


class _Stopped(BaseException):
    """The task is to end now; no kernel's `except Exception` may take it for its own failure."""


class _Teller:
    """Says how far a task is, seldom enough that saying it costs nothing; ends it when asked to."""

    def __init__(self, replies: BinaryIO, requests: BinaryIO) -> None:
        self._replies = replies
        self._next_at = time.monotonic() + PROGRESS_GAP_S
        # While a task runs the agent sends nothing but its cancellation: anything, or the end of
        # the pipe, means stop.
        self._asked = select.poll()
        self._asked.register(requests, select.POLLIN)

    def __call__(self, progress: float) -> None:
        if self._asked.poll(0):
            raise _Stopped
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + PROGRESS_GAP_S
            _send(self._replies, ReplyHeader("running", progress=progress), ())


def _serve(
    kernels: Kernels, backend: str, task: TaskFrame, *, tell: _Teller
) -> tuple[ReplyHeader, Sequence[bytes]]:
    started = time.perf_counter_ns()
    try:
        # Kernels that take no inputs need not know of them.
        inputs = {"inputs": task.arrays()} if task.inputs else {}
        arrays = kernels.run(task.header.kind, task.params, backend, tell, **inputs)
        duration_ms = (time.perf_counter_ns() - started) // 1_000_000
        _check(arrays, task.header.output_bytes)
        wired = [to_wire(array) for array in arrays]
    except _Stopped:
        return ReplyHeader("cancelled"), ()
    except Refusal as refusal:
        return ReplyHeader("failed", refusal.code, refusal.sentence[:_DETAIL_CHARS_MAX]), ()
    except MemoryError:
        return ReplyHeader("failed", "out_of_memory"), ()
    except Exception as error:  # noqa: BLE001  (rule 4; the operator finds the trace in the log)
        traceback.print_exc()
        detail = f"the kernel failed: {type(error).__name__}"
        return ReplyHeader("failed", "agent_error", detail), ()
    return completed(wired, duration_ms)


def completed(
    wired: Sequence[tuple[str, tuple[int, ...], bytes]], duration_ms: int
) -> tuple[ReplyHeader, list[bytes]]:
    """The reply with these outputs, committed to, and their data."""
    data = [piece for _, _, piece in wired]
    header = ReplyHeader(
        "completed",
        outputs=tuple(OutputHeader(dtype, shape, len(piece)) for dtype, shape, piece in wired),
        root=output_root(data).hex(),
        duration_ms=duration_ms,
        data_bytes=sum(map(len, data)),
    )
    return header, data


def _check(arrays: Sequence[AnyArray], output_bytes: int) -> None:
    """Refuse what is too large before it is copied."""
    size = sum(array.nbytes for array in arrays)
    if size > output_bytes or len(arrays) > OUTPUTS_MAX:
        detail = f"the outputs have {size} bytes, the limit is {output_bytes}"
        raise Refusal("output_too_large", detail)


def _send(replies: BinaryIO, header: ReplyHeader, data: Sequence[bytes]) -> None:
    replies.write(head(header))
    replies.writelines(data)
    replies.flush()


def die_with_the_agent() -> None:
    """End when the agent is killed in the middle of a task; at leisure, the closed pipe does it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
