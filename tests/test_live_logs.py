"""The tails of running jobs' logs: places, gaps, bounds; and texts that are fit to be shown."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from coordinator.limits import (
    LIVE_LOG_CHARS_BURST,
    LIVE_LOG_CHARS_KEPT,
    LIVE_LOG_CHARS_PER_S,
    LIVE_LOGS_CHARS_MAX,
    LOG_BYTES_MAX,
)
from coordinator.live_logs import LiveLogs, Tail, left_out
from coordinator.protocol.text import shown

JOB = 7


def said(*texts: str) -> LiveLogs:
    logs = LiveLogs()
    for second, text in enumerate(texts):
        logs.hear(JOB, 1, None, text, float(second))
    return logs


def test_a_tail_begins_where_it_is_asked_for() -> None:
    logs = said("one\n", "two\n", "three\n")

    assert logs.tail(JOB) == Tail(1, 0, "one\ntwo\nthree\n", 14, None)
    assert logs.tail(JOB, 4) == Tail(1, 4, "two\nthree\n", 14, None)
    assert logs.tail(JOB, 6, 1) == Tail(1, 6, "o\nthree\n", 14, None)
    assert logs.tail(JOB, 14) == Tail(1, 14, "", 14, None)
    assert logs.tail(JOB, 99) == Tail(1, 14, "", 14, None)
    assert logs.tail(8) is None


def test_what_an_agent_says_is_passed_on_and_the_last_progress_is_remembered() -> None:
    logs = LiveLogs()
    assert logs.hear(JOB, 1, 0.25, "", 0.0) == ""
    assert logs.hear(JOB, 1, None, "half\n", 1.0) == "half\n"
    assert logs.hear(JOB, 1, 0.5, "", 2.0) == ""

    assert logs.tail(JOB) == Tail(1, 0, "half\n", 5, 0.5)


def test_another_attempt_begins_anew_and_a_place_in_the_one_before_is_none_in_it() -> None:
    logs = said("first attempt\n")
    logs.hear(JOB, 2, None, "second\n", 9.0)

    assert logs.tail(JOB, 14, 1) == Tail(2, 0, "second\n", 7, None)
    assert logs.tail(JOB, 3, 2) == Tail(2, 3, "ond\n", 7, None)


def test_of_a_long_log_the_last_part_stays_and_places_go_on() -> None:
    logs = LiveLogs()
    for second in range(10):
        logs.hear(JOB, 1, None, f"{second}" * 50_000, float(second))

    tail = logs.tail(JOB)
    assert tail is not None
    assert (tail.offset, tail.next_offset) == (500_000 - LIVE_LOG_CHARS_KEPT, 500_000)
    assert tail.text == "8" * (LIVE_LOG_CHARS_KEPT - 50_000) + "9" * 50_000
    assert logs._kept == LIVE_LOG_CHARS_KEPT


def test_a_flood_is_cut_and_a_line_says_by_how_much() -> None:
    logs = LiveLogs()
    flood = "x" * LIVE_LOG_CHARS_BURST
    assert logs.hear(JOB, 1, None, flood, 0.0) == flood
    assert logs.hear(JOB, 1, None, "y" * 9, 0.0) == left_out(9)
    assert logs.hear(JOB, 1, None, "z" * (LIVE_LOG_CHARS_PER_S + 5), 1.0) == (
        "z" * LIVE_LOG_CHARS_PER_S + left_out(5)
    )

    # The gap is seen as one: the places of what follows are those of the whole log.
    tail = logs.tail(JOB, LIVE_LOG_CHARS_BURST)
    assert tail is not None
    assert tail.offset >= LIVE_LOG_CHARS_BURST + 9
    assert tail.next_offset == LIVE_LOG_CHARS_BURST + 9 + LIVE_LOG_CHARS_PER_S


def test_an_attempt_says_no_more_than_a_log_may_hold() -> None:
    logs = LiveLogs()
    told = 0
    for second in range(100):
        text = logs.hear(JOB, 1, None, "x" * 20_000, float(second))
        told += len(text or "")
    assert told == LOG_BYTES_MAX
    assert logs.hear(JOB, 1, None, "more", 200.0) is None
    assert logs.hear(JOB, 1, 0.5, "more", 200.0) == "", "how far it is may still be told"


def test_all_logs_together_are_bounded_and_the_quiet_one_goes_first() -> None:
    logs = LiveLogs()
    text = "x" * LIVE_LOG_CHARS_KEPT
    count = LIVE_LOGS_CHARS_MAX // LIVE_LOG_CHARS_KEPT
    for job in range(count):
        logs.hear(job, 1, None, text, 0.0)
    assert logs.tail(0) is not None
    logs.hear(0, 1, 0.5, "", 1.0)
    logs.hear(count, 1, None, text, 1.0)

    assert logs.tail(0) is not None
    assert logs.tail(1) is None
    assert logs._kept <= LIVE_LOGS_CHARS_MAX


@given(
    st.lists(st.tuples(st.text(max_size=30), st.integers(0, 2)), max_size=30), st.integers(0, 300)
)
def test_whoever_follows_sees_every_character_once(
    steps: list[tuple[str, int]], start: int
) -> None:
    logs, whole, seen, place = LiveLogs(), "", "", 0
    for second, (text, looks) in enumerate(steps):
        logs.hear(JOB, 1, None, text, float(second))
        whole += shown(text)
        for _ in range(looks):
            tail = logs.tail(JOB, place, 1)
            assert tail is not None
            assert tail.offset == place, "so little is never left out"
            seen += tail.text
            place = tail.next_offset
    last = logs.tail(JOB, place, 1)
    assert seen + (last.text if last else "") == whole
    late = logs.tail(JOB, start, 1)
    assert (late.text if late else "") == whole[start:]


# ---- texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("plain ü 漢 🙂\n\ttab", "plain ü 漢 🙂\n\ttab"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("50 %\r100 %\r\n", "50 %\n100 %\n\n"),
        ("\x00\x07\x7f\x9b", "\ufffd" * 4),
        ("abc\u202egnp.exe", "abc\ufffdgnp.exe"),
        ("\u2028\u2066\ufeff", "\ufffd" * 3),
    ],
)
def test_nothing_in_a_shown_text_moves_a_terminal(text: str, visible: str) -> None:
    assert shown(text) == visible


@given(st.text(), st.text())
def test_a_text_shown_in_pieces_is_the_whole_one_shown(left: str, right: str) -> None:
    assert shown(left) + shown(right) == shown(left + right)
    assert len(shown(left)) == len(left)
    assert shown(shown(left)) == shown(left)


def test_a_log_without_a_word_goes_with_its_job() -> None:
    """A slow job tells its progress alone: nothing else would ever forget it."""
    logs = LiveLogs()
    logs.hear(1, 1, 0.5, "", 0.0)
    logs.hear(2, 1, 0.5, "a word", 0.0)

    logs.end(1)
    logs.end(2)

    assert logs.tail(1) is None
    assert logs.tail(2) is not None
