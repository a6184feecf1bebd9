"""Waiting for a job where people see it move: a spinner and a bar on a terminal, else lines."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from hypernode.cli.exit import Interrupted
from hypernode.cli.output import harmless, is_terminal, note

if TYPE_CHECKING:
    from hypernode.answers import LogPart
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


def _state_text(state: str, progress: float | None) -> str:
    """A state, and how far it is in steps of ten: lines in a file are to be few."""
    tens = int((progress or 0.0) * 10) * 10
    return f"{state}, {tens} %" if state == "running" and tens else state


def _json_of(part: LogPart) -> bytes:
    import msgspec

    return msgspec.json.encode(part)


class LogScreen:
    """A log as it comes on standard output; the job's states on standard error."""

    def __init__(self, job: str, *, as_json: bool) -> None:
        self._job = job
        self._as_json = as_json
        self._state = ""
        self._is_mid_line = False
        self._is_empty = True

    def note_part(self, part: LogPart) -> None:
        """A part came; a program gets it whole, on a line of its own."""
        if self._as_json:
            typer.echo(_json_of(part))
            return
        state = _state_text(part.status, part.progress)
        if state != self._state:
            self._state = state
            note(f"{self._job}: {state}")

    def write(self, text: str) -> None:
        """More of the log."""
        if not self._as_json and text:
            sys.stdout.write(harmless(text))
            sys.stdout.flush()
            self._is_mid_line, self._is_empty = not text.endswith("\n"), False

    def end(self) -> None:
        """Nothing more comes: the next prompt begins a line of its own."""
        if self._is_mid_line and is_terminal():
            typer.echo()
        if self._is_empty and not self._as_json:
            note("it has said nothing" + ("" if self._state == "completed" else " so far"))


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
        now = _state_text(job.state, job.progress)
        if not seen or seen[-1] != now:
            seen.append(now)
            note(f"{job.id}: {now}")

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
