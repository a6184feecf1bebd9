from __future__ import annotations

from random import Random  # noqa: TID251 (seeded)

from hypothesis import given, strategies as st

from agent.backoff import Backoff
from coordinator.limits import RECONNECT_FIRST_S, RECONNECT_MAX_S


@given(seed=st.integers(0, 2**32), turns=st.integers(1, 50))
def test_no_wait_is_longer_than_its_ceiling_which_doubles_up_to_the_bound(
    seed: int, turns: int
) -> None:
    backoff = Backoff(Random(seed))
    ceiling = RECONNECT_FIRST_S

    for _ in range(turns):
        assert 0.0 <= backoff.next_s() <= ceiling
        ceiling = min(2 * ceiling, RECONNECT_MAX_S)


@given(seed=st.integers(0, 2**32))
def test_after_a_reset_the_first_wait_is_short_again(seed: int) -> None:
    backoff = Backoff(Random(seed))
    for _ in range(10):
        backoff.next_s()
    backoff.reset()

    assert backoff.next_s() <= RECONNECT_FIRST_S


def test_waits_use_the_whole_range_and_not_its_upper_half() -> None:
    rng = Random(1)
    waits = [Backoff(rng, first_s=1.0, max_s=1.0).next_s() for _ in range(1000)]

    assert min(waits) < 0.02
    assert max(waits) > 0.98
    assert 0.45 < sum(waits) / len(waits) < 0.55


def test_the_same_seed_waits_the_same() -> None:
    one, two = Backoff(Random(7)), Backoff(Random(7))

    assert [one.next_s() for _ in range(9)] == [two.next_s() for _ in range(9)]
