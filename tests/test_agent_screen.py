from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from rich.console import Console

from agent.status import DeviceStatus, Earned, Jobs, Link, RunStatus, Status, Unsent
from hypernode.cli.agent_screen import Event, bar_of, draw, event_of
from hypernode.cli.agent_terminal import Ring
from hypernode.cli.agent_words import duration

GPU = DeviceStatus(
    uuid="GPU-0",
    name="NVIDIA H100 80GB HBM3",
    backend="cuda",
    memory_mb=81_559,
    memory_used_mb=42_000,
    utilization_percent=63,
    temperature_celsius=61,
    power_watts=412,
)
RUN = RunStatus(0, "GPU-0", "job-12-0123456789abcdef", "montecarlo", 75.0, 300.0, 0.42)
STATUS = Status(
    version="0.1.0",
    url="wss://hyper.example/",
    pid=1,
    state_dir="/var/lib/agent",
    node_key="3ceKxd1bYgEttEr2Gzw5ZN3Ncvpo8sY443LB2P3vKTDb",
    node_id="node-7-0123456789abcdef",
    wallet="Bmvp854H2yJnmQ6JCnu1HmbFhM8c6LJgBbJd81nFjMiU",
    mode="working",
    link=Link("online"),
    link_s=723.0,
    up_s=800.0,
    is_tested=True,
    sandbox=2,
    worker_sandbox=1,
    remarks=(),
    kinds=("montecarlo",),
    places=1,
    devices=(GPU,),
    runs=(RUN,),
    jobs=Jobs(completed=1234, failed=3, waiting=16),
    earned=Earned("1.25", "300.000001"),
    unsent=Unsent(),
)
EVENTS = tuple(Event(f"11:00:{n:02}", "info", f"event number {n}") for n in range(50))


def status(**changes: Any) -> Status:
    return msgspec.structs.replace(STATUS, **changes)


def drawn(given: Status, width: int = 80, height: int = 24, events: Any = EVENTS) -> list[str]:
    lines = draw(given, events, width, height)
    assert len(lines) == height
    assert {line.cell_len for line in lines} == {width}
    return [line.plain for line in lines]


def text(given: Status, width: int = 80, height: int = 24) -> str:
    return "\n".join(drawn(given, width, height))


def test_everything_that_matters_is_on_a_screen_of_80_by_24() -> None:
    shown = text(STATUS)
    for part in (
        *("working", "online 12:03", "wss://hyper.example", "Bmvp…jMiU", "node-7-0123456789abcdef"),
        *("level 2 of 2", "kernels 1", "1.25 HYPER", "300.000001 HYPER", "1234 done, 3 failed"),
        *("NVIDIA H100", "63 %", "41.0/79.6 GiB", "61 °C", "412 W", "1 running, 16 waiting"),
        *("montecarlo", "1:15", "42%", "job-12-0123456789abcdef", "event number 49"),
        *(" p  pause", " q  finish and quit"),
    ):
        assert part in shown


@pytest.mark.parametrize("width", [40, 59, 60, 79, 80, 110, 200])
@pytest.mark.parametrize("height", [8, 12, 24, 60])
@pytest.mark.parametrize("devices", [0, 1, 4, 16])
def test_the_screen_holds_at_every_size(width: int, height: int, devices: int) -> None:
    gpus = tuple(msgspec.structs.replace(GPU, uuid=f"GPU-{n}") for n in range(devices))
    runs = tuple(msgspec.structs.replace(RUN, place=n, device=f"GPU-{n}") for n in range(devices))
    many = status(devices=gpus, runs=runs, remarks=("A remark that is long. " * 9,) * 5)
    lines = drawn(many, width, height)

    assert "HYPERNODE" in lines[0]
    assert "quit" in lines[-1]
    if height >= 24:
        assert "H100" in "".join(lines) or not devices


def test_what_does_not_fit_is_counted() -> None:
    gpus = tuple(msgspec.structs.replace(GPU, uuid=f"GPU-{n}") for n in range(16))
    runs = tuple(msgspec.structs.replace(RUN, place=n, device=f"GPU-{n}") for n in range(16))
    shown = text(status(devices=gpus, runs=runs))

    assert shown.count("H100") + shown.count("montecarlo") >= 8
    assert "more" in shown


def test_numbers_are_whole_or_absent_in_a_narrow_terminal() -> None:
    shown = text(STATUS, 45, 30)

    assert "63 %" in shown
    assert "412" not in shown
    assert "1.25 HYPER" in shown
    assert "node-7-0123456789abcdef" in shown


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"link": Link("offline", "unreachable: refused", retry_s=12.0)},
            "unreachable: refused; next try in 12 s",
        ),
        ({"link": Link("online", is_draining=True)}, "the coordinator is about to stop"),
        (
            {"link": Link("online", standing="4 of 5 jobs failed here")},
            "sends no jobs: 4 of 5 jobs failed here",
        ),
        ({"mode": "paused", "runs": ()}, "takes no jobs: press p to go on"),
        ({"mode": "draining"}, "quit now"),
        ({"mode": "warming up", "runs": ()}, "kernels are being compiled"),
        ({"is_tested": False, "sandbox": 0}, "is being tested"),
        ({"sandbox": 0, "remarks": ("Install bubblewrap.",)}, "▲ Install bubblewrap."),
        ({"unsent": Unsent(2048, 1, is_full=True)}, "the outbox is full (2048 results)"),
        ({"unsent": Unsent(3, disk="the disk is full: make room")}, "the disk is full: make"),
        ({"runs": (), "jobs": Jobs(last="render completed in 1.0 s")}, "the last one: render"),
        (
            {"devices": (msgspec.structs.replace(GPU, state="lost", reason="it fell off"),)},
            "OUT: lost",
        ),
    ],
)
def test_each_trouble_is_said(changes: dict[str, Any], expected: str) -> None:
    assert expected in text(status(**changes))


def test_a_remark_is_told_whole_with_its_fix() -> None:
    fix = (
        "Memory of whole jobs is not bounded: run the agent as a systemd service with "
        "Delegate=yes, or as root with writable cgroups."
    )
    lines = drawn(status(remarks=(fix,)), 60)
    told = " ".join(line.strip(" ▲") for line in lines if line[:3] in {" ▲ ", "   "})

    assert fix in told


def test_a_device_that_tells_nothing_is_shown_all_the_same() -> None:
    bare = DeviceStatus(uuid="cpu", name="AMD EPYC", backend="cpu")

    assert "AMD EPYC" in text(status(devices=(bare,)))


def test_a_strangers_text_moves_no_terminal_and_is_no_markup() -> None:
    evil = "\x1b[2J[red]\x07\u202e"
    gpu = msgspec.structs.replace(GPU, name=evil)
    run = msgspec.structs.replace(RUN, job=evil, kind=evil)
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=80)
    lines = draw(status(devices=(gpu,), runs=(run,)), (Event("1", "info", evil),), 80, 24)
    for line in lines:
        console.print(line)

    assert "\x1b" not in out.getvalue()
    assert "\x07" not in out.getvalue()
    assert "[red]" in out.getvalue()


@settings(max_examples=50, deadline=None)
@given(width=st.integers(10, 250), height=st.integers(1, 80), names=st.lists(st.text(), max_size=9))
def test_no_text_breaks_the_frame(width: int, height: int, names: list[str]) -> None:
    gpus = tuple(msgspec.structs.replace(GPU, uuid=str(n), name=x) for n, x in enumerate(names))
    lines = draw(status(devices=gpus), EVENTS, width, height)

    assert len(lines) == height
    assert all(line.cell_len == width for line in lines)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"), (8.34, "8.3 s"), (42.0, "42 s"), (60.0, "1:00"), (725.0, "12:05"),
        (3600.0, "1 h 0 min"), (12_000.0, "3 h 20 min"), (440_000.0, "5 d 2 h"),
    ],
)  # fmt: skip
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("part", "cells"),
    [(0.0, "░░░░ "), (1.0, "████ "), (0.5, "██░░ "), (0.25 / 8, "▏░░░ "), (7.0, "████ ")],
)
def test_a_bar_has_eighths(part: float, cells: str) -> None:
    assert bar_of(part, 4).plain == cells


def test_a_line_of_the_log_is_an_event() -> None:
    line = {
        "event": "job done", "kind": "render", "status": "failed", "code": "out_of_memory",
        "seconds": 1.5, "job": "job-1", "timestamp": "2026-11-24T11:08:33.1Z", "level": "info",
    }  # fmt: skip

    assert event_of(line) == Event("11:08:33", "info", "render out_of_memory in 1.5 s  job-1")


def test_the_ring_keeps_the_log_and_what_others_write_and_copies_it_on() -> None:
    copy = io.StringIO()
    ring = Ring(copy)
    ring.write('{"event": "warm", "level": "info", "timestamp": "2026-11-24T11:08:33Z"}\n{"ev')
    ring.write('ent": "bad", "level": "error"}\nTraceback\n  File\n')

    assert [event.text for event in ring.events] == ["warm", "bad", "Traceback", "  File"]
    assert [event.text for event in ring.grave] == ["bad", "Traceback", "  File"]
    assert copy.getvalue().count("\n") == 4
