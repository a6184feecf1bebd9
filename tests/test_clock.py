"""The house's time: what somebody does to the system's clock moves no deadline and no price."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from coordinator.clock import CLOCK_SLEW, SteadyClock

NOW_MS = 1_800_000_000_000
THREE_DAYS_MS = 3 * 24 * 3_600_000


class Machine:
    """A system clock and a monotonic one, moved by hand."""

    def __init__(self) -> None:
        self.system_ms = NOW_MS
        self.seconds = 12.5
        self.clock = SteadyClock(lambda: self.system_ms, lambda: self.seconds)

    def pass_ms(self, ms: int) -> None:
        self.seconds += ms / 1000
        self.system_ms += ms


def test_time_passes_as_the_system_says_while_nobody_sets_its_clock() -> None:
    machine = Machine()
    for _ in range(1000):
        machine.pass_ms(997)
        assert abs(machine.clock.wall_ms() - machine.system_ms) <= 1
    assert machine.clock.monotonic() == machine.seconds


@pytest.mark.parametrize("jump_ms", [THREE_DAYS_MS, -THREE_DAYS_MS])
def test_a_clock_that_is_set_by_three_days_moves_an_hour_by_seconds(jump_ms: int) -> None:
    machine = Machine()
    began = machine.clock.wall_ms()
    machine.system_ms += jump_ms
    assert machine.clock.wall_ms() == began
    machine.pass_ms(3_600_000)

    hour_ms = machine.clock.wall_ms() - began
    assert abs(hour_ms - 3_600_000) <= 3_600_000 * CLOCK_SLEW + 1
    assert abs(machine.clock.ahead_ms() + jump_ms) <= 3_601


def test_a_small_difference_is_followed_until_it_is_gone() -> None:
    machine = Machine()
    machine.system_ms += 500
    for _ in range(10):
        machine.pass_ms(60_000)
        machine.clock.wall_ms()

    assert abs(machine.clock.ahead_ms()) <= 1


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(-(10**9), 10**9)), max_size=30))
def test_whatever_happens_to_the_system_clock_time_never_falls_and_never_jumps(
    steps: list[tuple[int, int]],
) -> None:
    machine = Machine()
    before = machine.clock.wall_ms()
    for passed_ms, jump_ms in steps:
        machine.pass_ms(passed_ms)
        machine.system_ms += jump_ms
        now = machine.clock.wall_ms()
        assert now - before >= 0
        assert abs(now - before - passed_ms) <= passed_ms * CLOCK_SLEW + 1
        before = now
