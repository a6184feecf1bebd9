"""A bell wakes the one who waits, and no ring is lost."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordinator.bell import Bell


async def test_a_ring_that_came_first_is_heard_once() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()

    await bell.wait()
    with trio.move_on_after(0.01) as silence:
        await bell.wait()
    assert silence.cancelled_caught


async def test_who_waits_is_woken_and_who_gave_up_is_not() -> None:
    bell, heard = Bell(), []

    async def listen() -> None:
        await bell.wait()
        heard.append("woken")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    bell.ring()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)

    assert heard == ["woken"]


async def test_two_who_wait_are_a_mistake() -> None:
    bell = Bell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bell.wait)
        await wait_all_tasks_blocked()
        with pytest.raises(AssertionError):
            await bell.wait()
        bell.ring()
