"""A market is opened once, by whoever holds its base, in one transaction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onchain.chain_errors import BadDraft
from onchain.claim import Elsewhere
from onchain.drafts import Budget
from onchain.opening import market_of, opening
from onchain.program import DEVELOPMENT_ID
from onchain.program_refusals import ProgramRefused, explained
from onchain.reads import read_ledger
from tests.chains import key
from tests.ledger_values import LIMITS
from tests.settlement_chain import MINT, ROLES, open_bazaar


async def test_a_second_market_needs_a_second_base() -> None:
    bazaar = await open_bazaar()
    base = key("second base")
    market = market_of(DEVELOPMENT_ID, base.address, MINT, bazaar.market.cluster_tag)

    await bazaar.send(opening(market, payer=bazaar.payer, base=base, roles=ROLES, limits=LIMITS))

    assert market.ledger != bazaar.market.ledger
    assert (await read_ledger(bazaar.chain, market)).ledger.base == base.address


async def test_a_market_is_not_opened_twice() -> None:
    bazaar = await open_bazaar()
    again = opening(bazaar.market, payer=bazaar.payer, base=key("base"), roles=ROLES, limits=LIMITS)

    with (
        pytest.raises(ProgramRefused, match="AlreadyInitialized"),
        explained(again, bazaar.market.program),
    ):
        await bazaar.send(again)


async def test_nobody_opens_it_without_the_base() -> None:
    bazaar = await open_bazaar()
    base = Elsewhere(key("second base").address)
    market = market_of(DEVELOPMENT_ID, base.address, MINT, bazaar.market.cluster_tag)
    recipe = opening(market, payer=bazaar.payer, base=base, roles=ROLES, limits=LIMITS)

    with pytest.raises(BadDraft):
        recipe.sign(bytes(32), Budget())
    with pytest.raises(BadDraft):
        replace(recipe, signers=(bazaar.payer,)).sign(bytes(32), Budget())
