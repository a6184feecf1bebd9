"""Frames between the agent and its warm workers, over a pair of pipes.

In, out: u32 little-endian length of the header | header, JSON | raw data, `data_bytes` of them.
Rules:
  1. A header has at most 64 KiB; data have at most what the reader asked for.
  2. A worker that breaks a rule is `WorkerGone`: the agent ends it.
  3. One request, one reply; a cancellation is no request: the task that it ends replies.
Not here: what the frames mean (`worker_process.py`, `warm_worker.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Annotated, BinaryIO, Final, NamedTuple, TypeVar

import msgspec
import trio

from coordinator.limits import KIB, MIB, OUTPUT_BYTES_MAX
from coordinator.protocol.arrays import AnyArray, to_numpy

HEADER_BYTES_MAX: Final = 64 * KIB
#: One read of a pipe; a pipe holds 64 KiB unless it was enlarged.
_READ_BYTES: Final = 1 * MIB
_LENGTH: Final = struct.Struct("<I")


class InputHeader(msgspec.Struct, frozen=True):
    """One input among the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data_bytes: int


class TaskHeader(msgspec.Struct, frozen=True, tag="task"):
    """To a worker: run this; the data are the kind's parameters as JSON, then the inputs'."""

    kind: str
    #: All outputs together, bytes.
    output_bytes: int
    #: Of the parameters.
    data_bytes: int
    #: What a stranger's kernel may take; our own kinds are bounded from outside.
    memory_bytes: int = 0
    execution_s: float = 0.0
    inputs: tuple[InputHeader, ...] = ()


class CancelHeader(msgspec.Struct, frozen=True, tag="cancel"):
    """To a worker: end the task that you run; without one it means nothing."""


class OutputHeader(msgspec.Struct, frozen=True):
    """One output among the data."""

    dtype: str
    shape: tuple[int, ...]
    data_bytes: int


class ReplyHeader(msgspec.Struct, frozen=True):
    """From a worker: that it is ready, how far a task is, what became of it; the data: outputs."""

    #: `ready`, `running`, `completed`, `failed` or `cancelled`.
    status: str
    code: str = ""
    detail: str = ""
    outputs: tuple[OutputHeader, ...] = ()
    #: Merkle root of the outputs, hexadecimal.
    root: str = ""
    duration_ms: int = 0
    data_bytes: int = 0
    #: How far a running task is.
    progress: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0


Header = TypeVar("Header", TaskHeader, ReplyHeader)


class WorkerGone(Exception):
    """The worker ended, or broke the rules of the frames."""


def head(header: TaskHeader | CancelHeader | ReplyHeader) -> bytes:
    """What comes before the data."""
    encoded = msgspec.json.encode(header)
    assert len(encoded) <= HEADER_BYTES_MAX
    return _LENGTH.pack(len(encoded)) + encoded


class TaskFrame(NamedTuple):
    """A task as it came."""

    header: TaskHeader
    params: bytes
    #: The inputs' raw data, in the header's order.
    inputs: tuple[bytearray, ...]

    def arrays(self) -> dict[str, AnyArray]:
        """The inputs by name, read-only views of their data."""
        return {
            each.name: to_numpy(each.dtype, each.shape, memoryview(data))
            for each, data in zip(self.header.inputs, self.inputs, strict=True)
        }


def read_task(stream: BinaryIO) -> TaskFrame | None:
    """The next task of a worker; None when the agent closed the pipe.

    Args:
        stream: Without a buffer of its own: a worker looks at the descriptor to learn whether it
            is to stop, and what a buffer had read ahead would not be seen there.
    """
    while True:
        length = _read_exactly(stream, _LENGTH.size)
        if len(length) < _LENGTH.size:
            return None
        encoded = _read_exactly(stream, _LENGTH.unpack(length)[0])
        header = msgspec.json.decode(encoded, type=TaskHeader | CancelHeader)
        # A cancellation that crossed its task's reply comes too late, and does nothing.
        if isinstance(header, TaskHeader):
            params = _read_exactly(stream, header.data_bytes)
            inputs = tuple([_read_whole(stream, each.data_bytes) for each in header.inputs])
            return TaskFrame(header, params, inputs)


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or those before the end."""
    data = bytearray()
    while len(data) < size and (piece := stream.read(size - len(data))):
        data += piece
    return bytes(data)


def _read_whole(stream: BinaryIO, size: int) -> bytearray:
    """So many bytes into memory that is taken once: the inputs of a job are large.

    Raises:
        EOFError: the agent ended in the middle of them.
    """
    data = bytearray(size)
    with memoryview(data) as view:
        done = 0
        while done < size:
            count = stream.readinto(view[done : done + _READ_BYTES])  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            done += count
    return data


class ReplyReader:
    """Replies of one worker; a cancelled read loses nothing."""

    def __init__(self, stream: trio.lowlevel.FdStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def read(
        self,
        data_bytes_max: int = OUTPUT_BYTES_MAX,
        on_progress: Callable[[float], None] | None = None,
    ) -> tuple[ReplyHeader, memoryview]:
        """The next reply; on the way to it, how far the task is.

        Raises:
            WorkerGone: The worker ended, or what it sent is no reply.
        """
        header, end = await self._header()
        while header.status == "running":
            del self._buffer[:end]
            if on_progress is not None:
                on_progress(header.progress)
            header, end = await self._header()
        if not 0 <= header.data_bytes <= data_bytes_max:
            detail = "more data than were asked for"
            raise WorkerGone(detail)
        await self._fill(end + header.data_bytes)
        whole, self._buffer = self._buffer, bytearray()
        # One request, one reply: there is nothing behind it.
        if len(whole) != end + header.data_bytes:
            detail = "something behind a reply"
            raise WorkerGone(detail)
        return header, memoryview(whole)[end:]

    async def _header(self) -> tuple[ReplyHeader, int]:
        """The header at the beginning of the buffer, and where it ends there."""
        await self._fill(_LENGTH.size)
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > HEADER_BYTES_MAX:
            detail = "a header beyond its limit"
            raise WorkerGone(detail)
        start = _LENGTH.size + length
        await self._fill(start)
        try:
            header = msgspec.json.decode(
                memoryview(self._buffer)[_LENGTH.size : start], type=ReplyHeader
            )
        except msgspec.DecodeError as error:
            raise WorkerGone(str(error)) from error
        return header, start

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            try:
                piece = await self._stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise WorkerGone(str(error)) from error
            if not piece:
                detail = "the worker ended"
                raise WorkerGone(detail)
            self._buffer += piece
