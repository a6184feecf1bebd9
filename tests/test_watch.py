"""The house that looks at itself: wrong books stop it, a full disk only makes it wait."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordinator import events as ev, watch, writer as writer_module
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import Keypair, generate
from coordinator.store.sqlite import open_sqlite
from coordinator.store.sqlite_connection import driver
from coordinator.watch import files_of
from coordinator.writer import Writer, run_inline
from hypernode.client import AsyncClient
from tests.build import ALICE, Market
from tests.house import HonestRunner, House, agent_at, captured_log, open_house, search, until
from tests.test_writer import StillClock, WatchedEngine, submission


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIGURES_EVERY_S", "BOOKS_EVERY_S", "STORE_EVERY_S"):
        monkeypatch.setattr(watch, name, 0.05)
    monkeypatch.setattr(writer_module, "STORE_RETRY_S", 0.05)


async def readiness(http: httpx.AsyncClient) -> list[str]:
    answer = await http.get("/readyz")
    reasons: list[str] = answer.json()["reasons"]
    assert answer.status_code == (503 if reasons else 200)
    return reasons


async def until_reasons(http: httpx.AsyncClient, *wanted: str, seconds: float = 8.0) -> None:
    with trio.fail_after(seconds):
        while await readiness(http) != list(wanted):  # noqa: ASYNC110
            await trio.sleep(0.1)


async def post_job(http: httpx.AsyncClient, key: str) -> tuple[int, dict[str, Any]]:
    """Submit one job; the status, and the job's own answer or the refusal of all."""
    spec = {"kind": "hashsearch", "params": search()}
    job = {"key": key, "spec": spec, "budget": "1"}
    answer = await http.post("/api/jobs", json={"jobs": [job]})
    document = answer.json()
    return answer.status_code, document["jobs"][0] if "jobs" in document else document


@asynccontextmanager
async def signed_in(house: House, wallet: Keypair) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP as this wallet, with money."""
    async with AsyncClient(house.url, wallet) as client:
        await client.faucet("100")
    async with house.http(await house.bearer(wallet)) as http:
        yield http


def falsify(db: Path, base_units: int) -> None:
    """Change one account by hand, as a bug or a thief would."""
    connection = driver.connect(str(db), timeout=5)
    with connection:
        connection.execute("UPDATE accounts SET credits = credits + ? WHERE id = 1", (base_units,))
    connection.close()


# ---- wrong books ------------------------------------------------------------------------------


@pytest.mark.slow
async def test_books_that_do_not_balance_stop_the_house_and_lose_nothing(tmp_path: Path) -> None:
    wallet, runner, db = generate(), HonestRunner(), tmp_path / "house.db"
    with captured_log() as log:
        async with (
            open_house(tmp_path) as house,
            signed_in(house, wallet) as http,
            agent_at(house, runner, "hashsearch") as agent,
        ):
            runner.gate = trio.Event()
            _, job = await post_job(http, "before")
            await until(lambda: runner.began)

            falsify(db, 7)
            await until_reasons(http, "read_only")

            status, refused = await post_job(http, "after")
            assert (status, refused["code"]) == (503, "read_only")
            # What was there is still to be seen, and people may sign in to look.
            assert (await http.get(f"/api/jobs/{job['id']}")).json()["status"] != "completed"
            assert await house.bearer(wallet)
            runner.gate.set()
            await until(lambda: len(agent.attempts.outbox))
            await trio.sleep(0.3)
            assert len(agent.attempts.outbox) == 1, "not acknowledged, so it is kept"

        (line,) = [line for line in log.lines() if line["level"] == "critical"]
        assert line["imbalance"] == -7

    async with open_house(tmp_path) as house, house.http() as http:
        assert await readiness(http) == ["read_only"], "a restart alone heals nothing"
    falsify(db, -7)
    async with open_house(tmp_path) as house, signed_in(house, wallet) as http:
        assert await readiness(http) == []
        assert (await post_job(http, "before"))[1]["code"] == "key_conflict", "it was kept"
    store = open_sqlite(db)
    assert store.check() == []
    store.close()


async def test_a_halted_writer_applies_what_is_harmless_only() -> None:
    market = Market()
    engine, heard = WatchedEngine(market), list[str]()
    desk = Writer(engine, StillClock(), run_inline, lambda _effects: None)

    def note(outcome: ev.Outcome) -> None:
        heard.append(outcome.refusal.code if outcome.refusal else "ok")

    desk.tell(submission("waits"), note)
    desk.tell(ev.AttemptLost(1, 1, "lease_lost"))
    desk.tell(ev.ExpiryDue(), note)
    desk.halt(Refusal("read_only"))
    assert heard == ["read_only"]
    desk.tell(submission("comes later"), note)
    with pytest.raises(Refusal, match="read_only"):
        await desk.ask(ev.CancelAsked(ALICE.address, 1))
    await desk.flush()

    assert heard == ["read_only", "read_only", "ok"]
    assert engine.batches == [1]
    assert [*market.reader.open_jobs()] == []
    market.close()


async def test_a_halted_writer_does_not_take_up_again_what_a_bad_disk_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    market = Market()
    engine = WatchedEngine(market)
    desk = Writer(engine, StillClock(), run_inline, lambda _effects: None)
    engine.failures = 1

    async def fail_then_halt(function: Callable[[], Any]) -> Any:
        desk.halt(Refusal("read_only"))
        return await run_inline(function)

    desk._run_sync = fail_then_halt
    desk.tell(ev.NodesSeen(()))
    await desk.flush()

    assert len(desk) == 0
    market.close()


# ---- a disk that is full ----------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, of so many megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(filler: Path) -> None:
    """Take all that is left of a disk."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)) == 4096:
            pass


@pytest.mark.slow
async def test_a_full_disk_refuses_by_name_loses_nothing_and_is_noticed_when_it_has_room(
    tmp_path: Path,
) -> None:
    wallet, kept = generate(), list[str]()
    with small_disk(tmp_path, 4) as disk:
        with captured_log():
            async with open_house(disk) as house, signed_in(house, wallet) as http:
                filler = disk / "filler"
                while (answer := await post_job(http, f"k{len(kept)}"))[0] == 200:
                    kept.append(answer[1]["id"])
                    if len(kept) == 20:
                        fill(filler)
                assert answer == (507, {
                    "error": "The coordinator's disk takes no writes now: nothing was accepted.",
                    "code": "unavailable",
                })  # fmt: skip
                await until_reasons(http, "store_failing")
                numbers = (await http.get("/metrics")).text
                assert 'hypernode_not_ready{reason="store_failing"} 1.0' in numbers
                assert (await http.get(f"/api/jobs/{kept[0]}")).status_code == 200

                filler.unlink()
                # Nobody asks for anything: the house finds out by itself.
                await until_reasons(http)
                status, again = await post_job(http, "room again")
                assert status == 200
                kept.append(again["id"])
                shown = (await http.get("/metrics")).text
                assert f"hypernode_jobs_submitted_total {len(kept)}.0" in shown

        store = open_sqlite(disk / "house.db")
        assert store.check() == []
        assert len([*store.reader().open_jobs()]) == len(kept)
        store.close()


@pytest.mark.slow
async def test_a_file_that_may_not_grow_is_a_full_disk_for_everybody_who_is_not_root(
    tmp_path: Path,
) -> None:
    """A limit on the size of files, for this process and a while: no mount is needed."""
    wallet, before = generate(), resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = 0
    with captured_log() as log:
        async with open_house(tmp_path) as house, signed_in(house, wallet) as http:
            for kept in range(1, 6):
                assert (await post_job(http, f"k{kept}"))[0] == 200
            size = (tmp_path / "house.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            try:
                refused = await post_job(http, "too much")
                await until_reasons(http, "store_failing")
                await trio.sleep(0.5)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            await until_reasons(http)
            assert (refused[0], refused[1]["code"]) == (507, "unavailable")
            assert (await post_job(http, "too much"))[0] == 200

    failed = [line["error"] for line in log.lines() if line["event"] == "store failed"]
    assert len(failed) == len(set(failed)) >= 1, "a line for each reason, not for each second"
    store = open_sqlite(tmp_path / "house.db")
    assert store.check() == []
    assert len([*store.reader().open_jobs()]) == kept + 1
    store.close()


# ---- a write that hangs -----------------------------------------------------------------------


@pytest.mark.slow
async def test_a_write_that_hangs_is_named_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the database: to the writer that is a disk that does not answer."""
    monkeypatch.setattr(writer_module, "COMMIT_STUCK_S", 0.2)
    wallet = generate()
    async with open_house(tmp_path) as house, signed_in(house, wallet) as http:
        other = driver.connect(str(tmp_path / "house.db"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answers: list[tuple[int, dict[str, Any]]] = []

        async def ask(key: str) -> None:
            answers.append(await post_job(http, key))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "in the commit that hangs")
            await trio.sleep(0.05)
            nursery.start_soon(ask, "behind it")
            await until_reasons(http, "store_stuck")
            assert (await post_job(http, "later"))[1]["code"] == "unavailable"
            await until(lambda: answers)
            assert [(status, job["code"]) for status, job in answers] == [(507, "unavailable")]
            other.execute("ROLLBACK")
        other.close()
        await until_reasons(http)
        assert answers[1][0] == 200, "the one in the commit was accepted after all"
        assert (await post_job(http, "now"))[0] == 200


async def test_who_waits_behind_a_commit_that_hangs_is_told_and_what_is_told_stays(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "COMMIT_STUCK_S", -1.0)
    market, go_on = Market(), threading.Event()

    async def hang(function: Callable[[], Any]) -> Any:
        await trio.to_thread.run_sync(go_on.wait)
        return function()

    desk = Writer(WatchedEngine(market), StillClock(), hang, lambda _effects: None)
    heard: list[str] = []

    def stuck() -> bool:
        return desk.is_stuck

    desk.tell(submission("in it"), lambda _outcome: heard.append("in it"))
    nursery.start_soon(desk.flush)
    await wait_all_tasks_blocked()
    desk.tell(submission("behind"), lambda o: heard.append(o.refusal.code if o.refusal else "ok"))
    desk.tell(ev.ExpiryDue())

    assert stuck() is True
    desk.give_up_waiting()
    with pytest.raises(Refusal, match="unavailable"):
        await desk.ask(ev.ExpiryDue())
    assert (heard, len(desk)) == (["unavailable"], 1)

    go_on.set()
    await until(lambda: len(heard) == 2)
    assert stuck() is False
    market.close()


# ---- numbers ----------------------------------------------------------------------------------


def test_the_sizes_of_files_are_those_on_the_disk(tmp_path: Path) -> None:
    db = tmp_path / "house.db"
    assert files_of(db).database == 0
    db.write_bytes(bytes(300))
    (tmp_path / "house.db-wal").write_bytes(bytes(200))

    found = files_of(db)

    assert (found.database, found.wal) == (300, 200)
    assert found.free > 0
    assert files_of(Path(":memory:")).free == 0
