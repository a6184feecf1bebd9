"""Our own counting gives the page that Prometheus' client gives for the same values."""

from __future__ import annotations

from hypothesis import given, strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from coordinator.tallies import Distribution, LabelTally, MessageTally

BOUNDS = (0.001, 0.5, 1.0, 30.0)


def page(registry: CollectorRegistry) -> list[str]:
    """The lines of values; the client adds when each thing was made."""
    text = generate_latest(registry).decode()
    return sorted(line for line in text.splitlines() if "_created" not in line)


@given(st.lists(st.sampled_from([0.0, 0.001, 0.4, 0.5, 1.0, 29.9, 30.0, 31.0, 1e6]), max_size=30))
def test_a_tally_is_a_histogram(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Distribution("waits_seconds", "Waits.", BOUNDS)
    ours.register(tally)
    histogram = Histogram("waits_seconds", "Waits.", buckets=BOUNDS, registry=theirs)
    for value in values:
        tally.observe(value)
        histogram.observe(value)

    assert page(ours) == page(theirs)


def test_messages_are_two_counters() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = MessageTally()
    ours.register(tally)
    labels = ("type", "dir")
    messages = Counter("hypernode_ws_messages", "Messages.", labels, registry=theirs)
    sizes = Counter("hypernode_ws_bytes", "Bytes of frames.", labels, registry=theirs)
    for kind, direction, size in (("jobs", "out", 10), ("ack", "in", 3), ("jobs", "out", 5)):
        tally.count(kind, direction, size)
        messages.labels(kind, direction).inc()
        sizes.labels(kind, direction).inc(size)

    assert page(ours) == page(theirs)


def test_a_tally_by_one_label_is_a_counter() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = LabelTally("ends", "Ends.", "how", ("well", "badly"))
    ours.register(tally)
    counter = Counter("ends", "Ends.", ("how",), registry=theirs)
    counter.labels("badly")
    for how in ("well", "well"):
        tally.count(how)
        counter.labels(how).inc()

    assert page(ours) == page(theirs)
