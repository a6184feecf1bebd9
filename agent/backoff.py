"""How long to wait before the next connection: full jitter.

In:   a seeded generator of the caller's.
Out:  a random time from zero to a ceiling that doubles with each failure.
Why:  after a restart of the coordinator all agents come back; with full jitter their second tries
spread over the whole ceiling instead of meeting again.
Source: "Exponential Backoff And Jitter", AWS Architecture Blog (full jitter: least work in all).
"""

from __future__ import annotations

from random import Random  # noqa: TID251 (the caller's seeded generator, as a type)

from coordinator.limits import RECONNECT_FIRST_S, RECONNECT_MAX_S


class Backoff:
    """Waiting times of one caller."""

    def __init__(
        self, rng: Random, *, first_s: float = RECONNECT_FIRST_S, max_s: float = RECONNECT_MAX_S
    ) -> None:
        assert 0 < first_s <= max_s
        self._rng = rng
        self._first_s = first_s
        self._max_s = max_s
        self._ceiling_s = first_s

    def next_s(self) -> float:
        """The time to wait now, s; the ceiling of the next one is twice as high."""
        wait_s = self._rng.uniform(0.0, self._ceiling_s)
        self._ceiling_s = min(self._ceiling_s * 2, self._max_s)
        return wait_s

    def reset(self) -> None:
        """Begin anew: the last connection was a good one."""
        self._ceiling_s = self._first_s
