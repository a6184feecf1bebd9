"""A map over many inputs: few jobs open, nothing kept of those that ended, on either side.

A real coordinator, an honest agent and the client in one process, so that all of them are weighed.
The long form, with processes of their own, is `python -m benchmarks map` (100,000 inputs).
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import hypernode
from coordinator.api import Api
from coordinator.main import Coordinator
from coordinator.protocol.signing import generate
from hypernode.client import AsyncClient
from hypernode.errors import JobFailed
from hypernode.result import Result
from tests.house import HonestRunner, agent_at, captured_log, open_house

IN_FLIGHT = 64
#: Of this many results the first half fills what is filled once.
RESULTS = 2_000
#: Bytes that the client may keep of each further result: half of a pointer.
KEPT_BYTES_MAX = 4
#: The whole path: the environment may lie in a folder of the same name.
CLIENT_SOURCE = str(Path(hypernode.__file__).parent / "*")


class Forgetful(HonestRunner):
    """Keeps no list of what began here."""

    slots = 4

    def __init__(self) -> None:
        super().__init__()
        self.began = _Nothing()


class _Nothing(list[Any]):
    def append(self, _: Any) -> None: ...


class Inputs:
    """Inputs that are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.taken = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self._count):
            self.taken += 1
            yield {"prefix": f"{number:08x}", "start": 0, "count": 2, "target_bits": 4}


@pytest.fixture
def house_inside(monkeypatch: pytest.MonkeyPatch) -> list[Coordinator]:
    """The coordinators that start, from the inside."""
    found: list[Coordinator] = []
    make = Coordinator.__init__

    def noted(self: Coordinator, *args: Any, **more: Any) -> None:
        make(self, *args, **more)
        found.append(self)

    monkeypatch.setattr(Coordinator, "__init__", noted)
    return found


def sizes(api: Api, client: AsyncClient) -> dict[str, int]:
    """Everything that is kept of open jobs, on both sides."""
    operations, inbox = api.operations, client._link.inbox
    return {
        "client: open jobs": len(inbox._open),
        "client: requests": len(inbox._requests),
        "client: heard early": len(inbox._early),
        "house: waiting": len(operations.scheduler),
        "house: out": operations.attempts_open,
        "house: watched": len(operations.watchers._of_job),
        "house: said": len(operations.live_logs._logs),
        "house: verified": len(operations.verifier),
        "house: told lost": len(operations._told_lost),
    }


@pytest.mark.slow
@pytest.mark.parametrize("order", [True, False])
async def test_a_long_map_keeps_few_jobs_open_and_nothing_of_those_that_ended(
    tmp_path: Path, house_inside: list[Coordinator], *, order: bool
) -> None:
    inputs, done, most = Inputs(RESULTS), 0, dict[str, int]()
    with captured_log() as log:
        async with (
            open_house(tmp_path) as house,
            agent_at(house, Forgetful(), "hashsearch"),
            AsyncClient(house.url, generate()) as client,
        ):
            await client.faucet("1000")
            (inside,) = house_inside
            results = client.map(
                "hashsearch", inputs, budget="0.01", order=order, max_in_flight=IN_FLIGHT
            )
            kept = 0
            async for result in results:
                assert isinstance(result, Result)
                done += 1
                assert inputs.taken - done <= IN_FLIGHT, "inputs are read as results are taken"
                for name, size in sizes(inside.api, client).items():
                    most[name] = max(most.get(name, 0), size)
                if done == RESULTS // 2:
                    kept = -client_bytes(start=True)
                log.forget()
            kept += client_bytes()
            await trio.sleep(0.1)
            left = {name: size for name, size in sizes(inside.api, client).items() if size}

    assert done == inputs.taken == RESULTS
    assert all(size <= 2 * IN_FLIGHT for size in most.values()), most
    assert most["client: open jobs"] > IN_FLIGHT // 4, "the agents are kept busy"
    assert left == {}
    assert kept <= KEPT_BYTES_MAX * RESULTS // 2 + 64 * 1024, f"{kept} bytes more"


def client_bytes(*, start: bool = False) -> int:
    """What the client's own code has allocated and not given back, since the first call."""
    if start:
        tracemalloc.start()
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(inclusive=True, filename_pattern=CLIENT_SOURCE)]
    )
    if not start:
        tracemalloc.stop()
    return sum(trace.size for trace in snapshot.traces)


class SomeFail(Forgetful):
    """Cannot run every third search."""

    def compute(self, task: Any) -> Any:
        if int(task.job.split("-")[1], 16) % 3 == 0:
            msg = "not this one"
            raise ValueError(msg)
        return super().compute(task)


@pytest.mark.slow
async def test_errors_are_values_in_their_places_or_end_the_map(tmp_path: Path) -> None:
    with captured_log():
        async with (
            open_house(tmp_path) as house,
            agent_at(house, SomeFail(), "hashsearch"),
            AsyncClient(house.url, generate()) as client,
        ):
            await client.faucet("1000")
            options: dict[str, Any] = {"budget": "0.01", "retries": 0, "max_in_flight": 8}
            every = client.map("hashsearch", Inputs(60), errors="return", **options)
            outcomes = [outcome async for outcome in every]
            failed = [each for each in outcomes if isinstance(each, JobFailed)]
            assert len(outcomes) == 60
            assert 15 <= len(failed) <= 25
            assert {each.code for each in failed} == {"agent_error"}

            inputs = Inputs(1000)
            with pytest.raises(JobFailed):
                async for _ in client.map("hashsearch", inputs, **options):
                    pass
            assert inputs.taken <= 24, "the rest was never asked for"
            account = await client.account()
            assert account.held == "0", "what was open is cancelled"
