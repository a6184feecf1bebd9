"""One suite for both chains: in process, and over JSON-RPC to a dev node on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from solders.pubkey import Pubkey

from onchain.chain import (
    BLOCKHASH_BLOCKS,
    Account,
    BytesAre,
    Commitment,
    SizeIs,
    TokenBalance,
    parse_clock,
)
from onchain.chain_errors import (
    ChainBehind,
    ChainLied,
    ChainUnreachable,
    PacketTooLarge,
    TransactionRefused,
)
from onchain.drafts import Budget
from onchain.transactions import Recipe
from tests.chains import SOL, TOKEN, Stage, key, on_stage, pay, put_mint, put_tokens

BOTH = ["simulated", "solana_chain"]


@pytest.fixture(params=BOTH)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with on_stage(request.param) as made:
        yield made


@pytest.fixture(params=BOTH)
async def slow_stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A chain that takes its time to be sure."""
    async with on_stage(request.param, confirm_slots=1, finalize_slots=31) as made:
        yield made


async def test_a_transfer_moves_lamports_and_has_a_status(stage: Stage) -> None:
    alice, bob = stage.rich("alice"), key("bob").address

    signature = await stage.transfer(alice, bob, SOL)

    assert await stage.chain.balance(bob) == SOL
    assert await stage.chain.balance(alice.address) == 9 * SOL - 5_000
    (status,) = (await stage.chain.statuses([signature])).values
    assert status is not None
    assert (status.fault, status.commitment) == (None, Commitment.FINALIZED)


async def test_nobody_has_no_account_no_balance_and_no_tokens(stage: Stage) -> None:
    nobody = key("nobody").address

    assert await stage.chain.balance(nobody) == 0
    assert await stage.chain.token_balance(nobody) is None
    assert (await stage.chain.accounts([nobody])).values == (None,)
    assert (await stage.chain.statuses([bytes(64)])).values == (None,)


async def test_accounts_come_in_the_order_asked_for_by_the_hundred(stage: Stage) -> None:
    known = [key(f"k{n}").address for n in range(101)]
    for index, each in enumerate(known):
        stage.machine.set_account(each, SOL, bytes([index]))

    found = await stage.chain.accounts([*known, bytes(range(32)), known[0]])

    assert [each and each.data for each in found.values] == [
        *(bytes([n]) for n in range(101)),
        None,
        b"\0",
    ]
    assert found.values[0] == Account(known[0], SOL, bytes(32), b"\0")
    assert (await stage.chain.accounts([])).values == ()


async def test_token_balances_know_their_decimals(stage: Stage) -> None:
    mint, holder = key("mint").address, key("holder").address
    put_mint(stage.machine, mint, decimals=6)
    put_tokens(stage.machine, holder, mint, key("owner").address, 2**63 + 1)

    balance = await stage.chain.token_balance(holder)

    assert balance == TokenBalance(2**63 + 1, 6, stage.machine.slot)
    assert await stage.chain.token_balance(mint) is None


async def test_program_accounts_pass_all_filters(stage: Stage) -> None:
    mint, other = key("mint").address, key("other mint").address
    put_mint(stage.machine, mint)
    put_mint(stage.machine, other)
    holders = [key(f"holder {n}").address for n in range(4)]
    for index, each in enumerate(holders):
        put_tokens(stage.machine, each, other if index == 3 else mint, bytes(32), index)

    everything = await stage.chain.program_accounts(TOKEN)
    found = await stage.chain.program_accounts(TOKEN, [SizeIs(165), BytesAre(0, mint)])

    assert len(everything.values) == 6
    assert [each.address for each in found.values] == sorted(holders[:3])
    assert (await stage.chain.program_accounts(key("no program").address)).values == ()


async def test_a_blockhash_lives_for_150_blocks(stage: Stage) -> None:
    alice = stage.rich("alice")
    latest = await stage.chain.latest_blockhash()
    drafts = [Recipe((pay(alice, alice.address, n),), (alice,)) for n in (1, 2)]
    raws = [draft.sign(latest.blockhash, Budget(10_000)).raw for draft in drafts]
    height = await stage.chain.block_height()
    assert latest.last_valid_block_height == height + BLOCKHASH_BLOCKS

    stage.machine.advance(BLOCKHASH_BLOCKS)
    await stage.chain.send(raws[0])
    stage.machine.advance()
    with pytest.raises(TransactionRefused) as refused:
        await stage.chain.send(raws[1])

    assert refused.value.code == "BlockhashNotFound"


async def test_several_blockhashes_are_good_at_a_time(stage: Stage) -> None:
    alice, bob = stage.rich("alice"), key("bob").address
    blockhashes = []
    for _ in range(3):
        blockhashes.append((await stage.chain.latest_blockhash()).blockhash)
        stage.machine.advance()

    for blockhash in blockhashes:
        draft = Recipe((pay(alice, bob, SOL),), (alice,))
        await stage.chain.send(draft.sign(blockhash, Budget(10_000)).raw)

    assert len(set(blockhashes)) == 3
    assert await stage.chain.balance(bob) == 3 * SOL


async def test_a_transaction_lands_once_however_often_it_is_sent(stage: Stage) -> None:
    alice, bob = stage.rich("alice"), key("bob").address
    blockhash = (await stage.chain.latest_blockhash()).blockhash
    signed = Recipe((pay(alice, bob, SOL),), (alice,)).sign(blockhash, Budget(10_000))

    assert await stage.chain.send(signed.raw) == signed.signature
    assert await stage.chain.send(signed.raw, preflight=False) == signed.signature
    with pytest.raises(TransactionRefused) as refused:
        await stage.chain.send(signed.raw)

    assert refused.value.code == "AlreadyProcessed"
    assert await stage.chain.balance(bob) == SOL


async def test_a_preflight_refuses_what_would_fail_and_nothing_is_paid(stage: Stage) -> None:
    alice, bob = stage.rich("alice", SOL), key("bob").address

    with pytest.raises(TransactionRefused) as refused:
        await stage.transfer(alice, bob, 2 * SOL)

    assert refused.value.code == "custom:1"
    assert refused.value.fault.instruction == 1  # the first sets the compute limit
    assert any("insufficient lamports" in line for line in refused.value.logs)
    assert await stage.chain.balance(alice.address) == SOL


async def test_without_preflight_a_failure_lands_and_pays_its_fee(stage: Stage) -> None:
    alice, bob = stage.rich("alice", SOL), key("bob").address

    signature = await stage.transfer(alice, bob, 2 * SOL, preflight=False)

    (status,) = (await stage.chain.statuses([signature])).values
    assert status is not None
    assert status.fault is not None
    assert status.fault.custom == 1
    assert await stage.chain.balance(alice.address) == SOL - 5_000


async def test_a_forged_signature_is_refused_with_and_without_preflight(stage: Stage) -> None:
    alice = stage.rich("alice")
    blockhash = (await stage.chain.latest_blockhash()).blockhash
    raw = (
        Recipe((pay(alice, key("bob").address, SOL),), (alice,)).sign(blockhash, Budget(10_000)).raw
    )
    forged = raw[:1] + bytes(64) + raw[65:]

    for preflight in (True, False):
        with pytest.raises(TransactionRefused) as refused:
            await stage.chain.send(forged, preflight=preflight)
        assert refused.value.code == "SignatureFailure"


@pytest.mark.parametrize("raw", [b"", b"\x01", bytes(100), b"\xff" * 1232])
async def test_bytes_that_are_no_transaction_are_refused(stage: Stage, raw: bytes) -> None:
    for preflight in (True, False):
        with pytest.raises(TransactionRefused) as refused:
            await stage.chain.send(raw, preflight=preflight)
        assert refused.value.code == "SanitizeFailure"
    with pytest.raises(TransactionRefused):
        await stage.chain.simulate(raw)


async def test_bytes_after_a_transactions_end_are_refused(stage: Stage) -> None:
    alice = stage.rich("alice")
    blockhash = (await stage.chain.latest_blockhash()).blockhash
    draft = Recipe((pay(alice, key("bob").address, SOL),), (alice,))
    raw = draft.sign(blockhash, Budget(10_000)).raw

    with pytest.raises(TransactionRefused) as refused:
        await stage.chain.send(raw + b"\0")

    assert refused.value.code == "SanitizeFailure"


async def test_a_transaction_larger_than_a_packet_is_refused_by_its_size(stage: Stage) -> None:
    with pytest.raises(PacketTooLarge) as refused:
        await stage.chain.send(bytes(1233))
    with pytest.raises(PacketTooLarge):
        await stage.chain.simulate(bytes(1233))

    assert (refused.value.size, refused.value.size_max) == (1233, 1232)


async def test_a_simulation_needs_no_signature_and_changes_nothing(stage: Stage) -> None:
    alice, bob = stage.rich("alice"), key("bob").address
    good = Recipe((pay(alice, bob, SOL),), (alice,)).unsigned(bytes(32), Budget(10_000))
    bad = Recipe((pay(alice, bob, 99 * SOL),), (alice,)).unsigned(bytes(32), Budget(10_000))

    works, fails = await stage.chain.simulate(good), await stage.chain.simulate(bad)

    assert (works.fault, works.units) == (None, 300)  # 150 for the limit, 150 for the transfer
    assert any("success" in line for line in works.logs)
    assert fails.fault is not None
    assert fails.fault.custom == 1
    assert await stage.chain.balance(bob) == 0


async def test_a_payer_without_lamports_is_no_account_to_pay_from(stage: Stage) -> None:
    poor = key("poor")
    raw = Recipe((pay(poor, bytes(32), 1),), (poor,)).unsigned(bytes(32), Budget(10_000))

    fault = (await stage.chain.simulate(raw)).fault

    assert fault is not None
    assert fault.code == "AccountNotFound"


async def test_an_old_status_is_found_in_the_history_only(stage: Stage) -> None:
    alice = stage.rich("alice")
    signature = await stage.transfer(alice, key("bob").address, SOL)
    stage.machine.advance(301)

    forgotten = await stage.chain.statuses([signature])
    found = await stage.chain.statuses([signature], search_history=True)

    assert forgotten.values == (None,)
    assert found.values[0] is not None


async def test_what_landed_becomes_sure_with_time(slow_stage: Stage) -> None:
    alice, bob = slow_stage.rich("alice"), key("bob").address
    slow_stage.machine.advance(40)
    signature = await slow_stage.transfer(alice, bob, SOL)
    seen = []
    for slots in (0, 1, 30):
        slow_stage.machine.advance(slots)
        (status,) = (await slow_stage.chain.statuses([signature])).values
        assert status is not None
        balances = [await slow_stage.chain.balance(bob, each) for each in Commitment]
        seen.append((status.commitment, [each // SOL for each in balances]))

    assert seen == [
        (Commitment.PROCESSED, [1, 0, 0]),
        (Commitment.CONFIRMED, [1, 1, 0]),
        (Commitment.FINALIZED, [1, 1, 1]),
    ]


async def test_a_surer_blockhash_is_an_older_one(slow_stage: Stage) -> None:
    heights = [
        (await slow_stage.chain.latest_blockhash(each)).last_valid_block_height
        for each in Commitment
    ]
    slots = [await slow_stage.chain.slot(each) for each in Commitment]

    assert heights[0] - heights[1] == 1
    assert heights[0] - heights[2] == 31
    assert slots[0] - slots[2] == 31


async def test_an_answer_for_a_slot_to_come_is_refused(stage: Stage) -> None:
    slot = await stage.chain.slot()

    assert (await stage.chain.accounts([bytes(32)], slot_min=slot)).slot == slot
    with pytest.raises(ChainBehind):
        await stage.chain.accounts([bytes(32)], slot_min=slot + 1)


async def test_the_clock_is_that_of_the_programs(stage: Stage) -> None:
    before = await stage.chain.clock()
    stage.machine.advance(10)
    stage.machine.advance(0, ms=60_000)
    after = await stage.chain.clock()

    assert (after.slot - before.slot, after.unix_s - before.unix_s) == (10, 64)
    assert await stage.chain.block_time(after.slot) == after.unix_s


async def test_slots_without_blocks_leave_the_height_alone(stage: Stage) -> None:
    slot, height = await stage.chain.slot(), await stage.chain.block_height()

    stage.machine.advance(1000, blocks=10)

    assert await stage.chain.slot() == slot + 1000
    assert await stage.chain.block_height() == height + 10


async def test_rent_grows_with_size_and_fees_are_none(stage: Stage) -> None:
    small, large = await stage.chain.rent_minimum(0), await stage.chain.rent_minimum(165)

    assert (small, large) == (890_880, 2_039_280)
    assert set(await stage.chain.priority_fees([bytes(32)])) == {0}


async def test_a_chain_knows_which_it_is(stage: Stage) -> None:
    assert await stage.chain.genesis_hash() == stage.machine.genesis


async def test_more_opinions_than_nodes_is_no_answer() -> None:
    async with on_stage("solana_chain") as stage:
        with pytest.raises(ChainUnreachable):
            await stage.chain.accounts([bytes(32)], opinions=2)
    async with on_stage("simulated") as stage:
        assert (await stage.chain.accounts([bytes(32)], opinions=2)).values != ()


def test_an_account_that_is_no_clock_is_no_clock() -> None:
    with pytest.raises(ChainLied):
        parse_clock(Account(bytes(32), 1, bytes(32), b"short"))
    with pytest.raises(ChainLied):
        parse_clock(None)


def test_a_process_that_does_not_touch_the_chain_imports_no_library_of_it() -> None:
    """Starting takes 0.2 s more with them, and an agent without an extra has none."""
    modules = [
        *("hypernode", "hypernode.cli.app", "coordinator.main", "agent.client"),
        *("onchain.chain", "onchain.chain_errors", "onchain.drafts", "onchain.fees"),
        *("onchain.journal", "onchain.sender"),
    ]
    code = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
print([name for name in ("solders", "solana", "anchorpy", "spl") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


def test_keys_of_the_house_are_keys_of_the_chain() -> None:
    assert bytes(Pubkey(key("alice").address)) == key("alice").address
