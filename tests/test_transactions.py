"""Building transactions: packets, signers, budgets, lookup tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from coordinator.limits import TRANSACTION_BYTES_MAX
from coordinator.protocol.signing import Keypair
from onchain.chain import Account
from onchain.chain_errors import BadDraft, PacketTooLarge
from onchain.drafts import Budget
from onchain.lookup_tables import (
    PROGRAM,
    LookupTable,
    create_table,
    extend_table,
    parse_table,
    read_tables,
)
from onchain.transactions import Recipe
from tests.chains import SOL, Stage, key, on_stage, pay

ALICE, BOB = key("alice"), key("bob")
MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")


def memo(size: int) -> Instruction:
    return Instruction(MEMO, b"a" * size, [])


def test_a_packet_is_filled_to_its_last_byte_and_no_further() -> None:
    room = next(size for size in range(1300) if _size(size) == TRANSACTION_BYTES_MAX)

    assert len(Recipe((memo(room),), (ALICE,)).sign(bytes(32), Budget()).raw) == 1232
    with pytest.raises(PacketTooLarge) as refused:
        Recipe((memo(room + 1),), (ALICE,)).sign(bytes(32), Budget())
    assert (refused.value.size, refused.value.size_max) == (1233, 1232)
    with pytest.raises(PacketTooLarge):
        Recipe((memo(room + 1),), (ALICE,)).unsigned(bytes(32), Budget())


def _size(memo_bytes: int) -> int:
    try:
        return len(Recipe((memo(memo_bytes),), (ALICE,)).unsigned(bytes(32), Budget()))
    except PacketTooLarge as error:
        return error.size


def test_too_large_a_transaction_is_never_signed() -> None:
    class Careful:
        address = ALICE.address

        def sign(self, message: bytes) -> bytes:
            raise AssertionError

    with pytest.raises(PacketTooLarge):
        Recipe((memo(1300),), (Careful(),)).sign(bytes(32), Budget())


def test_a_simulated_transaction_is_as_large_as_the_signed_one() -> None:
    draft = Recipe((pay(ALICE, BOB.address, 1),), (ALICE,))

    for budget in (Budget(), Budget(1, 1)):
        assert len(draft.unsigned(bytes(32), budget)) == len(draft.sign(bytes(32), budget).raw)


def test_several_signers_sign_whatever_their_order() -> None:
    draft = Recipe((pay(BOB, ALICE.address, 1),), (ALICE, BOB))

    signed = draft.sign(bytes(32), Budget())
    transaction = VersionedTransaction.from_bytes(signed.raw)

    assert draft.signatures == 2
    assert transaction.verify_with_results() == [True, True]
    assert bytes(transaction.signatures[0]) == signed.signature
    assert bytes(transaction.message.account_keys[0]) == ALICE.address


def test_a_missing_signer_and_one_without_a_use_are_refused() -> None:
    with pytest.raises(BadDraft):
        Recipe((pay(BOB, ALICE.address, 1),), (ALICE,)).sign(bytes(32), Budget())
    with pytest.raises(BadDraft):
        Recipe((pay(ALICE, ALICE.address, 1),), (ALICE, BOB)).sign(bytes(32), Budget())
    with pytest.raises(BadDraft):
        Recipe((memo(1),), ())
    with pytest.raises(BadDraft):
        Recipe((), (ALICE,))


def test_a_signature_of_another_key_is_refused() -> None:
    class Wrong:
        address = ALICE.address

        def sign(self, message: bytes) -> bytes:
            return BOB.sign(message)

    with pytest.raises(BadDraft):
        Recipe((memo(1),), (Wrong(),)).sign(bytes(32), Budget())


def test_the_same_draft_and_blockhash_are_the_same_bytes() -> None:
    draft = Recipe((pay(ALICE, BOB.address, 1),), (ALICE,))

    assert draft.sign(bytes(32), Budget()) == draft.sign(bytes(32), Budget())
    assert draft.sign(bytes(32), Budget()) != draft.sign(b"\1" * 32, Budget())


@pytest.mark.parametrize(
    ("budget", "lamports"),
    [(Budget(200_000, 0), 0), (Budget(1, 1), 1), (Budget(200_000, 5), 1), (Budget(10, 10**6), 10)],
)
def test_a_priority_fee_is_rounded_up(budget: Budget, lamports: int) -> None:
    assert budget.lamports == lamports


# ---- lookup tables ---------------------------------------------------------------------------


def touch(count: int) -> tuple[Instruction, list[bytes]]:
    """A memo that names many accounts."""
    addresses = [key(f"touched {n}").address for n in range(count)]
    metas = [AccountMeta(Pubkey(each), is_signer=False, is_writable=False) for each in addresses]
    move = pay(ALICE, BOB.address, SOL)
    return Instruction(move.program_id, move.data, [*move.accounts, *metas]), addresses


async def _make_table(stage: Stage, payer: Keypair, addresses: list[bytes]) -> bytes:
    stage.machine.advance(2)
    table, create = create_table(payer.address, payer.address, await stage.chain.slot() - 1)
    steps: list[Instruction] = [create]
    for at in range(0, len(addresses), 20):
        part = addresses[at : at + 20]
        steps.append(extend_table(table, payer.address, payer.address, part))
    for step in steps:
        blockhash = (await stage.chain.latest_blockhash()).blockhash
        await stage.chain.send(Recipe((step,), (payer,)).sign(blockhash, Budget(50_000)).raw)
    stage.machine.advance()  # addresses added in this slot count from the next one on
    return table


@pytest.mark.parametrize("kind", ["simulated", "solana_chain"])
async def test_a_lookup_table_makes_many_accounts_fit(kind: str) -> None:
    async with on_stage(kind) as stage:
        alice = stage.rich("alice")
        instruction, addresses = touch(60)
        blockhash = (await stage.chain.latest_blockhash()).blockhash
        draft = Recipe((instruction,), (alice,))
        with pytest.raises(PacketTooLarge):
            draft.sign(blockhash, Budget())

        address = await _make_table(stage, alice, addresses)
        tables = await read_tables(stage.chain, [address])
        signed = replace(draft, tables=tables).sign(blockhash, Budget())
        await stage.chain.send(signed.raw)

        assert tables == (LookupTable(address, tuple(addresses)),)
        assert len(signed.raw) < 450
        assert await stage.chain.balance(BOB.address) == SOL
        landed = stage.machine.landed[signed.signature]
        assert set(addresses) <= set(landed.addresses)


async def test_a_table_that_is_not_there_is_refused_by_the_chain() -> None:
    async with on_stage("simulated") as stage:
        alice = stage.rich("alice")
        instruction, addresses = touch(60)
        table = LookupTable(key("no table").address, tuple(addresses))
        raw = Recipe((instruction,), (alice,), (table,)).unsigned(bytes(32), Budget())

        fault = (await stage.chain.simulate(raw)).fault

        assert fault is not None
        assert fault.code == "AddressLookupTableNotFound"


def _table_account(**changes: object) -> Account:
    head = (1).to_bytes(4, "little") + b"\xff" * 8 + bytes(44)
    account = Account(bytes(32), 1, bytes(PROGRAM), head + bytes(64))
    return replace(account, **changes)  # type: ignore[arg-type]


def test_a_table_is_read_from_its_account() -> None:
    assert parse_table(_table_account()).addresses == (bytes(32), bytes(32))


@pytest.mark.parametrize(
    "account",
    [
        None,
        _table_account(owner=bytes(32)),
        _table_account(data=b"\1\0\0\0"),
        _table_account(data=bytes(56)),
        _table_account(data=b"\1\0\0\0" + b"\1" * 8 + bytes(44)),
        _table_account(data=_table_account().data[:-1]),
    ],
    ids=["none", "foreign", "short", "no table", "closing", "torn"],
)
def test_what_is_no_living_table_is_refused(account: Account | None) -> None:
    with pytest.raises(BadDraft):
        parse_table(account)
