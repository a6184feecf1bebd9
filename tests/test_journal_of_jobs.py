"""Transfers of jobs are packed, happen once, come back in order, and add up from any place on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from coordinator.store.interface import StoreConflict
from coordinator.store.journal import ENTRY_BYTES, NUMBERS, sums_of, transfers_of
from coordinator.store.sqlite import SqliteStore, open_sqlite
from coordinator.store.sqlite_journal import AccountCodes, moved_after
from coordinator.store.values import JobState, Transfer, TransferKind
from tests.store_values import ALICE, added_node, live, post, submit, submitted


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    opened = open_sqlite(":memory:")
    yield opened
    assert opened.check() == []
    opened.close()


def _rows(store: SqliteStore, sql: str) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = store.reader()._connection.execute(sql).fetchall()
    return found


def _faucet(number: int) -> Transfer:
    return Transfer(TransferKind.FAUCET, number, "faucet", "credit:somebody", 7)


def _mixed(store: SqliteStore) -> list[Transfer]:
    """Batches of jobs' transfers with others before, between and behind them."""
    posted: list[Transfer] = []
    for number in range(3):
        with store.batch() as batch:
            _, first = submit(batch, key=f"a{number}")
            _, second = submit(batch, key=f"b{number}")
            some = [_faucet(3 * number), first, _faucet(3 * number + 1), second]
            some = [*some, _faucet(3 * number + 2)] if number == 1 else some
            post(batch, some)
        posted += some
    return posted


def test_a_jobs_transfers_are_no_rows_and_come_back_in_order(store: SqliteStore) -> None:
    posted = _mixed(store)

    assert _rows(store, "SELECT count(*) FROM transfers WHERE kind != 'faucet'") == [(0,)]
    assert _rows(store, "SELECT sum(length(journal)) FROM ledger_batches") == [(6 * ENTRY_BYTES,)]
    assert [*store.reader().transfers()] == posted


def test_a_whole_life_is_packed(store: SqliteStore) -> None:
    node = added_node(store)
    (job,) = submitted(store)
    live(store, job, node)

    assert _rows(store, "SELECT count(*) FROM transfers") == [(0,)]
    assert {transfer.kind for transfer in store.reader().transfers()} == {*NUMBERS}
    posted = [*store.reader().transfers()]
    with store.batch() as batch:
        assert all(map(batch.has_transfer, posted))
        assert not batch.has_transfer(replace(posted[0], sequence=1))


def test_what_moved_behind_any_transfer_is_the_sum_of_those_behind_it(store: SqliteStore) -> None:
    posted = _mixed(store)
    reader = store.reader()
    codes = AccountCodes(reader._all)

    for cut in range(len(posted) + 1):
        late: dict[str, list[int]] = {}
        for each in posted[cut:]:
            if each.kind in NUMBERS:
                late.setdefault(each.debit, [0, 0])[0] += each.amount
                late.setdefault(each.credit, [0, 0])[1] += each.amount
        moved = {codes[number]: sums for number, sums in moved_after(reader._all, cut).items()}
        assert moved == late, f"behind transfer {cut}"


def test_a_jobs_transfer_happens_once_in_a_batch(store: SqliteStore) -> None:
    with pytest.raises(StoreConflict, match="happens once"), store.batch() as batch:  # noqa: PT012
        _, transfer = submit(batch)
        post(batch, [transfer, replace(transfer, amount=1)])
    assert [*store.reader().transfers()] == []


@pytest.mark.parametrize("kind", sorted(NUMBERS))
def test_a_jobs_transfer_without_its_job_is_refused(store: SqliteStore, kind: TransferKind) -> None:
    node = added_node(store)
    ended, waiting = submitted(store, 2)
    live(store, ended, node)
    before = [*store.reader().transfers()]

    for job in (ended, waiting):
        wanted = Transfer(kind, job.id, "credit:x", "hold:x", 5, sequence=9)
        with pytest.raises(StoreConflict, match="apart from it"), store.batch() as batch:
            post(batch, [wanted])
    assert [*store.reader().transfers()] == before


def test_a_job_that_only_moves_guards_no_payment(store: SqliteStore) -> None:
    (job,) = submitted(store)

    with pytest.raises(StoreConflict, match="apart"), store.batch() as batch:  # noqa: PT012
        assert batch.save_job(replace(job, state=JobState.ASSIGNED, fence=1), was=job)
        post(batch, [Transfer(TransferKind.PAY, job.id, "hold:x", "withheld:x", 5)])


def test_a_journal_is_read_as_it_was_written(store: SqliteStore) -> None:
    submitted(store, 3, ALICE)
    ((journal,),) = store.reader()._connection.execute("SELECT journal FROM ledger_batches")
    codes = AccountCodes(store.reader()._all)

    transfers = [*transfers_of(journal, codes)]
    assert transfers == [*store.reader().transfers()]
    assert {codes[n]: sums for n, sums in sums_of(journal).items()} == {
        transfers[0].debit: [3_000, 0],
        transfers[0].credit: [0, 3_000],
    }
