"""Waiting for a job where people see it move: a spinner and a bar on a terminal, else lines."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hypernode.cli.exit import Interrupted
from hypernode.cli.output import is_terminal, note

if TYPE_CHECKING:
    from hypernode.job import Job


class GoingOn:
    """A context that says, where waiting ends early, that the job goes on without us."""

    def __init__(self, job: str = "") -> None:
        #: The job; "" until it is submitted.
        self.job = job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from hypernode.errors import Timeout, Unreachable

        if self.job and isinstance(error, Interrupted | Timeout | Unreachable):
            error.job = self.job
            note(
                f"{self.job} goes on: `hypernode jobs wait {self.job}` waits for it, "
                f"`hypernode jobs cancel {self.job}` stops it"
            )


async def follow(job: Job, timeout_s: float | None, *, is_quiet: bool) -> None:
    """Wait for a job's end and show its states on standard error.

    Raises:
        Timeout: `timeout_s` is over; the job goes on.
        Unreachable: the coordinator stayed away too long; the job goes on.
    """
    if not is_quiet and is_terminal(sys.stderr):
        await _follow_on_terminal(job, timeout_s)
        return
    seen: list[str] = []

    def tell() -> None:
        if not seen or seen[-1] != job.state:
            seen.append(job.state)
            note(f"{job.id}: {job.state}")

    if not is_quiet:
        job.when_changed(tell)
    await job.wait(timeout_s)


async def _follow_on_terminal(job: Job, timeout_s: float | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{job.id} {job.state}", total=None)

        def show() -> None:
            done = job.progress
            total = None if done is None else 1.0
            progress.update(
                task, description=f"{job.id} {job.state}", total=total, completed=done or 0.0
            )

        job.when_changed(show)
        await job.wait(timeout_s)
