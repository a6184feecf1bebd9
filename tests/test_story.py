"""The page's way from mint to claim, run as it stands: by a shell, in an empty folder."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tree import ROOT, read

pytestmark = pytest.mark.slow


def block() -> str:
    chapter = read(Path("docs/operation.md")).split("### From mint to claim")[1]
    found = re.search(r"^```sh\n(.*?)^```$", chapter, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def free_ports() -> tuple[int, int]:
    """Of the chain, whose next one is the WebSocket's, and of the coordinator."""
    while True:
        with socket.socket() as chain, socket.socket() as next_one, socket.socket() as house:
            chain.bind(("127.0.0.1", 0))
            house.bind(("127.0.0.1", 0))
            port, other = chain.getsockname()[1], house.getsockname()[1]
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port, other


def test_the_block_from_mint_to_claim_runs_as_it_stands(tmp_path: Path) -> None:
    command = tmp_path / "bin/hypernode"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m hypernode "$@"\n')
    command.chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    chain, house = free_ports()
    names = {name: text for name, text in os.environ.items() if not name.startswith("HYPERNODE_")}
    names |= {
        "CHAIN_PORT": str(chain),
        "HOUSE_PORT": str(house),
        "PATH": f"{command.parent}:{names['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    log = tmp_path / "out.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-eu"], cwd=folder, env=names, stdin=subprocess.PIPE, stdout=out,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            process.communicate(block(), timeout=240)
        finally:
            _end(process)

    said = log.read_text()
    assert process.returncode == 0, said
    assert "claimed\t5 HYPER\n" in said, said
    assert "did 3\troot of epoch 1 published: transaction " in said
    assert "did\tapproved\n" in said
    assert 'level": "error' not in said


def _end(process: subprocess.Popen[str]) -> None:
    """Whatever the block left running."""
    try:
        os.killpg(process.pid, 15)
    except ProcessLookupError:
        return
