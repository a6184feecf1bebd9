"""Lengths of time on the command line: read, refused, shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from hypothesis import given, strategies as st

from hypernode.cli.app import app
from hypernode.cli.durations import parse_seconds, seconds_text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), (" 7d ", 604_800)]
)
def test_a_time_is_a_number_and_perhaps_a_unit(text: str, seconds: int) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-1", "1.5h", "5 m", "m", "1w", "1e3", "9" * 10])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="such as 90, 5m, 2h"):
        parse_seconds(text)


def test_every_option_with_a_reader_of_its_own_reads_its_default() -> None:
    seen = dict(_defaults(typer.main.get_command(app)))

    assert seen["drain --for"] == 3600
    assert len(seen) > 4


def _defaults(command: Any, name: str = "") -> Iterator[tuple[str, object]]:
    """Each option of each command below this one that has a parser, and what it reads by default.

    Typer passes a default through the parser, too.
    """
    for below, inner in getattr(command, "commands", {}).items():
        yield from _defaults(inner, below)
    context = typer.Context(command)
    for option in command.params:
        told = getattr(option.type_descriptor, "parameter_info", None)
        if getattr(told, "parser", None) and not option.required:
            value, _rest = option.handle_parse_result(context, {}, [])
            yield f"{name} {option.opts[0]}", value


@given(st.integers(1, 10**8))
def test_what_is_shown_reads_back_as_the_same_time(seconds: int) -> None:
    assert parse_seconds(seconds_text(seconds)) == seconds
