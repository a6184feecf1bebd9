"""The runner of a host: warm workers that fail well, and commands in jails."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random  # noqa: TID251 (seeded)
from typing import Any

import msgspec
import numpy as np
import pytest
import trio

from agent.frames import HEADER_BYTES_MAX, ReplyHeader, ReplyReader, WorkerGone, head
from agent.task import Outcome, Runner, Task
from agent.warm_worker import STOP_GRACE_S
from agent.worker import LocalRunner
from agent.worker_start import WorkerDevice
from coordinator.limits import LOG_BYTES_MAX, MIB
from coordinator.protocol.commitment import output_root
from tests.processes import living

FAKES = str(Path(__file__).resolve().parent / "fakes")


def task(kind: str, params: dict[str, Any] | None = None, **changes: Any) -> Task:
    spec = json.dumps({"kind": kind, "params": params or {}}).encode()
    made = Task("job", 1, kind, spec, execution_s=5.0, memory_mb=256, output_bytes=64 * MIB)
    return msgspec.structs.replace(made, **changes)


def command(line: str, **changes: Any) -> Task:
    return task("command", {"command": line}, **changes)


def make(*devices: WorkerDevice, **options: Any) -> LocalRunner:
    options = {"kernels": "fake_kernels", "import_paths": [FAKES], **options}
    return LocalRunner(devices or (WorkerDevice(),), **options)


@pytest.fixture
async def runner() -> AsyncIterator[LocalRunner]:
    """A runner with one CPU worker, in a jail where this host has one."""
    made = make(allow_command=True)
    with trio.fail_after(60):
        await made.start()
        yield made
        await made.aclose()


@pytest.fixture
def jailed(runner: LocalRunner) -> LocalRunner:
    """The runner, on a host whose sandbox takes its worker."""
    if runner.report.worker_level == 0:
        pytest.skip("no sandbox here: " + "; ".join(runner.report.remarks))
    return runner


def a_runner(runner: LocalRunner) -> Runner:
    """Nothing but a type: the checker says whether it is one."""
    return runner


async def facts(runner: LocalRunner) -> dict[str, Any]:
    outcome = await runner.run(task("environment"))
    loaded: dict[str, Any] = json.loads(outcome.outputs[0].data)
    return loaded


# ---- our own kinds ------------------------------------------------------------------------------


@pytest.mark.slow
async def test_outputs_come_back_with_their_root(runner: LocalRunner) -> None:
    outcome = await runner.run(task("echo", {"a": [1, 2]}))

    (output,) = outcome.outputs
    assert outcome.status == "completed"
    assert json.loads(output.data) == {"a": [1, 2]}
    assert (output.dtype, output.shape) == ("uint8", (len(output.data),))
    assert outcome.root == output_root([output.data])


@pytest.mark.slow
async def test_a_large_output_arrives_whole(runner: LocalRunner) -> None:
    outcome = await runner.run(task("size", {"bytes": 5 * MIB}))

    expected = np.arange(5 * MIB, dtype=np.uint8).tobytes()
    assert hashlib.sha256(outcome.outputs[0].data).digest() == hashlib.sha256(expected).digest()


@pytest.mark.slow
async def test_a_warm_task_costs_less_than_two_milliseconds(runner: LocalRunner) -> None:
    took_ms = []
    for _ in range(50):
        started = time.perf_counter()
        await runner.run(task("echo"))
        took_ms.append((time.perf_counter() - started) * 1000)

    assert statistics.median(took_ms) < 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "code", "detail"),
    [
        (task("refuse"), "bad_spec", "these parameters are not mine"),
        (task("raise"), "agent_error", "ValueError"),
        (task("size", {"bytes": 101}, output_bytes=100), "output_too_large", "101"),
        (task("echo", spec=b'{"kind":"other"}'), "bad_spec", "specification"),
        (task("echo", spec=b"{"), "bad_spec", "not valid"),
    ],
    ids=["refused", "raised", "too large", "kinds differ", "no specification"],
)
async def test_what_a_task_does_wrong_is_its_outcome_and_the_worker_stays(
    runner: LocalRunner, given: Task, code: str, detail: str
) -> None:
    before = await facts(runner)

    outcome = await runner.run(given)

    assert (outcome.status, outcome.code) == ("failed", code)
    assert detail in outcome.detail
    assert (outcome.outputs, outcome.root) == ((), output_root(()))
    assert await facts(runner) == before


@pytest.mark.slow
async def test_what_a_library_prints_does_not_disturb_the_frames(runner: LocalRunner) -> None:
    outcome = await runner.run(task("chatter"))

    assert outcome.status == "completed"
    assert (await runner.run(task("echo"))).status == "completed"


@pytest.mark.slow
async def test_a_crash_fails_its_task_and_the_next_one_finds_a_new_worker(
    runner: LocalRunner,
) -> None:
    outcome = await runner.run(task("crash"))

    assert (outcome.status, outcome.code) == ("failed", "worker_crashed")
    assert (await runner.run(task("echo"))).status == "completed"


@pytest.mark.slow
async def test_a_task_past_its_time_is_ended_and_the_next_one_runs(runner: LocalRunner) -> None:
    started = trio.current_time()

    outcome = await runner.run(task("spin", execution_s=0.2))

    assert outcome.code == "execution_timeout"
    assert trio.current_time() - started < 2
    assert (await runner.run(task("echo"))).status == "completed"


@pytest.mark.slow
async def test_a_long_task_says_how_far_it_is(runner: LocalRunner) -> None:
    heard: list[float] = []

    outcome = await runner.run(task("steps", {"seconds": 2.4}), on_progress=heard.append)
    at_once = await runner.run(task("steps", {"seconds": 0.1}), on_progress=heard.append)

    assert (outcome.status, at_once.status) == ("completed", "completed")
    assert heard == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.slow
async def test_cancelling_a_task_ends_its_work_at_once(runner: LocalRunner) -> None:
    with trio.move_on_after(0.2) as scope:
        await runner.run(task("spin", execution_s=60.0))

    assert scope.cancelled_caught
    assert (await runner.run(task("echo"))).status == "completed"


@pytest.mark.slow
async def test_a_cancelled_task_ends_between_two_launches_and_its_worker_stays_warm(
    runner: LocalRunner,
) -> None:
    before = await facts(runner)
    with trio.move_on_after(0.2) as scope:
        await runner.run(task("launches", {"count": 6000}, execution_s=60.0))
    took_s = trio.current_time() - scope.deadline

    assert scope.cancelled_caught
    assert took_s < STOP_GRACE_S
    assert await facts(runner) == before


@pytest.mark.slow
async def test_a_task_out_of_time_ends_between_two_launches_too(runner: LocalRunner) -> None:
    before = await facts(runner)

    outcome = await runner.run(task("launches", {"count": 6000}, execution_s=0.2))

    assert outcome.code == "execution_timeout"
    assert await facts(runner) == before


@pytest.mark.slow
async def test_a_task_that_does_not_look_up_is_killed_with_its_worker_after_the_grace(
    runner: LocalRunner,
) -> None:
    with trio.move_on_after(0.2) as scope:
        await runner.run(task("spin", execution_s=60.0))
    took_s = trio.current_time() - scope.deadline
    began = trio.current_time()
    outcome = await runner.run(task("echo"))

    assert STOP_GRACE_S <= took_s < STOP_GRACE_S + 1
    assert outcome.status == "completed"
    # It is another worker: an import of NumPy lies between.
    assert trio.current_time() - began > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 4])
async def test_a_cancellation_that_crosses_the_reply_disturbs_nothing(
    runner: LocalRunner, count: int
) -> None:
    """About as long as the task takes: some are cancelled, some end first, none hangs."""
    before = await facts(runner)
    for milliseconds in range(8, 48, 4):
        with trio.move_on_after(milliseconds / 1000):
            await runner.run(task("launches", {"count": count, "bytes": 200_000}))
        outcome = await runner.run(task("echo", {"n": milliseconds}))

        assert json.loads(outcome.outputs[0].data) == {"n": milliseconds}
    assert await facts(runner) == before


@pytest.mark.slow
@pytest.mark.sandbox
async def test_many_cancellations_at_any_moment_leave_nothing_behind(jailed: LocalRunner) -> None:
    """Commands and kernels, cancelled as they start, run or end: descriptors, groups, processes."""
    chance = Random(7)

    def what_is_here() -> tuple[int, int]:
        home = jailed.sandbox.home if jailed.sandbox is not None else None
        groups = 0 if home is None else len(list(home.memory.glob(f"hypernode-{os.getpid()}-*")))
        return len(os.listdir("/proc/self/fd")), groups  # noqa: PTH208

    await jailed.run(command("true"))
    before = what_is_here()
    for number in range(60):
        given = command("sleep 4719.9") if number % 2 else task("launches", {"count": 3})
        with trio.move_on_after(chance.uniform(0, 0.05)):
            await jailed.run(given)

    outcome = await jailed.run(task("echo", {"still": "well"}))
    assert json.loads(outcome.outputs[0].data) == {"still": "well"}
    assert what_is_here() == before
    assert living(b"4719.9") == []


@pytest.mark.slow
@pytest.mark.sandbox
async def test_a_task_above_its_memory_fails_as_that(jailed: LocalRunner) -> None:
    if jailed.report.worker_level < 2:
        pytest.skip("level 1: " + "; ".join(jailed.report.remarks))

    outcome = await jailed.run(task("hog", {"bytes": 200 * MIB}, memory_mb=16))

    assert outcome.code == "out_of_memory"
    roomy = await jailed.run(task("hog", {"bytes": 200 * MIB}, memory_mb=512))
    assert roomy.status == "completed"


@pytest.mark.slow
async def test_the_worker_has_nothing_of_the_agents_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WALLET_KEY", "secret")
    runner = make()
    try:
        found = await facts(runner)
    finally:
        await runner.aclose()

    assert "secret" not in json.dumps(found)


@pytest.mark.slow
@pytest.mark.sandbox
async def test_the_worker_in_a_jail_is_nobody(jailed: LocalRunner) -> None:
    found = await facts(jailed)

    assert found["uid"] == 65534
    assert found["pid"] < 10


@pytest.mark.slow
async def test_each_device_has_a_slot_and_tasks_beyond_them_wait() -> None:
    runner = make(WorkerDevice(), WorkerDevice())
    outcomes: list[Outcome] = []

    async def one() -> None:
        outcomes.append(await runner.run(task("echo")))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
        await runner.aclose()

    assert a_runner(runner).slots == 2
    assert [outcome.status for outcome in outcomes] == ["completed"] * 5


# ---- where the worker does not start ------------------------------------------------------------


@pytest.mark.slow
async def test_without_bubblewrap_our_own_kinds_run_at_level_0_and_a_remark_says_so(
    tmp_path: Path,
) -> None:
    runner = make(path=str(tmp_path), allow_command=True)
    try:
        report = await runner.start()
        ours = await runner.run(task("echo"))
        theirs = await runner.run(command("id"))
        test_job = await runner.run(command("sleep 0"))
    finally:
        await runner.aclose()

    assert (report.level, report.worker_level) == (0, 0)
    assert "apt install bubblewrap" in report.remarks[0]
    assert ours.status == "completed"
    assert (theirs.status, theirs.code) == ("failed", "sandbox_unavailable")
    assert "apt install bubblewrap" in theirs.detail
    assert test_job.status == "completed"


@pytest.mark.slow
@pytest.mark.sandbox
async def test_a_device_that_fails_only_in_a_jail_runs_without_and_says_so() -> None:
    runner = make(WorkerDevice("broken inside"))
    try:
        report = await runner.start()
        outcome = await runner.run(task("echo"))
    finally:
        await runner.aclose()
    if report.level == 0:
        pytest.skip("no sandbox here: " + "; ".join(report.remarks))

    assert report.worker_level == 0
    assert "no device here" in report.remarks[-1]
    assert outcome.status == "completed"


@pytest.mark.slow
async def test_a_device_that_fails_everywhere_is_left_out() -> None:
    runner = make(WorkerDevice("broken"), WorkerDevice())
    try:
        report = await runner.start()
        outcome = await runner.run(task("echo"))
    finally:
        await runner.aclose()

    assert runner.slots == 1
    assert "no device here" in report.remarks[-1]
    assert outcome.status == "completed"


@pytest.mark.slow
async def test_without_any_worker_a_task_fails_and_says_why() -> None:
    runner = make(WorkerDevice("broken"))

    outcome = await runner.run(task("echo"))

    assert outcome.code == "agent_error"
    assert "no device here" in outcome.detail


# ---- commands -----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_command_that_the_operator_did_not_allow_is_refused() -> None:
    runner = make()
    try:
        refused = await runner.run(command("id"))
        test_job = await runner.run(command("sleep 0"))
    finally:
        await runner.aclose()

    assert (refused.status, refused.code) == ("failed", "sandbox_unavailable")
    assert "--allow-command" in refused.detail
    assert test_job.status == "completed"


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("line", "changes", "expected"),
    [
        ("echo done", {}, ("completed", "", "", b"done\n")),
        ("echo bad; exit 3", {}, ("failed", "exit_nonzero", "exit status 3", b"bad\n")),
        (
            "echo on; sleep 9",
            {"execution_s": 0.3},
            ("failed", "execution_timeout", "ended after 0.3 s, its limit", b"on\n"),
        ),
        ("echo 12345", {"output_bytes": 3}, ("completed", "", "", b"123")),
        (
            "echo 1234567",
            {"output_bytes": 3},
            (
                "failed",
                "output_too_large",
                "wrote more than 6 bytes (kept the first 3 bytes)",
                b"123",
            ),
        ),
        (
            "head -c 9m /dev/zero",
            {},
            (
                "failed",
                "output_too_large",
                "wrote more than 2 MiB (kept the first 1 MiB)",
                bytes(LOG_BYTES_MAX),
            ),
        ),
    ],
    ids=["good", "exit status", "too slow", "cut", "too much", "far too much"],
)
async def test_a_commands_log_is_its_output_whatever_became_of_it(
    jailed: LocalRunner,
    line: str,
    changes: dict[str, Any],
    expected: tuple[str, str, str, bytes],
) -> None:
    outcome = await jailed.run(command(line, **changes))

    (output,) = outcome.outputs
    assert (outcome.status, outcome.code, outcome.detail, output.data) == expected
    assert (output.dtype, output.shape) == ("uint8", (len(output.data),))
    assert outcome.root == output_root([output.data])
    assert len(output.data) <= LOG_BYTES_MAX


@pytest.mark.slow
@pytest.mark.sandbox
async def test_a_command_above_its_memory_has_its_log_and_the_limit(jailed: LocalRunner) -> None:
    if jailed.report.level < 2:
        pytest.skip("level 1: " + " ".join(jailed.report.remarks))
    line = "echo begun; head -c 200m /dev/zero | tail -c 200m > /dev/null"

    outcome = await jailed.run(command(line, memory_mb=32))

    assert (outcome.status, outcome.code) == ("failed", "out_of_memory")
    assert outcome.detail == "used more than 32 MiB, its limit"
    assert outcome.outputs[0].data.startswith(b"begun\n")
    assert outcome.root == output_root([outcome.outputs[0].data])


@pytest.mark.slow
@pytest.mark.sandbox
async def test_a_commands_output_is_heard_as_it_comes_and_in_whole_characters(
    jailed: LocalRunner,
) -> None:
    heard: list[tuple[float, str]] = []
    line = "printf '\\303'; sleep 0.2; printf '\\244\\n'; sleep 0.3; printf '\\377'"

    await jailed.run(command(line), on_log=lambda text: heard.append((trio.current_time(), text)))

    assert [text for _, text in heard] == ["ä\n", "\ufffd"]
    assert heard[1][0] - heard[0][0] > 0.15


@pytest.mark.slow
@pytest.mark.sandbox
async def test_a_command_does_not_disturb_the_warm_worker(jailed: LocalRunner) -> None:
    before = await facts(jailed)

    await jailed.run(command("kill -9 -1; exit 0"))

    assert await facts(jailed) == before


# ---- frames -------------------------------------------------------------------------------------


async def read_reply(data: bytes, data_bytes_max: int = 100) -> tuple[ReplyHeader, bytes]:
    """What the agent makes of the bytes that a worker wrote before it ended."""
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    async with trio.lowlevel.FdStream(read) as stream:
        header, rest = await ReplyReader(stream).read(data_bytes_max)
        return header, bytes(rest)


async def test_a_reply_comes_back_as_it_was_sent() -> None:
    header = ReplyHeader("completed", root="00", data_bytes=3)

    assert await read_reply(head(header) + b"abc") == (header, b"abc")


async def test_what_runs_may_say_so_before_its_reply() -> None:
    read, write = os.pipe()
    half, whole = ReplyHeader("running", progress=0.5), ReplyHeader("running", progress=1.0)
    final = ReplyHeader("completed", data_bytes=3)
    os.write(write, head(half) + head(whole) + head(final) + b"abc")
    os.close(write)
    heard: list[float] = []
    async with trio.lowlevel.FdStream(read) as stream:
        header, rest = await ReplyReader(stream).read(100, heard.append)

    assert (heard, header, bytes(rest)) == ([0.5, 1.0], final, b"abc")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\0",
        b"\x05\0\0\0{",
        b"\x02\0\0\0{}",
        b"\x02\0\0\0[]",
        (HEADER_BYTES_MAX + 1).to_bytes(4, "little"),
        head(ReplyHeader("completed", data_bytes=101)) + bytes(101),
        head(ReplyHeader("completed", data_bytes=-1)),
        head(ReplyHeader("completed", data_bytes=3)) + b"ab",
        head(ReplyHeader("completed", data_bytes=3)) + b"abcd",
        head(ReplyHeader("running", progress=0.5)),
        head(ReplyHeader("running", progress=1.5)) + head(ReplyHeader("completed")),
    ],
    ids=[
        "nothing",
        "half a length",
        "half a header",
        "no status",
        "no object",
        "long header",
        "long data",
        "negative",
        "half the data",
        "more than the data",
        "no reply behind progress",
        "more than all of it",
    ],
)
async def test_a_worker_that_breaks_the_frames_is_given_up(data: bytes) -> None:
    with pytest.raises(WorkerGone):
        await read_reply(data)
