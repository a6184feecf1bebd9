"""The development chain: its program, its clock, its money, and that it is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from onchain.chain import Commitment
from onchain.devnode import DevNode
from onchain.localnet import LocalNet, NoLocalNet, development_mint, open_node
from onchain.machine import SLOT_MS
from onchain.machine_state import BadState
from onchain.places import TOKEN_2022_PROGRAM
from onchain.program import DEVELOPMENT_ID
from tests.chains import SOL, fresh_machine, key, served

NEWEST = Commitment.PROCESSED
HYPER = 1_000_000


@asynccontextmanager
async def reached(node: DevNode) -> AsyncIterator[LocalNet]:
    with trio.fail_after(20):
        async with served(node) as ports:
            net = LocalNet(f"http://127.0.0.1:{ports.http}")
            try:
                yield net
            finally:
                with trio.CancelScope(shield=True):
                    await net.aclose()


@pytest.fixture
def node() -> DevNode:
    return open_node(slot_s=None)


async def test_the_program_lies_at_its_development_address(node: DevNode) -> None:
    async with reached(node) as net:
        (program,) = (await net.chain.accounts([DEVELOPMENT_ID], NEWEST)).values

    assert program is not None
    assert program.executable
    assert program.data[:4] == b"\x7fELF"


async def test_time_passes_at_once_and_slots_with_it(node: DevNode) -> None:
    async with reached(node) as net:
        before = await net.chain.clock(NEWEST)
        slot = await net.advance(30 * 24 * 3_600_000)  # more than one call may ask for
        after = await net.chain.clock(NEWEST)

    assert after.unix_s - before.unix_s == 30 * 24 * 3600
    assert after.slot - before.slot == 30 * 24 * 3_600_000 // SLOT_MS
    assert after.slot == slot


async def test_time_less_than_a_slot_takes_a_slot(node: DevNode) -> None:
    async with reached(node) as net:
        before, time_ms = await net.chain.slot(NEWEST), node.machine.time_ms

        assert await net.advance(1) == before + 1
        assert node.machine.time_ms == time_ms + 1


@pytest.mark.parametrize("token_2022", [False, True])
async def test_hyper_is_minted_twice_alike(node: DevNode, token_2022: bool) -> None:
    mint, wallet = development_mint(token_2022=token_2022), key("host").address
    async with reached(node) as net:
        first = await net.mint(mint, wallet, 5 * HYPER)
        second = await net.mint(mint, wallet, 5 * HYPER)
        balance = await net.chain.token_balance(first, NEWEST)

    assert first == second == mint.market.token_account(wallet)
    assert balance is not None
    assert (balance.amount, balance.decimals) == (10 * HYPER, 6)


async def test_a_mint_of_token_2022_bears_its_name(node: DevNode) -> None:
    mint = development_mint(token_2022=True)
    async with reached(node) as net:
        await net.mint(mint, key("host").address, 1)
    account = node.machine.newest(mint.new.mint)

    assert account is not None
    assert bytes(account.owner) == TOKEN_2022_PROGRAM
    assert bytes(account.data).count(b"\x05\x00\x00\x00HYPER") == 2
    assert len(account.data) == mint.new.size
    assert account.lamports == node.machine.rent_minimum(mint.new.size)


async def test_sol_is_given(node: DevNode) -> None:
    async with reached(node) as net:
        signature = await net.airdrop(key("host").address, 3 * SOL)
        (status,) = (await net.chain.statuses([signature])).values

        assert await net.chain.balance(key("host").address, NEWEST) == 3 * SOL
        assert status is not None
        assert status.fault is None


async def test_another_chain_is_left_alone() -> None:
    machine = fresh_machine()
    async with reached(DevNode(machine, slot_s=None)) as net:
        slot = machine.slot
        for ask in (
            net.advance(1000),
            net.airdrop(bytes(32), 1),
            net.mint(development_mint(), bytes(32), 1),
        ):
            with pytest.raises(NoLocalNet):
                await ask

    assert machine.slot == slot


async def test_what_was_given_is_there_after_a_restart(tmp_path: Path) -> None:
    mint, wallet = development_mint(), key("host").address
    async with reached(open_node(folder=tmp_path, slot_s=None)) as net:
        account = await net.mint(mint, wallet, 5 * HYPER)
        slot = await net.advance(3_600_000)
    async with reached(open_node(folder=tmp_path, slot_s=None)) as net:
        assert await net.chain.slot(NEWEST) == slot
        await net.mint(mint, wallet, HYPER)
        balance = await net.chain.token_balance(account, NEWEST)

    assert balance is not None
    assert balance.amount == 6 * HYPER


def test_a_broken_state_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "chain.json").write_text("{}")

    with pytest.raises(BadState, match="broken"):
        open_node(folder=tmp_path)


def test_a_broken_program_is_refused() -> None:
    with pytest.raises(ValueError, match="not a program"):
        open_node(program=b"\x7fELF")
