"""A machine with four GPUs: each kept full, one that falls out taken out by name, the rest go on.

The GPUs are NVML's, faked below `pynvml`; the workers are real processes with a fake kernel that
knows by `CUDA_VISIBLE_DEVICES` on which GPU it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pynvml
import pytest
import trio

from agent import care, health
from agent.choice import NoGpu, NoSuchGpu, NothingToDo, choose
from agent.config import AgentConfig, load
from agent.device import Gpus
from agent.machine import Machine
from coordinator.protocol import messages as m
from coordinator.protocol.spec import Resources, Spec, encode_spec
from tests.fakes.fake_nvml import FakeGpu, FakeNvml
from tests.fakes.scripted_coordinator import Host, Peer, host

FAKES = str(Path(__file__).resolve().parent / "fakes")
UUIDS = [f"GPU-{number}" for number in range(4)]
GIB = 1 << 30


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Four GPUs: two small ones, two large ones."""
    library = FakeNvml(
        [
            FakeGpu(name=f"GPU number {n}", uuid=uuid, memory_bytes=(24 if n < 2 else 80) * GIB)
            for n, uuid in enumerate(UUIDS)
        ]
    )
    pynvml._nvmlGetFunctionPointer_cache.clear()
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(care, "HEALTH_S", 0.05)
    monkeypatch.setattr(health, "RETRY_FIRST_S", 0.3)
    return library


def config(folder: Path, **changes: Any) -> AgentConfig:
    given = {"url": "ws://127.0.0.1:1", "state_dir": folder, "devices": "cuda", **changes}
    return load(given, {})


def make(given: AgentConfig) -> Machine:
    gpus = Gpus()
    chosen = choose(given.devices, gpus.by_index(), gpus.remark)
    return Machine(given, gpus, chosen, kernels="fake_kernels", import_paths=[FAKES])


@asynccontextmanager
async def at_work(given: AgentConfig) -> AsyncIterator[tuple[Host, Peer, m.Inventory]]:
    """An agent of this machine, and the coordinator's end of its session."""
    machine = make(given)
    try:
        async with host() as h:
            h.runner = machine  # type: ignore[assignment]
            with trio.fail_after(60):
                await h.start(
                    inventory=machine.warm_up,
                    places=lambda: machine.places,
                    watch=machine.watch,
                    telemetry=machine.telemetry,
                )
                peer = await h.peer()
                await peer.challenge()
                await peer.send(m.Registered("node-1-0123456789abcdef", session_key="bearer"))
                inventory = await peer.expect(m.Inventory)
                resume = await peer.expect(m.Resume)
                await peer.send(m.Resumed(resume.attempts, []))
                yield h, peer, inventory
    finally:
        with trio.CancelScope(shield=True):
            await machine.aclose()


def job(name: str, do: str = "environment", *, vram_mb: int = 0, **params: Any) -> m.JobItem:
    spec = Spec(
        kind="hashsearch",
        params=msgspec.Raw(json.dumps({"do": do, **params}).encode()),
        resources=Resources(gpu=True, vram_mb=vram_mb),
    )
    return m.JobItem(name, 1, msgspec.Raw(encode_spec(spec)), 30)


async def results(peer: Peer, count: int) -> dict[str, tuple[m.ResultItem, bytes]]:
    """The next results by job, each with its data; acknowledged."""
    got: dict[str, tuple[m.ResultItem, bytes]] = {}
    while len(got) < count:
        message, data = await peer.expect_data(m.Results)
        await peer.ack(message)
        for item in message.results:
            parts = [data[a.offset or 0 : (a.offset or 0) + a.bytes] for a in item.outputs]
            got[item.job] = item, b"".join(parts)
    return got


def device_of(data: bytes) -> str:
    environment: dict[str, str] = json.loads(data)["environment"]
    return environment["CUDA_VISIBLE_DEVICES"]


@pytest.mark.slow
@pytest.mark.usefixtures("nvml")
async def test_each_of_four_gpus_is_kept_full(tmp_path: Path) -> None:
    async with at_work(config(tmp_path)) as (_h, peer, inventory):
        assert (inventory.slots, len(inventory.devices)) == (4, 4)
        assert inventory.window >= 4 * 16
        began = trio.current_time()
        waits = [job(f"wait {n}", "steps", seconds=0.3) for n in range(8)]
        await peer.send(m.Jobs(waits))
        await results(peer, 8)
        took_s = trio.current_time() - began
        await peer.send(m.Jobs([job(str(n), seconds=0.01) for n in range(40)]))
        done = await results(peer, 40)

    # Eight tasks of 0.3 s on four devices: twice 0.3 s, and not eight times.
    assert 0.55 < took_s < 2.3
    used = Counter(device_of(data) for _, data in done.values())
    assert set(used) <= set(UUIDS)
    assert len(used) >= 2


@pytest.mark.slow
@pytest.mark.usefixtures("nvml")
async def test_a_job_that_needs_much_memory_runs_on_a_large_gpu_only(tmp_path: Path) -> None:
    async with at_work(config(tmp_path)) as (_h, peer, _inventory):
        await peer.send(m.Jobs([job(str(n), vram_mb=40_000) for n in range(12)]))
        done = await results(peer, 12)

    assert {device_of(data) for _, data in done.values()} <= {"GPU-2", "GPU-3"}


@pytest.mark.slow
async def test_a_gpu_that_falls_off_the_bus_gives_its_job_back_and_the_rest_go_on(
    tmp_path: Path, nvml: FakeNvml
) -> None:
    async with at_work(config(tmp_path)) as (_h, peer, _inventory):
        # One long job a device; the one of GPU-1 is given back when that is gone.
        await peer.send(m.Jobs([job(str(n), "steps", seconds=1.5) for n in range(4)]))
        await trio.sleep(0.3)
        nvml.gpus[1].error = pynvml.NVML_ERROR_GPU_IS_LOST
        changed = await peer.expect(m.Inventory)
        done = {name: item for name, (item, _) in (await results(peer, 4)).items()}
        await peer.send(m.Jobs([job(f"more {n}") for n in range(12)]))
        more = await results(peer, 12)
        nvml.gpus[1].error = 0
        back = await peer.expect(m.Inventory)

    assert [device.uuid for device in changed.devices] == ["GPU-0", "GPU-2", "GPU-3"]
    assert (changed.slots, back.slots) == (3, 4)
    assert "GPU number 1 is out: it fell off the bus" in changed.remarks[0]
    assert sorted(item.code for item in done.values()) == ["", "", "", "abandoned"]
    assert {device_of(data) for _, data in more.values()} <= {"GPU-0", "GPU-2", "GPU-3"}
    assert not any("is out" in remark for remark in back.remarks)


@pytest.mark.slow
@pytest.mark.usefixtures("nvml")
async def test_a_gpu_that_fails_job_after_job_is_taken_out_and_the_rest_go_on(
    tmp_path: Path,
) -> None:
    async with at_work(config(tmp_path)) as (_h, peer, _inventory):
        failed: list[str] = []
        inventory: m.Inventory | None = None
        number = 0
        while inventory is None:
            await peer.send(
                m.Jobs([job(str(number + n), broken=["GPU-0"], seconds=0.05) for n in range(4)])
            )
            number += 4
            left = 4
            while left:
                message, _data = await _either(peer)
                if isinstance(message, m.Inventory):
                    inventory = message
                    continue
                await peer.ack(message)
                failed += [item.detail for item in message.results if item.status == "failed"]
                left -= len(message.results)

    assert [device.uuid for device in inventory.devices] == ["GPU-1", "GPU-2", "GPU-3"]
    assert "GPU number 0 is out: 3 jobs in a row failed on it" in inventory.remarks[0]
    assert health.FAILURES_MAX <= len(failed) <= health.FAILURES_MAX + 4
    assert set(failed) == {"the kernel failed: RuntimeError"}


async def _either(peer: Peer) -> tuple[Any, bytes]:
    while True:
        message, data = await peer.receive()
        if isinstance(message, m.Heartbeat):
            await peer.send(m.Ack())
        elif isinstance(message, m.Inventory | m.Results):
            return message, data


@pytest.mark.slow
async def test_a_hot_gpu_ends_its_job_and_gets_no_other_until_it_is_cool(
    tmp_path: Path, nvml: FakeNvml
) -> None:
    async with at_work(config(tmp_path, devices="2")) as (_h, peer, inventory):
        assert [device.name for device in inventory.devices] == ["GPU number 2"]
        await peer.send(m.Jobs([job("a", "steps", seconds=0.6), job("b")]))
        await trio.sleep(0.2)
        nvml.gpus[2].celsius = 91
        hot = await peer.expect(m.Inventory)
        done = {name: item for name, (item, _) in (await results(peer, 2)).items()}
        nvml.gpus[2].celsius = 60
        cool = await peer.expect(m.Inventory)
        await peer.send(m.Jobs([job("c")]))
        after = await results(peer, 1)

    assert (hot.devices, hot.kinds, hot.slots) == ([], [], 1)
    assert "too hot (91 °C, its limit is 89 °C)" in hot.remarks[0]
    # What ran has ended; what waited is given back, since nothing else takes it.
    assert (done["a"].status, done["b"].code) == ("completed", "abandoned")
    assert "hashsearch" in cool.kinds
    assert device_of(after["c"][1]) == "GPU-2"


@pytest.mark.slow
async def test_memory_that_others_hold_is_told(tmp_path: Path, nvml: FakeNvml) -> None:
    nvml.gpus[1].used_bytes = 20 * GIB
    async with at_work(config(tmp_path, devices="0,1")) as (_h, _peer, inventory):
        told = [remark for remark in inventory.remarks if "hold" in remark]

    assert len(told) == 1
    assert told[0].startswith("Other programs hold 20480 of 24576 MB of GPU number 1")


@pytest.mark.slow
async def test_memory_errors_put_a_gpu_out(tmp_path: Path, nvml: FakeNvml) -> None:
    async with at_work(config(tmp_path, devices="0,3")) as (_h, peer, _inventory):
        await trio.sleep(0.2)
        nvml.gpus[3].memory_errors = 2
        changed = await peer.expect(m.Inventory)

    assert [device.uuid for device in changed.devices] == ["GPU-0"]
    assert "2 errors that could not be corrected" in changed.remarks[0]


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.usefixtures("nvml")
async def test_commands_have_places_beside_the_gpus(tmp_path: Path) -> None:
    given = config(tmp_path, devices="0,1", slots=2, allow_command=True)
    async with at_work(given) as (_h, peer, inventory):
        if inventory.sandbox == 0:
            pytest.skip("no sandbox here: " + "; ".join(inventory.remarks))
        assert inventory.slots == 4
        spec = encode_spec(Spec(kind="command", params=msgspec.Raw(b'{"command":"sleep 1"}')))
        shells = [m.JobItem(f"shell {n}", 1, msgspec.Raw(spec), 30) for n in range(3)]
        await peer.send(m.Jobs([*shells, *(job(str(n)) for n in range(6))]))
        done = {name: item for name, (item, _) in (await results(peer, 9)).items()}

    codes = sorted(item.code for name, item in done.items() if name.startswith("shell"))
    assert codes == ["", "", "abandoned"]
    assert all(done[str(n)].status == "completed" for n in range(6))


@pytest.mark.slow
@pytest.mark.sandbox
async def test_without_a_device_a_machine_may_run_commands_alone(tmp_path: Path) -> None:
    given = config(tmp_path, devices="none", allow_command=True, slots=3)
    async with at_work(given) as (_h, _peer, inventory):
        expected = ["command"] if inventory.sandbox else []

        assert (inventory.devices, inventory.kinds, inventory.slots) == ([], expected, 3)


# ---- which devices ------------------------------------------------------------------------------


@pytest.mark.usefixtures("nvml")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("auto", UUIDS),
        ("cuda", UUIDS),
        ("2", ["GPU-2"]),
        ("3,0", ["GPU-3", "GPU-0"]),
        ("GPU-1", ["GPU-1"]),
        ("1,GPU-1, 1", ["GPU-1"]),
        ("cpu", ["cpu"]),
        ("0,cpu", ["GPU-0", "cpu"]),
        ("none", []),
    ],
)
def test_devices_are_named_by_index_uuid_or_word(
    words: str, expected: list[str], tmp_path: Path
) -> None:
    gpus = Gpus()
    chosen = choose(config(tmp_path, devices=words).devices, gpus.by_index(), gpus.remark)

    assert [device.uuid for device in chosen] == expected


@pytest.mark.usefixtures("nvml")
@pytest.mark.parametrize("words", ["4", "GPU-9", "GPU-", "0,7"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    words: str, tmp_path: Path
) -> None:
    gpus = Gpus()
    with pytest.raises(NoSuchGpu, match="0: GPU number 0, 1: GPU number 1"):
        choose(config(tmp_path, devices=words).devices, gpus.by_index(), gpus.remark)


def test_without_a_driver_a_gpu_is_refused_with_the_reason(tmp_path: Path) -> None:
    for words, error in (("cuda", NoGpu), ("0", NoSuchGpu)):
        with pytest.raises(error, match="NVML says no"):
            choose(config(tmp_path, devices=words).devices, {}, "no GPU: NVML says no")


async def test_no_device_and_no_command_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo, match="--allow-command"):
        await Machine.find(config(tmp_path, devices="none"))
