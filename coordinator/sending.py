"""What waits for a peer leaves: at once where the system takes it, else as fast as the peer does.

One task sends for all peers (`Senders`): whatever was put while it slept leaves in one call a peer.
A peer that does not take it at once, or one under TLS, gets a task of its own: as long as it needs
one, so that thousands of idle peers have none.
Rules:
  1. Frames leave in the order in which they were put; one task at a time writes to a socket.
  2. Whatever goes wrong with one peer ends its conversation, and no other's.
  3. Past twice what a slow peer is allowed it must come back: `slow_reader`.
Why: a task and a wake-up a message cost as much as the message (measured).
Not here: what waits (outgoing), bytes and sockets (frame_stream), deadlines (conversation).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import trio

from coordinator.bell import Bell
from coordinator.frame_stream import FrameStream
from coordinator.limits import HELD_BYTES_MAX, SEND_S
from coordinator.metrics import Metrics
from coordinator.outgoing import Outgoing
from coordinator.protocol import messages as m
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.session import Session


class Sender(Protocol):
    """The house's side of one connection."""

    outgoing: Outgoing
    #: Why the connection must end once its queue is empty.
    broken: Refusal | None


class WebSocket(Protocol):
    """What is asked of the library's connection."""

    @property
    def closed(self) -> object:
        """Why it has been closed; None while it is open."""
        ...


class Senders:
    """The peers for which something waits, and the task that sends it."""

    def __init__(self) -> None:
        self._due: list[Sending] = []
        self._bell = Bell()

    def add(self, sending: Sending) -> None:
        """Something waits there."""
        self._due.append(sending)
        if len(self._due) == 1:
            self._bell.ring()

    async def run(self) -> None:
        """Send what waits, for ever."""
        while True:
            await self._bell.wait()
            due, self._due = self._due, []
            for sending in due:
                sending.send_now()


class Sending:
    """The sending side of one connection."""

    __slots__ = (
        *("_is_due", "_is_slow", "_link", "_metrics", "_nursery", "_parked", "_senders"),
        *("_session", "_stream", "_ws"),
    )

    def __init__(
        self,
        senders: Senders,
        metrics: Metrics,
        ws: WebSocket,
        stream: FrameStream,
        session: Session,
    ) -> None:
        self._senders = senders
        self._metrics = metrics
        self._ws = ws
        self._stream = stream
        self._session = session
        self._link: Sender | None = None
        self._nursery: trio.Nursery | None = None
        #: Whether the senders will come by; and whether a task of its own is at work.
        self._is_due = False
        self._is_slow = False
        #: That task, while it waits for more.
        self._parked: trio.lowlevel.Task | None = None

    # ---- one message, before the conversation ----------------------------------------------------

    async def send(self, message: m.AnyMessage) -> None:
        """Send one message.

        Raises:
            trio.TooSlowError: the peer does not take it.
        """
        self._put(message, b"")
        with trio.fail_after(SEND_S):
            await self._flush()

    def _put(self, message: m.AnyMessage, data: bytes) -> None:
        payload, is_text = self._session.send_payload(message, data)
        self._stream.put_payload(payload, is_text=is_text)
        self._metrics.ws_message(m.tag_of(type(message)), "out", len(payload))

    async def _flush(self) -> None:
        if self._ws.closed is not None:
            raise trio.ClosedResourceError
        await self._stream.flush()

    # ---- the conversation ------------------------------------------------------------------------

    def begin(self, link: Sender, nursery: trio.Nursery) -> None:
        """Send what waits in the link's queue from now on; what goes wrong ends the nursery."""
        self._link, self._nursery = link, nursery
        link.outgoing.on_more = self._note_more
        if link.outgoing or link.broken is not None:
            self._note_more()

    def end(self) -> None:
        """The conversation is over."""
        if self._link is not None:
            self._link.outgoing.on_more = None
            self._link = None

    def _note_more(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._senders.add(self)

    def send_answer(self) -> None:
        """Send what the task that listens has put, unless the senders come by anyway."""
        if not self._is_due:
            self.send_now()

    def send_now(self) -> None:
        """Send what waits; what is not taken at once leaves in a task of its own."""
        self._is_due = False
        if self._link is None or self._is_slow:
            return
        frames = self._link.outgoing.take()
        try:
            is_sent = self._send_at_once(frames)
        except Exception as error:  # noqa: BLE001 - of whatever kind: it ends this conversation
            self._fail(error)
            return
        if not is_sent:
            self._go_slow(frames)
        elif self._link.broken is not None:
            self._fail(self._link.broken)

    def _fail(self, error: Exception) -> None:
        # Nothing more leaves.
        self._is_slow = True
        self._start(_raise, error)

    def _send_at_once(self, frames: Iterator[tuple[m.AnyMessage, bytes]]) -> bool:
        """Whether the system has taken all of it; if not, the rest is still there."""
        stream = self._stream
        if not stream.is_plain or self._ws.closed is not None:
            return False
        for message, data in frames:
            self._put(message, data)
            if stream.held > HELD_BYTES_MAX and not stream.flush_now():
                return False
        return stream.flush_now()

    def _go_slow(self, frames: Iterator[tuple[m.AnyMessage, bytes]]) -> None:
        self._is_slow = True
        if self._parked is not None:
            task, self._parked = self._parked, None
            trio.lowlevel.reschedule(task)
        else:
            self._start(self._send_slowly, frames)

    def _start(self, task: Callable[[Any], Awaitable[None]], argument: object) -> None:
        assert self._nursery is not None
        # Between the end of a conversation and the moment that its task hears of it, the nursery
        # takes nothing more: neither does the peer.
        if not self._nursery.cancel_scope.cancel_called:
            self._nursery.start_soon(task, argument)

    async def _send_slowly(self, frames: Iterator[tuple[m.AnyMessage, bytes]]) -> None:
        """Send until nothing waits; under TLS for ever."""
        link = self._link
        assert link is not None, "who sends slowly has begun"
        outgoing = link.outgoing
        while True:
            for message, data in frames:
                self._put(message, data)
                if self._stream.held > HELD_BYTES_MAX:
                    await self._flush()
                    # More may come while these leave: who falls behind for good ends here.
                    if outgoing.is_overrun:
                        raise ProtocolError("slow_reader")
            await self._flush()
            if link.broken is not None:
                raise link.broken
            if not outgoing:
                self._is_slow = False
                if self._stream.is_plain:
                    return
                await self._park()
            frames = outgoing.take()

    async def _park(self) -> None:
        self._parked = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)


async def _raise(error: Exception) -> None:
    raise error
