"""This machine at work: its devices found, its sandbox tested, its workers warmed up, one `Runner`.

In:   an `AgentConfig`.
Out:  at once what NVML and /proc tell; some seconds later a runner, and its inventory.
Rules:
  1. A GPU that cannot compute is said in the inventory's remarks; with `--devices auto` the CPU
     stands in when no GPU can.
  2. What the operator should know is a warning in the log, a line each, and a remark in the
     inventory, a sentence each.
  3. A device that falls out at work is said there too, and is tried again (`health.py`); the others
     go on.
  4. Commands are announced only where their sandbox holds: jobs that would be refused stay away.
Not here: the sandbox's self-test (`sandbox/canaries.py`), a worker's life (`warm_worker.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import trio

from agent.bells import Bell
from agent.config import AgentConfig, ConfigError
from agent.device import Gpus, cpu_device, cpu_telemetry
from agent.disk import in_thread
from agent.health import Health, State
from agent.places import Place
from agent.sandbox.level import SandboxReport
from agent.setup import Tell
from agent.task import COMMAND, OnLog, OnProgress, Outcome, Task
from agent.welcome import as_sentence
from agent.worker import LocalRunner
from agent.worker_start import WorkerDevice
from coordinator.limits import AGENT_WINDOW_MAX, AGENT_WINDOW_PER_SLOT
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Device, Inventory, Telemetry
from coordinator.protocol.parts import compute_capability_of
from coordinator.workloads.catalogue import KINDS

#: What one inventory carries.
_REMARKS_MAX: Final = 16
_REMARK_CHARS_MAX: Final = 2000
#: The level from which commands run.
_COMMAND_LEVEL: Final = 1
#: Between two looks at the devices' health.
HEALTH_S: Final = 5.0
#: The code of a task that failed by the device's fault, or by ours.
_DEVICE_FAULT: Final = "agent_error"
#: The level at which nothing is left to be said.
_LEVEL_MAX: Final = 2
_log = get_log("agent.machine")


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


class Machine:
    """The devices of this host behind one `Runner`; made by `find`."""

    def __init__(
        self,
        config: AgentConfig,
        gpus: Gpus,
        chosen: Sequence[Device],
        *,
        kernels: str = "agent.kernels",
        import_paths: Sequence[str] = (),
    ) -> None:
        self._config = config
        self._kernels, self._import_paths = kernels, import_paths
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
        self._health = self._new_health()
        self._ends = Bell()
        #: The places that are being tried again.
        self._trying: set[int] = set()

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
        return cls(config, gpus, chosen)

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
        self._runner.on_end = self._heed
        self._health = self._new_health()
        for place, why in self._runner.lost.items():
            self._health[place].stayed_cold(why, trio.current_time())
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
            import_paths=self._import_paths,
        )

    def _new_health(self) -> dict[int, Health]:
        names = {device.uuid: device.name for device in self.devices}
        return {
            number: Health(names[place.device])
            for number, place in enumerate(self._runner.places)
            if place.backend
        }

    async def _start(self) -> SandboxReport:
        probed = self._report = await self._runner.probe()
        self.is_tested = True
        self._say(probed)
        if self._gpus.remark and self._config.devices not in {("cpu",), ("none",)}:
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

    def _inventory(self) -> Inventory:
        open_places = [p for n, p in enumerate(self._runner.places) if n not in self.out()]
        kernels = sum(bool(place.backend) for place in open_places)
        names = {place.device for place in open_places}
        runs_commands = (
            self._config.allow_command
            and self._report.level >= _COMMAND_LEVEL
            and any(place.takes_commands for place in open_places)
        )
        kinds = [kind for kind in KINDS if kind != COMMAND] if kernels else []
        return Inventory(
            devices=[device for device in self.devices if device.uuid in names],
            kinds=[*kinds, COMMAND] if runs_commands else kinds,
            sandbox=self._report.level,
            worker_sandbox=self._report.worker_level,
            slots=max(len(open_places), 1),
            window=min(
                kernels * AGENT_WINDOW_PER_SLOT + len(open_places) - kernels or 1, AGENT_WINDOW_MAX
            ),
            remarks=[remark[:_REMARK_CHARS_MAX] for remark in self.remarks[:_REMARKS_MAX]],
            version=installed_version(),
        )

    # ---- health ---------------------------------------------------------------------------------

    @property
    def places(self) -> Sequence[Place]:
        """Where tasks compute, by number."""
        return self._runner.places

    def out(self) -> dict[int, str]:
        """The places that are out, with the reason."""
        return {n: str(health) for n, health in self._health.items() if not health.works}

    @property
    def report(self) -> SandboxReport:
        """What the self-test found; level 0 before it."""
        return self._report

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the operator should know: devices that are out first."""
        return (*map(as_sentence, self.complaints()), *self._remarks)

    def states(self) -> dict[str, tuple[str, str]]:
        """UUID → state and reason of each device."""
        return {
            self.places[number].device: (health.state, health.reason)
            for number, health in self._health.items()
        }

    def complaints(self) -> list[str]:
        """What is out, a sentence each."""
        return list(dict.fromkeys(self.out().values()))

    def _heed(self, place: int, task: Task, outcome: Outcome) -> None:
        """A kernel's task ended."""
        health = self._health[place]
        if outcome.code == _DEVICE_FAULT:
            health.job_failed(task.job, outcome.detail, trio.current_time())
            self._ends.ring()
        else:
            health.job_ended()

    async def watch(self, tell: Tell) -> None:
        """Look after the devices for ever.

        Args:
            tell: Called with the new inventory, the places that are out and those whose task
                cannot end, whenever a device fell out or came back.
        """
        told: dict[int, State] = {}
        async with trio.open_nursery() as nursery:
            while True:
                await self._look(nursery)
                now = {n: h.state for n, h in self._health.items() if not h.works}
                if now != told:
                    self._say_changes(told, now)
                    told = now
                    gone = [number for number in now if self._health[number].is_gone]
                    tell(self._inventory(), self.out(), gone)
                with trio.move_on_after(HEALTH_S):
                    await self._ends.wait()

    def _say_changes(self, told: Mapping[int, State], now: Mapping[int, State]) -> None:
        for reason in {str(self._health[n]) for n, state in now.items() if told.get(n) != state}:
            _log.error("device out", reason=reason)
        for number in set(told) - set(now):
            _log.info("device back", device=str(self._health[number]))

    async def _look(self, nursery: trio.Nursery) -> None:
        """Read every device; those that are due are tried again, beside this task."""
        readings = await in_thread(self._gpus.readings)
        for number, health in self._health.items():
            reading = readings.get(self.places[number].device)
            if reading is not None:
                health.see(reading, trio.current_time())
            if health.is_due(trio.current_time()) and number not in self._trying:
                self._trying.add(number)
                nursery.start_soon(self._try_again, number, health)

    async def _try_again(self, number: int, health: Health) -> None:
        device = self.places[number].device
        _log.info("device tried again", device=device)
        if health.state == "lost" and not await in_thread(partial(self._gpus.find_again, device)):
            why = "NVML does not find it"
        else:
            why = await self._runner.revive(number)
        if why:
            _log.warning("device still out", device=device, reason=why)
            health.stayed_cold(why, trio.current_time())
        else:
            health.warmed()
        self._trying.discard(number)
        self._ends.ring()

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
