"""`hypernode coordinator backup, restore, audit` as an owner types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.filled import fill
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import JobState
from hypernode.cli.app import run
from tests.store_values import NOW_MS


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "market.db", finished=4, open_jobs=3, now_ms=NOW_MS)
    return "market.db"


def test_a_backup_is_made_and_put_back_and_says_what_it_did(
    db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["coordinator", "backup", "monday", "--db", db]) == 0
    said = capsys.readouterr().out
    assert "backup\tmonday" in said
    assert "jobs\t3 queued, 4 completed" in said or "4 completed" in said

    assert run(["coordinator", "restore", "monday", "--check", "--db", db]) == 0
    assert "verified\tthe whole audit" in capsys.readouterr().out
    assert not [*Path().glob("*replaced*")]

    assert run(["coordinator", "restore", "monday", "--verify", "--db", db]) == 0
    said = capsys.readouterr().out
    assert "restored\tmarket.db" in said
    assert "before\tmarket.db.replaced-1" in said

    assert run(["coordinator", "audit", "--db", db]) == 0
    assert "market.db: nothing is wrong" in capsys.readouterr().out


def test_a_drill_beside_the_real_database_hears_whose_blobs_it_shares(
    db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["coordinator", "backup", "monday", "--db", db]) == 0
    assert run(["coordinator", "restore", "monday", "--db", "drill.db"]) == 0
    assert "shared\tblobs is the folder of blobs of market.db too" in capsys.readouterr().out

    words = ["coordinator", "restore", "monday", "--db", "drill.db", "--blobs", "drill/blobs"]
    Path("drill").mkdir()
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "shared" not in said
    assert "blobs\t0 added to drill/blobs" in said


def test_json_is_one_document(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["coordinator", "backup", "monday", "--db", db, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["jobs"]["completed"], made["backup"]) == (4, "monday")

    assert run(["coordinator", "restore", "tuesday", "--db", db, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"error": "tuesday is no backup: it has no manifest.json", "code": "store"}

    assert run(["coordinator", "audit", "--db", db, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"db": db, "faults": []}


def test_a_folder_of_backups_is_no_backup_and_they_are_named(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    assert run(["coordinator", "backup", "kept/monday", "--db", db]) == 0
    for number in range(12):
        (kept / f"day-{number:02}").mkdir()
        (kept / f"day-{number:02}" / "manifest.json").touch()
    (kept / "empty").mkdir()
    capsys.readouterr()

    assert run(["coordinator", "restore", "kept", "--db", db]) == 1
    told = capsys.readouterr().err
    assert "kept is no backup: it has no manifest.json; it holds backups, take one" in told
    assert "day-10, day-11, monday and 3 others" in told
    assert "empty" not in told


def test_what_is_refused_is_one_line(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["coordinator", "backup", "monday", "--db", db]) == 0
    assert run(["coordinator", "backup", "monday", "--db", db]) == 1
    assert "error: monday exists; a backup overwrites nothing" in capsys.readouterr().err

    store = open_sqlite(db)
    assert run(["coordinator", "restore", "monday", "--db", db]) == 1
    assert "error: another coordinator has market.db open" in capsys.readouterr().err
    store.close()

    assert run(["coordinator", "--db", db, "backup", "monday"]) == 2
    assert "put --db after `backup`" in capsys.readouterr().err
    assert run(["coordinator", "restore", "--db", db]) == 2


def test_a_damaged_database_is_told_with_the_way_out(
    db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(Path(db).read_bytes())
    data[100:9000] = bytes(range(256)) * 34 + bytes(196)
    Path(db).write_bytes(data)

    assert run(["coordinator", "audit", "--db", db]) == 1
    told = capsys.readouterr().err
    assert "malformed" in told
    assert "hypernode coordinator restore BACKUP" in told


def test_an_audit_that_finds_something_fails(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_sqlite(db)
    with store.batch() as batch:
        (job,) = [*store.reader().open_jobs()][:1]
        assert batch.save_job(replace(job, state=JobState.CANCELLED), was=job)
    store.close()

    assert run(["coordinator", "audit", "--db", db]) == 1
    assert "the holds do not add up" in capsys.readouterr().out
