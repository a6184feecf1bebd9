"""Counting where it happens ten times for each job: plain numbers, told to Prometheus when it asks.

`prometheus_client` takes a lock and walks its buckets at each observation: a microsecond, twenty
times a job. These count on Trio's thread alone, and are read there too.
Not covered: counting from another thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Distribution(Collector):
    """A histogram."""

    def __init__(self, name: str, said: str, bounds: Sequence[float]) -> None:
        """Make an empty one.

        Args:
            name: Of the metric.
            said: What it counts.
            bounds: Upper bounds of the buckets, ascending, below a million (whose text would need
                an exponent); what is above falls into `+Inf`.
        """
        assert bounds[-1] < 1e6
        self._name = name
        self._said = said
        self._bounds = tuple([float(bound) for bound in bounds])
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[HistogramMetricFamily]:
        bounds = [*(str(bound) for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._said, buckets, self._sum)


class LabelTally(Collector):
    """A counter by one label, of few values."""

    def __init__(self, name: str, said: str, label: str, values: Sequence[str]) -> None:
        """Make one that is 0 for these values, and counts no other."""
        self._name = name
        self._said = said
        #: As the client's own collectors have it: for the page that lists them.
        self._labelnames = (label,)
        self._counts = dict.fromkeys(values, 0)

    def count(self, value: str) -> None:
        """Count one of a value."""
        self._counts[value] += 1

    def collect(self) -> Iterable[CounterMetricFamily]:
        counter = CounterMetricFamily(self._name, self._said, labels=self._labelnames)
        for value, count in self._counts.items():
            counter.add_metric((value,), count)
        yield counter


class MessageTally(Collector):
    """Messages and their bytes, by type and direction."""

    #: As the client's own collectors have it: for the page that lists them.
    _labelnames = ("type", "dir")

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}

    def count(self, message_type: str, direction: str, size_bytes: int) -> None:
        """Count one message of a known type (its tag, from the decoder)."""
        key = message_type, direction
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0, 0]
        counts[0] += 1
        counts[1] += size_bytes

    def collect(self) -> Iterable[CounterMetricFamily]:
        labels = self._labelnames
        messages = CounterMetricFamily("hypernode_ws_messages", "Messages.", labels=labels)
        sizes = CounterMetricFamily("hypernode_ws_bytes", "Bytes of frames.", labels=labels)
        for key, (count, size) in self._counts.items():
            messages.add_metric(key, count)
            sizes.add_metric(key, size)
        yield messages
        yield sizes
