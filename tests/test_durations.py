"""Lengths of time on the command line: read, refused, shown."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given, strategies as st

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


@given(st.integers(1, 10**8))
def test_what_is_shown_reads_back_as_the_same_time(seconds: int) -> None:
    assert parse_seconds(seconds_text(seconds)) == seconds
