"""Papers leave one wallet at a time, to agents that lack them: no burst, no signature too many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from coordinator.evidence_limits import (
    PAPERS_GAP_S,
    PAPERS_TOGETHER_MAX,
    VOUCHER_LOOK_S,
    VOUCHER_RENEW_S,
)
from coordinator.limits import INTEGER_MAX, KIB, VOUCHER_LIFE_S
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.codec import encode
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.messages import EarningsProof, Heartbeat, Papers, PapersKept, Resume
from coordinator.protocol.signing import generate
from coordinator.settlement.pushing import Pushing, is_needed
from coordinator.settlement_desk import SettlementDesk
from coordinator.settlement_metrics import SettlementMetrics
from coordinator.settlement_views import ProofView
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.errors import OnchainError
from onchain.vouchers import SignedVoucher, sign_voucher, voucher_for
from tests.house import House as RealHouse, inventory_of, open_house
from tests.kept_papers import VOUCHER_KEY
from tests.ledger_values import MARKET, NOW
from tests.peer import Peer, dialled

HYPER = 1_000_000
NOTHING = PapersKept()


class Agent:
    """A connected agent, as `Pushing` knows it."""

    def __init__(self, node: int, wallet: int, kept: PapersKept | None = NOTHING) -> None:
        self.node: Any = SimpleNamespace(id=node)
        self.wallet = wallet.to_bytes(32, "big")
        self.papers = kept
        self.is_here = True
        self.got: list[tuple[float, Papers]] = []

    def send_papers(self, papers: Papers, after: PapersKept) -> None:
        self.papers = after
        self.got.append((trio.current_time(), papers))

    @property
    def told(self) -> list[str]:
        """What came, in short."""
        return [
            " ".join(
                ([f"proof {papers.proof.epoch}"] if papers.proof else [])
                + (["voucher"] if papers.voucher else [])
            )
            for _, papers in self.got
        ]


class House:
    """The shell's part: a root, earnings by wallet, vouchers that are counted."""

    def __init__(self) -> None:
        self.active_epoch = 0
        self.key_epoch: int | None = None
        self.rooted = 10 * HYPER
        self.earned = 10 * HYPER
        self.signed = 0
        self.proved = 0
        self.broken: Exception | None = None
        self.registry = CollectorRegistry()
        self.pushing = Pushing(
            self,
            is_here=lambda holder: holder.is_here,  # type: ignore[attr-defined]
            read=self.read,
            wall_ms=lambda: 1000 * self.now_s,
            metrics=SettlementMetrics(self.registry, lambda: 0),
        )

    @property
    def now_s(self) -> int:
        return NOW + int(trio.current_time())

    async def read(self, _function: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return SimpleNamespace(credits=self.earned)

    async def proof(self, wallet: bytes) -> ProofView | None:
        await trio.lowlevel.checkpoint()
        if self.broken is not None:
            raise self.broken
        self.proved += 1
        if not self.active_epoch:
            return None
        return ProofView(
            ledger=encode_address(MARKET.ledger), wallet=encode_address(wallet),
            epoch=self.active_epoch, root="00" * 32, leaf_count=1, index=0,
            lifetime=format_hyper(self.rooted), proof=[],
        )  # fmt: skip

    async def signed_voucher(self, wallet: bytes) -> SignedVoucher:
        await trio.lowlevel.checkpoint()
        if self.earned == 0:
            raise Refusal("not_found", "nothing was earned")
        self.signed += 1
        assert self.key_epoch is not None
        said = voucher_for(
            MARKET, wallet, cumulative=self.earned, expires_at=self.now_s + VOUCHER_LIFE_S,
            key_epoch=self.key_epoch,
        )  # fmt: skip
        return sign_voucher(VOUCHER_KEY, said)

    def sent(self, kind: str) -> float | None:
        return self.registry.get_sample_value("hypernode_settlement_papers_total", {"kind": kind})


@asynccontextmanager
async def pushing(**facts: Any) -> AsyncIterator[House]:
    house = House()
    for name, value in facts.items():
        setattr(house, name, value)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.pushing.run)
        yield house
        nursery.cancel_scope.cancel()


async def test_an_agent_gets_what_it_lacks_when_it_comes_and_nothing_again(
    autojump_clock: MockClock,
) -> None:
    async with pushing(active_epoch=3, key_epoch=0, earned=12 * HYPER) as house:
        new, has_all = Agent(1, 1), Agent(2, 2, PapersKept(3, "12", NOW + VOUCHER_LIFE_S))
        for agent in (new, has_all):
            house.pushing.join(agent)
        await trio.sleep(1)
        house.pushing.join(new)
        await trio.sleep(1)

        assert (new.told, has_all.told) == (["proof 3 voucher"], [])
        ((_, papers),) = new.got
        assert papers.proof is not None
        assert (papers.proof.lifetime, papers.proof.wallet) == ("10", encode_address(new.wallet))
        assert new.papers == PapersKept(3, "12", house.now_s - 2 + VOUCHER_LIFE_S, 0)
        assert (house.sent("proof"), house.sent("voucher")) == (1, 1)


async def test_an_older_agent_and_one_that_left_are_sent_nothing(
    autojump_clock: MockClock,
) -> None:
    async with pushing(active_epoch=3) as house:
        older, gone = Agent(1, 1, None), Agent(2, 2)
        for agent in (older, gone):
            house.pushing.join(agent)
        gone.is_here = False
        await trio.sleep(1)

        assert (older.got, gone.got) == ([], [])
        assert house.proved == 1


async def test_a_root_that_becomes_active_reaches_everybody_in_the_order_of_the_leaves(
    autojump_clock: MockClock,
) -> None:
    async with pushing() as house:
        agents = [Agent(number, number) for number in (5, 3, 9, 1)]
        for agent in agents:
            house.pushing.join(agent)
        await trio.sleep(1)
        assert all(not agent.got for agent in agents)
        house.active_epoch = 1
        house.pushing.look()
        house.pushing.look()
        await trio.sleep(1)

        assert all(agent.told == ["proof 1"] for agent in agents)
        order = sorted(agents, key=lambda agent: agent.got[0][0])
        assert [agent.node.id for agent in order] == [1, 3, 5, 9]


@pytest.mark.slow
async def test_ten_thousand_agents_are_spread_over_minutes(autojump_clock: MockClock) -> None:
    count = 10_000
    async with pushing(active_epoch=1) as house:
        agents = [Agent(number, number) for number in range(count)]
        for agent in agents:
            house.pushing.join(agent)
        # Each of them comes back at once, too.
        for agent in agents:
            house.pushing.join(agent)
        await trio.sleep(count * PAPERS_GAP_S + 1)

        times = sorted(agent.got[0][0] for agent in agents)
        assert all(later - sooner >= 0.99 * PAPERS_GAP_S for sooner, later in pairwise(times))
        assert house.proved == count


async def test_a_thousand_nodes_of_one_wallet_share_a_proof_and_leave_gaps(
    autojump_clock: MockClock,
) -> None:
    async with pushing(key_epoch=0, earned=12 * HYPER) as house:
        agents = [Agent(number, 7) for number in range(1_000)]
        for agent in agents:
            house.pushing.join(agent)
        await trio.sleep(10)
        house.active_epoch, house.signed, house.proved = 1, 0, 0
        house.pushing.look()
        await trio.sleep(10)

        assert all(agent.told == ["voucher", "proof 1"] for agent in agents)
        assert (house.proved, house.signed) == (1, 0)
        moments = [agent.got[-1][0] for agent in agents]
        assert max(map(moments.count, set(moments))) == PAPERS_TOGETHER_MAX


async def test_one_wallet_that_cannot_be_served_holds_up_nobody(
    autojump_clock: MockClock,
) -> None:
    async with pushing(active_epoch=1, broken=OnchainError("a leaf file is gone")) as house:
        first, second = Agent(1, 1), Agent(2, 2)
        house.pushing.join(first)
        await trio.sleep(1)
        house.broken = None
        house.pushing.join(second)
        await trio.sleep(1)
        assert (first.told, second.told) == ([], ["proof 1"])
        await trio.sleep(VOUCHER_LOOK_S)

        assert first.told == ["proof 1"]


async def test_a_wallet_that_earned_nothing_gets_its_proof_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async with pushing(active_epoch=1, key_epoch=0, earned=0, rooted=5) as house:
        agent = Agent(1, 1)
        house.pushing.join(agent)
        await trio.sleep(1)

        assert agent.told == ["proof 1"]


async def test_vouchers_follow_what_is_earned_and_not_each_job(autojump_clock: MockClock) -> None:
    async with pushing(active_epoch=1, key_epoch=0) as house:
        agent = Agent(1, 1)
        house.pushing.join(agent)
        hours = 24
        for _ in range(hours * 60):
            await trio.sleep(60)
            house.earned += HYPER // 10
        behind = house.earned - (await house.signed_voucher(agent.wallet)).voucher.cumulative
        assert behind == 0
        has = agent.papers
        assert has is not None

        assert 24 <= house.signed - 1 <= hours * 3600 / VOUCHER_LOOK_S
        # A twentieth of what no root covers, and ten minutes' work.
        assert float(has.vouched) >= 0.95 * house.earned / HYPER - 1.1


async def test_a_voucher_comes_again_before_it_ends_and_when_its_key_is_void(
    autojump_clock: MockClock,
) -> None:
    async with pushing(active_epoch=1, key_epoch=0, earned=11 * HYPER) as house:
        agent = Agent(1, 1)
        house.pushing.join(agent)
        await trio.sleep(VOUCHER_LIFE_S - VOUCHER_RENEW_S - 2 * VOUCHER_LOOK_S)
        assert house.signed == 1
        await trio.sleep(4 * VOUCHER_LOOK_S)
        assert house.signed == 2
        house.key_epoch = 1
        await trio.sleep(VOUCHER_LOOK_S)

        assert agent.told == ["proof 1 voucher", "voucher", "voucher"]
        assert agent.papers is not None
        assert agent.papers.key_epoch == 1


NEED: dict[str, int] = {"earned": 200, "rooted": 100, "key_epoch": 2, "now_s": NOW}
LATE = NOW + VOUCHER_RENEW_S + 1


@pytest.mark.parametrize(
    ("kept", "changes", "needed"),
    [
        (PapersKept(), {}, True),
        (PapersKept(), {"rooted": 200}, False),
        (PapersKept(1, "0.0002", LATE, 2), {}, False),
        (PapersKept(1, "0.0002", LATE - 1, 2), {}, True),
        (PapersKept(1, "0.0002", LATE, 1), {}, True),
        (PapersKept(1, "0.000195", LATE, 2), {}, False),
        (PapersKept(1, "0.000194", LATE, 2), {}, True),
        (PapersKept(1, "0.00005", LATE, 2), {"rooted": 199}, True),
    ],
)
def test_the_rule_of_renewal(kept: PapersKept, changes: dict[str, int], needed: bool) -> None:
    assert is_needed(kept, **(NEED | changes)) is needed


async def test_an_amount_that_is_none_ends_the_session_of_who_said_it() -> None:
    house = House()
    with pytest.raises(ProtocolError, match="malformed"):
        house.pushing.join(Agent(1, 1, PapersKept(vouched="much")))
    assert house.pushing.waiting == 0


def test_the_longest_message_of_papers_is_a_small_frame() -> None:
    leaf = EarningsProof(
        ledger="1" * 44, wallet="1" * 44, epoch=INTEGER_MAX, root="f" * 64, leaf_count=INTEGER_MAX,
        index=INTEGER_MAX, lifetime="9223372036854.775807", path=["f" * 64] * 32,
    )  # fmt: skip
    said = voucher_for(MARKET, bytes(32), cumulative=1, expires_at=1, key_epoch=0)
    voucher = encode_base64url(sign_voucher(VOUCHER_KEY, said).pack())

    assert len(encode(Papers(leaf, voucher))) < 4 * KIB


# ---- over a real connection ---------------------------------------------------------------------
@asynccontextmanager
async def node(house: RealHouse, papers: PapersKept | None) -> AsyncIterator[Peer]:
    """An agent of ours that says this of its papers; an older one says nothing."""
    key = generate()
    async with dialled(house) as peer:
        await peer.register(key, await house.token(generate()))
        await peer.say(inventory_of("hashsearch"))
        await peer.say(Resume([], papers))
        yield peer


@pytest.mark.slow
async def test_a_real_link_carries_papers_to_who_keeps_them_and_to_nobody_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(tmp_path) as real, trio.open_nursery() as nursery:
        source = House()
        source.active_epoch, source.key_epoch, source.earned = 1, 0, 12 * HYPER
        pushing = Pushing(
            source,
            is_here=lambda link: link.operations.agents[link.node.id] is link,  # type: ignore[attr-defined]
            read=source.read,
            wall_ms=lambda: 1000 * NOW,
            metrics=SettlementMetrics(CollectorRegistry(), lambda: 0),
        )
        monkeypatch.setattr(SettlementDesk, "on_papers", pushing.join)
        nursery.start_soon(pushing.run)
        async with node(real, PapersKept()) as peer, node(real, None) as older:
            message = await peer.expect("papers")
            await older.expect("resumed")
            await trio.sleep(5 * PAPERS_GAP_S)
            await older.say(Heartbeat())
            # Whatever came before is passed over by `expect`: so each is looked at.
            heard = []
            while "ack" not in heard:
                heard.append((await older.hear())[0]["type"])
            assert "papers" not in heard
        async with node(real, PapersKept(vouched="much")) as liar:
            assert (await liar.end()).codes == ["malformed"]
        nursery.cancel_scope.cancel()

    papers = msgspec.convert(message, Papers)
    assert papers.proof is not None
    assert papers.proof.epoch == 1
    assert len(papers.voucher) == 347
