"""Strangers' kernels on this host: a zygote for each place on the processor.

In:   tasks of the kind `kernel`, each at its place.
Out:  outcomes.
Rules:
  1. They run inside a sandbox or not at all: a zygote that does not start there is a remark, and
     this host announces no kernels.
  2. A place runs one task at a time, a kernel or one of our own kinds.
Not covered: GPUs: a kernel runs on the processor here, also where there is one.
Not here: the zygote (`zygote_process.py`), its life (`warm_worker.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import trio

from agent.sandbox.host import Sandbox
from agent.task import OnProgress, Outcome, Task
from agent.warm_worker import WarmWorker
from agent.worker_start import WorkerDevice, WorkerPlan
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal

#: The module that compiles and runs them.
MODULE: Final = "agent.kernels.user_jobs"
#: Zygotes' uids begin so far behind those of the warm workers; beyond it places run no kernels.
_FIRST_SLOT: Final = 45

_log = get_log(__name__)


class UserKernels:
    """The zygotes of a host."""

    def __init__(self, places: Collection[int], module: str, import_paths: Sequence[str]) -> None:
        """Nothing is started yet.

        Args:
            places: Numbers of the places on the processor.
            module: What a zygote imports; "" where no kernels are to run.
            import_paths: Further folders from which it imports.
        """
        self._plan = WorkerPlan(
            WorkerDevice(),
            kernels=module,
            process="agent.zygote_process",
            import_paths=tuple(import_paths),
        )
        self._wanted = [place for place in places if place < _FIRST_SLOT] if module else []
        self._zygotes: dict[int, WarmWorker] = {}
        #: Why there are none, for the operator; "" where there are, or none are wanted.
        self.remark = ""

    @property
    def is_running(self) -> bool:
        """Whether kernels run here."""
        return bool(self._zygotes)

    def takes(self, place: int) -> bool:
        """Whether a kernel can run at this place."""
        return place in self._zygotes

    async def start(self, sandbox: Sandbox | None, level: int) -> None:
        """Start a zygote at each place, and wait until it is warm.

        Args:
            sandbox: What this host offers.
            level: The level at which workers run in it.
        """
        if not self._wanted:
            return
        if sandbox is None or not level:
            self.remark = "kernels of others do not run here: they need a sandbox"
            return
        async with trio.open_nursery() as nursery:
            for place in self._wanted:
                nursery.start_soon(self._start_one, place, sandbox, level)

    async def _start_one(self, place: int, sandbox: Sandbox, level: int) -> None:
        zygote = WarmWorker(self._plan, _FIRST_SLOT + place, sandbox=sandbox, level=level)
        try:
            await zygote.ready()
            why = "" if zygote.level else zygote.remark
        except Refusal as refusal:
            why = refusal.sentence
        except trio.Cancelled:
            await zygote.aclose()
            raise
        if not why:
            self._zygotes[place] = zygote
            return
        self.remark = f"kernels of others do not run here: {why}"
        _log.warning("no zygote", place=place, reason=why)
        await zygote.aclose()

    async def run(
        self, place: int, task: Task, params: bytes, on_progress: OnProgress | None
    ) -> Outcome:
        """Run one task at its place."""
        return await self._zygotes[place].run(task, params, on_progress)

    async def aclose(self) -> None:
        """End every zygote."""
        for zygote in self._zygotes.values():
            await zygote.aclose()
