"""The sandbox under attack: what a hostile job gets, which is nothing.

Attacks marked `sandbox` run in real jails and are skipped, with the reason, where there are none;
the filter, the levels and the choice of cgroups are tested everywhere.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, strategies as st

from agent.sandbox import attacks, canaries
from agent.sandbox.bubblewrap import View, interpreter_paths
from agent.sandbox.cgroup import FIX, find_home
from agent.sandbox.command import CommandResult, is_test_job, run_command
from agent.sandbox.host import POOL_UID, Order, Sandbox, find_sandbox
from agent.sandbox.jail import Jail, spawn
from agent.sandbox.level import SandboxReport, grade, namespace_fixes
from agent.sandbox.limits import JailLimits
from agent.sandbox.seccomp import build_filter, denied_calls
from coordinator.limits import KIB, MIB
from coordinator.protocol.errors import Refusal
from tests.bpf import answer
from tests.processes import living

HOUSE = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
LIMITS = JailLimits(
    execution_s=4, memory_bytes=96 * MIB, log_bytes=32 * KIB, processes=32, file_bytes=8 * MIB
)


@pytest.fixture(scope="module")
def host() -> tuple[SandboxReport, Sandbox]:
    """The report and the sandbox of this host."""
    report, sandbox = trio.run(canaries.probe_host)
    if sandbox is None:
        pytest.skip("no sandbox here: " + "; ".join(report.remarks))
    return report, sandbox


@pytest.fixture
def sandbox(host: tuple[SandboxReport, Sandbox]) -> Sandbox:
    return host[1]


@pytest.fixture(scope="module")
def canary_results(host: tuple[SandboxReport, Sandbox]) -> dict[str, str]:
    """All canaries, run once."""
    got, complaint = trio.run(canaries.attack_jail, host[1], PYTHON, View())
    assert got is not None, complaint
    return dict(got)


async def run(
    sandbox: Sandbox, command: str, limits: JailLimits = LIMITS, *, slot: int = 7
) -> CommandResult:
    with trio.fail_after(20):
        return await run_command(command, sandbox=sandbox, slot=slot, limits=limits)


def read(path: str) -> str:
    return Path(path).read_text()


async def until(condition: Callable[[], object], *, seconds: float) -> None:
    """Wait for what the kernel tells nobody."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)


def python(code: str) -> str:
    """A command that runs Python code inside."""
    return f"exec {PYTHON} -I -S - <<'END_OF_CODE'\n{textwrap.dedent(code)}\nEND_OF_CODE\n"


# ---- the self-test ------------------------------------------------------------------------------


@pytest.mark.sandbox
@pytest.mark.parametrize("attack", [attack.__name__ for attack in attacks.ATTACKS])
def test_every_canary_attack_gets_nothing(canary_results: dict[str, str], attack: str) -> None:
    assert canary_results[attack] == ""


@pytest.mark.sandbox
@pytest.mark.slow
async def test_the_canaries_notice_a_jail_without_a_filter(sandbox: Sandbox) -> None:
    allow_all = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    weak = msgspec.structs.replace(sandbox, filter=allow_all)

    got, complaint = await canaries.attack_jail(weak, PYTHON, View())

    assert got is not None, complaint
    assert "keyctl" in got["use_dangerous_calls"]
    assert got["open_a_netlink_socket"]
    assert grade(got, is_memory_bounded=True, is_worker_inside=True).level == 0


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_the_canaries_notice_that_there_is_no_jail() -> None:
    script = HOUSE / "agent/sandbox/attacks.py"
    facts = {"secret": "/etc/hostname", "port": 1, "abstract": "nobody"}
    ran = subprocess.run(
        [PYTHON, "-I", "-", msgspec.json.encode(facts).decode()],
        input=script.read_bytes(),
        capture_output=True,
        user=POOL_UID + 170,
        group=POOL_UID + 170,
        extra_groups=(),
        check=True,
        cwd="/",
    )

    got = {
        name for name, what in msgspec.json.decode(ran.stdout, type=dict[str, str]).items() if what
    }

    assert {
        "read_a_file_of_the_host",
        "see_processes_of_the_host",
        "open_a_network_socket",
        "keep_privileges",
        "read_homes_and_passwords",
    } <= got


@pytest.mark.sandbox
@pytest.mark.slow
def test_the_self_test_takes_less_than_two_seconds(host: tuple[SandboxReport, Sandbox]) -> None:
    async def timed() -> float:
        started = trio.current_time()
        await canaries.probe()
        return trio.current_time() - started

    assert trio.run(timed) < 2


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="is the ordinary case already")
def test_an_ordinary_user_without_delegation_has_level_1_and_learns_the_fix(
    host: tuple[SandboxReport, Sandbox],
) -> None:
    uid = POOL_UID + 171
    code = "import trio; from agent.sandbox.canaries import probe; print(trio.run(probe))"
    if not all(map(_is_readable_by_all, (HOUSE, Path(sys.prefix), Path(sys.base_prefix)))):
        pytest.skip(f"other users cannot read {HOUSE} or {sys.prefix}")

    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        user=uid,
        group=uid,
        extra_groups=(),
        cwd=HOUSE,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    ).stdout

    assert "SandboxReport(level=1, worker_level=1" in said
    assert FIX in said


def _is_readable_by_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (path, *path.parents))


@pytest.mark.sandbox
@pytest.mark.slow
async def test_a_python_that_cannot_be_read_inside_lowers_the_workers_level_only(
    host: tuple[SandboxReport, Sandbox],
) -> None:
    report, sandbox = await canaries.probe_host(python="/root/environment/bin/python")

    assert sandbox is not None
    assert (report.level, report.worker_level) == (host[0].level, 0)
    assert "/var/lib/hypernode" in report.remarks[0]


# ---- attacks of one command each ----------------------------------------------------------------

Check = Callable[[CommandResult], bool]


def fails(result: CommandResult) -> bool:
    return result.exit_status not in (0, None)


def is_silent(result: CommandResult) -> bool:
    return result.log.strip() == b""


def says(text: bytes) -> Check:
    return lambda result: text in result.log


def does_not_say(text: bytes) -> Check:
    return lambda result: text not in result.log and result.exit_status is not None


ATTACKS: dict[str, tuple[str, Check]] = {
    "find a key on the whole file system": (
        "grep -rl HYPERNODE-SECR[E]T / --exclude-dir=proc --exclude-dir=usr 2>/dev/null", is_silent,
    ),
    "read homes and passwords": ("cat /etc/shadow /root/.ssh/* 2>/dev/null; ls /root", fails),
    "read the first process's environment": (
        "tr '\\0' '\\n' < /proc/1/environ | grep -v -e ^PATH= -e ^HOME= -e ^LANG= -e ^PWD=",
        is_silent,
    ),
    "find the command in the process list": (
        "tr '\\0' ' ' < /proc/1/cmdline; true UNIQUE", does_not_say(b"UNIQUE"),
    ),
    "reach the cloud's metadata service": (
        python("import socket; socket.create_connection(('169.254.169.254', 80), 1)"), fails,
    ),
    "ask a name server": (
        python("import socket; socket.getaddrinfo('example.com', 80)"), fails,
    ),
    "talk to docker or dbus": ("ls /var/run/docker.sock /run/dbus /run/systemd", fails),
    "read the disk or the memory": ("cat /dev/vda /dev/sda /dev/mem /dev/kmsg /dev/kvm", fails),
    "kill the agent": (f"kill -9 {os.getpid()} {os.getppid()}", fails),
    "become root by a setuid program": (
        "su -c id 2>/dev/null; sudo -n id 2>/dev/null; passwd -d root 2>/dev/null; id -u",
        does_not_say(b"uid=0"),
    ),
    "remove the system": (
        "rm -rf /usr/bin /lib /etc 2>/dev/null; echo x > /usr/x; ls -d /usr/bin/env",
        says(b"/usr/bin/env"),
    ),
    "fill the root, /dev and /run": (
        "for d in / /dev /run /etc /usr; do echo x > $d/x && echo WROTE; done",
        does_not_say(b"WROTE"),
    ),
    "write one large file": ("head -c 99m /dev/zero > /tmp/x; wc -c < /tmp/x", says(b"8388608")),
    "fill the scratch folder": (
        "for i in 1 2 3 4 5 6 7 8 9; do head -c 7m /dev/zero > /tmp/$i || break; done; du -sm /tmp",
        says(b"No space left"),
    ),
    "fill the shared memory": (
        "for i in 1 2 3 4 5 6 7 8 9 10; do head -c 7m /dev/zero > /dev/shm/$i || break; done",
        lambda result: b"No space left" in result.log or result.killed == "memory",
    ),
    "start more processes than allowed": (
        python("""
            import os, time
            started = 0
            try:
                while started < 200:
                    if os.fork() == 0:
                        time.sleep(5)
                        os._exit(0)
                    started += 1
            except OSError:
                print("STOPPED", started < 33)
        """),
        says(b"STOPPED True"),
    ),
    "start more threads than allowed": (
        python("""
            import threading, time
            try:
                for number in range(200):
                    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
            except RuntimeError:
                print("STOPPED", number < 33, flush=True)
                __import__("os")._exit(0)
        """),
        says(b"STOPPED True"),
    ),
    "reserve 40 GiB of addresses": (
        python("import mmap; m = [mmap.mmap(-1, 1 << 30) for _ in range(40)]; print('MAPPED')"),
        fails,
    ),
    "open more files than allowed": (
        python("""
            import os
            try:
                while True:
                    last = os.open("/dev/null", 0)
            except OSError:
                print("STOPPED", last < 256)
        """),
        says(b"STOPPED True"),
    ),
    "lift its own limits": (
        "ulimit -n 9999; ulimit -p 9999; ulimit -f unlimited; ulimit -v unlimited; ulimit -n",
        does_not_say(b"9999\n"),
    ),
    "set the clock": ("date -s 2001-01-01", fails),
    "change priorities": ("renice -n -20 1; nice -n -20 id -u", does_not_say(b"new priority")),
    "nest namespaces": ("unshare -U true || unshare -m true || unshare -n true", fails),
    "mount and chroot": ("mount -t tmpfs x /tmp || chroot / true || mount --bind /tmp /usr", fails),
    "make a device": ("mknod /tmp/disk b 254 0", fails),
    "dig folders too deep to delete": (
        "i=0; while [ $i -lt 100 ]; do mkdir a && cd a || break; i=$((i+1)); done; echo $i",
        says(b"100"),
    ),
    "write bytes that are no text": (
        "printf '\\377\\376\\033[2J\\000\\200'",
        lambda result: result.log == b"\xff\xfe\x1b[2J\0\x80",
    ),
    "pass its own death for success": ("kill -9 $$", lambda result: result.exit_status == 137),
    "run a file from memory": (
        python("""
            import os
            fd = os.memfd_create("x", 0)
            os.write(fd, open("/bin/id", "rb").read())
            os.execve(f"/proc/self/fd/{fd}", ["id", "-u"], {})
        """),
        says(b"65534"),
    ),
    "preload a library into a setuid program": (
        "LD_PRELOAD=/tmp/x.so su -c id 2>/dev/null; id -u", does_not_say(b"uid=0"),
    ),
    "leave shared memory behind": (
        "ipcmk -M 4096 >/dev/null 2>&1; ipcs -m | grep -c 65534",
        lambda result: b"0" in result.log or b"1" in result.log,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> Iterator[None]:
    """A key that every user of the host may read: what holds must be the jail, not the mode."""
    with tempfile.NamedTemporaryFile(prefix="wallet-") as key:
        key.write(b"HYPERNODE-SECRET")
        key.flush()
        os.fchmod(key.fileno(), 0o644)
        yield


@pytest.mark.sandbox
@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_gets_nothing(sandbox: Sandbox, attack: str) -> None:
    command, held = ATTACKS[attack]

    result = await run(sandbox, command)

    assert held(result), result


@pytest.mark.sandbox
async def test_a_job_leaves_no_system_v_memory_on_the_host(sandbox: Sandbox) -> None:
    before = read("/proc/sysvipc/shm")

    await run(sandbox, "ipcmk -M 4096")

    assert read("/proc/sysvipc/shm") == before


# ---- limits and ends ----------------------------------------------------------------------------


@pytest.mark.sandbox
async def test_output_and_errors_come_in_order_and_with_the_exit_status(sandbox: Sandbox) -> None:
    pieces: list[bytes] = []
    with trio.fail_after(10):
        result = await run_command(
            "echo one; echo two >&2; exit 7",
            sandbox=sandbox,
            slot=0,
            limits=LIMITS,
            on_output=pieces.append,
        )

    assert (result.exit_status, result.killed, result.log) == (7, "", b"one\ntwo\n")
    assert b"".join(pieces) == result.log


@pytest.mark.sandbox
@pytest.mark.parametrize("command", ["yes", "yes >&2"], ids=["output", "errors"])
async def test_endless_output_is_kept_to_the_limit_and_ends_the_job(
    sandbox: Sandbox, command: str
) -> None:
    result = await run(sandbox, command)

    assert (result.killed, result.exit_status) == ("output", None)
    assert len(result.log) == LIMITS.log_bytes


@pytest.mark.sandbox
@pytest.mark.slow
async def test_a_job_past_its_time_is_ended_with_everything_it_started(sandbox: Sandbox) -> None:
    limits = msgspec.structs.replace(LIMITS, execution_s=0.3)

    result = await run(sandbox, "sleep 4711.1 & sleep 4711.1", limits)

    assert (result.killed, result.exit_status) == ("wall", None)
    assert 250 <= result.duration_ms < 2500
    assert living(b"4711.1") == []


@pytest.mark.sandbox
@pytest.mark.slow
async def test_cancelling_a_job_ends_everything_it_started(sandbox: Sandbox) -> None:
    with trio.move_on_after(0.3):
        await run(sandbox, "setsid sleep 4712.2 & sleep 4712.2")

    assert living(b"4712.2") == []


@pytest.mark.sandbox
@pytest.mark.slow
async def test_nothing_survives_a_job_that_hides_in_the_background(sandbox: Sandbox) -> None:
    code = """
        import os, signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        for descriptor in range(3):
            os.close(descriptor)
        os.execv("/bin/sleep", ["sleep", "4713.3"])
    """

    await run(sandbox, python(code).replace("exec ", "") + "sleep 0.1")

    assert living(b"4713.3") == []


@pytest.mark.sandbox
@pytest.mark.slow
async def test_a_fork_bomb_ends_with_its_job(sandbox: Sandbox) -> None:
    limits = msgspec.structs.replace(LIMITS, execution_s=0.5)

    result = await run(sandbox, "bomb() { bomb | bomb & }; bomb; sleep 4714.4", limits)

    assert result.killed or result.exit_status
    assert living(b"4714.4") == []


@pytest.mark.sandbox
@pytest.mark.slow
async def test_memory_of_all_processes_together_is_bounded(
    host: tuple[SandboxReport, Sandbox],
) -> None:
    if host[0].level < 2:
        pytest.skip("level 1: " + "; ".join(host[0].remarks))
    large = "head -c 50m /dev/zero | tail -c 50m > /dev/null"

    result = await run(host[1], f"{large} & {large} & {large} & {large} & wait; exit 3")

    assert result.killed == "memory"


@pytest.mark.sandbox
@pytest.mark.slow
async def test_a_dead_agent_takes_its_jobs_along(sandbox: Sandbox) -> None:
    code = """
        import trio
        from agent.sandbox.command import run_command
        from agent.sandbox.host import find_sandbox
        from agent.sandbox.limits import JailLimits
        limits = JailLimits(execution_s=30, memory_bytes=2**27)
        async def main():
            await run_command("sleep 4715.5", sandbox=find_sandbox(), slot=9, limits=limits)
        trio.run(main)
    """
    agent = await trio.lowlevel.open_process(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=HOUSE
    )
    await until(lambda: living(b"4715.5"), seconds=10)

    agent.kill()
    await agent.wait()

    await until(lambda: not living(b"4715.5"), seconds=1)


async def test_half_a_line_of_bubblewraps_is_waited_for() -> None:
    """It tells its child's pid in pieces: who reads between two of them must not stumble."""
    # The outer process ends when the inner one does, as bubblewrap does.
    outer, output, _ = spawn(
        ["/bin/sh", "-c", "sleep 4716.6 & echo $!; wait"], stdin=False, stderr=subprocess.STDOUT
    )
    status, told = os.pipe()
    os.set_blocking(status, False)
    inner = os.read(output, 100).strip()
    jail = Jail(outer, output=output, input_=None, status=status)
    os.write(told, b'{ "child-pid": ' + inner[:-1])

    async def say_the_rest() -> None:
        await trio.sleep(0.2)
        os.write(told, inner[-1:] + b' }\n{ "exit-code": 137 }\n')
        os.close(told)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_the_rest)
            ending = await jail.end()

    assert ending.exit_status == 137
    assert living(b"4716.6") == []


# ---- who and what the agent is ------------------------------------------------------------------


@pytest.mark.sandbox
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give slots users of their own")
async def test_jobs_of_two_slots_run_as_two_users_of_the_host(sandbox: Sandbox) -> None:
    order = Order(("/bin/sh", "-c", "echo up; sleep 5"), LIMITS)
    jails = [sandbox.start(order, slot=slot) for slot in (3, 4)]
    try:
        with trio.fail_after(5):
            for jail in jails:
                await jail.output.receive_some(10)
        said = [read(f"/proc/{jail.pid}/status").splitlines() for jail in jails]
    finally:
        for jail in jails:
            await jail.end()

    facts = [{line.split(":")[0]: line.split()[1:] for line in lines} for lines in said]
    assert [fact["Uid"] for fact in facts] == [[str(POOL_UID + slot)] * 4 for slot in (3, 4)]
    assert [fact["Groups"] for fact in facts] == [[], []]


@pytest.mark.sandbox
async def test_the_environment_of_the_agent_is_invisible(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALLET_KEY", "HYPERNODE-SECRET")

    result = await run(sandbox, "env; cat /proc/*/environ | tr '\\0' '\\n'")

    assert b"SECRET" not in result.log
    assert b"PATH=" in result.log


@pytest.mark.sandbox
async def test_a_command_that_is_no_program_is_the_jobs_failure(sandbox: Sandbox) -> None:
    result = await run(sandbox, "no-such-program")

    assert result.exit_status == 127


@pytest.mark.sandbox
async def test_a_jail_that_cannot_be_made_is_refused_and_not_the_jobs_failure(
    sandbox: Sandbox,
) -> None:
    broken = msgspec.structs.replace(sandbox, bwrap="/bin/false")

    with pytest.raises(Refusal, match="sandbox_unavailable"):
        await run(broken, "true")


@pytest.mark.parametrize("command", ["", "x" * 9000, "a\0b"], ids=["empty", "too long", "nul"])
async def test_what_is_no_command_line_is_refused(command: str) -> None:
    with pytest.raises(Refusal, match="bad_spec"):
        await run_command(command, sandbox=None, slot=0, limits=LIMITS)


# ---- without a sandbox --------------------------------------------------------------------------


async def test_without_a_sandbox_a_command_is_refused_with_the_fix() -> None:
    with pytest.raises(Refusal, match="sandbox_unavailable: install it"):
        await run_command("id", sandbox=None, slot=0, limits=LIMITS, fix="install it")


async def test_without_a_sandbox_the_seeds_test_job_is_a_wait(autojump_clock: Any) -> None:
    result = await run_command(
        "sleep 5", sandbox=None, slot=0, limits=msgspec.structs.replace(LIMITS, execution_s=9)
    )

    assert (result.exit_status, result.duration_ms, trio.current_time()) == (0, 5000, 5.0)


async def test_the_seeds_test_job_has_a_limit_too(autojump_clock: Any) -> None:
    result = await run_command("sleep 900", sandbox=None, slot=0, limits=LIMITS)

    assert (result.exit_status, result.killed) == (None, "wall")


@pytest.mark.parametrize(
    "command",
    ["sleep 5; id", "sleep 5\n", "sleep 5.5", "sleep  5", "sleep 1000", "sleep ٣", "Sleep 5"],
)
def test_nothing_but_the_seeds_test_job_is_one(command: str) -> None:
    assert is_test_job("sleep 5")
    assert not is_test_job(command)


async def test_a_host_without_bubblewrap_has_level_0_and_names_the_package(tmp_path: Path) -> None:
    report, sandbox = await canaries.probe_host(path=str(tmp_path))

    assert sandbox is None
    assert (report.level, report.worker_level) == (0, 0)
    assert "apt install bubblewrap" in report.remarks[0]


def programs(folder: Path, script: str) -> None:
    """Stand-ins for the programs of the sandbox."""
    for name in ("bwrap", "prlimit"):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)


async def test_a_bubblewrap_that_does_not_work_is_level_0_and_not_trusted(tmp_path: Path) -> None:
    programs(tmp_path, "#!/bin/sh\necho 'bwrap: No permissions to create namespace'\nexit 1\n")

    report, sandbox = await canaries.probe_host(path=str(tmp_path))

    assert sandbox is None
    assert report.level == 0
    assert report.remarks


def test_a_machine_without_a_filter_is_refused_by_name() -> None:
    with pytest.raises(Refusal, match="no system call filter for riscv64"):
        build_filter("riscv64")


def test_only_root_has_a_pool_of_users(tmp_path: Path) -> None:
    programs(tmp_path, "")

    def found(uid: int) -> Sandbox:
        return find_sandbox(
            path=str(tmp_path), machine="x86_64", uid=lambda: uid, home=lambda: None
        )

    assert found(0).has_pool
    assert not found(1000).has_pool


HELD = dict.fromkeys(("a", "b"), "")


@pytest.mark.parametrize(
    ("got", "is_memory_bounded", "is_worker_inside", "levels"),
    [
        (None, True, True, (0, 0)),
        ({}, True, True, (0, 0)),
        ({**HELD, "b": "got something"}, True, True, (0, 0)),
        (HELD, False, True, (1, 1)),
        (HELD, False, False, (1, 0)),
        (HELD, True, False, (2, 0)),
        (HELD, True, True, (2, 2)),
    ],
    ids=["no canary ran", "none at all", "one sang", "level 1", "1, worker out", "2, out", "2"],
)
def test_the_level_follows_from_what_held(
    got: dict[str, str] | None,
    is_memory_bounded: bool,
    is_worker_inside: bool,
    levels: tuple[int, int],
) -> None:
    report = grade(got, is_memory_bounded=is_memory_bounded, is_worker_inside=is_worker_inside)

    assert (report.level, report.worker_level) == levels


def test_a_broken_canary_is_named_in_the_remarks() -> None:
    report = grade({"become_root": "uid 0"}, is_memory_bounded=True, is_worker_inside=True)

    assert "become root: uid 0" in report.remarks[0]


@pytest.mark.parametrize(
    ("setting", "value", "fix"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "/etc/apparmor.d/bwrap"),
    ],
)
def test_a_setting_that_forbids_namespaces_is_named_with_its_fix(
    tmp_path: Path, setting: str, value: str, fix: str
) -> None:
    path = tmp_path / setting
    path.parent.mkdir(parents=True)
    path.write_text(value + "\n")

    (found,) = namespace_fixes(tmp_path)

    assert fix in found


# ---- cgroups ------------------------------------------------------------------------------------


def second_version(root: Path, own: str, *, processes: list[int], controllers: str) -> Path:
    """A folder that looks like a group of version 2; returns the file that names it."""
    group = root / own
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text(controllers)
    (group / "cgroup.subtree_control").write_text("")
    (group / "cgroup.procs").write_text("\n".join(map(str, processes)))
    named = root / "self"
    named.write_text(f"0::/{own}\n")
    return named


def test_a_delegated_agent_moves_into_a_leaf_and_makes_groups_beside_it(tmp_path: Path) -> None:
    own = second_version(
        tmp_path, "agent.service", processes=[os.getpid()], controllers="cpu memory pids"
    )

    home = find_home(root=tmp_path, own=own)

    assert home is not None
    assert (home.version, home.memory) == (2, tmp_path / "agent.service")
    assert (tmp_path / "agent.service/agent/cgroup.procs").read_text() == str(os.getpid())
    assert (tmp_path / "agent.service/cgroup.subtree_control").read_text() == "+memory +pids"


@pytest.mark.parametrize(
    ("processes", "controllers"),
    [([os.getpid(), 1], "memory pids"), ([os.getpid()], "cpu")],
    ids=["others live there", "no controllers"],
)
def test_a_group_that_is_not_ours_alone_is_left_alone(
    tmp_path: Path, processes: list[int], controllers: str
) -> None:
    own = second_version(tmp_path, "session", processes=processes, controllers=controllers)

    assert find_home(root=tmp_path, own=own) is None
    assert (tmp_path / "session/cgroup.subtree_control").read_text() == ""


def test_version_1_nests_in_the_agents_own_group(tmp_path: Path) -> None:
    for folder in ("memory/mine", "pids"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "self").write_text("4:memory:/mine\n8:pids:/\n")

    home = find_home(root=tmp_path, own=tmp_path / "self")

    assert home is not None
    assert (home.version, home.memory, home.pids) == (
        1,
        tmp_path / "memory/mine",
        tmp_path / "pids",
    )


def test_what_a_killed_agent_left_behind_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    (tmp_path / "self").write_text("4:memory:/\n8:pids:/\n")
    dead, living_one = "hypernode-999999999-1", f"hypernode-{os.getpid()}-1"
    for controller in ("memory", "pids"):
        for name in (dead, living_one):
            (tmp_path / controller / name).mkdir(parents=True)

    find_home(root=tmp_path, own=tmp_path / "self")

    assert {path.name for path in tmp_path.glob("*/*")} == {living_one}


# ---- the view -----------------------------------------------------------------------------------


def test_of_a_source_tree_only_the_packages_are_shown() -> None:
    paths = [Path(path) for path in interpreter_paths()]

    assert not any(path == HOUSE or path in HOUSE.parents for path in paths)
    assert not any(path == Path.home() or path in Path.home().parents for path in paths)


# ---- the filter, interpreted in Python -----------------------------------------------------------

ALLOW, KILL = 0x7FFF0000, 0x80000000
X86, ARM = 0xC000003E, 0xC00000B7


def refused(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", X86), ("aarch64", ARM)])
def test_every_denied_call_is_refused_on_each_machine(machine: str, architecture: int) -> None:
    program = build_filter(machine)

    for number in denied_calls(machine).values():
        assert answer(program, architecture, number) == refused(errno.EPERM)


@given(number=st.integers(468, 0x3FFFFFFF))
def test_a_call_newer_than_the_table_does_not_exist(number: int) -> None:
    assert answer(build_filter("x86_64"), X86, number) == refused(errno.ENOSYS)


@given(number=st.integers(0, 2**30 - 1))
def test_no_call_passes_by_the_x32_door(number: int) -> None:
    assert answer(build_filter("x86_64"), X86, 0x40000000 | number) == refused(errno.ENOSYS)


@given(architecture=st.integers(0, 2**32 - 1).filter(lambda value: value != X86))
def test_a_foreign_architecture_ends_the_process(architecture: int) -> None:
    assert answer(build_filter("x86_64"), architecture, 0) == KILL


@pytest.mark.parametrize(
    ("machine", "architecture", "clone", "socket", "ioctl"),
    [("x86_64", X86, 56, 41, 16), ("aarch64", ARM, 220, 198, 29)],
)
def test_the_arguments_of_clone_socket_and_ioctl_decide(
    machine: str, architecture: int, clone: int, socket: int, ioctl: int
) -> None:
    def ask(number: int, *arguments: int) -> int:
        return answer(build_filter(machine), architecture, number, *arguments)

    threads = 0x003D0F00
    assert ask(clone, threads) == ask(socket, 1) == ask(ioctl, 1, 0x5401) == ALLOW
    for flag in (
        0x00020000,
        0x02000000,
        0x04000000,
        0x08000000,
        0x10000000,
        0x20000000,
        0x40000000,
    ):
        assert ask(clone, flag | 17) == refused(errno.EPERM)
    for family in (0, 2, 10, 16, 17, 38, 40):
        assert ask(socket, family) == refused(errno.EPERM)
    for request in (0x5412, 0x541C, (1 << 32) | 0x5412):
        assert ask(ioctl, 1, request) == refused(errno.EPERM)


@pytest.mark.parametrize("number", [0, 1, 9, 59, 231, 435 - 400], ids=str)
def test_ordinary_calls_pass(number: int) -> None:
    assert answer(build_filter("x86_64"), X86, number) == ALLOW
