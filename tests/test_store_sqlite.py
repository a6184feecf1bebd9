"""The SQLite store: the conformance suite on a file and in memory, then what only SQLite has.

Not covered: power cuts with lost or torn writes; these need a file system of their own.
"""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from msgspec.structs import replace
from sqlite_utils import Database

from coordinator.store import sqlite_connection as connections
from coordinator.store.interface import Store, StoreConflict, StoreError
from coordinator.store.sqlite import SqliteStore, open_sqlite
from coordinator.store.sqlite_connection import StoreInUse
from coordinator.store.values import Attempt, AttemptState, Job, JobState, Output
from tests.store_conformance import StoreConformance
from tests.store_machine import StoreMachine
from tests.store_values import (
    BOB,
    NOW_MS,
    House,
    added_node,
    assigned,
    hold_account,
    post,
    submit,
    submitted,
)


class TestSqliteFile(StoreConformance):
    @pytest.fixture
    def house(self, tmp_path: Path) -> Iterator[House]:
        house = House(lambda: open_sqlite(tmp_path / "store.db"))
        yield house
        house.store.close()


class TestSqliteInMemory(StoreConformance):
    @pytest.fixture
    def house(self) -> Iterator[House]:
        house = House(lambda: open_sqlite(":memory:"), can_reopen=False)
        yield house
        house.store.close()


class TestOldSqliteFile(StoreConformance):
    """With the WAL-reset bug in the library, everything runs on one connection."""

    @pytest.fixture
    def house(self, tmp_path: Path) -> Iterator[House]:
        path = tmp_path / "store.db"
        house = House(lambda: open_sqlite(path, library_version=(3, 51, 2)))
        yield house
        house.store.close()


class Machine(StoreMachine):
    @staticmethod
    def open_store(folder: Path) -> Store:
        return open_sqlite(folder / "store.db")


@pytest.mark.slow
class TestSqliteMachine(Machine.TestCase):  # type: ignore[valid-type,misc]
    """Any order of batches, failures and reopenings, against a dictionary."""

    settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = open_sqlite(path)
    yield opened
    opened.close()


def add_outputs(store: Store, job: Job, node: int, size: int) -> None:
    """Write `size` bytes in one batch, with everything else that a batch does."""
    with store.batch() as batch:
        assert batch.save_job(assigned(job, node), was=job)
        batch.add_attempt(Attempt(job.id, 1, node, AttemptState.OPEN, NOW_MS))
        batch.add_outputs([Output(job.id, 1, 0, "|u1", (size,), bytes(size), b"", size)])
        _, transfer = submit(batch, BOB)
        post(batch, [transfer])


def assert_nothing_happened(store: Store, job: Job) -> None:
    with store.batch() as batch:
        assert batch.jobs([job.id, job.id + 1]) == {job.id: job}
        assert batch.attempt(job.id, 1) is None
        assert batch.open_jobs_of(BOB) == 0
        assert batch.account(hold_account(BOB)).credits == 0
    assert store.check() == []


# ---- one owner, one private file --------------------------------------------------------------
@pytest.mark.slow
def test_a_second_coordinator_cannot_open_the_file(store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreInUse):
        open_sqlite(path)

    code = (
        "import sys\n"
        "from coordinator.store.sqlite import open_sqlite\n"
        "from coordinator.store.sqlite_connection import StoreInUse\n"
        "try: open_sqlite(sys.argv[1])\n"
        "except StoreInUse: sys.exit(7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert ended.returncode == 7
    assert store.check() == []


def test_a_closed_store_leaves_the_file_to_the_next(store: SqliteStore, path: Path) -> None:
    store.close()
    store.close()
    open_sqlite(path).close()
    for use in (store.batch, store.reader, store.check):
        with pytest.raises(StoreError, match="closed"):
            use()


def test_only_its_owner_may_read_the_file_and_what_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch(mode=0o644)
    store = open_sqlite(path)
    submitted(store)
    store.backup(tmp_path / "backup.db")

    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    store.close()
    assert {"store.db", "store.db-wal", "store.db-shm", "store.db.lock"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_a_folder_that_does_not_exist_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot create"):
        open_sqlite(tmp_path / "none" / "store.db")


def test_a_file_that_is_no_database_is_a_named_error(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError):
        open_sqlite(path)
    with pytest.raises(StoreError):
        open_sqlite(path, is_readonly=True)


def test_a_database_of_a_newer_program_is_refused(path: Path) -> None:
    open_sqlite(path).close()
    connection = connections.connect(path, is_writer=True)
    with connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('hypernode.coordinator', '9999 from the future', '')"
        )
    connection.close()

    for is_readonly in (False, True):
        with pytest.raises(StoreError, match="newer"):
            open_sqlite(path, is_readonly=is_readonly)


def test_a_store_opened_for_reading_sees_the_owners_commits(store: SqliteStore, path: Path) -> None:
    submitted(store)
    watcher = open_sqlite(path, is_readonly=True)
    reader = watcher.reader()
    submitted(store)

    assert len([*reader.open_jobs()]) == 2
    assert watcher.check() == []
    with pytest.raises(StoreError, match="for reading"):
        watcher.batch()
    watcher.close()


def test_a_store_is_read_where_no_coordinator_runs(store: SqliteStore, path: Path) -> None:
    submitted(store)
    store.close()
    watcher = open_sqlite(path, is_readonly=True)
    assert len([*watcher.reader().open_jobs()]) == 1
    watcher.close()


# ---- the engine below -------------------------------------------------------------------------
def test_the_store_uses_the_driver_that_sqlite_utils_uses(store: SqliteStore) -> None:
    store.batch()
    memory = Database(memory=True)
    assert isinstance(store._writer, type(memory.conn))
    assert connections.is_sound(connections.LIBRARY_VERSION)
    memory.close()


@pytest.mark.parametrize(
    ("version", "is_sound"),
    [((3, 40, 1), False), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 53, 4), True)],
)
def test_sqlite_is_sound_from_3_51_3(version: Sequence[int], is_sound: bool) -> None:
    assert connections.is_sound(version) == is_sound


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5_000)],
)
def test_the_writer_is_set_up_for_durability(
    store: SqliteStore, pragma: str, value: object
) -> None:
    store.batch()
    assert store._writer is not None
    assert store._writer.execute(f"PRAGMA {pragma}").fetchone()[0] == value


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    reader = store.reader()
    with pytest.raises(connections.DriverError, match="readonly"):
        reader._connection.execute("DELETE FROM jobs")


def test_batches_stay_on_the_thread_that_began(store: SqliteStore) -> None:
    caught: list[BaseException] = []

    def write() -> None:
        try:
            store.batch()
        except AssertionError as error:
            caught.append(error)

    store.batch()
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_readers_work_from_other_threads_while_a_batch_is_open(store: SqliteStore) -> None:
    submitted(store, 5)
    reader = store.reader()
    counts: list[int] = []

    with store.batch() as batch:
        _, transfer = submit(batch)
        post(batch, [transfer])
        threads = [
            threading.Thread(target=lambda: counts.append(len([*reader.open_jobs()])))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)

    assert counts == [5, 5, 5, 5]


def test_a_failed_statement_loses_the_batch_even_if_it_is_caught(store: SqliteStore) -> None:
    (job,) = submitted(store)

    def swallow() -> None:
        with store.batch() as batch:
            batch.add_paid_to_tests(1, 5)
            with pytest.raises(StoreConflict):
                batch.add_paid_to_tests(1, 2**63 - 1)

    with pytest.raises(StoreConflict):
        swallow()
    with store.batch() as batch:
        assert batch.paid_to_tests(1) == 0
        assert batch.jobs([job.id]) == {job.id: job}


def test_a_row_that_somebody_else_changed_fails_the_batch(store: SqliteStore, path: Path) -> None:
    (job,) = submitted(store)
    intruder = connections.connect(path, is_writer=True)
    intruder.execute("UPDATE jobs SET fence = 9")
    intruder.close()

    with pytest.raises(StoreConflict, match="somebody else"), store.batch() as batch:
        batch.save_job(replace(job, detail="mine"), was=job)
    with store.batch() as batch:
        assert batch.jobs([job.id])[job.id].fence == 9, "it was read again"


# ---- failures of the disk, crashes ------------------------------------------------------------
def test_a_full_disk_undoes_the_batch_and_the_store_goes_on(store: SqliteStore) -> None:
    node = added_node(store)
    (job,) = submitted(store)
    assert store._writer is not None
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages + 20}")
    for _ in range(2):
        with pytest.raises(StoreError, match="full"):
            add_outputs(store, job, node.id, 200_000)
        assert_nothing_happened(store, job)

    store._writer.execute("PRAGMA max_page_count = 1000000")
    add_outputs(store, job, node.id, 200_000)
    assert len(store.reader().outputs(job.id, 1)) == 1
    assert store.check() == []


def test_an_error_at_the_commit_undoes_the_batch_and_the_store_goes_on(
    store: SqliteStore, path: Path
) -> None:
    node = added_node(store)
    (job,) = submitted(store)
    log = path.with_name("store.db-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 8192, hard))
    try:
        with pytest.raises(StoreError):
            add_outputs(store, job, node.id, 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert_nothing_happened(store, job)
    add_outputs(store, job, node.id, 100_000)
    assert store.check() == []


@pytest.mark.slow
def test_a_crash_between_batches_loses_nothing(path: Path) -> None:
    code = (
        "import os, sys\n"
        "from coordinator.store.sqlite import open_sqlite\n"
        "from tests.store_values import added_node, live, submit, submitted\n"
        "store = open_sqlite(sys.argv[1])\n"
        "node = added_node(store)\n"
        "jobs = submitted(store, 50)\n"
        "for job in jobs[:20]: live(store, job, node)\n"
        "batch = store.batch().__enter__()\n"
        "submit(batch)\n"
        "os._exit(9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert ended.returncode == 9

    store = open_sqlite(path)
    assert store.check() == []
    counts = store.reader().jobs_by_state()
    assert counts[JobState.COMPLETED] == 20
    assert counts[JobState.QUEUED] == 30
    store.close()


def test_a_backup_taken_while_the_store_works_is_a_store(
    store: SqliteStore, tmp_path: Path
) -> None:
    jobs = submitted(store, 3)
    with store.batch() as batch:
        _, transfer = submit(batch)
        post(batch, [transfer])
        store.backup(tmp_path / "copy.db")
    with pytest.raises(StoreError, match="overwrites nothing"):
        store.backup(tmp_path / "copy.db")

    copy = open_sqlite(tmp_path / "copy.db")
    assert [*copy.reader().open_jobs()] == jobs
    assert copy.check() == []
    copy.close()
