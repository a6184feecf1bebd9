"""Slips of names, and what msgspec says of a value, in words."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from msgspec import Meta

from coordinator.setting_words import in_words, is_slip

WORD = st.text("abcdefghij_", min_size=5, max_size=12)


@given(WORD, st.data())
def test_one_slip_is_a_slip_wherever_it_is(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 2))
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    slips = [
        word[:at] + word[at + 1 :],
        f"{word[:at]}x{word[at:]}",
        f"{word[:at]}x{word[at + 1 :]}",
    ]

    assert all(is_slip(slip, word) and is_slip(word, slip) for slip in [*slips, swapped])


@pytest.mark.parametrize(
    ("said", "meant"),
    [("url", "uri"), ("db", "dbs"), ("home", "host"), ("weather", "host"), ("ports_a", "port")],
)
def test_what_is_short_or_further_away_is_none(said: str, meant: str) -> None:
    assert not is_slip(said, meant)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (0, Annotated[int, Meta(ge=1)], "this must be at least 1"),
        (9, Annotated[int, Meta(le=5)], "this must be at most 5"),
        (0.0, Annotated[float, Meta(gt=0)], "this must be more than 0.0"),
        ("", Annotated[str, Meta(min_length=1)], "this must not be empty"),
        ("ab", Annotated[str, Meta(max_length=1)], "its length must be at most 1"),
        (1.5, int | None, "this must be a whole number, not 1.5"),
        ("x", bool | None, "this is neither true nor false"),
        (0.01, str, 'this must be text: write it in quotes, "0.01"'),
        (["a", 1], tuple[str, ...], 'item 2: this must be text: write it in quotes, "1"'),
        ({}, tuple[str, ...], "this must be a list, not a table"),
    ],
)
def test_what_msgspec_says_is_put_in_words(value: object, kind: Any, words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, kind)

    assert in_words(str(caught.value), value) == words


def test_another_sentence_stays() -> None:
    assert in_words("an origin looks like this", 5) == "an origin looks like this"
