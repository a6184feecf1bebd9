"""Ways out of a stopped settler: an epoch closed anew, a stranger's root cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import EpochState as S
from onchain import role_calls
from onchain.leaves import Kind, LeafFile
from onchain.publication import prepare
from tests.build import OPERATOR
from tests.chain_faults import Crash, FaultyChain
from tests.chains import key
from tests.ledger_values import LIMITS
from tests.settling import House, open_house
from tests.test_settlement import Less

#: Blocks after which a blockhash is void at finality too.
VOID_BLOCKS = 300


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = await open_house(tmp_path)
    yield made
    await made.close()


async def sealed_wrongly(house: House) -> None:
    """Epoch 2 is closed and sealed under leaves that no ledger of ours has."""
    house.market.earn("a")
    await house.settle()
    house.market.earn("b")
    house.later(3600)
    await house.restart(reader=Less)
    assert await house.round(close_now=True) == "leaf_below"
    await house.restart()
    assert await house.round() == "leaf_below", "the leaves are those that were sealed"
    assert house.settlement.state.is_stopped


async def test_an_epoch_sealed_under_wrong_leaves_is_closed_anew_and_published(
    house: House,
) -> None:
    await sealed_wrongly(house)
    wrong = house.last().root
    state = await house.settlement.round_now(anew=2)

    assert (state.alarm, state.is_stopped) == ("", False)
    assert state.did[-1].startswith("root of epoch 2 published")
    epoch = house.last()
    assert (epoch.number, epoch.state) == (2, S.CLOSED)
    assert epoch.root != wrong
    path = house.settlement.files.path(2, epoch.data_hash)
    with path.open("rb") as opened:
        leaves = dict(LeafFile(opened).leaves(Kind.EARNINGS))
    assert leaves == dict(house.market.reader.earnings_leaves(2))
    await house.until_active()
    assert (await house.bazaar.ledger()).active.root == epoch.root
    assert await house.claim(OPERATOR.address) > 0


async def test_what_may_still_land_is_not_closed_anew(house: House) -> None:
    house.market.earn()
    faulty = FaultyChain(house.bazaar.chain)
    faulty.fuse.at = 1  # dies with its signature in the journal, before the first send
    good, house.chain = house.chain, faulty
    await house.restart()
    with pytest.raises(Crash):
        await house.round(close_now=True)
    house.chain = good
    await house.restart()

    with pytest.raises(Refusal, match="signed and may still land"):
        await house.settlement.round_now(anew=1)
    house.bazaar.chain.advance(VOID_BLOCKS)
    house.later()
    before = house.last().closed_ms
    state = await house.settlement.round_now(anew=1)
    assert state.did[-1].startswith("root of epoch 1 published")
    assert house.last().closed_ms > before


@pytest.mark.parametrize("number", [1, 2, 9])
async def test_only_the_last_epoch_before_its_publication_is_closed_anew(
    house: House, number: int
) -> None:
    with pytest.raises(Refusal, match="none is"):
        await house.settlement.round_now(anew=number)
    house.market.earn("a")
    await house.settle()
    house.market.earn("b")
    house.later(3600)
    await house.round(close_now=True)  # 2 is sent; it stays `closed` in the books for one round
    before = house.market.reader.epochs(9)

    with pytest.raises(Refusal) as caught:
        await house.settlement.round_now(anew=number)
    assert caught.value.code == "epoch_state"
    assert house.market.reader.epochs(9) == before


async def test_a_house_that_publishes_nothing_closes_nothing_anew(house: House) -> None:
    await sealed_wrongly(house)
    await house.restart(publisher_key=None)
    with pytest.raises(Refusal, match="publishes nothing"):
        await house.settlement.round_now(anew=2)


async def test_a_strangers_root_that_was_cancelled_stops_nobody_any_more(house: House) -> None:
    house.market.earn("a")
    await house.settle()
    house.market.earn("b")
    house.later(3600)
    ledger = await house.bazaar.ledger()
    file = house.bazaar.leaf_file(2, {OPERATOR.address: ledger.active.total + 1})
    thief = key("publisher")
    call = role_calls.publish_root(
        house.bazaar.market, authority=thief.address, promised=prepare(file).promised
    )
    await house.bazaar.do(call, signers=(thief,))
    house.later()
    assert await house.round() == "epoch_unknown"

    await house.bazaar.roots.cancel(2, role=key("admin"))
    house.later(LIMITS.min_epoch_interval)
    await house.restart()
    epoch = await house.settle()
    assert (epoch.number, epoch.state) == (3, S.ACTIVE)
    assert (await house.bazaar.ledger()).active.root == epoch.root
