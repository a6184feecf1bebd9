"""One device's warm worker, seen from the agent: started, asked, ended, started again.

Covered:     time and output of a task; memory where the sandbox has a cgroup; a crash fails the one
             task and costs a new worker, later each time it happens in a row; a task that is
             cancelled, or out of time, is asked to end after its current launch, so that the worker
             stays warm; one that does not within `STOP_GRACE_S` is killed with its worker.
Not covered: memory of the device; a worker stuck in a driver (its process stays until the driver
             lets go); without a cgroup, memory of the host.
The worker runs in a jail; where that fails on this host (CUDA may), it runs our own kinds plainly,
at level 0, and `remark` says so.
"""

from __future__ import annotations

import os
from typing import Final

import trio

from agent.frames import (
    CancelHeader,
    InputHeader,
    ReplyHeader,
    ReplyReader,
    TaskHeader,
    WorkerGone,
    head,
)
from agent.sandbox.host import Sandbox
from agent.sandbox.jail import Jail
from agent.task import InputData, OnProgress, Outcome, OutputData, Task
from agent.worker_start import WorkerPlan, start_worker
from coordinator.limits import MIB
from coordinator.log import get_log
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import CODES, Refusal

#: Time to import and compile: half a second for NumPy, some for Numba, many for a cold CUDA driver.
_WARM_S: Final = 120.0
#: Wait after a crash, doubling with each one in a row.
_RESTART_FIRST_S: Final = 0.1
_RESTART_MAX_S: Final = 30.0
#: What the worker may take beyond a task's memory: temporary copies on the way out.
_SLACK_BYTES: Final = 64 * MIB
#: Time for a task to end after its current launch: some 50 ms of a CPU, 0.2 s of a GPU.
STOP_GRACE_S: Final = 0.5
#: Workers' uids begin here in the pool, above those of the slots for commands.
_FIRST_SLOT: Final = 90
_COMPLAINT_BYTES: Final = 4096
#: One read of an input's file: the agent holds no more of it.
_PIECE_BYTES: Final = 1 * MIB

_log = get_log(__name__)


def failed(code: str, detail: str = "", *, duration_ms: int = 0) -> Outcome:
    """The outcome of a task that failed without outputs."""
    root = output_root(())
    return Outcome("failed", code, detail or CODES[code][0], root=root, duration_ms=duration_ms)


class WarmWorker:
    """The worker of one device; one task at a time."""

    def __init__(
        self,
        plan: WorkerPlan,
        index: int,
        *,
        sandbox: Sandbox | None,
        level: int,
    ) -> None:
        self._plan = plan
        self.device = plan.device
        self._slot = _FIRST_SLOT + index
        self._sandbox = sandbox if level else None
        #: Level of the sandbox around it.
        self.level = level if sandbox is not None else 0
        #: Why the level is lower than the host's, with what to do; empty if it is not.
        self.remark = ""
        self._jail: Jail | None = None
        self._replies: ReplyReader | None = None
        self._complaints = os.memfd_create("worker-stderr")
        self._is_ready = False
        self._was_ready = False
        self._is_closed = False
        #: Whether a task was sent whole whose reply has not come.
        self._is_asked = False
        self._crashes = 0
        self._not_before = 0.0
        self._base_bytes = 0

    async def ready(self) -> None:
        """Start it if need be and wait until it has warmed up.

        Raises:
            Refusal: `agent_error` or `sandbox_unavailable`: it does not start here.
        """
        try:
            await self._warm_up()
        except (WorkerGone, Refusal) as error:
            if self._was_ready or self._sandbox is None:
                raise Refusal("agent_error", f"the worker did not start: {error}") from error
            self.remark = (
                f"the worker of {self.device.backend} does not start inside the sandbox and runs "
                f"our own kinds without one: {error}"
            )
            self._sandbox, self.level, self._crashes = None, 0, 0
            await self.ready()

    async def run(
        self, task: Task, params: bytes, on_progress: OnProgress | None = None
    ) -> Outcome:
        """Run one task; cancelling the call ends the work at once.

        Raises:
            Refusal: The worker does not start.
        """
        await self.ready()
        is_usable = False
        try:
            with trio.move_on_after(task.execution_s):
                outcome = await self._ask(task, params, on_progress)
                is_usable, self._crashes = True, 0
                return outcome
            is_usable = await self._stop(task)
            detail = f"ended after {task.execution_s:g} s, its limit"
            return failed("execution_timeout", detail, duration_ms=int(task.execution_s * 1000))
        except WorkerGone as gone:
            return await self._explain(task, gone)
        except trio.Cancelled:
            is_usable = await self._stop(task)
            raise
        finally:
            if not is_usable:
                await self._replace()

    async def aclose(self) -> None:
        """End the worker."""
        if not self._is_closed:
            self._is_closed = True
            await self._end()
            os.close(self._complaints)

    # ---- one task -----------------------------------------------------------------------------

    async def _ask(self, task: Task, params: bytes, on_progress: OnProgress | None) -> Outcome:
        jail, replies = self._jail, self._replies
        assert jail is not None
        assert jail.input is not None
        assert replies is not None
        if jail.cgroup is not None:
            # A bound below what the worker holds is not taken by the kernel: then the last one
            # stays, which was another task's.
            jail.cgroup.bound_memory(self._base_bytes + task.memory_mb * MIB)
        request = _header(task, len(params))
        try:
            await jail.input.send_all(head(request) + params)
            for each in task.inputs:
                await _send_input(jail.input, each)
        except trio.BrokenResourceError as error:
            raise WorkerGone(str(error)) from error
        self._is_asked = True
        header, data = await replies.read(task.output_bytes, on_progress)
        self._is_asked = False
        return _outcome(header, data)

    async def _stop(self, task: Task) -> bool:
        """Ask the task to end; whether the worker may serve the next one."""
        jail, replies = self._jail, self._replies
        if not self._is_asked or jail is None or jail.input is None or replies is None:
            return False
        with trio.move_on_after(STOP_GRACE_S, shield=True):
            try:
                await jail.input.send_all(head(CancelHeader()))
                # The reply of a task that ended meanwhile will do as well.
                await replies.read(task.output_bytes)
            except (WorkerGone, trio.BrokenResourceError) as error:
                _log.info("worker ended while it was to stop", job=task.job, reason=str(error))
                return False
            self._is_asked, self._crashes = False, 0
            return True
        return False

    async def _explain(self, task: Task, gone: WorkerGone) -> Outcome:
        """A crash: the task failed, by its memory or by us."""
        jail = self._jail
        assert jail is not None
        self._crashes += 1
        ending = await jail.end()
        _log.warning(
            "worker ended in a task",
            job=task.job,
            kind=task.kind,
            reason=str(gone),
            out_of_memory=ending.out_of_memory,
            complaint=self._complaint(),
        )
        if ending.out_of_memory:
            return failed("out_of_memory", f"used more than {task.memory_mb} MiB, its limit")
        return failed("worker_crashed", "the worker ended in the middle of the task")

    # ---- its life -----------------------------------------------------------------------------

    async def _warm_up(self) -> None:
        if self._jail is None:
            await trio.sleep_until(max(self._not_before, trio.current_time()))
            self._start()
        if self._is_ready:
            return
        assert self._jail is not None
        assert self._replies is not None
        try:
            with trio.fail_after(_WARM_S):
                await self._replies.read(0)
        except (WorkerGone, trio.TooSlowError) as error:
            await self._jail.wait_briefly()
            complaint = self._complaint() or str(error)
            self._crashes += 1
            await self._end()
            self._back_off()
            raise WorkerGone(complaint) from error
        self._is_ready = self._was_ready = True
        if self._jail.cgroup is not None:
            self._base_bytes = self._jail.cgroup.used_bytes() + _SLACK_BYTES

    def _start(self) -> None:
        os.ftruncate(self._complaints, 0)
        os.lseek(self._complaints, 0, os.SEEK_SET)
        self._jail = start_worker(
            self._plan, sandbox=self._sandbox, slot=self._slot, stderr=self._complaints
        )
        self._replies = ReplyReader(self._jail.output)

    async def _replace(self) -> None:
        """End the worker and let the next one warm up before the next task asks for it."""
        await self._end()
        self._back_off()
        if self._is_closed or self._crashes:
            return
        try:
            self._start()
        except Refusal as refusal:
            _log.warning("worker not restarted; the next task tries again", reason=str(refusal))

    def _back_off(self) -> None:
        wait_s = _RESTART_FIRST_S * 2.0 ** (self._crashes - 1) if self._crashes else 0.0
        self._not_before = trio.current_time() + min(wait_s, _RESTART_MAX_S)

    async def _end(self) -> None:
        jail, self._jail, self._is_ready = self._jail, None, False
        self._is_asked = False
        if jail is not None:
            await jail.end()

    def _complaint(self) -> str:
        """The end of what it wrote to standard error: the last line of a trace."""
        size = os.fstat(self._complaints).st_size
        tail = os.pread(self._complaints, _COMPLAINT_BYTES, max(0, size - _COMPLAINT_BYTES))
        lines = tail.decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""


def _header(task: Task, data_bytes: int) -> TaskHeader:
    return TaskHeader(
        task.kind,
        task.output_bytes,
        data_bytes,
        inputs=tuple([InputHeader(i.name, i.dtype, i.shape, i.size) for i in task.inputs]),
        memory_bytes=task.memory_mb * MIB,
        execution_s=task.execution_s,
    )


async def _send_input(pipe: trio.lowlevel.FdStream, each: InputData) -> None:
    """An input's data, a piece at a time: the worker sees bytes, and no path of this host.

    Raises:
        Refusal: `input_unavailable` if its file cannot be read.
    """
    if each.data is not None:
        await pipe.send_all(each.data)
        return
    left = each.size
    try:
        async with await trio.open_file(each.path, "rb") as file:
            while left and (piece := await file.read(min(left, _PIECE_BYTES))):
                await pipe.send_all(piece)
                left -= len(piece)
    except OSError as error:
        raise Refusal("input_unavailable", f"input {each.name}: {error.strerror}") from error
    if left:
        raise Refusal("input_unavailable", f"input {each.name}: its file is too short")


def _outcome(header: ReplyHeader, data: memoryview) -> Outcome:
    if header.status != "completed":
        code = header.code if header.code in CODES else "agent_error"
        return failed(code, header.detail, duration_ms=header.duration_ms)
    outputs = []
    start = 0
    for output in header.outputs:
        piece = bytes(data[start : start + output.data_bytes])
        outputs.append(OutputData(output.dtype, output.shape, piece))
        start += output.data_bytes
    if start != len(data):
        detail = "outputs and data do not agree"
        raise WorkerGone(detail)
    return Outcome(
        "completed",
        outputs=tuple(outputs),
        root=bytes.fromhex(header.root),
        duration_ms=header.duration_ms,
    )
