"""An agent's numbers: what they are made of, that they are right, and who gets them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import pynvml
import pytest
import trio
from msgspec.structs import replace

from agent.config import load
from agent.main import MetricsPortTaken, _metrics_port
from agent.metrics import AgentMetrics
from agent.status import (
    DeviceStatus,
    Earned,
    GuardianStatus,
    Jobs,
    Link,
    PapersStatus,
    RunStatus,
    Status,
    Unsent,
)
from coordinator import metrics_port
from coordinator.metrics_port import open_metrics_port, serve_metrics
from coordinator.protocol import messages as m
from tests.docs_sections import metrics_of
from tests.fakes.fake_nvml import FakeNvml
from tests.house import open_house
from tests.readme_sections import marked
from tests.test_agent_control import site
from tests.test_machine import GIB, job, nvml, results
from tests.test_metrics_live import samples
from tests.tree import read

GPU: Final = DeviceStatus(
    uuid="GPU-1",
    name="H100",
    backend="cuda",
    memory_mb=81_559,
    memory_used_mb=612,
    utilization_percent=17,
    temperature_celsius=34,
    power_watts=71,
)
STATUS: Final = Status(
    version="1.2.3", url="ws://a/", pid=1, state_dir="/s", node_key="k", node_id="node-1",
    wallet="w", mode="working", link=Link(state="online"), link_s=1.0, up_s=9.0, is_tested=True,
    sandbox=2, worker_sandbox=1, remarks=(), kinds=("render",), places=3,
    devices=(GPU, DeviceStatus(uuid="cpu", name="CPU", backend="cpu", utilization_percent=99)),
    runs=(RunStatus(0, "GPU-1", "job-1", "render", 1.0, 60.0),),
    jobs=Jobs(completed=1204, failed=3, cancelled=1, waiting=7),
    earned=Earned(today="1", total="12.345678"), unsent=Unsent(results=5, bytes=4096),
    papers=PapersStatus(epoch=9, proven="1.5", vouched="2", refused=4),
    guardians=(GuardianStatus("https://g"), GuardianStatus("https://h", 3, "gone")),
)  # fmt: skip


__all__ = ["nvml"]  # a fixture, by its name


async def page(status: Status) -> dict[str, float]:
    async def look() -> Status:
        await trio.lowlevel.checkpoint()
        return status

    return samples((await AgentMetrics(look).page()).decode())


async def test_every_number_of_the_status_is_there_under_its_name() -> None:
    numbers = await page(STATUS)

    assert {name: number for name, number in numbers.items() if name.startswith("hypernode_")} == {
        "hypernode_agent_build_info": 1,
        "hypernode_agent_connected": 1,
        "hypernode_agent_disk_failing": 0,
        "hypernode_agent_earned_units_total": 12_345_678,
        'hypernode_agent_gpu_memory_bytes{gpu="0"}': 81_559 * 2**20,
        'hypernode_agent_gpu_memory_used_bytes{gpu="0"}': 612 * 2**20,
        'hypernode_agent_gpu_power_watts{gpu="0"}': 71,
        'hypernode_agent_gpu_temperature_celsius{gpu="0"}': 34,
        'hypernode_agent_gpu_utilization_ratio{gpu="0"}': 0.17,
        'hypernode_agent_gpu_works{gpu="0"}': 1,
        'hypernode_agent_jobs_total{outcome="cancelled"}': 1,
        'hypernode_agent_jobs_total{outcome="completed"}': 1204,
        'hypernode_agent_jobs_total{outcome="failed"}': 3,
        "hypernode_agent_guardians": 2,
        "hypernode_agent_guardians_failing": 1,
        "hypernode_agent_papers_epoch": 9,
        "hypernode_agent_papers_proven_units": 1_500_000,
        "hypernode_agent_papers_refused_total": 4,
        "hypernode_agent_papers_vouched_units": 2_000_000,
        'hypernode_agent_mode{mode="draining"}': 0,
        'hypernode_agent_mode{mode="paused"}': 0,
        'hypernode_agent_mode{mode="warming up"}': 0,
        'hypernode_agent_mode{mode="working"}': 1,
        "hypernode_agent_outbox_full": 0,
        "hypernode_agent_places": 3,
        "hypernode_agent_running_jobs": 1,
        "hypernode_agent_sandbox_level": 2,
        "hypernode_agent_unsent_bytes": 4096,
        "hypernode_agent_unsent_results": 5,
        "hypernode_agent_waiting_jobs": 7,
        "hypernode_agent_worker_sandbox_level": 1,
    }
    assert numbers["process_resident_memory_bytes"] > 1e6


async def test_what_a_driver_does_not_tell_is_left_out() -> None:
    silent = replace(GPU, utilization_percent=None, power_watts=None, state="hot")
    numbers = await page(replace(STATUS, devices=(silent, GPU)))

    assert 'hypernode_agent_gpu_power_watts{gpu="0"}' not in numbers
    assert numbers['hypernode_agent_gpu_power_watts{gpu="1"}'] == 71
    assert numbers['hypernode_agent_gpu_works{gpu="0"}'] == 0


def test_the_page_of_metrics_names_each_of_them() -> None:
    table = marked("agent metrics").search(read(Path("docs/metrics.md")))
    assert table is not None
    named = re.findall(r"^\| `(\w+)`", table[0], re.MULTILINE)

    assert named == [metric.name for metric in metrics_of(AgentMetrics().registry)]
    assert not any("wallet" in m.labels or "node" in m.labels for m in metrics_of(
        AgentMetrics().registry
    ))  # fmt: skip


@pytest.mark.slow
async def test_an_agent_at_work_tells_of_its_gpus_and_its_jobs(
    tmp_path: Path, nvml: FakeNvml
) -> None:
    """The real parts, from NVML (a library that plays it) to the page."""
    nvml.gpus[2].percent, nvml.gpus[2].celsius, nvml.gpus[2].milliwatts = 88, 61, 300_000
    async with site(tmp_path / "state", devices="0,2") as s:
        await s.peer.send(m.Jobs([job("a"), job("b")]))
        await results(s.peer, 2)
        page = AgentMetrics(s.control.look)
        numbers = samples((await page.page()).decode())
        nvml.gpus[0].error = pynvml.NVML_ERROR_GPU_IS_LOST
        await s.peer.expect(m.Inventory)
        after = samples((await page.page()).decode())

    assert numbers["hypernode_agent_connected"] == 1
    assert numbers['hypernode_agent_mode{mode="working"}'] == 1
    assert numbers['hypernode_agent_jobs_total{outcome="completed"}'] == 2
    assert numbers['hypernode_agent_gpu_utilization_ratio{gpu="1"}'] == 0.88
    assert numbers['hypernode_agent_gpu_temperature_celsius{gpu="1"}'] == 61
    assert numbers['hypernode_agent_gpu_power_watts{gpu="1"}'] == 300
    assert numbers['hypernode_agent_gpu_memory_bytes{gpu="1"}'] == 80 * GIB
    works = [page['hypernode_agent_gpu_works{gpu="0"}'] for page in (numbers, after)]
    assert works == [1, 0]


# ---- the port ---------------------------------------------------------------------------------


@asynccontextmanager
async def served(give: Callable[[], Awaitable[bytes]]) -> AsyncIterator[int]:
    listeners = await open_metrics_port(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_metrics, listeners, give)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def numbers() -> bytes:
    await trio.lowlevel.checkpoint()
    return b"a 1\n"


async def talk(port: int, request: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        heard = b""
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            async for piece in stream:
                heard += piece
        return heard


async def test_the_port_answers_prometheus_as_it_asks() -> None:
    async with served(numbers) as port, httpx.AsyncClient(trust_env=False) as client:
        answers = [await client.get(f"http://127.0.0.1:{port}/metrics") for _ in range(3)]
        head = await client.head(f"http://localhost:{port}/metrics")

    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "a 1\n")] * 3
    assert answers[0].headers["content-type"].startswith("text/plain; version=0.0.4")
    assert (head.status_code, head.headers["content-length"], head.text) == (200, "4", "")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost:1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 421),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 400),
    ],
)
async def test_the_port_answers_nothing_else(request_: bytes, status: int) -> None:
    async with served(numbers) as port:
        answer = await talk(port, request_)
        again = await talk(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) or answer == b""
    assert b"a 1" not in answer
    assert again.endswith(b"a 1\n")


async def test_who_drips_and_a_page_that_fails_harm_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_port, "HEAD_S", 0.05)
    fails = [True]

    async def give() -> bytes:
        if fails.pop():
            msg = "our fault"
            raise RuntimeError(msg)
        fails.append(False)
        return await numbers()

    async with served(give) as port:
        slow = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(20)]
        failed = await talk(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        fails.append(False)
        good = await talk(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for stream in slow:
            await trio.aclose_forcefully(stream)

    assert failed.startswith(b"HTTP/1.1 500 ")
    assert b"our fault" not in failed
    assert good.endswith(b"a 1\n")


async def test_an_agents_port_is_off_by_default_and_its_own_address_only(tmp_path: Path) -> None:
    off = load({"state_dir": str(tmp_path)}, {})
    on = load({"state_dir": str(tmp_path), "metrics_port": 0}, {})

    assert list(await _metrics_port(off)) == []
    (listener,) = await _metrics_port(on)
    host, port = listener.socket.getsockname()
    taken = load({"state_dir": str(tmp_path), "metrics_port": port}, {})
    with pytest.raises(MetricsPortTaken, match="choose another one"):
        await _metrics_port(taken)
    await listener.aclose()
    assert host == "127.0.0.1"


@pytest.mark.slow
async def test_a_coordinators_own_port_takes_the_page_away_from_the_other_one(
    tmp_path: Path,
) -> None:
    (listener,) = await open_metrics_port(0)
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with open_house(tmp_path, metrics_port=port) as house:
        async with house.http() as http:
            usual = await http.get("/metrics")
        async with httpx.AsyncClient(trust_env=False) as client:
            own = await client.get(f"http://127.0.0.1:{port}/metrics")

    assert usual.status_code == 404
    assert own.status_code == 200
    assert "hypernode_ready 1.0" in own.text
