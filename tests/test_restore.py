"""A backup put back: what is refused, what stays of the database of before, kill -9 at any step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace as changed

from benchmarks.filled import fill
from coordinator import audit as audit_module
from coordinator.audit import audit
from coordinator.backup import (
    DATABASE,
    MANIFEST,
    BackupError,
    Manifest,
    hash_of,
    make_backup,
    read_manifest,
)
from coordinator.protocol.receipts import Receipt, unpack
from coordinator.protocol.signing import generate
from coordinator.restore import SKIPPED_NUMBERS, _give, restore_backup
from coordinator.store import sqlite_connection as connections
from coordinator.store.interface import StoreError
from coordinator.store.schema import SCHEMA_VERSION
from coordinator.store.sqlite import open_sqlite
from coordinator.store.sqlite_connection import StoreInUse
from coordinator.store.values import CounterSignature
from tests.schemas import FOLDER, load
from tests.store_values import NOW_MS, added_node, submitted
from tests.test_backup import in_child

FINISHED, OPEN = 120, 20


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A sound database with jobs, books and receipts."""
    path = tmp_path / "market.db"
    fill(path, finished=FINISHED, open_jobs=OPEN, now_ms=NOW_MS)
    return path


@pytest.fixture
def backup(db: Path, tmp_path: Path) -> Path:
    make_backup(db, tmp_path / "backup", now_ms=NOW_MS, program="1.2.3")
    return tmp_path / "backup"


def restore(backup: Path, db: Path, **how: Any) -> Any:
    return restore_backup(backup, db, db.parent / "blobs", **how)


def jobs_in(path: Path) -> int:
    store = open_sqlite(path)
    try:
        assert store.check() == []
        return sum(store.reader().jobs_by_state().values())
    finally:
        store.close()


def edit(backup: Path, sql: str) -> None:
    """Change the rows of a backup and its manifest's hash: a forger, or a program gone wrong."""
    connection = connections.connect(backup / DATABASE, is_writer=False)
    connection.execute("PRAGMA query_only = OFF")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(sql)
    connection.close()
    rewrite(backup, sha256=hash_of(backup / DATABASE), size=(backup / DATABASE).stat().st_size)


def rewrite(backup: Path, **changes: object) -> None:
    manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    (backup / MANIFEST).write_bytes(msgspec.json.encode(changed(manifest, **changes)))


# ---- it works ---------------------------------------------------------------------------------
def test_a_restored_database_has_the_rows_of_the_backup_and_the_old_one_is_aside(
    backup: Path, db: Path
) -> None:
    store = open_sqlite(db)
    submitted(store, 7)
    store.close()

    done = restore(backup, db)

    assert jobs_in(db) == FINISHED + OPEN
    assert done.aside == db.with_name("market.db.replaced-1")
    assert jobs_in(done.aside) == FINISHED + OPEN + 7
    assert done.manifest == read_manifest(backup)
    assert not [each for each in db.parent.iterdir() if "restoring" in each.name]
    assert restore(backup, db).aside == db.with_name("market.db.replaced-2")


def test_the_log_of_a_killed_coordinator_goes_aside_with_its_database(
    backup: Path, db: Path
) -> None:
    def die() -> None:
        store = open_sqlite(db)
        submitted(store, 7)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(die), 0)
    assert db.with_name("market.db-wal").exists()

    aside = restore(backup, db).aside

    assert jobs_in(db) == FINISHED + OPEN
    assert jobs_in(aside) == FINISHED + OPEN + 7, "what stood only in its log is still there"


def test_a_backup_can_be_put_where_there_was_nothing(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()

    assert restore(backup, tmp_path / "new" / "market.db").aside is None
    assert jobs_in(tmp_path / "new" / "market.db") == FINISHED + OPEN


def test_no_number_of_a_lost_job_node_or_receipt_is_given_again(backup: Path, db: Path) -> None:
    store = open_sqlite(db)
    lost = {submitted(store)[0].id, added_node(store).id}
    store.close()
    restore(backup, db)

    store = open_sqlite(db)
    with store.batch() as batch:
        numbers = batch.next_job_id(), batch.next_node_id(), batch.next_receipt_batch()
    again = submitted(store)[0].id
    store.close()
    store = open_sqlite(db)
    later = submitted(store)[0].id
    store.close()

    assert min(numbers) > SKIPPED_NUMBERS > max(lost)
    assert again >= numbers[0], "a number of a batch that kept nothing may be given again"
    assert later == again + 1


def test_only_looking_changes_nothing_and_needs_no_coordinator_to_stop(
    backup: Path, db: Path
) -> None:
    store = open_sqlite(db)
    before = {each.name for each in db.parent.iterdir()}

    assert restore(backup, db, only_look=True).aside is None

    assert {each.name for each in db.parent.iterdir()} == before
    store.close()


def test_an_older_backup_is_brought_to_the_present_schema(db: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    load((FOLDER / "0001.sql").read_text(), older / DATABASE)
    connection = connections.connect(older / DATABASE, is_writer=True)
    # Its one receipt is of no house.
    for table in ("receipts", "receipt_signers", "receipt_roots"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute("UPDATE wallets SET receipts = 0")
    (link,) = connection.execute(
        "SELECT link FROM ledger_batches ORDER BY number DESC LIMIT 1"
    ).fetchone()
    connection.close()
    manifest = changed(
        make_backup(db, tmp_path / "any", now_ms=NOW_MS, program="0.1"),
        schema=1, sha256=hash_of(older / DATABASE), size=(older / DATABASE).stat().st_size,
        ledger_link=link.hex(),
    )  # fmt: skip
    (older / MANIFEST).write_bytes(msgspec.json.encode(manifest))

    restore(older, db)

    assert jobs_in(db) == 4
    assert hash_of(older / DATABASE) == manifest.sha256, "the backup itself stays as it was made"


# ---- refused ----------------------------------------------------------------------------------
def test_a_database_in_use_is_left_alone(backup: Path, db: Path) -> None:
    store = open_sqlite(db)
    with pytest.raises(StoreInUse, match="another coordinator has"):
        restore(backup, db)
    submitted(store)
    assert store.check() == []
    store.close()


def _truncate(backup: Path) -> None:
    data = (backup / DATABASE).read_bytes()
    (backup / DATABASE).write_bytes(data[:-4096])


def _flip_a_bit(backup: Path) -> None:
    data = bytearray((backup / DATABASE).read_bytes())
    data[len(data) // 2] ^= 1
    (backup / DATABASE).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_truncate, r"is damaged: it has \d+ bytes, its manifest says \d+"),
        (_flip_a_bit, "is damaged: its SHA-256 is [0-9a-f]{64}, its manifest says"),
        (lambda backup: (backup / DATABASE).unlink(), "cannot be read"),
        (lambda backup: (backup / MANIFEST).unlink(), "is no backup"),
        (lambda backup: (backup / MANIFEST).write_bytes(b"{"), "cannot be read"),
        (lambda backup: (backup / MANIFEST).write_bytes(bytes(70_000)), "too large"),
        (partial(rewrite, schema=SCHEMA_VERSION + 1, program="9.0"), r"newer program \(9.0\)"),
        (partial(rewrite, format=2), "format 2"),
        (partial(rewrite, ledger_link="ab" * 32), "last link of the ledger"),
        (partial(edit, sql="UPDATE accounts SET debits = debits + 1"), "not the sum of its tr"),
        (partial(edit, sql="UPDATE transfers SET reference = 0 WHERE id = 9"), "chain breaks"),
        (partial(edit, sql="UPDATE jobs SET spec = NULL"), "no specification"),
        (partial(edit, sql="UPDATE receipts SET data = zeroblob(271)"), "root of receipt batch"),
        (partial(edit, sql="DELETE FROM receipts WHERE position = 3"), "receipts, not"),
        (partial(edit, sql="UPDATE receipt_roots SET signature = zeroblob(64)"), "signature of"),
        (partial(edit, sql="UPDATE receipts SET fence = 9"), "another job, attempt"),
        (partial(edit, sql="UPDATE secrets SET value = randomblob(32)"), "does not hold"),
        (partial(edit, sql="DELETE FROM secrets"), "has no key"),
        (partial(edit, sql="UPDATE wallets SET cumulative = 1 WHERE receipts > 0"), "ever paid"),
    ],
)  # fmt: skip
def test_what_is_not_sound_is_refused_by_name_and_the_database_stays(
    backup: Path, db: Path, damage: Callable[[Path], object], sentence: str
) -> None:
    before = hash_of(db)
    damage(backup)

    with pytest.raises(BackupError, match=sentence):
        restore(backup, db)

    assert hash_of(db) == before
    assert not [each for each in db.parent.iterdir() if "repl" in each.name or "rest" in each.name]


def test_a_counter_signature_of_another_key_is_found(db: Path) -> None:
    store = open_sqlite(db)
    node, other = added_node(store), generate()
    with store.batch() as batch:
        batch.add_counter_signature(CounterSignature(1, node.id, other.sign(b"something else")))
    faults = audit(store)
    store.close()

    assert faults == [f"node {node.id}'s signature of receipt batch 1 does not hold"]


def test_a_sum_that_falls_is_found(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_sqlite(db)
    monkeypatch.setattr(audit_module, "unpack", lambda data: _later_ones_fall(unpack(data)))
    faults = audit(store)
    store.close()

    assert any("less was ever paid than an earlier one" in fault for fault in faults), faults


def _later_ones_fall(receipt: Receipt) -> Receipt:
    return changed(receipt, cumulative=10**9 - receipt.job)


def test_a_damaged_blob_is_refused_and_a_missing_one_is_added(backup: Path, db: Path) -> None:
    data, blobs = b"an array", db.parent / "blobs"
    name = sha256(data).hexdigest()
    kept = backup / "blobs" / name[:2] / name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(data)

    assert restore(backup, db).blobs == 1
    assert (blobs / name[:2] / name).read_bytes() == data
    assert restore(backup, db).blobs == 0, "it is there"
    kept.write_bytes(b"another")
    with pytest.raises(BackupError, match="is damaged"):
        restore(backup, db)


# ---- killed -----------------------------------------------------------------------------------
def _die_at(call: int) -> None:
    """Let the process be killed before its `call`-th renaming, deletion or wait for the disk."""
    left = call

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        return instead

    for name in ("rename", "unlink", "fsync", "link", "replace"):
        setattr(os, name, counted(getattr(os, name)))


def _outcome(db: Path) -> Iterator[str]:
    try:
        yield str(jobs_in(db))
    except StoreError as error:
        yield "broken off" if "was broken off: run it again" in str(error) else str(error)


@pytest.mark.slow
def test_kill_9_at_any_step_leaves_the_old_rows_the_new_ones_or_a_word_and_loses_none(
    tmp_path: Path,
) -> None:
    seen, call = [], 0
    while True:
        call += 1
        folder = tmp_path / f"kill-{call}"
        folder.mkdir()
        db, backup = folder / "market.db", folder / "backup"
        fill(db, finished=2, open_jobs=3, now_ms=NOW_MS)
        make_backup(db, backup, now_ms=NOW_MS, program="1.2.3")
        store = open_sqlite(db)
        submitted(store, 7)
        store.close()

        def killed(at: int = call, db: Path = db, backup: Path = backup) -> None:
            _die_at(at)
            restore(backup, db)

        _, status = os.waitpid(in_child(killed), 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        (outcome,) = _outcome(db)
        assert outcome in {"12", "5", "broken off"}, f"killed before step {call}: {outcome}"
        seen.append(outcome)

        restore(backup, db)

        assert jobs_in(db) == 5
        old = [each for each in folder.glob("market.db.replaced-*") if each.suffix[-1].isdigit()]
        assert 12 in [jobs_in(each) for each in old], "the database of before is there, whole"
    assert {"12", "5", "broken off"} == set(seen), "every part of it was killed"
    assert call > 10


NOBODY = 65_534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_gives_what_it_makes_to_the_owner_of_the_folder(tmp_path: Path, db: Path) -> None:
    data = b"a result" * 1000
    name = sha256(data).hexdigest()
    source, home = tmp_path / "backup", tmp_path / "home"
    make_backup(db, source, now_ms=NOW_MS, program="1.2.3")
    (source / "blobs" / name[:2]).mkdir(parents=True)
    (source / "blobs" / name[:2] / name).write_bytes(data)
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)

    done = restore(source, home / "market.db")
    # A second time: what is root's from before is given too.
    os.chown(home / "blobs" / name[:2] / name, 0, 0)
    again = restore(source, home / "market.db")

    assert (done.owner, again.owner) == ((NOBODY, NOBODY), (NOBODY, NOBODY))
    made = [home, *home.rglob("*")]
    assert {"market.db", "market.db.lock", "blobs", name} <= {path.name for path in made}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(NOBODY, NOBODY)}
    assert jobs_in(home / "market.db") == FINISHED + OPEN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_cannot_be_given_ends_the_restore_by_name_and_leaves_the_old(
    tmp_path: Path, db: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    old = home / "market.db"
    old.write_bytes(db.read_bytes())
    os.chown(home, NOBODY, NOBODY)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(BackupError, match=r"cannot give .* user 65534: Operation not permitted"):
        restore(backup, old)
    assert not [*home.glob("*replac*")]
    assert jobs_in(old) == FINISHED + OPEN


def test_a_link_and_a_file_with_a_second_name_are_given_to_nobody(tmp_path: Path) -> None:
    target, link, second = tmp_path / "target", tmp_path / "link", tmp_path / "second"
    target.write_bytes(b"of somebody else")
    link.symlink_to(target)
    second.hardlink_to(target)
    before = (target.stat().st_uid, target.stat().st_gid)

    for path in (link, second, target):
        _give(path, (NOBODY, NOBODY))

    assert (target.stat().st_uid, target.stat().st_gid) == before
    assert link.lstat().st_uid == before[0]
