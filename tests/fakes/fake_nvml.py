"""NVML without a driver: an object in place of the library that `pynvml` calls through ctypes.

Every function that a GPU's inventory and telemetry need; `refuses` names those that answer with an
error code, as real cards and old drivers do. A function that is not here is `FunctionNotFound`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pynvml


@dataclass
class FakeGpu:
    name: str = "NVIDIA H100 80GB HBM3"
    uuid: str = "GPU-12345678-aaaa-bbbb-cccc-0123456789ab"
    memory_bytes: int = 81559 << 20
    used_bytes: int = 612 << 20
    capability: tuple[int, int] = (9, 0)
    milliwatts: int = 71_234
    celsius: int = 34
    percent: int = 17
    slowdown_celsius: int = 89
    memory_errors: int = 0
    #: What every question about it is answered with: `NVML_ERROR_GPU_IS_LOST` off the bus.
    error: int = 0


@dataclass
class FakeNvml:
    gpus: Sequence[FakeGpu]
    driver: str = "580.159.04"
    cuda: int = 13_000
    refuses: Mapping[str, int] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Callable[..., int]:
        answer = _ANSWERS.get(name)
        if answer is None:
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            if name in self.refuses:
                return self.refuses[name]
            try:
                return answer(self, *arguments) or 0
            except _Gone as gone:
                return gone.code

        return call

    def of(self, handle: Any) -> FakeGpu:
        gpu = self.gpus[ctypes.cast(handle, ctypes.c_void_p).value - 1]  # type: ignore[operator]
        if gpu.error:
            raise _Gone(gpu.error)
        return gpu


class _Gone(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


def _out(reference: Any) -> Any:
    """What a `byref` points to."""
    return getattr(reference, "_obj", reference)


def _set(value: Callable[[FakeNvml, Any], Any]) -> Callable[..., None]:
    """A function (handle, out) that writes one number."""

    def answer(library: FakeNvml, handle: Any, out: Any) -> None:
        _out(out).value = value(library, handle)

    return answer


def _text(value: Callable[[FakeNvml, Any], str]) -> Callable[..., None]:
    """A function (handle, buffer, length) that writes a text."""

    def answer(library: FakeNvml, handle: Any, buffer: Any, _length: Any) -> None:
        buffer.value = value(library, handle).encode()

    return answer


def _handle(library: FakeNvml, index: Any, out: Any) -> int:
    if index.value >= len(library.gpus):
        return int(pynvml.NVML_ERROR_INVALID_ARGUMENT)
    pointer = ctypes.c_void_p(index.value + 1)
    ctypes.memmove(ctypes.addressof(_out(out)), ctypes.byref(pointer), ctypes.sizeof(pointer))
    return 0


def _handle_by_uuid(library: FakeNvml, uuid: Any, out: Any) -> int:
    text = getattr(uuid, "value", uuid)
    for index, gpu in enumerate(library.gpus):
        if gpu.uuid.encode() == text and not gpu.error:
            return _handle(library, ctypes.c_uint(index), out)
    return int(pynvml.NVML_ERROR_NOT_FOUND)


def _threshold(library: FakeNvml, handle: Any, _kind: Any, out: Any) -> None:
    _out(out).value = library.of(handle).slowdown_celsius


def _memory_errors(library: FakeNvml, handle: Any, _kind: Any, _counter: Any, out: Any) -> None:
    _out(out).value = library.of(handle).memory_errors


def _count(library: FakeNvml, out: Any) -> None:
    _out(out).value = len(library.gpus)


def _driver(library: FakeNvml, buffer: Any, _length: Any) -> None:
    buffer.value = library.driver.encode()


def _cuda(library: FakeNvml, out: Any) -> None:
    _out(out).value = library.cuda


def _memory(library: FakeNvml, handle: Any, out: Any) -> None:
    gpu, memory = library.of(handle), _out(out)
    memory.total, memory.used = gpu.memory_bytes, gpu.used_bytes
    memory.free = gpu.memory_bytes - gpu.used_bytes


def _capability(library: FakeNvml, handle: Any, major: Any, minor: Any) -> None:
    _out(major).value, _out(minor).value = library.of(handle).capability


def _rates(library: FakeNvml, handle: Any, out: Any) -> None:
    _out(out).gpu, _out(out).memory = library.of(handle).percent, 0


def _temperature(library: FakeNvml, handle: Any, _kind: Any, out: Any) -> None:
    _out(out).value = library.of(handle).celsius


def _nothing(_library: FakeNvml, *_arguments: Any) -> None:
    """Success, without an answer."""


_ANSWERS: dict[str, Callable[..., int | None]] = {
    "nvmlInitWithFlags": _nothing,
    "nvmlShutdown": _nothing,
    "nvmlDeviceGetCount_v2": _count,
    "nvmlDeviceGetHandleByIndex_v2": _handle,
    "nvmlSystemGetDriverVersion": _driver,
    "nvmlSystemGetCudaDriverVersion_v2": _cuda,
    "nvmlDeviceGetName": _text(lambda library, handle: library.of(handle).name),
    "nvmlDeviceGetUUID": _text(lambda library, handle: library.of(handle).uuid),
    "nvmlDeviceGetMemoryInfo": _memory,
    "nvmlDeviceGetCudaComputeCapability": _capability,
    "nvmlDeviceGetUtilizationRates": _rates,
    "nvmlDeviceGetPowerUsage": _set(lambda library, handle: library.of(handle).milliwatts),
    "nvmlDeviceGetTemperature": _temperature,
    "nvmlDeviceGetHandleByUUID": _handle_by_uuid,
    "nvmlDeviceGetTemperatureThreshold": _threshold,
    "nvmlDeviceGetTotalEccErrors": _memory_errors,
}
