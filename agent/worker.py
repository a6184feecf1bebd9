"""The runner of this host: warm workers for our own kinds, a jail a command, zygotes for kernels.

In:   tasks, as the session received them (`task.py`).
Out:  outcomes; a job's failure is an outcome, never an exception.
Covered:     a task runs in one free place; commands only where the operator allowed them and the
             self-test of the sandbox held; where there is none, they are refused, the fix named. A
             command that a limit ended has its log so far, and the limit, in its outcome. No task
             gets more memory than its place's share of the host, whatever it asks for.
Not covered: which jobs are taken (`client.py`); whether results are true (`verification`).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
import trio

from agent.bells import Change
from agent.places import Place
from agent.sandbox.canaries import probe_host
from agent.sandbox.command import CommandResult, is_test_job, run_command
from agent.sandbox.host import Sandbox
from agent.sandbox.level import SandboxReport
from agent.sandbox.limits import OUTPUT_FACTOR, JailLimits
from agent.task import COMMAND, KERNEL, OnLog, OnProgress, Outcome, OutputData, Task
from agent.user_kernels import UserKernels
from agent.warm_worker import WarmWorker, failed
from agent.welcome import as_sentence
from agent.worker_start import WorkerDevice, WorkerPlan
from coordinator.limits import KIB, LOG_BYTES_MAX, MEMORY_MB_MAX, MIB
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import decode_spec
from coordinator.workloads.command import Command

_NOT_ALLOWED = "this operator does not run commands: start the agent with --allow-command"

_COMMAND = Command()


#: Of the host's memory, what all places together may give to tasks: the rest is the system's, and
#: the workers' own.
MEMORY_SHARE: Final = 0.8
#: Hears how a kernel's task ended: the place, the task, its outcome.
OnEnd: TypeAlias = Callable[[int, Task, Outcome], None]


class LocalRunner:
    """Runs tasks on the devices of this host; implements `agent.task.Runner`."""

    def __init__(  # noqa: PLR0913 - facts of a host; made in one place
        self,
        devices: Sequence[WorkerDevice] = (WorkerDevice(),),
        *,
        allow_command: bool = False,
        command_places: int = 0,
        kernels: str = "agent.kernels",
        user_kernels: str = "",
        import_paths: Sequence[str] = (),
        path: str | None = None,
        host_mb: int = 0,
    ) -> None:
        """Nothing is started before `start`, or the first task.

        Args:
            devices: One worker and one place each; a CPU's place takes commands too.
            allow_command: Whether the operator lets strangers' commands run here.
            command_places: Further places, for commands only.
            kernels: The module that the workers import.
            user_kernels: The one that runs strangers' kernels; "" where they are not wanted.
            import_paths: Further folders from which they import.
            path: Where bubblewrap is searched, as in `PATH`.
            host_mb: Memory of this host, MB; 0 if it is not known.
        """
        assert devices or command_places
        paths = tuple(import_paths)
        self._plans = [WorkerPlan(each, kernels, import_paths=paths) for each in devices]
        #: By number: those of the devices first.
        self.places = [_place_of(device) for device in devices]
        self.places += [Place(device="", backend="")] * command_places
        on_cpu = [place for place, each in enumerate(devices) if each.backend == "cpu"]
        self._user_kernels = UserKernels(on_cpu, user_kernels, paths)
        #: What one task may take at most, MB: a specification may ask for more than there is.
        self._memory_mb_max = int(host_mb * MEMORY_SHARE / len(self.places)) or MEMORY_MB_MAX
        self._allow_command = allow_command
        self._path = path
        self.sandbox: Sandbox | None = None
        self._probed: SandboxReport | None = None
        #: By place: those that started.
        self._workers: dict[int, WarmWorker] = {}
        #: By place: why its worker does not start.
        self.lost: dict[int, str] = {}
        self._is_started = False
        self._starting = trio.Lock()
        self._free = set(range(len(self.places)))
        self._freed = Change()
        self.on_end: OnEnd | None = None

    @property
    def slots(self) -> int:
        """Tasks that compute at the same time."""
        return len(self.places) - len(self.lost)

    @property
    def report(self) -> SandboxReport:
        """Level of the sandbox and of the workers in it, and what to do for a higher one."""
        probed = self._probed or SandboxReport(0, 0)
        levels = [worker.level for worker in self._workers.values()]
        remarks = tuple(worker.remark for worker in self._workers.values() if worker.remark)
        return SandboxReport(
            probed.level,
            worker_level=min(levels, default=0),
            remarks=tuple(map(as_sentence, (*probed.remarks, *remarks, *self._complaints()))),
        )

    @property
    def runs_user_kernels(self) -> bool:
        """Whether strangers' kernels run here."""
        return self._user_kernels.is_running

    def _complaints(self) -> list[str]:
        kernels = [self._user_kernels.remark] if self._user_kernels.remark else []
        return kernels + [
            f"the worker of {self._plans[place].device.backend}: {why}"
            for place, why in self.lost.items()
        ]

    async def probe(self) -> SandboxReport:
        """Test the sandbox, once; half a second."""
        if self._probed is None:
            self._probed, self.sandbox = await probe_host(path=self._path)
        remarks = tuple(map(as_sentence, self._probed.remarks))
        return SandboxReport(self._probed.level, self._probed.worker_level, remarks)

    async def start(self) -> SandboxReport:
        """Test the sandbox, start the workers, wait until they are warm; once.

        A device whose worker does not start is left out, and a remark says why.

        Raises:
            Refusal: `agent_error` if no worker starts; a later call tries again.
        """
        async with self._starting:
            if self._is_started:
                return self.report
            self.lost = {}
            await self.probe()
            async with trio.open_nursery() as nursery:
                for place in range(len(self._plans)):
                    nursery.start_soon(self.revive, place)
                level = self._probed.worker_level if self._probed is not None else 0
                nursery.start_soon(self._user_kernels.start, self.sandbox, level)
            if self._plans and not self._workers:
                raise Refusal("agent_error", "; ".join(self._complaints()))
            self._is_started = True
        return self.report

    async def revive(self, place: int) -> str:
        """Start the worker of a place anew; returns why it does not start, or nothing."""
        assert self._probed is not None, "the sandbox is tested first"
        worker = WarmWorker(
            self._plans[place], place, sandbox=self.sandbox, level=self._probed.worker_level
        )
        try:
            if (before := self._workers.pop(place, None)) is not None:
                await before.aclose()
            await worker.ready()
        except Refusal as refusal:
            self.lost[place] = refusal.sentence
            await worker.aclose()
            return refusal.sentence
        except trio.Cancelled:
            await worker.aclose()
            raise
        self._workers[place] = worker
        self.lost.pop(place, None)
        return ""

    async def run(
        self,
        task: Task,
        *,
        on_log: OnLog | None = None,
        on_progress: OnProgress | None = None,
    ) -> Outcome:
        """Run one task; cancelling the call ends the work at once.

        Args:
            task: What to run; one without a place gets the first that is free.
            on_log: Called with a command's output as it comes, decoded.
            on_progress: Called about twice a second with how far a task of our own kinds is.
        """
        try:
            await self.start()
            params = _params_of(task)
            task = self._within_host(task)
            place = await self._claim(task)
            try:
                if task.kind == COMMAND:
                    return await self._run_command(task, params, place, on_log)
                return await self._run_kernel(task, params, place, on_progress)
            finally:
                self._free.add(place)
                self._freed.ring()
        except Refusal as refusal:
            return failed(refusal.code, refusal.sentence)

    def _within_host(self, task: Task) -> Task:
        """The task with no more memory than its place's share of this host."""
        if task.memory_mb <= self._memory_mb_max:
            return task
        return msgspec.structs.replace(task, memory_mb=self._memory_mb_max)

    async def _claim(self, task: Task) -> int:
        """A free place, busy from now on."""
        while True:
            chosen = range(len(self.places)) if task.place is None else (task.place,)
            for place in chosen:
                if place in self._free and self._takes(place, task):
                    self._free.remove(place)
                    return place
            if not any(self._takes(place, task) for place in chosen):
                raise Refusal("agent_error", "no device of this host takes this job now")
            await self._freed.wait()

    def _takes(self, place: int, task: Task) -> bool:
        if place in self.lost or not self.places[place].takes(task):
            return False
        return task.kind != KERNEL or self._user_kernels.takes(place)

    async def aclose(self) -> None:
        """End every worker."""
        await self._user_kernels.aclose()
        for worker in self._workers.values():
            await worker.aclose()

    async def _run_kernel(
        self, task: Task, params: bytes, place: int, on_progress: OnProgress | None
    ) -> Outcome:
        if task.kind == KERNEL:
            return await self._user_kernels.run(place, task, params, on_progress)
        try:
            outcome = await self._workers[place].run(task, params, on_progress)
        except Refusal as refusal:
            outcome = failed(refusal.code, refusal.sentence)
        if self.on_end is not None:
            self.on_end(place, task, outcome)
        return outcome

    async def _run_command(
        self, task: Task, params: bytes, place: int, on_log: OnLog | None
    ) -> Outcome:
        command = _COMMAND.decode(params).command
        if not self._allow_command and not is_test_job(command):
            raise Refusal("sandbox_unavailable", _NOT_ALLOWED)
        limits = JailLimits(
            execution_s=task.execution_s,
            memory_bytes=task.memory_mb * MIB,
            log_bytes=min(LOG_BYTES_MAX, task.output_bytes),
        )
        result = await run_command(
            command,
            # Without permission nothing but the test job comes here, and it needs no shell.
            sandbox=self.sandbox if self._allow_command else None,
            slot=place,
            limits=limits,
            fix=" ".join(self.report.remarks),
            on_output=None if on_log is None else _decoding(on_log),
        )
        return _command_outcome(result, limits)


def _place_of(device: WorkerDevice) -> Place:
    is_cpu = device.backend != "cuda"
    return Place(
        device="cpu" if is_cpu else device.uuid,
        backend="cpu" if is_cpu else "cuda",
        memory_mb=device.memory_mb,
        compute_capability=0 if is_cpu else device.compute_capability,
        takes_commands=is_cpu,
        takes_kernels=is_cpu,
    )


def _params_of(task: Task) -> bytes:
    spec = decode_spec(task.spec)
    if spec.kind != task.kind:
        raise Refusal("bad_spec", f"the task says {task.kind}, its specification {spec.kind}")
    return bytes(spec.params)


def _decoding(on_log: OnLog) -> Callable[[bytes], None]:
    """Text from pieces that may end in the middle of a character."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def take(piece: bytes) -> None:
        if text := decoder.decode(piece):
            on_log(text)

    return take


def _command_outcome(result: CommandResult, limits: JailLimits) -> Outcome:
    """Output 0 of a command is its log, whatever became of it."""
    code, detail = _why_failed(result, limits)
    return Outcome(
        status="failed" if code else "completed",
        code=code,
        detail=detail,
        outputs=(OutputData("uint8", (len(result.log),), result.log),),
        root=output_root([result.log]),
        duration_ms=result.duration_ms,
    )


def _why_failed(result: CommandResult, limits: JailLimits) -> tuple[str, str]:
    """Code and detail of a command that failed; both empty if it did not."""
    match result.killed:
        case "wall":
            return "execution_timeout", f"ended after {limits.execution_s:g} s, its limit"
        case "memory":
            return "out_of_memory", f"used more than {_size(limits.memory_bytes)}, its limit"
        case "output":
            detail = (
                f"wrote more than {_size(OUTPUT_FACTOR * limits.log_bytes)} "
                f"(kept the first {_size(limits.log_bytes)})"
            )
            return "output_too_large", detail
    if result.exit_status:
        return "exit_nonzero", f"exit status {result.exit_status}"
    return "", ""


def _size(size: int) -> str:
    """A limit as people say it."""
    if size >= MIB and size % MIB == 0:
        return f"{size // MIB} MiB"
    return f"{size // KIB} KiB" if size >= KIB and size % KIB == 0 else f"{size} bytes"
