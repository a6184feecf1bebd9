"""Which devices an operator means: `--devices` against what NVML shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.config import ConfigError
from agent.device import cpu_device
from coordinator.protocol.messages import Device


class NoGpu(ConfigError):
    """--devices cuda, but no CUDA GPU was found. Check `nvidia-smi`, or leave --devices away."""


class NoSuchGpu(ConfigError):
    """A device of --devices is not there; `nvidia-smi -L` lists those that are."""


class NothingToDo(ConfigError):
    """--devices none leaves commands only: add --allow-command, or choose a device."""


def choose(words: Sequence[str], found: Mapping[int, Device], remark: str) -> list[Device]:
    """The devices that are meant, in the order in which they were named.

    Args:
        words: As in `AgentConfig.devices`.
        found: The GPUs by NVML's index.
        remark: Why there are none.

    Raises:
        NoGpu, NoSuchGpu: one that was asked for is not there.
    """
    if words == ("auto",):
        return list(found.values()) or [cpu_device()]
    if words == ("cuda",) and not found:
        raise NoGpu(remark)
    chosen: list[Device] = []
    for word in words:
        if word == "cpu":
            chosen.append(cpu_device())
        elif word == "cuda":
            chosen += found.values()
        elif word != "none":
            chosen.append(_named(word, found, remark))
    return list({device.uuid: device for device in chosen}.values())


def _named(word: str, found: Mapping[int, Device], remark: str) -> Device:
    if word.isdecimal() and int(word) in found:
        return found[int(word)]
    fitting = [gpu for gpu in found.values() if gpu.uuid.startswith(word)]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(f"{index}: {gpu.name}" for index, gpu in found.items()) or remark
    raise NoSuchGpu(f"{word}; here is {there}" if found else f"{word}; {there}")
