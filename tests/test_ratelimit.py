"""Token buckets: exact counts on a clock that the test owns."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from coordinator.ratelimit import Bucket, RateLimiter


def test_a_burst_passes_and_the_next_request_waits() -> None:
    limiter = RateLimiter(2.0, 3)

    answers = [limiter.allow("a", 0.0) for _ in range(4)]

    assert answers == [0.0, 0.0, 0.0, 0.5]


def test_whoever_waits_as_told_gets_through() -> None:
    limiter = RateLimiter(2.0, 1)
    limiter.allow("a", 0.0)
    wait = limiter.allow("a", 0.0)

    assert limiter.allow("a", wait) == 0.0


def test_a_refusal_does_not_make_the_wait_longer() -> None:
    limiter = RateLimiter(1.0, 1)
    limiter.allow("a", 0.0)

    assert [limiter.allow("a", 0.25) for _ in range(3)] == [0.75] * 3


def test_one_key_does_not_spend_another_ones_tokens() -> None:
    limiter = RateLimiter(1.0, 1)
    limiter.allow("a", 0.0)

    assert limiter.allow("b", 0.0) == 0.0


def test_the_key_that_asked_longest_ago_is_forgotten() -> None:
    limiter = RateLimiter(0.001, 1, keys_max=2)
    for key in ("a", "b", "a", "c"):
        limiter.allow(key, 0.0)

    assert len(limiter) == 2
    assert limiter.allow("a", 0.0) > 0, "a asked after b: it is remembered"
    assert limiter.allow("b", 0.0) == 0.0, "b was forgotten"


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    limiter = RateLimiter(1.0, 1)
    limiter.allow("a", 10.0)
    limiter.allow("a", 0.0)

    assert limiter.allow("a", 10.0) == pytest.approx(1.0)


@given(
    st.floats(0.1, 50.0),
    st.integers(1, 20),
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60),
)
def test_a_key_never_gets_more_than_its_burst_and_its_rate(
    rate: float, burst: int, gaps: list[float]
) -> None:
    limiter = RateLimiter(rate, burst)
    now, allowed = 0.0, 0
    for gap in gaps:
        now += gap
        allowed += limiter.allow("a", now) == 0.0

        assert allowed <= burst + rate * now + 1e-6


@given(
    st.floats(0.1, 50.0),
    st.integers(1, 20),
    st.lists(st.floats(-1.0, 3.0), min_size=1, max_size=60),
)
def test_a_bucket_alone_is_the_bucket_of_one_key(
    rate: float, burst: int, gaps: list[float]
) -> None:
    bucket, limiter = Bucket(rate, burst), RateLimiter(rate, burst)
    now = 100.0
    for gap in gaps:
        now += gap

        assert bucket.allow(now) == pytest.approx(limiter.allow("a", now))
