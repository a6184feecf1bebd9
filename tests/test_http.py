"""The HTTP API over a real port: shapes, errors, who may ask, limits, bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import structlog
import trio
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from coordinator import (
    action_routes,
    blob_routes,
    claim_routes,
    door,
    health_routes,
    log_routes,
    routes,
    settlement_routes,
    status_routes,
)
from coordinator.blob_routes import parse_range
from coordinator.config import Config
from coordinator.door import Door
from coordinator.http import build_app
from coordinator.http_context import Api, needs_session
from coordinator.limits import (
    BODY_BYTES_MAX,
    CHALLENGES_PER_MINUTE,
    LOG_WAIT_S_MAX,
    REQUESTS_BURST,
)
from coordinator.metrics import Metrics
from coordinator.protocol.codec import submitter_decoder
from coordinator.protocol.errors import CODES, Refusal
from coordinator.protocol.messages import JobOutput
from coordinator.readiness import Readiness
from coordinator.signals import Drain
from tests.fake_api import INLINE, JOB, NODE, WALLET, FakeApi
from tests.serving import Served, local_config, serving


class House(Served):
    """A served application with its fake API."""

    api: FakeApi


@dataclass
class FakeWriter:
    """What readiness asks of the writer."""

    failure: str = ""
    halted: Refusal | None = None
    is_stuck: bool = False


def application(
    api: Api, config: Config, metrics: Metrics, drain: Drain, writer: FakeWriter
) -> Door:
    readiness = Readiness(drain, writer)
    readiness.is_started = True
    return build_app(api, config, metrics=metrics, readiness=readiness)


class Serving:
    """Makes a house from flags of the configuration."""

    def __init__(self, folder: Path) -> None:
        self.api = FakeApi(folder)
        self.metrics = Metrics()
        self.drain = Drain()
        self.writer = FakeWriter()

    def __call__(self, **flags: object) -> Any:
        config = local_config(**flags)
        app = application(self.api, config, self.metrics, self.drain, self.writer)
        return serving(app, config=config, metrics=self.metrics, drain=self.drain)


@pytest.fixture
async def house(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


@pytest.fixture
async def client(house: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with house() as served, served.client() as client:
        yield client


def bearer(scope: str = "wallet") -> dict[str, str]:
    return {"Authorization": f"Bearer {scope}"}


def error_of(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) <= {"error", "code", "challenge", "message"}
    assert isinstance(body["error"], str)
    assert body["error"]
    return answer.status_code, body["code"]


# ---- the seed's shapes ------------------------------------------------------------------------


async def test_earned_is_a_json_number_exact_to_the_last_digit(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/nodes/mine", params={"wallet": WALLET})

    assert '"earned":9007199254740993.000001,' in answer.text
    assert answer.json()[0]["lastHeartbeat"] == "2026-11-24T08:00:00.000Z"


async def test_a_token_without_a_signature_names_the_way_to_the_challenge(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/api/nodes/issue-token", json={"wallet": WALLET})

    assert error_of(answer) == (401, "challenge_required")
    assert answer.json()["challenge"] == "/api/nodes/challenge"


async def test_a_token_is_issued_for_a_signature(client: httpx.AsyncClient) -> None:
    proof = {"wallet": WALLET, "nonce": "n", "signature": "s"}
    answer = await client.post("/api/nodes/issue-token", json=proof)
    refused = await client.post("/api/nodes/issue-token", json={**proof, "signature": "bad"})

    assert (answer.status_code, answer.json()["token"]) == (200, f"hy1.{WALLET}.n")
    assert error_of(refused) == (401, "bad_signature")


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"/api/nodes/challenge?wallet={WALLET}", (WALLET, "token", "")),
        (f"/api/nodes/challenge?wallet={WALLET}&node={WALLET}", (WALLET, "token", WALLET)),
        (f"/api/session/challenge?wallet={WALLET}", (WALLET, "wallet", "")),
        (f"/api/session/challenge?wallet={WALLET}&scope=admin", (WALLET, "admin", "")),
    ],
)
async def test_a_challenge_is_asked_for_in_its_scope(
    client: httpx.AsyncClient, house: Serving, path: str, asked: object
) -> None:
    answer = await client.get(path)

    assert answer.json()["fields"]["address"] == WALLET
    assert house.api.asked == [asked]


async def test_a_report_of_the_seed_is_taken_from_its_node(
    client: httpx.AsyncClient, house: Serving
) -> None:
    body = {"jobId": JOB, "nodeId": NODE, "status": "completed", "logs": "", "duration": 1.5}
    answer = await client.post("/api/jobs/report", json=body, headers=bearer("node"))
    refused = await client.post("/api/jobs/report", json=body, headers=bearer("wallet"))

    assert answer.status_code == 204
    assert error_of(refused) == (403, "forbidden")
    assert len(house.api.asked) == 1


# ---- jobs -------------------------------------------------------------------------------------


async def test_a_specification_keeps_the_bytes_that_its_hash_names(
    client: httpx.AsyncClient, house: Serving
) -> None:
    spec = b'{ "kind" : "matmul",\n"params": {"n": 1.50e0, "b": 1, "a": 2} }'
    body = b'{"jobs":[{"key":"a","spec":' + spec + b',"budget":"1"}]}'
    answer = await client.post("/api/jobs", content=body, headers=bearer())
    quoted = await client.post(
        "/api/quotes", content=b'{"specs":[' + spec + b"]}", headers=bearer()
    )

    assert answer.json() == {"jobs": [{"key": "a", "id": JOB}]}
    assert quoted.json() == [{"kind": "matmul", "price": "0.1"}]
    assert house.api.asked == [[spec], [spec]]


async def test_a_job_shows_more_to_its_session(client: httpx.AsyncClient) -> None:
    stranger = await client.get(f"/api/jobs/{JOB}")
    owner = await client.get(f"/api/jobs/{JOB}", headers=bearer())
    expired = await client.get(f"/api/jobs/{JOB}", headers=bearer("old"))

    assert (stranger.json()["key"], owner.json()["key"]) == ("", "mine")
    assert error_of(expired) == (401, "session_expired")


async def test_a_job_is_cancelled_or_the_code_says_why_not(client: httpx.AsyncClient) -> None:
    answer = await client.delete(f"/api/jobs/{JOB}", headers=bearer())
    refused = await client.delete("/api/jobs/late", headers=bearer())

    assert answer.json() == {"id": JOB, "state": "cancelled"}
    assert error_of(refused) == (409, "too_late")


async def test_a_result_is_the_frame_of_the_wire(client: httpx.AsyncClient, house: Serving) -> None:
    plain = await client.get(f"/api/jobs/{JOB}/result", headers=bearer())
    house.api.output = INLINE
    binary = await client.get(f"/api/jobs/{JOB}/result", headers=bearer())

    assert plain.headers["content-type"] == "application/json"
    assert plain.json() == {"type": "result", "id": JOB}
    assert binary.headers["content-type"] == "application/octet-stream"
    message, data = submitter_decoder.decode(binary.content)
    assert isinstance(message, JobOutput)
    assert (message, bytes(data)) == INLINE


async def test_a_log_is_told_from_a_place_on_and_never_kept_by_a_cache(
    client: httpx.AsyncClient, house: Serving
) -> None:
    path = f"/api/jobs/{JOB}/logs"
    answer = await client.get(f"{path}?offset=5&attempt=1&wait=2.5", headers=bearer())

    assert answer.json() == {
        "status": "running", "attempt": 1, "offset": 5, "text": "1\nli", "nextOffset": 9,
        "progress": 0.5, "isFinal": False,
    }  # fmt: skip
    assert answer.headers["cache-control"] == "no-store"
    assert house.api.asked == [(5, 1, 2.5)]


async def test_a_log_as_events_is_all_of_its_parts_one_after_the_other(
    client: httpx.AsyncClient, house: Serving
) -> None:
    headers = {**bearer(), "accept": "text/event-stream", "last-event-id": "1-8"}
    answer = await client.get(f"/api/jobs/{JOB}/logs", headers=headers)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    first, last, nothing = answer.text.split("\n\n")
    assert first.splitlines()[:2] == ["event: log", "id: 1-12"]
    assert last.splitlines()[:2] == ["event: end", "id: 1-14"]
    assert json.loads(last.splitlines()[2].removeprefix("data: "))["text"] == "2\n"
    assert nothing == ""
    assert house.api.asked == [(8, 1, 0.0), (12, 1, LOG_WAIT_S_MAX)]


@pytest.mark.parametrize(
    ("query", "last"),
    [
        ("offset=-1", ""),
        ("offset=x", ""),
        ("wait=21", ""),
        ("wait=nan", ""),
        ("attempt=99999999999999999999", ""),
        ("", "7"),
        ("", "a-b"),
        ("", "1-2-3"),
        ("", "-1"),
        ("", "1-" + "9" * 40),
    ],
)
async def test_a_place_that_is_none_is_refused(
    client: httpx.AsyncClient, query: str, last: str
) -> None:
    headers = bearer() | ({"accept": "text/event-stream", "last-event-id": last} if last else {})
    answer = await client.get(f"/api/jobs/{JOB}/logs?{query}", headers=headers)

    assert error_of(answer) == (400, "malformed")


async def test_a_stream_of_a_log_that_is_not_there_is_a_plain_refusal(
    client: httpx.AsyncClient,
) -> None:
    headers = {**bearer(), "accept": "text/event-stream"}
    answer = await client.get("/api/jobs/job-other/logs", headers=headers)

    assert error_of(answer) == (404, "not_found")


async def test_a_session_opens_and_closes(client: httpx.AsyncClient, house: Serving) -> None:
    proof = {"wallet": WALLET, "nonce": "n", "signature": "s"}
    opened = await client.post("/api/session", json=proof)
    closed = await client.delete("/api/session", headers=bearer())

    assert opened.json()["bearer"] == "bearer"
    assert (closed.status_code, closed.content) == (204, b"")
    assert house.api.asked == ["wallet"]


async def test_an_account_and_the_faucet_answer_alike(client: httpx.AsyncClient) -> None:
    account = await client.get("/api/account", headers=bearer())
    given = await client.post("/api/faucet", json={"amount": "5", "key": "a"}, headers=bearer())

    assert (account.json()["credit"], given.json()["credit"]) == ("10", "5")


# ---- who may ask ------------------------------------------------------------------------------


def handlers() -> list[HTTPRouteHandler]:
    return [
        *(*routes.ROUTES, *blob_routes.ROUTES, *log_routes.ROUTES, *health_routes.ROUTES),
        *settlement_routes.ROUTES,
        *action_routes.ROUTES,
        *claim_routes.ROUTES,
        *(status_routes.status, status_routes.fleet),
    ]


@pytest.mark.parametrize("handler", handlers(), ids=lambda handler: handler.fn.__name__)
def test_each_handler_is_public_or_needs_a_session(handler: HTTPRouteHandler) -> None:
    is_secured = needs_session in (handler.guards or ())

    assert is_secured != bool(handler.opt.get("public"))
    assert handler.fn.__doc__


SECURED = [
    ("GET", "/api/nodes"), ("GET", "/api/jobs"), ("POST", "/api/jobs"),
    ("POST", "/api/jobs/report"), ("DELETE", f"/api/jobs/{JOB}"),
    ("GET", f"/api/jobs/{JOB}/result"), ("GET", "/api/account"),
    ("POST", "/api/faucet"), ("DELETE", "/api/session"), ("PUT", f"/api/blobs/{'0' * 64}"),
    ("GET", f"/api/blobs/{'0' * 64}"), ("POST", f"/api/nodes/{NODE}/drain"),
    ("GET", f"/api/jobs/{JOB}/inputs/a"),
    ("POST", f"/api/nodes/{NODE}/undrain"), ("GET", "/api/jobs?quarantined=true"),
    ("GET", f"/api/blobs/{'0' * 64}"),     ("GET", "/api/sessions"), ("DELETE", "/api/sessions"),
    ("DELETE", "/api/sessions/session-0123456789abcdef"), ("DELETE", f"/api/nodes/{NODE}/key"),
    ("GET", f"/api/jobs/{JOB}/logs"), ("POST", "/api/withdrawals"), ("GET", "/api/withdrawals"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), SECURED)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unauthenticated"),
        ({"Authorization": "Basic d2FsbGV0"}, "unauthenticated"),
        ({"Authorization": "Bearer nobody"}, "unauthenticated"),
        ({"Authorization": "Bearer old"}, "session_expired"),
        ({"Authorization": "Bearer " + "a" * 300}, "unauthenticated"),
    ],
)
async def test_without_a_session_nothing_is_done(
    client: httpx.AsyncClient,
    house: Serving,
    method: str,
    path: str,
    headers: dict[str, str],
    code: str,
) -> None:
    answer = await client.request(method, path, headers=headers)

    assert error_of(answer) == (401, code)
    assert house.api.asked == []


async def test_all_nodes_are_for_admins(client: httpx.AsyncClient) -> None:
    assert error_of(await client.get("/api/nodes", headers=bearer())) == (403, "forbidden")
    assert (await client.get("/api/nodes", headers=bearer("admin"))).status_code == 200


async def test_drains_and_the_quarantine_are_for_admins(
    client: httpx.AsyncClient, house: Serving
) -> None:
    asked = {"reason": "wrong results", "seconds": 60}
    path = f"/api/nodes/{NODE}"
    for scope in ("wallet", "node"):
        for answer in (
            await client.post(f"{path}/drain", json=asked, headers=bearer(scope)),
            await client.post(f"{path}/undrain", headers=bearer(scope)),
            await client.get("/api/jobs?quarantined=true", headers=bearer(scope)),
        ):
            assert error_of(answer) == (403, "forbidden")
    assert house.api.asked == []

    drained = await client.post(f"{path}/drain", json=asked, headers=bearer("admin"))
    back = await client.post(f"{path}/undrain", headers=bearer("admin"))
    listed = await client.get("/api/jobs?quarantined=true", headers=bearer("admin"))
    assert (drained.status_code, back.status_code, listed.status_code) == (200, 200, 200)
    assert drained.json()["drainReason"] == "wrong results"
    assert "drainedUntil" not in back.json()
    assert listed.json()[0]["code"] == "quarantined"


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "x", "seconds": 0}, {"reason": "x", "seconds": 1e9}]
)
async def test_a_drain_has_a_reason_and_a_bounded_time(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    answer = await client.post(f"/api/nodes/{NODE}/drain", json=body, headers=bearer("admin"))

    assert error_of(answer) == (400, "malformed")


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "content", "expected"),
    [
        ("GET", "/nothing", b"", (404, "not_found")),
        ("GET", "/", b"", (404, "not_found")),
        ("GET", "/swagger", b"", (404, "not_found")),
        ("GET", "/api/nodes/node-2-0123456789abcdef", b"", (404, "not_found")),
        ("TRACE", "/api/jobs", b"", (405, "method_not_allowed")),
        ("PATCH", "/api/jobs", b"", (405, "method_not_allowed")),
        ("GET", "/api/quotes", b"", (405, "method_not_allowed")),
        ("GET", "/api/nodes/mine", b"", (400, "malformed")),
        ("GET", "/api/nodes/mine?wallet=short", b"", (400, "malformed")),
        ("GET", f"/api/session/challenge?wallet={WALLET}&scope=node", b"", (400, "malformed")),
        ("POST", "/api/jobs", b"", (400, "malformed")),
        ("POST", "/api/jobs", b"{", (400, "malformed")),
        ("POST", "/api/jobs", b'{"jobs":[]}', (400, "malformed")),
        ("POST", "/api/jobs", b'{"jobs":[{"key":1}]}', (400, "malformed")),
        ("POST", "/api/jobs", b"[" * 100_000, (400, "too_deep")),
        ("POST", "/api/jobs", b'{"jobs":"\xff"}', (400, "malformed")),
        ("POST", "/api/faucet", b'{"amount":"1","key":"a\\u0000"}', (400, "malformed")),
        ("POST", "/api/faucet", b'\xef\xbb\xbf{"amount":"1","key":"a"}', (400, "malformed")),
        ("GET", "/api/blobs/XYZ", b"", (400, "malformed")),
        ("GET", f"/api/blobs/{'0' * 64}", b"", (404, "not_found")),
    ],
)  # fmt: skip
async def test_every_error_is_a_sentence_and_a_code(
    client: httpx.AsyncClient, method: str, path: str, content: bytes, expected: tuple[int, str]
) -> None:
    answer = await client.request(method, path, content=content, headers=bearer())

    assert error_of(answer) == expected
    assert expected[1] in CODES
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "body",
    [
        b'{"wallet":"%s","wallet":"%s"}' % (WALLET.encode(), WALLET.encode()),
        b'{"wallet":"%s","n":9007199254740993}' % WALLET.encode(),
        b'{"wallet":"%s","n":NaN}' % WALLET.encode(),
    ],
)
async def test_strangers_bodies_are_read_strictly(client: httpx.AsyncClient, body: bytes) -> None:
    assert error_of(await client.post("/api/nodes/issue-token", content=body)) == (
        400,
        "malformed",
    )


async def test_strangers_bodies_are_small(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/api/session", json={"wallet": WALLET, "nonce": "n", "signature": "s", "x": "a" * 5000}
    )

    assert error_of(answer) == (413, "too_large")


async def test_a_body_beyond_the_limit_is_refused_and_the_answer_is_read(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/api/jobs", content=bytes(BODY_BYTES_MAX + 1), headers=bearer())

    assert error_of(answer) == (413, "too_large")


async def test_a_405_names_the_methods_that_are_taken(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/quotes")

    assert "POST" in answer.headers["allow"]


async def test_our_own_fault_is_one_line_in_the_log_and_a_code_for_the_peer(
    client: httpx.AsyncClient,
) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await client.get("/api/jobs/fail")

    assert error_of(answer) == (500, "internal")
    assert "secret" not in answer.text
    assert [(line["event"], line["path"]) for line in lines] == [
        ("request failed", "/api/jobs/fail")
    ]


# ---- the door ---------------------------------------------------------------------------------


async def test_one_address_may_ask_so_often_and_is_told_how_long_to_wait(
    client: httpx.AsyncClient, house: Serving
) -> None:
    answers = [await client.get("/livez") for _ in range(REQUESTS_BURST + 30)]
    refused = [answer for answer in answers if answer.status_code == 429]

    assert len(answers) - len(refused) >= REQUESTS_BURST
    assert refused
    assert error_of(refused[0]) == (429, "rate_limited")
    assert refused[0].headers["retry-after"] == "1"
    assert b'rate_limited_total{scope="address"}' in house.metrics.exposition()


async def test_one_wallet_is_challenged_so_often_and_another_one_still_is(
    client: httpx.AsyncClient,
) -> None:
    params = {"wallet": WALLET}
    statuses = [
        (await client.get("/api/nodes/challenge", params=params)).status_code
        for _ in range(CHALLENGES_PER_MINUTE)
    ]
    refused = await client.get("/api/session/challenge", params=params)
    other = await client.get("/api/nodes/challenge", params={"wallet": WALLET[:-1] + "3"})

    assert statuses == [200] * CHALLENGES_PER_MINUTE
    assert error_of(refused) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert other.status_code == 200


async def test_a_host_that_is_not_served_is_refused(house: Serving) -> None:
    async with house(allowed_hosts=["hyper.example"]) as served, served.client() as client:
        refused = await client.get("/livez")
        answer = await client.get("/livez", headers={"Host": "hyper.example:3001"})

    assert error_of(refused) == (421, "bad_host")
    assert answer.status_code == 200


async def test_a_listed_origin_may_read_the_answer_and_no_other_may(house: Serving) -> None:
    listed = "https://hyper.example"
    async with house(cors_origins=[listed]) as served, served.client() as client:
        one = await client.get("/nothing", headers={"Origin": listed})
        other = await client.get("/livez", headers={"Origin": "https://evil.example"})
        plain = await client.get("/livez")

    assert one.headers["access-control-allow-origin"] == listed
    for answer in (one, other, plain):
        assert answer.headers["vary"] == "origin"
        assert "access-control-allow-credentials" not in answer.headers
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-origin" not in plain.headers


async def test_a_preflight_is_answered_for_a_listed_origin_only(house: Serving) -> None:
    ask = {"Access-Control-Request-Method": "DELETE"}
    async with house(cors_origins=["https://hyper.example"]) as served, served.client() as client:
        one = await client.options(
            "/api/jobs/x", headers={"Origin": "https://hyper.example", **ask}
        )
        other = await client.options(
            "/api/jobs/x", headers={"Origin": "https://evil.example", **ask}
        )

    assert one.status_code == 204
    assert "DELETE" in one.headers["access-control-allow-methods"]
    assert "authorization" in one.headers["access-control-allow-headers"]
    assert error_of(other) == (403, "bad_origin")


@pytest.mark.parametrize("path", ["/api/jobs", f"/api/jobs/{JOB}", "/api/none", "/livez"])
async def test_answers_carry_the_headers_of_security(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers
    if path.startswith("/api"):
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.slow
async def test_a_body_that_drips_is_cut_off(
    house: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "BODY_S", 0.05)
    monkeypatch.setattr(door, "DISCARD_S", 0.05)
    async with house() as served:
        answer = await served.talk(
            b"POST /api/nodes/issue-token HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n{"
        )

    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"deadline"' in answer


# ---- blobs ------------------------------------------------------------------------------------

BLOB = bytes(range(256)) * 1000
NAME = sha256(BLOB).hexdigest()


async def pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(BLOB), 50_000):
        yield BLOB[start : start + 50_000]


async def test_a_blob_streams_in_and_out(client: httpx.AsyncClient) -> None:
    put = await client.put(f"/api/blobs/{NAME}", content=pieces(), headers=bearer())
    got = await client.get(f"/api/blobs/{NAME}", headers=bearer())
    head = await client.head(f"/api/blobs/{NAME}", headers=bearer())

    assert put.status_code == 204
    assert got.content == BLOB
    assert got.headers["etag"] == f'"{NAME}"'
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(BLOB))
    assert head.headers["content-type"] == "application/octet-stream"


async def test_bytes_of_another_hash_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.put(f"/api/blobs/{'0' * 64}", content=BLOB, headers=bearer())

    assert error_of(answer) == (422, "blob_mismatch")


async def test_a_blob_beyond_the_limit_is_refused_by_its_length(
    house: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "DISCARD_S", 0.02)
    async with house() as served:
        answer = await served.talk(
            f"PUT /api/blobs/{NAME} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wallet\r\n"
            f"Content-Length: {2**40}\r\nConnection: close\r\n\r\n".encode()
        )

    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-", 100, len(BLOB)),
        ("bytes=-10", len(BLOB) - 10, len(BLOB)),
        ("bytes=5-999999999", 5, len(BLOB)),
    ],
)
async def test_a_range_of_a_blob_is_read(
    client: httpx.AsyncClient, house: Serving, asked: str, start: int, stop: int
) -> None:
    (house.api.folder / NAME).write_bytes(BLOB)
    answer = await client.get(f"/api/blobs/{NAME}", headers={**bearer(), "Range": asked})

    assert answer.status_code == 206
    assert answer.content == BLOB[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(BLOB)}"


async def test_a_range_past_the_end_is_refused(client: httpx.AsyncClient, house: Serving) -> None:
    (house.api.folder / NAME).write_bytes(BLOB)
    answer = await client.get(
        f"/api/blobs/{NAME}", headers={**bearer(), "Range": f"bytes={len(BLOB)}-"}
    )

    assert error_of(answer) == (416, "bad_range")


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ("", 10, None),
        ("bytes=-", 10, None),
        ("bytes=5-2", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=-99", 10, range(10)),
        ("bytes=3-3", 10, range(3, 4)),
    ],
)
def test_a_range_is_read_or_ignored(value: str, size: int, expected: range | None) -> None:
    assert parse_range(value, size) == expected


@pytest.mark.parametrize(("value", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=-5", 0)])
def test_a_range_of_no_bytes_is_refused(value: str, size: int) -> None:
    with pytest.raises(Refusal, match="bad_range"):
        parse_range(value, size)


# ---- health, numbers, schema ------------------------------------------------------------------


async def test_a_healthy_house_says_so(client: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz", "/startupz", "/healthz"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.json() == {"status": "ok", "detail": "", "reasons": []}


async def test_a_draining_house_is_alive_but_not_ready(house: Serving) -> None:
    app = application(house.api, local_config(), house.metrics, house.drain, house.writer)
    house.drain.begin()
    async with serving(app) as served, served.client() as client:
        paths = ("/livez", "/startupz", "/readyz", "/healthz")
        answers = [await client.get(path) for path in paths]

    assert [answer.status_code for answer in answers] == [200, 200, 503, 503]
    assert answers[2].json()["status"] == "draining"


async def test_why_a_house_is_not_ready_is_said_by_name_and_never_by_a_path(
    house: Serving,
) -> None:
    house.writer.failure = "cannot write /srv/house.db"
    house.writer.halted = Refusal("read_only")
    house.metrics.loop_lag_s = 2.0
    async with house() as served, served.client() as client:
        alive, ready, both = [await client.get(p) for p in ("/livez", "/readyz", "/healthz")]

    assert (alive.status_code, alive.json()["reasons"]) == (503, ["loop_lag"])
    assert ready.status_code == 503
    assert ready.json()["status"] == "failing"
    assert ready.json()["reasons"] == ["read_only", "store_failing"]
    assert "/srv" not in ready.text
    assert both.json()["reasons"] == ["loop_lag", "read_only", "store_failing"]


async def test_a_house_that_starts_says_so(house: Serving) -> None:
    readiness = Readiness(house.drain, house.writer)
    app = build_app(house.api, local_config(), metrics=house.metrics, readiness=readiness)
    async with serving(app) as served, served.client() as client:
        answers = [await client.get(path) for path in ("/livez", "/startupz", "/readyz")]

    assert [answer.status_code for answer in answers] == [200, 503, 503]
    assert answers[1].json()["reasons"] == ["starting"]


async def test_the_numbers_are_read_from_this_machine(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'hypernode_open{what="agents"} 3.0' in answer.text
    assert "hypernode_connections 1.0" in answer.text


@pytest.mark.parametrize(("public", "status"), [(False, 404), (True, 200)])
async def test_the_numbers_are_hidden_from_other_machines_unless_the_owner_says_so(
    house: Serving, *, public: bool, status: int
) -> None:
    config = local_config(metrics_public=public)
    app = application(house.api, config, house.metrics, house.drain, house.writer)
    transport = httpx.ASGITransport(app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        answer = await client.get("/metrics")

    assert answer.status_code == status


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
async def test_what_a_proxy_on_this_machine_passes_on_is_not_from_this_machine(
    house: Serving, name: str
) -> None:
    async with house() as served, served.client() as client:
        passed_on = await client.get("/metrics", headers={name: "127.0.0.1"})
    async with house(metrics_public=True) as served, served.client() as client:
        public = await client.get("/metrics", headers={name: "203.0.113.9"})

    assert (passed_on.status_code, public.status_code) == (404, 200)


async def test_who_could_not_prove_who_it_is_is_counted_by_the_reason(
    house: Serving, client: httpx.AsyncClient
) -> None:
    proof = {"wallet": WALLET, "nonce": "n", "signature": "bad"}
    await client.post("/api/nodes/issue-token", json=proof)
    await client.get("/api/account")
    await client.get("/api/jobs/none")

    counted = house.metrics.exposition().decode()
    assert 'hypernode_auth_failures_total{reason="bad_signature"} 1.0' in counted
    assert 'hypernode_auth_failures_total{reason="unauthenticated"} 1.0' in counted
    assert counted.count("hypernode_auth_failures_total{") == 2


async def test_the_schema_is_openapi_31_and_names_every_route(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()

    assert schema["openapi"].startswith("3.1")
    assert set(schema["paths"]) == {
        "/api/nodes/challenge", "/api/nodes/issue-token", "/api/nodes/mine", "/api/nodes/{node}",
        "/api/nodes/{node}/drain", "/api/nodes/{node}/undrain",
        "/api/nodes", "/api/jobs/mine", "/api/jobs/report", "/api/jobs/{job}",
        "/api/jobs/{job}/result", "/api/jobs/{job}/logs", "/api/jobs",
        "/api/jobs/{job}/inputs/{name}",
        "/api/session/challenge", "/api/session",
        "/api/quotes", "/api/account", "/api/faucet", "/api/blobs/{sha256}",
        "/api/blobs/{sha256}/upload",
        "/api/sessions", "/api/sessions/{name}", "/api/nodes/{node}/key",
        "/actions.json", "/api/actions/claim", "/api/actions/claim/{wallet}",
        "/api/actions/icon.svg", "/api/claims", "/api/claims/{claim}",
        "/api/settlement", "/api/settlement/rounds", "/api/epochs", "/api/epochs/{number}",
        "/api/epochs/{number}/leaves",
        "/api/epochs/{number}/withdrawals", "/api/earnings/{wallet}/proof", "/api/withdrawals",
        "/api/earnings/{wallet}/voucher",
        "/livez", "/readyz", "/startupz", "/healthz",
    }  # fmt: skip
    for path in schema["paths"].values():
        for operation in path.values():
            assert operation["description"]
    submit = schema["paths"]["/api/jobs"]["post"]
    assert submit["security"] == [{"bearer": []}]
    assert json.dumps(submit["responses"]["400"]).count("ErrorView") == 1


async def test_the_application_takes_over_no_logging(house: Serving) -> None:
    app = application(house.api, local_config(), house.metrics, house.drain, house.writer)

    assert isinstance(app.app, Litestar)
    assert app.app.logging_config is None


async def test_many_ask_at_once(house: Serving) -> None:
    async with house() as served, served.client() as client, trio.open_nursery() as nursery:
        answers: list[int] = []

        async def ask() -> None:
            answer = await client.get(f"/api/nodes/{NODE}")
            answers.append(msgspec.json.decode(answer.content)["id"] == NODE)

        for _ in range(20):
            nursery.start_soon(ask)

    assert answers == [True] * 20
