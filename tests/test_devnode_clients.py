"""Other people's clients against the dev node, under Trio: solana-py and anchorpy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from anchorpy import Provider, Wallet
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.core import RPCException
from solana.rpc.types import MemcmpOpts, TokenAccountOpts, TxOpts
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction, VersionedTransaction

from onchain.devnode import DevNode
from onchain.machine import Machine
from tests.chains import SOL, TOKEN, fresh_machine, key, put_mint, put_tokens, served

OPTS = TxOpts(skip_confirmation=True, preflight_commitment=Confirmed)
ALICE = Keypair.from_seed(bytes([7]) * 32)
BOB = Pubkey(key("bob").address)


@pytest.fixture
def machine() -> Machine:
    return fresh_machine()


@pytest.fixture
async def client(machine: Machine) -> AsyncIterator[AsyncClient]:
    with trio.fail_after(10):
        async with (
            served(DevNode(machine, slot_s=None)) as ports,
            AsyncClient(f"http://127.0.0.1:{ports.http}", Confirmed) as made,
        ):
            yield made


def move(lamports: int) -> TransferParams:
    return TransferParams(from_pubkey=ALICE.pubkey(), to_pubkey=BOB, lamports=lamports)


async def test_solana_py_reads_what_there_is(machine: Machine, client: AsyncClient) -> None:
    mint, holder = key("mint").address, key("holder").address
    put_mint(machine, mint)
    put_tokens(machine, holder, mint, bytes(BOB), 1_500_000)
    airdrop = (await client.request_airdrop(ALICE.pubkey(), 3 * SOL)).value

    assert await client.is_connected()
    assert (await client.get_version()).value.solana_core == "2.2.0"
    assert (await client.get_balance(ALICE.pubkey())).value == 3 * SOL
    assert (await client.get_slot()).value == machine.slot
    assert (await client.get_epoch_info()).value.slots_in_epoch == 432_000
    assert (await client.get_block_height()).value == machine.height
    assert (await client.get_genesis_hash()).value is not None
    assert (await client.get_minimum_balance_for_rent_exemption(165)).value == 2_039_280
    assert (await client.get_block_time(machine.slot)).value == machine.time_ms // 1000
    (status,) = (await client.get_signature_statuses([airdrop])).value
    assert status is not None
    assert (await client.get_token_account_balance(Pubkey(holder))).value.amount == "1500000"
    by_owner = await client.get_token_accounts_by_owner(
        BOB, TokenAccountOpts(program_id=Pubkey(TOKEN))
    )
    assert [bytes(each.pubkey) for each in by_owner.value] == [holder]
    filters: list[int | MemcmpOpts] = [165, MemcmpOpts(offset=0, bytes=str(Pubkey(mint)))]
    found = await client.get_program_accounts(Pubkey(TOKEN), encoding="base64", filters=filters)
    assert [bytes(each.pubkey) for each in found.value] == [holder]


async def test_a_provider_of_anchorpy_sends_and_sees_refusals(
    machine: Machine, client: AsyncClient
) -> None:
    provider = Provider(client, Wallet(ALICE), OPTS)
    await client.request_airdrop(ALICE.pubkey(), 3 * SOL)
    blockhash = (await client.get_latest_blockhash()).value.blockhash

    def signed(lamports: int) -> VersionedTransaction:
        message = Message.new_with_blockhash([transfer(move(lamports))], ALICE.pubkey(), blockhash)
        return VersionedTransaction.from_legacy(Transaction([ALICE], message, blockhash))

    signature = await provider.send(signed(SOL))
    with pytest.raises(RPCException) as refused:
        await provider.send(signed(99 * SOL))
    told = (await client.get_transaction(signature, max_supported_transaction_version=0)).value

    assert machine.landed[bytes(signature)].lamports_after[1] == SOL
    assert "custom program error: 0x1" in str(refused.value)
    assert told is not None
    assert told.transaction.meta is not None
    assert told.transaction.meta.fee == 5_000
    (listed,) = (await client.get_signatures_for_address(BOB)).value
    assert listed.signature == signature
    simulated = await provider.simulate(signed(SOL + 1))
    assert simulated.value.err is None
    fee = (await client.get_fee_for_message(signed(2).message)).value
    assert fee == 5_000
