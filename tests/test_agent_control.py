"""An operator's hand on a running agent: status, pause, resume, drain, over the folder's socket."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from agent.client import Agent
from agent.config import AgentConfig
from agent.control import SOCKET_FILE, Control, NotRunning, ask, running_below
from agent.disk import inline
from agent.earnings import Earnings
from agent.main import live
from agent.outbox import Outbox
from coordinator.clock import SystemClock
from coordinator.protocol import messages as m
from tests.fakes.scripted_coordinator import NODE, Host, Peer, host
from tests.house import until
from tests.test_machine import config, job, make, results

pytestmark = pytest.mark.slow


@dataclass
class Site:
    """An agent at work under its operator's hand."""

    folder: Path
    host: Host
    agent: Agent
    control: Control
    peer: Peer
    ended: trio.Event


async def _live_until(
    ended: trio.Event, control: Control, agent: Agent, given: AgentConfig
) -> None:
    """As `run_agent` does it, once everything is made."""
    await live(control, agent, given, None)
    ended.set()


@asynccontextmanager
async def site(folder: Path, **changes: Any) -> AsyncIterator[Site]:
    _make(folder)
    given = config(folder, **{"devices": "cpu", "slots": 2, **changes})
    machine = make(given)
    try:
        async with host() as h:
            h.runner = machine  # type: ignore[assignment]
            setup = await h.setup(
                inventory=machine.warm_up, places=lambda: machine.places, watch=machine.watch
            )
            agent = Agent(setup)
            control = Control(
                *(given, agent, machine),
                clock=SystemClock(),
                earnings=Earnings(),
                node_key=NODE.address,
            )
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    ended = trio.Event()
                    nursery.start_soon(_live_until, ended, control, agent, given)
                    peer = await h.peer()
                    await peer.open()
                    yield Site(folder, h, agent, control, peer, ended)
                    nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await machine.aclose()


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)


def cpu_job(name: str, do: str = "environment", **params: Any) -> m.JobItem:
    item = job(name, do, **params)
    spec = bytes(item.spec).replace(b'"gpu":true', b'"gpu":false')
    return m.JobItem(name, 1, msgspec.Raw(spec), 30)


async def test_a_status_tells_what_runs_and_nothing_secret(tmp_path: Path) -> None:
    async with site(tmp_path / "agent") as s:
        await s.peer.send(m.Jobs([cpu_job("a", "steps", seconds=8.0), cpu_job("b")]))
        await results(s.peer, 1)
        status = await ask(s.folder, "status")
        shown = msgspec.json.encode(status).decode()

    assert (status.mode, status.link.state, status.node_id) == (
        *("working", "online", "node-1-0123456789abcdef"),
    )
    assert [(run.job, run.kind, run.device) for run in status.runs] == [("a", "hashsearch", "cpu")]
    assert (status.jobs.completed, status.places, status.pid) == (1, 2, os.getpid())
    assert [device.uuid for device in status.devices] == ["cpu"]
    assert "bearer" not in shown
    assert "hy1" not in shown


async def test_a_paused_agent_takes_no_job_ends_what_runs_and_goes_on_when_told(
    tmp_path: Path,
) -> None:
    async with site(tmp_path / "agent") as s:
        long = [cpu_job(name, "steps", seconds=1.0) for name in ("a", "b")]
        await s.peer.send(m.Jobs([*long, cpu_job("c")]))
        await until(lambda: len(s.control.status().runs) == 2)
        paused = await ask(s.folder, "pause")
        told = await s.peer.expect(m.Inventory)
        await s.peer.send(m.Jobs([cpu_job("d")]))
        done = {name: item.code for name, (item, _) in (await results(s.peer, 4)).items()}
        idle = await ask(s.folder, "status")
        resumed = await ask(s.folder, "resume")
        again = await s.peer.expect(m.Inventory)
        await s.peer.send(m.Jobs([cpu_job("e")]))
        more = await results(s.peer, 1)

    assert (paused.mode, len(paused.runs), idle.runs) == ("paused", 2, ())
    assert (told.kinds, told.remarks[0]) == ([], "Paused by its operator.")
    assert done == {"a": "", "b": "", "c": "abandoned", "d": "abandoned"}
    assert resumed.mode == "working"
    assert "hashsearch" in again.kinds
    assert more["e"][0].status == "completed"


async def test_a_drain_waits_for_what_runs_however_long_and_then_ends_the_agent(
    tmp_path: Path,
) -> None:
    async with site(tmp_path / "agent") as s:
        await s.peer.send(m.Jobs([cpu_job(n, "steps", seconds=1.5) for n in "ab"]))
        await s.peer.send(m.Jobs([cpu_job("c")]))
        await until(lambda: len(s.control.status().runs) == 2)
        draining = await ask(s.folder, "drain")
        told = await s.peer.expect(m.Inventory)
        done = {name: item.code for name, (item, _) in (await results(s.peer, 3)).items()}
        await s.peer.read_on()

    assert (draining.mode, told.kinds) == ("draining", [])
    assert done == {"a": "", "b": "", "c": "abandoned"}


async def test_now_is_now_and_what_was_not_sent_stays_on_the_disk(tmp_path: Path) -> None:
    async with site(tmp_path / "agent") as s:
        await s.peer.send(m.Jobs([cpu_job("a"), cpu_job("b", "spin")]))
        await s.peer.expect(m.Results)  # not acknowledged
        await until(lambda: any(run.job == "b" for run in s.control.status().runs))
        began = trio.current_time()
        await ask(s.folder, "stop")
        await s.ended.wait()
        took_s = trio.current_time() - began
        kept = [result.item.job for result in await Outbox.load(s.host.disk, inline)]

    assert took_s < 2
    assert kept == ["a"]


async def test_only_its_own_user_may_open_the_socket_and_it_goes_with_the_agent(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agent" / SOCKET_FILE
    async with site(tmp_path / "agent") as s:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(s.folder.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_socket_that_a_killed_agent_left_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as left:
        folder.mkdir(mode=0o700)
        left.bind(str(folder / SOCKET_FILE))
    folder.rename(tmp_path / "away")
    async with site(folder) as s:
        (tmp_path / "away" / SOCKET_FILE).rename(folder / "old")
        assert (await ask(s.folder, "status")).mode == "working"


async def test_a_folder_with_a_long_name_has_a_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    async with site(folder):
        assert (await ask(folder, "status")).state_dir == str(folder)


@pytest.mark.parametrize(
    "sent",
    [b"", b"\n", b"{}\n", b'{"do":"explode"}\n', b'{"do":"status","x":1}\n', b"\xff" * 9000,
     b"[" * 5000 + b"\n", b'{"do":"status"'],
    ids=["nothing", "line", "empty", "unknown", "extra", "bytes", "deep", "half"],
)  # fmt: skip
async def test_what_is_no_request_is_answered_and_changes_nothing(
    tmp_path: Path, sent: bytes
) -> None:
    async with site(tmp_path / "agent") as s:
        stream = await trio.open_unix_socket(str(s.folder / SOCKET_FILE))
        async with stream:
            await stream.send_all(sent)
            await stream.send_eof()
            answer = b""
            while piece := await stream.receive_some():
                answer += piece
        assert (await ask(s.folder, "status")).mode == "working"

    assert "this is no request" in json.loads(answer)["error"]


async def test_where_no_agent_runs_it_is_said_with_those_that_do(tmp_path: Path) -> None:
    folder = tmp_path / "agent-abc"
    with pytest.raises(NotRunning):
        await ask(tmp_path / "agent-none", "status")
    assert running_below(tmp_path) == []
    async with site(folder):
        assert running_below(tmp_path) == [folder]
        asked = await trio.run_process(
            [sys.executable, "-m", "hypernode", "agent", "status", "--state-dir",
             str(tmp_path / "agent-none")],
            capture_stdout=True, capture_stderr=True, check=False,
        )  # fmt: skip
        shown = await trio.run_process(
            [sys.executable, "-m", "hypernode", "agent", "status", "--json", "--state-dir",
             str(folder)],
            capture_stdout=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    assert asked.returncode == 4
    assert str(folder) in asked.stderr.decode()
    assert json.loads(shown.stdout)["mode"] == "working"


async def test_a_second_terminal_that_says_nothing_holds_up_nobody(tmp_path: Path) -> None:
    async with site(tmp_path / "agent") as s, trio.open_nursery() as nursery:
        silent = [await trio.open_unix_socket(str(s.folder / SOCKET_FILE)) for _ in range(3)]
        nursery.start_soon(trio.lowlevel.checkpoint)
        assert (await ask(s.folder, "status")).mode == "working"
        for stream in silent:
            await stream.aclose()
