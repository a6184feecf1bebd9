"""The units of systemd under a systemd that runs: `python -m tests.booted [FILE]`, as root.

A systemd of this machine is started as the first process of namespaces of its own, over a copy of
this system that is thrown away; FILE is the coordinator's one file, by default it is built. In it a
story is played, each step checked: the settings are checked as the service; the first connection
starts the coordinator; an agent works in its sandbox; restarts under jobs refuse nobody; a
coordinator that hangs is killed and started again; root puts a backup back; each setting that the
agent's unit goes without would take its sandbox away.
Not here: units by themselves (`test_systemd.py`), restarts without systemd (`test_restart.py`).
Not covered: credentials, since such a namespace may have no file system for them; the memory bound
of level 2 where version 2 of control groups has no controllers; a GPU.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import trio

from agent.sandbox.canaries import probe
from tests.tree import PRODUCT, ROOT

LIMIT_S: Final = 240.0
_SYSTEMD: Final = "/lib/systemd/systemd"
_BOOT: Final = """
set -e
mount --make-rprivate /
mkdir -p {work}/over && mount -t tmpfs -o size=3g tmpfs {work}/over
cd {work}/over && mkdir up down root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=down root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys || mount --rbind -o ro /sys sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup || true
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --rbind /dev dev
touch {work}/share/console && mount --bind {work}/share/console dev/console || true
rm -rf etc/systemd/system/*.wants etc/systemd/system/getty*
mkdir -p etc/systemd/system mnt/share && mount --bind {work}/share mnt/share
cp -r mnt/share/root/. .
# Not chroot alone: in a changed root the kernel lets nobody make user namespaces.
mkdir -p mnt/old && pivot_root . mnt/old && umount -l mnt/old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . {systemd} --system \\
    --log-target=console --log-level=notice systemd.unified_cgroup_hierarchy=1 --unit=story.target
"""
_TARGET: Final = "[Unit]\nWants=story.service dbus.socket\nAllowIsolate=yes\n"
_SERVICE: Final = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
Environment=PYTHONPATH=/opt/hypernode/agent/source HOME=/root
ExecStart={python} -P -m tests.booted --inside
StandardOutput=append:/mnt/share/log
StandardError=append:/mnt/share/log
TimeoutStartSec=infinity
"""
#: So that the story waits for seconds, not for the half of a minute.
_SOON: Final = "[Service]\nWatchdogSec=6\n"
_TOKEN: Final = "/etc/hypernode/booted-token"
_AGENT: Final = f"""[Service]
LoadCredential=
ExecStart=
ExecStart=/opt/hypernode/agent/bin/hypernode agent --log-json --devices cpu --token-file {_TOKEN}
"""
#: Instead of an agent: its sandbox's self-test alone, under the agent's unit.
_PROBE: Final = """[Unit]
StartLimitBurst=0
[Service]
Type=oneshot
WatchdogSec=0
Restart=no
LoadCredential=
ExecStart=
ExecStart={python} -P -m tests.booted --probe
StandardOutput=truncate:/mnt/share/probe
StandardError=append:/mnt/share/log
Environment=PYTHONPATH=/opt/hypernode/agent/source
"""
#: What the agent's unit goes without: each takes the sandbox away.
_NEEDED: Final = (
    "ProtectKernelTunables=yes",
    "ProtectHostname=yes",
    "ProcSubset=pid",
    "RestrictAddressFamilies=\nRestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=\nRestrictNamespaces=user mnt pid net ipc uts",
    "SystemCallFilter=~mount",
)


# ---- outside -------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Boot, let the story be played, and tell it."""
    if arguments == ["--inside"]:
        return inside()
    if arguments == ["--probe"]:
        print(trio.run(probe))
        return 0
    if os.geteuid() != 0 or not Path(_SYSTEMD).exists():
        sys.exit("this needs root, and the package systemd")
    with tempfile.TemporaryDirectory(prefix="booted-") as folder:
        work = Path(folder)
        lay_out(work / "share", Path(arguments[0]) if arguments else None)
        told = boot(work)
    for line in told:
        print(f"{'ok  ' if line['is_ok'] else 'FAIL'} {line['step']}: {line['detail']}")
    return 0 if told and all(line["is_ok"] for line in told) and told[-1]["step"] == "end" else 1


def lay_out(share: Path, file: Path | None) -> None:
    """What is copied over the system: programs, units, settings."""
    root = share / "root"
    opt, etc = root / "opt/hypernode", root / "etc/hypernode"
    units = root / "etc/systemd/system"
    for made in (opt / "agent/bin", etc, units):
        made.mkdir(parents=True)
    built = opt / "hypernode-coordinator.pyz"
    if file is None:
        subprocess.run([sys.executable, ROOT / "deploy/pyz/build.py", built], check=True)
    else:
        shutil.copy(file, built)
    built.chmod(0o755)
    for package in (*PRODUCT, "tests"):
        shutil.copytree(
            ROOT / package,
            opt / "agent/source" / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "docs/operation.md", opt / "agent/source")
    program = opt / "agent/bin/hypernode"
    path = "PYTHONPATH=/opt/hypernode/agent/source"
    program.write_text(f'#!/bin/sh\nexec env {path} {sys.executable} -P -m hypernode "$@"\n')
    program.chmod(0o755)
    (etc / "coordinator.toml").write_text("faucet = true\nwithhold_hours = 0\n")
    for unit in (ROOT / "deploy/systemd").iterdir():
        shutil.copy(unit, units)
    (units / "story.target").write_text(_TARGET)
    (units / "story.service").write_text(_SERVICE.format(python=sys.executable))
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)


def boot(work: Path) -> list[dict[str, str]]:
    """Start systemd and wait for the story's end."""
    script = _BOOT.format(work=work, systemd=_SYSTEMD)
    namespaces = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup")
    story = work / "share/story"
    with (work / "share/log").open("w") as log:
        process = subprocess.Popen(
            # Nothing of it outlives us, however we end.
            [*("setpriv", "--pdeathsig", "KILL", "unshare"), *namespaces, "--kill-child",
             "bash", "-c", script],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        ends_at = time.monotonic() + LIMIT_S
        try:
            while process.poll() is None and time.monotonic() < ends_at:
                time.sleep(0.5)
                if story.exists() and '"end"' in story.read_text():
                    break
        finally:
            process.kill()
            process.wait()
    told = story.read_text().splitlines() if story.exists() else []
    if not told:
        print((work / "share/log").read_text()[-3000:])
    return [json.loads(line) for line in told]


# ---- inside --------------------------------------------------------------------------------------


def inside() -> int:
    """Play the story; the first step that fails ends it."""
    for step in (settings, activation, agent, jobs, restart, hang, stop, put_back, needed):
        try:
            tell(step.__name__, step(), is_ok=True)
        except Exception:  # noqa: BLE001 (told outside)
            more = run("systemctl", "status", "hypernode-*", "--no-pager", "--full", check=False)
            tell(step.__name__, f"{traceback.format_exc(limit=3)}\n{more}", is_ok=False)
            break
    tell("end", "of the story", is_ok=True)
    return 0


def tell(step: str, detail: str, *, is_ok: bool) -> None:
    with Path("/mnt/share/story").open("a") as file:
        file.write(json.dumps({"step": step, "detail": detail, "is_ok": is_ok}) + "\n")


def run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def shown(unit: str, key: str) -> str:
    return run("systemctl", "show", unit, "-p", key, "--value")


def drop_in(unit: str, text: str) -> None:
    folder = Path(f"/run/systemd/system/{unit}.service.d")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "booted.conf").write_text(text)
    run("systemctl", "daemon-reload")


def hypernode(*words: str) -> str:
    wallet = ("-k", "/root/wallet.json", "--url", "http://127.0.0.1:3001")
    return run(sys.executable, "-P", "-m", "hypernode", *words, *wallet)


def ask(path: str = "/livez") -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:3001{path}", timeout=30) as answer:
        return int(answer.status)


def ask_again_and_again(times: int) -> list[int]:
    answers = []
    for _ in range(times):
        answers.append(ask())
        time.sleep(0.05)
    return answers


def of_docs(word: str, block: str) -> str:
    """The command of a block of `docs/operation.md` that begins with a word."""
    page = Path("/opt/hypernode/agent/source/operation.md").read_text().replace("\\\n", " ")
    blocks = [part for part in page.split("```") if part.startswith("sh\n") and block in part]
    (line,) = [li for li in blocks[0].splitlines() if li.startswith(word)]
    return line


def settings() -> str:
    """As the installation says it; the folders then belong to the service, not to another user."""
    line = of_docs("systemd-run", "config check")
    run("sh", "-c", line)
    file = Path("/etc/hypernode/coordinator.toml")
    good = file.read_text()
    file.write_text(f"{good}prt = 1\n")
    wrong = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    file.write_text(good)
    assert (wrong.returncode, "prt" in wrong.stdout + wrong.stderr) == (2, True), wrong
    return "checked as the service's user; a wrong one is refused"


def put_back() -> str:
    """As root, onto the service's own folder, by the page's own command."""
    db = "/var/lib/hypernode-coordinator/coordinator.db"
    line = of_docs("/opt/hypernode/hypernode-coordinator.pyz coordinator restore", "ls -ln")
    run("/opt/hypernode/hypernode-coordinator.pyz", "coordinator", "backup", "/root/b", "--db", db)
    said = run("sh", "-c", re.sub(r"/var/lib\S+/backups/\S+", "/root/b", line))
    assert re.search(r"owner\tuser [1-9]", said), said
    folder = Path(db).parent
    owners = {path.stat().st_uid for path in (folder, *folder.rglob("*"))}
    assert owners == {folder.stat().st_uid}, (owners, run("ls", "-lnR", str(folder)))
    run("systemctl", "start", "hypernode-coordinator.socket", "hypernode-coordinator.service")
    assert ask("/readyz") == 200
    run("systemctl", "stop", "hypernode-coordinator.socket", "hypernode-coordinator.service")
    return f"one owner, {owners.pop()}; ready again"


def activation() -> str:
    drop_in("hypernode-coordinator", _SOON)
    run("systemctl", "start", "hypernode-coordinator.socket")
    assert shown("hypernode-coordinator", "ActiveState") == "inactive"
    began = time.monotonic()
    assert ask("/readyz") == 200
    took_s = time.monotonic() - began
    assert shown("hypernode-coordinator", "StatusText").startswith("ready on port 3001")
    return f"the first request was answered after {took_s:.1f} s"


def agent() -> str:
    run(sys.executable, "-P", "-m", "hypernode", "wallet", "new", "/root/wallet.json")
    Path(_TOKEN).write_text(hypernode("token"))
    Path(_TOKEN).chmod(0o644)
    hypernode("faucet", "10")
    drop_in("hypernode-agent", _AGENT)
    run("systemctl", "start", "hypernode-agent")
    said = run("journalctl", "-u", "hypernode-agent", "-o", "cat", "--no-pager")
    (level,) = re.findall(r'"sandbox": (\d), "worker_sandbox": \1', said)
    assert int(level) >= 1, said[-2000:]
    return f"sandbox of level {level}; {shown('hypernode-agent', 'StatusText')}"


def submit(number: int) -> str:
    parameters = (f"start={number * 1_000_000}", "prefix=68690a", "count=1e6", "target_bits=16")
    given = [word for each in parameters for word in ("-p", each)]
    return hypernode("submit", "hashsearch", *given, "--budget", "0.01", "--wait", "--json")


def jobs() -> str:
    assert "completed" in submit(0)
    return "a job was completed in the sandbox"


def restart() -> str:
    with ThreadPoolExecutor(3) as pool:
        submitted = [pool.submit(submit, number) for number in range(1, 7)]
        time.sleep(1)
        asked = pool.submit(ask_again_and_again, 60)
        for _ in range(2):
            run("systemctl", "restart", "hypernode-coordinator")
        answers, results = asked.result(), [each.result() for each in submitted]
    assert answers == [200] * 60
    assert all("completed" in result for result in results)
    return f"{len(results)} jobs completed, {len(answers)} new connections answered, 2 restarts"


def hang() -> str:
    before = int(shown("hypernode-coordinator", "NRestarts"))
    os.kill(int(shown("hypernode-coordinator", "MainPID")), signal.SIGSTOP)
    began = time.monotonic()
    assert ask("/readyz") == 200
    assert int(shown("hypernode-coordinator", "NRestarts")) == before + 1
    return f"killed by the watchdog, ready again after {time.monotonic() - began:.1f} s"


def stop() -> str:
    units = ("hypernode-agent", "hypernode-coordinator")
    run("systemctl", "stop", *units, "hypernode-coordinator.socket")
    ends = [(shown(unit, "Result"), shown(unit, "ExecMainStatus")) for unit in units]
    assert ends == [("success", "0")] * 2, ends
    return "both ended with status 0"


def needed() -> str:
    levels = {setting: level_with(setting) for setting in ("", *_NEEDED)}
    assert levels.pop("") >= 1
    assert set(levels.values()) == {0}, levels
    return f"{len(levels)} settings would each take the sandbox away"


def level_with(setting: str) -> int:
    drop_in("hypernode-agent", f"{_PROBE.format(python=sys.executable)}{setting}\n")
    run("systemctl", "start", "hypernode-agent")
    (level,) = re.findall(r"SandboxReport\(level=(\d)", Path("/mnt/share/probe").read_text())
    return int(level)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
