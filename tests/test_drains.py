"""Drained nodes at work: not matched, told why, tried when their time is over, and back; or not.

The house's index over a real engine and store, with agents that only listen and a clock that a test
moves. Not here: who is drained (`test_quarantine.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator import events as ev
from coordinator.drains import probe_for
from coordinator.limits import DRAIN_FIRST_MS, PROBES_MIN
from coordinator.operations import Operations
from coordinator.pricing import quote
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import decode_spec
from coordinator.quarantine import Strike
from coordinator.scheduler import Capability
from coordinator.store.values import Job, JobState, Node, NodeDrain
from coordinator.workloads.catalogue import KINDS, get
from tests.build import RULES, Market, answer, failure, montecarlo_spec
from tests.test_operations import HandClock, operations
from tests.test_quarantine import WALLETS

CAPABILITY = Capability(
    kinds=frozenset({"montecarlo", "hashsearch"}), has_gpu=False, vram_gib=0, sandbox=2,
    worker_sandbox=2, slots=2, window=8,
)  # fmt: skip


@dataclass
class Listener:
    """An agent's side that keeps what it is told."""

    is_ready: bool = True
    wallet: bytes = bytes(32)
    jobs: list[Job] = field(default_factory=list)
    standings: list[NodeDrain | None] = field(default_factory=list)

    def send_job(self, job: Job, execution_s: int) -> None:
        assert execution_s > 0
        self.jobs.append(job)

    def send_standing(self, drained: NodeDrain | None) -> None:
        self.standings.append(drained)

    def stop(self, job: int, fence: int, code: str) -> None: ...
    def send_receipts(self, batches: Any) -> None: ...
    def drain(self, seconds: int) -> None: ...
    def end(self, refusal: Refusal) -> None: ...
    def leave(self) -> None: ...


class House:
    """Eight nodes of eight operators, and the house's index over them."""

    def __init__(self) -> None:
        self.market, self.clock = Market(), HandClock()
        self.operations = operations(self.market, self.clock)
        self.nodes = [self.market.add_node(wallet) for wallet in WALLETS[:8]]
        self.agents = [Listener() for _ in self.nodes]
        for node, agent in zip(self.nodes, self.agents, strict=True):
            self.connect(node, agent)

    def connect(self, node: Node, agent: Listener) -> int:
        connection = self.operations.join(node.id, agent)
        self.operations.set_capability(node.id, CAPABILITY)
        return connection

    async def settle(self) -> None:
        """Let everything that was told be written, and everything that follows."""
        self.market.now_ms = self.clock.now_ms
        while len(self.operations.writer):
            await self.operations.writer.flush()

    async def fail(self, node: Node) -> None:
        """Five jobs of three submitters fail here and are completed by two other operators."""
        for number in range(5):
            strike = Strike(node.id, WALLETS[number % 3], "agent_error", WALLETS[number % 2])
            self.operations.carry_out([ev.HostFailed(strike)])
        await self.settle()

    async def pass_ms(self, ms: int) -> None:
        self.clock.now_ms += ms
        for node in self.nodes:
            self.operations.registry.hear(node.id, self.clock.monotonic())
        self.operations.drains.try_again(self.operations._capabilities, self.clock.now_ms)
        await self.settle()

    async def answer_probe(self, place: int, *, is_good: bool = True) -> None:
        """The newest test job ends."""
        job = self.agents[place].jobs[-1]
        made = self.operations.writer
        if is_good:
            made.tell(answer(job))
            await self.settle()
            made.tell(ev.VerdictReached(job.id, job.fence, "accepted", "", bytes(32)))
        else:
            made.tell(failure(job))
        await self.settle()

    def placed_on(self, job: Job) -> set[int]:
        """Where a job of this kind may go now: the nodes of many matches."""
        for number in range(64):
            self.operations._add_waiting(replace(job, id=10_000 + number), self.clock.now_ms)
        return {node for _, node in self.operations.scheduler.match(self.clock.now_ms)}


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    made.operations.verifier = _NoVerifier()  # type: ignore[assignment]
    yield made
    made.market.close()


class _NoVerifier:
    """Verdicts are told by the tests."""

    def add(self, _due: object) -> None: ...


async def test_a_failing_node_is_drained_told_why_and_gets_nothing_new(house: House) -> None:
    bad = house.nodes[3]
    await house.fail(bad)

    (drained,) = house.agents[3].standings
    assert drained is not None
    assert len(house.operations.drains) == 1
    assert drained.reason.startswith("5 of its last 5 jobs failed here (agent_error)")
    assert list(house.market.reader.node_drains()) == [drained]
    job = house.market.queued(montecarlo_spec())
    assert house.placed_on(job) == {node.id for node in house.nodes} - {bad.id}
    assert [agent.standings for agent in house.agents[:3]] == [[], [], []]


async def test_who_comes_back_drained_is_told_again_and_gets_nothing(house: House) -> None:
    bad = house.nodes[3]
    await house.fail(bad)
    again = Listener()
    house.connect(bad, again)

    assert again.standings == [house.operations.drains.of(bad.id)]
    assert bad.id not in house.placed_on(house.market.queued(montecarlo_spec()))


async def test_a_drain_outlives_a_restart(house: House) -> None:
    await house.fail(house.nodes[3])
    anew: Operations = operations(house.market, house.clock)
    anew.verifier = _NoVerifier()  # type: ignore[assignment]
    anew.restore(house.market.reader)

    agent = Listener()
    anew.join(house.nodes[3].id, agent)
    anew.set_capability(house.nodes[3].id, CAPABILITY)
    assert agent.standings == [house.operations.drains.of(house.nodes[3].id)]
    assert anew.scheduler.match(house.clock.now_ms) == []


async def test_after_its_time_test_jobs_in_a_row_bring_a_node_back(house: House) -> None:
    bad = house.nodes[3]
    await house.fail(bad)
    await house.pass_ms(DRAIN_FIRST_MS - 1)
    assert house.agents[3].jobs == []

    for number in range(1, PROBES_MIN + 1):
        await house.pass_ms(1)
        await house.pass_ms(1)
        assert len(house.agents[3].jobs) == number, "one at a time"
        assert house.operations.drains.of(bad.id) is not None
        await house.answer_probe(3)

    assert house.agents[3].standings[-1] is None
    assert list(house.market.reader.node_drains()) == []
    assert bad.id in house.placed_on(house.market.queued(montecarlo_spec()))
    assert house.market.reader.node(bad.id).earned == 0  # type: ignore[union-attr]


async def test_a_failed_test_job_drains_a_node_anew_and_for_longer(house: House) -> None:
    bad = house.nodes[3]
    await house.fail(bad)
    await house.pass_ms(DRAIN_FIRST_MS)
    await house.answer_probe(3)
    await house.pass_ms(1)
    await house.answer_probe(3, is_good=False)

    drained = house.operations.drains.of(bad.id)
    assert drained is not None
    assert (drained.count, drained.until_ms - drained.began_ms) == (2, 2 * DRAIN_FIRST_MS)
    assert drained.reason.endswith("; a test job: agent_error")
    await house.pass_ms(2 * DRAIN_FIRST_MS)
    for _ in range(PROBES_MIN):
        await house.answer_probe(3)
        await house.pass_ms(1)
    assert house.operations.drains.of(bad.id) is None


async def test_a_test_job_that_was_lost_on_the_way_says_nothing(house: House) -> None:
    bad = house.nodes[3]
    await house.fail(bad)
    await house.pass_ms(DRAIN_FIRST_MS)
    job = house.agents[3].jobs[-1]
    house.operations.writer.tell(ev.AttemptLost(job.id, job.fence, "lease_lost"))
    await house.settle()
    assert house.operations.drains.of(bad.id).count == 1  # type: ignore[union-attr]

    await house.pass_ms(1)
    assert len(house.agents[3].jobs) == 2


async def test_a_node_that_is_away_is_tried_when_it_comes_back(house: House) -> None:
    bad = house.nodes[3]
    await house.fail(bad)
    connection = house.connect(bad, house.agents[3])
    house.operations.leave(bad.id, connection)
    house.nodes.remove(bad)
    await house.pass_ms(DRAIN_FIRST_MS)
    assert house.agents[3].jobs == []

    house.connect(bad, house.agents[3])
    await house.pass_ms(1)
    assert len(house.agents[3].jobs) == 1


async def test_what_the_store_did_not_take_is_decided_again(house: House) -> None:
    bad = house.nodes[3]
    await house.fail(bad)
    refused: list[ev.Event] = []

    def refuse(event: ev.Event, then: Any) -> None:
        refused.append(event)
        then(ev.Outcome(refusal=Refusal("busy")))

    house.operations.drains._tell = refuse
    await house.pass_ms(DRAIN_FIRST_MS)
    await house.pass_ms(1)
    assert [type(event) for event in refused] == [ev.TestJobDue] * 2
    house.operations.drains._tell = house.operations._tell
    await house.pass_ms(1)
    assert len(house.agents[3].jobs) == 1


async def test_an_administrator_drains_and_brings_back(house: House) -> None:
    node = house.nodes[0]
    house.operations.writer.tell(ev.NodeFailing(node.id, "look at it", 60_000))
    await house.settle()
    assert node.id not in house.placed_on(house.market.queued(montecarlo_spec()))
    house.operations.writer.tell(ev.NodeWell(node.id))
    await house.settle()

    assert [bool(standing) for standing in house.agents[0].standings] == [True, False]
    assert node.id in house.placed_on(house.market.queued(montecarlo_spec(), key="second"))


async def test_what_fails_everywhere_drains_a_quarter_of_the_nodes_at_most(house: House) -> None:
    for node in house.nodes:
        await house.fail(node)

    assert len(house.market.reader.node_drains()) == len(house.nodes) // 4


async def test_verified_work_counts_for_a_node_and_unverified_does_not(house: House) -> None:
    node = house.nodes[3].id
    strike = Strike(node, WALLETS[0], "agent_error", WALLETS[1])
    house.operations.carry_out([ev.HostFailed(strike)])
    hosts = house.operations.drains._hosts
    job = replace(house.market.queued(montecarlo_spec()), node=node, state=JobState.COMPLETED)

    none = b'"verify":{"policy":"none"}'
    unverified = replace(job, spec=montecarlo_spec()[:-1] + b"," + none + b"}")
    house.operations.carry_out([ev.JobChanged(unverified)])
    assert len(hosts._outcomes[node]) == 1
    house.operations.carry_out([ev.JobChanged(job)])
    assert len(hosts._outcomes[node]) == 2


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_test_job_is_one_that_the_node_runs(kind: str) -> None:
    capability = replace(CAPABILITY, kinds=frozenset({kind}))
    spec = decode_spec(probe_for(capability, 1_800_000_000_000))
    asked = quote(spec, RULES)

    assert spec.kind == kind
    assert get(kind).is_timed or asked.flop < 10**9, "a test costs next to nothing"
