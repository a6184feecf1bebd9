"""Token buckets: how often one key may ask.

In:   a key and the time in monotonic seconds.
Out:  0.0 when the key may go on, else the seconds after which it may.
Rules:
  1. A key never gets more than `burst + rate * t` yeses in any t seconds.
  2. A refusal costs nothing: whoever waits as told gets through.
  3. At most `keys_max` keys are remembered; the one that asked longest ago is forgotten.
Not here: what a key is (`admission.network_of`, a wallet), and what a refusal looks like (`door`).
Not covered: a flood from more addresses than `keys_max`; each of them begins with a full bucket.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from coordinator.limits import RATE_KEYS_MAX


class RateLimiter:
    """One bucket a key, all of one size."""

    def __init__(self, rate: float, burst: int, *, keys_max: int = RATE_KEYS_MAX) -> None:
        """Set the size of the buckets.

        Args:
            rate: Tokens a second that flow into each bucket, > 0.
            burst: Tokens that a bucket holds, at least 1.
            keys_max: Keys that are remembered, at least 1.
        """
        assert rate > 0, rate
        assert burst >= 1, burst
        assert keys_max >= 1, keys_max
        self._rate = rate
        self._burst = float(burst)
        self._keys_max = keys_max
        #: Key to (tokens, time of that count), the key that asked last at the end.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, key: str, now: float) -> float:
        """Take a token of `key`.

        Args:
            key: Who asks.
            now: Monotonic time, seconds; a time before the last one counts as the last one.

        Returns:
            0.0 if there was a token, else the seconds until there is one.
        """
        tokens, then = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + max(now - then, 0.0) * self._rate)
        is_allowed = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if is_allowed else tokens, max(now, then))
        if len(self._buckets) > self._keys_max:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1.0 - tokens) / self._rate


class Bucket:
    """One key's bucket, for who keeps it: the same rules as `RateLimiter`, without the search."""

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, rate: float, burst: int) -> None:
        assert rate > 0, rate
        assert burst >= 1, burst
        self._rate = rate
        self._burst = self._tokens = float(burst)
        self._then = -math.inf

    def allow(self, now: float) -> float:
        """Take a token: 0.0 if there was one, else the seconds until there is."""
        if now > self._then:
            self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
            self._then = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate
