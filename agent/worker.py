"""The runner of this host: a warm worker a device for our own kinds, a jail a command.

In:   tasks, as the session received them (`task.py`).
Out:  outcomes; a job's failure is an outcome, never an exception.
Covered:     a task runs in one free slot; commands only where the operator allowed them and the
             self-test of the sandbox held; where there is none, they are refused, the fix named.
Not covered: which jobs are taken (`client.py`); whether results are true (`verification`).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

import msgspec
import trio

from agent.sandbox.canaries import probe_host
from agent.sandbox.command import CommandResult, is_test_job, run_command
from agent.sandbox.host import Sandbox
from agent.sandbox.level import SandboxReport
from agent.sandbox.limits import JailLimits
from agent.task import Outcome, OutputData, Task
from agent.warm_worker import WarmWorker, failed
from agent.worker_start import WorkerDevice, WorkerPlan
from coordinator.limits import LOG_BYTES_MAX, MIB
from coordinator.log import get_log
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import decode_spec
from coordinator.workloads.command import Command

_NOT_ALLOWED = "this operator does not run commands: start the agent with --allow-command"

_COMMAND = Command()
_log = get_log(__name__)


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
        self._sandbox: Sandbox | None = None
        self._probed = SandboxReport(0, 0)
        #: Those that started, in the order of the slots.
        self._workers: list[WarmWorker] = []
        self._lost: tuple[str, ...] = ()
        self._starting = trio.Lock()
        self._free_in, self._free_out = trio.open_memory_channel[int](self.slots)

    @property
    def report(self) -> SandboxReport:
        """Level of the sandbox and of the workers in it, and what to do for a higher one."""
        levels = [worker.level for worker in self._workers]
        remarks = tuple(worker.remark for worker in self._workers if worker.remark)
        return msgspec.structs.replace(
            self._probed,
            worker_level=min(levels, default=0),
            remarks=self._probed.remarks + remarks + self._lost,
        )

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
            self._probed, self._sandbox = await probe_host(path=self._path)
            workers = [self._make_worker(index) for index in range(len(self._plans))]
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
        else:
            self._workers.append(worker)

    def _make_worker(self, index: int) -> WarmWorker:
        level = self._probed.worker_level
        return WarmWorker(self._plans[index], index, sandbox=self._sandbox, level=level)

    async def run(self, task: Task, *, on_log: Callable[[str], None] | None = None) -> Outcome:
        """Run one task; cancelling the call ends the work at once.

        Args:
            task: What to run.
            on_log: Called with a command's output as it comes, decoded.
        """
        try:
            await self.start()
            params = _params_of(task)
            slot = await self._free_out.receive()
            try:
                if task.kind == "command":
                    return await self._run_command(task, params, slot, on_log)
                return await self._workers[slot].run(task, params)
            finally:
                self._free_in.send_nowait(slot)
        except Refusal as refusal:
            _log.info("task refused", job=task.job, kind=task.kind, code=refusal.code)
            return failed(refusal.code, refusal.sentence)

    async def aclose(self) -> None:
        """End every worker."""
        for worker in self._workers:
            await worker.aclose()

    async def _run_command(
        self, task: Task, params: bytes, slot: int, on_log: Callable[[str], None] | None
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
            sandbox=self._sandbox if self._allow_command else None,
            slot=slot,
            limits=limits,
            fix="; ".join(self._probed.remarks),
            on_output=None if on_log is None else _decoding(on_log),
        )
        return _command_outcome(result)


def _params_of(task: Task) -> bytes:
    spec = decode_spec(task.spec)
    if spec.kind != task.kind:
        raise Refusal("bad_spec", f"the task says {task.kind}, its specification {spec.kind}")
    return bytes(spec.params)


def _decoding(on_log: Callable[[str], None]) -> Callable[[bytes], None]:
    """Text from pieces that may end in the middle of a character."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def take(piece: bytes) -> None:
        if text := decoder.decode(piece):
            on_log(text)

    return take


def _command_outcome(result: CommandResult) -> Outcome:
    """Output 0 of a command is its log, whatever became of it."""
    codes = {"wall": "execution_timeout", "output": "output_too_large", "memory": "out_of_memory"}
    code, detail = "", ""
    if result.killed:
        code = codes[result.killed]
    elif result.exit_status:
        code, detail = "exit_nonzero", f"exit status {result.exit_status}"
    return Outcome(
        status="failed" if code else "completed",
        code=code,
        detail=detail,
        outputs=(OutputData("uint8", (len(result.log),), result.log),),
        root=output_root([result.log]),
        duration_ms=result.duration_ms,
    )
