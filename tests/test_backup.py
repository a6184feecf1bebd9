"""Backups under a working writer, killed, on a full disk; and how often one is made."""

from __future__ import annotations

import os
import random  # noqa: TID251 - moments of kills, from a seed
import resource
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from benchmarks.filled import fill
from coordinator import backups
from coordinator.backup import (
    DATABASE,
    MANIFEST,
    BackupError,
    Manifest,
    make_backup,
    partial_of,
    read_manifest,
    require_bytes,
)
from coordinator.backups import Plan, begin_backups, keep_backups
from coordinator.blobs import BlobFolder
from coordinator.clock import SystemClock
from coordinator.metrics import Metrics
from coordinator.restore import restore_backup
from coordinator.store import sqlite_copy
from coordinator.store.interface import StoreError
from coordinator.store.sqlite import SqliteStore, open_sqlite
from coordinator.store.values import Blob
from tests.house import captured_log, until
from tests.store_values import ALICE, NOW_MS, submitted

KILLS = 12


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "market.db"


@pytest.fixture
def store(db: Path) -> Iterator[SqliteStore]:
    opened = open_sqlite(db)
    yield opened
    opened.close()


def back_up(db: Path, target: Path, blobs: Path | None = None) -> Manifest:
    return make_backup(db, target, now_ms=NOW_MS, program="1.2.3", blobs=blobs)


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a process of its own; its pid. It ends with 0, or 1 after an exception."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


# ---- what one is ------------------------------------------------------------------------------
def test_a_backup_says_what_it_is(store: SqliteStore, db: Path, tmp_path: Path) -> None:
    submitted(store, 3)
    last = store.reader().last_ledger_batch()
    assert last is not None

    made = back_up(db, tmp_path / "backup")

    assert read_manifest(tmp_path / "backup") == made
    require_bytes(tmp_path / "backup", made)
    assert (made.jobs["queued"], made.ledger_batch, made.ledger_link) == (3, 1, last.link.hex())
    assert (made.program, made.made_ms, made.made[:4]) == ("1.2.3", NOW_MS, "2027")
    data = (tmp_path / "backup" / DATABASE).read_bytes()
    assert (made.sha256, made.size) == (sha256(data).hexdigest(), len(data))


def test_only_its_owner_may_read_a_backup(store: SqliteStore, db: Path, tmp_path: Path) -> None:
    submitted(store)
    os.umask(os.umask(0))
    back_up(db, tmp_path / "backup")

    folder = tmp_path / "backup"
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (folder, *folder.iterdir())}
    assert modes == {"backup": 0o700, DATABASE: 0o600, MANIFEST: 0o600}


def test_a_backup_overwrites_nothing(store: SqliteStore, db: Path, tmp_path: Path) -> None:
    submitted(store)
    target = tmp_path / "backup"
    made = back_up(db, target)
    with pytest.raises(BackupError, match="overwrites nothing"):
        back_up(db, target)
    assert read_manifest(target) == made

    (tmp_path / "a file").write_bytes(b"mine")
    with pytest.raises(BackupError, match="overwrites nothing"):
        back_up(db, tmp_path / "a file")
    assert (tmp_path / "a file").read_bytes() == b"mine"


def test_what_cannot_be_backed_up_is_named_and_leaves_nothing(
    store: SqliteStore, db: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackupError, match="there is no database"):
        back_up(tmp_path / "none.db", tmp_path / "backup")
    assert not (tmp_path / "none.db").exists(), "looking for it does not make it"
    with pytest.raises(BackupError, match="there is no folder"):
        back_up(db, tmp_path / "none" / "backup")
    (tmp_path / "text").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        back_up(tmp_path / "text", tmp_path / "backup")
    assert not [each for each in tmp_path.iterdir() if "backup" in each.name]


def test_a_backup_holds_the_blobs_if_they_are_asked_for(
    store: SqliteStore, db: Path, tmp_path: Path
) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    here, gone = sha256(b"here").digest(), sha256(b"gone").digest()
    blobs.path(here).parent.mkdir()
    blobs.path(here).write_bytes(b"here")
    with store.batch() as batch:
        batch.add_blob(Blob(here, 4, ALICE, NOW_MS))
        batch.add_blob(Blob(gone, 4, ALICE, NOW_MS))

    without = back_up(db, tmp_path / "without")
    made = back_up(db, tmp_path / "with", tmp_path / "blobs")

    assert (without.blobs, without.blobs_copied, without.blobs_missing) == (2, 0, 0)
    assert (made.blobs, made.blobs_copied, made.blobs_missing) == (2, 1, 1)
    name = here.hex()
    assert (tmp_path / "with" / "blobs" / name[:2] / name).read_bytes() == b"here"


# ---- under load, killed, full -----------------------------------------------------------------
@pytest.mark.slow
def test_backups_while_a_writer_hammers_are_each_one_moment_of_it(db: Path, tmp_path: Path) -> None:
    fill(db, finished=40, open_jobs=20, now_ms=NOW_MS)
    over = threading.Event()
    counts: list[int] = []

    def hammer() -> None:
        writer = open_sqlite(db)
        while not over.is_set():
            submitted(writer, 20)
            counts.append(20)
        writer.close()

    thread = threading.Thread(target=hammer)
    thread.start()
    seen = []
    try:
        for number in range(6):
            before = sum(counts)
            made = back_up(db, tmp_path / f"backup-{number}")
            assert before <= made.jobs["queued"] - 16 <= sum(counts) + 20
            seen.append(made.jobs["queued"])
    finally:
        over.set()
        thread.join()

    assert seen == sorted(seen)
    assert seen[-1] > seen[0], "the writer worked meanwhile"
    for number in range(6):
        done = restore_backup(tmp_path / f"backup-{number}", db, tmp_path / "blobs", only_look=True)
        assert done.manifest.jobs["queued"] == seen[number], "whole, and its audit is clean"


@pytest.mark.slow
def test_kill_9_in_a_backup_leaves_a_whole_one_or_none(db: Path, tmp_path: Path) -> None:
    store = open_sqlite(db)
    for _ in range(8):
        submitted(store, 2_500)
    store.close()
    began = time.perf_counter()
    back_up(db, tmp_path / "timed")
    took_s = time.perf_counter() - began
    rng = random.Random(1)
    ends = []
    for number in range(KILLS):
        target = tmp_path / f"backup-{number}"
        child = in_child(partial(back_up, db, target))
        time.sleep(rng.uniform(0.0, 1.3 * took_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        ends.append(target.exists())
        if target.exists():
            require_bytes(target, read_manifest(target))
        left = [*tmp_path.glob(f"{partial_of(target)}*")]
        assert len(left) <= 1, "what was begun stands under a name of its own"
        back_up(db, tmp_path / f"again-{number}")
    assert False in ends, "some were killed in time"


def test_a_disk_that_is_full_leaves_no_backup_and_harms_no_database(
    store: SqliteStore, db: Path, tmp_path: Path
) -> None:
    submitted(store, 2_000)
    target = tmp_path / "backup"

    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(StoreError, match="cannot write the"):
            back_up(db, target)

    _, status = os.waitpid(in_child(small_files_only), 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert not [each for each in tmp_path.iterdir() if "backup" in each.name]
    submitted(store, 5)
    assert store.check() == []


def test_a_backup_that_would_take_the_databases_own_room_is_not_begun(
    store: SqliteStore, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(store)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(free=sqlite_copy.SPARE_BYTES + 100)
    )

    with pytest.raises(StoreError, match=r"bytes are needed and \d+ are free"):
        back_up(db, tmp_path / "backup")

    assert not [each for each in tmp_path.iterdir() if "backup" in each.name]


def test_a_killed_coordinators_database_can_be_backed_up_as_it_lies(
    db: Path, tmp_path: Path
) -> None:
    def die() -> None:
        opened = open_sqlite(db)
        submitted(opened, 7)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(die), 0)
    assert db.with_name("market.db-wal").stat().st_size > 0, "its log was never folded in"

    assert back_up(db, tmp_path / "backup").jobs["queued"] == 7


# ---- on a beat --------------------------------------------------------------------------------
def a_plan(db: Path, tmp_path: Path, every_s: float = 3600.0, keep: int = 3) -> Plan:
    return Plan(db, tmp_path / "backups", every_s, keep, "1.2.3")


async def _keep(plan: Plan, clock: SystemClock, metrics: Metrics) -> None:
    last_ms = await begin_backups(plan, metrics)
    await keep_backups(plan, last_ms, clock, metrics)


class FastClock(SystemClock):
    """Each look is a second later: names of backups differ."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def wall_ms(self) -> int:
        self.now_ms += 1000
        return self.now_ms


async def test_backups_are_made_on_a_beat_and_the_oldest_deleted(
    store: SqliteStore, db: Path, tmp_path: Path
) -> None:
    submitted(store, 2)
    plan, metrics = a_plan(db, tmp_path, every_s=0.05), Metrics(version="test")
    stranger = plan.folder / "market-notes"
    stranger.mkdir(parents=True)
    with trio.fail_after(20.0):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, plan, FastClock(), metrics)
            first: list[Path] = []
            while len(first) < plan.keep:
                await trio.sleep(0.01)
                first = plan.made()
            while set(first) & set(plan.made()):  # noqa: ASYNC110 (a folder tells no event)
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    # The last one may be under way: it is whole, or not under its name.
    made = plan.made()
    assert plan.keep <= len(made) <= plan.keep + 1
    assert [read_manifest(each).jobs["queued"] for each in made] == [2] * len(made)
    assert metrics.backup_age_s < float("inf")
    assert stranger.is_dir()


async def test_after_a_restart_the_beat_goes_on_and_what_was_broken_off_is_swept(
    store: SqliteStore, db: Path, tmp_path: Path
) -> None:
    clock, plan = SystemClock(), a_plan(db, tmp_path)
    plan.folder.mkdir()
    back_up_ms = clock.wall_ms() - 1_000_000
    make_backup(db, plan.next_target(back_up_ms), now_ms=back_up_ms, program="1.2.3")
    left = plan.folder / f"{partial_of(plan.next_target(back_up_ms))}x1"
    left.mkdir()
    plan.next_target(back_up_ms - 5_000).mkdir()
    metrics = Metrics(version="test")

    with trio.move_on_after(0.5):
        await _keep(plan, clock, metrics)

    assert len(plan.made()) == 2, "the next one is due in three quarters of an hour"
    assert 999 < metrics.backup_age_s < 1010
    assert not left.exists()


async def test_a_backup_that_fails_is_told_and_tried_again(
    store: SqliteStore, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "RETRY_S", 0.01)
    plan, metrics = a_plan(db, tmp_path), Metrics(version="test")
    answers: list[StoreError | None] = [StoreError("no space left"), BackupError("again"), None]
    real = make_backup

    def failing(*arguments: Path, **more: object) -> Manifest:
        error = answers.pop(0)
        if error is not None:
            raise error
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(backups, "make_backup", failing)
    with trio.fail_after(10.0):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, plan, SystemClock(), metrics)
            while answers or metrics.backup_age_s == float("inf"):  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    assert len(plan.made()) == 1


async def test_a_folder_that_is_gone_is_made_again_and_a_file_in_its_place_is_told(
    store: SqliteStore, db: Path, tmp_path: Path
) -> None:
    plan, metrics = a_plan(db, tmp_path, every_s=0.05), Metrics(version="test")
    with captured_log() as log, trio.fail_after(10.0):
        last_ms = await begin_backups(plan, metrics)
        plan.folder.rmdir()
        plan.folder.write_bytes(b"a file")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_backups, plan, last_ms, SystemClock(), metrics)
            await until(lambda: bool(log.lines()))
            plan.folder.unlink()
            await until(lambda: metrics.backup_age_s < float("inf"))
            nursery.cancel_scope.cancel()
        lines = log.lines()

    assert (lines[0]["event"], lines[0]["retry_s"]) == ("backup failed", 0.05)
    assert lines[0]["error"].endswith("cannot be used: a file stands in its place")
    again = [line for line in lines if "made again" in line["event"]]
    assert [line["folder"] for line in again] == [str(plan.folder)]


@pytest.mark.parametrize("folder", ["backups", "not-mounted/backups"])
async def test_a_folder_that_cannot_be_used_ends_the_start_by_name(
    db: Path, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "backups").write_bytes(b"a file")
    plan = Plan(db, tmp_path / folder, 3600.0, 3, "1.2.3")

    with pytest.raises(BackupError, match=r"backup folder .* cannot be used"):
        await begin_backups(plan, Metrics(version="test"))
    assert not (tmp_path / "not-mounted").exists()
