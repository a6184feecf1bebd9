"""The stream below a WebSocket: whole frames, in order, in few calls, from several senders."""

from __future__ import annotations

import math
import socket

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from coordinator.frame_stream import FrameStream, head_of
from coordinator.limits import HELD_BYTES_MAX, READ_AHEAD_FRAMES_MAX


class Calls(trio.abc.SendStream):
    """A stream that notes each call, and lets it wait for `gate`."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.gate = trio.Event()
        self.gate.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))
        await self.gate.wait()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def over(calls: Calls) -> FrameStream:
    return FrameStream(trio.StapledStream(calls, trio.testing.MemoryReceiveStream()))


@given(st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 100_000]), st.booleans())
def test_a_head_is_the_one_that_wsproto_makes(size: int, is_text: bool) -> None:
    payload = "a" * size if is_text else b"a" * size
    expected = FrameProtocol(client=False, extensions=[]).send_data(payload, fin=True)

    assert head_of(size, is_text=is_text) == expected[: len(expected) - size]
    assert expected[0] & 0x0F == (Opcode.TEXT if is_text else Opcode.BINARY)


async def test_what_was_put_leaves_in_one_call() -> None:
    calls = Calls()
    stream = over(calls)

    stream.put("über")
    stream.put(b"\x00\x01")
    assert stream.held == 2 + 5 + 2 + 2
    await stream.flush()

    assert calls.calls == [b"\x81\x05" + "über".encode() + b"\x82\x02\x00\x01"]
    assert stream.held == 0


async def test_a_pong_goes_along_with_the_flush_that_is_under_way() -> None:
    calls = Calls()
    stream = over(calls)
    calls.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        stream.put("first")
        nursery.start_soon(stream.flush)
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(b"pong")
        stream.put("second")
        calls.gate.set()

    assert calls.calls == [b"\x81\x05first", b"pong\x81\x06second"]


async def test_who_only_asks_is_slowed_down_by_what_it_does_not_take() -> None:
    calls = Calls()
    stream = over(calls)
    calls.gate = trio.Event()
    pongs = 0

    async def pong() -> None:
        nonlocal pongs
        while True:
            await stream.send_all(bytes(1000))
            pongs += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pong)
        await trio.testing.wait_all_tasks_blocked()
        assert stream.held <= HELD_BYTES_MAX + 1000
        assert pongs <= HELD_BYTES_MAX // 1000 + 1
        nursery.cancel_scope.cancel()


async def tcp() -> tuple[FrameStream, socket.socket]:
    """A stream over a real connection with small buffers, and its other end."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    other.connect(listeners[0].socket.getsockname())
    inner = await listeners[0].accept()
    await listeners[0].aclose()
    return FrameStream(inner, b"GET / "), other


async def test_over_tcp_what_is_sent_arrives_and_what_arrives_is_read() -> None:
    stream, other = await tcp()
    with other:
        other.sendall(b"hello")
        assert await stream.receive_some(4) == b"GET "
        assert await stream.receive_some(99) == b"/ "
        assert await stream.receive_some(99) == b"hello"

        payload = bytes(range(256)) * 20_000  # more than the buffers of both ends
        heard = bytearray()

        async def hear() -> None:
            while len(heard) < 10 + len(payload):
                heard.extend(await trio.to_thread.run_sync(other.recv, 65_536))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            stream.put(payload)
            await stream.flush()
        assert heard[:2] == b"\x82\x7f"
        assert heard[10:] == payload

        other.shutdown(socket.SHUT_WR)
        assert await stream.receive_some(99) == b""
    await stream.aclose()


async def test_a_connection_that_broke_says_so_both_ways() -> None:
    stream, other = await tcp()
    await stream.receive_some(99)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    other.close()

    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some(99)
    with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - the first one may still pass
        for _ in range(2):
            stream.put(bytes(10))
            await stream.flush()

    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some(99)
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


async def test_since_when_a_peer_does_not_take_what_is_sent() -> None:
    calls = Calls()
    stream = over(calls)
    stream.put("quick")
    await stream.flush()
    assert stream.sending_since == math.inf

    calls.gate = trio.Event()
    began = trio.current_time()
    with trio.move_on_after(0.01):
        stream.put("slow")
        await stream.flush()
    # It was given up in the middle of a frame, and stays so.
    assert began <= stream.sending_since < trio.current_time()


class Flood(trio.abc.ReceiveStream):
    """A peer that sends small messages and a ping in each piece."""

    def __init__(self) -> None:
        self.pieces = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        self.pieces += 1
        return b"\x81\x80\0\0\0\0" * 100 + b"\x89\x80\0\0\0\0"

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_ping_in_each_piece_does_not_let_a_flood_pile_up() -> None:
    flood = Flood()
    stream = FrameStream(trio.StapledStream(Calls(), flood))
    stream.read_messages()

    with trio.move_on_after(0.2):
        while True:
            await stream.receive_some()

    assert flood.pieces == 1, "nobody takes the messages: no more is read"


# ---- messages that are acted upon where they are read -------------------------------------------


def _client_text(text: str) -> bytes:
    return bytes(FrameProtocol(client=True, extensions=[]).send_data(text, fin=True))


async def test_a_message_that_somebody_waits_for_is_offered_first_and_in_order() -> None:
    sender, inner = trio.testing.memory_stream_pair()
    stream = FrameStream(inner)
    stream.read_messages()
    offered: list[str | bytes] = []
    got: list[str | bytes | None] = []

    def take(message: str | bytes) -> bool:
        offered.append(message)
        return message != "wait"

    async def listen() -> None:
        while True:
            got.append(await stream.message())
            await trio.lowlevel.checkpoint()

    stream.on_message = take
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        await sender.send_all(b"".join(map(_client_text, ("a", "b", "wait", "c"))))
        await trio.testing.wait_all_tasks_blocked()
        # What is behind a message that waits is not offered: it must not overtake it.
        assert (offered, got) == (["a", "b", "wait"], ["wait", "c"])
        await sender.send_all(_client_text("d"))
        await trio.testing.wait_all_tasks_blocked()
        assert (offered[3:], got[2:]) == (["d"], [])
        nursery.cancel_scope.cancel()


async def test_a_flood_is_not_taken_in_at_one_go() -> None:
    sender, inner = trio.testing.memory_stream_pair()
    stream = FrameStream(inner)
    stream.read_messages()
    offered: list[str | bytes] = []
    stream.on_message = lambda message: not offered.append(message)  # type: ignore[func-returns-value]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        nursery.start_soon(stream.message)
        await trio.testing.wait_all_tasks_blocked()
        await sender.send_all(_client_text("x") * (3 * READ_AHEAD_FRAMES_MAX))
        await trio.testing.wait_all_tasks_blocked()
        assert len(offered) == READ_AHEAD_FRAMES_MAX
        nursery.cancel_scope.cancel()


async def test_what_is_not_taken_at_once_is_left_for_a_flush() -> None:
    stream, other = await tcp()
    with other:
        payload = bytes(HELD_BYTES_MAX) * 100
        stream.put(payload)
        assert not stream.flush_now()
        assert 0 < stream.held < len(payload)
        assert not stream.flush_now()

        heard = 0

        async def hear() -> None:
            nonlocal heard
            while heard < 10 + len(payload):
                heard += len(await trio.to_thread.run_sync(other.recv, 65_536))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            await stream.flush()
        assert (heard, stream.held) == (10 + len(payload), 0)
        stream.put(b"more")
        assert stream.flush_now()
    await stream.aclose()
