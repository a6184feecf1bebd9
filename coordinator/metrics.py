"""What Prometheus reads: counters, gauges and histograms of this process, in a registry of our own.

Rules:
  1. Labels are bounded: states, codes, message types, scopes. Never a wallet, a node, an address.
  2. `hypernode_ledger_imbalance` is 0 or the books are wrong: alert on it.
  3. Units are base units of SI, in the names: seconds, bytes.
Not covered: the agent's own numbers, settlement, backups.
Source: names after Prometheus' own rules (prefix, unit, `_total`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from coordinator.protocol.errors import CODES
from coordinator.store.values import JobState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: Seconds between two looks at the event loop.
LAG_INTERVAL_S: Final = 0.25

#: A job's stages take from a millisecond to hours.
_STAGE_S: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0)
#: Dispatch and commits take from a tenth of a millisecond to a bad second.
_STEP_S: Final = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)

_JOB_STATES: Final = frozenset(state.value for state in JobState)

Direction: TypeAlias = Literal["in", "out"]
Outcome: TypeAlias = Literal["completed", "failed", "cancelled"]


class Metrics:
    """Everything that is counted. Attributes without labels are used as Prometheus gives them."""

    def __init__(self, *, version: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        self._jobs = Gauge(
            "hypernode_jobs", "Jobs that have not ended, by state.", ["state"], registry=registry
        )
        self._nodes = Gauge("hypernode_nodes", "Nodes, by state.", ["state"], registry=registry)
        self._open = Gauge("hypernode_open", "Other things open.", ["what"], registry=registry)
        self.jobs_submitted = Counter(
            "hypernode_jobs_submitted", "Jobs that were accepted.", registry=registry
        )
        self._jobs_finished = Counter(
            "hypernode_jobs_finished", "Jobs that ended.", ["outcome"], registry=registry
        )
        self.queue_seconds = Histogram(
            "hypernode_job_queue_seconds",
            "From a job's submission to its first dispatch.",
            buckets=_STAGE_S,
            registry=registry,
        )
        self.run_seconds = Histogram(
            "hypernode_job_run_seconds",
            "From an attempt's dispatch to its result, on our clock.",
            buckets=_STAGE_S,
            registry=registry,
        )
        self.leases_expired = Counter(
            "hypernode_leases_expired", "Leases that ran out.", registry=registry
        )
        self._results_rejected = Counter(
            "hypernode_results_rejected", "Results not paid for.", ["reason"], registry=registry
        )
        self.connections = Gauge(
            "hypernode_connections", "Open connections, HTTP and WebSocket.", registry=registry
        )
        self._refused = Counter(
            "hypernode_connections_refused", "Closed at the door.", ["reason"], registry=registry
        )
        self._requests = Counter(
            "hypernode_http_requests", "HTTP answers.", ["status"], registry=registry
        )
        self._messages = Counter(
            "hypernode_ws_messages", "Messages.", ["type", "dir"], registry=registry
        )
        self._bytes = Counter("hypernode_ws_bytes", "Frames.", ["dir"], registry=registry)
        #: The two counters of each type of message and direction that was seen.
        self._of_type: dict[tuple[str, Direction], tuple[Counter, Counter]] = {}
        self._auth_failures = Counter(
            "hypernode_auth_failures", "Proofs that did not hold.", ["reason"], registry=registry
        )
        self._rate_limited = Counter(
            "hypernode_rate_limited", "Refused for asking too often.", ["scope"], registry=registry
        )
        self.ledger_imbalance = Gauge(
            "hypernode_ledger_imbalance",
            "Debits less credits, base units: must be 0.",
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "hypernode_store_commit_seconds",
            "One transaction of the engine.",
            buckets=_STEP_S,
            registry=registry,
        )
        self._lag = Gauge(
            "hypernode_event_loop_lag_seconds", "Latest lag of the loop.", registry=registry
        )
        #: The latest lag of the event loop, seconds; `/livez` looks at it.
        self.loop_lag_s = 0.0
        Info("hypernode_build", "This build.", registry=registry).info({"version": version})

    def job_finished(self, outcome: Outcome) -> None:
        self._jobs_finished.labels(outcome).inc()

    def result_rejected(self, code: str) -> None:
        """A result that was not accepted, by the code of its refusal."""
        self._results_rejected.labels(_code(code)).inc()

    def connection_refused(self, code: str) -> None:
        """A connection that was closed at the door, by the code of its refusal."""
        self._refused.labels(_code(code)).inc()

    def http_answered(self, status: int) -> None:
        self._requests.labels(str(status)).inc()

    def ws_message(self, message_type: str, direction: Direction, size_bytes: int) -> None:
        """One message of a known type (its tag, from the decoder), and its frame's size."""
        counters = self._of_type.get((message_type, direction))
        if counters is None:
            # Looking labels up costs three times as much as counting.
            counters = self._messages.labels(message_type, direction), self._bytes.labels(direction)
            self._of_type[message_type, direction] = counters
        counters[0].inc()
        counters[1].inc(size_bytes)

    def auth_failed(self, code: str) -> None:
        """A proof or bearer that did not hold, by the code of its refusal."""
        self._auth_failures.labels(_code(code)).inc()

    def rate_limited(self, scope: Literal["address", "wallet", "session"]) -> None:
        """Somebody asked too often."""
        self._rate_limited.labels(scope).inc()

    def set_counts(self, counts: Mapping[str, int]) -> None:
        """Set the gauges from what is open now.

        Args:
            counts: By name: a job's state, `online`, `offline`, or another thing (`sessions`).
        """
        for name, count in counts.items():
            if name in _JOB_STATES:
                self._jobs.labels(name).set(count)
            elif name in {"online", "offline"}:
                self._nodes.labels(name).set(count)
            else:
                self._open.labels(name).set(count)

    async def watch_loop(self) -> None:
        """Measure the event loop's lag, for ever: how much later than asked a sleep ends."""
        while True:
            before = trio.current_time()
            await trio.sleep(LAG_INTERVAL_S)
            self.loop_lag_s = max(0.0, trio.current_time() - before - LAG_INTERVAL_S)
            self._lag.set(self.loop_lag_s)

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)


def _code(code: str) -> str:
    """A code of ours, so that no peer's text becomes a label."""
    return code if code in CODES else "other"
