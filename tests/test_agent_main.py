"""An agent as the command line starts it: real devices, workers and kernels, a real coordinator."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.config import AgentFlags, load
from agent.main import run_agent
from agent.state import RECEIPTS_FILE, read_receipts
from agent.welcome import Unwelcome
from coordinator.protocol.receipts import from_wire
from coordinator.protocol.signing import generate
from hypernode.client import AsyncClient
from onchain.amounts import format_hyper
from tests.house import Log, captured_log, open_house, until

#: To import and compile on a machine that others use too.
WARM_S = 60.0
OPTION = {
    "spot": 100.0, "strike": 105.0, "rate": 0.03, "volatility": 0.25, "maturity_years": 0.5,
    "option": "put", "paths": 20_000, "seed": 7,
}  # fmt: skip


def flags(folder: Path, url: str, **changes: Any) -> AgentFlags:
    given = {"url": url, "state_dir": folder / "agent", "devices": "cpu", **changes}
    return AgentFlags(**given)


def events(log: Log) -> list[str]:
    """What the agent said, in order."""
    return [line["event"] for line in log.lines() if line["module"].startswith("agent")]


def said(log: Log, event: str) -> dict[str, Any]:
    return next(line for line in log.lines() if line["event"] == event)


@asynccontextmanager
async def running(given: AgentFlags) -> AsyncIterator[list[int]]:
    """An agent for the time of a block, which must end it; then the list has what it returned."""
    returned: list[int] = []

    async def run() -> None:
        returned.append(await run_agent(load(given, {})))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield returned


@pytest.mark.slow
async def test_an_agent_registers_warms_up_works_is_paid_and_drains(tmp_path: Path) -> None:
    operator, token_file = generate(), tmp_path / "token"
    with captured_log() as log, trio.fail_after(2 * WARM_S):
        async with open_house(tmp_path) as house, AsyncClient(house.url, generate()) as client:
            await client.faucet("10")
            token_file.write_text(await house.token(operator))
            async with running(flags(tmp_path, house.url, token_file=token_file)) as returned:
                job = await client.submit("montecarlo", OPTION, budget="1")
                result = await job.result(WARM_S)
                receipts = tmp_path / "agent" / RECEIPTS_FILE
                await until(receipts.exists)
                os.kill(os.getpid(), signal.SIGTERM)
            coordinator_key = client.web.coordinator_key

    assert returned == [signal.SIGTERM]
    (batch,) = read_receipts(receipts)
    _signed, (receipt,) = from_wire(batch, coordinator_key)
    assert result.receipt is not None
    assert (receipt.wallet, receipt.paid) == (operator.address, result.receipt.paid)
    told = [event for event in events(log) if event != "remark"]
    assert told[0] == "starting"
    assert sorted(told[1:4]) == ["registered", "sandbox tested", "warming up"]
    assert told[4:] == ["warm", "job done", "draining", "drained", "receipts"]
    assert said(log, "starting")["devices"]
    assert said(log, "job done")["job"] == job.id
    assert said(log, "receipts")["earned"] == f"{format_hyper(receipt.paid)} HYPER"
    assert not log.failures()


@pytest.mark.slow
async def test_a_signal_while_kernels_warm_up_ends_the_agent_at_once(tmp_path: Path) -> None:
    with captured_log() as log, trio.fail_after(WARM_S):
        async with open_house(tmp_path) as house:
            token = await house.token(generate())
            async with running(flags(tmp_path, house.url, token=token)) as returned:
                await until(lambda: "registered" in events(log), WARM_S)
                began = trio.current_time()
                os.kill(os.getpid(), signal.SIGTERM)
            took_s = trio.current_time() - began

    assert returned == [signal.SIGTERM]
    assert took_s < 3
    assert "warm" not in events(log)
    assert not log.failures()


@pytest.mark.parametrize("token", ["garbage", "hy1.AAAA.AAAA", "hy1." + "A" * 1500])
async def test_a_token_that_is_none_is_refused_before_anything_starts(
    token: str, tmp_path: Path
) -> None:
    with captured_log() as log, trio.fail_after(1), pytest.raises(Unwelcome) as info:
        await run_agent(load(flags(tmp_path, "http://127.0.0.1:1", token=token), {}))

    assert info.value.code == "token_malformed"
    assert "starting" not in events(log)


@pytest.mark.slow
async def test_an_unknown_node_key_without_a_token_is_told_at_once_what_to_do(
    tmp_path: Path,
) -> None:
    with captured_log() as log, trio.fail_after(WARM_S):
        async with open_house(tmp_path) as house:
            with pytest.raises(Unwelcome) as info:
                await run_agent(load(flags(tmp_path, house.url), {}))

    assert info.value.code == "unauthenticated"
    assert str(info.value).endswith(
        "This node key is not known here: give a token once. Fix: sign a new token "
        "(`hypernode token`) and pass it by --token-file."
    )
    assert "warm" not in events(log)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "/usr/bin"], ids=["no bubblewrap", "with it"])
async def test_commands_that_are_allowed_but_cannot_run_are_warned_of_with_the_fix(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path)
    with captured_log() as log, trio.fail_after(WARM_S):
        async with open_house(tmp_path) as house:
            token = await house.token(generate())
            given = flags(tmp_path, house.url, token=token, allow_command=True)
            async with running(given):
                await until(lambda: "warming up" in events(log), WARM_S)
                await until(lambda: "registered" in events(log), WARM_S)
                os.kill(os.getpid(), signal.SIGTERM)

    level = said(log, "sandbox tested")["sandbox"]
    warned = [line for line in log.lines() if line["event"].startswith("--allow-command")]
    assert bool(warned) == (level == 0)
    if not path:
        assert level == 0
        assert warned[0]["level"] == "warning"
        assert "apt install bubblewrap" in warned[0]["fix"]


@pytest.mark.slow
@pytest.mark.parametrize("is_trusted", [True, False], ids=["trusted", "unknown"])
async def test_over_tls_a_coordinator_is_heard_only_if_its_certificate_is_trusted(
    is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = await self_made_certificate(tmp_path)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    refused = None
    with captured_log() as log, trio.move_on_after(WARM_S if is_trusted else 3):
        async with open_house(tmp_path, tls_cert=str(certificate), tls_key=str(key)) as house:
            try:
                await run_agent(load(flags(tmp_path, f"wss://127.0.0.1:{house.port}"), {}))
            except Unwelcome as error:
                refused = error.code

    assert refused == ("unauthenticated" if is_trusted else None)
    if not is_trusted:
        assert "CERTIFICATE_VERIFY_FAILED" in said(log, "disconnected")["reason"]


async def self_made_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine's address, and its key."""
    certificate, key = folder / "certificate.pem", folder / "certificate-key.pem"
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    )
    try:
        await trio.run_process(words.split(), capture_stderr=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    return certificate, key
