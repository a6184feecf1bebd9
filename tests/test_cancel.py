"""A submitter's word reaches the sandbox: the process is gone, the slot is free, the time is paid.

A real coordinator, a real agent with a real sandbox (bubblewrap), commands that would sleep for
minutes. Not here: the sandbox's own ways to end a job (`test_sandbox.py`), kernels (`test_worker`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.client import Agent
from agent.worker import LocalRunner
from coordinator.protocol.signing import Keypair, generate
from hypernode.client import AsyncClient
from hypernode.job import Job
from tests.house import House, agent_at, captured_log, open_house, until
from tests.processes import living

#: From the submitter's word to the end of the process.
REACHES_S = 1.0
PRICE_PER_S = Decimal("0.01")
FAKES = str(Path(__file__).parent / "fakes")

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


@dataclass
class Stage:
    house: House
    agent: Agent
    client: AsyncClient
    operator: Keypair

    async def sleeping(self, name: str, **options: Any) -> Job:
        """A command that sleeps for ten minutes, under a number of its own, and does."""
        command = {"command": f"setsid sleep {name} & echo begun; sleep {name}"}
        job = await self.client.submit("command", command, budget="5", **options)
        await until(lambda: len(living(name.encode())) >= 2, seconds=10)
        return job


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    # Kernels that are quick to import: these tests run commands only.
    runner = LocalRunner(allow_command=True, kernels="fake_kernels", import_paths=[FAKES])
    await runner.start()
    if not runner.report.level:
        await runner.aclose()
        pytest.skip("no sandbox here: " + "; ".join(runner.report.remarks))
    operator = generate()
    try:
        with captured_log() as log:
            async with (
                open_house(tmp_path) as house,
                agent_at(house, runner, "command", wallet=operator, sandbox=2) as agent,
                AsyncClient(house.url, generate()) as client,
            ):
                await client.faucet("100")
                with trio.fail_after(40):
                    yield Stage(house, agent, client, operator)
            assert not log.failures(), log.failures()
    finally:
        with trio.CancelScope(shield=True):
            await runner.aclose()


async def paid(stage: Stage, job: Job) -> tuple[Decimal, Decimal]:
    """What the job cost, and what its operator earned."""
    info = await stage.client.job(job.id)
    async with AsyncClient(stage.house.url, stage.operator) as operator:
        account = await operator.account()
    return Decimal(info.paid), Decimal(account.earned_total)


async def test_a_cancelled_command_is_gone_within_a_second_and_its_time_is_paid(
    stage: Stage,
) -> None:
    began = trio.current_time()
    job = await stage.sleeping("600.4321")
    await trio.sleep(0.5)
    asked = trio.current_time()
    await job.cancel()
    await until(lambda: not living(b"600.4321"), seconds=REACHES_S)
    await until(lambda: stage.agent.attempts.is_idle, seconds=REACHES_S)
    gone_s = trio.current_time() - asked

    assert gone_s < REACHES_S
    assert job.state == "cancelled"
    cost, earned = await paid(stage, job)
    ran_s = Decimal(asked - began)
    # By the coordinator's clock, from assignment to cancel: no more than the test itself saw.
    assert PRICE_PER_S / 2 <= cost <= (ran_s + Decimal("0.2")) * PRICE_PER_S
    assert Decimal("0.97") * cost <= earned < cost, "the price less the house's fee"
    account = await stage.client.account()
    assert (account.held, Decimal(account.credit)) == ("0", 100 - cost)
    # The slot is free: the next command runs at once.
    after = await stage.client.submit("command", {"command": "echo free"}, budget="1")
    assert (await after.result(5)).text == "free\n"


async def test_a_command_whose_total_time_is_over_is_gone_too(stage: Stage) -> None:
    job = await stage.sleeping("600.4322", timeout_s=60, total_timeout_s=2)
    assert await job.wait(6) == "failed"
    await until(lambda: not living(b"600.4322"), seconds=REACHES_S)

    info = await stage.client.job(job.id)
    assert info.code == "total_timeout"
    assert PRICE_PER_S <= Decimal(info.paid) <= 4 * PRICE_PER_S


async def test_a_command_past_its_own_time_is_ended_by_the_agent_and_its_log_is_kept(
    stage: Stage,
) -> None:
    job = await stage.sleeping("600.4323", timeout_s=1, retries=0)
    assert await job.wait(8) == "cancelled"
    assert not living(b"600.4323")

    info = await stage.client.job(job.id)
    assert (info.code, Decimal(info.paid)) == ("execution_timeout", PRICE_PER_S)
    assert "".join([piece async for piece in job.logs()]) == "begun\n"


async def test_cancelling_one_of_two_commands_leaves_the_other_one_alone(stage: Stage) -> None:
    first = await stage.sleeping("600.4324")
    waits = await stage.client.submit("command", {"command": "echo second"}, budget="1")
    await first.cancel()

    # It waited for the only slot.
    assert (await waits.result(10)).text == "second\n"
    assert not living(b"600.4324")
