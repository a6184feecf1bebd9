"""Batches: one transaction for many events, and none of them harms another.

Each test ends with an audit of the whole store (`Market.close`): sums, holds, chain and counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from coordinator import events as ev
from coordinator.store.interface import Batch, Store, StoreError
from coordinator.store.values import Job, JobState as S
from onchain.amounts import UNITS
from tests.build import (
    ALICE,
    BOB,
    Market,
    answer,
    montecarlo_spec,
    wish,
)

PRICE, FEE = 6601, 165
PAID = {"credit": -PRICE, "withheld": PRICE - FEE, "fees": FEE}
#: A command's price for a second.
SECOND = UNITS // 100


@pytest.fixture
def market() -> Iterator[Market]:
    made = Market()
    yield made
    made.close()


class _Poison(ev.Event, frozen=True):
    """No handler knows it: a mistake of ours."""


def test_a_poisonous_event_harms_only_itself(market: Market) -> None:
    job = market.assigned()
    with capture_logs() as logs:
        outcomes = market.apply(
            ev.JobsSubmitted(BOB.address, (wish("b", montecarlo_spec(), 10_000),)),
            _Poison(),
            answer(job),
            ev.JobMatched(2, 999),
            ev.CancelAsked(BOB.address, 999),
        )

    assert [each["event_type"] for each in logs if each["event"] == "event failed"] == [
        "_Poison",
        "JobMatched",
    ]
    codes = [each.refusal.code if each.refusal else "" for each in outcomes]
    assert codes == ["", "internal", "", "internal", "not_found"]
    assert market.job(job).state is S.VERIFYING
    assert [each.job.submitter for each in market.of(ev.JobQueued)] == [
        ALICE.address,
        BOB.address,
    ]


def test_a_refused_event_leaves_its_neighbours_in_one_transaction(market: Market) -> None:
    before = len(list(market.reader.ledger_batches()))
    market.apply(
        ev.JobsSubmitted(ALICE.address, (wish("a", montecarlo_spec(), 10_000),)),
        ev.CancelAsked(ALICE.address, 999),
        ev.JobsSubmitted(ALICE.address, (wish("b", montecarlo_spec(), 10_000),)),
    )

    assert len(list(market.reader.ledger_batches())) == before + 1


def test_an_event_sees_what_those_before_it_in_its_batch_did(market: Market) -> None:
    outcomes = market.apply(
        ev.JobsSubmitted(ALICE.address, (wish("a", montecarlo_spec(), 10_000),)),
        ev.JobMatched(1, market.node.id),
        answer(Job(1, b"", "", "", b"", b"", 0, 0, S.ASSIGNED, 0, fence=1, node=1)),
        ev.VerdictReached(1, 1, "accepted", "", bytes(32)),
    )

    assert [each.refusal for each in outcomes] == [None] * 4
    assert market.money() == PAID


class _BrokenBatch:
    """A transaction whose commit fails, as on a full disk."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __enter__(self) -> Batch:
        return self._batch.__enter__()

    def __exit__(self, *_: object) -> None:
        error = StoreError("disk full")
        self._batch.__exit__(StoreError, error, None)
        raise error


class _FailingStore:
    """A store that fails as often as it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failures = 0

    def batch(self) -> Any:
        if self.failures:
            self.failures -= 1
            return _BrokenBatch(self._store.batch())
        return self._store.batch()


def test_a_store_that_fails_leaves_nothing_and_the_same_events_succeed_later() -> None:
    stores: list[_FailingStore] = []

    def wrap(store: Store) -> Any:
        stores.append(_FailingStore(store))
        return stores[0]

    market = Market(wrap=wrap)
    job = market.verifying(budget=10_000)
    events = (
        ev.VerdictReached(job.id, 1, "accepted", "", bytes(32)),
        ev.JobsSubmitted(BOB.address, (wish("b", montecarlo_spec(), 10_000),)),
    )
    stores[0].failures = 1

    with pytest.raises(StoreError):
        market.apply(*events)
    assert (market.job(job), market.money()) == (job, {"credit": -10_000, "hold": 10_000})
    assert market.money(BOB.address) == {}

    assert [each.refusal for each in market.apply(*events)] == [None, None]
    assert market.job(job).state is S.COMPLETED
    market.close()
