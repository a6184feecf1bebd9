"""Claims that the house pays for: offered, returned with the wallet's signature, looked after.

`building → sent → confirmed → finalized | expired | failed`. Nothing here needs a session: the
wallet's signature under the transaction is its wish, and a claim pays to its own token account.
Not here: what is answered (`claims_desk`), what a wallet pays for itself (`action_routes`).
"""

from __future__ import annotations

from typing import Final

from litestar import get, post
from litestar.params import FromPath, JSONBody

from coordinator.action_routes import AnyRequest, ClaimReads, check_reads
from coordinator.http_context import PUBLIC, ApiParam, MetricsParam
from coordinator.limits import FRAME_BYTES_MAX_BEFORE_AUTH
from coordinator.settlement_views import ClaimRequest, ClaimView, SignedClaim


@post(
    "/api/claims",
    status_code=200,
    body=ClaimRequest,
    request_max_body_size=FRAME_BYTES_MAX_BEFORE_AUTH,
    **PUBLIC,
)
async def offer_claim(
    request: AnyRequest,
    api: ApiParam,
    claim_reads: ClaimReads,
    metrics: MetricsParam,
    data: JSONBody[ClaimRequest],
) -> ClaimView:
    """A wallet's claim whose fee and rents the house pays, for the wallet to sign."""
    check_reads(request, claim_reads, metrics)
    return await api.offer_claim(data.wallet)


@post(
    "/api/claims/{claim:str}",
    status_code=200,
    body=SignedClaim,
    request_max_body_size=FRAME_BYTES_MAX_BEFORE_AUTH,
    **PUBLIC,
)
async def accept_claim(
    request: AnyRequest,
    api: ApiParam,
    claim_reads: ClaimReads,
    metrics: MetricsParam,
    claim: FromPath[str],
    data: JSONBody[SignedClaim],
) -> ClaimView:
    """The same with the wallet's signature: the house signs, sends and follows it."""
    check_reads(request, claim_reads, metrics)
    return await api.accept_claim(claim, data.transaction)


@get("/api/claims/{claim:str}", **PUBLIC)
async def sponsored_claim(api: ApiParam, claim: FromPath[str]) -> ClaimView:
    """How such a claim stands."""
    return await api.sponsored_claim(claim)


ROUTES: Final = [offer_claim, accept_claim, sponsored_claim]
