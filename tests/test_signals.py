"""How the process ends, in a process of its own."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios

import pytest
import trio

PROGRAM = """
import sys, trio
from coordinator.signals import Drain, run_until_signal

async def main(drain: Drain) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        print("up", flush=True)
        await drain.wait()
        print("draining", flush=True)
        await trio.sleep(LINGER)
        nursery.cancel_scope.cancel()

sys.exit(run_until_signal(main))
"""


#: A disk that does not answer, as the drain sees it.
HANGS = """with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(__import__("time").sleep, 60)"""


async def end_with(
    *signals: signal.Signals, linger_s: float = 0.0, changes: dict[str, str] | None = None
) -> tuple[int, str, bytes]:
    """Exit code, last line and errors of a program that got these signals, one after another."""
    program = PROGRAM
    for old, new in (changes or {}).items():
        assert old in program
        program = program.replace(old, new)
    program = program.replace("LINGER", str(linger_s))
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    heard = ""
    with trio.fail_after(10):
        for number in signals:
            heard = ""
            while not heard.endswith("\n"):
                heard += (await process.stdout.receive_some()).decode()
            process.send_signal(number)
        errors = b"".join([piece async for piece in process.stderr])
        heard += b"".join([piece async for piece in process.stdout]).decode()
        code = await process.wait()
        await process.stdout.aclose()
        await process.stderr.aclose()
    return code, heard.split()[-1], errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "linger_s", "expected"),
    [
        ((signal.SIGINT,), 0.0, (130, "up", b"")),
        ((signal.SIGTERM,), 0.0, (0, "draining", b"")),
        ((signal.SIGTERM, signal.SIGTERM), 9.0, (143, "draining", b"")),
        ((signal.SIGTERM, signal.SIGINT), 9.0, (130, "draining", b"")),
    ],
    ids=["ctrl-c", "drain", "drain cut", "drain interrupted"],
)
async def test_a_signal_ends_the_process_in_its_own_way_without_a_traceback(
    signals: tuple[signal.Signals, ...], linger_s: float, expected: tuple[int, str, bytes]
) -> None:
    assert await end_with(*signals, linger_s=linger_s) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "end_s", "code"),
    [
        ((signal.SIGTERM,), "0.3", 1),
        ((signal.SIGTERM, signal.SIGTERM), "None", 143),
        ((signal.SIGTERM, signal.SIGINT), "None", 130),
    ],
    ids=["by time", "by a second signal", "by ctrl-c"],
)
async def test_a_drain_that_hangs_is_cut_off(
    signals: tuple[signal.Signals, ...], end_s: str, code: int
) -> None:
    soon = "from coordinator import signals; signals.END_S = 0.3"
    changes = {
        "await trio.sleep(LINGER)": HANGS,
        "(main)": f"(main, end_s={end_s})",
        "import sys, trio": f"import sys, trio; {soon}",
    }

    assert await end_with(*signals, changes=changes) == (code, "draining", b"")


@pytest.mark.slow
async def test_a_drain_in_time_is_not_cut_off_later() -> None:
    """The exit code is the drain's own, however soon the limit comes after it."""
    changes = {"(main))": "(main, end_s=0.4) or __import__('time').sleep(0.8))"}

    assert await end_with(signal.SIGTERM, changes=changes) == (0, "draining", b"")


RELOADING = """
import signal, sys, trio
from coordinator.signals import Drain, heed_hangups, run_until_signal

async def reload() -> None:
    print("reloaded", flush=True)

async def main(drain: Drain) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGHUP) as hangups:
            nursery.start_soon(heed_hangups, hangups, drain, reload)
            await trio.testing.wait_all_tasks_blocked()
            print("up", flush=True)
            await drain.wait()
            print("draining", flush=True)
            nursery.cancel_scope.cancel()

import trio.testing
sys.exit(run_until_signal(main))
"""


@pytest.mark.slow
def test_a_hangup_reloads_and_the_end_of_the_terminal_drains() -> None:
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", RELOADING],
        stdin=slave,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # The terminal is the session's own: its end is a hangup for the process.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(slave)
    with process:
        assert process.stdout is not None
        heard = [process.stdout.readline()]
        process.send_signal(signal.SIGHUP)
        heard.append(process.stdout.readline())
        os.close(master)
        heard.append(process.stdout.readline())
        status = process.wait(10)

    assert heard == ["up\n", "reloaded\n", "draining\n"]
    assert status == 0


@pytest.mark.slow
def test_without_a_terminal_a_hangup_never_drains() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RELOADING],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        heard = [process.stdout.readline()]
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            heard.append(process.stdout.readline())
        process.terminate()
        heard.append(process.stdout.readline())
        status = process.wait(10)

    assert heard == ["up\n", "reloaded\n", "reloaded\n", "draining\n"]
    assert status == 0
