"""The runner of this host: a warm worker a device for our own kinds, a jail a command.

In:   tasks, as the session received them (`task.py`).
Out:  outcomes; a job's failure is an outcome, never an exception.
Covered:     a task runs in one free slot; commands only where the operator allowed them and the
             self-test of the sandbox held; where there is none, they are refused, the fix named. A
             command that a limit ended has its log so far, and the limit, in its outcome.
Not covered: which jobs are taken (`client.py`); whether results are true (`verification`).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

import trio

from agent.sandbox.canaries import probe_host
from agent.sandbox.command import CommandResult, is_test_job, run_command
from agent.sandbox.host import Sandbox
from agent.sandbox.level import SandboxReport
from agent.sandbox.limits import OUTPUT_FACTOR, JailLimits
from agent.task import OnLog, OnProgress, Outcome, OutputData, Task
from agent.warm_worker import WarmWorker, failed
from agent.welcome import as_sentence
from agent.worker_start import WorkerDevice, WorkerPlan
from coordinator.limits import KIB, LOG_BYTES_MAX, MIB
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import decode_spec
from coordinator.workloads.command import Command

_NOT_ALLOWED = "this operator does not run commands: start the agent with --allow-command"

_COMMAND = Command()


class LocalRunner:
    """Runs tasks on the devices of this host; implements `agent.task.Runner`."""

    def __init__(
        self,
        devices: Sequence[WorkerDevice] = (WorkerDevice(),),
        *,
        allow_command: bool = False,
        kernels: str = "agent.kernels",
        import_paths: Sequence[str] = (),
        path: str | None = None,
    ) -> None:
        """Nothing is started before `start`, or the first task.

        Args:
            devices: One worker and one slot each.
            allow_command: Whether the operator lets strangers' commands run here.
            kernels: The module that the workers import.
            import_paths: Further folders from which they import.
            path: Where bubblewrap is searched, as in `PATH`.
        """
        assert devices
        #: Tasks that compute at the same time.
        self.slots = len(devices)
        self._plans = [WorkerPlan(device, kernels, tuple(import_paths)) for device in devices]
        self._allow_command = allow_command
        self._path = path
        self.sandbox: Sandbox | None = None
        self._probed: SandboxReport | None = None
        #: Those that started, in the order of the slots.
        self._workers: list[WarmWorker] = []
        self._lost: tuple[str, ...] = ()
        self._starting = trio.Lock()
        self._free_in, self._free_out = trio.open_memory_channel[int](self.slots)

    @property
    def report(self) -> SandboxReport:
        """Level of the sandbox and of the workers in it, and what to do for a higher one."""
        probed = self._probed or SandboxReport(0, 0)
        levels = [worker.level for worker in self._workers]
        remarks = tuple(worker.remark for worker in self._workers if worker.remark)
        return SandboxReport(
            probed.level,
            worker_level=min(levels, default=0),
            remarks=tuple(map(as_sentence, (*probed.remarks, *remarks, *self._lost))),
        )

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
            if self._workers:
                return self.report
            self._lost = ()
            level = (await self.probe()).worker_level
            workers = [
                WarmWorker(plan, index, sandbox=self.sandbox, level=level)
                for index, plan in enumerate(self._plans)
            ]
            async with trio.open_nursery() as nursery:
                for worker in workers:
                    nursery.start_soon(self._warm, worker)
            if not self._workers:
                raise Refusal("agent_error", "; ".join(self._lost))
            self.slots = len(self._workers)
            for slot in range(self.slots):
                self._free_in.send_nowait(slot)
        return self.report

    async def _warm(self, worker: WarmWorker) -> None:
        try:
            await worker.ready()
        except Refusal as refusal:
            self._lost += (f"the worker of {worker.device.backend}: {refusal.sentence}",)
            await worker.aclose()
        except trio.Cancelled:
            await worker.aclose()
            raise
        else:
            self._workers.append(worker)

    async def run(
        self,
        task: Task,
        *,
        on_log: OnLog | None = None,
        on_progress: OnProgress | None = None,
    ) -> Outcome:
        """Run one task; cancelling the call ends the work at once.

        Args:
            task: What to run.
            on_log: Called with a command's output as it comes, decoded.
            on_progress: Called about twice a second with how far a task of our own kinds is.
        """
        try:
            await self.start()
            params = _params_of(task)
            slot = await self._free_out.receive()
            try:
                if task.kind == "command":
                    return await self._run_command(task, params, slot, on_log)
                return await self._workers[slot].run(task, params, on_progress)
            finally:
                self._free_in.send_nowait(slot)
        except Refusal as refusal:
            return failed(refusal.code, refusal.sentence)

    async def aclose(self) -> None:
        """End every worker."""
        for worker in self._workers:
            await worker.aclose()

    async def _run_command(
        self, task: Task, params: bytes, slot: int, on_log: OnLog | None
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
            slot=slot,
            limits=limits,
            fix=" ".join(self.report.remarks),
            on_output=None if on_log is None else _decoding(on_log),
        )
        return _command_outcome(result, limits)


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
