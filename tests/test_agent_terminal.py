"""The dashboard on a pseudo-terminal: what it writes, hears, restores and costs."""

from __future__ import annotations

import os
import pty
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec
import pytest
import structlog
import trio

from agent.status import Status, Unsent
from coordinator.log import get_log
from hypernode.cli import agent_terminal
from hypernode.cli.agent_terminal import FRAMES_PER_S, Dashboard
from tests.test_agent_screen import GPU, RUN, status

ALTERNATE, ORDINARY = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """Both ends of a pseudo-terminal; ours reads what is drawn and types."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        os.set_blocking(self.ours, False)
        self.stream = os.fdopen(os.dup(self.theirs), "w")
        self.input = os.fdopen(os.dup(self.theirs), "r")

    def size(self, columns: int, rows: int) -> None:
        termios.tcsetwinsize(self.theirs, (rows, columns))

    def drawn(self) -> bytes:
        data = b""
        try:
            while piece := os.read(self.ours, 65536):
                data += piece
        except BlockingIOError:
            return data
        return data

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def close(self) -> None:
        self.stream.close()
        self.input.close()
        for descriptor in (self.ours, self.theirs):
            os.close(descriptor)


class StubControl:
    """An agent that is as the test says."""

    def __init__(self, given: Status) -> None:
        self.given = given
        self.toggled = 0

    async def look(self) -> Status:
        await trio.lowlevel.checkpoint()
        return self.given

    def status(self) -> Status:
        return self.given

    def toggle(self) -> None:
        self.toggled += 1


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    made = Terminal()
    made.size(80, 24)
    monkeypatch.setattr(sys, "stdin", made.input)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    # Rich asks the standard descriptors, and these variables, before the stream.
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    monkeypatch.setattr(agent_terminal, "FRAMES_PER_S", 50.0)
    before = structlog.get_config()
    yield made
    structlog.configure(**before)
    made.close()


@contextmanager
def shown(terminal: Terminal) -> Iterator[Dashboard]:
    screen = Dashboard(terminal.stream)
    with screen.captured():
        yield screen


async def until_drawn(terminal: Terminal, part: bytes) -> bytes:
    data = b""
    with trio.fail_after(5):
        while part not in data:
            await trio.sleep(0.01)
            data += terminal.drawn()
    return data


async def test_the_screen_is_drawn_once_and_then_only_where_it_changed(terminal: Terminal) -> None:
    control: Any = StubControl(status())
    with shown(terminal) as screen:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(screen.run, control)
            first = await until_drawn(terminal, b"finish and quit")
            await trio.sleep(0.3)
            quiet = terminal.drawn()
            control.given = status(link_s=724.0)
            changed = await until_drawn(terminal, b"12:04")
            nursery.cancel_scope.cancel()

    assert first.count(b"\x1b[1;1H") == 1
    assert b"H100" in first
    assert quiet == b""
    # One line was written again, not a screen of them.
    assert changed.count(b"\x1b[K") == 1


async def test_keys_pause_and_quit_and_ctrl_c_is_a_signal_still(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    control: Any = StubControl(status())
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    with shown(terminal) as screen:
        assert termios.tcgetattr(terminal.theirs)[3] & termios.ISIG
        assert not termios.tcgetattr(terminal.theirs)[3] & (termios.ICANON | termios.ECHO)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(screen.run, control)
            await until_drawn(terminal, b"finish and quit")
            terminal.type(b"pPx\x1b[A")
            await trio.sleep(0.1)
            terminal.type(b"q")
            with trio.fail_after(5):
                while not raised:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    assert (control.toggled, raised) == (2, [signal.SIGINT])


def _die(error: type[BaseException] | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, RuntimeError])
def test_the_terminal_is_as_it_was_however_the_agent_ends(
    terminal: Terminal, error: type[BaseException] | None
) -> None:
    before = termios.tcgetattr(terminal.theirs)
    stderr = sys.stderr
    with pytest.raises(error) if error else nullcontext(), shown(terminal):
        _die(error)
    data = terminal.drawn()

    assert termios.tcgetattr(terminal.theirs) == before
    assert sys.stderr is stderr
    assert data.index(ALTERNATE) < data.index(ORDINARY)
    assert data.index(b"\x1b[?25l") < data.index(b"\x1b[?25h")


async def test_log_lines_and_strangers_prints_land_in_the_events_and_nowhere_else(
    terminal: Terminal,
) -> None:
    control: Any = StubControl(status())
    with shown(terminal) as screen:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(screen.run, control)
            await until_drawn(terminal, b"finish and quit")
            get_log("agent.x").warning("device out", reason="it fell\x1b[2J off")
            print("a library complains", file=sys.stderr)
            data = await until_drawn(terminal, b"a library complains")
            nursery.cancel_scope.cancel()

    assert b"device out" in data
    assert b"\x1b[2J" not in data


def test_what_was_grave_is_printed_at_the_end(
    terminal: Terminal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with shown(terminal):
        get_log("agent.x").info("warm")
        get_log("agent.x").error("device out", reason="it fell off")

    said = capsys.readouterr().err
    assert "device out" in said
    assert "warm" not in said


async def test_what_was_done_is_told_where_the_screen_was(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    control: Any = StubControl(status(unsent=Unsent(3, 1)))
    with shown(terminal) as screen, trio.move_on_after(0.1):
        await screen.run(control)

    assert capsys.readouterr().err == (
        "1234 jobs done, 3 failed in 13:20; earned today: 1.25 HYPER; "
        "3 results unsent, kept for the next start\n"
    )


async def test_a_new_size_is_drawn_anew(terminal: Terminal) -> None:
    control: Any = StubControl(status())
    with shown(terminal) as screen:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(screen.run, control)
            await until_drawn(terminal, b"finish and quit")
            terminal.size(120, 40)
            os.kill(os.getpid(), signal.SIGWINCH)
            data = await until_drawn(terminal, b"\x1b[40;1H")
            nursery.cancel_scope.cancel()

    assert b"\x1b[2J" in data


async def test_a_closed_window_ends_the_drawing_and_not_the_agent(terminal: Terminal) -> None:
    control: Any = StubControl(status())

    class Closed:
        def fileno(self) -> int:
            raise OSError(9, "Bad file descriptor")

        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

        def flush(self) -> None:
            raise OSError(5, "Input/output error")

    screen = Dashboard(terminal.stream)
    with screen.captured():
        screen._stream = Closed()  # type: ignore[assignment]
        with trio.move_on_after(0.2) as scope:
            await screen.run(control)

    assert scope.cancelled_caught


def test_a_dashboard_of_eight_gpus_costs_less_than_two_percent_of_a_core(
    terminal: Terminal,
) -> None:
    """Processor time of a frame in which every line changed, times the frames of a second."""
    frames = 40
    with shown(terminal) as screen:
        for number in range(30):
            get_log("agent.x").info("job done", kind="render", job=f"job-{number}", seconds=0.1)
        controls: list[Any] = []
        for number in range(frames):
            gpus = tuple(
                msgspec.structs.replace(GPU, uuid=f"GPU-{n}", utilization_percent=(number + n) % 99)
                for n in range(8)
            )
            runs = tuple(
                msgspec.structs.replace(RUN, device=f"GPU-{n}", seconds=float(number))
                for n in range(8)
            )
            controls.append(StubControl(status(devices=gpus, runs=runs, link_s=float(number))))
        screen._draw(controls[0])
        began = time.process_time()
        for control in controls:
            screen._draw(control)
            terminal.drawn()
        frame_s = (time.process_time() - began) / frames

    print(f"{1000 * frame_s:.1f} ms a frame")
    assert agent_terminal.FRAMES_PER_S == 50.0  # the fixture's; the product's is the other one
    assert frame_s * FRAMES_PER_S < 0.02
