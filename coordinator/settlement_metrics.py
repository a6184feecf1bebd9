"""What Prometheus reads of settlement: how the chain was last seen, and what is wrong.

Rules: those of `metrics`. Where nothing is settled every gauge stands where no alert begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from coordinator.settlement_state import SettlementState
from coordinator.sponsor_metrics import SponsorMetrics

_NEVER: Final = float("inf")


class SettlementMetrics:
    """The gauges of one house's settlement."""

    def __init__(self, registry: CollectorRegistry, wall_ms: Callable[[], int]) -> None:
        self._registry = registry
        self.sponsor = SponsorMetrics(registry)
        self._wall_ms = wall_ms
        #: Something is settled here.
        self.is_on = False
        self._state = SettlementState()
        self._ages()
        self._active = self._gauge("epoch", "Epoch of the active root; 0: none.")
        self._pending = self._gauge("pending_epoch", "Epoch of the pending root; 0: none.")
        self._stopped = self._gauge("stopped", "1: the settler publishes nothing, for a reason.")
        self._failing = self._gauge("failing", "1: the latest round ended badly.")
        self._unexplained = self._gauge(
            "unexplained_units", "Paid on the chain to wallets unknown to the books: must be 0."
        )
        self._papers = Counter(
            "hypernode_settlement_papers",
            "Proofs and vouchers that were sent to agents, by kind.",
            ["kind"],
            registry=registry,
        )
        for kind in ("proof", "voucher"):
            self._papers.labels(kind)

    def _gauge(self, name: str, said: str) -> Gauge:
        return Gauge(f"hypernode_settlement_{name}", said, registry=self._registry)

    def _ages(self) -> None:
        self._gauge(
            "look_age_seconds", "Since the chain was read; +Inf: not yet; 0: nothing is settled."
        ).set_function(self._look_age_s)

    def _look_age_s(self) -> float:
        if not self.is_on:
            return 0.0
        looked_ms = self._state.looked_ms
        return max(0.0, (self._wall_ms() - looked_ms) / 1000) if looked_ms else _NEVER

    def papers_sent(self, *, proof: bool, voucher: bool) -> None:
        """An agent was sent papers."""
        self._papers.labels("proof").inc(proof)
        self._papers.labels("voucher").inc(voucher)

    def tell(self, state: SettlementState) -> None:
        """A round has ended."""
        self._state = state
        self._active.set(state.active_epoch)
        self._pending.set(state.pending_epoch)
        self._stopped.set(state.is_stopped)
        self._failing.set(bool(state.alarm))
        self._unexplained.set(state.unexplained)
