"""The start of a house that settles: the ledger, the cluster and the keys that it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from coordinator import chain_events as cev
from coordinator.chain_place import OnChain
from coordinator.config import ConfigError, load_config
from coordinator.key_files import check_key_files
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import save_keypair
from coordinator.store.settlement_values import Settlement
from hypernode.cli.exit import leaf_of
from onchain.address import encode_address
from onchain.chain import Accounts
from onchain.chain_errors import ChainUnreachable
from onchain.simulated import SimulatedChain
from tests.build import OPERATOR, RULES, Market
from tests.chain_market import FEE_WALLET, TREASURY_WALLET, ChainMarket
from tests.chains import key
from tests.settlement_chain import MINT
from tests.settling import House, open_house


class NewBooks(ChainMarket):
    """Books that belong to no ledger yet."""

    def __init__(self, on_chain: OnChain) -> None:
        Market.__init__(self, replace(RULES, faucet=False), on_chain=on_chain)
        self.slot = 100


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = await open_house(tmp_path)
    made.market.close()
    ledger = made.bazaar.market.ledger
    on_chain = OnChain(ledger, FEE_WALLET.address, TREASURY_WALLET.address)
    made.market = NewBooks(on_chain)
    made.later()
    await made.restart()
    yield made
    await made.close()


async def start(house: House, **flags: Any) -> None:
    """A start of the task as a coordinator makes it, until the doors may open."""
    await house.restart(**flags)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(house.settlement.run)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise leaf_of(group) from None


async def refused(house: House, **flags: Any) -> str:
    """What a start is refused with; the books belong to nobody still."""
    with pytest.raises(ConfigError) as caught:
        await start(house, **flags)
    assert house.market.reader.settlement() is None
    return str(caught.value)


def key_file(house: House, name: str) -> str:
    path = house.folder / f"{name} of somebody.json"
    save_keypair(path, key(name))
    return str(path)


async def test_new_books_are_bound_once_the_ledger_was_read(house: House) -> None:
    assert house.market.reader.settlement() is None
    await start(house)

    bound = house.market.reader.settlement()
    assert bound is not None
    assert bound.ledger == house.bazaar.market.ledger
    assert house.market.ask(cev.LedgerFound(bound.ledger)) == bound


async def test_new_books_refuse_an_address_that_is_no_ledger(house: House) -> None:
    mint, nobody = encode_address(MINT), encode_address(key("nobody").address)

    assert (await refused(house, ledger=nobody)).startswith(f"ledger: nothing lies at {nobody}")
    said = await refused(house, ledger=mint)
    assert said.startswith(f"ledger: at {mint} lies a mint of SPL Token, not a Ledger")
    assert "chain_id, rpc: the nodes are of localnet" in await refused(house, chain_id="devnet")


@pytest.mark.parametrize(
    ("setting", "role"), [("publisher_key", "publisher"), ("voucher_key", "voucher key")]
)
async def test_new_books_refuse_a_key_that_is_not_the_roles(
    house: House, setting: str, role: str
) -> None:
    path = key_file(house, "stranger")
    ledger = await house.bazaar.ledger()
    holder = getattr(ledger, role.replace(" ", "_"))

    assert await refused(house, **{setting: path}) == (
        f"{setting}: {path} is the key {encode_address(key('stranger').address)}; this ledger's "
        f"{role} is {encode_address(holder)}"
    )


async def test_a_wrong_publisher_is_an_alarm_where_the_books_are_bound(house: House) -> None:
    await start(house)
    house.market.deposit(key("carol").address, 0)
    await house.restart(publisher_key=key_file(house, "stranger"))

    assert await house.round(close_now=True) == "wrong_key"
    assert "this ledger's publisher is" in house.settlement.state.said
    assert house.market.reader.epochs(1) == [], "what could not be published is not closed"
    await house.restart()
    assert await house.round() == ""


async def test_a_wrong_voucher_key_stops_no_root(house: House) -> None:
    await start(house)
    await house.restart(voucher_key=key_file(house, "stranger"))

    assert await house.round(close_now=True) == "wrong_key"
    assert house.last().number == 1
    assert (await house.bazaar.ledger()).pending.epoch == 1


async def test_who_gets_no_voucher_is_told_why(house: House) -> None:
    await start(house)
    await house.restart()
    assert await house.round() == ""
    with pytest.raises(Refusal, match="the operator has put no reserve behind them"):
        await house.settlement.voucher(OPERATOR.address)
    await house.restart(voucher_key=key_file(house, "stranger"))
    await house.round()
    with pytest.raises(Refusal, match="the coordinator's voucher key is not the ledger's"):
        await house.settlement.voucher(OPERATOR.address)


class Dead(SimulatedChain):
    """Nodes that answer nothing."""

    async def accounts(self, *args: Any, **more: Any) -> Accounts:
        msg = "no node"
        raise ChainUnreachable(msg)


async def test_silent_nodes_refuse_nobody_and_bind_nothing(house: House) -> None:
    good, house.chain = house.chain, Dead(house.bazaar.chain.machine)
    await start(house)
    assert house.market.reader.settlement() is None
    house.chain = good
    await start(house)
    assert house.market.reader.settlement() is not None


def test_key_files_are_looked_at_before_anything_else(tmp_path: Path) -> None:
    one, exposed = tmp_path / "one.json", tmp_path / "exposed.json"
    save_keypair(one, key("one"))
    save_keypair(exposed, key("two"))
    exposed.chmod(0o644)
    place: dict[str, object] = {
        "ledger": encode_address(MINT),
        "rpc": ["localnet"],
        "db": str(tmp_path / "m.db"),
    }

    def said(publisher: Path, voucher: Path) -> str:
        keys = {"publisher_key": str(publisher), "voucher_key": str(voucher)}
        with pytest.raises(ConfigError) as caught:
            check_key_files(load_config(place | keys, {}, None))
        return str(caught.value)

    wrong = said(tmp_path / "none.json", exposed)
    assert f"publisher_key: there is no key file {tmp_path / 'none.json'}" in wrong
    assert f"voucher_key: {exposed}: Others may read this key file" in wrong
    assert "have one key" in said(one, one)
    assert f"{tmp_path} is a folder" in said(tmp_path, one)
    check_key_files(load_config(place | {"publisher_key": str(one)}, {}, None))


async def test_what_is_bound_stays_bound(house: House) -> None:
    ledger = house.bazaar.market.ledger
    house.market.ask(cev.LedgerFound(ledger))
    house.market.look(unrooted=7)
    bound = house.market.ask(cev.LedgerFound(ledger))

    assert isinstance(bound, Settlement)
    assert bound.unrooted == 7
