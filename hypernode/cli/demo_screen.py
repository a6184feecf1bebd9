"""The demo as people see it: a moving table on a terminal, lines in a pipe, JSON for programs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import typer

from hypernode.children import ChildFailed
from hypernode.cli.exit import Exit
from hypernode.cli.output import is_terminal, note, print_json, print_table, table_of
from hypernode.cli.run import run_command
from hypernode.demo import Report, Row, run_demo

COLUMNS = ("Job", "Status", "Result", "Paid", "Verified", "Agent")


def show_demo(directory: Path | None, output: Path, *, cpu_only: bool, as_json: bool) -> int:
    """Run the demo and show it; the exit status of the command."""
    folder = directory.absolute() if directory else Path(tempfile.mkdtemp(prefix="hypernode-demo-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    with _screen(as_json=as_json) as tell:
        try:
            report = run_command(partial(run_demo, folder, output, cpu_only=cpu_only, tell=tell))
        except ChildFailed as error:
            note(f"error: {error}")
            return Exit.FAILED
    if as_json:
        print_json(report)
    else:
        _print_summary(report)
    if report.is_good:
        if directory is None:
            shutil.rmtree(folder)  # keys and logs that nobody asked for
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
        self._said: set[str] = set()

    def tell(self, report: Report) -> None:
        lines = [report.phase]
        lines += [f"{row.kind} ({row.what}): {row.status}" for row in report.jobs if row.id]
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                note(f"{report.seconds:6.2f} s  {line}")


def _cells(row: Row) -> tuple[str, ...]:
    return f"{row.kind} {row.what}", row.status, row.result, row.paid, row.verified, row.agent


def _picture(report: Report) -> Any:
    from rich.console import Group
    from rich.text import Text

    table = table_of(COLUMNS, [_cells(row) for row in report.jobs])
    return Group(Text(f"{report.phase} … {report.seconds:.0f} s", style="bold"), table)


def _print_summary(report: Report) -> None:
    print_table(COLUMNS, [_cells(row) for row in report.jobs])
    for name in report.agents:
        typer.echo(name)
    typer.echo(f"spent {report.spent} HYPER, receipts over {report.receipts} HYPER")
    for fault in report.faults:
        typer.echo(f"fault: {fault}")
    balance = "the books balance" if report.ledger_balanced else "THE BOOKS DO NOT BALANCE"
    typer.echo(f"{balance}; {report.seconds:.1f} s in all")
