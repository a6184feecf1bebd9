"""An agent of real parts: this host's devices, a folder of state, a socket.

In:   an `AgentConfig`.
Out:  runs until it is drained (SIGTERM, SIGINT) or refused for good (`Unwelcome`).
Rules:
  1. One agent a state directory: two with one node key would throw each other out for ever.
  2. The first signal drains, the second ends at once; either way the outbox keeps what is unsent.
  3. A GPU that cannot compute is said in the inventory's remarks; with `--device auto` the CPU
     stands in when no GPU can.
Not here: flags (`config.py`, `hypernode/cli`), the sandbox's self-test (`worker.py`).
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from random import SystemRandom  # noqa: TID251 (waiting times of a real agent: any source will do)

import trio

from agent.client import Agent, connect_url
from agent.config import AgentConfig, ConfigError
from agent.device import Gpus, cpu_device, cpu_telemetry, host_info
from agent.disk import FolderDisk, in_thread
from agent.held import COMMAND
from agent.outbox import Outbox
from agent.setup import Setup
from agent.state import State
from agent.uploads import HttpUploader
from agent.welcome import Unwelcome
from agent.worker import LocalRunner
from agent.worker_start import WorkerDevice
from coordinator.clock import SystemClock
from coordinator.limits import AGENT_WINDOW_MAX, AGENT_WINDOW_PER_SLOT
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Device, Inventory, Telemetry
from coordinator.protocol.signing import Keypair, generate, load_keypair, save_keypair
from coordinator.workloads.catalogue import KINDS
from onchain.address import encode_address

_KEY_FILE = "node-key.json"
_LOCK_FILE = "lock"
#: What one inventory carries.
_REMARKS_MAX = 16
_REMARK_CHARS_MAX = 2000
_log = get_log("agent.main")


class StateInUse(ConfigError):
    """Another agent runs with this state directory: stop it, or pass another --state-dir."""


class NoGpu(ConfigError):
    """--device cuda, but no CUDA GPU was found. Check `nvidia-smi`, or leave --device away."""


async def run_agent(config: AgentConfig) -> int:
    """Run an agent until it is drained.

    Returns:
        The signal that began the drain, 0 for none.

    Raises:
        ConfigError: `StateInUse`, `NoGpu`.
        KeyFileError: the node key file cannot serve.
        Refusal: `agent_error`: no device can compute; the text says why.
        Unwelcome: the coordinator refuses this agent for good; `fix` says what to do.
    """
    with _locked(config.state_dir):
        node_key = node_key_in(config.state_dir)
        gpus = await in_thread(Gpus)
        runner, devices, remarks = await _start_runner(config, gpus)
        uploader = HttpUploader(config.http_url)
        try:
            disk = FolderDisk(config.state_dir)
            setup = Setup(
                connect=connect_url(config.url),
                node_key=node_key,
                token=config.token,
                inventory=_inventory(config, runner, devices, remarks),
                runner=runner,
                outbox=await Outbox.load(disk),
                state=await State.load(disk),
                uploader=uploader,
                clock=SystemClock(),
                rng=SystemRandom(),
                host_info=host_info(devices),
                telemetry=partial(_telemetry, gpus, devices),
            )
            _log.info("agent_starts", node_key=encode_address(node_key.address), url=config.url)
            return await _run_until_signal(Agent(setup))
        finally:
            with trio.CancelScope(shield=True):
                await uploader.aclose()
                await runner.aclose()


async def _run_until_signal(agent: Agent) -> int:
    refused: Unwelcome | None = None
    seen: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain_on_signal, agent, nursery.cancel_scope, seen)
        try:
            await agent.run()
        except Unwelcome as error:
            refused = error
        nursery.cancel_scope.cancel()
    if refused is not None:
        raise refused
    return seen[0] if seen else 0


async def _drain_on_signal(agent: Agent, scope: trio.CancelScope, seen: list[int]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            seen.append(await anext(signals))
            _log.info("draining")
            nursery.start_soon(agent.drain)
            await anext(signals)
            scope.cancel()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateInUse(str(folder)) from error
        yield
    finally:
        os.close(handle)


def node_key_in(folder: Path) -> Keypair:
    """The node key of a state directory; made at its first use.

    Raises:
        KeyFileError: there is a file, but it cannot serve.
    """
    path = folder / _KEY_FILE
    if not path.exists():
        save_keypair(path, generate())
    return load_keypair(path)


async def _start_runner(
    config: AgentConfig, gpus: Gpus
) -> tuple[LocalRunner, list[Device], list[str]]:
    """The runner, its devices, and what the operator should know."""
    found = [] if config.device == "cpu" else await in_thread(gpus.devices)
    if config.device == "cuda" and not found:
        raise NoGpu(gpus.remark)
    remarks = [gpus.remark] if gpus.remark and config.device != "cpu" else []
    try:
        return await _try_runner(config, found or [cpu_device()], remarks)
    except Refusal as refusal:
        if not found or config.device == "cuda":
            raise
        _log.error("gpu_workers_failed", reason=refusal.sentence)
        return await _try_runner(config, [cpu_device()], [*remarks, refusal.sentence])


async def _try_runner(
    config: AgentConfig, devices: list[Device], remarks: list[str]
) -> tuple[LocalRunner, list[Device], list[str]]:
    slots = config.slots or len(devices)
    workers = [
        WorkerDevice(backend=device.backend, uuid="" if device.backend == "cpu" else device.uuid)
        for device in islice(cycle(devices), slots)
    ]
    runner = LocalRunner(workers, allow_command=config.allow_command)
    try:
        report = await runner.start()
    except BaseException:
        with trio.CancelScope(shield=True):
            await runner.aclose()
        raise
    return runner, devices, [*remarks, *report.remarks]


def _inventory(
    config: AgentConfig, runner: LocalRunner, devices: list[Device], remarks: Sequence[str]
) -> Inventory:
    kinds = [kind for kind in KINDS if kind != COMMAND or config.allow_command]
    try:
        installed = version("hypernode")
    except PackageNotFoundError:  # run from a source tree
        installed = ""
    return Inventory(
        devices=devices,
        kinds=kinds,
        sandbox=runner.report.level,
        worker_sandbox=runner.report.worker_level,
        slots=runner.slots,
        window=min(runner.slots * AGENT_WINDOW_PER_SLOT, AGENT_WINDOW_MAX),
        remarks=[remark[:_REMARK_CHARS_MAX] for remark in remarks[:_REMARKS_MAX]],
        version=installed,
    )


async def _telemetry(gpus: Gpus, devices: Sequence[Device]) -> list[Telemetry]:
    """State of the devices that work here."""
    uuids = {device.uuid for device in devices}

    def ask() -> list[Telemetry]:
        return [state for state in [*gpus.telemetry(), cpu_telemetry()] if state.uuid in uuids]

    return await in_thread(ask)
