"""This machine at work: its devices found, its sandbox tested, its workers warmed up, one `Runner`.

In:   an `AgentConfig`.
Out:  at once what NVML and /proc tell; some seconds later a runner, and its inventory.
Rules:
  1. A GPU that cannot compute is said in the inventory's remarks; with `--device auto` the CPU
     stands in when no GPU can.
  2. What the operator should know is a warning in the log, a line each, and a remark in the
     inventory, a sentence each.
  3. Commands are announced only where their sandbox holds: jobs that would be refused stay away.
Not here: the sandbox's self-test (`sandbox/canaries.py`), a worker's life (`warm_worker.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from typing import Final

import trio

from agent.config import AgentConfig, ConfigError
from agent.device import Gpus, cpu_device, cpu_telemetry
from agent.disk import in_thread
from agent.held import COMMAND
from agent.sandbox.level import SandboxReport
from agent.task import OnLog, OnProgress, Outcome, Task
from agent.welcome import as_sentence
from agent.worker import LocalRunner
from agent.worker_start import WorkerDevice
from coordinator.limits import AGENT_WINDOW_MAX, AGENT_WINDOW_PER_SLOT
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Device, Inventory, Telemetry
from coordinator.workloads.catalogue import KINDS

#: What one inventory carries.
_REMARKS_MAX: Final = 16
_REMARK_CHARS_MAX: Final = 2000
#: The level from which commands run.
_COMMAND_LEVEL: Final = 1
#: The level at which nothing is left to be said.
_LEVEL_MAX: Final = 2
_log = get_log("agent.machine")


class NoGpu(ConfigError):
    """--device cuda, but no CUDA GPU was found. Check `nvidia-smi`, or leave --device away."""


class Machine:
    """The devices of this host behind one `Runner`; made by `find`."""

    def __init__(self, config: AgentConfig, gpus: Gpus, found: Sequence[Device]) -> None:
        self._config = config
        self._gpus = gpus
        self._may_fall_back = bool(found) and config.device == "auto"
        #: Those that are to work here.
        self.devices = list(found) or [cpu_device()]
        self._runner = self._make_runner()
        self._remarks: list[str] = []

    @classmethod
    async def find(cls, config: AgentConfig) -> Machine:
        """What this host has; nothing is started.

        Raises:
            NoGpu: a GPU is asked for, and there is none.
        """
        gpus = await in_thread(Gpus)
        found = [] if config.device == "cpu" else await in_thread(gpus.devices)
        if config.device == "cuda" and not found:
            raise NoGpu(gpus.remark)
        return cls(config, gpus, found)

    # ---- the way to an inventory ----------------------------------------------------------------

    async def warm_up(self) -> Inventory:
        """Test the sandbox, start the workers, compile.

        Raises:
            Refusal: `agent_error`: no device can compute; the text says why.
        """
        began = trio.current_time()
        try:
            report = await self._start()
        except Refusal as refusal:
            if not self._may_fall_back:
                raise
            self._remark([refusal.sentence])
            await self._runner.aclose()
            self.devices = [cpu_device()]
            self._runner = self._make_runner()
            report = await self._start()
        _log.info("warm", seconds=round(trio.current_time() - began, 1), slots=self.slots)
        return self._inventory(report)

    def _make_runner(self) -> LocalRunner:
        slots = self._config.slots or len(self.devices)
        workers = [
            WorkerDevice(
                backend=device.backend, uuid="" if device.backend == "cpu" else device.uuid
            )
            for device in islice(cycle(self.devices), slots)
        ]
        return LocalRunner(workers, allow_command=self._config.allow_command)

    async def _start(self) -> SandboxReport:
        probed = await self._runner.probe()
        self._say(probed)
        if self._gpus.remark and self._config.device != "cpu":
            self._remark([self._gpus.remark])
        _log.info("warming up", devices=[device.backend for device in self.devices])
        report = await self._runner.start()
        self._remark(report.remarks)
        return report

    def _say(self, probed: SandboxReport) -> None:
        """What the self-test of the sandbox found, for the operator."""
        tell = _log.info if probed.level == _LEVEL_MAX else _log.warning
        tell("sandbox tested", sandbox=probed.level, worker_sandbox=probed.worker_level)
        self._remark(probed.remarks)
        if self._config.allow_command and probed.level < _COMMAND_LEVEL:
            fix = " ".join(probed.remarks)
            _log.warning("--allow-command has no effect: commands need a sandbox", fix=fix)

    def _remark(self, remarks: Iterable[str]) -> None:
        """Note what the operator should know; each thing is said once."""
        for remark in map(as_sentence, remarks):
            if remark not in self._remarks:
                self._remarks.append(remark)
                _log.warning("remark", text=remark)

    def _inventory(self, report: SandboxReport) -> Inventory:
        runs_commands = self._config.allow_command and report.level >= _COMMAND_LEVEL
        return Inventory(
            devices=self.devices,
            kinds=[kind for kind in KINDS if kind != COMMAND or runs_commands],
            sandbox=report.level,
            worker_sandbox=report.worker_level,
            slots=self.slots,
            window=min(self.slots * AGENT_WINDOW_PER_SLOT, AGENT_WINDOW_MAX),
            remarks=[remark[:_REMARK_CHARS_MAX] for remark in self._remarks[:_REMARKS_MAX]],
            version=installed_version(),
        )

    # ---- at work --------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """Tasks that compute at the same time."""
        return self._runner.slots

    async def run(
        self,
        task: Task,
        *,
        on_log: OnLog | None = None,
        on_progress: OnProgress | None = None,
    ) -> Outcome:
        """Run one task; cancelling the call ends the work at once."""
        return await self._runner.run(task, on_log=on_log, on_progress=on_progress)

    async def telemetry(self) -> list[Telemetry]:
        """State of the devices that work here."""
        uuids = {device.uuid for device in self.devices}

        def ask() -> list[Telemetry]:
            states = [*self._gpus.telemetry(), cpu_telemetry()]
            return [state for state in states if state.uuid in uuids]

        return await in_thread(ask)

    async def aclose(self) -> None:
        """End every worker."""
        await self._runner.aclose()


def installed_version() -> str:
    """Ours; empty in a source tree."""
    try:
        return version("hypernode")
    except PackageNotFoundError:
        return ""
