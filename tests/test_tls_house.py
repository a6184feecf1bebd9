"""A whole market under TLS: jobs over wss, a new certificate while everybody is connected."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from coordinator.protocol.signing import generate, save_keypair
from coordinator.protocol.trust import client_context
from hypernode.blocking import Client
from hypernode.client import AsyncClient
from hypernode.errors import Unreachable
from tests.authority import Authority
from tests.house import open_house, open_market, search, until
from tests.processes import Program, free_port

GAUGE = "hypernode_tls_certificate_expiry_timestamp_seconds"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def expiry_of(http: httpx.AsyncClient) -> float:
    """The certificate's end, as Prometheus reads it."""
    lines = (await http.get("/metrics")).text.splitlines()
    (line,) = [line for line in lines if line.startswith(f"{GAUGE} ")]
    return float(line.split()[1])


@pytest.mark.slow
async def test_jobs_go_through_and_a_new_certificate_disturbs_nobody(
    tmp_path: Path, authority: Authority
) -> None:
    files = authority.issue(ends_days=30)
    async with open_market(tmp_path, ca=authority.ca, **files.flags()) as market:
        async with market.house.http() as http:
            before = await expiry_of(http)
        market.runner.gate = trio.Event()
        job = await market.client.submit("hashsearch", search(), budget="1")
        await until(lambda: bool(market.runner.began))
        authority.issue(ends_days=90)

        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: any(x["event"] == "certificate reloaded" for x in market.log.lines()))
        market.runner.gate.set()
        result = await job.result(5)

        async with market.house.http() as http:
            after = await expiry_of(http)
        async with AsyncClient(market.house.url, generate(), ca=authority.ca) as newcomer:
            await newcomer.faucet("1")
        events = [line["event"] for line in market.log.lines()]

    assert float(result.paid) > 0
    assert after - before == pytest.approx(60 * 24 * 3600, abs=60)
    assert not {"disconnected", "registered"} & set(events), "the agent's connection lived on"


@pytest.mark.slow
async def test_a_result_that_is_a_blob_passes_under_tls_too(
    tmp_path: Path, authority: Authority
) -> None:
    wide: dict[str, Any] = {**search(), "count": 4000, "target_bits": 1}
    async with open_market(tmp_path, ca=authority.ca, **authority.issue().flags()) as market:
        job = await market.client.submit("hashsearch", wide, budget="1")
        result = await job.result(5)

    assert sum(array.nbytes for array in result.outputs) > 4096


@pytest.mark.slow
async def test_a_plain_program_reaches_a_coordinator_under_tls(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(url: str, ca: Path | None) -> str:
        with Client(url, generate(), ca=ca) as client:
            return client.faucet("2").credit

    async with open_house(tmp_path, ca=authority.ca, **authority.issue().flags()) as house:
        named = await trio.to_thread.run_sync(program, house.url, authority.ca)
        monkeypatch.setenv("HYPERNODE_CA", str(authority.ca))
        by_variable = await trio.to_thread.run_sync(program, house.url, None)

    assert named == by_variable == "2"


@pytest.mark.slow
@pytest.mark.parametrize("call", ["http", "websocket"])
async def test_a_client_that_does_not_trust_the_certificate_says_what_to_do(
    tmp_path: Path, authority: Authority, call: str
) -> None:
    async with (
        open_house(tmp_path, ca=authority.ca, **authority.issue().flags()) as house,
        AsyncClient(house.url, generate(), patience_s=0.1) as client,
    ):
        if call == "websocket":
            client.web._bearer = "no need to ask over HTTP first"
        with pytest.raises(Unreachable) as refused:
            await client.submit("hashsearch", search(), budget="1")

    assert "certificate is not trusted" in str(refused.value)
    assert "--ca FILE or HYPERNODE_CA" in str(refused.value)


@pytest.mark.slow
async def test_the_commands_reach_a_coordinator_under_tls_and_it_reloads_on_a_signal(
    tmp_path: Path, authority: Authority
) -> None:
    port, files = free_port(22_300), authority.issue()
    save_keypair(tmp_path / "wallet.json", generate())
    start = [
        *("hypernode", "coordinator", "--port", str(port), "--db", str(tmp_path / "house.db")),
        *("--tls-cert", str(files.cert), "--tls-key", str(files.key), "--faucet"),
    ]
    ask = ["earnings", "--url", f"https://127.0.0.1:{port}", "--json"]
    ask += ["--keypair", str(tmp_path / "wallet.json")]
    async with Program("coordinator", start, tmp_path) as coordinator:
        await coordinator.until_said("ready", 20)
        trusting = Program("trusting", ["hypernode", *ask, "--ca", str(authority.ca)], tmp_path)
        doubting = Program("doubting", ["hypernode", *ask], tmp_path)
        trusts, doubts = await ended(trusting), await ended(doubting)
        authority.issue(ends_days=-0.5, begins_days=-1)
        os.kill(coordinator.pid, signal.SIGHUP)
        await coordinator.until_said("tls_certificate_expired", 5)
        authority.issue()
        os.kill(coordinator.pid, signal.SIGHUP)
        await coordinator.until_said("certificate reloaded", 5)
        context = client_context(authority.ca)
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            answer = await http.get(f"https://127.0.0.1:{port}/readyz")
        status = await coordinator.stop(10)

    assert (trusts, doubts) == (0, 4)
    assert json.loads(trusting.tail().splitlines()[-1])["credit"] == "0"
    assert json.loads(doubting.tail().splitlines()[-1])["code"] == "unreachable"
    assert answer.status_code == 200
    assert status == 0


async def ended(program: Program) -> int:
    """Run a command to its end; its status."""
    await program.start()
    with trio.fail_after(20):
        return await program.alive().wait()


@pytest.mark.slow
async def test_a_pair_that_cannot_serve_ends_the_start_with_a_usage_error(
    tmp_path: Path, authority: Authority
) -> None:
    files = authority.issue()
    files.key.chmod(0o644)
    start = ["hypernode", "coordinator", "--port", "0", "--db", str(tmp_path / "house.db")]
    start += ["--tls-cert", str(files.cert), "--tls-key", str(files.key)]
    coordinator = Program("coordinator", start, tmp_path)

    status = await ended(coordinator)

    assert status == 2
    assert f"chmod 600 {files.key}" in coordinator.tail()
    assert "Traceback" not in coordinator.tail()
