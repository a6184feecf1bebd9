"""A job's log as it comes: asked for part by part, from where the last part ended.

In:   one way to ask for a part.
Out:  pieces of text, in order; a line of its own where something is missing or begins anew.
Rules:
  1. A question waits at the coordinator until there is more, so that nothing is asked in vain.
  2. The end of the job ends it, once all of its log is told. A coordinator that is away for a
     moment is asked again by the caller of `ask` (`web`).
  3. It may be left at any time: nothing is open between two parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias

from hypernode.answers import LogPart

#: Below any client's patience with one answer.
WAIT_S: Final = 15.0

AskPart: TypeAlias = Callable[[int, int, float], Awaitable[LogPart]]
OnPart: TypeAlias = Callable[[LogPart], None]


class LogPieces(AsyncIterator[str]):
    """An asynchronous iterator over the text of a log."""

    def __init__(
        self, ask: AskPart, *, follow: bool = True, on_part: OnPart = lambda _: None
    ) -> None:
        """Nothing is asked before the first piece is wanted.

        Args:
            ask: Asks for a part: the place, its attempt, seconds to wait.
            follow: Go on until the job ends; otherwise only what is there now.
            on_part: Told of each part before its text: it knows the job's state and progress.
        """
        self._ask = ask
        self._follow = follow
        self._on_part = on_part
        self._offset = self._attempt = 0
        self._pieces: deque[str] = deque()
        self._is_over = False

    async def __anext__(self) -> str:
        while not self._pieces:
            if self._is_over:
                raise StopAsyncIteration
            wait_s = WAIT_S if self._follow else 0.0
            self._take(await self._ask(self._offset, self._attempt, wait_s))
        return self._pieces.popleft()

    def _take(self, part: LogPart) -> None:
        self._on_part(part)
        if part.attempt != self._attempt:
            if self._attempt:
                self._pieces.append(f"\n[attempt {part.attempt}]\n")
            self._offset = 0
        if part.text:
            if part.offset > self._offset:
                missing = part.offset - self._offset
                self._pieces.append(f"\n[{missing} characters are no longer kept]\n")
            self._pieces.append(part.text)
        self._offset, self._attempt = part.next_offset, part.attempt
        self._is_over = part.is_final or not (self._follow or part.text)
