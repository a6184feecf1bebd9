"""What Prometheus reads: counters, gauges and histograms of this process, in a registry of our own.

Rules:
  1. Labels are bounded: states, codes, message types, scopes. Never a wallet, a node, an address.
  2. `hypernode_ledger_imbalance` is 0 or the books are wrong: alert on it.
  3. Units are base units of SI, in the names: seconds, bytes. Money is in base units of HYPER.
  4. What is counted in memory starts at 0 with the process; what is read from the rows does not.
Not here: what is looked at now and then (`watch`), alert rules (`alerts`), the agent's own numbers
(`agent/metrics.py`).
Source: names after Prometheus' own rules (prefix, unit, `_total`).
"""

from __future__ import annotations

import platform
from collections import Counter as Tally, deque
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, TypeAlias, get_args

import trio
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from coordinator.clock import SystemClock
from coordinator.protocol.errors import CODES
from coordinator.readiness import REASONS
from coordinator.settlement_metrics import SettlementMetrics
from coordinator.solvency import SPENDING_STOPS
from coordinator.store.settlement_values import EpochState, Settlement, SettlementFigures
from coordinator.store.values import BookSums, JobState, Totals
from coordinator.tallies import Distribution, LabelTally, MessageTally

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: Seconds between two looks at the event loop.
LAG_INTERVAL_S: Final = 0.25
#: Looks that the gauge of the lag covers: a scrape every 15 s misses no bad second.
LAG_LOOKS: Final = 60

#: A job's stages take from a millisecond to hours.
_STAGE_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 1800.0, 7200.0, 86_400.0),
)
#: Dispatch and commits take from a tenth of a millisecond to a bad second.
_STEP_S: Final = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0)
#: Events of a batch, up to its bound.
_BATCH: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

NODE_STATES: Final = ("online", "starting", "silent", "offline")
Direction: TypeAlias = Literal["in", "out"]
Outcome: TypeAlias = Literal["completed", "failed", "cancelled", "quarantined"]
Where: TypeAlias = Literal["http", "connection", "event"]
#: Codes of who could not prove what it said.
_AUTH_STATUSES: Final = frozenset({401, 403})
_NEVER: Final = float("inf")
#: Codes of refusals that mean that chain and books contradict each other: somebody must look.
DISAGREEMENTS: Final = (
    *("chain_went_back", "epoch_unknown", "insolvent", "leaf_below", "leaves_differ"),
    *("root_mismatch", "faucet_money"),
)


class Metrics:
    """Everything that is counted. Attributes without labels are used as Prometheus gives them."""

    def __init__(self, *, version: str = "", wall_ms: Callable[[], int] | None = None) -> None:
        self.registry = CollectorRegistry()
        self._wall_ms = wall_ms or SystemClock().wall_ms
        #: Results that were not paid for, by reason: what the counter counts, for the status.
        self.rejected = Tally[str]()
        self._add_jobs()
        self._add_peers()
        self._add_money()
        self._add_settlement()
        self._add_store()
        self._add_process(version)
        self.settlement = SettlementMetrics(self.registry, self._wall_ms)

    # ---- what there is --------------------------------------------------------------------------

    def _gauge(self, name: str, said: str, *labels: str) -> Gauge:
        return Gauge(f"hypernode_{name}", said, labels, registry=self.registry)

    def _counter(self, name: str, said: str, *labels: str) -> Counter:
        return Counter(f"hypernode_{name}", said, labels, registry=self.registry)

    def _tally(self, name: str, said: str, label: str, values: tuple[str, ...]) -> LabelTally:
        tally = LabelTally(f"hypernode_{name}", said, label, values)
        self.registry.register(tally)
        return tally

    def _histogram(self, name: str, said: str, buckets: tuple[float, ...]) -> Distribution:
        tally = Distribution(f"hypernode_{name}", said, buckets)
        self.registry.register(tally)
        return tally

    def _add_jobs(self) -> None:
        self._jobs = self._gauge("jobs", "Jobs in the database, by state.", "state")
        self.oldest_waiting = self._gauge(
            "oldest_waiting_seconds",
            "Wait of the job that has waited longest; 0: none waits.",
        )
        self.jobs_submitted = self._counter("jobs_submitted", "Jobs that were accepted.")
        self._finished = self._tally(
            "jobs_finished", "Jobs that ended.", "outcome", get_args(Outcome)
        )
        self.queue_seconds = self._histogram(
            "job_queue_seconds", "From the moment that a job may run to its dispatch.", _STAGE_S
        )
        self.run_seconds = self._histogram(
            "job_run_seconds", "From an attempt's dispatch to its result, on our clock.", _STAGE_S
        )
        self.job_seconds = self._histogram(
            "job_seconds", "From a job's submission to its completion, payment included.", _STAGE_S
        )
        self.dispatch_seconds = self._histogram(
            "dispatch_seconds",
            "From a match to its commit; then the order leaves.",
            _STEP_S,
        )
        self.leases_expired = self._counter("leases_expired", "Leases that ran out.")
        self._results_rejected = self._counter(
            "results_rejected", "Results not paid for: not wanted any more, or wrong.", "reason"
        )
        self._verdicts = self._tally(
            "verdicts", "Results that were verified.", "verdict", ("accepted", "rejected")
        )
        _begin(self._results_rejected, "rejected", "stale")

    def _add_peers(self) -> None:
        self._nodes = self._gauge("nodes", "Nodes that ever registered, by state.", "state")
        self._open = self._gauge("open", "Other things open.", "what")
        self.connections = self._gauge("connections", "Open connections, HTTP and WebSocket.")
        self._refused = self._counter(
            "connections_refused", "Connections closed at the door.", "reason"
        )
        self._closed = self._counter("ws_closed", "WebSockets closed by us, with a code.", "reason")
        self._requests = self._counter("http_requests", "HTTP answers.", "status")
        #: Counts one message by its type (its tag, from the decoder), direction and size in bytes.
        self._messages = MessageTally()
        self.registry.register(self._messages)
        self.ws_message: Callable[[str, Direction, int], None] = self._messages.count
        self._auth_failures = self._counter(
            "auth_failures", "Proofs and bearers that did not hold.", "reason"
        )
        self._rate_limited = self._counter("rate_limited", "Refused for asking too often.", "scope")
        _begin(self._rate_limited, "address", "wallet", "session")
        _begin(self._refused, "busy", "rate_limited")

    def _add_money(self) -> None:
        self.ledger_imbalance = self._gauge(
            "ledger_imbalance", "Debits less credits, base units: must be 0."
        )
        self._overdrawn = self._gauge(
            "ledger_overdrawn", "Accounts with more debits than credits: must be 0."
        )
        self._balances = self._gauge(
            "ledger_balance_units", "Sum of the balances of a class of accounts.", "account"
        )
        self._books_checked_ms = 0
        self._gauge("ledger_check_age_seconds", "Since the ledger was last added up.").set_function(
            lambda: self._age_s(self._books_checked_ms)
        )
        #: Movements of money ever posted, as the rows have it.
        self._transfers = 0
        self.registry.register(_LedgerEntries(lambda: self._transfers))

    def _add_settlement(self) -> None:
        self._epochs = self._gauge("epochs", "Settlement periods, by state.", "state")
        for state in EpochState:
            self._epochs.labels(state.value).set(0)
        self._activation_s = 0
        self._gauge(
            "root_age_seconds", "Since a root last became active; 0: nothing is settled here."
        ).set_function(lambda: self._since_s(self._activation_s))
        self._unrooted = self._gauge(
            "unrooted_units", "What hosts have earned and no active root covers, base units."
        )
        self._backed = self._gauge(
            "backed_units", "The reserve that backs it, base units; 0: nothing is promised."
        )
        self._reserve = self._gauge("reserve_units", "The operator's reserve, base units.")
        self._loss = self._gauge(
            "loss_units", "Paid on the chain beyond what was owed, not made good, base units."
        )
        self._spending_stopped = self._gauge(
            "spending_stopped", "1 while no credit is spent, by the reason's code.", "reason"
        )
        self.set_spending("")
        self._disagreements = self._counter(
            "chain_disagreements", "Chain and books contradict each other, by code.", "code"
        )
        _begin(self._disagreements, *DISAGREEMENTS)

    def _add_store(self) -> None:
        self.commit_seconds = self._histogram(
            "store_commit_seconds", "One transaction of the engine.", _STEP_S
        )
        self.batch_events = self._histogram(
            "store_batch_events", "Events in one transaction.", _BATCH
        )
        self.commit_failures = self._counter("store_commit_failures", "Commits that failed.")
        self.database_bytes = self._gauge("store_database_bytes", "Size of the database file.")
        self.wal_bytes = self._gauge("store_wal_bytes", "Size of the write-ahead log.")
        self.free_bytes = self._gauge("store_free_bytes", "Free bytes beside the database.")
        self._backup_ms = 0
        self.backup_interval = self._gauge(
            "backup_interval_seconds", "How often a backup is due; an hour if none is planned."
        )
        self.backup_interval.set(3600)
        self._gauge("backup_age_seconds", "Since the last backup; +Inf: none yet.").set_function(
            lambda: self._age_s(self._backup_ms)
        )

    def _add_process(self, version: str) -> None:
        self._lag = self._gauge(
            "event_loop_lag_seconds", "Worst lag of the event loop in the last 15 s."
        )
        self._lags: deque[float] = deque(maxlen=LAG_LOOKS)
        #: The latest lag of the event loop, seconds; `/livez` looks at it.
        self.loop_lag_s = 0.0
        self._ready = self._gauge("ready", "1 when work is taken in, as /readyz says.")
        self._not_ready = self._gauge("not_ready", "Why it is not, by name.", "reason")
        self.set_reasons(())
        self._internal = self._counter("internal_errors", "Failures of our own.", "where")
        _begin(self._internal, "http", "connection", "event")
        self._certificate = self._gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate that is served expires, since 1970; +Inf: no TLS here.",
        )
        self.certificate_expires(_NEVER)
        Info("hypernode_build", "This build.", registry=self.registry).info(
            {"version": version, "python": platform.python_version()}
        )
        ProcessCollector(registry=self.registry)

    # ---- what happens ---------------------------------------------------------------------------

    def job_finished(self, outcome: Outcome) -> None:
        self._finished.count(outcome)

    def result_rejected(self, code: str) -> None:
        """A result that was not accepted, by the code of its refusal."""
        self._results_rejected.labels(_code(code)).inc()
        self.rejected[_code(code)] += 1

    def verdict_reached(self, verdict: str) -> None:
        """What verification said of one result."""
        if verdict == "rejected":
            self._verdicts.count("rejected")
            self.result_rejected("rejected")
        else:
            self._verdicts.count("accepted")

    def connection_refused(self, code: str) -> None:
        """A connection that was closed at the door, by the code of its refusal."""
        self._refused.labels(_code(code)).inc()

    def http_answered(self, status: int) -> None:
        self._requests.labels(str(status)).inc()

    def ws_closed(self, code: str) -> None:
        """We closed a WebSocket; who could not prove what it said counts as that too."""
        self._closed.labels(_code(code)).inc()
        self.refused(code)

    def refused(self, code: str) -> None:
        """A request was refused: counted here if for want of a proof."""
        if code in CODES and CODES[code][1] in _AUTH_STATUSES:
            self.auth_failed(code)

    def auth_failed(self, code: str) -> None:
        """A proof or bearer that did not hold, by the code of its refusal."""
        self._auth_failures.labels(_code(code)).inc()

    def rate_limited(self, scope: Literal["address", "wallet", "session"]) -> None:
        """Somebody asked too often."""
        self._rate_limited.labels(scope).inc()

    def failed(self, where: Where, times: int = 1) -> None:
        """Something of our own failed; its traceback is in the log."""
        self._internal.labels(where).inc(times)

    def committed(self, seconds: float, events: int) -> None:
        """One transaction is on the disk."""
        self.commit_seconds.observe(seconds)
        self.batch_events.observe(events)

    def backup_made(self, wall_ms: int) -> None:
        """A backup was finished (or is known from an earlier run) at this Unix time."""
        self._backup_ms = max(self._backup_ms, wall_ms)

    # ---- what there is now ----------------------------------------------------------------------

    def set_totals(self, totals: Totals) -> None:
        """What the rows say."""
        for state in JobState:
            self._jobs.labels(state.value).set(totals.jobs.get(state, 0))
        self._transfers = totals.transfers

    def set_nodes(self, states: Mapping[str, int]) -> None:
        """Nodes by state (`NODE_STATES`)."""
        for state in NODE_STATES:
            self._nodes.labels(state).set(states.get(state, 0))

    def set_books(self, sums: BookSums) -> None:
        """What the ledger adds up to, just now."""
        self.ledger_imbalance.set(sums.imbalance)
        self._overdrawn.set(sums.overdrawn)
        for account, balance in sums.balances.items():
            self._balances.labels(account).set(balance)
        self._books_checked_ms = self._wall_ms()

    def set_settlement(
        self, settlement: Settlement, figures: SettlementFigures, epochs: Mapping[EpochState, int]
    ) -> None:
        """Where settlement stands, as the rows say."""
        for state in EpochState:
            self._epochs.labels(state.value).set(epochs.get(state, 0))
        self._activation_s = settlement.last_activation_s
        self._unrooted.set(figures.unrooted)
        self._backed.set(settlement.promise)
        self._reserve.set(figures.reserve)
        self._loss.set(figures.loss)

    def set_spending(self, stopped: str) -> None:
        """Why no credit is spent, by code; `""`: it is."""
        for reason in SPENDING_STOPS:
            self._spending_stopped.labels(reason).set(reason == stopped)

    def chain_disagreed(self, code: str) -> None:
        """What the chain says was refused by the books, by the code of the refusal."""
        if code in DISAGREEMENTS:
            self._disagreements.labels(code).inc()

    def set_counts(self, counts: Mapping[str, int]) -> None:
        """What else is open now, by name (`agents`, `events`, …)."""
        for name, count in counts.items():
            self._open.labels(name).set(count)

    def set_reasons(self, names: Collection[str]) -> None:
        """Why no work is taken in; nothing: it is."""
        self._ready.set(not names)
        for reason in REASONS:
            self._not_ready.labels(reason).set(reason in names)

    def certificate_expires(self, at_s: float) -> None:
        """When the certificate that is served expires, seconds since 1970."""
        self._certificate.set(at_s)
        #: The same, for the status; infinite without TLS.
        self.certificate_expires_s = at_s

    @property
    def books_age_s(self) -> float:
        """Seconds since the ledger was last added up; infinite if it was not."""
        return self._age_s(self._books_checked_ms)

    @property
    def backup_age_s(self) -> float:
        """Seconds since the last backup; infinite if there is none."""
        return self._age_s(self._backup_ms)

    def _since_s(self, then_s: int) -> float:
        return max(0.0, self._wall_ms() / 1000 - then_s) if then_s else 0.0

    def _age_s(self, then_ms: int) -> float:
        return max(0.0, (self._wall_ms() - then_ms) / 1000) if then_ms else _NEVER

    async def watch_loop(self) -> None:
        """Measure the event loop's lag, for ever: how much later than asked a sleep ends."""
        while True:
            before = trio.current_time()
            await trio.sleep(LAG_INTERVAL_S)
            self.loop_lag_s = max(0.0, trio.current_time() - before - LAG_INTERVAL_S)
            self._lags.append(self.loop_lag_s)
            self._lag.set(max(self._lags))

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)


class _LedgerEntries(Collector):
    """A counter that the rows keep: it goes on over restarts."""

    def __init__(self, transfers: Callable[[], int]) -> None:
        self._transfers = transfers

    def collect(self) -> list[CounterMetricFamily]:
        said = "Movements of money ever posted; each debits one account and credits another."
        return [CounterMetricFamily("hypernode_ledger_entries", said, self._transfers())]


def _begin(counter: Counter, *labels: str) -> None:
    """Show zeros: a series that begins at 1 has risen by nothing, for Prometheus."""
    for label in labels:
        counter.labels(label)


def _code(code: str) -> str:
    """A code of ours, so that no peer's text becomes a label."""
    return code if code in CODES else "other"
