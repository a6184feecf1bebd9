"""The JSON routes of the HTTP API: each handler asks the API one thing and shows the answer.

Who may ask: `public` handlers anybody; those of `SECURED` the bearer of a session, whose scope the
API judges. The seed's paths and shapes are kept: `/api/nodes/…`, `/api/jobs/…`.
Not here: blobs and results (`blob_routes`), health (`health_routes`), errors (`http`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import trio
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter, SkipValidation

from coordinator.admission import network_of
from coordinator.door import TooOften, peer_of
from coordinator.http_context import (
    PUBLIC,
    SECURED,
    ApiParam,
    MetricsParam,
    SessionParam,
    bearer_of,
)
from coordinator.limits import FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_AUTH
from coordinator.metrics import Metrics
from coordinator.protocol.errors import CODES, Refusal
from coordinator.protocol.messages import JobUpdate, Price
from coordinator.ratelimit import RateLimiter
from coordinator.views import (
    AccountView,
    Challenged,
    DrainRequest,
    FaucetRequest,
    IssuedToken,
    JobView,
    NodeView,
    OpenedSession,
    OpenThing,
    QuoteRequest,
    ReportRequest,
    RevokedAll,
    SessionRequest,
    SubmitAnswer,
    SubmitRequest,
    TokenRequest,
)

WalletQuery: TypeAlias = Annotated[
    str, QueryParameter(min_length=32, max_length=44, description="A wallet, base58.")
]
NodeKeyQuery: TypeAlias = Annotated[
    str, QueryParameter(max_length=44, description="A node key to delegate to, base58.")
]
ScopeQuery: TypeAlias = Annotated[
    Literal["wallet", "admin"],
    QueryParameter(name="scope", description="What the session may do."),
]
QuarantinedQuery: TypeAlias = Annotated[
    bool, QueryParameter(description="Only jobs that were given up since they ended hosts.")
]
AnyWalletQuery: TypeAlias = Annotated[
    str, QueryParameter(max_length=44, description="Another wallet; for an `admin` session.")
]
WithNodesQuery: TypeAlias = Annotated[
    bool, QueryParameter(description="Whether node keys are revoked too.")
]
Challenges: TypeAlias = NamedDependency[SkipValidation[RateLimiter]]
AnyRequest: TypeAlias = Request[Any, Any, Any]


def _check_challenges(
    request: AnyRequest, wallet: str, challenges: RateLimiter, metrics: Metrics
) -> None:
    """Bound the challenges of one wallet, asked for from one network.

    Why the network is in the key: without it anybody could keep a stranger from signing in.
    """
    key = f"{wallet} {network_of(peer_of(request.scope))}"
    wait = challenges.allow(key, trio.current_time())
    if wait:
        metrics.rate_limited("wallet")
        raise TooOften(wait)


@get("/api/nodes/challenge", **PUBLIC)
async def node_challenge(
    request: AnyRequest,
    api: ApiParam,
    challenges: Challenges,
    metrics: MetricsParam,
    wallet: WalletQuery,
    node: NodeKeyQuery = "",
) -> Challenged:
    """The text that a wallet signs to get a token (with `node`: to delegate to that key)."""
    _check_challenges(request, wallet, challenges, metrics)
    return await api.challenge(wallet, scope="token", node=node)


@post(
    "/api/nodes/issue-token",
    status_code=200,
    body=TokenRequest,
    request_max_body_size=FRAME_BYTES_MAX_BEFORE_AUTH,
    **PUBLIC,
)
async def issue_token(api: ApiParam, data: JSONBody[TokenRequest]) -> IssuedToken:
    """A token for the agent, for a signed challenge; it registers once."""
    if not (data.signature or data.transaction):
        raise Refusal("challenge_required")
    return await api.issue_token(data.wallet, data.nonce, data.signature, data.transaction)


@get("/api/nodes/mine", **PUBLIC)
async def nodes_mine(api: ApiParam, wallet: WalletQuery) -> list[NodeView]:
    """The newest nodes of a wallet; nothing in them is secret."""
    return await api.nodes_mine(wallet)


@get("/api/jobs/mine", **PUBLIC)
async def jobs_mine(api: ApiParam, wallet: WalletQuery) -> list[JobView]:
    """The newest jobs that a wallet's nodes ran."""
    return await api.jobs_mine(wallet)


@get("/api/nodes/{node:str}", **PUBLIC)
async def node_by_id(api: ApiParam, node: FromPath[str]) -> NodeView:
    """One node."""
    return await api.node(node)


@get("/api/jobs/{job:str}", **PUBLIC)
async def job_by_id(request: AnyRequest, api: ApiParam, job: FromPath[str]) -> JobView:
    """One job; its key, budget and detail for its submitter's session only."""
    bearer = bearer_of(request)
    session = await api.session(bearer) if bearer else None
    return await api.job(job, session)


@get("/api/session/challenge", **PUBLIC)
async def session_challenge(
    request: AnyRequest,
    api: ApiParam,
    challenges: Challenges,
    metrics: MetricsParam,
    wallet: WalletQuery,
    may: ScopeQuery = "wallet",
) -> Challenged:
    """The text that a wallet signs to open a session."""
    _check_challenges(request, wallet, challenges, metrics)
    return await api.challenge(wallet, scope=may)


@post(
    "/api/session",
    status_code=200,
    body=SessionRequest,
    request_max_body_size=FRAME_BYTES_MAX_BEFORE_AUTH,
    **PUBLIC,
)
async def open_session(
    request: AnyRequest, api: ApiParam, data: JSONBody[SessionRequest]
) -> OpenedSession:
    """A bearer for a signed challenge."""
    return await api.open_session(
        data.wallet, data.nonce, data.signature, data.transaction, peer=peer_of(request.scope)
    )


@delete("/api/session", **SECURED)
async def close_session(request: AnyRequest, api: ApiParam) -> None:
    """End the session of this bearer."""
    await api.close_session(bearer_of(request))


@get("/api/sessions", **SECURED)
async def open_things(
    api: ApiParam, session: SessionParam, wallet: AnyWalletQuery = ""
) -> list[OpenThing]:
    """What the wallet has open: sessions, unspent tokens, node keys; the newest of each."""
    return await api.open_things(session, wallet)


@delete("/api/sessions", status_code=200, **SECURED)
async def revoke_all(
    api: ApiParam,
    session: SessionParam,
    nodes: WithNodesQuery = False,
    wallet: AnyWalletQuery = "",
) -> RevokedAll:
    """Revoke all sessions (this one too) and unspent tokens; with `nodes` all node keys."""
    tally = await api.revoke_all(session, wallet, with_nodes=nodes)
    return RevokedAll(tally.sessions, tally.tokens, tally.nodes)


@delete("/api/sessions/{name:str}", status_code=204, **SECURED)
async def revoke(
    api: ApiParam, session: SessionParam, name: FromPath[str], wallet: AnyWalletQuery = ""
) -> None:
    """Revoke one session, token or node key, by its id in the listing."""
    await api.revoke(session, name, wallet)


@delete("/api/nodes/{node:str}/key", status_code=204, **SECURED)
async def revoke_node(api: ApiParam, session: SessionParam, node: FromPath[str]) -> None:
    """Revoke a node's key: its connection ends, what it holds goes to others."""
    await api.revoke(session, node if node.startswith("node-") else f"node-{node}")


@get("/api/nodes", **SECURED)
async def all_nodes(api: ApiParam, session: SessionParam) -> list[NodeView]:
    """The newest nodes of everybody; for an `admin` session."""
    return await api.all_nodes(session)


@post("/api/nodes/{node:str}/drain", status_code=200, body=DrainRequest, **SECURED)
async def drain_node(
    api: ApiParam, session: SessionParam, node: FromPath[str], data: JSONBody[DrainRequest]
) -> NodeView:
    """No jobs for this node for a while; for an `admin` session."""
    return await api.drain_node(session, node, data)


@post("/api/nodes/{node:str}/undrain", status_code=200, **SECURED)
async def undrain_node(api: ApiParam, session: SessionParam, node: FromPath[str]) -> NodeView:
    """Jobs again for this node; for an `admin` session."""
    return await api.undrain_node(session, node)


@get("/api/jobs", **SECURED)
async def jobs(
    api: ApiParam, session: SessionParam, quarantined: QuarantinedQuery = False
) -> list[JobView]:
    """The newest submissions of the session's wallet; everybody's for an `admin` session.

    With `quarantined`, for an `admin` session: those that were given up since they ended hosts.
    """
    return await (api.quarantined(session) if quarantined else api.jobs(session))


@post("/api/jobs", status_code=200, body=SubmitRequest, **SECURED)
async def submit(
    api: ApiParam, session: SessionParam, data: JSONBody[SubmitRequest]
) -> SubmitAnswer:
    """Submit jobs: one answer each, in order; the same key and content give the same id again."""
    return SubmitAnswer(await api.submit(session, data.jobs))


@post("/api/jobs/report", status_code=204, body=ReportRequest, **SECURED)
async def report(api: ApiParam, session: SessionParam, data: JSONBody[ReportRequest]) -> None:
    """The seed's report of a job, by its own node only; `duration` pays nothing."""
    await api.report(session, data)


@delete("/api/jobs/{job:str}", status_code=200, **SECURED)
async def cancel(api: ApiParam, session: SessionParam, job: FromPath[str]) -> JobUpdate:
    """Stop a job of the session's wallet."""
    (update,) = await api.cancel(session, [job])
    if update.code in CODES and update.state != "cancelled":
        raise Refusal(update.code, update.detail)
    return update


@post(
    "/api/quotes",
    status_code=200,
    body=QuoteRequest,
    # Nobody has signed in: no more than a frame is parsed for them.
    request_max_body_size=FRAME_BYTES_MAX,
    **PUBLIC,
)
async def quote(api: ApiParam, data: JSONBody[QuoteRequest]) -> list[Price]:
    """What jobs would cost: one answer a specification, in order."""
    return await api.quote([bytes(spec) for spec in data.specs])


@get("/api/account", **SECURED)
async def account(api: ApiParam, session: SessionParam) -> AccountView:
    """The money of the session's wallet."""
    return await api.account(session)


@post("/api/faucet", status_code=200, body=FaucetRequest, **SECURED)
async def faucet(
    api: ApiParam, session: SessionParam, data: JSONBody[FaucetRequest]
) -> AccountView:
    """Development only: HYPER out of nothing."""
    return await api.faucet(session, data)


ROUTES: Final = [
    node_challenge, issue_token, nodes_mine, jobs_mine, node_by_id, job_by_id, session_challenge,
    open_session, close_session, open_things, revoke_all, revoke,
    revoke_node, all_nodes, drain_node, undrain_node, jobs, submit, report, cancel,
    quote, account, faucet,
]  # fmt: skip
