"""This machine at work: its devices found, its sandbox tested, its workers warmed up, one `Runner`.

In:   an `AgentConfig`.
Out:  at once what NVML and /proc tell; some seconds later a runner, and its inventory.
Rules:
  1. A GPU that cannot compute is said in the inventory's remarks; with `--devices auto` the CPU
     stands in when no GPU can.
  2. What the operator should know is a warning in the log, a line each, and a remark in the
     inventory, a sentence each.
  3. A device that falls out at work is said there too, and is tried again (`care.py`); the others
     go on.
  4. Commands are announced only where their sandbox holds: jobs that would be refused stay away.
Not here: which devices are meant (`choice.py`), their health (`care.py`), the sandbox's self-test
(`sandbox/canaries.py`), a worker's life (`warm_worker.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import trio

from agent.care import Care
from agent.choice import NothingToDo, choose
from agent.config import AgentConfig
from agent.device import Gpus, cpu_device, cpu_telemetry
from agent.disk import in_thread
from agent.places import Place
from agent.sandbox.level import SandboxReport
from agent.setup import Tell
from agent.task import COMMAND, KERNEL, OnLog, OnProgress, Outcome, Task
from agent.user_kernels import MODULE
from agent.welcome import as_sentence
from agent.worker import LocalRunner
from agent.worker_start import WorkerDevice
from coordinator.limits import AGENT_WINDOW_MAX, AGENT_WINDOW_PER_SLOT, REMARKS_MAX
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Device, Inventory, Telemetry
from coordinator.protocol.parts import compute_capability_of
from coordinator.workloads.catalogue import KINDS

_REMARK_CHARS_MAX: Final = 2000
#: Part of a GPU's memory that others may hold without a remark: a desktop takes a tenth.
_CROWDED: Final = 0.25
#: The level from which commands run.
_COMMAND_LEVEL: Final = 1
#: The level at which nothing is left to be said.
_LEVEL_MAX: Final = 2
_log = get_log("agent.machine")


class Machine:
    """The devices of this host behind one `Runner`; made by `find`."""

    def __init__(
        self,
        config: AgentConfig,
        gpus: Gpus,
        chosen: Sequence[Device],
        *,
        kernels: str = "agent.kernels",
        user_kernels: str = "",
        import_paths: Sequence[str] = (),
    ) -> None:
        self._config = config
        self._kernels, self._import_paths = kernels, import_paths
        self._user_kernels = user_kernels if config.allow_kernels else ""
        self._gpus = gpus
        has_gpu = any(device.backend == "cuda" for device in chosen)
        self._may_fall_back = has_gpu and config.devices == ("auto",)
        #: Those that are to work here.
        self.devices = list(chosen)
        self._runner = self._make_runner()
        self._remarks: list[str] = []
        self._report = SandboxReport(0, 0)
        #: Whether the sandbox was tested.
        self.is_tested = False
        self._care: Care | None = None

    @classmethod
    async def find(cls, config: AgentConfig) -> Machine:
        """What this host has; nothing is started.

        Raises:
            NoGpu, NoSuchGpu: a GPU is asked for that is not there.
            NothingToDo: no device is to work, and no command may.
        """
        gpus = await in_thread(Gpus)
        found = await in_thread(gpus.by_index)
        chosen = choose(config.devices, found, gpus.remark)
        if not chosen and not config.allow_command:
            raise NothingToDo
        return cls(config, gpus, chosen, user_kernels=MODULE)

    # ---- the way to an inventory ----------------------------------------------------------------

    async def warm_up(self) -> Inventory:
        """Test the sandbox, start the workers, compile.

        Raises:
            Refusal: `agent_error`: no device can compute; the text says why.
        """
        began = trio.current_time()
        try:
            self._report = await self._start()
        except Refusal as refusal:
            if not self._may_fall_back:
                raise
            self._remark([refusal.sentence])
            await self._runner.aclose()
            self.devices = [cpu_device()]
            self._runner = self._make_runner()
            self._report = await self._start()
        names = {device.uuid: device.name for device in self.devices}
        self._care = Care(self._gpus, self._runner, names)
        _log.info("warm", seconds=round(trio.current_time() - began, 1), slots=self.slots)
        return self._inventory()

    def _make_runner(self) -> LocalRunner:
        slots = self._config.slots or 1
        workers = []
        for device in self.devices:
            is_cpu = device.backend == "cpu"
            worker = WorkerDevice(
                backend=device.backend,
                uuid="" if is_cpu else device.uuid,
                memory_mb=device.memory_mb,
                compute_capability=compute_capability_of(device),
            )
            workers += [worker] * (slots if is_cpu else 1)
        has_cpu = any(device.backend == "cpu" for device in self.devices)
        return LocalRunner(
            workers,
            allow_command=self._config.allow_command,
            command_places=slots if self._config.allow_command and not has_cpu else 0,
            host_mb=cpu_device().memory_mb,
            kernels=self._kernels,
            user_kernels=self._user_kernels,
            import_paths=self._import_paths,
        )

    async def _start(self) -> SandboxReport:
        probed = self._report = await self._runner.probe()
        self.is_tested = True
        self._say(probed)
        if self._gpus.remark and self._config.devices not in {("cpu",), ("none",)}:
            self._remark([self._gpus.remark])
        self._remark(await in_thread(self._crowded))
        _log.info("warming up", devices=[device.backend for device in self.devices])
        report = await self._runner.start()
        self._remark(report.remarks)
        return report

    def _crowded(self) -> list[str]:
        """GPUs whose memory others hold, before any worker of ours has started."""
        used = {state.uuid: state.memory_used_mb or 0 for state in self._gpus.telemetry()}
        return [
            f"other programs hold {used[gpu.uuid]} of {gpu.memory_mb} MB of {gpu.name}: jobs that "
            "fit the card may not fit what is left; `nvidia-smi` names them"
            for gpu in self.devices
            if used.get(gpu.uuid, 0) > gpu.memory_mb * _CROWDED
        ]

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

    def _inventory(self) -> Inventory:
        open_places = [p for n, p in enumerate(self._runner.places) if n not in self.out()]
        kernels = sum(bool(place.backend) for place in open_places)
        names = {place.device for place in open_places}
        runs_commands = (
            self._config.allow_command
            and self._report.level >= _COMMAND_LEVEL
            and any(place.takes_commands for place in open_places)
        )
        kinds = [kind for kind in KINDS if kind not in {COMMAND, KERNEL}] if kernels else []
        if self._runner.runs_user_kernels:
            kinds.append(KERNEL)
        return Inventory(
            devices=[device for device in self.devices if device.uuid in names],
            kinds=[*kinds, COMMAND] if runs_commands else kinds,
            sandbox=self._report.level,
            worker_sandbox=self._report.worker_level,
            slots=max(len(open_places), 1),
            window=min(
                kernels * AGENT_WINDOW_PER_SLOT + len(open_places) - kernels or 1, AGENT_WINDOW_MAX
            ),
            remarks=[remark[:_REMARK_CHARS_MAX] for remark in self.remarks[:REMARKS_MAX]],
            version=installed_version(),
        )

    # ---- what is known ---------------------------------------------------------------------------

    @property
    def places(self) -> Sequence[Place]:
        """Where tasks compute, by number."""
        return self._runner.places

    def out(self) -> dict[int, str]:
        """The places that are out, with the reason."""
        return self._care.out() if self._care is not None else {}

    def states(self) -> dict[str, tuple[str, str]]:
        """UUID → state and reason of each device, once they are warm."""
        return self._care.states() if self._care is not None else {}

    @property
    def report(self) -> SandboxReport:
        """What the self-test found; level 0 before it."""
        return self._report

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the operator should know: devices that are out first."""
        out = dict.fromkeys(self.out().values())
        return (*map(as_sentence, out), *self._remarks)

    async def watch(self, tell: Tell) -> None:
        """Look after the devices for ever.

        Args:
            tell: Called with the new inventory, the places that are out and those whose task
                cannot end, whenever a device fell out or came back.
        """
        assert self._care is not None, "they are warm by now"
        await self._care.watch(lambda gone: tell(self._inventory(), self.out(), gone))

    # ---- at work --------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """Tasks that compute at the same time."""
        return len(self._runner.places) - len(self.out())

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
        """State of the devices that are to work here."""
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
