"""Files of every earlier schema open in this program: no row is lost, the audit is clean.

And the rules that keep it so: the tables do not change without a new step and its file.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random  # noqa: TID251 - seeded
from typing import Any

import pytest
from msgspec import structs
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from coordinator.store import schema, sqlite_connection as connections, steps
from coordinator.store.interface import StoreError
from coordinator.store.rows import FENCES_MAX
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import Attempt, JobState
from tests.power_disk import Disk, File, mounted, swap
from tests.schemas import FOLDER, load, rows_of, schema_of, write_new
from tests.store_values import ALICE, submitted

#: Rows by table, columns by name.
_Tables = dict[str, list[dict[str, Any]]]
FILES = sorted(FOLDER.glob("*.sql"))
OLDER = [file for file in FILES if not file.stem.startswith(f"{schema.SCHEMA_VERSION:04}")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "market.db"


def _as_set(path: Path) -> set[tuple[str, frozenset[tuple[str, Any]]]]:
    return {(table, frozenset(row.items())) for table, row in rows_of(path)}


def _by_table(path: Path) -> _Tables:
    tables: _Tables = {}
    for table, row in rows_of(path):
        tables.setdefault(table, []).append(row)
    return tables


# ---- the rules --------------------------------------------------------------------------------
def test_every_schema_has_a_file_and_steps_are_numbered_without_a_gap() -> None:
    numbers = [schema.number_of(name) for name in schema.names_of_steps()]

    assert numbers == [*range(1, schema.SCHEMA_VERSION + 1)]
    assert {int(file.stem[:4]) for file in FILES} == {*numbers}, "run python -m tests.schemas"


def test_the_tables_do_not_change_without_a_step(path: Path, tmp_path: Path) -> None:
    open_sqlite(path).close()
    newest = tmp_path / "newest.db"
    load((FOLDER / f"{schema.SCHEMA_VERSION:04}.sql").read_text(), newest)

    assert schema_of(path) == schema_of(newest), (
        "the tables are not those of the last step: add a step, as coordinator/store/steps.py says"
    )


def test_the_tool_writes_the_newest_file_once(tmp_path: Path) -> None:
    written = write_new(tmp_path)
    load(written.read_text(), tmp_path / "of-now.db")
    kept = FOLDER / written.name
    before = kept.read_bytes()

    tables = {table for table, _ in rows_of(tmp_path / "of-now.db")}
    assert tables == {name for name, sql in schema_of(tmp_path / "of-now.db").items()
                      if sql.startswith("CREATE TABLE") and "sqlite_" not in name}, (
        "tests/schemas.py fills every table"
    )  # fmt: skip
    assert write_new(FOLDER) == kept
    assert kept.read_bytes() == before


# ---- upgrades ---------------------------------------------------------------------------------
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_older_file_opens_keeps_every_row_and_passes_the_audit(file: Path, path: Path) -> None:
    load(file.read_text(), path)
    before = _by_table(path)

    store = open_sqlite(path)
    faults = store.check()
    reader = store.reader()
    counts = reader.jobs_by_state()
    found = [reader.job(row["id"]) for row in before["jobs"]]
    attempts = [each for row in found if row is not None for each in row.attempts]
    store.close()

    after = _by_table(path)
    assert faults == []
    assert counts[JobState.COMPLETED] == counts[JobState.ASSIGNED] == 1
    assert sum(map(len, before.values())) > 30
    if "holds" in before:
        _moved_in_0008(before, after, attempts)
    for table, rows in before.items():
        kept = [{name: row[name] for name in rows[0]} for row in after[table]]
        assert kept == rows, "every value stays under its name"


def _moved_in_0008(before: _Tables, after: _Tables, attempts: Sequence[Attempt]) -> None:
    """Since then a job's row says what its hold said, and nearly all that its attempts did."""
    jobs = {row["id"]: row for row in after["jobs"]}
    for hold in before.pop("holds"):
        job = jobs[hold["job"]]
        ended = "posted" if job["paid"] else "voided"
        assert hold["amount"] == job["budget"]
        assert hold["state"] == ("held" if job["is_open"] else ended)
    told = [{**structs.asdict(each), "id": each.job * FENCES_MAX + each.fence} for each in attempts]
    assert told == [
        {**row, "job": row["id"] // FENCES_MAX, "fence": row["id"] % FENCES_MAX}
        for row in before.pop("attempts")
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_upgraded_file_has_the_schema_of_a_fresh_one(
    file: Path, path: Path, tmp_path: Path
) -> None:
    load(file.read_text(), path)
    open_sqlite(path).close()
    open_sqlite(tmp_path / "fresh.db").close()

    assert schema_of(path) == schema_of(tmp_path / "fresh.db")


@pytest.mark.parametrize("file", OLDER, ids=lambda file: file.stem)
def test_an_upgraded_file_works(file: Path, path: Path) -> None:
    load(file.read_text(), path)
    store = open_sqlite(path)
    (job,) = submitted(store)
    assert store.reader().jobs_of_submitter(ALICE, 1) == [job]
    assert store.check() == []
    store.close()


@pytest.mark.parametrize("file", OLDER, ids=lambda file: file.stem)
def test_the_older_file_is_kept_beside_the_new_one(file: Path, path: Path) -> None:
    load(file.read_text(), path)
    before = _as_set(path)
    open_sqlite(path).close()
    open_sqlite(path).close()

    (copy,) = path.parent.glob("market.db.before-*")
    assert copy.name == f"market.db.before-{int(file.stem[:4]) + 1:04}"
    assert _as_set(copy) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_fresh_file_and_a_present_one_leave_no_copy(path: Path) -> None:
    open_sqlite(path).close()
    open_sqlite(path).close()

    assert [*path.parent.glob("*before*")] == []


def test_an_upgrade_that_cannot_copy_first_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(OLDER[0].read_text(), path)
    before = schema_of(path)

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        open_sqlite(path)
    assert schema_of(path) == before
    assert [*path.parent.glob("*before*")] == []


# ---- broken off -------------------------------------------------------------------------------
@pytest.fixture
def one_more_step(monkeypatch: pytest.MonkeyPatch) -> Migrations:
    """The steps, and a place for more that is taken away after the test."""
    monkeypatch.setattr(steps.migrations, "_migrations", [*steps.migrations._migrations])
    return steps.migrations


def test_a_step_that_fails_undoes_those_before_it(path: Path, one_more_step: Migrations) -> None:
    load(OLDER[0].read_text(), path)
    before = schema_of(path)

    @one_more_step(name="9000 breaks")
    def breaks(db: Database) -> None:
        assert "losses" in steps.columns(db, "jobs"), "the step before it ran"
        db.execute("CREATE TABLE jobs (id)")

    with pytest.raises(StoreError, match="already exists"):
        open_sqlite(path)
    assert schema_of(path) == before


def test_a_step_that_leaves_a_reference_to_nothing_is_undone(
    path: Path, one_more_step: Migrations
) -> None:
    load(OLDER[0].read_text(), path)

    @one_more_step(name="9000 loses wallets")
    def loses(db: Database) -> None:
        db.execute("DELETE FROM wallets")

    before = _as_set(path)
    with pytest.raises(StoreError, match="refers to no row of wallets"):
        open_sqlite(path)
    assert _as_set(path) == before


def test_kill_9_in_the_middle_of_the_steps_leaves_the_old_file(
    path: Path, one_more_step: Migrations
) -> None:
    load(OLDER[0].read_text(), path)
    before = schema_of(path), _as_set(path)

    @one_more_step(name="9000 dies")
    def dies(_db: Database) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            open_sqlite(path)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    one_more_step._migrations.pop()

    assert (schema_of(path), _as_set(path)) == before
    store = open_sqlite(path)
    assert store.check() == []
    store.close()
    assert {each.name for each in path.parent.glob("*before*")} == {
        "market.db.before-0002", "market.db.before-0002.2",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("file", OLDER, ids=lambda file: file.stem)
def test_a_power_cut_in_the_middle_of_the_steps_leaves_the_old_file_or_the_new_one(
    file: Path, path: Path, tmp_path: Path
) -> None:
    load(file.read_text(), path)
    old = path.read_bytes()
    path.unlink()
    rng, versions = Random(1), set()
    with mounted(tmp_path, Disk()):
        cut_at = 0
        while True:
            cut_at += 5
            disk = Disk()
            disk.files[path.name] = File(old)
            disk.dies_at = cut_at
            swap(disk)
            with suppress(StoreError):
                open_sqlite(path, keeps_older=False).close()
            is_over = not disk.is_dead
            swap(disk.after_cut(rng))
            versions.add(_version_of(path))
            # Whatever is there goes on from there.
            store = open_sqlite(path, keeps_older=False)
            assert store.check() == []
            assert store.reader().jobs_by_state()[JobState.COMPLETED] == 1
            store.close()
            if is_over:
                break
    assert versions == {int(file.stem[:4]), schema.SCHEMA_VERSION}, "all steps or none"


def _version_of(path: Path) -> int:
    connection = connections.connect(path, is_writer=True)
    try:
        names = connection.execute("SELECT name FROM _sqlite_migrations").fetchall()
        return max(schema.number_of(name) for (name,) in names)
    finally:
        connection.close()


# ---- refused ----------------------------------------------------------------------------------
def test_a_newer_file_is_refused_by_the_names_of_its_steps(path: Path) -> None:
    text = FILES[-1].read_text()
    newer = text.replace("COMMIT;", "")
    newer += "INSERT INTO _sqlite_migrations VALUES(99,'hypernode.coordinator','0099 tomorrow','');"
    load(newer + "COMMIT;", path)
    before = path.read_bytes()

    for is_readonly in (False, True):
        with pytest.raises(StoreError, match="a newer program wrote this database: 0099 tomorrow"):
            open_sqlite(path, is_readonly=is_readonly)
    assert len(path.read_bytes()) == len(before)


def test_a_database_of_another_program_is_refused_and_not_filled(path: Path) -> None:
    load("CREATE TABLE photos (id INTEGER PRIMARY KEY);", path)

    with pytest.raises(StoreError, match="another program: it has tables photos"):
        open_sqlite(path)
    assert [*schema_of(path)] == ["photos"]


def test_an_older_file_is_not_read_as_if_it_were_new(path: Path) -> None:
    load(OLDER[0].read_text(), path)

    with pytest.raises(
        StoreError, match="an older program wrote this database; it waits for: 0002"
    ):
        open_sqlite(path, is_readonly=True)
