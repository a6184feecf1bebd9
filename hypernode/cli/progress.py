"""Waiting for a job where people see it move: a spinner and a bar on a terminal, else lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hypernode.cli.output import is_terminal, note

if TYPE_CHECKING:
    from hypernode.job import Job
    from hypernode.result import Result


async def follow(job: Job, timeout_s: float | None, *, is_quiet: bool) -> Result:
    """Wait for a job's result and show its states on standard error."""
    if is_quiet:
        return await job.result(timeout_s)
    if not is_terminal(sys.stderr):
        seen: list[str] = []

        def tell() -> None:
            if not seen or seen[-1] != job.state:
                seen.append(job.state)
                note(f"{job.id}: {job.state}")

        job.when_changed(tell)
        return await job.result(timeout_s)
    return await _follow_on_terminal(job, timeout_s)


async def _follow_on_terminal(job: Job, timeout_s: float | None) -> Result:
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
        return await job.result(timeout_s)
