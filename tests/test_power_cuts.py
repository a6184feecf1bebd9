"""Some hundred power cuts and failing operations; `python -m tests.power_cuts` does many more.

And that they would be noticed: houses that are broken on purpose are found, the disk forgets what
it should.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random  # noqa: TID251 - seeded

import pytest

from coordinator.store import sqlite_connection as connections
from coordinator.store.interface import StoreError
from coordinator.store.sqlite import open_sqlite
from tests import power_cuts
from tests.power_cuts import FAULTS, HOUSES, Violation, cut, fail_at
from tests.power_disk import FSYNC, Disk, Failed, mounted, swap
from tests.store_values import submitted

CUTS, CONTROL_CUTS = 300, 120
BROKEN = [name for name, how in HOUSES.items() if how]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk()
    with mounted(tmp_path, made):
        yield made


# ---- the store --------------------------------------------------------------------------------
@pytest.mark.slow
def test_no_power_cut_loses_what_was_acknowledged() -> None:
    done = cut("as it is", CUTS, seed=2)

    assert done.violations == {}, done.examples
    assert done.cuts == CUTS
    assert done.batches > CUTS, "cuts without work between them show little"


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_house_that_would_lose_it_is_found(name: str) -> None:
    assert cut(name, CONTROL_CUTS, seed=2).violations.total() > 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_an_operation_that_fails_has_a_name_and_loses_nothing(kind: str) -> None:
    # Every 11th of the first 300: each kind of operation at each stage of a batch.
    struck = [fail_at(number, kind) for number in range(1, 300, 11)]

    assert all(struck), "the history has so many operations"


def test_a_failure_that_is_swallowed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A house that acknowledges first, as if no operation ever failed."""
    monkeypatch.setattr(power_cuts, "_watched", partial(power_cuts._watched, is_early=True))

    def fail_at_each() -> None:
        for number in range(150, 400, 3):
            fail_at(number, "once")

    with pytest.raises(Violation, match=r"lost|chain"):
        fail_at_each()


# ---- the disk ---------------------------------------------------------------------------------
def test_what_was_not_synced_may_be_kept_lost_or_torn_and_what_was_is_there(
    disk: Disk, tmp_path: Path
) -> None:
    store = open_sqlite(tmp_path / "market.db")
    submitted(store, 5)
    synced = {name: bytes(file.durable) for name, file in disk.files.items()}
    assert all(not file.pending for file in disk.files.values()), "FULL: each commit is synced"
    connection = connections.connect(tmp_path / "market.db", is_writer=True)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("INSERT INTO secrets VALUES ('a', zeroblob(20000))")

    sizes = set()
    for seed in range(40):
        after = disk.after_cut(Random(seed))
        for name, data in synced.items():
            assert after.files[name].data.startswith(data), "what was synced stays"
        sizes.add(len(after.files["market.db-wal"].data))
    connection.close()
    store.close()

    whole = max(sizes)
    assert len(synced["market.db-wal"]) in sizes, "all of it may be lost"
    assert len(sizes) > 4, "or a part"
    assert any(size % 4096 and size < whole for size in sizes)


def test_a_failed_fsync_forgets_what_it_should_have_written(disk: Disk, tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "market.db")
    submitted(store)

    def fail(what: str, _name: str) -> None:
        if what == "sync":
            raise Failed(FSYNC)

    disk.on_operation = fail
    with pytest.raises(StoreError, match="disk I/O error"):
        submitted(store)
    disk.on_operation = lambda _what, _name: None
    submitted(store)
    store.close()

    swap(disk.after_cut(Random(1)))
    store = open_sqlite(tmp_path / "market.db")
    assert len([*store.reader().open_jobs()]) == 2
    assert store.check() == []
    store.close()


def test_connections_on_the_disk_keep_each_other_out_as_on_a_real_one(
    disk: Disk, tmp_path: Path
) -> None:
    store = open_sqlite(tmp_path / "market.db")
    reader = store.reader()
    submitted(store)
    other = connections.connect(tmp_path / "market.db", is_writer=True)
    other.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN IMMEDIATE")
    writer = store._writer
    assert writer is not None
    writer.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(StoreError, match="locked"):
        submitted(store)
    assert len([*reader.open_jobs()]) == 1, "readers never wait"
    other.execute("ROLLBACK")
    other.close()
    submitted(store)
    assert len([*reader.open_jobs()]) == 2
    store.close()
    assert "market.db-wal" not in disk.files, "the last one folds the log in"


def test_everything_else_goes_to_the_system(disk: Disk, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere.db"
    store = open_sqlite(elsewhere)
    submitted(store)
    store.close()

    assert disk.files == {}
    assert elsewhere.stat().st_size > 0
