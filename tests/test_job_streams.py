"""What a running job says reaches its submitter: over the WebSocket, over HTTP, and after its end.

A real coordinator and a real agent over TCP; the agent's runner says what the test tells it to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from agent.task import OnLog, OnProgress, Outcome, OutputData, Task
from coordinator.limits import LIVE_LOG_CHARS_KEPT, LOG_CHARS_PER_MESSAGE
from coordinator.protocol import messages as m
from coordinator.protocol.commitment import output_root
from coordinator.protocol.signing import generate
from hypernode.blocking import Client
from hypernode.client import AsyncClient
from hypernode.errors import NotFound
from hypernode.job import Job
from tests.house import House, agent_at, captured_log, open_house, until
from tests.peer import dialled

FIRST, SECOND = "first line\n", "\x1b[2Jsecond \u202eline\r\n"
SHOWN = "first line\n\ufffd[2Jsecond \ufffdline\n\n"


class Talker:
    """Says pieces when it is told to; its log is all of them together."""

    slots = 2

    def __init__(self) -> None:
        self._say, self._pieces = trio.open_memory_channel[str | float | None](100)

    def say(self, piece: str | float | None) -> None:
        """A piece of log, how far it is, or (None) the end."""
        self._say.send_nowait(piece)

    async def run(
        self, task: Task, *, on_log: OnLog | None = None, on_progress: OnProgress | None = None
    ) -> Outcome:
        assert on_log is not None
        assert on_progress is not None
        log = ""
        while (piece := await self._pieces.receive()) is not None:
            if isinstance(piece, float):
                on_progress(piece)
            else:
                on_log(piece)
                log += piece
        data = log.encode()
        output = OutputData("uint8", (len(data),), data)
        return Outcome("completed", outputs=(output,), root=output_root([data]))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@dataclass
class Stage:
    house: House
    client: AsyncClient
    talker: Talker

    async def command(self) -> Job:
        spec = {"command": "talk"}
        return await self.client.submit("command", spec, budget="5", timeout_s=60)

    async def running(self) -> Job:
        """A command that has said its first line."""
        job = await self.command()
        self.talker.say(FIRST)
        with trio.fail_after(5):
            async for _ in job.logs():
                break
        return job

    async def http(self) -> httpx.AsyncClient:
        return self.house.http(await self.client.web.bearer())


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    talker = Talker()
    with captured_log() as log:
        async with (
            open_house(tmp_path) as house,
            agent_at(house, talker, "command", sandbox=2),
            AsyncClient(house.url, generate()) as client,
        ):
            await client.faucet("100")
            with trio.fail_after(20):
                yield Stage(house, client, talker)
        assert not log.failures(), log.failures()


async def text_of(job: Job, *, follow: bool = True) -> str:
    return "".join([piece async for piece in job.logs(follow=follow)])


@pytest.mark.slow
async def test_a_log_is_followed_while_it_is_written_and_ends_with_the_job(stage: Stage) -> None:
    job = await stage.command()
    seen: list[str] = []

    async def follow() -> None:
        async for piece in job.logs():
            seen.append(piece)  # noqa: PERF401 (seen while it goes on)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        stage.talker.say(FIRST)
        await until(lambda: "".join(seen) == FIRST)
        stage.talker.say(SECOND)
        await until(lambda: "".join(seen) == SHOWN)
        stage.talker.say("last")
        stage.talker.say(None)

    assert "".join(seen) == SHOWN + "last"
    # The finished log is the same, from its beginning, and raw it is what the command wrote.
    assert await text_of(job) == SHOWN + "last"
    assert (await job.result()).text == FIRST + SECOND + "last"


@pytest.mark.slow
async def test_the_websocket_brings_progress_and_log_without_being_asked(stage: Stage) -> None:
    job = await stage.command()
    heard: list[str] = []
    job.on_log(heard.append)
    stage.talker.say(0.25)
    stage.talker.say(FIRST)
    await until(lambda: job.progress == 0.25 and heard == [FIRST])
    stage.talker.say(SECOND)
    await until(lambda: "".join(heard) == SHOWN)
    stage.talker.say(None)

    assert await job.wait() == "completed"


@pytest.mark.slow
async def test_who_comes_late_reads_the_last_part_and_is_told_what_is_missing(
    stage: Stage,
) -> None:
    job = await stage.running()
    stage.talker.say("x" * LIVE_LOG_CHARS_KEPT)
    with trio.fail_after(10):
        while (await stage.client.web.logs(job.id)).next_offset < 11 + LIVE_LOG_CHARS_KEPT:  # noqa: ASYNC110
            await trio.sleep(0.05)
    late = [piece async for piece in stage.client.handle(job.id).logs(follow=False)]
    assert late[0] == "\n[11 characters are no longer kept]\n"
    assert "".join(late[1:]) == "x" * LIVE_LOG_CHARS_KEPT
    stage.talker.say(None)
    await job.wait()

    # All of it is there once the command has ended.
    assert await text_of(job) == FIRST + "x" * LIVE_LOG_CHARS_KEPT


@pytest.mark.slow
async def test_one_part_at_a_time_over_http(stage: Stage) -> None:
    job = await stage.running()
    async with await stage.http() as http:
        path = f"/api/jobs/{job.id}/logs"
        first = (await http.get(path)).json()
        assert first == {
            "status": first["status"], "attempt": 1, "offset": 0, "text": FIRST,
            "nextOffset": 11, "progress": None, "isFinal": False,
        }  # fmt: skip
        part = (await http.get(path, params={"offset": 6, "attempt": 1})).json()
        assert (part["text"], part["nextOffset"]) == ("line\n", 11)
        # Nothing yet: it waits for as long as it is asked to, and for what comes.
        began = trio.current_time()
        none = (await http.get(path, params={"offset": 11, "attempt": 1, "wait": 0.3})).json()
        assert (none["text"], trio.current_time() - began >= 0.3) == ("", True)
        stage.talker.say(SECOND)
        more = (await http.get(path, params={"offset": 11, "attempt": 1, "wait": 20})).json()
        assert more["text"] == SHOWN[11:]
        stage.talker.say(None)
        end = (
            await http.get(path, params={"offset": more["nextOffset"], "attempt": 1, "wait": 20})
        ).json()
        assert end["status"] == "completed" or not end["text"]


@pytest.mark.slow
async def test_a_stream_of_events_goes_on_where_it_was_and_ends_with_the_job(
    stage: Stage,
) -> None:
    job = await stage.running()
    path = f"/api/jobs/{job.id}/logs"
    bearer = await stage.client.web.bearer()
    # Its connection breaks after the first event.
    async with await trio.open_tcp_stream("127.0.0.1", stage.house.port) as stream:
        head = f"GET {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {bearer}\r\n"
        await stream.send_all(head.encode() + b"Accept: text/event-stream\r\n\r\n")
        answer = b""
        while b'"text"' not in answer:
            answer += await stream.receive_some()
    for line in (
        b"content-type: text/event-stream", b"x-accel-buffering: no", b"cache-control: no-store",
        b"event: log", b"id: 1-11", b'"text":"first line\\n"',
    ):  # fmt: skip
        assert line in answer, answer
    stage.talker.say(SECOND)
    stage.talker.say(None)
    again = {"accept": "text/event-stream", "last-event-id": "1-11"}
    async with await stage.http() as http, http.stream("GET", path, headers=again) as rest:
        found = [event async for event in events(rest)]

    assert "".join(part["text"] for _, _, part in found) == SHOWN[len(FIRST) :]
    assert [name for name, _, _ in found][-1] == "end"
    assert found[-1][2]["status"] == "completed"


async def events(stream: httpx.Response) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """Name, id and data of each event."""
    event: dict[str, str] = {}
    async for line in stream.aiter_lines():
        if line:
            key, _, value = line.partition(": ")
            event[key] = value
        elif event:
            yield event["event"], event["id"], msgspec.json.decode(event["data"])
            event = {}


@pytest.mark.slow
async def test_a_log_is_its_submitters_alone(stage: Stage) -> None:
    job = await stage.running()
    async with AsyncClient(stage.house.url, generate()) as stranger:
        with pytest.raises(NotFound):
            await text_of(stranger.handle(job.id))
        async with stage.house.http(await stranger.web.bearer()) as http:
            headers = {"accept": "text/event-stream"}
            answer = await http.get(f"/api/jobs/{job.id}/logs", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    stage.talker.say(None)
    await job.wait()


@pytest.mark.slow
async def test_a_submitter_that_does_not_read_holds_up_nobody(stage: Stage) -> None:
    """A second connection watches the job and takes nothing from its socket while it floods."""
    job = await stage.running()
    heard: list[str] = []
    job.on_log(heard.append)
    async with dialled(stage.house, queue=1) as deaf:
        await deaf.open(await stage.client.web.bearer())
        await deaf.say(m.Watch([job.id], 1))
        for number in range(1, 9):
            stage.talker.say(str(number) * LOG_CHARS_PER_MESSAGE)
            stage.talker.say(number / 8)
        # The agent tells a piece in half a second; nobody waits for the deaf one.
        await until(lambda: job.progress == 1.0, seconds=10)
        await until(lambda: "8" in "".join(heard), seconds=10)
        stage.talker.say(None)
        with trio.fail_after(5):
            assert await job.wait() == "completed"

    text = "".join(heard).removeprefix(FIRST)
    assert [len(text) >= LOG_CHARS_PER_MESSAGE, text.count("8")] == [True, LOG_CHARS_PER_MESSAGE]


@pytest.mark.slow
async def test_the_blocking_client_reads_logs_too(stage: Stage) -> None:
    job = await stage.running()
    stage.talker.say(None)
    await job.wait()

    def read() -> str:
        with Client(stage.house.url, stage.client.web.signer) as client:  # type: ignore[arg-type]
            return "".join(client.logs(job.id))

    assert await trio.to_thread.run_sync(read) == FIRST
