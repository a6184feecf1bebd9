"""A confined child of the zygote, from its fork to what became of it.

In:   what the child is to do, and its bounds.
Out:  what it answered: a small document through a pipe, arrays in memory that both share.
Rules:
  1. The child puts up its walls before it calls what it is to do, and never returns from here.
  2. What it answers is a stranger's: the document has a bound and a schema; arrays lie within the
     shared memory and do not overlap its end, or the child failed.
  3. It is killed when it is to stop, when its time is over, and after its answer.
Not covered: a child stuck in the kernel (the agent's own limit ends the whole jail).
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Final, NoReturn, TypeAlias

import msgspec
import numpy as np

from agent.sandbox.confinement import confine
from coordinator.limits import KIB, OUTPUTS_MAX, PROGRESS_GAP_S
from coordinator.protocol.arrays import DTYPES, AnyArray, size_of
from coordinator.protocol.errors import CODES, Refusal

#: The document of an answer; what a child writes beyond it is not read.
_ANSWER_BYTES_MAX: Final = 64 * KIB
_DETAIL_CHARS_MAX: Final = 400
#: Codes that a child may say about its own end.
_CODES: Final = frozenset({"bad_spec", "kernel_failed", "out_of_memory", "output_too_large"})
#: Time for a child that closed its pipe to end by itself.
_GRACE_MS: Final = 200
#: `MAP_NORESERVE`, which Python's module has since 3.11.
_NO_RESERVE: Final = 0x4000
#: Arrays begin at multiples of this: a cache line, and what vector instructions like.
_ALIGNED: Final = 64


class Stopped(Exception):
    """The task was to end before its child did."""


class Bounds(msgspec.Struct, frozen=True):
    """What one child may take."""

    memory_bytes: int
    #: Seconds of wall time.
    execution_s: float
    #: Bytes of all arrays that it makes to be answered.
    shared_bytes: int


class Piece(msgspec.Struct, frozen=True):
    """An array in the shared memory."""

    dtype: str
    shape: tuple[int, ...]
    start: int


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of what a child says."""

    #: `running`, `done` or `failed`.
    status: str
    progress: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    code: str = ""
    detail: str = ""
    pieces: tuple[Piece, ...] = ()


class Room:
    """Memory that a child and its zygote share: zeros, taken from its beginning on."""

    def __init__(self, size: int) -> None:
        # Pages come when they are touched: a bound costs nothing.
        self._memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_SHARED | _NO_RESERVE)
        self._size = size
        self._taken = 0
        self.pieces: list[Piece] = []

    def zeros(self, dtype: str, shape: Sequence[int]) -> AnyArray:
        """A new array of the answer.

        Raises:
            Refusal: `output_too_large`.
        """
        piece = Piece(dtype, tuple(shape), self._taken)
        size = size_of(dtype, shape)
        if self._taken + size > self._size or len(self.pieces) == OUTPUTS_MAX:
            detail = f"the outputs have more than {self._size} bytes, the limit"
            raise Refusal("output_too_large", detail)
        self._taken += -(-size // _ALIGNED) * _ALIGNED
        self.pieces.append(piece)
        return self.array(piece)

    def array(self, piece: Piece) -> AnyArray:
        """The array of a piece.

        Raises:
            Refusal: `kernel_failed` for one that does not lie within.
        """
        size = size_of(piece.dtype, piece.shape)
        if not 0 <= piece.start <= self._size - size:
            raise Refusal("kernel_failed", "the kernel's process answered nonsense")
        flat = np.frombuffer(
            self._memory, DTYPES[piece.dtype], size // DTYPES[piece.dtype].itemsize, piece.start
        )
        return flat.reshape(piece.shape)


#: What a child does: makes its arrays in the room, says how far it is.
Work: TypeAlias = Callable[[Room, Callable[[float], None]], None]


def run_child(
    work: Work, bounds: Bounds, stop: int, on_progress: Callable[[float], None] | None = None
) -> list[AnyArray]:
    """Fork a child that works within its walls; the arrays that it made.

    Args:
        work: Called in the child.
        bounds: What it may take.
        stop: A descriptor; once it can be read, the child is to end.
        on_progress: Called with how far it is.

    Raises:
        Stopped: `stop` could be read first.
        Refusal: It failed, was too large or too slow, or ended without an answer.
    """
    room = Room(bounds.shared_bytes)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _live(work, bounds, room, reader, writer)
    os.close(writer)
    told, is_over = None, True
    try:
        told = _listen(reader, stop, time.monotonic() + bounds.execution_s, on_progress)
        is_over = told is not None
    finally:
        os.close(reader)
        status = _bury(child, has_answered=is_over)
    return _judged(told, status, room)


def _judged(told: Told | None, status: int, room: Room) -> list[AnyArray]:
    if told is None:
        raise Refusal(*_why_gone(status))
    if told.status != "done":
        code = told.code if told.code in _CODES else "kernel_failed"
        raise Refusal(code, told.detail[:_DETAIL_CHARS_MAX] or CODES[code][0])
    if len(told.pieces) > OUTPUTS_MAX:
        raise Refusal("kernel_failed", "the kernel's process answered nonsense")
    try:
        return [room.array(piece) for piece in told.pieces]
    except Refusal as refusal:
        raise Refusal("kernel_failed", refusal.sentence) from refusal


def _why_gone(status: int) -> tuple[str, str]:
    """Code and sentence for a child that ended without a word."""
    if not os.WIFSIGNALED(status):
        return "kernel_failed", "the kernel's process ended without a result"
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU:
        return "execution_timeout", "the kernel took more processor time than its limit"
    if number in {signal.SIGSEGV, signal.SIGBUS}:
        detail = "the kernel read or wrote outside of its arrays: check its indices (`hn.check`)"
        return "kernel_failed", detail
    if number == signal.SIGKILL:
        return "out_of_memory", "the kernel used more memory than its limit"
    return "kernel_failed", f"the kernel's process ended by {signal.Signals(number).name}"


def _bury(child: int, *, has_answered: bool) -> int:
    """Kill the child, wait for it; how it ended."""
    # Until it was waited for, its number is nobody else's.
    ended, status = os.waitpid(child, os.WNOHANG)
    for _ in range(0 if has_answered else _GRACE_MS):
        if ended:
            return status
        # It closed the pipe without a word: how it ends by itself is why.
        time.sleep(0.001)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return status


def _listen(
    reader: int, stop: int, ends_at: float, on_progress: Callable[[float], None] | None
) -> Told | None:
    """The child's last word; None if it ended without one."""
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    waiting.register(stop, select.POLLIN)
    heard = bytearray()
    while True:
        left_ms = 1000 * (ends_at - time.monotonic())
        ready = dict(waiting.poll(max(left_ms, 0)))
        if stop in ready:
            raise Stopped
        if not ready:
            raise Refusal("execution_timeout")
        piece = os.read(reader, _ANSWER_BYTES_MAX)
        heard += piece
        *lines, rest = heard.split(b"\n")
        for line in lines:
            told = _decoded(bytes(line))
            if told.status != "running":
                return told
            if on_progress is not None:
                on_progress(told.progress)
        heard = bytearray(rest)
        if not piece or len(heard) > _ANSWER_BYTES_MAX:
            return None


def _decoded(line: bytes) -> Told:
    try:
        return msgspec.json.decode(line, type=Told)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Told("failed", code="kernel_failed", detail="the kernel's process answered nonsense")


# ---- in the child -------------------------------------------------------------------------------


def _live(work: Work, bounds: Bounds, room: Room, reader: int, writer: int) -> NoReturn:
    """The child's whole life."""
    try:
        os.close(reader)
        writer = _leave_the_zygote(writer)
        confine(
            memory_bytes=bounds.memory_bytes,
            cpu_s=int(bounds.execution_s * (os.cpu_count() or 1)) + 1,
            readable=(sys.prefix, sys.base_prefix, *filter(os.path.isdir, sys.path)),
        )
        told = _work(work, room, _Teller(writer))
        _write(writer, told)
    except BaseException:  # noqa: BLE001 - nothing may return into the zygote's code
        with suppress(BaseException):
            traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _leave_the_zygote(writer: int) -> int:
    """Close everything but the pipe: the zygote's own input, output and log are not the child's.

    Returns:
        The pipe's new number.
    """
    kept = 3
    os.dup2(writer, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    return kept


def _work(work: Work, room: Room, tell: Callable[[float], None]) -> Told:
    try:
        work(room, tell)
    except Refusal as refusal:
        return Told("failed", code=refusal.code, detail=refusal.sentence[:_DETAIL_CHARS_MAX])
    except MemoryError:
        return Told("failed", code="out_of_memory", detail=CODES["out_of_memory"][0])
    except Exception as error:  # noqa: BLE001 - the task's failure, said in one line
        detail = f"the kernel failed: {type(error).__name__}: {error}"
        return Told("failed", code="kernel_failed", detail=detail[:_DETAIL_CHARS_MAX])
    return Told("done", pieces=tuple(room.pieces))


class _Teller:
    """Says how far the work is, seldom."""

    def __init__(self, writer: int) -> None:
        self._writer = writer
        self._next_at = time.monotonic() + PROGRESS_GAP_S

    def __call__(self, progress: float) -> None:
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + PROGRESS_GAP_S
            _write(self._writer, Told("running", progress=progress))


def _write(writer: int, told: Told) -> None:
    left = memoryview(msgspec.json.encode(told) + b"\n")
    while left:
        left = left[os.write(writer, left) :]
