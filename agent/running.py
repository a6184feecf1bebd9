"""One attempt that computes now, and what the coordinator has not heard of it yet.

Rules:
  1. A log is told at once; that it runs, and how far it is, after `STARTED_AFTER_S`: a job of
     milliseconds costs no message.
  2. Of a log as much is told as is kept (`LOG_BYTES_MAX`), a part in each message.
Not here: the whole log, which is a command's output (`worker.py`).
"""

from __future__ import annotations

import trio

from agent.outbox import AttemptId
from agent.results import clean_text
from agent.status import RunStatus
from agent.task import Task
from coordinator.limits import LOG_BYTES_MAX, LOG_CHARS_PER_MESSAGE, STARTED_AFTER_S
from coordinator.protocol.messages import ProgressItem


class Run:
    """One attempt that computes now."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.attempt: AttemptId = (task.job, task.fence)
        self.scope = trio.CancelScope()
        self.is_given_back = False
        self._started_at = trio.current_time()
        self._logs = ""
        self._log_chars = 0
        self._progress: float | None = None
        #: Whether the session has not heard of `_progress` yet.
        self._has_moved = False

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return trio.current_time() - self._started_at

    def status(self, device: str) -> RunStatus:
        """What its operator sees."""
        return RunStatus(
            place=self.task.place or 0,
            device=device,
            job=self.task.job,
            kind=self.task.kind,
            seconds=self.seconds,
            limit_s=self.task.execution_s,
            progress=self._progress,
        )

    def hear_log(self, text: str) -> None:
        text = clean_text(text)[: max(LOG_BYTES_MAX - self._log_chars, 0)]
        self._logs += text
        self._log_chars += len(text)

    def hear_progress(self, progress: float) -> None:
        self._progress, self._has_moved = min(max(progress, 0.0), 1.0), True

    @property
    def has_news(self) -> bool:
        return self._has_moved or bool(self._logs)

    def news(self, *, is_told: bool) -> ProgressItem | None:
        """What there is to tell now.

        Args:
            is_told: Whether this session knows that it runs.
        """
        is_due = is_told or self.seconds >= STARTED_AFTER_S
        if not (self._logs or (is_due and (self._has_moved or not is_told))):
            return None
        log, self._logs = self._logs[:LOG_CHARS_PER_MESSAGE], self._logs[LOG_CHARS_PER_MESSAGE:]
        self._has_moved = False
        return ProgressItem(*self.attempt, progress=self._progress, log=log)
