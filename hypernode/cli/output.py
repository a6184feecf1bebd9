"""What commands print: tables for people, plain text for pipes, JSON for programs.

Rules:
  1. Standard output carries the answer, standard error everything else.
  2. `--json` prints one document; streams print one document a line.
  3. Colours and boxes only on a terminal, and never where `NO_COLOR` is set.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import typer


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person looks at it."""
    return (stream or sys.stdout).isatty()


def print_json(document: Any) -> None:
    """One JSON document on one line."""
    import msgspec

    typer.echo(msgspec.json.encode(document).decode())


def note(text: str) -> None:
    """A remark for people, on standard error."""
    typer.echo(text, err=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table: with rules on a terminal, tab-separated in a pipe."""
    if not is_terminal():
        typer.echo("\t".join(column.lower() for column in columns))
        for row in rows:
            typer.echo("\t".join(row))
        return
    from rich.console import Console

    Console().print(table_of(columns, rows, title=title))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> Any:
    """The table as rich draws it; the text in it is never read as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        # Names and numbers stay whole; sentences fold.
        table.add_column(column, overflow="fold", no_wrap=column not in _FOLDING)
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    return table


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}" if is_terminal() else f"{name}\t{value}")


_FOLDING = frozenset({"Job", "Result", "Remarks"})
#: States have the same colours everywhere.
_STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "assigned": "cyan",
    "verifying": "magenta",
    "online": "green",
    "offline": "red",
    "skipped": "dim",
}
