"""An agent's receipts on their way to a guardian: in order, resumed, and never in the way."""

from __future__ import annotations

from random import Random  # noqa: TID251 (seeded)

import httpx
import pytest
import trio
from trio.testing import MockClock

from agent.config import guardian_url
from agent.disk import MemoryDisk, inline
from agent.guardians import Answer, Delivery, HttpPoster, NotTaken
from agent.state import RECEIPTS_FILE
from coordinator.evidence_limits import (
    GUARDIAN_BODY_BYTES_MAX,
    GUARDIAN_EVERY_S,
    GUARDIAN_RETRY_S_MAX,
)


class Guardian:
    """Keeps lines; it may be away, forget, or read only so far."""

    def __init__(self) -> None:
        self.posts: list[tuple[float, bytes]] = []
        self.kept: list[bytes] = []
        self.is_away = False
        self.reads_max = GUARDIAN_BODY_BYTES_MAX

    async def post(self, body: bytes) -> Answer:
        await trio.lowlevel.checkpoint()
        self.posts.append((trio.current_time(), body))
        if self.is_away:
            raise NotTaken("ConnectError")
        read = body[: self.reads_max]
        new = [line for line in read.splitlines() if line and line not in self.kept]
        self.kept += new
        return Answer(len(read), len(new), len(self.kept), 0)


def delivery(guardian: Guardian, disk: MemoryDisk) -> Delivery:
    return Delivery("https://g:1", guardian, disk=disk, hop=inline, rng=Random(1))


async def test_lines_are_posted_whole_in_order_and_once(autojump_clock: MockClock) -> None:
    guardian, disk = Guardian(), MemoryDisk()
    async with trio.open_nursery() as nursery:
        one = delivery(guardian, disk)
        nursery.start_soon(one.run)
        await trio.sleep(2 * GUARDIAN_EVERY_S)
        assert guardian.posts == []
        disk.append(RECEIPTS_FILE, b"\na\nb\nhalf")
        await trio.sleep(2 * GUARDIAN_EVERY_S)
        disk.append(RECEIPTS_FILE, b" a line\nc\n")
        await trio.sleep(2 * GUARDIAN_EVERY_S)
        nursery.cancel_scope.cancel()

    assert [body for _, body in guardian.posts] == [b"\na\nb\n", b"half a line\nc\n"]
    assert (one.status.kept, one.status.trouble) == (4, "")


async def test_a_restart_goes_on_where_the_last_answer_ended(autojump_clock: MockClock) -> None:
    guardian, disk = Guardian(), MemoryDisk()
    disk.append(RECEIPTS_FILE, b"a\nb\n")
    one = delivery(guardian, disk)
    await one._recall()
    await one.step()
    disk.append(RECEIPTS_FILE, b"c\n")
    two = delivery(guardian, disk)
    await two._recall()
    await two.step()

    assert [body for _, body in guardian.posts] == [b"a\nb\n", b"c\n"]


async def test_a_guardian_that_is_away_is_waited_for_and_costs_few_posts(
    autojump_clock: MockClock,
) -> None:
    guardian, disk = Guardian(), MemoryDisk()
    guardian.is_away = True
    disk.append(RECEIPTS_FILE, b"a\n")
    async with trio.open_nursery() as nursery:
        one = delivery(guardian, disk)
        nursery.start_soon(one.run)
        await trio.sleep(8 * 3600)
        assert one.status.trouble == "ConnectError"
        assert len(guardian.posts) < 3 * 8 * 3600 / GUARDIAN_RETRY_S_MAX
        guardian.is_away = False
        await trio.sleep(GUARDIAN_RETRY_S_MAX)
        nursery.cancel_scope.cancel()

    assert guardian.kept == [b"a"]
    assert one.status.trouble == ""


async def test_a_guardian_that_lost_its_store_gets_everything_again(
    autojump_clock: MockClock,
) -> None:
    guardian, disk = Guardian(), MemoryDisk()
    disk.append(RECEIPTS_FILE, b"a\nb\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(delivery(guardian, disk).run)
        await trio.sleep(1)
        guardian.kept.clear()
        disk.append(RECEIPTS_FILE, b"c\n")
        await trio.sleep(3 * GUARDIAN_EVERY_S)
        nursery.cancel_scope.cancel()

    assert sorted(guardian.kept) == [b"a", b"b", b"c"]


async def test_another_receipts_file_is_sent_from_its_beginning() -> None:
    guardian, disk = Guardian(), MemoryDisk()
    disk.append(RECEIPTS_FILE, b"aaa\nbbb\n")
    one = delivery(guardian, disk)
    await one.step()
    disk.replace(RECEIPTS_FILE, b"x\n")
    await one.step()

    assert guardian.kept == [b"aaa", b"bbb", b"x"]


async def test_what_a_guardian_did_not_read_comes_with_the_next_post() -> None:
    guardian, disk = Guardian(), MemoryDisk()
    guardian.reads_max = 4
    disk.append(RECEIPTS_FILE, b"a\nb\nc\nd\ne\n")
    one = delivery(guardian, disk)
    for _ in range(3):
        assert await one.step() == 0.0
    assert await one.step() > 0

    assert guardian.kept == [b"a", b"b", b"c", b"d", b"e"]


async def test_a_large_file_goes_in_posts_of_whole_lines_and_a_line_without_end_is_passed() -> None:
    guardian, disk = Guardian(), MemoryDisk()
    line = b"x" * 1000 + b"\n"
    endless = b"y" * (2 * GUARDIAN_BODY_BYTES_MAX) + b"\n"
    disk.append(RECEIPTS_FILE, line * 3000 + endless + b"last\n")
    one = delivery(guardian, disk)
    while await one.step() == 0.0:
        assert len(guardian.posts) < 9

    assert all(
        len(body) <= GUARDIAN_BODY_BYTES_MAX and body.endswith(b"\n") for _, body in guardian.posts
    )
    assert guardian.kept[-1] == b"last"


async def test_a_disk_that_cannot_note_how_far_it_is_sends_again() -> None:
    class Full(MemoryDisk):
        def replace(self, name: str, data: bytes) -> None:
            raise OSError(28, "no space")

    guardian, disk = Guardian(), Full()
    disk.append(RECEIPTS_FILE, b"a\n")
    one = delivery(guardian, disk)
    assert await one.step() >= 0
    assert "full" in one.status.trouble
    await one.step()

    assert guardian.kept == [b"a"]


def poster_that(status: int, body: bytes) -> HttpPoster:
    async def answer(request: httpx.Request) -> httpx.Response:
        await request.aread()
        assert request.url == "https://g:1/receipts/KEY"
        return httpx.Response(status, content=body)

    return HttpPoster("https://g:1/", "KEY", transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, b'{"error":"wait","code":"not_ready"}', "not_ready: wait"),
        (502, b"<html>", "HTTP 502"),
        (200, b'{"read":3}', "no answer of a guardian"),
        (200, b'{"read":4,"new":0,"kept":0,"refused":0}', "makes no sense"),
        (200, b'{"read":0,"new":0,"kept":0,"refused":0}', "makes no sense"),
        (200, b'{"read":3,"new":2,"kept":1,"refused":0}', "makes no sense"),
        (200, b"x" * 5000, "too long"),
    ],
)
async def test_an_answer_that_is_none_is_no_receipt(status: int, body: bytes, said: str) -> None:
    poster = poster_that(status, body)
    with pytest.raises(NotTaken, match=said):
        await poster.post(b"ab\n")
    await poster.aclose()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://g.example", "https://g.example"),
        (" https://g.example:9466/ ", "https://g.example:9466"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://g.example", None),
        ("g.example", None),
        ("https://me:secret@g.example", None),
        ("https://g.example/path", None),
        ("https://g.example:port", None),
    ],
)
def test_receipts_travel_under_tls_or_stay_on_this_machine(text: str, url: str | None) -> None:
    if url is not None:
        assert guardian_url(text) == url
        return
    with pytest.raises(ValueError, match="https://"):
        guardian_url(text)
