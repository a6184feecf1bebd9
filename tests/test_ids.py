"""Public ids: nobody who counts upwards finds another one's job."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from coordinator.protocol.errors import Refusal
from coordinator.protocol.ids import Ids, Prefix

IDS = Ids(bytes(range(32)))
NUMBERS = st.integers(1, 2**53 - 1)
PREFIXES: st.SearchStrategy[Prefix] = st.sampled_from(("job", "node"))


def refuses(prefix: Prefix, text: str) -> bool:
    with pytest.raises(Refusal) as caught:
        IDS.decode(prefix, text)
    return caught.value.code == "not_found"


@given(PREFIXES, NUMBERS)
def test_every_number_survives_its_id(prefix: Prefix, number: int) -> None:
    text = IDS.encode(prefix, number)

    assert IDS.decode(prefix, text) == number
    assert text.startswith(f"{prefix}-{number:x}-")
    assert len(text) <= 64


@given(NUMBERS)
def test_an_id_names_one_kind_of_thing_in_one_house(number: int) -> None:
    job, node = IDS.encode("job", number), IDS.encode("node", number)

    assert refuses("node", job)
    assert refuses("job", node)
    # The same checksum under the other word.
    assert refuses("node", job.replace("job", "node"))
    assert refuses("job", Ids(bytes(32)).encode("job", number))


@given(NUMBERS, st.integers(0, 15), st.sampled_from("0123456789abcdef"))
def test_a_changed_checksum_is_refused(number: int, place: int, digit: str) -> None:
    text = IDS.encode("job", number)
    at = len(text) - 16 + place
    if text[at] != digit:
        assert refuses("job", text[:at] + digit + text[at + 1 :])


@given(NUMBERS)
def test_the_next_number_is_not_guessed_from_this_one(number: int) -> None:
    check = IDS.encode("job", number)[-16:]

    assert refuses("job", f"job-{number + 1:x}-{check}")


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text.replace("job-", "job-0"),
        lambda text: text.replace("-", "--", 1),
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda _: "",
        lambda _: "job-1-" + "0" * 16,
        lambda _: "job-" + "f" * 400 + "-" + "0" * 16,
        lambda text: text.replace("1", "\uff11", 1),
    ],
)
def test_another_spelling_is_refused(change: object) -> None:
    assert callable(change)
    text = IDS.encode("job", 0x1F1)

    assert refuses("job", change(text))


@given(PREFIXES, st.text(max_size=80))
def test_any_text_is_refused_or_the_one_that_we_write(prefix: Prefix, text: str) -> None:
    try:
        number = IDS.decode(prefix, text)
    except Refusal:
        return
    assert IDS.encode(prefix, number) == text


@pytest.mark.parametrize("number", [0, -1, 2**53])
def test_only_row_numbers_get_an_id(number: int) -> None:
    with pytest.raises(AssertionError):
        IDS.encode("job", number)
