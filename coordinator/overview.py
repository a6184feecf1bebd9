"""The coordinator on one screen: what anybody may see of it, and what its administrators see.

In:   the watch's latest looks, counters, readiness.
Out:  a `StatusView`; its `detail` is for administrators.
Rules:
  1. Nothing is asked of the store here, and nothing is counted anew: an answer comes also when the
     disk does not, and anybody may ask as often as the door lets them.
  2. Rates and quantiles are of the last minute, from samples that are `alarms.LOOK_EVERY_S` apart;
     quantiles lie on lines within a histogram's buckets. What is not known is null.
Not here: who is an administrator (`access`), routes (`status_routes`).
"""

from __future__ import annotations

import math
from typing import Final

from coordinator.access import Access
from coordinator.admission import Connections
from coordinator.clock import iso
from coordinator.health_routes import health_of
from coordinator.ledger import HOUSE_CLASSES
from coordinator.metrics import Metrics
from coordinator.promql import parse
from coordinator.readiness import Readiness
from coordinator.status_views import (
    AlertView,
    BooksView,
    MinuteView,
    PeersView,
    ProcessView,
    StatusDetail,
    StatusView,
    StoreView,
)
from coordinator.watch import Watch
from onchain.amounts import format_hyper

_FINISHED: Final = parse("sum(increase(hypernode_jobs_finished_total[1m]))")
_FAILED: Final = parse('sum(increase(hypernode_jobs_finished_total{outcome="failed"}[1m]))')
_JOBS: Final = "sum by (le) (increase(hypernode_job_seconds_bucket[1m]))"
_P50: Final = parse(f"histogram_quantile(0.5, {_JOBS})")
_P99: Final = parse(f"histogram_quantile(0.99, {_JOBS})")
_COMMIT_P99: Final = parse(
    "histogram_quantile(0.99, sum by (le) (increase(hypernode_store_commit_seconds_bucket[1m])))"
)
_CPU: Final = parse("rate(process_cpu_seconds_total[1m])")
_MEMORY: Final = parse("process_resident_memory_bytes")
_FILES: Final = parse("process_open_fds")
_LAG: Final = parse("hypernode_event_loop_lag_seconds")
#: What the watch has to remember for us.
ASKED: Final = (_FINISHED, _FAILED, _P50, _P99, _COMMIT_P99, _CPU, _MEMORY, _FILES, _LAG)


class Overview:
    """Puts a status together."""

    def __init__(
        self,
        access: Access,
        connections: Connections,
        metrics: Metrics,
        readiness: Readiness,
        watch: Watch,
        version: str,
    ) -> None:
        self._operations = access.operations
        self._links = access.operations.open_links
        self._connections = connections
        self._metrics = metrics
        self._readiness = readiness
        self._watch = watch
        self._version = version
        self._began_ms = self._operations.clock.wall_ms()

    def status(self, *, for_admin: bool) -> StatusView:
        """How the coordinator is now."""
        health = health_of(self._readiness.reasons())
        totals = self._watch.figures.totals
        return StatusView(
            status=health.status,
            reasons=health.reasons,
            version=self._version,
            uptime=(self._operations.clock.wall_ms() - self._began_ms) // 1000,
            jobs={state.value: count for state, count in totals.jobs.items()},
            nodes=self._watch.nodes,
            detail=self._detail() if for_admin else None,
        )

    def _detail(self) -> StatusDetail:
        figures, metrics, ask = self._watch.figures, self._metrics, self._watch.alarms.ask
        return StatusDetail(
            oldest_waiting=figures.oldest_waiting_s,
            last_minute=MinuteView(
                finished=_known(ask(_FINISHED)),
                failed=_known(ask(_FAILED)),
                p50=_known(ask(_P50)),
                p99=_known(ask(_P99)),
            ),
            peers=self._peers(),
            books=self._books(),
            store=StoreView(
                database_bytes=figures.files.database,
                wal_bytes=figures.files.wal,
                free_bytes=figures.files.free,
                commit_p99=_known(ask(_COMMIT_P99)),
                backup_age=_known(metrics.backup_age_s),
                failure=self._operations.writer.failure,
            ),
            process=ProcessView(
                cpu_ratio=_known(ask(_CPU)),
                memory_bytes=_known(ask(_MEMORY)),
                open_files=_known(ask(_FILES)),
                loop_lag=_known(ask(_LAG)),
            ),
            certificate_expires=_expiry(metrics.certificate_expires_s),
            rejected=dict(metrics.rejected),
            alerts=[
                AlertView(
                    name=alarm.rule.name,
                    severity=alarm.rule.severity,
                    is_firing=alarm.is_firing,
                    for_seconds=round(alarm.for_s),
                    summary=alarm.rule.summary,
                    page=alarm.rule.page,
                )
                for alarm in self._watch.alarms.alarms()
            ],
        )

    def _peers(self) -> PeersView:
        operations = self._operations
        return PeersView(
            connections=self._connections.total,
            agents=len(operations.agents),
            submitters=len(self._links),
            attempts=operations.attempts_open,
            verifications=len(operations.verifier),
            events=len(operations.writer),
        )

    def _books(self) -> BooksView:
        sums = self._watch.books
        if sums is None:
            return BooksView()
        return BooksView(
            is_balanced=not sums.imbalance and not sums.overdrawn,
            imbalance=format_hyper(abs(sums.imbalance)),
            overdrawn=sums.overdrawn,
            check_age=_known(self._metrics.books_age_s),
            balances={
                name: format_hyper(max(0, sums.balances.get(name, 0))) for name in HOUSE_CLASSES
            },
        )


def _known(number: float) -> float | None:
    """A number that JSON can say."""
    return number if math.isfinite(number) else None


def _expiry(at_s: float) -> str | None:
    return iso(int(at_s * 1000)) if math.isfinite(at_s) else None
