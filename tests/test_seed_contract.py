"""A client written from the seed's guide alone, against the running coordinator.

The client below knows JSON, WebSocket and the guide's shapes; nothing of ours but how to get its
token (a wallet's signature over a challenge), which the guide leaves open.
Slow: our own test job comes some seconds after a client registers, in real time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pytest
import trio
import trio_websocket

from coordinator.protocol.signing import Keypair, generate
from coordinator.protocol.spec import Limits, Resources
from hypernode.client import AsyncClient
from onchain.address import encode_address
from tests.house import House, captured_log, open_house

#: What the guide shows, key by key, with the types that its front end counts on.
NODE_SHAPE = {
    "id": str,
    "hostname": str,
    "gpu": str,
    "status": str,
    "lastHeartbeat": str,
    "earned": (int, float),
}
JOB_SHAPE = {
    "id": str,
    "type": str,
    "nodeId": str,
    "status": str,
    "duration": (int, float),
    "createdAt": str,
    "completedAt": str,
}
HOST_INFO = {
    "hostname": "gpu-rig-01",
    "gpus": [{"name": "NVIDIA RTX 4090", "memory": "24GB"}],
    "os": "Ubuntu 22.04",
}


class SeedClient:
    """The guide's host agent: register, heartbeat, job, job_result. Unknown fields are ignored."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.node = ""
        self.session_key = ""

    @classmethod
    async def register(cls, socket: Any, token: str, **more: Any) -> Self:
        client = cls(socket)
        await client.say(type="register", token=token, hostInfo={**HOST_INFO, **more})
        answer = await client.hear()
        assert answer["type"] == "registered", answer
        assert answer["message"] == "Successfully registered"
        client.node = answer["nodeId"]
        client.session_key = answer["sessionKey"]
        return client

    async def say(self, **message: Any) -> None:
        await self._socket.send_message(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        with trio.fail_after(5):
            message: dict[str, Any] = json.loads(await self._socket.get_message())
        return message

    async def beat(self) -> dict[str, Any]:
        await self.say(type="heartbeat", nodeId=self.node)
        return await self.hear()

    async def job(self) -> dict[str, Any]:
        message = await self.hear()
        assert message["type"] == "job", message
        return message

    async def report(self, job: str, **more: Any) -> dict[str, Any]:
        await self.say(type="job_result", id=job, status="completed", logs="output logs", **more)
        return await self.hear()


@asynccontextmanager
async def dial(house: House) -> AsyncIterator[Any]:
    """A WebSocket; trio-websocket's own way to open one may leave its socket open."""
    stream = await trio.open_tcp_stream("127.0.0.1", house.port)
    async with trio.open_nursery() as nursery:
        try:
            async with await trio_websocket.wrap_client_stream(
                nursery, stream, "127.0.0.1", "/"
            ) as socket:
                yield socket
        finally:
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    with captured_log() as log:
        async with open_house(tmp_path, test_pay_daily="1") as opened:
            yield opened
    assert not log.failures(), log.failures()


@asynccontextmanager
async def registered(house: House, wallet: Keypair, **more: Any) -> AsyncIterator[SeedClient]:
    token = await house.token(wallet)
    async with dial(house) as socket:
        yield await SeedClient.register(socket, token, **more)


async def mine(house: House, what: str, wallet: Keypair) -> list[dict[str, Any]]:
    async with house.http() as http:
        answer = await http.get(
            f"/api/{what}/mine", params={"wallet": encode_address(wallet.address)}
        )
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()
    return rows


def assert_shape(row: dict[str, Any], shape: dict[str, Any]) -> None:
    wrong = {key: row.get(key) for key, kind in shape.items() if not isinstance(row.get(key), kind)}
    assert not wrong, wrong
    for key in shape.keys() & {"lastHeartbeat", "createdAt", "completedAt"}:
        assert row[key].endswith("Z")
        assert datetime.fromisoformat(row[key]).tzinfo is not None


@pytest.mark.slow
async def test_a_seed_client_lives_as_its_guide_says(house: House) -> None:
    wallet = generate()
    async with registered(house, wallet) as client:
        assert await client.beat() == {"type": "ack"}

        job = await client.job()
        assert (job["command"], set(job)) == ("sleep 5", {"type", "id", "command"})
        await trio.sleep(0.2)
        ack = await client.report(job["id"])
        assert ack["type"] == "ack"
        assert job["id"] in ack["message"]

        (node,) = await mine(house, "nodes", wallet)
        (row,) = await mine(house, "jobs", wallet)
    with trio.fail_after(2):
        while (await mine(house, "nodes", wallet))[0]["status"] != "offline":  # noqa: ASYNC110
            await trio.sleep(0.05)

    assert_shape(node, NODE_SHAPE)
    assert (node["id"], node["hostname"]) == (client.node, "gpu-rig-01")
    assert (node["gpu"], node["status"]) == ("NVIDIA RTX 4090", "online")
    # Paid by our clock, 0.01 HYPER a second less the fee, not by the five seconds of its name.
    assert 0.0019 < node["earned"] < 0.01
    assert_shape(row, JOB_SHAPE)
    assert (row["id"], row["type"], row["nodeId"]) == (job["id"], "test", client.node)
    assert row["status"] == "completed"
    assert 0.2 <= row["duration"] < 1


@pytest.mark.slow
async def test_a_job_is_reported_over_http_by_its_own_node_only(house: House) -> None:
    wallet = generate()
    report: dict[str, Any] = {"status": "completed", "logs": "output logs here", "duration": 99_999}
    async with registered(house, wallet) as client, registered(house, generate()) as other:
        job = await client.job()
        report |= {"jobId": job["id"], "nodeId": client.node}
        async with house.http() as http:
            nobody = await http.post("/api/jobs/report", json=report)
        async with house.http(other.session_key) as http:
            foreign = await http.post("/api/jobs/report", json=report)
            claimed = await http.post("/api/jobs/report", json={**report, "nodeId": other.node})
        async with house.http(client.session_key) as http:
            own = await http.post("/api/jobs/report", json={**report, "unknownField": 1})
            again = await http.post("/api/jobs/report", json=report)
        late = await client.report(job["id"])
        (node,) = await mine(house, "nodes", wallet)
        (row,) = await mine(house, "jobs", wallet)
    async with house.http(client.session_key) as http:
        gone = await http.post("/api/jobs/report", json=report)

    refusals = [(nobody, 401), (foreign, 403), (claimed, 409), (gone, 401)]
    assert [(answer.status_code, status) for answer, status in refusals] == [
        (status, status) for _, status in refusals
    ]
    assert foreign.json()["code"] == "forbidden"
    assert claimed.json()["code"] == "stale"
    assert own.status_code == 204
    assert again.status_code == 204, "the same report again is answered as before"
    assert late["type"] == "ack"
    assert row["status"] == "completed"
    assert row["duration"] < 2, "the reported duration is not believed"
    assert node["earned"] < 0.02, "and not paid"


@pytest.mark.slow
async def test_a_level_0_job_of_a_submitter_reaches_a_seed_client_and_is_paid_by_our_clock(
    house: House,
) -> None:
    wallet = generate()
    async with AsyncClient(house.url, generate()) as submitter:
        await submitter.faucet("10")
        async with registered(house, wallet) as client:
            careful = await submitter.submit("command", command="id", budget="1")
            bold = await submitter.submit(
                "command",
                command="nvidia-smi",
                budget="1",
                limits=Limits(execution_s=60),
                resources=Resources(sandbox=0),
            )
            job = await client.job()
            assert (job["id"], job["command"]) == (bold.id, "nvidia-smi")
            await trio.sleep(0.3)
            await client.report(job["id"], durationSeconds=3600)
            result = await bold.result(2)
            (node,) = await mine(house, "nodes", wallet)
        account = await submitter.account()
        await careful.cancel()

    assert result.text == "output logs"
    assert result.receipt is not None
    assert (result.receipt.policy, result.receipt.verdict) == ("none", "unverified")
    paid = result.receipt.paid + result.receipt.fee
    assert 3_000 <= paid < 10_000, "0.3 seconds at 0.01 HYPER a second"
    assert node["earned"] == result.receipt.paid / 1_000_000
    assert float(account.credit) + float(account.held) == pytest.approx(10 - paid / 1_000_000)
    assert account.held == "1", "the job that asks for a sandbox still waits"


@pytest.mark.slow
async def test_the_test_job_waits_for_a_client_that_works(house: House) -> None:
    async with AsyncClient(house.url, generate()) as submitter:
        await submitter.faucet("10")
        async with registered(house, generate()) as client:
            job = await submitter.submit(
                "command", command="true", budget="1", resources=Resources(sandbox=0)
            )
            first = await client.job()
            with trio.move_on_after(3.2) as quiet:
                await client.hear()
            await client.report(first["id"])
            second = await client.job()

    assert first["id"] == job.id
    assert quiet.cancelled_caught, "a client of one slot is given one job"
    assert second["command"] == "sleep 5"


async def test_a_token_registers_once(house: House) -> None:
    token = await house.token(generate())
    async with dial(house) as socket:
        await SeedClient.register(socket, token)
        async with dial(house) as another:
            thief = SeedClient(another)
            await thief.say(type="register", token=token, hostInfo=HOST_INFO)
            answer = await thief.hear()

    assert answer["type"] == "error"
    assert answer["code"] == "token_spent"
    assert isinstance(answer["message"], str)


async def test_a_token_is_not_given_for_a_wallets_name_alone(house: House) -> None:
    wallet = encode_address(generate().address)
    async with house.http() as http:
        bare = await http.post("/api/nodes/issue-token", json={"wallet": wallet})
        asked = await http.get(bare.json()["challenge"], params={"wallet": wallet})
        wrong = await http.post(
            "/api/nodes/issue-token",
            json={"wallet": wallet, "nonce": asked.json()["nonce"], "signature": "1" * 64},
        )

    assert bare.status_code == 401
    assert bare.json()["challenge"] == "/api/nodes/challenge"
    assert bare.json()["code"] == "challenge_required"
    assert {"message", "fields", "nonce", "expiresAt"} <= asked.json().keys()
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_signature")


async def test_one_node_and_one_job_are_shown_by_their_ids(house: House) -> None:
    async with (
        AsyncClient(house.url, generate()) as submitter,
        registered(house, generate()) as client,
        house.http() as http,
    ):
        await submitter.faucet("10")
        await submitter.submit(
            "command", command="true", budget="1", resources=Resources(sandbox=0)
        )
        job = await client.job()
        await client.report(job["id"])
        node = await http.get(f"/api/nodes/{client.node}")
        row = await http.get(f"/api/jobs/{job['id']}")
        nothing = await http.get("/api/jobs/job-123")

    assert_shape(node.json(), NODE_SHAPE)
    assert_shape(row.json(), JOB_SHAPE)
    assert row.json()["type"] == "command"
    assert (nothing.status_code, nothing.json()["code"]) == (404, "not_found")


async def test_fields_that_nobody_knows_are_ignored_and_optional_ones_may_be_missing(
    house: House,
) -> None:
    token = await house.token(generate())
    async with registered(house, generate(), cpu={"cores": 64}, uptime=1.5) as client:
        await client.say(type="heartbeat", nodeId=client.node, load=[0.1, 0.2], note=None)
        assert await client.hear() == {"type": "ack"}
        await client.say(type="heartbeat")
        assert await client.hear() == {"type": "ack"}
    async with dial(house) as socket:
        client = SeedClient(socket)
        await client.say(type="register", token=token)
        answer = await client.hear()

    assert answer["type"] == "registered"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "register", "token": "6d3f5c4b-0b29-4ac1-a1e8-4e02f39c1e9f"}, "token_malformed"),
        ({"type": "register"}, "unauthenticated"),
        ({"type": "heartbeat", "nodeId": "node-123"}, "out_of_order"),
        ({"type": "dance"}, "unknown_type"),
    ],
)
async def test_errors_have_the_seeds_shape(house: House, message: Any, code: str) -> None:
    async with dial(house) as socket:
        client = SeedClient(socket)
        await client.say(**message)
        answer = await client.hear()

    assert answer["type"] == "error"
    assert answer["code"] == code
    assert answer["message"]
