"""What is remembered of the last moments: the same values that the store has, within bounds."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from coordinator import events as ev, recent
from coordinator.delivery import Delivery
from coordinator.protocol.ids import Ids
from coordinator.protocol.receipts import build_batch
from coordinator.recent import Recent
from coordinator.store.values import Job, Output, Receipt, ReceiptRoot
from tests.build import COORDINATOR, Market

IDS = Ids(bytes(32))


@pytest.fixture
def market() -> Iterator[Market]:
    market = Market()
    yield market
    market.close()


def output(job: int, size: int = 3) -> tuple[Output, ...]:
    return (Output(job, 1, 0, "uint8", (size,), bytes(size), size=size),)


def with_number(job: Job, number: int) -> Job:
    return msgspec.structs.replace(job, id=number, fence=1)


def batch(number: int, *jobs: int, node: int = 1) -> ev.ReceiptsReady:
    receipts = tuple(
        Receipt(job, 1, node, bytes(32), number, index, bytes([job]) * 4)
        for index, job in enumerate(jobs)
    )
    root, levels = build_batch([receipt.data for receipt in receipts])
    return ev.ReceiptsReady(ReceiptRoot(number, len(jobs), root, bytes(64), 0), receipts, levels)


def test_a_result_from_memory_is_the_result_from_the_store(market: Market) -> None:
    jobs = [market.judge(market.verifying(key=key)) for key in ("a", "b", "c")]
    remembered = Recent()
    for due in market.of(ev.VerificationDue):
        remembered.note_outputs(due.job, due.outputs)
    for ready in market.of(ev.ReceiptsReady):
        remembered.note_receipts(ready)
    delivery = Delivery(IDS, COORDINATOR.address, remembered)

    stored = delivery.load(market.reader, jobs)

    assert [delivery.remembered(job) for job in jobs] == stored
    assert all(parcel.receipt is not None for parcel in stored)


def test_what_is_not_remembered_is_read(market: Market) -> None:
    job = market.judge(market.verifying())
    delivery = Delivery(IDS, COORDINATOR.address, Recent())

    assert delivery.remembered(job) is None
    assert len(delivery.load(market.reader, [job])) == 1


@pytest.mark.parametrize(
    ("jobs_max", "bytes_max", "kept"),
    [(3, 1000, [3, 4, 5]), (9, 7, [4, 5]), (9, 1000, [1, 2, 3, 4, 5])],
    ids=["number", "bytes", "room"],
)
def test_outputs_are_forgotten_the_oldest_first(
    market: Market, monkeypatch: pytest.MonkeyPatch, jobs_max: int, bytes_max: int, kept: list[int]
) -> None:
    monkeypatch.setattr(recent, "RECENT_OUTPUTS_MAX", jobs_max)
    monkeypatch.setattr(recent, "RECENT_OUTPUT_BYTES_MAX", bytes_max)
    job, remembered = market.queued(), Recent()
    for number in range(1, 6):
        remembered.note_outputs(with_number(job, number), output(number))

    found = [n for n in range(1, 6) if remembered.outputs(with_number(job, n)) is not None]
    assert found == kept


def test_batches_are_forgotten_with_their_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "RECENT_BATCHES_MAX", 2)
    remembered = Recent()
    for number in (1, 2, 3):
        remembered.note_receipts(batch(number, 10 * number, 10 * number + 1))

    assert [remembered.receipt(job) is not None for job in (10, 11, 20, 31)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert remembered.root_for(1, node=1) is None


def test_a_node_is_told_the_roots_of_its_own_receipts_only() -> None:
    remembered = Recent()
    remembered.note_receipts(batch(7, 1, 2, node=4))

    assert remembered.root_for(7, node=4) is not None
    assert remembered.root_for(7, node=5) is None
