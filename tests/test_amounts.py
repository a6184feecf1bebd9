"""Amounts: decimal text at the doors, base units inside, nothing in between."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from onchain.amounts import AMOUNT_MAX, DECIMALS, UNITS, format_hyper, parse_hyper
from onchain.errors import BadAmount


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("0.0", 0),
        ("0.02", 20_000),
        ("0.02 HYPER", 20_000),
        ("1", UNITS),
        ("1.000000", UNITS),
        ("1.000000000000000000", UNITS),
        ("0.000001", 1),
        ("9223372036854.775807", AMOUNT_MAX),
    ],
)
def test_a_plain_decimal_number_is_read_exactly(text: str, units: int) -> None:
    assert parse_hyper(text) == units


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "HYPER", " HYPER", "1 HYPER HYPER", "1HYPER", "1 hyper", "+1", "-1", "-0", "01",
        "00", "1.", ".5", "1,5", "1_000", "1e6", "0x10", "NaN", "inf", "1 ", " 1", "1\n",
        "\uff11", "\u0661", "0.0000001",
        "1.0000000000000000000", "9223372036854.775808", "99999999999999999999",
        "9" * 5000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadAmount):
        parse_hyper(text)


@pytest.mark.parametrize(
    ("units", "text"),
    [(0, "0"), (1, "0.000001"), (20_000, "0.02"), (UNITS, "1"), (-1, "-0.000001"), (-UNITS, "-1")],
)
def test_the_shortest_text_is_written(units: int, text: str) -> None:
    assert format_hyper(units) == text


@given(st.integers(0, AMOUNT_MAX))
def test_every_amount_survives_its_text(units: int) -> None:
    text = format_hyper(units)

    assert parse_hyper(text) == units
    assert parse_hyper(f"{text} HYPER") == units
    assert len(text.partition(".")[2]) <= DECIMALS


@given(st.text())
def test_any_text_is_an_amount_within_bounds_or_is_refused(text: str) -> None:
    try:
        units = parse_hyper(text)
    except BadAmount:
        return
    assert 0 <= units <= AMOUNT_MAX
