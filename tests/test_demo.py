"""The demo as users start it: real processes, real jobs, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from coordinator.limits import KIB
from hypernode.children import Child, ChildFailed, running
from tests.tree import ROOT

pytestmark = pytest.mark.slow


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "hypernode", "demo", "--cpu", "--json"),
            *("--dir", str(folder), "--output", str(folder), *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()[: 4 * KIB].replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if str(folder) in line:
            found.append(line)
    return found


def test_the_demo_completes_its_jobs_and_its_books_balance(tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        out, err = demo.communicate(timeout=120)

    assert demo.returncode == 0, err.decode()
    document: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert document["ledger_balanced"] is True
    assert {job["status"] for job in document["jobs"]} <= {"completed", "skipped"}
    assert sum(job["status"] == "completed" for job in document["jobs"]) >= 5
    claim = document["claim"]
    assert claim["skipped"] == ""
    assert float(claim["after"]) > float(claim["before"]) == 0
    assert len(claim["signature"]) > 80
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert processes_of(tmp_path) == []


def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if b"agents" in line:
                break
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=30)

    assert demo.returncode == 130
    assert processes_of(tmp_path) == []


async def test_a_child_that_dies_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    arguments = ("coordinator", "--port", "70000")
    async with running("coordinator", arguments, tmp_path) as child:
        with trio.fail_after(20), pytest.raises(ChildFailed, match="port"):
            await until_it_dies(child)


async def until_it_dies(child: Child) -> None:
    while True:
        child.check()
        await trio.sleep(0.05)
