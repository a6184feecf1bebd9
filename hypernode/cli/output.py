"""What commands print: tables for people, plain text for pipes, JSON for programs.

Rules:
  1. Standard output carries the answer, standard error everything else.
  2. `--json` prints one document; streams print one document a line.
  3. Colours and boxes only on a terminal, and never where `NO_COLOR` is set.
  4. An id, a number or a state stays on one line and whole, however narrow the terminal is;
     sentences fold.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TextIO

import typer

#: Columns of sentences.
FOLDING: Final = frozenset({"Result", "GPU", "Meaning", "Type", "What"})
#: Words up to this long are not broken in a folding column.
_WORD_MAX: Final = 24


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


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: with rules on a terminal, tab-separated in a pipe."""
    if not is_terminal():
        typer.echo("\t".join(column.lower() for column in columns))
        for row in rows:
            typer.echo("\t".join(row))
        return
    from rich.console import Console

    Console().print(table_of(columns, rows), crop=False)


def table_of(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    folding: Collection[str] = FOLDING,
) -> Any:
    """The table as rich draws it; the text in it is never read as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        cells = [column, *(row[index] for row in rows)]
        folds = column in folding
        width = max(len(word) for cell in cells for word in (cell.split() if folds else [cell]))
        least = min(width, _WORD_MAX) if folds else width
        table.add_column(column, overflow="fold", no_wrap=not folds, min_width=least)
    for row in rows:
        table.add_row(*(Text(cell, style=_style_of(cell)) for cell in row))
    return table


def print_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}" if is_terminal() else f"{name.lower()}\t{value}")


def _style_of(cell: str) -> str:
    """States have the same colours everywhere; the code of a failure is red like the failure."""
    from coordinator.protocol.errors import CODES

    return _STYLES.get(cell, "red" if cell in CODES else "")


_STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "assigned": "cyan",
    "verifying": "magenta",
    "online": "green",
    "offline": "red",
    "skipped": "dim",
    "waiting": "dim",
}


def harmless(text: str) -> str:
    """A text without control characters but line ends and tabs: nothing in it moves a terminal."""
    return "".join(
        char if char in "\n\t" or char.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
