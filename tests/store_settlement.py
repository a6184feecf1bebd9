"""What every store must do for settlement, whichever engine is below it.

In:   as `store_conformance`, of whose suite this is a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from msgspec.structs import replace

from coordinator.store.interface import Batch, Store, StoreConflict
from coordinator.store.settlement_values import (
    ChainSums,
    Claim,
    Deposit,
    Epoch,
    EpochState,
    Settlement,
    SettlementFigures,
    Sponsored,
    SponsoredState,
    SponsorUse,
    Sums,
    Voucher,
    Withdrawal,
)
from coordinator.store.values import Receipt, Transfer, TransferKind as K
from onchain.address import encode_address
from tests.store_values import (
    ALICE,
    BOB,
    NOW_MS,
    OPERATOR,
    House,
    added_node,
    live,
    post,
    submitted,
)

LEDGER = bytes([9]) * 32
SETTLEMENT = Settlement(LEDGER, 0, 5, NOW_MS, NOW_MS + 1, 7, 8, 9)

SPONSORED = Sponsored(
    name=bytes([7]) * 32,
    wallet=ALICE,
    state=SponsoredState.SENT,
    taken_ms=NOW_MS,
    pay=100,
    lamports=3_000_000,
    fee_lamports=10_000,
    opens_token_account=True,
    signature=bytes(64),
    last_height=150,
    raw=b"signed",
)


def an_epoch(number: int, last_transfer: int, total: int, exitable: int = 0) -> Epoch:
    return Epoch(number, EpochState.CLOSED, NOW_MS, last_transfer, total, exitable)


def credit(wallet: bytes) -> str:
    return f"credit:{encode_address(wallet)}"


def earned(wallet: bytes) -> str:
    return f"earned:{encode_address(wallet)}"


def deposited(batch: Batch, owner: bytes, amount: int, reference: int = 1) -> Transfer:
    """Book a deposit; the transfer is still to be posted."""
    batch.save_deposit(Deposit(owner, amount, slot=3))
    return Transfer(K.DEPOSIT, reference, "chain", credit(owner), amount)


def withdrawn(batch: Batch, owner: bytes, amount: int, key: str, epoch: int = 1) -> Transfer:
    batch.add_withdrawal(
        Withdrawal(owner, key, amount, NOW_MS - 5, NOW_MS, epoch, "hy1", bytes(64))
    )
    reference = int.from_bytes(key.encode()[:6], "little")
    return Transfer(K.WITHDRAW, reference, credit(owner), earned(owner), amount)


def settled(store: Store) -> None:
    """Rows in every table of settlement, the books with them."""
    with store.batch() as batch:
        post(
            batch,
            [deposited(batch, ALICE, 1_000), deposited(batch, BOB, 500, 2),
             withdrawn(batch, ALICE, 300, "first"), withdrawn(batch, BOB, 20, "second")],
        )  # fmt: skip
        batch.save_settlement(SETTLEMENT)
    with store.batch() as batch:
        batch.save_epoch(
            an_epoch(1, batch.last_transfer(), batch.class_sums(["earned"])["earned"].credits)
        )
        batch.note_exits(1, [BOB])
        batch.save_claim(Claim(ALICE, 100, 4))
        batch.save_voucher(Voucher(ALICE, 250, 99, NOW_MS))
        batch.save_sponsored(SPONSORED)
        post(batch, [Transfer(K.CLAIM, 1, earned(ALICE), "chain", 100)])


class SettlementConformance:
    """The suite's part."""

    @pytest.fixture
    def house(self) -> Iterator[House]:
        pytest.fail("a subclass says which store is meant")

    @pytest.fixture
    def store(self, house: House) -> Iterator[Store]:
        pytest.fail("a subclass says which store is meant")

    def test_what_was_sponsored_is_kept_and_added_up(self, house: House, store: Store) -> None:
        settled(store)
        later = replace(
            SPONSORED,
            name=bytes([8]) * 32,
            state=SponsoredState.FINALIZED,
            taken_ms=NOW_MS + 9,
            lamports=10_000,
            opens_token_account=False,
            raw=b"",
            ended_ms=NOW_MS + 10,
        )
        others = replace(later, name=bytes([9]) * 32, wallet=BOB, lamports=5)
        with store.batch() as batch:
            assert batch.sponsored(SPONSORED.name) == SPONSORED
            assert batch.sponsored(later.name) is None
            batch.save_sponsored(later)
            batch.save_sponsored(others)
            own = SponsorUse((NOW_MS, NOW_MS + 9), True, True, 1, 3_010_005)
            assert batch.sponsor_use(ALICE, NOW_MS - 1) == own
        stores = [store] + ([house.reopen()] if house.can_reopen else [])
        for each in stores[-1:]:
            reader = each.reader()
            assert reader.sponsored(later.name) == later
            assert reader.sponsored(bytes(32)) is None
            assert reader.sponsored_out() == [SPONSORED]
            assert reader.sponsor_use(ALICE, NOW_MS) == SponsorUse(
                (NOW_MS + 9,), True, True, 1, 10_005
            )
            assert reader.sponsor_use(BOB, NOW_MS + 9) == SponsorUse((), False, False, 1, 0)
            assert reader.sponsor_use(OPERATOR, 0) == SponsorUse((), False, False, 1, 3_010_005)
            with each.batch() as batch:
                batch.save_sponsored(
                    replace(SPONSORED, state=SponsoredState.EXPIRED, ended_ms=5, lamports=0)
                )
            assert reader.sponsored_out() == []

    def test_what_was_booked_of_the_chain_is_kept(self, house: House, store: Store) -> None:
        with store.batch() as batch:
            assert batch.settlement() is None
            assert batch.deposit(ALICE) == Deposit(ALICE)
            assert batch.claim(ALICE) == Claim(ALICE)
            assert batch.last_epoch() is None
            assert batch.voucher(ALICE) is None
        settled(store)
        stores = [store] + ([house.reopen()] if house.can_reopen else [])
        for each in stores[-1:]:
            reader = each.reader()
            with each.batch() as batch:
                assert batch.settlement() == SETTLEMENT
                assert batch.deposit(ALICE) == Deposit(ALICE, 1_000, slot=3)
                assert batch.deposit_sums() == (1_500, 0)
                assert batch.claim(ALICE) == Claim(ALICE, 100, 4)
                assert batch.voucher(ALICE) == Voucher(ALICE, 250, 99, NOW_MS)
                assert batch.last_epoch() == batch.epoch(1) == an_epoch(1, 4, 320)
                assert batch.active_epoch() is None
                sums = batch.class_sums(["earned", "credit", "hold"])
                assert sums == {
                    "earned": Sums(100, 320),
                    "credit": Sums(320, 1_500),
                    "hold": Sums(0, 0),
                }
                assert batch.withdrawn_since(ALICE, 0) == 300
                assert batch.withdrawn_since(ALICE, 1) == 0
                assert batch.withdrawals_open(ALICE) == 0
            assert reader.settlement() == SETTLEMENT
            assert reader.deposit(ALICE) == Deposit(ALICE, 1_000, slot=3)
            assert {each.owner for each in reader.deposits()} == {ALICE, BOB}
            assert [*reader.claims()] == [Claim(ALICE, 100, 4)]
            assert reader.voucher(BOB) is None
            assert reader.epoch(2) is None
            assert [each.key for each in reader.withdrawals_of(ALICE, 9)] == ["first"]

    def test_what_a_failed_batch_booked_leaves_no_trace(self, store: Store) -> None:
        def fail() -> None:
            with store.batch() as batch:
                batch.save_settlement(SETTLEMENT)
                post(batch, [deposited(batch, ALICE, 5)])
                assert batch.deposit(ALICE).deposited == 5
                batch.save_epoch(an_epoch(1, 1, 0))
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        with store.batch() as batch:
            assert batch.settlement() is None
            assert batch.deposit(ALICE) == Deposit(ALICE)
            assert batch.last_epoch() is None
            assert batch.last_transfer() == 0

    def test_a_withdrawals_key_is_used_once(self, store: Store) -> None:
        settled(store)

        def again() -> None:
            with store.batch() as batch:
                withdrawn(batch, ALICE, 1, "first")

        with pytest.raises(StoreConflict):
            again()
        with store.batch() as batch:
            found = batch.withdrawal(ALICE, "first")
            assert batch.withdrawal(BOB, "first") is None
        assert found is not None
        assert (found.amount, found.epoch, found.proof) == (300, 1, bytes(64))

    def test_withdrawals_of_an_epoch_come_in_order_and_in_parts(self, store: Store) -> None:
        settled(store)
        reader = store.reader()

        ((first, one),) = reader.withdrawals_in(1, 0, 1)
        ((second, two),) = reader.withdrawals_in(1, first, 9)
        assert (one.key, two.key) == ("first", "second")
        assert reader.withdrawals_in(1, second, 9) == []
        assert reader.withdrawals_in(2, 0, 9) == []

    def test_what_no_epoch_counts_yet_is_counted_by_the_next_one(self, store: Store) -> None:
        with store.batch() as batch:
            post(
                batch,
                [deposited(batch, ALICE, 9), withdrawn(batch, ALICE, 4, "open", epoch=0)],
            )
            assert batch.withdrawals_open(ALICE) == 1
            assert batch.withdrawn_since(ALICE, 7) == 4
            assert batch.count_withdrawals(3) == 1
            assert batch.count_withdrawals(4) == 0
            assert batch.withdrawals_open(ALICE) == 0
        ((_, found),) = store.reader().withdrawals_in(3, 0, 9)
        assert found.epoch == 3

    def test_an_epoch_is_written_over_and_found_by_state(self, store: Store) -> None:
        settled(store)
        with store.batch() as batch:
            (one,) = [batch.epoch(1)]
            assert one is not None
            for number, state in ((1, EpochState.ACTIVE), (2, EpochState.CANCELLED)):
                batch.save_epoch(
                    Epoch(number, state, NOW_MS, 4, 320, 7, 3, bytes(32), bytes(32), 1, 2, 3, b"s")
                )
        reader = store.reader()
        assert [each.number for each in reader.epochs(9)] == [2, 1]
        assert [each.number for each in reader.epochs(9, before=2)] == [1]
        active = reader.active_epoch()
        assert active is not None
        assert (active.number, active.signature, active.leaf_count) == (1, b"s", 3)
        counts = reader.epochs_by_state()
        assert counts[EpochState.ACTIVE] == counts[EpochState.CANCELLED] == 1
        assert counts[EpochState.CLOSED] == 0

    def test_leaves_are_those_of_the_epochs_last_transfer_however_late(self, store: Store) -> None:
        settled(store)
        reader = store.reader()
        lifetimes = [(ALICE, 300), (BOB, 20)]
        # BOB had asked to leave: what is held for his jobs is in no leaf, ALICE's is.
        exits = [(ALICE, 700), (BOB, 480)]
        assert [*reader.earnings_leaves(1)] == lifetimes
        assert [*reader.exit_leaves(1)] == exits
        node = added_node(store)
        alices, bobs = submitted(store, 2), submitted(store, 1, BOB)
        with store.batch() as batch:
            # More credit than jobs: the books of these tests let it be overdrawn otherwise.
            batch.save_deposit(Deposit(ALICE, 6_000))
            batch.save_deposit(Deposit(BOB, 6_000))
            post(
                batch,
                [Transfer(K.DEPOSIT, 7, "chain", credit(ALICE), 5_000),
                 Transfer(K.DEPOSIT, 8, "chain", credit(BOB), 5_500)],
            )  # fmt: skip
        live(store, alices[0], node)
        with store.batch() as batch:
            batch.save_deposit(Deposit(ALICE, 6_000, exited=40))
            post(
                batch,
                [Transfer(K.EXIT, 1, credit(ALICE), "chain", 40),
                 withdrawn(batch, BOB, 11, "third", epoch=2)],
            )  # fmt: skip

        assert [*reader.earnings_leaves(1)] == lifetimes
        assert [*reader.exit_leaves(1)] == exits
        with store.batch() as batch:
            batch.save_epoch(an_epoch(2, batch.last_transfer(), 331))
            batch.note_exits(2, [BOB])
        assert [*reader.earnings_leaves(2)] == [(ALICE, 300), (BOB, 31)]
        # ALICE spent 900; 1,000 are held for her, and what she took out counts on.
        assert [*reader.exit_leaves(2)] == [(ALICE, 5_700 - 900), (BOB, 6_000 - 31 - 1_000)]
        assert bobs[0].budget == 1_000

    def test_leaves_come_sorted_page_after_page(self, store: Store) -> None:
        owners = [bytes([i % 251, i // 251]) * 16 for i in range(2, 2_600)]
        with store.batch() as batch:
            transfers: list[Transfer] = []
            for index, owner in enumerate(owners):
                batch.save_deposit(Deposit(owner, index + 1))
                transfers += (
                    Transfer(K.DEPOSIT, index, "chain", credit(owner), index + 1),
                    withdrawn(batch, owner, 1, f"{index:06}"),
                )
            post(batch, transfers)
        with store.batch() as batch:
            batch.save_epoch(an_epoch(1, batch.last_transfer(), len(owners)))
        reader = store.reader()

        assert [*reader.earnings_leaves(1)] == [(owner, 1) for owner in sorted(owners)]
        exits = {owner: index for index, owner in enumerate(owners) if index}
        assert [*reader.exit_leaves(1)] == sorted(exits.items())

    def test_who_asks_to_leave_is_listed(self, store: Store) -> None:
        with store.batch() as batch:
            batch.save_deposit(Deposit(ALICE, exit_requested_s=5))
            batch.save_deposit(Deposit(BOB))
            assert batch.leaving() == [ALICE]
        assert store.reader().leaving() == [ALICE]
        with store.batch() as batch:
            batch.save_deposit(Deposit(ALICE))
            assert batch.leaving() == []

    def test_what_is_booked_of_the_chain_adds_up(self, store: Store) -> None:
        assert store.reader().chain_sums() == ChainSums(0, 0, 0, 0, 0)
        settled(store)

        assert store.reader().chain_sums() == ChainSums(1_500, 0, 100, 2, 1)

    def test_earners_are_listed_by_their_numbers(self, store: Store) -> None:
        settled(store)
        reader = store.reader()
        everybody = reader.earners(0, 100)
        numbers = [number for number, _ in everybody]

        accounts = {account.code for account in reader.accounts()}
        earning = {code.removeprefix("earned:") for code in accounts if code.startswith("earned:")}
        assert {encode_address(wallet) for _, wallet in everybody} == earning
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 0
        assert reader.earners(0, 1) == everybody[:1]
        assert reader.earners(numbers[0], 100) == everybody[1:]

    def test_the_figures_add_up(self, store: Store) -> None:
        assert store.reader().settlement_figures() == SettlementFigures(0, 0, 0, 0, 0, 0, 0)
        settled(store)
        live(store, submitted(store)[0], added_node(store))

        figures = store.reader().settlement_figures()
        assert figures == SettlementFigures(1_500, 320, 878, 320, 0, 0, 0)
        assert figures.unrooted == 878
        with store.batch() as batch:
            batch.save_epoch(Epoch(1, EpochState.ACTIVE, NOW_MS, 4, 320, 0))
        after = store.reader().settlement_figures()
        assert (after.active_total, after.withdrawals_unrooted, after.unrooted) == (320, 0, 878)

    def test_receipts_of_a_wallet_come_by_job(self, store: Store) -> None:
        node, other = added_node(store), added_node(store, BOB)
        jobs = submitted(store, 4)
        for job, at in zip(jobs, (node, other, node, node), strict=True):
            live(store, job, at)
        reader = store.reader()

        assert _jobs(reader.receipts_of(OPERATOR, 0, 2)) == [jobs[0].id, jobs[2].id]
        assert _jobs(reader.receipts_of(OPERATOR, jobs[2].id, 9)) == [jobs[3].id]
        assert _jobs(reader.receipts_of(BOB, 0, 9)) == [jobs[1].id]
        assert reader.receipts_of(ALICE, 0, 9) == []


def _jobs(receipts: Sequence[Receipt]) -> list[int]:
    return [receipt.job for receipt in receipts]
