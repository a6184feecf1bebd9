"""Cycles are freed in quiet moments, and in no others."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from coordinator.garbage import LOOK_AGAIN_S, LOOK_EVERY_S, NEW_OBJECTS_MIN, collect_when_quiet


class Knot:
    """Refers to itself: only a search frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def by_hand() -> Iterator[None]:
    """Python does not look by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def kept() -> list[list[int]]:
    """As many new objects as are worth a search; more than what goes meanwhile."""
    return []


@pytest.mark.usefixtures("by_hand")
async def test_a_search_waits_for_a_quiet_moment(
    kept: list[list[int]], nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    is_quiet = False
    nursery.start_soon(collect_when_quiet, lambda: is_quiet)
    await trio.testing.wait_all_tasks_blocked()
    gone = weakref.ref(Knot())
    kept += [[] for _ in range(2 * NEW_OBJECTS_MIN)]

    mock_clock.jump(LOOK_EVERY_S)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(LOOK_AGAIN_S)
    await trio.testing.wait_all_tasks_blocked()
    assert gone() is not None, "somebody waits"

    is_quiet = True
    mock_clock.jump(LOOK_AGAIN_S)
    await trio.testing.wait_all_tasks_blocked()
    assert gone() is None
    assert gc.get_count()[0] < NEW_OBJECTS_MIN
    nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("by_hand")
async def test_a_few_objects_are_not_worth_a_search(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    gone = weakref.ref(Knot())
    assert gc.get_count()[0] < NEW_OBJECTS_MIN
    nursery.start_soon(collect_when_quiet, lambda: True)
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(LOOK_EVERY_S)
    assert gone() is not None
    nursery.cancel_scope.cancel()
