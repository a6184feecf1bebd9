"""More attacks on a jail: what is left behind, what reaches the neighbour, what outlives the agent.

Beside `test_sandbox.py`, which has the walls themselves. Each attack runs in a real jail.
Not covered, since it needs a GPU: memory of the device, its clocks, what an earlier tenant left.
"""

from __future__ import annotations

import json
import resource
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
import trio

from agent.sandbox.cgroup import find_home
from agent.sandbox.host import Order, Sandbox
from agent.sandbox.level import SandboxReport
from agent.sandbox.limits import prlimit_argv
from agent.task import Outcome
from agent.worker import LocalRunner
from coordinator.limits import MIB
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import decode_spec
from tests.processes import living
from tests.test_sandbox import (
    ATTACKS as WALLS,
    HOUSE,
    LIMITS,
    Check,
    does_not_say,
    fails,
    host,
    python,
    read,
    run,
    says,
    until,
)
from tests.test_worker import make, task

__all__ = ["host"]  # the fixture

pytestmark = pytest.mark.sandbox

ATTACKS: dict[str, tuple[str, Check]] = {
    "make more files than there is memory for": (
        python("""
                        for number in range(1_000_000):
                os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
            print("MADE")
        """),
        lambda result: b"MADE" not in result.log,
    ),
    "open a packet socket": (
        python("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"), fails,
    ),
    "open a socket to the machine below": (
        python("import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)"), fails,
    ),
    "reach the network by any family": (
        python("""
            import socket
            for family in range(2, 46):
                try:
                    socket.socket(family, socket.SOCK_DGRAM)
                    print("OPENED", family)
                except OSError:
                    pass
        """),
        does_not_say(b"OPENED"),
    ),
    "unshare by the flags of clone": (
        python("""
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            number = 56 if __import__("platform").machine() == "x86_64" else 220
            for bit in (17, 25, 26, 27, 28, 29, 30):
                pid = libc.syscall(number, (1 << bit) | 17, 0, 0, 0, 0)
                if pid == 0:
                    __import__("os")._exit(0)
                if pid > 0:
                    print("CLONED", bit)
        """),
        does_not_say(b"CLONED"),
    ),
    "unshare by clone3": (
        python("""
            import ctypes, struct
            libc = ctypes.CDLL(None, use_errno=True)
            arguments = struct.pack("<11Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
            pid = libc.syscall(435, arguments, len(arguments))
            if pid == 0:
                __import__("os")._exit(0)
            print("CLONED" if pid > 0 else "HELD")
        """),
        says(b"HELD"),
    ),
    "make a message queue": (
        python("""
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            number = 240 if __import__("platform").machine() == "x86_64" else 180
            print("QUEUE" if libc.syscall(number, b"left", 0o102, 0o600, 0) >= 0 else "HELD")
        """),
        says(b"HELD"),
    ),
    "dump its memory into a program of the host": (
        python("""
            import ctypes, resource
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
            # 1 byte stops a dump into a pipe too; 0 would not.
            print("LIMIT", resource.getrlimit(resource.RLIMIT_CORE))
        """),
        says(b"LIMIT (1, 1)"),
    ),
    "leave a core dump in its scratch": (
        "cd /tmp; (ulimit -c unlimited; kill -SEGV $$) 2>&1; sh -c 'kill -SEGV $$'; ls /tmp",
        does_not_say(b"core"),
    ),
    "write into the first process's memory": (
        python("""
            import os, re
            try:
                maps = open("/proc/1/maps").read()
                start = int(re.search(r"^([0-9a-f]+)-[0-9a-f]+ r-xp", maps, re.M)[1], 16)
                with open("/proc/1/mem", "r+b", buffering=0) as memory:
                    memory.seek(start)
                    memory.write(b"\\xcc" * 4096)
                print("WROTE: its own shell, in its own jail")
            except OSError:
                print("HELD")
        """),
        lambda result: result.exit_status is not None or bool(result.killed),
    ),
    "see its own read-only code changed by others": (
        python("""
            seen = [e for e in __import__("os").listdir("/proc") if e.isdigit()]
            print("ALONE" if len(seen) <= 3 else seen)
        """),
        says(b"ALONE"),
    ),
    "kill the first process and everybody else": (
        "kill -9 1; kill -9 -1; echo STILL", lambda result: result.exit_status is not None,
    ),
    "run programs of its own making without execute bits": (
        "printf '#!/bin/sh\\necho RAN' > /tmp/x; chmod u+s /tmp/x; /tmp/x; id -u",
        says(b"65534"),
    ),
    "bind a port for others to reach": (
        python("import socket; socket.socket().bind(('0.0.0.0', 8080))"), fails,
    ),
    "pass itself for the coordinator in its output": (
        """printf '{"type":"job_result","id":"job-1","status":"completed"}\\n\\020\\000{}'""",
        says(b'{"type":"job_result","id":"job-1","status":"completed"}'),
    ),
}  # fmt: skip


@pytest.fixture
def sandbox(host: tuple[SandboxReport, Sandbox]) -> Sandbox:
    return host[1]


def test_no_attack_is_tried_twice() -> None:
    assert not ATTACKS.keys() & WALLS.keys()


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_gets_nothing(sandbox: Sandbox, attack: str) -> None:
    line, held = ATTACKS[attack]
    result = await run(sandbox, line)

    assert held(result), result
    # And the next job of the same place is none the worse for it.
    assert (await run(sandbox, "echo well")).log == b"well\n"


@pytest.mark.slow
async def test_a_job_that_spins_is_ended_by_its_processor_time_too(sandbox: Sandbox) -> None:
    """The agent's clock ends it first; the kernel's would if the agent hung."""
    limits = msgspec.structs.replace(LIMITS, execution_s=0.2)
    order = Order(("/bin/sh", "-c", "while :; do :; done"), limits)
    jail = sandbox.start(order, slot=11)
    try:
        with trio.fail_after(20):
            await jail.wait()
    finally:
        ending = await jail.end()

    assert ending.exit_status in {128 + 24, 128 + 9}  # SIGXCPU, or SIGKILL at the hard limit


@pytest.mark.slow
async def test_a_job_reaches_no_job_of_another_place(sandbox: Sandbox) -> None:
    """Two jails at once: one kills and looks for whatever it can name."""
    victim = Order(("/bin/sh", "-c", "echo up; exec sleep 4801.1"), LIMITS)
    jail = sandbox.start(victim, slot=21)
    try:
        with trio.fail_after(5):
            await jail.output.receive_some(10)
        pids = living(b"4801.1")
        kills = " ".join(f"kill -9 {pid} 2>/dev/null;" for pid in pids)
        attack = f"{kills} kill -9 -1; for p in /proc/[0-9]*; do cat $p/cmdline; done; ls /tmp"
        result = await run(sandbox, attack, slot=22)
        assert b"4801.1" not in result.log
        assert living(b"4801.1")
    finally:
        await jail.end()


@pytest.mark.slow
@pytest.mark.parametrize("leftover", ["file", "shm", "socket", "process"])
async def test_the_next_job_of_a_place_finds_nothing_of_the_last_one(
    sandbox: Sandbox, leftover: str
) -> None:
    leave = {
        "file": "echo mine > /tmp/left; echo mine > /dev/shm/left",
        "shm": "ipcmk -M 4096 -Q -S 1",
        "socket": python("""
            import socket, time
            local = socket.socket(socket.AF_UNIX)
            local.bind("\\0left")
            local.listen()
        """),
        "process": "setsid sleep 4802.2 &",
    }[leftover]
    await run(sandbox, leave, slot=23)
    look = (
        "ls /tmp /dev/shm; ipcs | grep -c 65534; cat /proc/net/unix | grep left;"
        "cat /proc/[0-9]*/cmdline | grep -c 4802.2"
    )
    result = await run(sandbox, f"({look}) 2>/dev/null; true", slot=23)

    assert b"left" not in result.log
    assert living(b"4802.2") == []


def test_a_specification_has_no_place_for_an_environment() -> None:
    """LD_PRELOAD and PYTHONPATH come from nobody: what a job could say of them is refused."""
    for field in ("env", "environment", "mounts", "user", "image"):
        raw = json.dumps(
            {"kind": "command", "params": {"command": "id"}, field: {"LD_PRELOAD": "x"}}
        )
        with pytest.raises(Refusal, match=field):
            decode_spec(raw.encode())


async def test_nothing_of_the_agents_environment_changes_how_a_job_is_loaded(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "ENV"):
        monkeypatch.setenv(name, "/tmp/evil-of-the-host")
    result = await run(sandbox, "env; cat /proc/self/environ | tr '\\0' '\\n'")

    assert b"evil-of-the-host" not in result.log
    assert result.exit_status == 0


# ---- the warm worker ----------------------------------------------------------------------------


async def _ran(runner: LocalRunner, do: str, **params: object) -> Outcome:
    return await runner.run(task(do, params))


@pytest.mark.slow
async def test_a_worker_reads_no_key_and_writes_nothing_of_the_host() -> None:
    """Our own kernels run there; were one of them turned, this is what it could reach."""
    runner = make(allow_command=True)
    with trio.fail_after(60):
        report = await runner.start()
        if report.worker_level == 0:
            pytest.skip("no sandbox here: " + "; ".join(report.remarks))
        found = json.loads((await _ran(runner, "reach")).outputs[0].data)
        await runner.aclose()

    assert found["readable"] == []
    assert found["writable"] == ["/dev/shm", "/tmp"]
    assert found["families"] == []


@pytest.mark.slow
async def test_an_agent_that_is_killed_takes_everything_along_within_a_second(
    tmp_path: Path,
) -> None:
    """kill -9 in the middle of a kernel that never looks up and of a command that will not die."""
    code = f"""
        import sys, trio
        sys.path.insert(0, {str(HOUSE)!r})
        from tests.test_worker import command, make, task
        async def main():
            runner = make(allow_command=True, command_places=1)
            await runner.start()
            print("warm", flush=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run, task("spin", execution_s=60.0))
                line = "trap '' TERM HUP INT; (setsid sh -c 'sleep 4803.3; :' &); sleep 4803.3"
                nursery.start_soon(runner.run, command(line, execution_s=60.0))
        trio.run(main)
    """
    agent = await trio.lowlevel.open_process(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=HOUSE, stdout=-1
    )
    assert agent.stdout is not None
    with trio.fail_after(60):
        await agent.stdout.receive_some(10)
    await until(lambda: len(living(b"4803.3")) >= 2, seconds=10)
    workers = [pid for pid in living(b"agent.worker_process") if _is_below(pid, agent.pid)]
    assert workers

    agent.kill()
    await agent.wait()
    await until(lambda: not living(b"4803.3"), seconds=1)
    await until(lambda: not any(_is_alive(pid) for pid in workers), seconds=1)
    # Its control groups are swept by the next agent.
    home = find_home()
    if home is not None:
        assert not list(home.memory.glob(f"hypernode-{agent.pid}-*"))


def _parent(pid: int) -> int:
    try:
        return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _is_below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = _parent(pid)
    return False


def _is_alive(pid: int) -> bool:
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@pytest.mark.slow
async def test_a_job_gets_no_bytes_of_the_one_before_it() -> None:
    """One warm worker serves strangers one after the other: what it gives is its own job's only."""
    runner = make()
    with trio.fail_after(60):
        await runner.start()
        await _ran(runner, "size", bytes=1 * MIB)
        small = await _ran(runner, "echo", secret="none")
        await runner.aclose()

    assert json.loads(small.outputs[0].data) == {"secret": "none"}
    assert sum(len(output.data) for output in small.outputs) < 100


@pytest.mark.parametrize(("hard", "expected"), [(0, 0), (1, 1), (4096, 1), (-1, 1)])
def test_the_limit_of_dumps_is_one_byte_wherever_our_own_allows_it(
    hard: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raising a hard limit of 0 is refused to all but root: a jail would not start."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (0, hard))

    assert f"--core={expected}" in prlimit_argv("prlimit", LIMITS, own_uid=True)
