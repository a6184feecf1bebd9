"""The devices of this host: what they are, and how they are right now.

In:   NVML (module `pynvml` of nvidia-ml-py), /proc.
Out:  `Device`s for the inventory, `Telemetry` for heartbeats, `Reading`s of their health, and the
      seed's host information.
Rules:
  1. Every field is asked for on its own: what a driver does not give is left out, not fatal.
  2. Without NVML or a GPU the CPU is the one device; that is a device like any other.
  3. NVML blocks: shells call these functions in a thread.
Not covered: whether a device is what its driver says (benchmarks decide that); AMD and Apple GPUs.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from agent.health import Reading
from coordinator.limits import DEVICES_MAX, KIB, MIB, NAME_CHARS_MAX
from coordinator.log import get_log
from coordinator.protocol.messages import Device, GpuInfo, HostInfo, Telemetry

try:
    import pynvml
except ModuleNotFoundError:  # an installation without the `agent` extra
    pynvml = None

T = TypeVar("T")

CPU_UUID: Final = "cpu"
_GIB: Final = 1024 * MIB
#: Host information rides in the registration, beside a token, within 4 KiB.
_HOST_INFO_BYTES_MAX: Final = KIB - 64
#: What NVML answers for a card that is there no more, or that only a reset brings back.
_LOST: Final = (
    frozenset()
    if pynvml is None
    else frozenset(
        {
            pynvml.NVML_ERROR_GPU_IS_LOST,
            pynvml.NVML_ERROR_RESET_REQUIRED,
            pynvml.NVML_ERROR_NOT_FOUND,
            pynvml.NVML_ERROR_INVALID_ARGUMENT,
        }
    )
)
_log = get_log("agent.device")


class Gpus:
    """The GPUs that NVML shows; none where there is no driver."""

    def __init__(self) -> None:
        #: NVML's index → handle; `nvidia-smi` shows the same index.
        self._handles: dict[int, Any] = {}
        self._uuids: dict[int, str] = {}
        #: Why there are none, for the operator.
        self.remark = ""
        if pynvml is None:
            self.remark = "no GPU: install nvidia-ml-py (`pip install hypernode[agent]`)"
            return
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.remark = f"no GPU: NVML says {error}"
            return
        for index in range(min(count, DEVICES_MAX)):
            handle = _ask(pynvml.nvmlDeviceGetHandleByIndex, index)
            if handle is not None:
                self._handles[index] = handle
                self._uuids[index] = _text(_ask(pynvml.nvmlDeviceGetUUID, handle))

    def by_index(self) -> dict[int, Device]:
        """The GPUs that have a UUID; one without cannot be named, so it cannot work."""
        driver = _text(_ask(pynvml.nvmlSystemGetDriverVersion)) if self._handles else ""
        found = {index: _device(handle, driver) for index, handle in self._handles.items()}
        return {index: device for index, device in found.items() if device.uuid}

    def cuda_version(self) -> tuple[int, int] | None:
        """The newest CUDA that the driver runs."""
        if not self._handles:
            return None
        number = _ask(pynvml.nvmlSystemGetCudaDriverVersion_v2)
        return None if number is None else (number // 1000, number % 1000 // 10)

    def devices(self) -> list[Device]:
        """The same without their indices."""
        return list(self.by_index().values())

    def telemetry(self) -> list[Telemetry]:
        """Their state now; of one that is lost, that it exists."""
        return [_telemetry(handle, self._uuids[i]) for i, handle in self._handles.items()]

    def readings(self) -> dict[str, Reading]:
        """UUID → what there is to say of its health."""
        return {self._uuids[index]: _reading(handle) for index, handle in self._handles.items()}

    def find_again(self, uuid: str) -> bool:
        """Look for a lost GPU: after a reset it has another handle. Whether it is there."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            pynvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError as error:
            _log.info("gpu_still_lost", uuid=uuid, error=str(error))
            return False
        self._handles.update({i: handle for i, known in self._uuids.items() if known == uuid})
        return True


def _ask(call: Callable[..., T], *arguments: object) -> T | None:
    """What NVML answers, or None where this driver or card has no answer."""
    try:
        return call(*arguments)
    except pynvml.NVMLError as error:
        _log.debug("nvml", call=getattr(call, "__name__", ""), error=str(error))
        return None


def _text(value: str | bytes | None) -> str:
    """NVML's text: bytes in older versions."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
    return text[:NAME_CHARS_MAX]


def _device(handle: Any, driver: str) -> Device:
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    capability = _ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    return Device(
        uuid=_text(_ask(pynvml.nvmlDeviceGetUUID, handle)),
        name=_text(_ask(pynvml.nvmlDeviceGetName, handle)),
        backend="cuda",
        memory_mb=0 if memory is None else int(memory.total) // MIB,
        capability=[] if capability is None else [int(part) for part in capability],
        driver=driver,
    )


def _reading(handle: Any) -> Reading:
    try:
        pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        if error.value in _LOST:
            return Reading(lost=str(error))
    errors = _ask(
        pynvml.nvmlDeviceGetTotalEccErrors,
        handle,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        pynvml.NVML_VOLATILE_ECC,
    )
    return Reading(
        celsius=_ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        limit_celsius=_ask(
            pynvml.nvmlDeviceGetTemperatureThreshold,
            handle,
            pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN,
        ),
        memory_errors=None if errors is None else int(errors),
    )


def _telemetry(handle: Any, uuid: str) -> Telemetry:
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    rates = _ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    milliwatts = _ask(pynvml.nvmlDeviceGetPowerUsage, handle)
    celsius = _ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    return Telemetry(
        uuid=uuid,
        utilization_percent=None if rates is None else int(rates.gpu),
        memory_used_mb=None if memory is None else int(memory.used) // MIB,
        temperature_celsius=None if celsius is None else max(int(celsius), 0),
        power_watts=None if milliwatts is None else int(milliwatts) // 1000,
    )


def cpu_device(proc: Path = Path("/proc")) -> Device:
    """The host's processor, with the host's memory."""
    name = _field(proc / "cpuinfo", "model name") or platform.processor() or platform.machine()
    total = _field(proc / "meminfo", "MemTotal").removesuffix("kB").strip()
    memory_mb = int(total) // KIB if total.isdecimal() else 0
    return Device(
        uuid=CPU_UUID, name=name[:NAME_CHARS_MAX] or "CPU", backend="cpu", memory_mb=memory_mb
    )


def cpu_telemetry(proc: Path = Path("/proc")) -> Telemetry:
    """Load of the last minute over all cores, and memory in use."""
    kib = {name: _field(proc / "meminfo", name).removesuffix("kB").strip() for name in _MEMORY}
    used = None
    if all(value.isdecimal() for value in kib.values()):
        used = max(int(kib["MemTotal"]) - int(kib["MemAvailable"]), 0) // KIB
    percent = None
    try:
        percent = min(int(100 * os.getloadavg()[0] / (os.cpu_count() or 1)), 100)
    except OSError:
        _log.debug("no_load_average")
    return Telemetry(uuid=CPU_UUID, utilization_percent=percent, memory_used_mb=used)


_MEMORY: Final = ("MemTotal", "MemAvailable")


def _field(path: Path, name: str) -> str:
    """The value of the first `name : value` line of a file of /proc; empty if there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError as error:
        _log.debug("proc_unreadable", path=str(path), error=str(error))
    return ""


def host_info(devices: list[Device]) -> HostInfo:
    """This host in the seed's words, short enough for a registration."""
    gpus = [
        GpuInfo(name=device.name, memory=f"{round(device.memory_mb * MIB / _GIB)}GB")
        for device in devices
        if device.backend == "cuda"
    ]
    name = platform.node()[:NAME_CHARS_MAX]
    system = f"{platform.system()} {platform.release()}"[:NAME_CHARS_MAX]
    info = HostInfo(hostname=name, gpus=gpus, os=system)
    while info.gpus and len(msgspec.json.encode(info)) > _HOST_INFO_BYTES_MAX:
        # The inventory names them all; this is what a list of nodes shows.
        info = msgspec.structs.replace(info, gpus=info.gpus[:-1])
    return info
