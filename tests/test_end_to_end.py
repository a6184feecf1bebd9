"""The whole way of a job over TCP: a real coordinator, real agents, the client that people import.

The agents' kernels are the workloads' own reference: what is tested is the way, not the numbers.
Not here: processes and signals (`test_kill.py`), hostile peers, seeded histories.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import trio

from agent.task import Task
from coordinator.limits import INLINE_ARRAY_BYTES_MAX
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.commitment import output_root
from coordinator.protocol.signing import Keypair, generate
from coordinator.protocol.spec import hash_spec
from coordinator.store.sqlite import open_sqlite
from coordinator.workloads.montecarlo import MonteCarloParams, closed_form, estimate
from hypernode.client import AsyncClient
from hypernode.errors import (
    InsufficientCredit,
    JobCancelled,
    KeyConflict,
    OverBudget,
    Rejected,
    TooLate,
    UnknownKind,
)
from hypernode.submission import spec_bytes
from tests.house import (
    HonestRunner,
    House,
    Market,
    agent_at,
    captured_log,
    open_house,
    open_market,
    reference,
    search,
    until,
)

OPTION: Final = {
    "spot": 100.0, "strike": 105.0, "rate": 0.03, "volatility": 0.25, "maturity_years": 0.5,
    "option": "put", "paths": 20_000, "seed": 7,
}  # fmt: skip
#: Half of all nonces are hits: 8 bytes each, more than a message carries inline.
MANY_HITS: Final = {"prefix": "", "start": 0, "count": 3000, "target_bits": 1}


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(tmp_path) as opened:
        yield opened
    assert_books_hold(tmp_path)


def assert_books_hold(folder: Path) -> None:
    """The store's own audit, after the coordinator has gone."""
    store = open_sqlite(folder / "house.db", is_readonly=True)
    try:
        assert list(store.check()) == []
    finally:
        store.close()


def assert_right(kind: str, params: dict[str, Any], outputs: tuple[AnyArray, ...]) -> None:
    right = reference(kind, json.dumps(params).encode())
    assert len(outputs) == len(right)
    for claimed, true in zip(outputs, right, strict=True):
        np.testing.assert_array_equal(claimed, true)


async def earned(house: House, operator: Keypair) -> tuple[Decimal, int]:
    """HYPER that an operator earned in all, and for how many jobs."""
    async with AsyncClient(house.url, operator) as client:
        account = await client.account()
    return Decimal(account.earned_total), account.paid_jobs


async def test_a_job_is_quoted_computed_verified_paid_and_proven(market: Market) -> None:
    client, operator = market.client, generate()
    runner = HonestRunner()
    async with agent_at(market.house, runner, "montecarlo", wallet=operator):
        before = await client.account()
        quote = await client.quote("montecarlo", OPTION)
        job = await client.submit("montecarlo", OPTION, budget="0.5")
        result = await job.result(5)
        after = await client.account()
        info = await client.job(job.id)
        income, paid_jobs = await earned(market.house, operator)

    assert_right("montecarlo", OPTION, result.outputs)
    params = MonteCarloParams(**OPTION)  # type: ignore[arg-type]
    price, error = estimate(params, result.outputs)
    assert abs(price - closed_form(params)) < 4 * error
    assert job.price == quote.price == result.paid == info.paid
    receipt = result.receipt
    assert receipt is not None
    assert (receipt.policy, receipt.verdict) == ("sample", "accepted")
    assert receipt.wallet == operator.address
    assert receipt.submitter == client.web.signer.address  # type: ignore[union-attr]
    assert receipt.spec_hash == hash_spec(spec_bytes("montecarlo", OPTION))
    assert receipt.output_root == output_root(array.tobytes() for array in result.outputs)
    assert Decimal(before.credit) - Decimal(after.credit) == Decimal(quote.price)
    assert after.held == "0"
    assert income == Decimal(receipt.paid) / 10**6
    assert paid_jobs == 1
    assert len(runner.began) == 1


async def test_an_output_too_large_for_a_message_comes_back_whole(
    market: Market, tmp_path: Path
) -> None:
    job = await market.client.submit("hashsearch", MANY_HITS, budget="1")
    result = await job.result(5)
    hits = result.outputs[0]
    stored = tmp_path / "blobs"
    name = sha256(hits.tobytes()).hexdigest()
    async with market.house.http(await market.house.bearer(generate())) as http:
        refused = await http.get(f"/api/blobs/{name}")

    assert hits.nbytes > INLINE_ARRAY_BYTES_MAX
    assert_right("hashsearch", MANY_HITS, result.outputs)
    assert [path.name for path in stored.rglob("*") if path.is_file()] == [name]
    assert refused.status_code == 404


async def test_many_jobs_come_back_each_with_its_own_result(market: Market) -> None:
    many = [search(count=20 + number) for number in range(60)]
    results = [
        result async for result in market.client.map("hashsearch", many, budget="0.1", order=True)
    ]
    account = await market.client.account()

    assert len(results) == 60
    for params, result in zip(many, results, strict=True):
        assert_right("hashsearch", params, result.outputs)
    assert account.held == "0"


async def test_the_same_key_and_content_is_the_same_job_and_is_paid_once(market: Market) -> None:
    client, params = market.client, search()
    before = Decimal((await client.account()).credit)
    first = await client.submit("hashsearch", params, budget="1", key="mine")
    done = await first.result(5)
    again = await client.submit("hashsearch", params, budget="1", key="mine")
    same = await again.result(5)
    with pytest.raises(KeyConflict):
        await client.submit("hashsearch", search(), budget="1", key="mine")
    with pytest.raises(KeyConflict):
        await client.submit("hashsearch", params, budget="2", key="mine")
    after = Decimal((await client.account()).credit)

    assert again.id == first.id
    assert same.receipt == done.receipt
    assert before - after == Decimal(done.paid)


async def test_a_waiting_job_is_cancelled_and_costs_nothing(market: Market) -> None:
    client = market.client
    before = (await client.account()).credit
    job = await client.submit("montecarlo", OPTION, budget="5")
    held = await client.account()
    await job.cancel()
    await job.cancel()
    with pytest.raises(JobCancelled):
        await job.result(5)
    after = await client.account()

    assert (held.held, Decimal(held.credit)) == ("5", Decimal(before) - 5)
    assert (after.held, after.credit) == ("0", before)


async def test_a_running_job_is_cancelled_and_its_agent_stops(market: Market) -> None:
    market.runner.gate = trio.Event()
    job = await market.client.submit("hashsearch", search(), budget="1")
    await until(lambda: not market.agent.attempts.is_idle)
    await job.cancel()
    # The gate stays shut: only the order to stop ends the work.
    await until(lambda: market.agent.attempts.is_idle)
    market.runner.gate.set()

    assert job.state == "cancelled"


async def test_a_finished_job_is_not_cancelled(market: Market) -> None:
    job = await market.client.submit("hashsearch", search(), budget="1")
    await job.result(5)
    with pytest.raises(TooLate):
        await job.cancel()


async def test_what_cannot_be_paid_is_refused_before_anything_is_held(market: Market) -> None:
    async with AsyncClient(market.house.url, generate()) as poor:
        await poor.faucet("0.001")
        with pytest.raises(OverBudget):
            await poor.submit("montecarlo", {**OPTION, "paths": 2**28}, budget="0.000001")
        with pytest.raises(InsufficientCredit):
            await poor.submit("hashsearch", search(), budget="0.002")
        with pytest.raises(UnknownKind):
            await poor.submit("alchemy", budget="0.0001")
        last = await poor.submit("hashsearch", search(), budget="0.001")
        with pytest.raises(InsufficientCredit):
            await poor.submit("hashsearch", search(), budget="0.001", key="one too many")
        await last.result(5)
        account = await poor.account()

    assert account.held == "0"
    assert Decimal(0) < Decimal(account.credit) < Decimal("0.001")


class LyingRunner(HonestRunner):
    """Answers at once, with numbers of the right form."""

    def compute(self, task: Task) -> list[AnyArray]:
        hits, best = super().compute(task)
        return [hits, best + np.array([[1, 0]], dtype=np.uint64)]


@pytest.mark.slow
async def test_a_liar_earns_nothing_and_its_jobs_go_to_the_honest(market: Market) -> None:
    liar, liars_wallet = LyingRunner(), generate()
    many = [search(count=1000) for _ in range(12)]
    async with agent_at(market.house, liar, "hashsearch", wallet=liars_wallet) as agent:
        await until(lambda: bool(agent.node_id))
        with trio.fail_after(5):
            while (await market.client.quote("hashsearch", many[0])).agents < 2:  # noqa: ASYNC110
                await trio.sleep(0.01)
        jobs = await market.client.submit_many("hashsearch", many, budget="1", retries=2)
        results = [await job.result(10) for job in jobs]
        lies = len(liar.began)
        income = await earned(market.house, liars_wallet)

    for params, result in zip(many, results, strict=True):
        assert_right("hashsearch", params, result.outputs)
        assert result.receipt is not None
        assert result.receipt.wallet == market.operator.address
    assert lies > 0, "the liar was given jobs"
    assert income == (Decimal(0), 0)


async def test_a_job_that_only_liars_take_fails_and_is_refunded(tmp_path: Path) -> None:
    with captured_log() as log:
        async with (
            open_house(tmp_path) as house,
            agent_at(house, LyingRunner(), "hashsearch"),
            AsyncClient(house.url, generate()) as client,
        ):
            await client.faucet("1")
            job = await client.submit("hashsearch", search(), budget="1", retries=0)
            with pytest.raises(Rejected):
                await job.result(5)
            account = await client.account()

    assert (account.credit, account.held) == ("1", "0")
    assert log.failures() == []
    assert_books_hold(tmp_path)


@pytest.mark.slow
async def test_a_restart_in_the_middle_loses_and_repeats_nothing(tmp_path: Path) -> None:
    runner, operator = HonestRunner(), generate()
    runner.gate = trio.Event()
    many = [search(count=50) for _ in range(6)]
    with captured_log() as log:
        async with trio.open_nursery() as nursery:
            first = FirstLife(tmp_path)
            house = await nursery.start(first.live)
            async with (
                agent_at(house, runner, "hashsearch", wallet=operator),
                AsyncClient(house.url, generate()) as client,
            ):
                await client.faucet("10")
                jobs = await client.submit_many("hashsearch", many, budget="1")
                await until(lambda: len(runner.began) == runner.slots)
                await first.end()
                async with open_house(tmp_path, port=house.port):
                    late = await client.submit("hashsearch", MANY_HITS, budget="1")
                    runner.gate.set()
                    results = [await job.result(10) for job in jobs]
                    last = await late.result(10)
                    account = await client.account()
                    income, paid_jobs = await earned(house, operator)

    for params, result in zip(many, results, strict=True):
        assert_right("hashsearch", params, result.outputs)
    assert_right("hashsearch", MANY_HITS, last.outputs)
    spent = sum(Decimal(result.paid) for result in [*results, last])
    assert (Decimal(account.credit), account.held) == (10 - spent, "0")
    assert paid_jobs == len(many) + 1
    assert income <= spent
    assert [task.fence for task in runner.began] == [1] * (len(many) + 1), "each job ran once"
    assert log.failures() == []
    assert_books_hold(tmp_path)


class FirstLife:
    """A house in a task of its own, so that it can be taken away in the middle of a test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_over, self._has_ended = trio.Event(), trio.Event()

    async def live(self, *, task_status: trio.TaskStatus[House]) -> None:
        async with open_house(self._folder) as house:
            task_status.started(house)
            await self._is_over.wait()
        self._has_ended.set()

    async def end(self) -> None:
        """End it without a word to anybody."""
        self._is_over.set()
        await self._has_ended.wait()
