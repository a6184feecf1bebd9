"""A bell for one task: it waits until it is rung, and a ring that nobody waited for is not lost.

Why not `trio.Event`: one is made for each wait, and each wakes a parking lot; this is a tenth of
that, twenty times a job.
Not covered: more than one task that waits; rings from another thread.
"""

from __future__ import annotations

import trio


class Bell:
    """Rung by whoever has something, heard by one task."""

    __slots__ = ("_is_rung", "_task")

    def __init__(self) -> None:
        self._is_rung = False
        self._task: trio.lowlevel.Task | None = None

    def ring(self) -> None:
        """Wake the task that waits, or let its next wait return at once."""
        task = self._task
        if task is None:
            self._is_rung = True
        else:
            self._task = None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Return once the bell was rung since the last wait.

        No checkpoint where it was rung already: whoever comes back for more without doing anything
        that rings finds it silent, and waits.
        """
        if self._is_rung:
            self._is_rung = False
            return
        assert self._task is None, "one task hears a bell"
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
