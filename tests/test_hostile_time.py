"""Time, attacked: heartbeats in other nodes' names, connections that were superseded, set clocks.

Real sessions over streams in memory, Trio's mock clock. Leases end by what each node itself says on
its own connection, and nothing that anybody does to the system's clock moves one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trio
from trio.testing import MockClock

from coordinator import events as ev
from coordinator.clock import SteadyClock
from coordinator.limits import HEARTBEAT_S, LEASE_GRACE_S, LEASE_S
from coordinator.protocol import messages as m
from coordinator.protocol.commitment import output_root
from coordinator.protocol.signing import Keypair, generate
from coordinator.store.values import Job, JobState
from onchain.amounts import UNITS
from tests.house import inventory_of, search
from tests.indoors import Indoors, open_indoors, spec_of
from tests.peer import Peer
from tests.world import START_MS

THREE_DAYS_MS = 3 * 24 * 3_600_000
#: One second of a command, base units.
SECOND = UNITS // 100


class SetClock:
    """The system's clock, which somebody sets."""

    def __init__(self) -> None:
        self.jump_ms = 0

    def __call__(self) -> int:
        return START_MS + int(trio.current_time() * 1000) + self.jump_ms


@dataclass
class Stage:
    house: Indoors
    submitter: Peer
    system: SetClock

    def row(self, public: str) -> Job:
        coordinator = self.house.coordinator
        found = coordinator.reader.job(coordinator.api.ids.decode("job", public))
        assert found is not None
        return found.job

    async def node(self, key: Keypair, *kinds: str, sandbox: int = 0) -> Peer:
        peer = await self.house.connect()
        await peer.register(key, await self.house.token(generate()))
        inventory = inventory_of(*kinds)
        await peer.offer(msgspec.structs.replace(inventory, sandbox=sandbox))
        return peer


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    system = SetClock()
    async with open_indoors(tmp_path, clock=SteadyClock(system)) as house:
        wallet = generate()
        submitter = await house.connect()
        await submitter.open(await house.bearer(wallet))
        writer = house.coordinator.operations.writer
        await writer.ask(ev.FaucetAsked(wallet.address, 100 * UNITS, "start"))
        yield Stage(house, submitter, system)


async def beat(peer: Peer, *, seconds: float, node: str = "") -> None:
    """Heartbeats for so long, in the name of that node."""
    for _ in range(int(seconds / HEARTBEAT_S)):
        await peer.say(m.Heartbeat(node_id=node or peer.node))
        await peer.expect("ack")
        await trio.sleep(HEARTBEAT_S)


async def test_a_heartbeat_in_another_nodes_name_renews_nothing_of_it(
    stage: Stage, autojump_clock: MockClock
) -> None:
    victim = await stage.node(generate(), "hashsearch")
    spoofer = await stage.node(generate(), "montecarlo")
    job = await stage.submitter.submit(spec_of("hashsearch", **search()))
    await victim.job()
    await beat(spoofer, seconds=LEASE_S + LEASE_GRACE_S + HEARTBEAT_S, node=victim.node)

    row = stage.row(job)
    assert (row.state, row.losses) == (JobState.QUEUED, 1), "its own silence ended its lease"


async def test_what_a_node_says_itself_keeps_its_lease(
    stage: Stage, autojump_clock: MockClock
) -> None:
    """The control: the same wait, with the victim's own heartbeats."""
    victim = await stage.node(generate(), "hashsearch")
    job = await stage.submitter.submit(spec_of("hashsearch", **search()))
    await victim.job()
    await beat(victim, seconds=LEASE_S + LEASE_GRACE_S + HEARTBEAT_S, node="node-1-0" * 2)

    assert (stage.row(job).state, stage.row(job).losses) == (JobState.ASSIGNED, 0)


async def test_a_connection_that_was_superseded_says_nothing_for_the_node_any_more(
    stage: Stage, autojump_clock: MockClock
) -> None:
    key = generate()
    first = await stage.node(key, "hashsearch")
    job = await stage.submitter.submit(spec_of("hashsearch", **search()))
    sent = await first.job()
    second = await stage.house.connect()
    await second.register(key)
    await second.say(inventory_of("hashsearch"))
    await second.say(m.Resume([m.Attempt(job, sent["fence"])]))
    resumed = await second.expect("resumed")
    assert resumed["keep"] == [{"job": job, "fence": sent["fence"]}]

    # It is told, and closed: there is no way to go on beating.
    assert (await first.end()).codes == ["superseded"]
    await trio.sleep(LEASE_S + LEASE_GRACE_S + 1)
    assert stage.row(job).losses == 1, "only the new connection's words count, and it is silent"


@pytest.mark.parametrize("jump_ms", [THREE_DAYS_MS, -THREE_DAYS_MS])
async def test_a_clock_set_by_three_days_ends_no_wait_no_lease_and_costs_nobody_anything(
    stage: Stage, autojump_clock: MockClock, jump_ms: int
) -> None:
    node = await stage.node(generate(), "command", sandbox=2)
    spec = b'{"kind":"command","params":{"command":"sleep"},"limits":{"execution_s":3600}}'
    running = await stage.submitter.submit(spec, budget="40")
    sent = await node.job()
    waits = await stage.submitter.submit(spec_of("hashsearch", **search()))
    await trio.sleep(5)
    stage.system.jump_ms = jump_ms
    await beat(node, seconds=60)

    assert stage.row(running).state is JobState.ASSIGNED, "its lease and its time go on"
    assert stage.row(waits).state is JobState.QUEUED, "its day in the queue has just begun"
    log = np.frombuffer(b"done", dtype=np.uint8)
    array: Any = m.Array("uint8", [4], 4, offset=0)
    result = m.ResultItem(
        running, sent["fence"], "completed", outputs=[array], root=output_root([b"done"]).hex()
    )
    assert await node.answer(result, log.tobytes()) == "accepted"
    # 65 s ran, by a clock that gave way by a thousandth.
    assert 64 * SECOND <= stage.row(running).paid <= 66 * SECOND
    assert abs(stage.row(running).finished_ms - stage.row(running).assigned_ms - 65_000) < 500
