"""A coordinator that is asked to end: what still comes in, what is refused, how it says goodbye.

Not here: signals by themselves (`test_signals.py`), restarts under load (`test_restart.py`).
"""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import trio
import trio.testing

from coordinator.conversation import RESTART_CODE
from coordinator.notify import Notifier
from coordinator.protocol import messages as m
from coordinator.protocol.ids import Ids
from coordinator.protocol.signing import Keypair, generate
from coordinator.signals import Drain
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import Job as StoredJob, JobState
from coordinator.submitter_link import SubmitterLink
from hypernode.client import AsyncClient
from hypernode.job import Job
from tests.house import HonestRunner, House, Log, agent_at, captured_log, open_house, search, until
from tests.indoors import spec_of
from tests.peer import dialled
from tests.processes import Program
from tests.test_notify import Manager

JOB = StoredJob(
    1, bytes(32), "key", "hashsearch", b"", bytes(32), 10, 1, JobState.COMPLETED, 0, paid=1
)
#: A client that gives up soon: the house does not come back.
PATIENCE_S = 1.0


@dataclass
class Busied:
    """A house with one job that runs until the gate of its runner opens."""

    house: House
    drain: Drain
    log: Log
    runner: HonestRunner
    client: AsyncClient
    wallet: Keypair
    job: Job

    async def begin(self) -> None:
        self.drain.begin()
        await until(lambda: any(line["event"] == "draining" for line in self.log.lines()))


@asynccontextmanager
async def busied(
    folder: Path, drain_s: float, notifier: Notifier | None = None
) -> AsyncIterator[Busied]:
    """A house in the middle of a job."""
    drain, runner, wallet = Drain(), HonestRunner(), generate()
    runner.gate = trio.Event()
    with captured_log() as log:
        async with (
            open_house(folder, drain=drain, notifier=notifier, drain_s=drain_s) as house,
            agent_at(house, runner, "hashsearch"),
            AsyncClient(house.url, wallet, patience_s=PATIENCE_S) as client,
        ):
            await client.faucet("100")
            job = await client.submit("hashsearch", search(), budget="1")
            await until(lambda: bool(runner.began))
            yield Busied(house, drain, log, runner, client, wallet, job)
        assert log.failures() == []


async def test_what_runs_is_finished_paid_and_delivered_before_the_end(tmp_path: Path) -> None:
    async with busied(tmp_path, drain_s=5.0) as busy:
        async with dialled(busy.house) as peer:
            await peer.open(await busy.house.bearer(busy.wallet))
            await busy.begin()
            await trio.sleep(0.1)
            assert not busy.house.ended.is_set(), "a job is out"
            busy.runner.gate.set()
            with trio.fail_after(3):
                result = await busy.job.result()
            end = await peer.end()
        with trio.fail_after(3):
            await busy.house.ended.wait()
        reasons = [line["reason"] for line in busy.log.lines() if line["event"] == "disconnected"]

    assert result.receipt is not None
    assert end.close == RESTART_CODE
    assert [reason for reason in reasons if str(RESTART_CODE) in reason] != []
    assert not (tmp_path / "house.db-wal").exists(), "the log was copied into the database"


class SlowReads:
    """As much of the API as a submitter's link asks for; results come from the disk, when let."""

    def __init__(self) -> None:
        self.disk = trio.Event()
        self.ids = Ids(bytes(32))
        links = SimpleNamespace(note=lambda _link: None)
        self.operations = SimpleNamespace(open_links=links)
        self.delivery = SimpleNamespace(remembered=lambda _job: None)

    async def read(self, _load: object) -> list[object]:
        await self.disk.wait()
        return []


async def test_a_link_that_still_reads_a_result_for_its_peer_is_not_idle() -> None:
    """It would be closed before the result is sent."""
    api = SlowReads()
    link = SubmitterLink(api, SimpleNamespace(wallet=bytes(32)))  # type: ignore[arg-type]
    idle = [link.is_idle]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.deliver)
        link.on_change(JOB)
        list(link.outgoing.take())
        idle.append(link.is_idle)
        await trio.testing.wait_all_tasks_blocked()
        idle.append(link.is_idle)
        api.disk.set()
        await trio.testing.wait_all_tasks_blocked()
        idle.append(link.is_idle)
        nursery.cancel_scope.cancel()

    assert idle == [True, False, False, True]


async def test_no_job_is_taken_in_and_none_given_out_during_a_drain(tmp_path: Path) -> None:
    async with busied(tmp_path, drain_s=5.0) as busy:
        waiting = await busy.client.submit("hashsearch", search(), budget="1")
        await until(lambda: len(busy.runner.began) == 2)
        full = [await busy.client.submit("hashsearch", search(), budget="1") for _ in range(3)]
        async with dialled(busy.house) as peer:
            await peer.open(await busy.house.bearer(busy.wallet))
            await busy.begin()
            spec = msgspec.Raw(spec_of("hashsearch", **search()))
            await peer.say(m.Submit([m.Submission("late", spec, "1")], 1))
            refusal = await peer.expect("error")
        busy.runner.gate.set()
        with trio.fail_after(5):
            await busy.house.ended.wait()

    store = open_sqlite(tmp_path / "house.db", is_readonly=True)
    states = store.reader().jobs_by_state()
    store.close()
    assert refusal["code"] == "draining"
    assert sum(states.values()) == 2 + len(full)
    assert states[JobState.COMPLETED] >= 2, waiting.id


async def test_readiness_is_taken_back_while_what_is_out_still_comes_in(tmp_path: Path) -> None:
    """Over connections from before: whoever balances load hears of the drain from the drain."""
    async with busied(tmp_path, drain_s=5.0) as busy:
        kept = [busy.house.http() for _ in range(2)]
        for http in kept:
            assert (await http.get("/readyz")).status_code == 200
        await busy.begin()
        ready, alive = await kept[0].get("/readyz"), await kept[1].get("/livez")
        for http in kept:
            await http.aclose()
        busy.runner.gate.set()
        with trio.fail_after(3):
            assert (await busy.job.result()).receipt is not None
            await busy.house.ended.wait()

    assert (ready.status_code, ready.json()["reasons"]) == (503, ["draining"])
    assert alive.status_code == 200


async def test_a_drain_ends_in_time_and_leaves_what_is_out_to_the_next_start(
    tmp_path: Path,
) -> None:
    async with busied(tmp_path, drain_s=0.5) as busy:
        began = trio.current_time()
        await busy.begin()
        with trio.fail_after(5):
            await busy.house.ended.wait()
        took_s = trio.current_time() - began

    assert 0.3 < took_s < 2.0
    store = open_sqlite(tmp_path / "house.db", is_readonly=True)
    (job,) = store.reader().open_jobs()
    store.close()
    assert (job.state, job.fence) in {(JobState.ASSIGNED, 1), (JobState.RUNNING, 1)}


async def test_a_peer_that_does_not_close_costs_no_time_beyond_the_drains(tmp_path: Path) -> None:
    async with busied(tmp_path, drain_s=1.0) as busy:
        busy.runner.gate.set()
        await busy.job.result()
        stream = await trio.open_tcp_stream("127.0.0.1", busy.house.port)
        async with stream:
            await stream.send_all(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert b"101" in await stream.receive_some(1000)
            began = trio.current_time()
            await busy.begin()
            with trio.fail_after(5):
                await busy.house.ended.wait()
            took_s = trio.current_time() - began

    assert took_s < 2.0


async def test_the_service_manager_hears_of_the_start_and_of_the_end(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier(str(tmp_path / "notify"), watchdog_s=0.9)
    async with busied(tmp_path, drain_s=5.0, notifier=notifier) as busy:
        await trio.sleep(0.3)
        before = manager.heard()
        await busy.begin()
        await trio.sleep(0.4)
        during = manager.heard()
        busy.runner.gate.set()
        with trio.fail_after(5):
            await busy.house.ended.wait()
    manager.socket.close()

    assert before[0] == f"READY=1\nSTATUS=ready on port {busy.house.port}"
    assert "WATCHDOG=1" in before
    assert during[0] == "STOPPING=1\nSTATUS=draining: 1 attempts are out"
    assert "WATCHDOG=1" in during, "a drain is no reason to be killed"


@pytest.mark.slow
async def test_a_second_sigterm_ends_the_process_at_once(tmp_path: Path) -> None:
    words = f"hypernode coordinator --faucet --port 0 --db {tmp_path}/market.db --log-text"
    runner = HonestRunner()
    runner.gate = trio.Event()
    async with (
        Program("coordinator", words.split(), tmp_path) as program,
        trio.open_nursery() as nursery,
    ):
        await program.until_said("listening on", 30)
        (port,) = re.findall(r"listening on \S+:(\d+)", program.log.read_text())
        house = House(int(port), nursery)
        async with (
            agent_at(house, runner, "hashsearch"),
            AsyncClient(house.url, generate()) as client,
        ):
            await client.faucet("100")
            await client.submit("hashsearch", search(), budget="1")
            await until(lambda: bool(runner.began))
            process = program.alive()
            process.terminate()
            await program.until_said("draining", 10)
            began = trio.current_time()
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(10):
                status = await process.wait()
            took_s = trio.current_time() - began

    assert status == 128 + signal.SIGTERM
    assert took_s < 3.0
