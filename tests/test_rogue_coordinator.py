"""A coordinator that means ill: what it can make an agent do, which is little.

It is believed to be the coordinator: its key is the pinned one. Whoever has another key is refused
(`test_agent_client.py`); what its jobs can do is the sandbox's matter (`test_attacks.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from agent.worker import LocalRunner
from coordinator.limits import (
    AGENT_RESULTS_MAX,
    AGENT_WINDOW_MAX,
    HEARTBEAT_S,
    ITEMS_PER_MESSAGE_MAX,
    MIB,
)
from coordinator.protocol import messages as m
from coordinator.protocol.spec import Limits, Spec, encode_spec
from tests.fakes.scripted_coordinator import Host, Peer, host, job
from tests.test_worker import command, make, task


async def at_work(h: Host, **changes: Any) -> Peer:
    await h.start(**changes)
    peer = await h.peer()
    await peer.open()
    return peer


async def is_well(h: Host, peer: Peer, name: str = "honest") -> bool:
    """An honest job still goes through."""
    await peer.send(m.Jobs([job(name)]))
    while True:
        results = await peer.expect(m.Results)
        await peer.ack(results)
        if any(r.job == name and r.status == "completed" for r in results.results):
            return (name, 1) in h.runner.begun


async def test_jobs_without_end_and_without_acknowledgement_end_the_session_and_are_bounded(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.read_on_anything)
            with pytest.raises(ConnectionClosed):
                await _flood(peer)
            nursery.cancel_scope.cancel()
        again = await h.peer()
        resume = await again.open()

        bound = AGENT_RESULTS_MAX + AGENT_WINDOW_MAX
        assert len(agent.attempts.outbox) <= bound
        assert len(resume.attempts) <= bound
        assert h.runner.at_once_max <= 1


async def _flood(peer: Peer) -> None:
    for number in range(40):
        kind = "command" if number % 2 else "alchemy"
        names = [f"j{number}-{n}" for n in range(ITEMS_PER_MESSAGE_MAX)]
        await peer.send(m.Jobs([job(name, kind=kind) for name in names]))
        await wait_all_tasks_blocked()


async def test_a_kind_that_the_operator_does_not_allow_is_never_begun(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        inventory = m.Inventory(
            devices=[m.Device("cpu", "a processor", "cpu")], kinds=["matmul"], sandbox=2, slots=1,
            window=8,
        )  # fmt: skip
        peer = await at_work(h, inventory=inventory)
        await peer.send(m.Jobs([job("a", kind="command")]))
        result = (await peer.expect(m.Results)).results[0]

        assert (result.status, result.code) == ("failed", "unknown_kind")
        assert h.runner.begun == []
        assert await is_well(h, peer)


@pytest.mark.parametrize(
    "message",
    [
        m.Acks([m.AckItem("never", 7), m.AckItem("../../etc/passwd", 1, "accepted")]),
        m.CancelAttempts([m.Attempt("never", 7)] * 3, "whim"),
        m.Drain(0),
        m.Resumed([m.Attempt("never", 1)], [m.Attempt("never", 2)]),
        m.Error("\x1b[2J", "no_such_code"),
        m.Receipts([m.ReceiptBatch(1, 1, "ab" * 32, "AAAA", [])]),
        m.Ack("x" * 500),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_what_makes_no_sense_changes_nothing(
    message: m.AnyMessage, autojump_clock: MockClock
) -> None:
    async with host() as h:
        peer = await at_work(h)
        await peer.send(message)

        assert await is_well(h, peer)


@pytest.mark.parametrize("name", ["../../../tmp/x", "a" * 60, "job\\..\\x", "-rf", "job-1;id"])
async def test_a_jobs_name_is_never_a_path_or_a_word_of_a_command_line(
    name: str, autojump_clock: MockClock
) -> None:
    async with host() as h:
        peer = await at_work(h)

        assert await is_well(h, peer, name)
        assert all("/" not in file and ".." not in file for file in h.disk.files)


async def test_a_running_jobs_result_is_not_forgotten_by_an_early_acknowledgement(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        ready = h.runner.wait("a")
        peer = await at_work(h)
        await peer.send(m.Jobs([job("a")]))
        await wait_all_tasks_blocked()
        await peer.send(m.Acks([m.AckItem("a", 1)]))
        await wait_all_tasks_blocked()
        ready.set()
        results = await peer.expect(m.Results)

        assert [r.job for r in results.results] == ["a"]


@pytest.mark.parametrize("heartbeat_s", [0, 1, 2**53 - 1])
async def test_it_cannot_stop_an_agents_heartbeat_nor_make_it_a_flood(
    heartbeat_s: int, autojump_clock: MockClock
) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.challenge()
        await peer.send(m.Registered("node-1-0123456789abcdef", "", "bearer", heartbeat_s))
        await peer.expect(m.Inventory)
        resume = await peer.expect(m.Resume)
        await peer.send(m.Resumed(resume.attempts, []))
        began = trio.current_time()
        for _ in range(4):
            await peer.expect(m.Heartbeat)
            await peer.send(m.Ack())
        took_s = trio.current_time() - began

        assert 4 * min(heartbeat_s or HEARTBEAT_S, HEARTBEAT_S) <= took_s + 0.1
        assert took_s <= 4 * HEARTBEAT_S


@pytest.mark.parametrize("seconds", [0, 1, 2**53 - 1])
async def test_a_time_of_any_size_is_a_time(seconds: int, autojump_clock: MockClock) -> None:
    async with host() as h:
        peer = await at_work(h)
        item = msgspec.structs.replace(job("a"), execution_s=seconds)
        await peer.send(m.Jobs([item]))
        results = await peer.expect(m.Results)

        assert results.results[0].status == "completed"


@pytest.mark.parametrize(
    "raw",
    [b"{}", b"[]", b"null", b'{"kind":"matmul","params":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
     b'{"kind":"matmul","limits":{"memory_mb":-1}}', b'{"kind":"matmul","env":{"LD_PRELOAD":"x"}}',
     b'{"kind":"matmul","limits":{"execution_s":1e999}}'],
    ids=["empty", "list", "null", "deep", "negative", "environment", "endless"],
)  # fmt: skip
async def test_a_specification_that_is_none_costs_its_job_or_the_session_and_never_the_agent(
    raw: bytes, autojump_clock: MockClock
) -> None:
    async with host() as h:
        peer = await at_work(h)
        frame = b'{"type":"jobs","jobs":[{"id":"a","fence":1,"executionS":1,"spec":' + raw + b"}]}"
        await peer.websocket.send_message(frame.decode())
        try:
            result = (await peer.expect(m.Results)).results[0]
        except ConnectionClosed:  # the agent left; it comes back
            peer = await h.peer()
            await peer.open()
        else:
            assert (result.job, result.status) == ("a", "failed")

        assert h.runner.begun == []
        assert await is_well(h, peer)


# ---- this host's memory -------------------------------------------------------------------------


@pytest.mark.sandbox
@pytest.mark.slow
async def test_a_job_that_asks_for_more_memory_than_there_is_gets_its_places_share() -> None:
    """A specification may say a tebibyte; without a bound of ours it would take the whole host."""
    runner = make(allow_command=True, command_places=1, host_mb=320)
    with trio.fail_after(60):
        report = await runner.start()
        if report.level < 2:
            await runner.aclose()
            pytest.skip("level 1: " + "; ".join(report.remarks))
        huge = 1024 * 1024
        shell = await runner.run(command("head -c 200m /dev/zero | tail -c 200m", memory_mb=huge))
        kernel = await runner.run(task("hog", {"bytes": 600 * MIB}, memory_mb=huge))
        modest = await runner.run(command("echo well", memory_mb=64))
        await runner.aclose()

    assert (shell.code, kernel.code) == ("out_of_memory", "out_of_memory")
    assert "more than 128 MiB" in shell.detail
    assert modest.status == "completed"


def test_a_specification_may_ask_for_a_tebibyte() -> None:
    """That the bound above is needed: the wire lets it pass."""
    spec = Spec(kind="command", limits=Limits(memory_mb=1024 * 1024))

    assert b"1048576" in encode_spec(spec)


def test_every_place_together_leave_room_for_the_system(tmp_path: Path) -> None:
    runner = LocalRunner(command_places=4, host_mb=10_000)
    share = runner._memory_mb_max

    assert share * len(runner.places) <= 8_000
