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

from agent.config import load
from agent.main import CaUnusable, run_agent
from agent.state import RECEIPTS_FILE, read_receipts
from agent.welcome import Unwelcome
from coordinator.protocol.receipts import from_wire
from coordinator.protocol.signing import generate
from hypernode.client import AsyncClient
from onchain.amounts import format_hyper
from tests.authority import Authority
from tests.house import Log, captured_log, open_house, until

#: To import and compile on a machine that others use too.
WARM_S = 60.0
OPTION = {
    "spot": 100.0, "strike": 105.0, "rate": 0.03, "volatility": 0.25, "maturity_years": 0.5,
    "option": "put", "paths": 20_000, "seed": 7,
}  # fmt: skip


def flags(folder: Path, url: str, *, token: str = "", **changes: Any) -> dict[str, Any]:
    if token:
        (folder / "token").write_text(token)
        changes = {**changes, "token_file": folder / "token"}
    return {"url": url, "state_dir": folder / "agent", "devices": "cpu", **changes}


def events(log: Log) -> list[str]:
    """What the agent said, in order."""
    return [line["event"] for line in log.lines() if line["module"].startswith("agent")]


def said(log: Log, event: str) -> dict[str, Any]:
    return next(line for line in log.lines() if line["event"] == event)


@asynccontextmanager
async def running(given: dict[str, Any]) -> AsyncIterator[list[int]]:
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
@pytest.mark.parametrize("trust", ["a file", "the system", "nobody"])
async def test_over_tls_a_coordinator_is_heard_only_if_its_certificate_is_trusted(
    trust: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    more: dict[str, Any] = {"ca": authority.ca} if trust == "a file" else {}
    if trust == "the system":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    refused = None
    with captured_log() as log, trio.move_on_after(3 if trust == "nobody" else WARM_S):
        async with open_house(tmp_path, **authority.issue().flags()) as house:
            try:
                await run_agent(load(flags(tmp_path, house.url, **more), {}))
            except Unwelcome as error:
                refused = error.code

    assert refused == (None if trust == "nobody" else "unauthenticated")
    if trust == "nobody":
        assert "certificate is not trusted" in said(log, "disconnected")["reason"]
        assert "--ca FILE" in said(log, "disconnected")["reason"]


@pytest.mark.parametrize("text", [None, "no certificate"])
async def test_a_file_of_authorities_that_cannot_serve_ends_the_start(
    text: str | None, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    if text:
        ca.write_text(text)
    with pytest.raises(CaUnusable, match="--ca") as info:
        await run_agent(load(flags(tmp_path, "https://127.0.0.1:1", ca=ca), {}))

    assert str(ca) in str(info.value)
