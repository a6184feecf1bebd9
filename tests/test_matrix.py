"""Every role at every route of the application itself: denied unless it is named here.

A route that is new fails until it is classified; a route that lets in one role more than it says,
or keeps out one that it should let in, fails too.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from coordinator import door
from coordinator.door import Door
from coordinator.http import build_app
from coordinator.protocol.signing import Keypair, encode_signature, generate
from onchain.address import encode_address
from tests.house import open_house, search
from tests.indoors import spec_of
from tests.peer import dialled

NOBODY, NODE, OWNER, STRANGER, ADMIN = ROLES = ("nobody", "node", "owner", "stranger", "admin")
#: Who may ask: everybody; whoever has a session; wallets; administrators; a node for its own.
PUBLIC: Final = frozenset(ROLES)
SESSION: Final = PUBLIC - {NOBODY}
WALLET: Final = SESSION - {NODE}
ADMINS: Final = frozenset({ADMIN})
NODES: Final = frozenset({NODE})
#: The owner, and administrators, of one thing; a stranger is told that there is none.
OWN: Final = frozenset({OWNER, ADMIN})
#: The owner alone: an administrator has no business with it.
OWN_ONLY: Final = frozenset({OWNER})

#: Each route, by method and path: who gets in.
MATRIX: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("GET", "/api/nodes/challenge"): PUBLIC,
    ("POST", "/api/nodes/issue-token"): PUBLIC,
    ("GET", "/api/nodes/mine"): PUBLIC,
    ("GET", "/api/jobs/mine"): PUBLIC,
    ("GET", "/api/nodes/{node:str}"): PUBLIC,
    ("GET", "/api/jobs/{job:str}"): PUBLIC,
    ("GET", "/api/session/challenge"): PUBLIC,
    ("POST", "/api/session"): PUBLIC,
    ("POST", "/api/quotes"): PUBLIC,
    ("GET", "/livez"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/startupz"): PUBLIC,
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/openapi.json"): PUBLIC,
    # Litestar's own, under the schema's path: the schema again, or 404.
    ("GET", "/openapi.json/openapi.json"): PUBLIC,
    ("GET", "/openapi.json/{path:str}"): frozenset(),
    ("GET", "/api/status"): PUBLIC,
    ("GET", "/api/fleet"): WALLET,
    # This machine only, unless the owner says otherwise: the tests are on this machine.
    ("GET", "/metrics"): PUBLIC,
    # A node's ends with its connection; this does nothing to it.
    ("DELETE", "/api/session"): SESSION,
    ("GET", "/api/sessions"): WALLET,
    ("DELETE", "/api/sessions"): WALLET,
    ("DELETE", "/api/sessions/{name:str}"): OWN,
    ("DELETE", "/api/nodes/{node:str}/key"): OWN,
    ("GET", "/api/nodes"): ADMINS,
    ("POST", "/api/nodes/{node:str}/drain"): ADMINS,
    ("POST", "/api/nodes/{node:str}/undrain"): ADMINS,
    ("GET", "/api/jobs"): WALLET,
    ("POST", "/api/jobs"): WALLET,
    ("POST", "/api/jobs/report"): NODES,
    ("DELETE", "/api/jobs/{job:str}"): OWN_ONLY,
    ("GET", "/api/account"): WALLET,
    ("POST", "/api/faucet"): WALLET,
    ("PUT", "/api/blobs/{sha256:str}"): SESSION,
    # Each their own: a part of nothing is refused, a lost upload is no news.
    ("PATCH", "/api/blobs/{sha256:str}/upload"): SESSION,
    ("HEAD", "/api/blobs/{sha256:str}/upload"): frozenset(),
    ("DELETE", "/api/blobs/{sha256:str}/upload"): SESSION,
    # Whoever has brought it, as the owner does in the row above.
    ("GET", "/api/blobs/{sha256:str}"): OWN_ONLY,
    ("HEAD", "/api/blobs/{sha256:str}"): OWN_ONLY,
    ("GET", "/api/jobs/{job:str}/result"): OWN,
    # The matrix's job has no inputs: who gets them is in test_job_inputs.py.
    ("GET", "/api/jobs/{job:str}/inputs/{name:str}"): frozenset(),
    ("GET", "/api/jobs/{job:str}/logs"): OWN,
    ("GET", "/api/settlement"): PUBLIC,
    ("GET", "/api/epochs"): PUBLIC,
    ("GET", "/api/epochs/{number:int}"): PUBLIC,
    ("GET", "/api/epochs/{number:int}/leaves"): PUBLIC,
    ("GET", "/api/epochs/{number:int}/withdrawals"): PUBLIC,
    ("GET", "/api/earnings/{wallet:str}/proof"): PUBLIC,
    ("GET", "/api/earnings/{wallet:str}/voucher"): PUBLIC,
    ("GET", "/actions.json"): PUBLIC,
    ("GET", "/api/actions/claim"): PUBLIC,
    ("POST", "/api/actions/claim"): PUBLIC,
    ("GET", "/api/actions/claim/{wallet:str}"): PUBLIC,
    ("POST", "/api/actions/claim/{wallet:str}"): PUBLIC,
    ("GET", "/api/actions/icon.svg"): PUBLIC,
    # The wallet's signature under the transaction is what counts.
    ("POST", "/api/claims"): PUBLIC,
    ("POST", "/api/claims/{claim:str}"): PUBLIC,
    ("GET", "/api/claims/{claim:str}"): PUBLIC,
    ("POST", "/api/settlement/rounds"): ADMINS,
    ("POST", "/api/withdrawals"): WALLET,
    ("GET", "/api/withdrawals"): WALLET,
}
#: What a denial looks like: no session, not in this one, or nothing there for whoever asks.
DENIED: Final = frozenset({401, 403, 404})


def routes_of(app: Any) -> set[tuple[str, str]]:
    """Method and path of every route, as the application lists them."""
    assert isinstance(app, Litestar)
    found: set[tuple[str, str]] = set()
    for route in app.routes:
        assert isinstance(route, HTTPRoute), "no route but HTTP's is served by the application"
        found |= {(method, route.path) for method in route.methods - {"OPTIONS"}}
    return found


class Cast(NamedTuple):
    """Who plays, and what belongs to the owner."""

    http: httpx.AsyncClient
    owner: Keypair
    admins: list[Keypair]
    node: str
    node_bearer: str
    job: str


async def signed_in(http: httpx.AsyncClient, keypair: Keypair, scope: str) -> str:
    """A bearer; one client for all, since a client of its own takes longer than all the rest."""
    wallet = encode_address(keypair.address)
    query = {"wallet": wallet, "scope": scope}
    challenge = (await http.get("/api/session/challenge", params=query)).json()
    signature = encode_signature(keypair.sign(challenge["message"].encode()))
    proof = {"wallet": wallet, "nonce": challenge["nonce"], "signature": signature}
    bearer: str = (await http.post("/api/session", json=proof)).json()["bearer"]
    return bearer


async def token_of(http: httpx.AsyncClient, keypair: Keypair) -> str:
    """A token of a wallet's."""
    wallet = encode_address(keypair.address)
    challenge = (await http.get("/api/nodes/challenge", params={"wallet": wallet})).json()
    signature = encode_signature(keypair.sign(challenge["message"].encode()))
    proof = {"wallet": wallet, "nonce": challenge["nonce"], "signature": signature}
    token: str = (await http.post("/api/nodes/issue-token", json=proof)).json()["token"]
    return token


async def bearer_of(cast: Cast, role: str) -> str:
    """A fresh session of a role: some requests end it."""
    match role:
        case "nobody":
            return ""
        case "node":
            return cast.node_bearer
        case "owner":
            return await signed_in(cast.http, cast.owner, "wallet")
        case "stranger":
            return await signed_in(cast.http, generate(), "wallet")
        case _:
            return await signed_in(cast.http, cast.admins.pop(), "admin")


def request_of(cast: Cast, method: str, path: str, name: str) -> dict[str, Any]:
    """A request that a route would serve whoever may ask."""
    wallet = encode_address(cast.owner.address)
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    values = {"node": cast.node, "job": cast.job, "sha256": digest, "claim": digest, "name": name}
    filled = path
    for parameter, value in values.items():
        filled = filled.replace(f"{{{parameter}:str}}", value)
    filled = filled.replace("{number:int}", "1").replace("{wallet:str}", wallet)
    bodies: dict[str, Any] = {
        "/api/nodes/issue-token": {"wallet": wallet},
        "/api/session": {"wallet": wallet, "nonce": "0" * 32, "signature": "1" * 64},
        "/api/quotes": {"specs": [{"kind": "command", "params": {"command": "x"}}]},
        "/api/jobs": {"jobs": [{"key": "k", "budget": "0.1", "spec": {"kind": "x"}}]},
        "/api/faucet": {"amount": "1", "key": "matrix"},
        "/api/jobs/report": {"jobId": cast.job, "nodeId": cast.node, "status": "completed"},
        "/api/withdrawals": {
            "amount": "1",
            "key": "k",
            "issuedAt": "2026-01-01T00:00:00Z",
            "signature": "1" * 64,
        },
        "/api/actions/claim": {"account": wallet},
        "/api/claims": {"wallet": wallet},
        "/api/claims/{claim:str}": {"transaction": "AA=="},
        "/api/actions/claim/{wallet:str}": {"account": wallet},
        "/api/nodes/{node:str}/drain": {"reason": "a test", "seconds": 60},
    }
    query = {"wallet": wallet} if path.endswith(("challenge", "mine")) else {}
    return {
        "method": method, "url": filled, "params": query or None,
        "json": bodies.get(path) if method == "POST" else None,
    }  # fmt: skip


async def answer_to(cast: Cast, role: str, method: str, path: str) -> httpx.Response:
    bearer = await bearer_of(cast, role)
    name = "session-0000000000000000"
    if "{name:str}" in path:
        name = await _session_name(cast)
        if role == ADMIN:
            name += f"?wallet={encode_address(cast.owner.address)}"
    return await cast.http.request(
        **request_of(cast, method, path, name), headers=authorized(bearer)
    )


def authorized(bearer: str) -> dict[str, str]:
    return {"authorization": f"Bearer {bearer}"} if bearer else {}


async def _session_name(cast: Cast) -> str:
    headers = authorized(await signed_in(cast.http, cast.owner, "wallet"))
    things = (await cast.http.get("/api/sessions", headers=headers)).json()
    name: str = next(thing["id"] for thing in things if thing["isCurrent"])
    return name


def is_admitted(answer: httpx.Response, method: str, path: str) -> bool:
    """Whether the route let the role in, whatever it then thought of the request."""
    if method == "POST" and path in {"/api/nodes/issue-token", "/api/session"}:
        return True  # open to everybody: what is refused is the proof
    if answer.status_code == 404 and '"no_chain"' in answer.text:
        return True  # who asked was looked at first: this house settles nowhere
    return answer.status_code not in DENIED


@pytest.mark.slow
async def test_each_role_gets_in_where_it_may_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "REQUESTS_BURST", 100_000)
    monkeypatch.setattr("coordinator.http.CHALLENGES_PER_MINUTE", 100_000)
    monkeypatch.setattr("coordinator.http.CLAIM_READS_PER_MINUTE", 100_000)
    built: list[Door] = []

    def build(*args: Any, **options: Any) -> Door:
        built.append(build_app(*args, **options))
        return built[0]

    monkeypatch.setattr("coordinator.main.build_app", build)
    owner, admins, node_key = generate(), [generate() for _ in range(2 * len(MATRIX))], generate()
    names = [encode_address(admin.address) for admin in admins]
    found: dict[tuple[str, str], set[str]] = {key: set() for key in MATRIX}
    async with (
        open_house(tmp_path, admin_wallets=names) as house,
        house.http() as http,
        dialled(house) as submitter,
    ):
        bearer = await signed_in(http, owner, "wallet")
        gift = {"amount": "50", "key": "first"}
        await http.post("/api/faucet", json=gift, headers=authorized(bearer))
        await submitter.open(bearer)
        job = await submitter.submit(spec_of("hashsearch", **search()))
        async with dialled(house) as node:
            await node.register(node_key, await house.token(owner))
            number = node.node
        listed = routes_of(built[0].app)
        for (method, path), role in product(MATRIX, ROLES):
            cast = Cast(http, owner, admins, number, "", job)
            if role == NODE or path.endswith("/key"):
                # A revoked node comes back with its wallet's new signature.
                async with dialled(house) as node:
                    await node.register(node_key, await token_of(http, owner))
                    cast = cast._replace(node=node.node, node_bearer=node.session_key)
                    answer = await answer_to(cast, role, method, path)
            else:
                answer = await answer_to(cast, role, method, path)
            assert answer.status_code < 500, (role, method, path, answer.text)
            if is_admitted(answer, method, path):
                found[method, path].add(role)

    assert listed ^ set(MATRIX) == set(), "classify what is new"
    wrong = {key: roles for key, roles in found.items() if roles != MATRIX[key]}
    assert wrong == {}
