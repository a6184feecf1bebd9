from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pynvml
import pytest

from agent.device import Gpus, cpu_device, cpu_telemetry, host_info
from coordinator.limits import DEVICES_MAX, KIB
from coordinator.protocol.messages import Device
from tests.fakes.fake_nvml import FakeGpu, FakeNvml

Install = Callable[[FakeNvml | None], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Plugs a library in below pynvml's own code; None is a host without a driver."""

    def plug(library: FakeNvml | None) -> None:
        pynvml._nvmlGetFunctionPointer_cache.clear()
        monkeypatch.setattr(pynvml, "nvmlLib", library)

    yield plug
    pynvml._nvmlGetFunctionPointer_cache.clear()


def test_each_gpu_is_a_device_with_its_memory_and_capability(install: Install) -> None:
    install(FakeNvml([FakeGpu(), FakeGpu(name="RTX 4090", uuid="GPU-2", capability=(8, 9))]))

    first, second = Gpus().devices()
    assert first == Device(
        uuid="GPU-12345678-aaaa-bbbb-cccc-0123456789ab",
        name="NVIDIA H100 80GB HBM3",
        backend="cuda",
        memory_mb=81559,
        capability=[9, 0],
        driver="580.159.04",
    )
    assert (second.name, second.uuid, second.capability) == ("RTX 4090", "GPU-2", [8, 9])


def test_telemetry_is_the_state_now(install: Install) -> None:
    gpu = FakeGpu()
    install(FakeNvml([gpu]))
    gpus = Gpus()
    before = gpus.telemetry()[0]
    gpu.percent, gpu.celsius = 99, 80
    after = gpus.telemetry()[0]

    assert (before.utilization_percent, before.temperature_celsius) == (17, 34)
    assert (after.utilization_percent, after.temperature_celsius) == (99, 80)
    assert (before.memory_used_mb, before.power_watts) == (612, 71)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilization_percent"),
        ("nvmlDeviceGetMemoryInfo", "memory_used_mb"),
        ("nvmlDeviceGetTemperature", "temperature_celsius"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
    ],
)
@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_GPU_IS_LOST])
def test_a_field_that_the_card_does_not_give_costs_that_field_only(
    install: Install, call: str, name: str, error: int
) -> None:
    install(FakeNvml([FakeGpu()], refuses={call: error}))

    state = msgspec.structs.asdict(Gpus().telemetry()[0])
    assert [key for key, value in state.items() if value is None] == [name]


@pytest.mark.parametrize(
    "call",
    ["nvmlDeviceGetName", "nvmlDeviceGetCudaComputeCapability", "nvmlSystemGetDriverVersion"],
)
def test_an_inventory_lacks_what_the_driver_does_not_say(install: Install, call: str) -> None:
    install(FakeNvml([FakeGpu()], refuses={call: pynvml.NVML_ERROR_NOT_SUPPORTED}))

    (device,) = Gpus().devices()
    assert device.uuid == FakeGpu.uuid
    assert "" in {device.name, device.driver} or device.capability == []


def test_a_gpu_without_a_uuid_is_not_announced(install: Install) -> None:
    install(FakeNvml([FakeGpu()], refuses={"nvmlDeviceGetUUID": pynvml.NVML_ERROR_UNKNOWN}))

    assert Gpus().devices() == []


def test_more_gpus_than_the_wire_takes_are_left_out(install: Install) -> None:
    install(FakeNvml([FakeGpu(uuid=f"GPU-{i}") for i in range(DEVICES_MAX + 4)]))

    assert len(Gpus().devices()) == DEVICES_MAX


@pytest.mark.parametrize(
    "library",
    [None, FakeNvml([], refuses={"nvmlInitWithFlags": pynvml.NVML_ERROR_DRIVER_NOT_LOADED})],
    ids=["no library", "no driver"],
)
def test_without_a_driver_there_is_no_gpu_and_the_reason_is_said(
    install: Install, library: FakeNvml | None
) -> None:
    if library is None and Path("/dev/nvidiactl").exists():
        pytest.skip("this host has a driver")
    install(library)

    gpus = Gpus()
    assert gpus.devices() == []
    assert gpus.telemetry() == []
    assert "no GPU" in gpus.remark


def proc(folder: Path, cpuinfo: str, meminfo: str) -> Path:
    (folder / "cpuinfo").write_text(cpuinfo)
    (folder / "meminfo").write_text(meminfo)
    return folder


def test_the_processor_is_named_by_proc_and_has_the_hosts_memory(tmp_path: Path) -> None:
    here = proc(
        tmp_path,
        "processor\t: 0\nmodel name\t: AMD EPYC 7763\nprocessor\t: 1\nmodel name\t: other\n",
        "MemTotal:       24576000 kB\nMemFree: 1 kB\nMemAvailable:   20480000 kB\n",
    )

    assert cpu_device(here) == Device("cpu", "AMD EPYC 7763", "cpu", memory_mb=24000)
    assert cpu_telemetry(here).memory_used_mb == 4000


@pytest.mark.parametrize("meminfo", ["", "MemTotal: much kB\n", "MemTotal\n"])
def test_a_host_that_says_nothing_is_a_device_all_the_same(tmp_path: Path, meminfo: str) -> None:
    here = proc(tmp_path, "model name\t: " + "x" * 500 + "\n", meminfo)

    device = cpu_device(here)
    assert (device.uuid, len(device.name), device.memory_mb) == ("cpu", 128, 0)
    assert cpu_telemetry(here).memory_used_mb is None
    assert cpu_device(tmp_path / "nowhere").name


def test_the_seeds_host_information_has_memory_in_whole_gigabytes() -> None:
    devices = [
        Device("GPU-1", "RTX 4090", "cuda", memory_mb=24564),
        Device("cpu", "a processor", "cpu", memory_mb=4096),
    ]
    info = msgspec.to_builtins(host_info(devices))

    assert info["gpus"] == [{"name": "RTX 4090", "memory": "24GB"}]
    assert info["hostname"]
    assert info["os"]


def test_host_information_fits_a_registration_however_many_gpus_there_are() -> None:
    devices = [Device(f"GPU-{i}", "N" * 128, "cuda", memory_mb=1) for i in range(DEVICES_MAX)]

    assert len(msgspec.json.encode(host_info(devices))) < KIB
