"""The dashboard's terminal: draws while the agent works, hears keys, gives the terminal back.

In:   the agent's `Control`; a terminal on standard output.
Out:  a screen that is drawn anew when something changed, at most `FRAMES_PER_S` times a second.
Rules:
  1. It draws on the alternate screen: what was on the terminal before is there afterwards.
  2. The log goes into a ring, and so does whatever else writes to standard error meanwhile; what
     was a warning or worse is printed at the end. Standard error that is a file gets it all too.
  3. The terminal's settings are restored however the agent ends.
  4. A terminal that fails (a closed window) ends the dashboard, not the agent.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

import trio
from rich.console import Console
from rich.control import Control as Codes
from rich.text import Text

from agent.control import Control
from agent.status import Status
from coordinator.log import configure_log, get_log
from hypernode.cli.agent_facts import farewell
from hypernode.cli.agent_screen import WIDTH_MIN, Event, draw, event_of

FRAMES_PER_S: Final = 1.0
_EVENTS_MAX: Final = 200
#: Lines of the log that are printed at the end, at most.
_LAST_LINES: Final = 20
_PARTIAL_CHARS_MAX: Final = 10_000
_log = get_log("hypernode.dashboard")


class Ring(io.StringIO):
    """A stream that remembers the last lines: JSON of the log, or anything."""

    def __init__(self, copy: TextIO | None = None) -> None:
        super().__init__()
        self._copy = copy
        self.events: deque[Event] = deque(maxlen=_EVENTS_MAX)
        #: Warnings and worse.
        self.grave: deque[Event] = deque(maxlen=_LAST_LINES)
        self._partial = ""

    def write(self, text: str) -> int:
        if self._copy is not None:
            self._copy.write(text)
            self._copy.flush()
        *lines, self._partial = (self._partial + text)[-_PARTIAL_CHARS_MAX:].split("\n")
        for line in filter(str.strip, lines):
            event = _event_in(line)
            self.events.append(event)
            if event.level not in {"info", "debug"}:
                self.grave.append(event)
        return len(text)


def _event_in(line: str) -> Event:
    try:
        return event_of(json.loads(line))
    except (ValueError, AttributeError):
        # Not ours: a library, or Python itself.
        return Event("        ", "warning", line)


class Dashboard:
    """One terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ring = Ring(None if sys.stderr.isatty() else sys.stderr)
        self._console = Console(file=stream, force_terminal=True, highlight=False)
        self._shown: list[str] = []
        self._is_lost = False
        #: How it was at the end.
        self._last: Status | None = None

    @contextmanager
    def captured(self) -> Iterator[None]:
        """The log, and standard error, go into the ring; the screen is ours."""
        before = sys.stderr
        configure_log(json_lines=True, stream=self._ring)
        sys.stderr = self._ring
        try:
            with _raw_keys():
                self._write(Codes.alt_screen(enable=True), Codes.show_cursor(show=False))
                try:
                    yield
                finally:
                    self._write(Codes.show_cursor(show=True), Codes.alt_screen(enable=False))
        finally:
            sys.stderr = before
            configure_log(stream=sys.stderr)
            for event in self._ring.grave if before.isatty() else ():
                sys.stderr.write(f"{event.time} [{event.level}] {event.text}\n")
            if self._last is not None:
                sys.stderr.write(f"{farewell(self._last)}\n")

    async def run(self, control: Control) -> None:
        """Draw and hear until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heed_keys, control)
                nursery.start_soon(self._heed_size, control)
                while True:
                    await control.look()
                    self._draw(control)
                    await trio.sleep(1 / FRAMES_PER_S)
        finally:
            self._last = control.status()

    def _draw(self, control: Control) -> None:
        """Bring the screen up to date: only lines that changed are written."""
        width, height = self._size()
        lines = draw(control.status(), tuple(self._ring.events), max(width, WIDTH_MIN), height)
        drawn = [self._line(line) for line in lines]
        if len(self._shown) != len(drawn):
            self._shown = []
        pieces = [
            f"\x1b[{row + 1};1H{line}\x1b[K"
            for row, line in enumerate(drawn)
            if not self._shown or self._shown[row] != line
        ]
        if pieces:
            # One write: a terminal that shows half of it would flicker.
            self._put("".join(pieces))
        self._shown = drawn

    def _size(self) -> tuple[int, int]:
        """Of the stream that is drawn on: rich would ask the standard descriptors first."""
        try:
            return os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24

    def _line(self, line: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(line, end="", width=line.cell_len, no_wrap=True, crop=False)
        return captured.get()

    def _write(self, *codes: Codes) -> None:
        self._put("".join(str(code) for code in codes))

    def _put(self, text: str) -> None:
        if self._is_lost:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._is_lost = True
            _log.warning("terminal lost", error=str(error))

    async def _heed_keys(self, control: Control) -> None:
        if not sys.stdin.isatty():
            return
        while True:
            await trio.lowlevel.wait_readable(sys.stdin.fileno())
            keys = os.read(sys.stdin.fileno(), 64)
            if not keys:
                return
            for key in keys.decode(errors="replace").lower():
                if key == "p":
                    control.toggle()
                elif key == "q":
                    # As Ctrl-C does: the first finishes, the second ends at once.
                    signal.raise_signal(signal.SIGINT)
            self._draw(control)

    async def _heed_size(self, control: Control) -> None:
        with trio.open_signal_receiver(signal.SIGWINCH) as changes:
            async for _ in changes:
                self._shown = []
                self._put("\x1b[2J")
                self._draw(control)


@contextmanager
def _raw_keys() -> Iterator[None]:
    """Keys arrive one by one and are not echoed; Ctrl-C still is a signal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
