"""The coordinator on one screen, and its nodes: who sees what of it, and that it is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from agent.task import Outcome, Task
from coordinator import alarms, watch
from coordinator.health_routes import LOOP_LAG
from coordinator.idle import SENTENCES, lack
from coordinator.overview import ASKED
from coordinator.protocol.signing import Keypair, generate
from coordinator.readiness import REASONS
from coordinator.scheduler import Capability, Demand, DeviceKind
from hypernode.client import AsyncClient
from hypernode.errors import JobFailed
from onchain.address import encode_address
from tests.house import HonestRunner, House, agent_at, open_house, search, until
from tests.peer import dialled
from tests.tree import read

ADMIN = generate()


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIGURES_EVERY_S", "BOOKS_EVERY_S", "STORE_EVERY_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(watch, name, 0.05)


def flags() -> dict[str, Any]:
    return {"admin_wallets": [encode_address(ADMIN.address)]}


async def asked(http: httpx.AsyncClient, path: str) -> Any:
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def fleet(house: House, wallet: Keypair, path: str = "/api/fleet") -> dict[str, Any]:
    """Nodes by host name, as a wallet sees them."""
    scope = "admin" if "all" in path else "wallet"
    async with house.http(await house.bearer(wallet, scope)) as http:
        return {node["hostname"]: node for node in await asked(http, path)}


async def until_minute(http: httpx.AsyncClient, finished: int) -> None:
    """Wait until the last minute has so many jobs that ended."""

    async def last_minute() -> float | None:
        found: float | None = (await asked(http, "/api/status"))["detail"]["lastMinute"]["finished"]
        return found

    with trio.fail_after(10):
        while await last_minute() != finished:  # noqa: ASYNC110 (it is asked over HTTP)
            await trio.sleep(0.1)


# ---- who sees what ----------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_stranger_sees_how_it_is_and_an_administrator_sees_the_rest(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path, **flags()) as house:
        async with house.http() as http:
            stranger = await asked(http, "/api/status")
            wrong = await http.get("/api/status", headers={"authorization": "Bearer " + "x" * 43})
        async with house.http(await house.bearer(generate())) as http:
            somebody = await asked(http, "/api/status")
        async with house.http(await house.bearer(ADMIN, "wallet")) as http:
            at_work = await asked(http, "/api/status")
        async with house.http(await house.bearer(ADMIN, "admin")) as http:
            admin = await asked(http, "/api/status")

    assert wrong.status_code == 401
    assert [one["detail"] for one in (stranger, somebody, at_work)] == [None, None, None]
    assert stranger["status"] == "ok"
    assert set(stranger) == {
        "status", "reasons", "version", "uptime", "jobs", "nodes", "detail",
    }  # fmt: skip
    assert admin["detail"]["books"]["isBalanced"] is True


@pytest.mark.slow
async def test_nodes_are_shown_to_their_operator_and_to_administrators(tmp_path: Path) -> None:
    mine, others = generate(), generate()
    async with (
        open_house(tmp_path, **flags()) as house,
        agent_at(house, HonestRunner(), "hashsearch", wallet=mine),
        agent_at(house, HonestRunner(), "render", wallet=others),
    ):
        async with house.http() as http:
            stranger = await http.get("/api/fleet")
        async with house.http(await house.bearer(mine)) as http:
            nosy = await http.get("/api/fleet?all=true")
        async with dialled(house) as peer:
            await peer.register_as_seed(await house.token(others))
            async with house.http(peer.session_key) as http:
                node = await http.get("/api/fleet")
        own = await fleet(house, mine)
        everybody = await fleet(house, ADMIN, "/api/fleet?all=true")

    assert (stranger.status_code, nosy.status_code, node.status_code) == (401, 403, 403)
    assert {each["wallet"] for each in own.values()} == {encode_address(mine.address)}
    assert len(everybody) == 2, "the seed's has no host name, the two others have the same"


# ---- what is shown ----------------------------------------------------------------------------


class FailingRunner(HonestRunner):
    async def run(self, task: Task, **_callbacks: Any) -> Outcome:
        self.began.append(task)
        return Outcome("failed", code="agent_error")


@pytest.mark.slow
async def test_the_status_tells_of_jobs_money_store_process_and_alerts(tmp_path: Path) -> None:
    runner = HonestRunner()
    async with (
        open_house(tmp_path, **flags()) as house,
        agent_at(house, runner, "hashsearch"),
        AsyncClient(house.url, generate()) as client,
        house.http(await house.bearer(ADMIN, "admin")) as http,
    ):
        await client.faucet("50")
        # Two looks before: a rate is a difference.
        await until_minute(http, 0)
        for job in [await client.submit("hashsearch", search(), budget="1") for _ in range(8)]:
            await job.result()
        runner.gate = trio.Event()
        await client.submit("hashsearch", search(), budget="2")
        await client.submit("render", {"width": 8, "height": 8}, budget="1")
        await until(lambda: len(runner.began) == 9)
        await until_minute(http, 8)
        await trio.sleep(0.3)
        status = await asked(http, "/api/status")

    detail = status["detail"]
    assert status["jobs"]["completed"] == 8
    assert (status["jobs"]["queued"], status["jobs"]["assigned"]) == (1, 1)
    assert status["nodes"] == {"online": 1, "starting": 0, "silent": 0, "offline": 0}
    assert detail["lastMinute"]["finished"] == 8
    assert 0 < detail["lastMinute"]["p50"] <= detail["lastMinute"]["p99"]
    assert detail["oldestWaiting"] > 0
    assert detail["books"]["balances"]["hold"] == "3"
    balances = detail["books"]["balances"]
    assert "0.000008" in {balances["withheld"], balances["earned"]}
    assert detail["books"]["checkAge"] < 5
    assert detail["peers"]["attempts"] == 1
    assert (detail["peers"]["agents"], detail["peers"]["submitters"]) == (1, 1)
    assert detail["store"]["databaseBytes"] > 0
    assert detail["store"]["commitP99"] > 0
    assert detail["store"]["backupAge"] is None
    assert detail["process"]["memoryBytes"] > 10e6
    assert detail["process"]["cpuRatio"] > 0
    assert detail["certificateExpires"] is None
    # On a busy machine a loop that lags may be pending too.
    alerts = {alert["name"]: alert["isFiring"] for alert in detail["alerts"]}
    assert "HypernodeBackupOld" in alerts
    assert not any(alerts.values())


@pytest.mark.slow
async def test_a_node_tells_why_it_has_nothing_to_do_and_what_it_has_done(tmp_path: Path) -> None:
    wallet, good, bad = generate(), HonestRunner(), FailingRunner()
    async with (
        open_house(tmp_path, **flags()) as house,
        AsyncClient(house.url, generate()) as client,
    ):
        await client.faucet("50")
        async with agent_at(house, good, "hashsearch", wallet=wallet):
            await (await client.submit("hashsearch", search(), budget="1")).result()
            idle = (await fleet(house, wallet))["honest"]
            good.gate = trio.Event()
            job = await client.submit("hashsearch", search(), budget="1")
            await until(lambda: len(good.began) == 2)
            working = (await fleet(house, wallet))["honest"]
            good.gate.set()
            await job.result()
            await client.submit("render", {"width": 8, "height": 8}, budget="1")
            wrong_kind = (await fleet(house, wallet))["honest"]
        gone = (await fleet(house, wallet))["honest"]
        async with agent_at(house, bad, "montecarlo", wallet=wallet):
            lost = await client.submit("montecarlo", OPTION, budget="1", retries=0)
            with pytest.raises(JobFailed):
                await lost.result()
            async with house.http(await house.bearer(wallet)) as http:
                failing = (await asked(http, "/api/fleet"))[0]

    assert [node["idle"] for node in (idle, working, wrong_kind, gone)] == [
        "no_work", "", "no_matching_kind", "offline",
    ]  # fmt: skip
    assert [node["state"] for node in (working, gone)] == ["online", "offline"]
    assert (working["held"], working["slots"]) == (1, 2)
    assert working["devices"] == ["an honest CPU"]
    assert (gone["done"], gone["failed"], gone["earned"]) == (2, 0, "0.000002")
    assert (failing["done"], failing["failed"]) == (0, 1)
    assert gone["why"] == SENTENCES["offline"]
    assert gone["lastSeen"] >= working["lastSeen"]


OPTION: Any = {
    "spot": 100.0, "strike": 105.0, "rate": 0.03, "volatility": 0.2, "maturity_years": 1.0,
    "option": "call", "paths": 65_536,
}  # fmt: skip


@pytest.mark.slow
async def test_a_node_that_an_administrator_drained_says_until_when_and_why(
    tmp_path: Path,
) -> None:
    wallet = generate()
    async with (
        open_house(tmp_path, **flags()) as house,
        agent_at(house, HonestRunner(), "hashsearch", wallet=wallet),
        house.http(await house.bearer(ADMIN, "admin")) as http,
    ):
        node = (await fleet(house, wallet))["honest"]
        body = {"reason": "a hot GPU", "seconds": 600}
        answer = await http.post(f"/api/nodes/{node['id']}/drain", json=body)
        drained = (await fleet(house, wallet))["honest"]

    assert answer.status_code == 200
    assert drained["idle"] == "drained"
    assert "a hot GPU" in drained["why"]


# ---- why a node is idle -----------------------------------------------------------------------

CAN = Capability(
    kinds=frozenset({"render", "command"}),
    has_gpu=True,
    vram_gib=8,
    sandbox=1,
    worker_sandbox=2,
    slots=2,
    window=4,
    devices=(DeviceKind(is_gpu=True, vram_gib=8, compute=80),),
)


def demand(
    kind: str = "render", *, gpu: bool = False, vram: int = 0, level: int = 0, compute: int = 0
) -> Demand:
    return Demand(kind, kind == "command", gpu, vram, level, compute)


@pytest.mark.parametrize(
    ("demands", "code"),
    [
        ([], "no_work"),
        ([demand("nbody")], "no_matching_kind"),
        ([demand(gpu=True, vram=24)], "memory_too_small"),
        ([demand("command", level=2)], "level_too_low"),
        ([demand(level=2)], ""),
        ([demand(gpu=True, compute=90)], "gpu_too_old"),
        ([demand("nbody"), demand("command", level=2), demand(gpu=True, vram=24)], "level_too_low"),
        ([demand("nbody"), demand()], ""),
    ],
)
def test_the_job_that_comes_nearest_says_what_a_node_lacks(
    demands: list[Demand], code: str
) -> None:
    assert lack(CAN, demands) == code
    assert code in SENTENCES


def test_without_a_gpu_it_is_the_gpu() -> None:
    cpu = Capability(CAN.kinds, False, 0, 1, 2, 1, 1)

    assert lack(cpu, [demand(gpu=True)]) == "no_gpu"


def test_what_is_asked_lies_within_what_is_remembered() -> None:
    assert alarms.KEEP_S > 60
    assert all(expression.names for expression in ASKED)


# ---- the chapter ------------------------------------------------------------------------------


def test_the_chapter_on_watching_names_every_reason_and_nothing_else() -> None:
    chapter = read(Path("docs/operation.md")).split("## Watching it")[1]
    idle, health = (set(re.findall(r"^\| (`[a-z_`, ]+`) \|", part, re.MULTILINE)) for part in (
        chapter.split("| idle |")[1].split("###")[0], chapter.split("| reason |")[1].split("###")[0]
    ))  # fmt: skip

    assert {name for row in idle for name in re.findall(r"[a-z_]+", row)} == {*SENTENCES} - {""}
    assert {name for row in health for name in re.findall(r"[a-z_]+", row)} == {*REASONS, LOOP_LAG}
