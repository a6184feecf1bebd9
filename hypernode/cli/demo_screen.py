"""The demo as people see it: a moving table on a terminal, lines in a pipe, JSON for programs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import typer

from hypernode.cli.exit import Exit, Interrupted
from hypernode.cli.output import FOLDING, is_terminal, note, print_json, print_table, table_of
from hypernode.cli.run import run_command
from hypernode.demo import Report, Row, run_demo

COLUMNS = ("Job", "Status", "Result", "Paid", "Checked", "Agent")
#: Columns of a terminal from which on a row has one line.
_WIDE: Final = 112
#: What the column *Checked* says.
_CHECKED = (
    "Checked: so many blocks of the result, drawn at random once it was fixed, were computed again "
    "before it was paid. A command cannot be: it is paid by its time."
)


def show_demo(directory: Path | None, output: Path, *, cpu_only: bool, as_json: bool) -> int:
    """Run the demo and show it; the exit status of the command."""
    folder = directory.absolute() if directory else Path(tempfile.mkdtemp(prefix="hypernode-demo-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    try:
        with _screen(as_json=as_json) as tell:
            report = run_command(partial(run_demo, folder, output, cpu_only=cpu_only, tell=tell))
    except Interrupted:
        if directory is None:
            shutil.rmtree(folder)
        raise
    if report.is_good and directory is None:
        shutil.rmtree(folder)  # keys and logs that nobody asked for
        report.folder = None
    if as_json:
        print_json(report)
    else:
        _print_summary(report)
    if report.is_good:
        return Exit.OK
    note(f"logs: {folder}")
    return Exit.JOB_FAILED if report.ledger_balanced else Exit.FAILED


@contextmanager
def _screen(*, as_json: bool) -> Iterator[Callable[[Report], None]]:
    """What to call at each change."""
    if as_json or not is_terminal(sys.stderr):
        yield _Lines().tell
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield lambda report: live.update(_picture(report), refresh=True)


class _Lines:
    """One line on standard error for each change."""

    def __init__(self) -> None:
        #: The last thing said of each subject.
        self._said: dict[str, str] = {}

    def tell(self, report: Report) -> None:
        now = {"": report.phase}
        now |= {f"{row.kind} ({row.what}): ": row.status for row in report.jobs if row.id}
        for subject, state in now.items():
            if self._said.get(subject) != state:
                self._said[subject] = state
                note(f"{report.seconds:6.2f} s  {subject}{state}")


def _cells(row: Row) -> tuple[str, ...]:
    return f"{row.kind} {row.what}", row.status, row.result, row.paid, row.verified, row.agent


def _table(report: Report) -> Any:
    """For a terminal: on a narrow one each row has two lines, parted where that reads well."""
    rows = [_cells(row) for row in report.jobs]
    if shutil.get_terminal_size().columns < _WIDE:
        rows = [
            (job.replace(" ", "\n", 1), status, result.replace(" (", "\n("), *more)
            for job, status, result, *more in rows
        ]
    return table_of(COLUMNS, rows, folding={*FOLDING, "Job"})


def _picture(report: Report) -> Any:
    from rich.console import Group
    from rich.text import Text

    head = Text(f"{report.phase} … {report.seconds:.0f} s", style="bold")
    return Group(head, _table(report))


def _print_summary(report: Report) -> None:
    if is_terminal():
        from rich.console import Console

        Console().print(_table(report), crop=False)
    else:
        print_table(COLUMNS, [_cells(row) for row in report.jobs])
    typer.echo(_CHECKED)
    for name in report.agents:
        typer.echo(name)
    typer.echo(
        f"spent {report.spent} HYPER (the fee of {report.fees} is part of it), "
        f"receipts over {report.receipts} HYPER"
    )
    claim = report.claim
    if claim.skipped:
        typer.echo(f"no claim on a chain: {claim.skipped}")
    else:
        typer.echo(
            f"claimed on the chain by {claim.wallet}: {claim.before} HYPER before, {claim.after} "
            f"after ({claim.signature})"
        )
    for fault in report.faults:
        typer.echo(f"fault: {fault}")
    balance = "the books balance" if report.ledger_balanced else "THE BOOKS DO NOT BALANCE"
    typer.echo(f"{balance}; {report.seconds:.1f} s in all")
