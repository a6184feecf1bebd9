"""One question for one decision, and only what is as it should be is believed."""

from __future__ import annotations

import pytest

from onchain.chain_errors import ChainLied
from onchain.places import Market
from onchain.reads import read_claim, read_exit, read_ledger
from onchain.views import NotOfTheProgram, OtherMarket
from tests.chains import key, put_tokens
from tests.ledger_values import LIMITS
from tests.settlement_chain import MINT, ROLES, open_bazaar

HOST, OWNER = key("host").address, key("owner").address


async def test_a_fresh_market_is_what_it_was_opened_as() -> None:
    bazaar = await open_bazaar()
    now = await read_ledger(bazaar.chain, bazaar.market)

    ledger = now.ledger
    assert (ledger.admin, ledger.publisher, ledger.guardian, ledger.voucher_key) == (
        ROLES.admin,
        ROLES.publisher,
        ROLES.guardian,
        ROLES.voucher_key,
    )
    assert (ledger.limits, ledger.decimals, ledger.version) == (LIMITS, 6, 1)
    assert (now.vault_balance, ledger.owed, ledger.total_deposited) == (0, 0, 0)
    assert now.clock.unix_s == bazaar.chain.machine.time_ms // 1000


async def test_deposits_are_seen() -> None:
    bazaar = await open_bazaar()
    await bazaar.deposit(OWNER, 700)
    await bazaar.deposit(bazaar.market.ledger, 30)

    now = await read_ledger(bazaar.chain, bazaar.market)
    owner = await read_exit(bazaar.chain, bazaar.market, OWNER)

    assert (now.vault_balance, now.ledger.owed, now.ledger.reserve) == (730, 730, 30)
    assert (owner.record.deposited, owner.record.exited, owner.has_token_account) == (700, 0, False)


async def test_a_stranger_has_nothing() -> None:
    bazaar = await open_bazaar()
    state = await read_claim(bazaar.chain, bazaar.market, HOST)

    assert not state.record.exists
    assert not state.has_token_account


async def test_lamports_at_its_address_make_no_token_account() -> None:
    bazaar = await open_bazaar()
    bazaar.chain.airdrop(bazaar.market.token_account(HOST), 5_000_000)

    assert not (await read_claim(bazaar.chain, bazaar.market, HOST)).has_token_account


async def test_another_market_is_not_believed() -> None:
    bazaar = await open_bazaar()
    market = bazaar.market

    with pytest.raises(NotOfTheProgram):
        await read_ledger(bazaar.chain, Market(market.program, key("nobody").address, MINT))
    with pytest.raises(OtherMarket):
        await read_ledger(bazaar.chain, Market(market.program, market.ledger, MINT))
    with pytest.raises(NotOfTheProgram):
        await read_ledger(bazaar.chain, Market(HOST, market.ledger, MINT))


async def test_a_vault_of_somebody_else_is_not_believed() -> None:
    bazaar = await open_bazaar()
    put_tokens(bazaar.chain.machine, bazaar.market.vault, MINT, HOST, 5)

    with pytest.raises(NotOfTheProgram, match="another mint or owner"):
        await read_ledger(bazaar.chain, bazaar.market)


async def test_a_vault_that_is_gone_is_told() -> None:
    bazaar = await open_bazaar()
    bazaar.chain.machine.set_account(bazaar.market.vault, 1, b"")

    with pytest.raises(NotOfTheProgram, match="no vault"):
        await read_ledger(bazaar.chain, bazaar.market)


async def test_a_clock_that_is_none_is_a_lie() -> None:
    bazaar = await open_bazaar()

    class Clockless(type(bazaar.chain)):  # type: ignore[misc]
        async def accounts(self, addresses, *rest, **more):  # type: ignore[no-untyped-def]
            found = await super().accounts(addresses, *rest, **more)
            return type(found)(found.slot, (found.values[0], None, *found.values[2:]))

    with pytest.raises(ChainLied):
        await read_ledger(Clockless(bazaar.chain.machine), bazaar.market)
