"""Bad requests at the HTTP door of a live coordinator: refused by name, never with a traceback.

As in `test_hostile.py`, every market ends with an honest job and a log without failures.
Not here: each route's own answers over a fake API (`test_http.py`), bodies that drip (there too).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trio

from coordinator import identity
from coordinator.limits import (
    BLOB_BYTES_MAX,
    FRAME_BYTES_MAX_BEFORE_AUTH,
    JSON_DEPTH_MAX,
    REQUESTS_BURST,
)
from coordinator.protocol.signing import generate
from onchain.address import encode_address
from tests.house import Market, open_market
from tests.peer import Peer, dialled

ORIGIN: Final = "https://app.example"


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(tmp_path, cors_origins=[ORIGIN]) as opened:
        yield opened


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal; its shape is checked on the way."""
    body = answer.json()
    assert isinstance(body["error"], str), body
    assert "Traceback" not in answer.text
    return answer.status_code, body["code"]


WALLET: Final = encode_address(generate().address)
SPEC: Final = {"kind": "hashsearch", "params": {}}

#: name: (body of a stranger's request for a token, status, code).
STRANGERS_BODIES: Final[dict[str, tuple[bytes, int, str]]] = {
    "nothing": (b"", 400, "malformed"),
    "not JSON": (b"wallet=x", 400, "malformed"),
    "half of it": (b'{"wallet":', 400, "malformed"),
    "a list": (b"[]", 400, "malformed"),
    "no wallet": (b"{}", 400, "malformed"),
    "a wallet that is a number": (b'{"wallet":5}', 400, "malformed"),
    "a key twice": (b'{"wallet":"%b","wallet":"x"}' % WALLET.encode(), 400, "malformed"),
    "a NUL": (b'{"wallet":"%b","nonce":"\\u0000"}' % WALLET.encode(), 400, "malformed"),
    "a raw NUL": (b'{"wallet":"\x00"}', 400, "malformed"),
    "no UTF-8": (b'{"wallet":"\xff\xfe"}', 400, "malformed"),
    "half a surrogate pair": (
        b'{"wallet":"%b","nonce":"\\ud800"}' % WALLET.encode(), 400, "malformed",
    ),
    "nested too deep": (b'{"x":%b' % (b"[" * (JSON_DEPTH_MAX + 1)), 400, "too_deep"),
    "one byte too many": (
        b'{"wallet":"%b"}'.ljust(FRAME_BYTES_MAX_BEFORE_AUTH + 1), 413, "too_large",
    ),
    "a name alone": (b'{"wallet":"%b"}' % WALLET.encode(), 401, "challenge_required"),
    "no address": (
        json.dumps({"wallet": "0" * 44, "nonce": "a", "signature": "a"}).encode(),
        400, "bad_address",
    ),
}  # fmt: skip


async def test_a_strangers_bad_body_is_refused_by_name(market: Market) -> None:
    found = {}
    headers = {"content-type": "application/json"}
    async with market.house.http() as http:
        for name, (body, _status, _code) in STRANGERS_BODIES.items():
            answer = await http.post("/api/nodes/issue-token", content=body, headers=headers)
            found[name] = told(answer)

    assert found == {name: (status, code) for name, (_, status, code) in STRANGERS_BODIES.items()}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/nodes/issue-token", (405, "method_not_allowed")),
        ("PUT", "/api/nodes/mine", (405, "method_not_allowed")),
        ("POST", "/api/nodes/challenge", (405, "method_not_allowed")),
        ("PATCH", "/api/jobs", (405, "method_not_allowed")),
        ("DELETE", "/api/account", (405, "method_not_allowed")),
        ("GET", "/api/nothing", (404, "not_found")),
        ("GET", "/api/../etc/passwd", (404, "not_found")),
        ("GET", "/api/%2e%2e/%2e%2e/etc/passwd", (404, "not_found")),
        ("GET", "/api/nodes/mine", (400, "malformed")),
        ("GET", "/api/nodes/mine?wallet=short", (400, "malformed")),
        ("GET", f"/api/nodes/mine?wallet={'0' * 44}", (400, "bad_address")),
        ("GET", f"/api/nodes/mine?wallet={'1' * 32}%00", (400, "bad_address")),
        ("GET", f"/api/nodes/challenge?wallet={'1' * 32}", (401, "weak_key")),
        ("GET", f"/api/nodes/challenge?wallet={WALLET}&node={'0' * 44}", (400, "bad_address")),
        ("GET", f"/api/session/challenge?wallet={WALLET}&scope=root", (400, "malformed")),
    ],
)
async def test_a_wrong_method_path_or_parameter_is_refused_by_name(
    market: Market, method: str, path: str, expected: tuple[int, str]
) -> None:
    async with market.house.http() as http:
        assert told(await http.request(method, path)) == expected


async def test_a_forged_id_cannot_be_told_from_an_unknown_one(market: Market) -> None:
    job = await market.client.submit("hashsearch", SEARCH, budget="1")
    await job.wait(5)
    number = int(job.id.split("-")[1], 16)
    check = job.id.split("-")[2]
    ids = [
        f"job-{number + 1:x}-{check}",
        f"job-{number:x}-{check[::-1]}",
        f"job-{number:X}-{check.upper()}",
        f"node-{number:x}-{check}",
        "job-123",
        "job-0-0000000000000000",
        "job-fffffffffffffff-0000000000000000",
        "9",
        "-1",
        "job-1-" + "0" * 500,
        "%00",
        "job-%F0%9F%92%B8-0000000000000000",
    ]
    async with market.house.http(await market.house.bearer(generate())) as http:
        jobs = [await http.get(f"/api/jobs/{text}") for text in ids]
        results = [await http.get(f"/api/jobs/{text}/result") for text in ids[:3]]
        cancels = [await http.delete(f"/api/jobs/{text}") for text in ids[:3]]
        anothers = [
            await http.get(f"/api/jobs/{job.id}/result"), await http.delete(f"/api/jobs/{job.id}"),
        ]  # fmt: skip

    answers = [*jobs, *results, *cancels, *anothers]
    assert {told(answer) for answer in answers} == {(404, "not_found")}
    assert len({answer.text for answer in answers}) == 1, "and another's job is as unknown"


SEARCH: Final = {"prefix": "", "start": 0, "count": 10, "target_bits": 4}


@pytest.mark.slow
async def test_what_belongs_to_administrators_is_forbidden_to_everybody_else(
    tmp_path: Path,
) -> None:
    boss, wallet = generate(), generate()
    admins = [encode_address(boss.address)]
    async with open_market(tmp_path, admin_wallets=admins) as market:
        house = market.house
        proof = await house.proof("/api/session/challenge", wallet, scope="admin")
        as_admin = await house.bearer(boss, "admin")
        async with house.http() as http:
            climber = await http.post("/api/session", json=proof)
            nobody = await http.get("/api/nodes")
        async with house.http(await house.bearer(wallet)) as http:
            nodes = await http.get("/api/nodes")
            jobs = await http.get("/api/jobs")
        async with house.http(as_admin) as http:
            seen = (await http.get("/api/nodes")).json(), (await http.get("/api/jobs")).json()

    assert told(climber) == (403, "forbidden")
    assert told(nobody) == (401, "unauthenticated")
    assert told(nodes) == (403, "forbidden")
    assert (jobs.status_code, jobs.json()) == (200, [])
    assert [len(rows) for rows in seen] == [1, 1]


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Bearer " + "A" * 43, "Bearer " + "A" * 5000, "Basic dTpw"]
)
async def test_a_bearer_of_ones_own_making_opens_nothing(market: Market, header: str) -> None:
    async with market.house.http() as http:
        answer = await http.get("/api/account", headers={"authorization": header})

    assert told(answer) == (401, "unauthenticated")


async def test_a_closed_session_and_a_nodes_bearer_after_it_left_open_nothing(
    market: Market,
) -> None:
    house = market.house
    bearer = await house.bearer(generate())
    async with dialled(house) as peer:
        await peer.register(generate(), await house.token(generate()))
        async with house.http(peer.session_key) as http:
            money = await http.get("/api/account")
            submit = await http.post("/api/jobs", json={"jobs": [a_job()]})
    async with house.http(bearer) as http:
        closed = await http.delete("/api/session")
        after = await http.get("/api/account")
    async with house.http(peer.session_key) as http:
        gone = await http.put(f"/api/blobs/{'0' * 64}", content=b"x")

    assert told(money) == (403, "forbidden")
    assert told(submit) == (403, "forbidden")
    assert closed.status_code == 204
    assert told(after) == (401, "unauthenticated")
    assert told(gone) == (401, "unauthenticated")


def a_job(**changes: Any) -> dict[str, Any]:
    spec = {"kind": "hashsearch", "params": SEARCH}
    return {"key": "k", "spec": spec, "budget": "1", **changes}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"budget": "-1"}, "bad_amount"),
        ({"budget": "0"}, "bad_amount"),
        ({"budget": "1e3"}, "bad_amount"),
        ({"budget": "0.0000001"}, "bad_amount"),
        ({"budget": "9" * 19}, "bad_amount"),
        ({"budget": "NaN"}, "bad_amount"),
        ({"budget": "9000000000000"}, "insufficient_credit"),
        ({"spec": []}, "bad_spec"),
        ({"spec": {"kind": "hashsearch"}}, "bad_spec"),
        ({"spec": {"kind": "hashsearch", "params": {**SEARCH, "count": 2**60}}}, "bad_spec"),
        ({"spec": {"kind": "hashsearch", "params": SEARCH, "root": True}}, "bad_spec"),
        ({"spec": {"kind": "hashsearch", "params": SEARCH, "retries": 10}}, "bad_spec"),
        ({"spec": {"kind": "kernel"}}, "bad_spec"),
        ({"spec": {"kind": "../../bin/sh"}}, "unknown_kind"),
        ({"spec": {"kind": "command", "params": {"command": "x" * 9000}}}, "bad_spec"),
        ({"spec": {"kind": "command", "params": {"command": "x"}, "verify": {"policy": "sample"}}},
         "bad_spec"),
        ({"spec": {"kind": "x" * 70_000}}, "too_large"),
    ],
)  # fmt: skip
async def test_a_job_that_makes_no_sense_is_refused_and_holds_nothing(
    market: Market, change: dict[str, Any], code: str
) -> None:
    wallet = generate()
    async with market.house.http(await market.house.bearer(wallet)) as http:
        await http.post("/api/faucet", json={"amount": "5", "key": "k"})
        answer = await http.post("/api/jobs", json={"jobs": [a_job(**change)]})
        account = (await http.get("/api/account")).json()

    (job,) = answer.json()["jobs"]
    assert (answer.status_code, job["code"], "id" in job) == (200, code, False)
    assert (account["credit"], account["held"]) == ("5", "0")


@pytest.mark.slow
async def test_the_faucet_never_overflows_an_account(market: Market) -> None:
    most = "1000000"
    async with market.house.http(await market.house.bearer(generate())) as http:
        first = await http.post("/api/faucet", json={"amount": most, "key": "a"})
        second = await http.post("/api/faucet", json={"amount": "1000000.1", "key": "b"})
        third = await http.post("/api/faucet", json={"amount": "9" * 30, "key": "c"})
        account = (await http.get("/api/account")).json()

    assert first.status_code == 200
    assert told(second) == (400, "bad_amount")
    assert told(third) == (400, "bad_amount")
    assert account["credit"] == most


# ---- blobs --------------------------------------------------------------------------------------


async def _node(market: Market, peer: Peer) -> str:
    await peer.register(generate(), await market.house.token(generate()))
    return peer.session_key


async def _announce(market: Market, bearer: str, name: str, length: int) -> tuple[int, str]:
    """A blob's head without its body: the answer's status and code."""
    head = (
        f"PUT /api/blobs/{name} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bearer}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", market.house.port) as stream:
        await stream.send_all(head.encode())
        answer = b""
        while b'"}' not in answer:
            answer += await stream.receive_some()
    return int(answer.split(b" ")[1]), json.loads(answer.partition(b"\r\n\r\n")[2])["code"]


@pytest.mark.slow
async def test_a_blob_is_what_its_name_says_or_it_is_not_kept(
    market: Market, tmp_path: Path
) -> None:
    data = b"data" * 1000
    name = sha256(data).hexdigest()
    async with dialled(market.house) as peer, market.house.http(await _node(market, peer)) as http:
        wrong = await http.put(f"/api/blobs/{name}", content=data + b"!")
        names = [
            await http.put(f"/api/blobs/{text}", content=data)
            for text in (name.upper(), name[:63], "0" * 65, "..%2f..%2fpasswd", "%00" * 64)
        ]
        nothing = await http.get(f"/api/blobs/{name}")
    async with market.house.http() as http:
        nobody = await http.put(f"/api/blobs/{name}", content=data)
    async with dialled(market.house) as peer:
        large = await _announce(market, await _node(market, peer), name, BLOB_BYTES_MAX + 1)

    assert told(wrong) == (422, "blob_mismatch")
    assert large == (413, "too_large")
    assert {told(answer)[0] for answer in names} <= {400, 404}
    assert told(nothing) == (404, "not_found")
    assert told(nobody) == (401, "unauthenticated")
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


async def test_what_a_quota_refuses_does_not_stay_on_the_disk(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "BLOB_QUOTA_BYTES", 10_000)
    blobs = [bytes([number]) * 6_000 for number in range(3)]
    names = [sha256(data).hexdigest() for data in blobs]
    async with dialled(market.house) as peer, market.house.http(await _node(market, peer)) as http:
        answers = [
            await http.put(f"/api/blobs/{name}", content=data)
            for name, data in zip(names, blobs, strict=True)
        ]
        again = await http.put(f"/api/blobs/{names[0]}", content=blobs[0])
    kept = [path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()]

    assert answers[0].status_code == 204
    assert [told(answer) for answer in answers[1:]] == [(413, "quota")] * 2
    assert again.status_code == 204, "what is here already costs nothing"
    assert kept == names[:1]


async def test_a_blob_is_read_by_its_jobs_submitter_only(market: Market) -> None:
    house = market.house
    async with dialled(house) as peer:
        await peer.register(generate(), await house.token(generate()))
        async with house.http(peer.session_key) as http:
            data = b"secret" * 1000
            name = sha256(data).hexdigest()
            assert (await http.put(f"/api/blobs/{name}", content=data)).status_code == 204
            own = await http.get(f"/api/blobs/{name}")
    async with house.http(await house.bearer(generate())) as http:
        stranger = await http.get(f"/api/blobs/{name}")
        head = await http.head(f"/api/blobs/{name}")

    assert told(own) == (404, "not_found"), "no result names it yet"
    assert told(stranger) == (404, "not_found")
    assert head.status_code == 404


# ---- too much -----------------------------------------------------------------------------------


async def test_too_many_requests_are_told_when_to_come_back(market: Market) -> None:
    async with market.house.http() as http:
        answers = [await http.get("/api/jobs/x") for _ in range(REQUESTS_BURST + 5)]
    refused = [answer for answer in answers if answer.status_code == 429]

    assert refused
    assert {told(answer) for answer in refused} == {(429, "rate_limited")}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {told(answer) for answer in answers if answer not in refused} == {(404, "not_found")}


async def test_one_wallets_challenges_are_bounded(market: Market) -> None:
    async with market.house.http() as http:
        query = {"wallet": WALLET}
        answers = [await http.get("/api/nodes/challenge", params=query) for _ in range(25)]
        other = await http.get(
            "/api/nodes/challenge", params={"wallet": encode_address(generate().address)}
        )
    statuses = [answer.status_code for answer in answers]

    assert statuses[:20] == [200] * 20
    assert statuses[-1] == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert other.status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ORIGIN + ".evil.example"])
async def test_a_foreign_page_is_told_nothing_by_its_browser(market: Market, origin: str) -> None:
    asks = {"origin": origin, "access-control-request-method": "POST"}
    async with market.house.http() as http:
        preflight = await http.options("/api/jobs", headers=asks)
        plain = await http.get("/healthz", headers={"origin": origin})
        ours = await http.options("/api/jobs", headers={**asks, "origin": ORIGIN})

    assert told(preflight) == (403, "bad_origin")
    assert "access-control-allow-origin" not in {**preflight.headers, **plain.headers}
    assert ours.status_code == 204
    assert ours.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in ours.headers


@pytest.mark.slow
async def test_ten_thousand_bad_jobs_in_one_request_are_answered_one_by_one(
    market: Market,
) -> None:
    jobs = [a_job(key=f"k{number}", spec={"kind": "none"}) for number in range(10_000)]
    async with market.house.http(await market.house.bearer(generate())) as http:
        answer = await http.post("/api/jobs", json={"jobs": jobs})
        more = await http.post("/api/jobs", json={"jobs": [*jobs, a_job()]})

    assert {job["code"] for job in answer.json()["jobs"]} == {"unknown_kind"}
    assert told(more) == (400, "malformed")
