"""Claims as Solana Actions: a link that wallets, pages and chat programs turn into a button.

Rules:
  1. Pages of every origin read these answers, errors too: the door adds the headers, for the paths
     that `onchain.actions.is_action` knows and no others.
  2. Each answer that needs the chain counts against its network's rate.
Not here: what is answered (`claims_desk`).
Source: the Solana Actions specification, version 2.4.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

import trio
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation

from coordinator.admission import network_of
from coordinator.claims_desk import ICON_PATH
from coordinator.door import TooOften, peer_of
from coordinator.http_context import PUBLIC, ApiParam, MetricsParam
from coordinator.limits import FRAME_BYTES_MAX_BEFORE_AUTH
from coordinator.metrics import Metrics
from coordinator.ratelimit import RateLimiter
from onchain.actions import (
    CLAIM_PATH,
    RULES_PATH,
    ActionMetadata,
    ActionPost,
    ActionRules,
    ActionTransaction,
)

ClaimReads: TypeAlias = NamedDependency[SkipValidation[RateLimiter]]
AnyRequest: TypeAlias = Request[Any, Any, Any]
_POST: Final[dict[str, Any]] = {
    "status_code": 200,
    "body": ActionPost,
    "request_max_body_size": FRAME_BYTES_MAX_BEFORE_AUTH,
    **PUBLIC,
}
_SVG: Final = "image/svg+xml"


def check_reads(request: AnyRequest, claim_reads: RateLimiter, metrics: Metrics) -> None:
    """Bound what one network makes us ask of the chain.

    Raises:
        TooOften: wait.
    """
    wait = claim_reads.allow(network_of(peer_of(request.scope)), trio.current_time())
    if wait:
        metrics.rate_limited("address")
        raise TooOften(wait)


@get(RULES_PATH, **PUBLIC)
async def action_rules(api: ApiParam) -> ActionRules:
    """Which paths here are Solana Actions."""
    return api.action_rules()


@get(CLAIM_PATH, **PUBLIC)
async def claim_action(api: ApiParam) -> ActionMetadata:
    """A claim of whoever signs it, as a Solana Action."""
    return await api.claim_action()


@get(CLAIM_PATH + "/{wallet:str}", **PUBLIC)
async def claim_action_of(
    request: AnyRequest,
    api: ApiParam,
    claim_reads: ClaimReads,
    metrics: MetricsParam,
    wallet: FromPath[str],
) -> ActionMetadata:
    """A claim of one wallet, with what it would pay now."""
    check_reads(request, claim_reads, metrics)
    return await api.claim_action(wallet)


@post(CLAIM_PATH, **_POST)
async def claim_transaction(
    request: AnyRequest,
    api: ApiParam,
    claim_reads: ClaimReads,
    metrics: MetricsParam,
    data: JSONBody[ActionPost],
) -> ActionTransaction:
    """The claim of an account, for it to sign; it pays the fee."""
    check_reads(request, claim_reads, metrics)
    return await api.claim_transaction(data.account)


@post(CLAIM_PATH + "/{wallet:str}", **_POST)
async def claim_transaction_of(
    request: AnyRequest,
    api: ApiParam,
    claim_reads: ClaimReads,
    metrics: MetricsParam,
    wallet: FromPath[str],
    data: JSONBody[ActionPost],
) -> ActionTransaction:
    """The claim of this wallet; the account signs and pays the fee, and the wallet is paid."""
    check_reads(request, claim_reads, metrics)
    return await api.claim_transaction(data.account, wallet)


@get(ICON_PATH, media_type=_SVG, **PUBLIC)
async def icon() -> Response[bytes]:
    """The picture that clients show beside a claim."""
    headers = {"cache-control": "public, max-age=86400"}
    return Response(_icon(), media_type=_SVG, headers=headers)


@cache
def _icon() -> bytes:
    return files("coordinator").joinpath("icon.svg").read_bytes()


ROUTES: Final = [
    action_rules, claim_action, claim_action_of, claim_transaction, claim_transaction_of, icon,
]  # fmt: skip
