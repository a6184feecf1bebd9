"""What Prometheus reads of sponsored claims: what they cost, what is left, how they ended.

Rules: those of `metrics`. Where nobody's fee is paid every gauge stands where no alert begins.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from coordinator.store.settlement_values import SponsoredState


class SponsorMetrics:
    """The gauges of one house's sponsor."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._balance = Gauge(
            "hypernode_sponsor_balance_lamports",
            "SOL of the sponsor's key; +Inf: there is none, or it was not looked at yet.",
            registry=registry,
        )
        self._balance.set(float("inf"))
        self._spent = Gauge(
            "hypernode_sponsor_spent_lamports",
            "What sponsored claims of the last 24 hours cost; what is out counts in full.",
            registry=registry,
        )
        self._budget = Gauge(
            "hypernode_sponsor_budget_lamports",
            "What they may cost; 0: nobody's fee is paid.",
            registry=registry,
        )
        self._claims = Counter(
            "hypernode_sponsored_claims",
            "Sponsored claims that came into each state.",
            ["state"],
            registry=registry,
        )
        for state in SponsoredState:
            self._claims.labels(state.value)

    def begin(self, budget: int) -> None:
        """Claims are paid for, up to so many lamports a day."""
        self._budget.set(budget)

    def moved(self, state: SponsoredState) -> None:
        """A claim came into this state."""
        self._claims.labels(state.value).inc()

    def tell(self, *, balance: int, spent: int) -> None:
        """What the chain and the books say."""
        self._balance.set(balance)
        self._spent.set(spent)
