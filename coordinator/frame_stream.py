"""The stream below a WebSocket: its first bytes were read already, and small frames leave together.

In:   the peer's stream, and the head that was read from it; messages, as frames of a server.
Out:  a `trio.abc.Stream` for trio-websocket, which shakes hands, answers pings, closes, and reads
      whatever is not plain (`frame_reader`); plain messages.
Rules:
  1. Frames gather (`put`) until `flush` lets them go in as few calls as the system takes: one call
     costs as much as ten small frames. Each is put in whole, so nobody's frame tears another's.
  2. One task flushes at a time. Whoever else sends meanwhile (a pong) leaves its bytes to it, and
     waits for it once `HELD_BYTES_MAX` have gathered: a peer that only asks cannot fill memory.
  3. On a plain socket the system is called directly: it is asked to read when there is something to
     read, and Trio's own wrapper around each call is left out (measured: a quarter of a message).
  4. Pings and small fragments beyond `frame_meter`'s rate wait before they are read on.
Not here: what a peer may send (trio-websocket), deadlines (conversation).
Not covered: a flush has no checkpoint where the system takes all at once; who sends has others.
"""

from __future__ import annotations

import math
import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from coordinator.frame_meter import FrameMeter
from coordinator.frame_reader import FrameReader, Message
from coordinator.limits import HELD_BYTES_MAX, READ_AHEAD_FRAMES_MAX

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")


class FrameStream(trio.abc.Stream):
    """Gives back `head`, then reads on from `inner`; gathers what is sent."""

    __slots__ = (
        *("_flushed", "_head", "_held", "_in_a_row", "_inner", "_is_early", "_is_over", "_later"),
        *("_messages", "_meter", "_plain", "_reader", "_room", "_waiting"),
        *("on_message", "sending_since"),
    )

    def __init__(self, inner: trio.abc.Stream, head: bytes = b"") -> None:
        self._inner = inner
        self._head = head
        end = _HEAD_END.search(head)
        #: Whether something came after the head of the request, before it was answered.
        self._is_early = end is not None and end.end() < len(head)
        #: Reads plain messages, once they are asked for.
        self._reader: FrameReader | None = None
        #: No queue of its own while it is empty: one is 760 bytes.
        self._messages: deque[Message] | None = None
        #: Who waits for a message, and for room for more of them.
        self._waiting: trio.lowlevel.Task | None = None
        self._room: trio.Event | None = None
        #: Called with a message that somebody waits for, before that task is woken: whether the
        #: message is done with.
        self.on_message: Callable[[Message], bool] | None = None
        self._is_over = False
        #: Messages that were taken without a wait.
        self._in_a_row = 0
        self._plain = inner if isinstance(inner, trio.SocketStream) else None
        self._held = bytearray()
        self._meter = FrameMeter()
        #: What came too fast, to be given later.
        self._later: bytes | bytearray = b""
        #: Since when the peer has not taken what is being sent; else infinite. It stays if a send
        #: did not end well: then a frame is torn, and nothing more can be said.
        self.sending_since = math.inf
        #: Set when the flush that is under way has ended; None while there is none.
        self._flushed: trio.Event | None = None

    @property
    def held(self) -> int:
        """Bytes that wait for a flush."""
        return len(self._held)

    # ---- reading -------------------------------------------------------------------------------

    def read_messages(self) -> None:
        """Plain messages are to be had from `message` from now on: before the peer is accepted.

        Not of a peer that speaks before it is answered: its first words are the library's already.
        """
        if not self._is_early:
            self._reader = FrameReader()

    async def message(self) -> Message | None:
        """The next plain message; None once the library has the rest: ask it from then on.

        Cancelled, it has taken nothing.
        """
        if self._messages:
            self._in_a_row += 1
            if self._in_a_row > READ_AHEAD_FRAMES_MAX:
                # Nobody's flood of small messages keeps everybody else waiting.
                self._in_a_row = 0
                await trio.lowlevel.checkpoint()
        elif self._is_library_next:
            return None
        else:
            # Here and not in a function of its own: an idle peer holds each frame of this wait.
            self._in_a_row = 0
            self._waiting = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
            if not self._messages:
                return None
        if self._room is not None:
            self._room.set()
        message = self._messages.popleft()
        if not self._messages:
            self._messages = None
        return message

    def _give_up(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    @property
    def _is_library_next(self) -> bool:
        return self._is_over or self._reader is None or not self._reader.is_plain

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Bytes for the library: a peer's plain messages are not among them."""
        size = HELD_BYTES_MAX if max_bytes is None else max_bytes
        while True:
            data = self._later or await self._for_library(size)
            count, wait_s = self._meter.admit(data, trio.current_time())
            self._later = data[count:]
            if count or not data:
                return data[:count]
            await trio.sleep(wait_s)

    async def _for_library(self, size: int) -> bytes | bytearray:
        if self._head:
            await trio.lowlevel.checkpoint()
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        try:
            while True:
                # Before each read, whoever got the last one: a ping does not let a flood pass.
                while len(self._messages or ()) >= READ_AHEAD_FRAMES_MAX:
                    self._room = trio.Event()
                    await self._room.wait()
                if self._plain is None:
                    data = await self._inner.receive_some(size)
                else:
                    data = await self._read(self._plain, size)
                if not data or self._reader is None:
                    self._is_early = bool(data)
                    break
                data = self._take_in(data)
                self._wake()
                if data:
                    return data
        except BaseException:
            self._end()
            raise
        if not data:
            self._end()
        return data

    def _take_in(self, data: bytes | bytearray) -> bytes:
        assert self._reader is not None
        messages, passed = self._reader.feed(data)
        left = messages[self._hand_on(messages) :]
        if self._messages is not None:
            self._messages.extend(left)
        elif left:
            self._messages = deque(left)
        return passed

    def _hand_on(self, messages: Sequence[Message]) -> int:
        """How many of the messages, the first ones, are done with.

        No more at once than are read ahead: a flood of small ones has its checkpoints (`message`).
        """
        done = 0
        if self.on_message is not None and self._waiting is not None and not self._messages:
            most = min(len(messages), READ_AHEAD_FRAMES_MAX)
            while done < most and self.on_message(messages[done]):
                done += 1
        return done

    def _wake(self) -> None:
        if self._waiting is not None and (self._messages or self._is_library_next):
            task, self._waiting = self._waiting, None
            trio.lowlevel.reschedule(task)

    def _end(self) -> None:
        self._is_over = True
        self._wake()

    async def _read(self, plain: trio.SocketStream, size: int) -> bytes:
        while True:
            descriptor = plain.socket.fileno()
            if descriptor < 0:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(descriptor)
            try:
                return os.read(descriptor, size)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    # ---- sending -------------------------------------------------------------------------------

    def put(self, message: str | bytes) -> None:
        """Let one message wait for the next flush: text as text, bytes as binary."""
        is_text = isinstance(message, str)
        self.put_payload(message.encode() if isinstance(message, str) else message, is_text=is_text)

    def put_payload(self, payload: bytes, *, is_text: bool) -> None:
        """Let one message's bytes wait for the next flush."""
        self._held += head_of(len(payload), is_text=is_text)
        self._held += payload

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._held += data
        await self.flush()

    @property
    def is_plain(self) -> bool:
        """Whether `flush_now` may do: a socket without TLS."""
        return self._plain is not None

    def flush_now(self) -> bool:
        """Send what waits, if the system takes it at once; else `flush` is to be called."""
        if not self._held:
            return True
        if self._flushed is not None or self._plain is None:
            return False
        descriptor = self._plain.socket.fileno()
        if descriptor < 0:
            return False
        try:
            sent = os.write(descriptor, self._held)
        except OSError:
            # No room, or an end: `flush` meets it again, and waits or tells.
            return False
        if sent == len(self._held):
            self._held = bytearray()
            return True
        del self._held[:sent]
        return False

    async def flush(self) -> None:
        """Send what waits."""
        if self._flushed is not None:
            # Somebody sends already, and takes ours along.
            if len(self._held) > HELD_BYTES_MAX:
                await self._flushed.wait()
            return
        self._flushed = trio.Event()
        try:
            while self._held:
                data, self._held = self._held, bytearray()
                self.sending_since = trio.current_time()
                await self._send(data)
            self.sending_since = math.inf
        finally:
            self._flushed.set()
            self._flushed = None

    async def _send(self, data: bytearray) -> None:
        plain = self._plain
        if plain is None:
            await self._inner.send_all(data)
            return
        view = memoryview(data)
        while view:
            descriptor = plain.socket.fileno()
            if descriptor < 0:
                raise trio.ClosedResourceError
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(descriptor)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


def head_of(size: int, *, is_text: bool) -> bytes:
    """The head of an unfragmented frame of a server (RFC 6455, 5.2): final, not masked."""
    first = 0x81 if is_text else 0x82
    if size < 126:
        return bytes((first, size))
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")
