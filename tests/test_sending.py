"""What waits for peers leaves by one task; a peer that does not take it gets a task of its own."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordinator.frame_stream import FrameStream
from coordinator.limits import HELD_BYTES_MAX, OUTBOX_FRAMES_MAX
from coordinator.metrics import Metrics
from coordinator.outgoing import Outgoing
from coordinator.protocol import messages as m
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.session import Role, Session, State
from coordinator.sending import Senders, Sending

#: A text whose frame takes much of what a socket holds.
LARGE = "x" * 1_900


class Link:
    """The house's side of a connection that only sends."""

    def __init__(self) -> None:
        self.outgoing = Outgoing()
        self.broken: Refusal | None = None


class Peer:
    """A connection over a real pair of sockets, and what its peer has received."""

    def __init__(self, nursery: trio.Nursery, senders: Senders, *, is_plain: bool = True) -> None:
        ours, theirs = socket.socketpair()
        self.ours, self.theirs = _tcp(ours), theirs
        theirs.setblocking(False)
        inner: Any = trio.SocketStream(self.ours)
        self.stream = FrameStream(inner if is_plain else _Wrapped(inner))
        session = Session(Role.COORDINATOR)
        session._enter(State.NODE)
        ws: Any = SimpleNamespace(closed=None)
        self.link = Link()
        self.sending = Sending(senders, Metrics(version="test"), ws, self.stream, session)
        self.sending.begin(self.link, nursery)

    def received(self) -> int:
        """Bytes that have come since the last look."""
        size = 0
        while True:
            try:
                size += len(self.theirs.recv(1 << 20))
            except BlockingIOError:
                return size

    def close(self) -> None:
        self.sending.end()
        self.theirs.close()
        self.ours.close()


class _Wrapped(trio.abc.Stream):
    """Not a plain socket, as a stream under TLS is not."""

    def __init__(self, inner: trio.SocketStream) -> None:
        self._inner = inner

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _tcp(plain: socket.socket) -> trio.socket.SocketType:
    plain.setblocking(False)
    return trio.socket.from_stdlib_socket(plain)


@asynccontextmanager
async def peers(count: int = 1, *, is_plain: bool = True) -> AsyncIterator[list[Peer]]:
    senders = Senders()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(senders.run)
        made = [Peer(nursery, senders, is_plain=is_plain) for _ in range(count)]
        try:
            yield made
        finally:
            for peer in made:
                peer.close()
        nursery.cancel_scope.cancel()


@contextmanager
def ending(kind: type[Exception], match: str = "") -> Iterator[None]:
    """What goes wrong in here, somewhere in a group, is this."""
    with pytest.raises(BaseExceptionGroup) as caught:
        yield
    assert caught.group_contains(kind, match=match)


def tasks_of_ours() -> Iterator[str]:
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        yield task.name
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


async def test_what_was_put_meanwhile_leaves_in_one_piece_for_each_peer() -> None:
    async with peers(3) as (one, other, idle):
        one.link.outgoing.put(m.Ack("a"))
        one.link.outgoing.put(m.Ack("b"))
        other.link.outgoing.put(m.Ack("c"))
        await wait_all_tasks_blocked()

        assert one.received() > other.received() > 0
        assert not idle.received()
        assert not any("_send_slowly" in name for name in tasks_of_ours())


@pytest.mark.parametrize("is_plain", [True, False], ids=["plain", "wrapped"])
async def test_a_peer_that_reads_later_gets_all_of_it_and_no_task_is_left(is_plain: bool) -> None:
    async with peers(2, is_plain=is_plain) as (slow, quick):
        for _ in range(OUTBOX_FRAMES_MAX):
            slow.link.outgoing.put(m.Ack(LARGE))
        await wait_all_tasks_blocked()
        assert slow.stream.sending_since < math.inf
        assert slow.stream.held <= HELD_BYTES_MAX + 2_000
        quick.link.outgoing.put(m.Ack("q"))
        await wait_all_tasks_blocked()
        assert quick.received()

        received = 0
        while slow.link.outgoing or slow.stream.held or slow.stream.sending_since < math.inf:
            received += slow.received()
            await wait_all_tasks_blocked()
        received += slow.received()
        assert received > OUTBOX_FRAMES_MAX * len(LARGE)
        slow.link.outgoing.put(m.Ack("later"))
        await wait_all_tasks_blocked()
        assert slow.received()
        assert any("_send_slowly" in name for name in tasks_of_ours()) == (not is_plain)


async def test_an_answer_waits_for_whoever_listens() -> None:
    async with peers() as (peer,):
        peer.link.outgoing.answer(m.Ack())
        await wait_all_tasks_blocked()
        assert not peer.received()
        peer.sending.send_answer()
        assert peer.received()


async def test_a_refusal_ends_the_conversation_behind_what_waits() -> None:
    with ending(Refusal, "superseded"):
        async with peers() as (peer,):
            peer.link.outgoing.put(m.Ack("last words"))
            peer.link.broken = Refusal("superseded")
            peer.link.outgoing.stop()
            await trio.sleep(1)


async def test_what_may_not_be_sent_ends_this_conversation_only() -> None:
    async with peers() as (healthy,):
        with ending(ProtocolError, "out_of_order"):
            async with trio.open_nursery() as nursery:
                bad = Peer(nursery, healthy.sending._senders)
                bad.link.outgoing.put(m.Opened("", "wallet", ""))
                healthy.link.outgoing.put(m.Ack())
                await trio.sleep(1)
        await wait_all_tasks_blocked()
        assert healthy.received()
        bad.close()


async def test_who_falls_behind_for_good_is_told_so() -> None:
    with ending(ProtocolError, "slow_reader"):
        async with peers() as (slow,):
            for _ in range(OUTBOX_FRAMES_MAX):
                slow.link.outgoing.put(m.Ack(LARGE))
            await wait_all_tasks_blocked()
            for _ in range(2 * OUTBOX_FRAMES_MAX + 1):
                slow.link.outgoing.put(m.Ack())
            while True:
                slow.received()
                await wait_all_tasks_blocked()


async def test_a_peer_that_is_gone_ends_its_conversation() -> None:
    with ending(trio.BrokenResourceError):
        async with peers() as (peer,):
            peer.theirs.close()
            peer.link.outgoing.put(m.Ack())
            await trio.sleep(1)


@pytest.mark.parametrize("is_plain", [True, False], ids=["plain", "wrapped"])
async def test_what_is_put_behind_the_end_harms_nobody(is_plain: bool) -> None:
    async with peers() as (healthy,):
        senders = healthy.sending._senders
        async with trio.open_nursery() as nursery:
            over = Peer(nursery, senders, is_plain=is_plain)
            nursery.cancel_scope.cancel()
        # Its task has not been told yet that the nursery is closed.
        for _ in range(OUTBOX_FRAMES_MAX):
            over.link.outgoing.put(m.Ack(LARGE))
        over.link.broken = Refusal("superseded")
        healthy.link.outgoing.put(m.Ack())
        await wait_all_tasks_blocked()
        assert healthy.received()
        over.close()
