"""What a service manager hears, over a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import MockClock

from coordinator.notify import Notifier


class Manager:
    """A service manager that only listens."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """What came since the last look, a text each."""
        texts = []
        while True:
            try:
                texts.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return texts


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def notifier(manager: Manager, watchdog_s: float = 0.0) -> Notifier:
    return Notifier(manager.socket.getsockname(), watchdog_s)


async def alive(notifier: Notifier, seconds: float, trouble: str = "") -> None:
    with trio.move_on_after(seconds):
        await notifier.keep_alive(lambda: "fine", lambda: trouble)


def test_readiness_and_the_end_come_with_a_line_of_status(manager: Manager) -> None:
    told = notifier(manager)
    told.ready("ready on port 1")
    told.stopping("draining: 3 attempts are out")

    assert manager.heard() == [
        "READY=1\nSTATUS=ready on port 1",
        "STOPPING=1\nSTATUS=draining: 3 attempts are out",
    ]


def test_a_status_that_does_not_change_is_told_once(manager: Manager) -> None:
    told = notifier(manager)
    for text in ("a", "a", "b", "a"):
        told.status(text)

    assert manager.heard() == ["STATUS=a", "STATUS=b", "STATUS=a"]


def test_a_status_is_one_line_whatever_is_in_it(manager: Manager) -> None:
    notifier(manager).status("a\nREADY=1\r\n b" + "x" * 1000)

    (line,) = manager.heard()
    assert line.startswith("STATUS=a READY=1 bxxx")
    assert "\n" not in line
    assert len(line) < 250


async def test_life_is_told_three_times_in_the_watchdogs_time(
    manager: Manager, autojump_clock: MockClock
) -> None:
    await alive(notifier(manager, watchdog_s=30.0), 60.0)

    heard = manager.heard()
    assert heard.count("WATCHDOG=1") == 6
    assert heard[0] == "STATUS=fine"


async def test_who_is_in_trouble_says_so_and_is_not_alive(
    manager: Manager, autojump_clock: MockClock
) -> None:
    await alive(notifier(manager, watchdog_s=30.0), 60.0, trouble="a write to the disk hangs")

    assert manager.heard() == ["STATUS=in trouble: a write to the disk hangs"]


@pytest.mark.slow
async def test_a_loop_that_lags_is_not_alive(manager: Manager) -> None:
    async def block() -> None:
        await trio.sleep(0.05)
        time.sleep(1.4)  # noqa: ASYNC251 (that is the fault)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(block)
        await alive(notifier(manager, watchdog_s=30.0), 2.0)

    (status,) = manager.heard()
    assert status.startswith("STATUS=in trouble: the loop lags 1.")


async def test_without_a_watchdog_the_status_is_told_all_the_same(
    manager: Manager, autojump_clock: MockClock
) -> None:
    await alive(notifier(manager), 60.0)

    assert manager.heard() == ["STATUS=fine"]


async def test_without_a_manager_nothing_is_done(autojump_clock: MockClock) -> None:
    nobody = Notifier.of({"HOME": "/"})
    nobody.ready("ready")
    with trio.fail_after(1):
        await nobody.keep_alive(lambda: "fine", lambda: "")

    assert not nobody.is_heard


def test_a_manager_that_has_gone_costs_a_line_in_the_log(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        Notifier(str(tmp_path / "nobody")).ready("ready")

    assert [line["event"] for line in lines] == ["the service manager does not listen"]


def test_an_abstract_name_is_heard_too() -> None:
    name = f"hypernode-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    Notifier(f"@{name}").ready("ready")

    assert manager.heard() == ["READY=1\nSTATUS=ready"]
    manager.socket.close()


async def test_the_variables_are_taken_out_of_the_environment(
    manager: Manager, autojump_clock: MockClock
) -> None:
    """A child that finds them would speak for us."""
    environ = {
        "NOTIFY_SOCKET": manager.socket.getsockname(),
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    await alive(Notifier.of(environ), 30.0)

    assert environ == {"HOME": "/"}
    assert manager.heard().count("WATCHDOG=1") == 3


@pytest.mark.parametrize("change", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
async def test_another_process_watchdog_is_not_ours(
    change: dict[str, str], manager: Manager, autojump_clock: MockClock
) -> None:
    environ = {"NOTIFY_SOCKET": manager.socket.getsockname(), "WATCHDOG_USEC": "30000000", **change}
    await alive(Notifier.of(environ), 60.0)

    assert "WATCHDOG=1" not in manager.heard()
