"""The coordinator is gone for good: what its agents kept is enough, with the chain alone.

Real books, the real program, the real way of the papers: settler, `Pushing`, the agent's disk.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from agent.disk import FolderDisk, inline
from agent.paper_rules import Kept, proofs_in, vouchers_in
from agent.papers import PapersKeeper, read_papers
from coordinator.evidence_limits import PAPERS_GAP_S
from coordinator.protocol.messages import Papers, PapersKept
from coordinator.settlement.pushing import Pushing
from hypernode.kept_claims import Claimed, NothingKept, claim_kept
from onchain.address import encode_address
from onchain.fees import Fees
from onchain.program_refusals import ProgramRefused
from onchain.role_calls import revoke_root
from onchain.sender import Pace
from tests.build import NODE, OPERATOR
from tests.chains import SOL, key
from tests.ledger_values import LIMITS
from tests.settling import House, open_house

HOST = encode_address(OPERATOR.address)


class Agent:
    """An agent that keeps what it is sent; its folder outlives everybody."""

    def __init__(self, folder: Path, house: House) -> None:
        self.node: Any = SimpleNamespace(id=1)
        self.wallet = OPERATOR.address
        self.papers: PapersKept | None = PapersKept()
        self.folder = folder
        self.house = house
        self.keeper: PapersKeeper

    def send_papers(self, papers: Papers, after: PapersKept) -> None:
        self.papers = after
        self.house.nursery.start_soon(self.keeper.take, papers)  # type: ignore[attr-defined]


async def ask(house: House, agent: Agent) -> None:
    """The agent comes (back), and the house sends what it lacks."""
    now_ms = 1000 * (await house.bazaar.chain.clock()).unix_s
    agent.keeper = await PapersKeeper.load(
        FolderDisk(agent.folder), wallet=lambda: HOST, now_ms=lambda: now_ms, hop=inline
    )
    agent.papers = agent.keeper.summary

    async def read(function: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(house.market.reader)

    pushing = Pushing(
        house.settlement, is_here=lambda _: True, read=read, wall_ms=lambda: now_ms,
        metrics=house.metrics.settlement,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        house.nursery = nursery  # type: ignore[attr-defined]
        nursery.start_soon(pushing.run)
        pushing.join(agent)
        await trio.sleep(5 * PAPERS_GAP_S)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def house(tmp_path: Path) -> House:
    made = await open_house(tmp_path, advance_cap=20_000, wallet_advance_cap=10_000)
    made.market.node = made.market.add_node(node_key=NODE.address)
    made.bazaar.chain.airdrop(OPERATOR.address, SOL)
    return made


@pytest.fixture
def agent(house: House, tmp_path: Path) -> Agent:
    return Agent(tmp_path / "agent", house)


def kept_by(agent: Agent) -> Kept:
    found = read_papers(agent.folder, HOST)
    assert found is not None
    return found


async def claimed(house: House, agent: Agent) -> Claimed:
    """What `hypernode claim --kept` does, with the chain and the agent's folder alone."""
    kept, bazaar = kept_by(agent), house.bazaar
    return await claim_kept(
        bazaar.chain, bazaar.market, OPERATOR, proofs_in(kept), vouchers_in(kept), Fees(),
        Pace(poll_s=0.001),
    )  # fmt: skip


async def test_with_the_coordinator_gone_for_good_a_host_claims_all_that_it_can_prove(
    house: House, agent: Agent
) -> None:
    await house.bazaar.deposit(house.bazaar.market.ledger, 20_000)
    house.later()
    rooted = house.market.earn()
    await house.settle()
    unrooted = house.market.earn("later")
    await house.round()
    await ask(house, agent)
    await house.close()  # and nobody ever starts it again

    done = await claimed(house, agent)

    kept = kept_by(agent)
    assert [each.epoch for each in kept.proofs] == [1]
    assert kept.ledger == encode_address(house.bazaar.market.ledger)
    assert done.after - done.before == rooted + unrooted
    assert (len(done.signatures), done.passed_over) == (2, ())
    with pytest.raises(ProgramRefused, match="NothingToClaim"):
        await claimed(house, agent)


async def test_papers_that_are_older_than_the_chain_say_why_they_are_worth_nothing(
    house: House, agent: Agent
) -> None:
    house.market.earn()
    await house.settle()
    await ask(house, agent)
    for name in ("second", "third"):
        house.later(LIMITS.min_epoch_interval)
        house.market.earn(name)
        await house.settle()
    await house.close()

    with pytest.raises(ProgramRefused, match="StaleEpoch"):
        await claimed(house, agent)


async def test_an_active_root_that_was_revoked_leaves_the_proof_before_it(
    house: House, agent: Agent
) -> None:
    first = house.market.earn()
    await house.settle()
    await ask(house, agent)
    house.later(LIMITS.min_epoch_interval)
    house.market.earn("second")
    await house.settle()
    await ask(house, agent)
    await house.close()
    bazaar = house.bazaar
    call = revoke_root(bazaar.market, authority=key("guardian").address, epoch=2)
    await bazaar.do(call, signers=(key("guardian"),))

    done = await claimed(house, agent)

    assert [each.epoch for each in kept_by(agent).proofs] == [2, 1]
    assert done.after - done.before == first
    (passed,) = done.passed_over
    assert passed.startswith("the proof of epoch 2: ")


async def test_a_wallet_without_papers_is_told_so(house: House) -> None:
    bazaar = house.bazaar
    await house.close()
    with pytest.raises(NothingKept):
        await claim_kept(bazaar.chain, bazaar.market, OPERATOR, [], [], Fees())
