"""Inputs on an agent's disk: whole and of their hash, once, within a bound; whoever sends them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random  # noqa: TID251 (the cache's waiting times)
from typing import Any

import httpx
import pytest
import trio

from agent.downloads import HttpDownloader, TransferFailed
from agent.fetches import Fetches
from agent.held import Held
from agent.inputs import InputCache
from agent.places import Places
from agent.task import InputData, Task
from coordinator.protocol.errors import Refusal

BEARER = "the session's"


def blob(number: int, size: int = 1000) -> bytes:
    return bytes([number]) * size


def hash_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def task_of(job: str, *blobs: bytes, fence: int = 1, **changes: Any) -> Task:
    inputs = tuple(
        InputData(f"x{place}", "uint8", (len(data),), len(data), sha256=hash_of(data))
        for place, data in enumerate(blobs)
    )
    return Task(job, fence, "matmul", b"{}", 60.0, 64, 1000, inputs=inputs, **changes)


class Hasty(Random):
    """Waits for nothing: a clock that jumps would jump over the cache's threads."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


class Source:
    """A coordinator's inputs by job and name; it may do wrong in every way."""

    def __init__(self) -> None:
        self.data: dict[tuple[str, str], bytes] = {}
        self.asked: list[tuple[str, str, int]] = []
        #: What each question in turn gets instead: an exception, or the bytes before a break.
        self.instead: list[Exception | int] = []
        #: While it is not set, answers wait.
        self.gate = trio.Event()
        self.gate.set()
        self.most_at_once = self._now = 0

    def give(self, task: Task, *blobs: bytes) -> None:
        for each, data in zip(task.inputs, blobs, strict=True):
            self.data[task.job, each.name] = data

    @asynccontextmanager
    async def read(
        self, job: str, name: str, start: int, *, bearer: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        assert bearer == BEARER
        self.asked.append((job, name, start))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await self.gate.wait()
            wrong = self.instead.pop(0) if self.instead else None
            if isinstance(wrong, Exception):
                raise wrong
            if (job, name) not in self.data:
                raise Refusal("not_found")
            yield _pieces(self.data[job, name][start:], wrong)
        finally:
            self._now -= 1


async def _pieces(data: bytes, breaks_after: int | None) -> AsyncIterator[bytes]:
    for place in range(0, len(data), 100):
        if breaks_after is not None and place >= breaks_after:
            raise TransferFailed("reset")
        yield data[place : place + 100]


@pytest.fixture
def source() -> Source:
    return Source()


def cache_in(tmp_path: Path, source: Source, bytes_max: int = 10_000) -> InputCache:
    cache = InputCache(tmp_path / "inputs", source, Hasty(), bytes_max=bytes_max)
    cache.open(BEARER)
    return cache


def names(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "inputs").iterdir()}


def contents(task: Task) -> list[bytes]:
    return [Path(each.path).read_bytes() for each in task.inputs]


async def refused(cache: InputCache, task: Task) -> str:
    with pytest.raises(Refusal) as caught:
        await cache.fetch(task)

    assert caught.value.code == "input_unavailable"
    return caught.value.sentence


async def test_a_tasks_blobs_come_and_stay_for_the_next_one(tmp_path: Path, source: Source) -> None:
    cache = cache_in(tmp_path, source)
    for job in ("one", "two"):
        task = task_of(job, blob(1), blob(2))
        source.give(task, blob(1), blob(2))
        fetched = await cache.fetch(task)

        assert contents(fetched) == [blob(1), blob(2)]
        cache.release(task)

    assert source.asked == [("one", "x0", 0), ("one", "x1", 0)]
    assert names(tmp_path) == {hash_of(blob(1)), hash_of(blob(2))}


async def test_tasks_that_wait_for_one_blob_share_its_download(
    tmp_path: Path, source: Source
) -> None:
    cache = cache_in(tmp_path, source)
    tasks = [task_of(f"job {number}", blob(1)) for number in range(20)]
    for task in tasks:
        source.give(task, blob(1))
    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(cache.fetch, task)

    assert len(source.asked) == 1


async def test_a_download_that_breaks_goes_on_where_it_was(tmp_path: Path, source: Source) -> None:
    cache, task = cache_in(tmp_path, source), task_of("job", blob(1))
    source.give(task, blob(1))
    source.instead = [300, TransferFailed("no answer"), Refusal("busy"), 200]

    await cache.fetch(task)

    assert [start for _, _, start in source.asked] == [0, 300, 300, 300, 500]
    assert names(tmp_path) == {hash_of(blob(1))}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (blob(2), "another hash"),
        (blob(1, 1001), "more bytes than its specification says"),
        (blob(1, 500_000), "more bytes than its specification says"),
    ],
    ids=["another", "one more", "endless"],
)
async def test_what_is_not_the_blob_is_refused_and_nothing_of_it_stays(
    tmp_path: Path, source: Source, sent: bytes, said: str
) -> None:
    cache, task = cache_in(tmp_path, source), task_of("job", blob(1))
    source.give(task, sent)

    assert said in await refused(cache, task)
    left = [path for path in (tmp_path / "inputs").iterdir() if path.stat().st_size]
    assert left == []

    source.give(task, blob(1))
    await cache.fetch(task)
    assert names(tmp_path) == {hash_of(blob(1))}


async def test_a_blob_that_stays_short_ends_with_the_time(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.inputs.AGENT_INPUT_WAIT_S", 0.1)
    cache, task = cache_in(tmp_path, source), task_of("job", blob(1))
    source.give(task, blob(1)[:-1])

    assert "did not come within 0.1 s" in await refused(cache, task)
    assert len(source.asked) > 1


async def test_a_lost_lease_ends_its_own_fetch_and_the_next_task_goes_on(
    tmp_path: Path, source: Source
) -> None:
    cache = cache_in(tmp_path, source)
    lost, kept = task_of("lost", blob(1)), task_of("kept", blob(1))
    source.give(lost, blob(1))
    source.give(kept, blob(1))
    source.instead = [400, Refusal("not_found")]
    said: list[str] = []

    async def lose() -> None:
        said.append(await refused(cache, lost))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(cache.fetch, kept)

    assert "not_found" in said[0]
    assert source.asked[-1] == ("kept", "x0", 400)


async def test_what_tasks_have_stays_and_of_the_rest_the_oldest_goes(
    tmp_path: Path, source: Source
) -> None:
    cache = cache_in(tmp_path, source, bytes_max=3000)
    first, second, third = (task_of(f"{n}", blob(n)) for n in (1, 2, 3))
    for number, task in enumerate((first, second, third), 1):
        source.give(task, blob(number))
        await cache.fetch(task)
    cache.release(first)
    cache.release(second)
    # The first is the younger one now.
    again = task_of("again", blob(1))
    source.give(again, blob(1))
    await cache.fetch(again)
    cache.release(again)
    more = task_of("more", blob(4))
    source.give(more, blob(4))

    await cache.fetch(more)

    assert names(tmp_path) == {hash_of(blob(n)) for n in (1, 3, 4)}
    assert cache.size == 3000


async def test_a_task_waits_for_room_and_no_two_wait_for_each_other(
    tmp_path: Path, source: Source
) -> None:
    cache = cache_in(tmp_path, source, bytes_max=2000)
    tasks = [task_of(f"{n}", blob(2 * n), blob(2 * n + 1)) for n in range(5)]
    ended: list[str] = []

    async def use(task: Task) -> None:
        await cache.fetch(task)
        assert cache.size <= 2000
        await trio.testing.wait_all_tasks_blocked()
        ended.append(task.job)
        cache.release(task)

    for number, task in enumerate(tasks):
        source.give(task, blob(2 * number), blob(2 * number + 1))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(use, task)

    assert sorted(ended) == ["0", "1", "2", "3", "4"]


async def test_a_task_that_never_fits_is_refused(tmp_path: Path, source: Source) -> None:
    cache = cache_in(tmp_path, source, bytes_max=999)

    assert "larger than this host keeps" in await refused(cache, task_of("job", blob(1)))


async def test_what_an_earlier_process_left_is_hashed_before_it_is_used(
    tmp_path: Path, source: Source
) -> None:
    """Nothing is fsynced: a power cut leaves zeros under a good name."""
    first = cache_in(tmp_path, source)
    task = task_of("job", blob(1), blob(2))
    source.give(task, blob(1), blob(2))
    await first.fetch(task)
    (tmp_path / "inputs" / hash_of(blob(1))).write_bytes(bytes(1000))
    (tmp_path / "inputs" / f"{hash_of(blob(3))}.part").write_bytes(b"half")
    source.asked.clear()

    fetched = await cache_in(tmp_path, source).fetch(task)

    assert source.asked == [("job", "x0", 0)]
    assert contents(fetched) == [blob(1), blob(2)]
    assert names(tmp_path) == {hash_of(blob(1)), hash_of(blob(2))}


async def test_without_a_session_a_fetch_waits_for_one(tmp_path: Path, source: Source) -> None:
    cache = InputCache(tmp_path / "inputs", source, Random(0))
    task = task_of("job", blob(1))
    source.give(task, blob(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cache.fetch, task)
        await trio.testing.wait_all_tasks_blocked()
        assert source.asked == []
        cache.open(BEARER)


async def test_many_downloads_share_few_connections(tmp_path: Path, source: Source) -> None:
    cache = cache_in(tmp_path, source, bytes_max=100_000)
    tasks = [task_of(f"{n}", blob(n)) for n in range(30)]
    async with trio.open_nursery() as nursery:
        for number, task in enumerate(tasks):
            source.give(task, blob(number))
            nursery.start_soon(cache.fetch, task)

    assert source.most_at_once == 4


# ---- with what an agent holds -------------------------------------------------------------------


async def test_a_task_waits_for_its_inputs_and_is_given_up_with_its_attempt(  # noqa: PLR0915
    tmp_path: Path, source: Source
) -> None:
    held = Held(Places.alike(1), window=8)
    cache = cache_in(tmp_path, source, bytes_max=1000)
    ready: list[Task] = []
    failed: list[str] = []
    fetches = Fetches(
        cache,
        is_wanted=lambda attempt: attempt in held and not held.is_finished(attempt),
        on_ready=lambda task: ready.append(task) if held.ready(task) else None,
        on_failed=lambda task, _refusal: failed.append(task.job),
    )
    one, two, gone = (task_of(name, blob(n)) for n, name in enumerate(("one", "two", "gone")))
    plain = task_of("plain")
    source.give(one, blob(0))
    source.give(two, blob(1))
    source.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetches.run)
        for task in (one, plain):
            assert held.take(task).is_held
        fetches.begin(one)
        await trio.testing.wait_all_tasks_blocked()
        started = held.start()
        assert started is not None
        assert started.job == "plain", "others compute meanwhile"
        held.finish(("plain", 1))
        held.places.release(0)

        assert held.start() is None
        source.gate.set()
        while not ready:  # noqa: ASYNC110
            await trio.sleep(0.001)
        started = held.start()
        assert started is not None
        assert started.inputs[0].path

        # The cache is full of what runs: the next one waits until that has ended.
        assert held.take(two).is_held
        fetches.begin(two)
        await trio.testing.wait_all_tasks_blocked()
        assert len(ready) == 1
        held.finish(("one", 1))
        held.drop(("one", 1))
        fetches.look()
        while len(ready) < 2:  # noqa: ASYNC110
            await trio.sleep(0.001)

        # One that is cancelled while it is fetched is heard of no more.
        held.take(gone)
        fetches.begin(gone)
        await trio.testing.wait_all_tasks_blocked()
        assert held.drop(("gone", 1)) is None
        fetches.look()
        await trio.testing.wait_all_tasks_blocked()
        held.drop(("two", 1))
        fetches.look()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert failed == []
    assert cache._wanted == {}


# ---- over HTTP ----------------------------------------------------------------------------------


@asynccontextmanager
async def http(
    status: int, content: bytes = b"", headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[HttpDownloader, list[httpx.Request]]]:
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(status, content=_pieces(content, None), headers=headers)

    downloader = HttpDownloader("http://house", transport=httpx.MockTransport(handle))
    yield downloader, requests
    await downloader.aclose()


async def read_all(downloader: HttpDownloader, start: int = 0) -> bytes:
    async with downloader.read("job-1", "a", start, bearer="key") as pieces:
        return b"".join([piece async for piece in pieces])


async def test_an_input_is_asked_for_by_job_and_name_from_a_byte_on() -> None:
    headers = {"content-range": "bytes 5-9/10"}
    async with http(206, b"56789", headers) as (source, asked):
        assert await read_all(source, 5) == b"56789"

    (request,) = asked
    assert request.url.path == "/api/jobs/job-1/inputs/a"
    assert request.headers["range"] == "bytes=5-"
    assert request.headers["authorization"] == "Bearer key"
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "content", "headers", "start", "error"),
    [
        (404, b'{"error":"x","code":"not_found"}', {}, 0, Refusal),
        (404, b'{"error":"x","code":"made_up"}', {}, 0, TransferFailed),
        (502, b"<html>", {}, 0, TransferFailed),
        (302, b"", {"location": "http://elsewhere"}, 0, TransferFailed),
        (200, b"all", {}, 5, TransferFailed),
        (206, b"all", {"content-range": "bytes 4-9/10"}, 5, TransferFailed),
        (206, b"", {}, 5, TransferFailed),
        (200, b"zip", {"content-encoding": "gzip"}, 0, TransferFailed),
    ],
)
async def test_any_other_answer_is_a_refusal_or_a_failed_try(
    status: int, content: bytes, headers: dict[str, str], start: int, error: type[Exception]
) -> None:
    async with http(status, content, headers or {}) as (source, _):
        with pytest.raises(error):
            await read_all(source, start)


# httpx leaves its own generators to the garbage where an answer is not read to its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_refusal_without_end_is_not_read_to_its_end() -> None:
    async with http(500, b"x" * 1_000_000) as (source, _):
        with pytest.raises(TransferFailed, match="HTTP 500"):
            await read_all(source)
