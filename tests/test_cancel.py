"""An order to stop reaches the sandbox: nothing of the job is left a second later.

Real jails, a real coordinator, a real submitter: what is cancelled, lost, superseded or given back
ends with every process that it started, whatever these did with sessions and signals.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from agent.client import Agent
from agent.welcome import Unwelcome
from agent.worker import LocalRunner
from coordinator.protocol.messages import Resumed
from coordinator.protocol.signing import Keypair, generate
from hypernode.client import AsyncClient
from hypernode.job import Job
from tests.house import HonestRunner, House, agent_at, open_house, until
from tests.processes import living

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

FAKES = str(Path(__file__).resolve().parent / "fakes")
#: A job that does not want to end: it ignores every signal, in sessions of its own, without a
#: descriptor, and has written to its scratch.
STUBBORN = """
head -c 5m /dev/zero > /tmp/mine; head -c 1m /dev/zero > /dev/shm/mine
stubborn() { trap '' HUP INT QUIT TERM USR1 USR2 PIPE ALRM; exec setsid sh -c "
  trap '' HUP INT QUIT TERM; exec sleep $1 </dev/null >/dev/null 2>&1"; }
stubborn MARK.1 & (stubborn MARK.2 &) &
(setsid sh -c "(exec sleep MARK.3) &" &)
trap '' HUP INT QUIT TERM; echo started; sleep MARK.4
"""


@dataclass
class Place:
    """A house whose one agent runs commands in jails of this host."""

    house: House
    runner: LocalRunner
    agent: Agent
    client: AsyncClient
    node_key: Keypair
    wallet: Keypair

    async def begin(self, mark: str) -> tuple[Job, set[str]]:
        """A stubborn job that runs; and the mount namespace in which its scratch lives."""
        line = STUBBORN.replace("MARK", mark)
        job = await self.client.submit("command", {"command": line}, budget="5", retries=0)
        await until(lambda: len(living(mark.encode())) >= 4, 10)
        namespaces = {_namespace(pid) for pid in living(mark.encode())}
        assert namespaces - {"", _namespace(os.getpid())}
        return job, namespaces

    async def see_end(self, mark: str, namespaces: set[str]) -> float:
        """Wait until nothing is left of a job: processes, scratch, control group; how long it was.

        A namespace without a process is gone, and with it what was mounted in it.
        """
        began = trio.current_time()
        await until(lambda: not living(mark.encode()), 3)
        took_s = trio.current_time() - began
        here = _namespace(os.getpid())
        assert not (namespaces - {here}) & _namespaces()
        await until(lambda: self._groups() <= 1, 3)  # The warm worker's own.
        return took_s

    def _groups(self) -> int:
        home = self.runner.sandbox.home if self.runner.sandbox is not None else None
        return 0 if home is None else len(list(home.memory.glob(f"hypernode-{os.getpid()}-*")))


def _namespaces() -> set[str]:
    """Of every process of this machine."""
    names = [entry.name for entry in Path("/proc").iterdir()]
    return {_namespace(int(name)) for name in names if name.isdigit()}


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")  # noqa: PTH115
    except OSError:
        return ""


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    runner = LocalRunner(allow_command=True, kernels="fake_kernels", import_paths=[FAKES])
    with trio.fail_after(90):
        report = await runner.start()
        if report.level < 1:
            pytest.skip("no sandbox here: " + "; ".join(report.remarks))
        node_key, wallet = generate(), generate()
        try:
            async with (
                open_house(tmp_path) as house,
                agent_at(
                    *(house, runner, "command", "hashsearch"),
                    wallet=wallet,
                    node_key=node_key,
                    sandbox=report.level,
                ) as agent,
                AsyncClient(house.url, generate()) as client,
            ):
                await client.faucet("100")
                yield Place(house, runner, agent, client, node_key, wallet)
        finally:
            with trio.CancelScope(shield=True):
                await runner.aclose()


async def test_a_cancelled_command_is_gone_within_a_second_with_all_that_it_started(
    place: Place,
) -> None:
    job, namespaces = await place.begin("5101")
    await job.cancel()
    took_s = await place.see_end("5101", namespaces)
    await until(lambda: place.agent.attempts.is_idle)

    assert took_s < 1
    assert job.state == "cancelled"
    assert len(place.agent.attempts.outbox) == 0


async def test_a_command_whose_lease_is_lost_ends_at_the_resume(place: Place) -> None:
    """What the coordinator does not keep at a resume is stopped: it has it elsewhere."""
    _job, namespaces = await place.begin("5102")
    attempts = place.agent.attempts
    attempts.resume(Resumed(keep=[]), attempts.listed())

    assert await place.see_end("5102", namespaces) < 1


async def test_an_agent_that_is_superseded_stops_its_jobs_and_says_why(place: Place) -> None:
    """Two agents with one node key: the newer one wins, the older one ends instead of fighting."""
    _job, namespaces = await place.begin("5103")
    newer = HonestRunner()
    async with agent_at(
        *(place.house, newer, "hashsearch"), wallet=place.wallet, node_key=place.node_key
    ):
        took_s = await place.see_end("5103", namespaces)
        await until(lambda: place.agent.failure is not None)

    assert took_s < 1
    assert isinstance(place.agent.failure, Unwelcome)
    assert place.agent.failure.code == "superseded"
    assert "state directory" in place.agent.failure.fix


async def test_a_drain_that_has_no_more_time_ends_what_runs(place: Place) -> None:
    _job, namespaces = await place.begin("5104")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(place.agent.drain, 1.0))
        await trio.sleep(0.8)
        took_s = await place.see_end("5104", namespaces)

    assert took_s < 1.2


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.03, 0.1])
async def test_a_command_cancelled_while_its_jail_starts_leaves_nothing(
    place: Place, seconds: float
) -> None:
    job = await place.client.submit(
        "command", {"command": STUBBORN.replace("MARK", "5105")}, budget="5", retries=0
    )
    await until(lambda: not place.agent.attempts.is_idle)
    await trio.sleep(seconds)
    await job.cancel()
    await until(lambda: place.agent.attempts.is_idle)

    await place.see_end("5105", set())
