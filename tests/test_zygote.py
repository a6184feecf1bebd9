"""The zygote of strangers' kernels: what a child gets, which is its task and nothing else.

Attacks marked `sandbox` run in a real jail and are skipped where there is none.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trio

from agent.sandbox.canaries import probe_host
from agent.sandbox.child_filter import allowed_calls, build_child_filter
from agent.sandbox.seccomp import denied_calls
from agent.task import Outcome, Task
from agent.warm_worker import WarmWorker
from agent.worker_start import WorkerDevice, WorkerPlan
from agent.zygote_process import ObjectCode
from coordinator.limits import MIB
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from tests.bpf import answer
from tests.fakes.zygote_attacks import ATTACKS

FAKES = str(Path(__file__).resolve().parent / "fakes")
PLAN = WorkerPlan(
    WorkerDevice(),
    kernels="fake_zygote_kernels",
    process="agent.zygote_process",
    import_paths=(FAKES,),
)


@pytest.fixture
async def zygote() -> AsyncIterator[WarmWorker]:
    """A zygote in a jail, where this host has one."""
    report, sandbox = await probe_host()
    worker = WarmWorker(PLAN, 3, sandbox=sandbox, level=report.worker_level)
    with trio.fail_after(120):
        await worker.ready()
        try:
            yield worker
        finally:
            await worker.aclose()


@pytest.fixture
def jailed(zygote: WarmWorker) -> WarmWorker:
    if zygote.level == 0:
        pytest.skip(f"no sandbox here: {zygote.remark}")
    return zygote


async def run(zygote: WarmWorker, name: str, value: Any = None, **changes: Any) -> Outcome:
    where = {"where": changes.pop("where")} if "where" in changes else {}
    params = json.dumps({"name": name, "value": value, **where}).encode()
    spec = b'{"kind":"kernel"}'
    task = Task("job", 1, "kernel", spec, execution_s=5.0, memory_mb=256, output_bytes=MIB)
    heard = changes.pop("on_progress", None)
    return await zygote.run(msgspec.structs.replace(task, **changes), params, heard)


def text(outcome: Outcome) -> str:
    assert outcome.status == "completed", outcome
    return outcome.outputs[0].data.decode()


# ---- walls ------------------------------------------------------------------------------------


@pytest.mark.sandbox
@pytest.mark.slow
async def test_no_attack_gets_anything_from_a_run_child_or_a_compile_child(
    jailed: WarmWorker,
) -> None:
    got = {}
    for name in ATTACKS:
        for where in ("run", "build"):
            got[name, where] = text(await run(jailed, name, where=where))

    assert {key: what for key, what in got.items() if what} == {}
    assert len(ATTACKS) >= 60


@pytest.mark.slow
async def test_attacks_are_held_without_a_jail_too_where_the_child_alone_holds_them() -> None:
    """All but reading what everybody on the host may read."""
    plain = WarmWorker(PLAN, 4, sandbox=None, level=0)
    try:
        with trio.fail_after(120):
            await plain.ready()
            got = {name: text(await run(plain, name)) for name in ATTACKS}
    finally:
        await plain.aclose()

    open_to_all = {"read the users", "read the shadow file"}
    assert {name for name, what in got.items() if what} <= open_to_all


#: Attacks that harm nobody where nothing holds them.
HARMLESS = (
    "read the users", "list scratch", "list devices", "list system facts",
    "write to the null device", "make a file in memory", "see processes",
    "read its own environment", "let itself be traced", "ask whether the zygote lives",
    "open the zygote by number", "compare with the zygote", "signal by a descriptor's owner",
    "fork", "fork in a thread", "start a program", "spawn a program", "open a network socket",
    "open a local socket", "open a pair of sockets", "open a pipe", "count events", "watch files",
    "pin the zygote",
)  # fmt: skip
CONTROL = """
import json, os, sys
sys.path.insert(0, {fakes!r})
from zygote_attacks import ATTACKS
os.dup2(os.open("/dev/null", os.O_RDWR), 3)
got = {{}}
for name in {names!r}:
    try:
        got[name] = ATTACKS[name]()
    except OSError:
        got[name] = ""
print(json.dumps(got))
"""


def test_the_attacks_bite_where_there_are_no_walls() -> None:
    script = CONTROL.format(fakes=FAKES, names=HARMLESS)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )

    got = json.loads(done.stdout)
    assert {name for name in HARMLESS if not got[name]} == set()


# ---- tasks ------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_task_is_compiled_and_run_by_different_children_and_committed_to(
    zygote: WarmWorker,
) -> None:
    outcome = await run(zygote, "double", [1.0, 2.5])
    two = await run(zygote, "two")

    assert np.frombuffer(outcome.outputs[0].data).tolist() == [2.0, 5.0]
    assert outcome.root == output_root([outcome.outputs[0].data])
    assert [(each.dtype, each.shape) for each in two.outputs] == [
        ("int32", (3,)), ("float32", (2, 2)),
    ]  # fmt: skip


@pytest.mark.slow
async def test_object_code_is_made_once_for_what_has_the_same_key(zygote: WarmWorker) -> None:
    first, second = [text(await run(zygote, "built_by", "keep")) for _ in range(2)]
    other = text(await run(zygote, "built_by", "not kept"))

    assert first == second != other


@pytest.mark.slow
async def test_nothing_of_a_job_is_left_for_the_next_one(zygote: WarmWorker) -> None:
    assert [text(await run(zygote, "leave")) for _ in range(3)] == ["0", "0", "0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "code", "said"),
    [
        ("build_fails", None, "bad_spec", "line 3: there is no such thing"),
        ("raise", "odd", "kernel_failed", "the kernel failed: RuntimeError: odd"),
        ("refuse", None, "kernel_failed", "the kernel says so"),
        ("take", 900 * MIB * 2, "out_of_memory", ""),
        ("large", 2 * MIB, "output_too_large", "1048576 bytes"),
        ("crash", None, "kernel_failed", "outside of its arrays"),
        ("signal", signal.SIGABRT, "kernel_failed", "SIGABRT"),
        ("signal", signal.SIGFPE, "kernel_failed", "SIGFPE"),
        ("exit", 0, "kernel_failed", "without a result"),
        ("exit", 9, "kernel_failed", "without a result"),
        ("write", "", "kernel_failed", "without a result"),
        ("write", "nonsense\n", "kernel_failed", "nonsense"),
        ("write", "[" * 5000 + "\n", "kernel_failed", "nonsense"),
        ("write", '{"status":"running","progress":7}\n', "kernel_failed", "nonsense"),
        ("write", '{"status":"failed","code":"forbidden"}\n', "kernel_failed", ""),
        ("write", '{"status":"done"', "kernel_failed", "without a result"),
        ("flood", None, "kernel_failed", "without a result"),
    ],
)
async def test_what_a_child_does_wrong_is_its_tasks_failure_and_the_zygote_stays(
    zygote: WarmWorker, name: str, value: Any, code: str, said: str
) -> None:
    outcome = await run(zygote, name, value)

    assert (outcome.status, outcome.code) == ("failed", code), outcome
    assert said in outcome.detail
    assert text(await run(zygote, "leave")) == "0"


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        {"dtype": "uint8", "shape": [10], "start": MIB - 9},
        {"dtype": "uint8", "shape": [10], "start": -1},
        {"dtype": "uint8", "shape": [2**62, 2**62], "start": 0},
        {"dtype": "float64", "shape": [-1], "start": 0},
        {"dtype": "object", "shape": [1], "start": 0},
        {"dtype": "uint8", "shape": [1] * 99, "start": 0},
    ],
)
async def test_an_array_outside_of_the_shared_memory_is_no_answer(
    zygote: WarmWorker, piece: dict[str, Any]
) -> None:
    line = json.dumps({"status": "done", "pieces": [piece]}) + "\n"

    outcome = await run(zygote, "write", line)

    assert (outcome.status, outcome.code) == ("failed", "kernel_failed")


@pytest.mark.slow
async def test_progress_is_told_and_a_long_task_is_ended_at_its_time(zygote: WarmWorker) -> None:
    heard: list[float] = []

    outcome = await run(zygote, "steps", 60, on_progress=heard.append)
    late = await run(zygote, "spin", execution_s=0.4)

    assert outcome.status == "completed"
    assert heard
    assert sorted(heard) == heard
    assert late.code == "execution_timeout"
    assert text(await run(zygote, "leave")) == "0"


@pytest.mark.slow
async def test_a_cancelled_task_ends_at_once_and_the_zygote_stays(zygote: WarmWorker) -> None:
    with trio.move_on_after(0.3) as scope:
        await run(zygote, "spin")

    assert scope.cancelled_caught
    started = trio.current_time()
    assert text(await run(zygote, "leave")) == "0"
    assert trio.current_time() - started < 2


# ---- the filter -------------------------------------------------------------------------------

_X86, _ARM = 0xC000003E, 0xC00000B7
_EPERM = 0x00050001
_ALLOW = 0x7FFF0000
x86 = partial(answer, build_child_filter("x86_64", 77), _X86)


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", _X86), ("aarch64", _ARM)])
def test_what_is_allowed_passes_and_every_other_number_fails(
    machine: str, architecture: int
) -> None:
    program = build_child_filter(machine, 77)
    allowed = set(allowed_calls(machine).values())
    special = {56, 435, 257, 234, 302} if machine == "x86_64" else {220, 435, 56, 131, 261}

    for number in range(600):
        got = answer(program, architecture, number, 0, 0, 1)
        if number in allowed:
            assert got == _ALLOW, number
        elif number not in special:
            assert got == _EPERM, number
    assert not allowed & set(denied_calls(machine).values())


def test_arguments_decide_where_they_can() -> None:
    clone, clone3, openat, tgkill, prlimit = 56, 435, 257, 234, 302

    assert x86(clone, 0x003D0F00) == _ALLOW
    assert x86(clone, 17) == _EPERM
    assert x86(clone3, 0) == 0x00050000 | 38
    assert x86(openat, 0, 0, 0o2000000) == _ALLOW
    for flags in (0o1, 0o2, 0o100, 0o1000, 0o20200000, 0o2000001):
        assert x86(openat, 0, 0, flags) == _EPERM, oct(flags)
    assert x86(tgkill, 77) == _ALLOW
    assert x86(tgkill, 78) == _EPERM
    assert x86(prlimit, 0, 7, 0) == _ALLOW
    assert x86(prlimit, 0, 7, 4096) == _EPERM
    assert x86(prlimit, 0, 7, 1 << 32) == _EPERM


def test_a_machine_without_a_table_is_refused_by_name() -> None:
    with pytest.raises(Refusal, match="no system call filter for riscv64"):
        build_child_filter("riscv64", 1)


# ---- what is kept -----------------------------------------------------------------------------


def test_the_least_recently_used_object_code_goes_first() -> None:
    kept = ObjectCode()
    for name in (b"a", b"b", b"c"):
        kept.put(name, bytes(20 * MIB))
    assert kept.get(b"a") is not None

    kept.put(b"d", bytes(20 * MIB))

    assert [kept.get(name) is None for name in (b"a", b"b", b"c", b"d")] == [
        False, True, False, False,
    ]  # fmt: skip
