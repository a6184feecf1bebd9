"""Settlement over HTTP: epochs, leaf files, withdrawals, proofs.

Everything that a host or a guardian needs to check a root is public; only a wallet's own wishes
need its session.
Rules:
  1. A leaf file streams, in pieces, and in ranges like a blob; its ETag is its SHA-256.
  2. A leaf file never changes: whoever has it may keep it for ever.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from litestar import Request, get, post
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter
from litestar.response import Stream

from coordinator.blob_routes import streamed
from coordinator.http_context import PUBLIC, SECURED, ApiParam, SessionParam
from coordinator.limits import EPOCH_MAX, FRAME_BYTES_MAX_BEFORE_AUTH, INTEGER_MAX
from coordinator.settlement_views import (
    EpochView,
    ProofView,
    SettlementView,
    VoucherView,
    WithdrawalRequest,
    WithdrawalsView,
    WithdrawalView,
)

Number: TypeAlias = Annotated[
    int, PathParameter(ge=1, le=EPOCH_MAX, description="An epoch's number.")
]
BeforeQuery: TypeAlias = Annotated[
    int | None, QueryParameter(ge=1, le=EPOCH_MAX, description="Only epochs below this one.")
]
AfterQuery: TypeAlias = Annotated[
    int, QueryParameter(ge=0, le=INTEGER_MAX, description="`next` of the part before.")
]
AnewQuery: TypeAlias = Annotated[
    int,
    QueryParameter(
        ge=0,
        le=EPOCH_MAX,
        description="The last epoch, if its leaves are to be fixed anew: it was never published.",
    ),
]
_BYTES: Final = "application/octet-stream"


@get("/api/settlement", **PUBLIC)
async def settlement(api: ApiParam) -> SettlementView:
    """Where this coordinator settles, and how that stands."""
    return await api.settlement()


@post("/api/settlement/rounds", status_code=200, **SECURED)
async def settle_now(api: ApiParam, session: SessionParam, anew: AnewQuery = 0) -> SettlementView:
    """Settle now, ahead of the schedule (administrators): what came of it."""
    return await api.settle_now(session, anew)


@get("/api/epochs", **PUBLIC)
async def epochs(api: ApiParam, before: BeforeQuery = None) -> list[EpochView]:
    """The newest epochs."""
    return await api.epochs(before)


@get("/api/epochs/{number:int}", **PUBLIC)
async def epoch(api: ApiParam, number: Number) -> EpochView:
    """One epoch."""
    return await api.epoch(number)


@get("/api/epochs/{number:int}/leaves", media_type=_BYTES, **PUBLIC)
async def leaves(request: Request[Any, Any, Any], api: ApiParam, number: Number) -> Stream:
    """The leaf file of an epoch, or a range of it: every leaf of its root."""
    file, size, digest = await api.leaf_file(number)
    for_ever = "public, max-age=31536000, immutable"
    return streamed(request, file, size, digest, cache_control=for_ever)


@get("/api/epochs/{number:int}/withdrawals", **PUBLIC)
async def withdrawals_in(api: ApiParam, number: Number, after: AfterQuery = 0) -> WithdrawalsView:
    """Withdrawals that this epoch counts first, in parts, with what their wallets signed."""
    return await api.withdrawals_in(number, after)


@get("/api/earnings/{wallet:str}/proof", **PUBLIC)
async def proof(api: ApiParam, wallet: FromPath[str]) -> ProofView:
    """That a wallet's earnings are in the active root: what a claim needs."""
    return await api.proof(wallet)


@get("/api/earnings/{wallet:str}/voucher", **PUBLIC)
async def voucher(api: ApiParam, wallet: FromPath[str]) -> VoucherView:
    """A voucher of what a wallet earned past its withholding window."""
    return await api.voucher(wallet)


@post(
    "/api/withdrawals",
    status_code=200,
    body=WithdrawalRequest,
    request_max_body_size=FRAME_BYTES_MAX_BEFORE_AUTH,
    **SECURED,
)
async def withdraw(
    api: ApiParam, session: SessionParam, data: JSONBody[WithdrawalRequest]
) -> WithdrawalView:
    """Make unspent credit of the session's wallet its earnings: they leave by the next root."""
    return await api.withdraw(session, data)


@get("/api/withdrawals", **SECURED)
async def withdrawals(api: ApiParam, session: SessionParam) -> list[WithdrawalView]:
    """The newest withdrawals of the session's wallet."""
    return await api.withdrawals(session)


ROUTES: Final = [
    settlement, settle_now, epochs, epoch, leaves, withdrawals_in, proof, voucher, withdraw,
    withdrawals,
]  # fmt: skip
