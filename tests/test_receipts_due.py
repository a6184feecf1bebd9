"""Receipts leave after a while, in small messages, evenly: never all of them at one moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from coordinator import events as ev
from coordinator.limits import RECEIPT_BATCHES_TOGETHER_MAX as MOST, RECEIPTS_GAP_S
from coordinator.receipts_due import ROUND_S, ReceiptsDue
from coordinator.store.values import Receipt, ReceiptRoot


class Clock:
    """Trio's."""

    def monotonic(self) -> float:
        return trio.current_time()

    def wall_ms(self) -> int:
        return int(1000 * trio.current_time())


def batch(number: int, *nodes: int) -> ev.ReceiptsReady:
    receipts = tuple(
        Receipt(number, 1, node, bytes(32), number, index, b"") for index, node in enumerate(nodes)
    )
    return ev.ReceiptsReady(ReceiptRoot(number, len(nodes), bytes(32), bytes(64), 0), receipts, [])


class Sent:
    """What was sent: when, to whom, which batches."""

    def __init__(self) -> None:
        self.due = ReceiptsDue(Clock(), self._send)
        self.messages: list[tuple[float, int, list[int]]] = []

    def _send(self, node: int, batches: object) -> None:
        assert isinstance(batches, list)
        numbers = [ready.root.batch for ready in batches]
        self.messages.append((trio.current_time(), node, numbers))


@asynccontextmanager
async def sending() -> AsyncIterator[Sent]:
    async with trio.open_nursery() as nursery:
        made = Sent()
        nursery.start_soon(made.due.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_what_comes_within_the_gap_shares_a_message(autojump_clock: MockClock) -> None:
    async with sending() as sent:
        began = trio.current_time()
        for number in (1, 2, 3):
            sent.due.note(batch(number, 7))
            await trio.sleep(RECEIPTS_GAP_S / 4)
        await trio.sleep(RECEIPTS_GAP_S)

        ((at, node, numbers),) = sent.messages
        assert (node, numbers) == (7, [1, 2, 3])
        assert RECEIPTS_GAP_S <= at - began <= RECEIPTS_GAP_S + 2 * ROUND_S


async def test_each_node_has_its_own_moment(autojump_clock: MockClock) -> None:
    async with sending() as sent:
        sent.due.note(batch(1, 7))
        await trio.sleep(RECEIPTS_GAP_S / 2)
        sent.due.note(batch(2, 7, 8))
        await trio.sleep(2 * RECEIPTS_GAP_S)

        told = [(node, numbers) for _, node, numbers in sent.messages]
        assert told == [(7, [1, 2]), (8, [2])]
        (first, *_), (second, *_) = sent.messages
        assert second - first == pytest.approx(RECEIPTS_GAP_S / 2, abs=2 * ROUND_S)


async def test_a_full_message_does_not_wait_and_leaves_one_a_round(
    autojump_clock: MockClock,
) -> None:
    async with sending() as sent:
        began = trio.current_time()
        for number in range(2 * MOST + 1):
            sent.due.note(batch(number, 7))
        await trio.sleep(2 * RECEIPTS_GAP_S)

        assert [len(numbers) for *_, numbers in sent.messages] == [MOST, MOST, 1]
        moments = [at - began for at, *_ in sent.messages]
        assert moments[:2] == pytest.approx([ROUND_S, 2 * ROUND_S], abs=ROUND_S / 2)
        assert moments[2] > RECEIPTS_GAP_S


async def test_a_flush_leaves_nothing(autojump_clock: MockClock) -> None:
    async with sending() as sent:
        for number in range(MOST + 3):
            sent.due.note(batch(number, 7, 8))
        sent.due.flush()

        assert {node: len(numbers) for _, node, numbers in sent.messages} == {
            7: MOST + 3,
            8: MOST + 3,
        }
        await trio.sleep(2 * RECEIPTS_GAP_S)
        assert len(sent.messages) == 2
