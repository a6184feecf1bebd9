"""`hypernode chain dev` as people and scripts run it: a process of its own, and calls to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hypernode.cli.app import run
from hypernode.cli.exit import Exit, Usage
from hypernode.cli.sol import parse_sol
from onchain.address import encode_address
from onchain.amounts import format_sol
from tests.chains import key

WALLET = encode_address(key("host").address)


@contextmanager
def running(*options: str) -> Iterator[dict[str, Any]]:
    """What a development chain tells, for as long as it runs."""
    command = [sys.executable, "-m", "hypernode", "chain", "dev", "--json", "--port", "0", *options]
    environ = {name: value for name, value in os.environ.items() if "HYPERNODE" not in name}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
    assert process.returncode == Exit.INTERRUPTED


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(["chain", "dev", *arguments, "--json"]) == Exit.OK
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_a_chain_gives_moves_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running("--state", str(tmp_path), "--slot-ms", "0") as chain:
        monkeypatch.setenv("HYPERNODE_RPC", chain["rpc"])
        gift = told(capsys, "airdrop", WALLET, "2.5")
        minted = told(capsys, "mint", WALLET, "12.5")
        before = told(capsys, "advance", "1s")
        after = told(capsys, "advance", "1h")
    with running("--state", str(tmp_path), "--slot-ms", "0") as chain:
        again = told(capsys, "mint", WALLET, "1", "--rpc", chain["rpc"])

    assert gift == {"wallet": WALLET, "lamports": 2_500_000_000}
    assert (minted["mint"], minted["balance"]) == (chain["mint"], "12.5")
    assert after["unix_s"] - before["unix_s"] == 3600
    assert after["slot"] - before["slot"] == 9000
    assert again["balance"] == "13.5"


def test_a_port_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if port == 65_535:
            pytest.skip("the last port has none after it")

        assert run(["chain", "dev", "--port", str(port)]) == Exit.FAILED
    assert "the port is taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["airdrop", "nobody"], "WALLET: "),
        (["airdrop", WALLET, "1e"], "not an amount of SOL"),
        (["mint", WALLET, "0.0000001"], "AMOUNT: HYPER has 6 decimals"),
        (["advance", "soon"], "is not a time"),
        (["airdrop", WALLET, "--rpc", "ftp://here"], "--rpc: neither an address"),
    ],
)
def test_a_slip_is_said_before_anybody_is_asked(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chain", "dev", *arguments]) == Exit.USAGE
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_broken_state_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chain.json").write_text("{}")

    assert run(["chain", "dev", "--state", str(tmp_path)]) == Exit.USAGE
    assert "is broken" in capsys.readouterr().err


@pytest.mark.slow
def test_no_node_is_status_4(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

    assert run(["chain", "dev", "advance", "1h", "--rpc", url]) == Exit.UNREACHABLE
    assert "hypernode chain dev" in capsys.readouterr().err


def test_without_the_extra_it_is_said_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    assert run(["chain", "dev"]) == Exit.USAGE
    assert "pip install 'hypernode[chain]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "lamports"), [("1", 10**9), ("0.000000001", 1), ("2.5", 2_500_000_000)]
)
def test_sol_is_read_and_written_exactly(text: str, lamports: int) -> None:
    assert parse_sol(text) == lamports
    assert format_sol(lamports) == text


@pytest.mark.parametrize("text", ["", "-1", "0", "1.0000000001", "NaN", "Infinity", "9000001"])
def test_no_other_amount_of_sol(text: str) -> None:
    with pytest.raises(Usage):
        parse_sol(text)


@pytest.mark.parametrize(
    "command",
    [
        *("dev", "dev advance", "dev airdrop", "dev mint", "deploy", "init", "status", "verify"),
        *("propose publisher", "apply", "cancel", "pause", "tighten", "void-vouchers"),
        "accept-admin",
    ],
)
def test_every_command_explains_itself_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.split()
    assert run(["chain", *words, "--help"]) == Exit.OK
    assert f"Example: hypernode chain {words[0]}" in " ".join(capsys.readouterr().out.split())
