"""A log as a submitter reads it: part by part, with a line where something is missing."""

from __future__ import annotations

from collections.abc import Sequence

from hypernode.answers import LogPart
from hypernode.logs import WAIT_S, LogPieces


class Parts:
    """Answers in order; what was asked is kept."""

    def __init__(self, parts: Sequence[LogPart]) -> None:
        self._parts = list(parts)
        self.asked: list[tuple[int, int, float]] = []

    async def __call__(self, offset: int, attempt: int, wait_s: float) -> LogPart:
        self.asked.append((offset, attempt, wait_s))
        return self._parts.pop(0)


def part(offset: int, text: str, attempt: int = 1, *, is_final: bool = False) -> LogPart:
    end = offset + len(text)
    return LogPart("running", attempt, offset, text, end, is_final=is_final)


async def read(ask: Parts, *, follow: bool = True) -> list[str]:
    return [piece async for piece in LogPieces(ask, follow=follow)]


async def test_parts_follow_one_another_until_the_last_one() -> None:
    ask = Parts([part(0, "", 0), part(0, "one\n"), part(4, ""), part(4, "two\n", is_final=True)])

    assert await read(ask) == ["one\n", "two\n"]
    assert ask.asked == [(0, 0, WAIT_S), (0, 0, WAIT_S), (4, 1, WAIT_S), (4, 1, WAIT_S)]


async def test_what_is_missing_is_said() -> None:
    ask = Parts([part(70, "later\n"), part(100, "end\n", is_final=True)])

    assert await read(ask) == [
        "\n[70 characters are no longer kept]\n",
        "later\n",
        "\n[24 characters are no longer kept]\n",
        "end\n",
    ]


async def test_another_attempt_is_said_and_begins_at_its_beginning() -> None:
    ask = Parts([part(0, "first\n"), part(0, "second\n", 2, is_final=True)])

    assert await read(ask) == ["first\n", "\n[attempt 2]\n", "second\n"]


async def test_who_does_not_follow_reads_what_is_there() -> None:
    ask = Parts([part(0, "one\n"), part(4, "two\n"), part(8, "")])

    assert await read(ask, follow=False) == ["one\n", "two\n"]
    assert [wait_s for *_, wait_s in ask.asked] == [0.0] * 3
