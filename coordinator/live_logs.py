"""What running jobs say, kept for a while: a bounded tail of each log, and how far each job is.

In:   pieces of text as agents send them, in order.
Out:  what is to be passed on; views from any place of a log on.
Rules:
  1. Places count the characters that the agent sent in this attempt, kept or not: what is left out
     is seen as a gap, and the finished log (a command's output 0) has the same places.
  2. An attempt is heard for `LOG_BYTES_MAX` characters, and no faster than `LIVE_LOG_CHARS_PER_S`;
     of what was heard the last `LIVE_LOG_CHARS_KEPT` stay, and of all jobs together
     `LIVE_LOGS_CHARS_MAX`: then the log that was quiet longest is forgotten.
  3. Text is made fit to be shown as it comes in.
Not here: who may read (logs_desk), who is told (ports.Watchers). A restart forgets what was said.
"""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec

from coordinator.limits import (
    LIVE_LOG_CHARS_BURST,
    LIVE_LOG_CHARS_KEPT,
    LIVE_LOG_CHARS_PER_S,
    LIVE_LOGS_CHARS_MAX,
    LOG_BYTES_MAX,
)
from coordinator.protocol.text import shown


class Tail(msgspec.Struct, frozen=True):
    """Part of a log: `text` begins at `offset`, which may lie behind the place asked for."""

    attempt: int
    offset: int
    text: str
    next_offset: int
    progress: float | None


def left_out(count: int) -> str:
    """The line that stands where characters are missing."""
    return f"\n[{count} characters left out]\n"


class _Log:
    """The log of one attempt."""

    __slots__ = ("allowance", "attempt", "heard", "heard_at", "kept", "pieces", "progress")

    def __init__(self, attempt: int, now: float) -> None:
        self.attempt = attempt
        self.progress: float | None = None
        #: Characters that the agent sent so far.
        self.heard = 0
        #: (place, text) of what stays, oldest first, and its length.
        self.pieces: deque[tuple[int, str]] = deque()
        self.kept = 0
        self.allowance = float(LIVE_LOG_CHARS_BURST)
        self.heard_at = now


class LiveLogs:
    """The logs of all jobs that have said something lately."""

    def __init__(self) -> None:
        self._logs: OrderedDict[int, _Log] = OrderedDict()
        self._kept = 0

    def hear(
        self, job: int, attempt: int, progress: float | None, text: str, now: float
    ) -> str | None:
        """Take in what an agent says of an attempt.

        Returns:
            The text to pass on, with a line in it where something is left out; None if this
            attempt has said all that it may.
        """
        log = self._logs.get(job)
        if log is None or log.attempt != attempt:
            self._forget(job)
            log = self._logs[job] = _Log(attempt, now)
        self._logs.move_to_end(job)
        if progress is not None:
            log.progress = progress
        if not text:
            return ""
        room = LOG_BYTES_MAX - log.heard
        if room <= 0:
            return None if progress is None else ""
        return self._take(log, shown(text[:room]), now)

    def _take(self, log: _Log, text: str, now: float) -> str:
        log.allowance = min(
            log.allowance + (now - log.heard_at) * LIVE_LOG_CHARS_PER_S, LIVE_LOG_CHARS_BURST
        )
        log.heard_at = now
        kept = text[: int(log.allowance)]
        log.allowance -= len(kept)
        if kept:
            log.pieces.append((log.heard, kept))
            log.kept += len(kept)
            self._kept += len(kept)
        log.heard += len(text)
        self._trim(log)
        missing = len(text) - len(kept)
        return kept + left_out(missing) if missing else kept

    def _trim(self, log: _Log) -> None:
        while log.kept > LIVE_LOG_CHARS_KEPT:
            place, text = log.pieces.popleft()
            gone = text[: log.kept - LIVE_LOG_CHARS_KEPT]
            if len(gone) < len(text):
                log.pieces.appendleft((place + len(gone), text[len(gone) :]))
            log.kept -= len(gone)
            self._kept -= len(gone)
        while self._kept > LIVE_LOGS_CHARS_MAX:
            self._forget(next(iter(self._logs)))

    def end(self, job: int) -> None:
        """The job has ended: what it said stays for a while, a log without a word goes."""
        log = self._logs.get(job)
        if log is not None and not log.kept:
            self._forget(job)

    def _forget(self, job: int) -> None:
        log = self._logs.pop(job, None)
        if log is not None:
            self._kept -= log.kept

    def tail(self, job: int, offset: int = 0, attempt: int = 0) -> Tail | None:
        """What was said from a place on, up to the next gap.

        Args:
            job: The job.
            offset: The place; of an attempt that is not `attempt` it counts for nothing.
            attempt: The attempt that the place belongs to; 0 for whichever is the last.
        """
        log = self._logs.get(job)
        if log is None:
            return None
        if attempt not in {0, log.attempt}:
            offset = 0
        found: list[str] = []
        begin = end = min(offset, log.heard)
        for place, text in log.pieces:
            if place + len(text) <= begin:
                continue
            if not found:
                begin = end = max(begin, place)
            elif place != end:
                break
            found.append(text[end - place :])
            end = place + len(text)
        if not found:
            # All that there is to say is that nothing is kept from here on.
            begin = end = log.heard
        return Tail(log.attempt, begin, "".join(found), end, log.progress)
