"""What a handler of HTTP is given: the API, the session that asks, a body that was checked.

Rules:
  1. A handler with the guard `needs_session` runs for a valid bearer only; the body is not read
     before that.
  2. A handler with `opt` `public` takes bodies of `FRAME_BYTES_MAX_BEFORE_AUTH` at most, and
     strictly (no duplicate keys, no integers beyond 2^53): whoever sends them is a stranger.
  3. A body is decoded straight from its bytes, so that a specification keeps the bytes whose hash
     names it; `opt` `body` names the type.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import trio
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import SkipValidation

from coordinator.metrics import Metrics
from coordinator.protocol.codec import check_json
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.messages import (
    JobOutput,
    JobUpdate,
    Price,
    Submission,
    SubmissionAnswer,
)
from coordinator.revocation import Tally
from coordinator.settlement_views import (
    ClaimView,
    EpochView,
    ProofView,
    SettlementView,
    VoucherView,
    WithdrawalRequest,
    WithdrawalsView,
    WithdrawalView,
)
from coordinator.store.values import Session
from coordinator.uploads import Part
from coordinator.views import (
    AccountView,
    Challenged,
    DrainRequest,
    ErrorView,
    FaucetRequest,
    IssuedToken,
    JobView,
    LogView,
    NodeView,
    OpenedSession,
    OpenThing,
    ReportRequest,
)
from onchain.actions import ActionMetadata, ActionRules, ActionTransaction

BEARER_CHARS_MAX: Final = 256
#: A body that took longer than this to arrive has its session looked up again.
RECHECK_S: Final = 0.05


def _error(description: str) -> ResponseSpec:
    return ResponseSpec(ErrorView, description=description, generate_examples=False)


class Api(Protocol):
    """What HTTP asks of the house; every method raises `Refusal`."""

    async def challenge(self, wallet: str, *, scope: str, node: str = "") -> Challenged: ...
    async def issue_token(
        self, wallet: str, nonce: str, signature: str, transaction: str = ""
    ) -> IssuedToken: ...
    async def open_session(
        self, wallet: str, nonce: str, signature: str, transaction: str = "", *, peer: str = ""
    ) -> OpenedSession: ...
    async def session(self, bearer: str) -> Session: ...
    def is_admin(self, session: Session) -> bool: ...
    async def close_session(self, bearer: str) -> None: ...
    async def open_things(self, session: Session, wallet: str = "") -> list[OpenThing]: ...
    async def revoke(self, session: Session, name: str, wallet: str = "") -> None: ...
    async def revoke_all(
        self, session: Session, wallet: str = "", *, with_nodes: bool = False
    ) -> Tally: ...
    async def nodes_mine(self, wallet: str) -> list[NodeView]: ...
    async def jobs_mine(self, wallet: str) -> list[JobView]: ...
    async def node(self, node: str) -> NodeView: ...
    async def job(self, job: str, session: Session | None) -> JobView: ...
    async def all_nodes(self, session: Session) -> list[NodeView]: ...
    async def drain_node(self, session: Session, node: str, request: DrainRequest) -> NodeView: ...
    async def undrain_node(self, session: Session, node: str) -> NodeView: ...
    async def jobs(self, session: Session) -> list[JobView]: ...
    async def quarantined(self, session: Session) -> list[JobView]: ...
    async def report(self, session: Session, request: ReportRequest) -> None: ...
    async def submit(
        self, session: Session, jobs: Sequence[Submission]
    ) -> list[SubmissionAnswer]: ...
    async def cancel(self, session: Session, ids: Sequence[str]) -> list[JobUpdate]: ...
    async def quote(self, specs: Sequence[bytes]) -> list[Price]: ...
    async def result(self, session: Session, job: str) -> tuple[JobOutput, bytes]: ...
    async def logs(
        self,
        session: Session,
        job: str,
        *,
        offset: int = 0,
        attempt: int = 0,
        wait_s: float = 0.0,
    ) -> LogView: ...
    async def account(self, session: Session) -> AccountView: ...
    async def faucet(self, session: Session, request: FaucetRequest) -> AccountView: ...
    async def settlement(self) -> SettlementView: ...
    async def settle_now(self, session: Session, anew: int = 0) -> SettlementView: ...
    async def epochs(self, before: int | None = None) -> list[EpochView]: ...
    async def epoch(self, number: int) -> EpochView: ...
    async def leaf_file(self, number: int) -> tuple[Path, int, str]: ...
    async def withdrawals_in(self, number: int, after: int) -> WithdrawalsView: ...
    async def proof(self, wallet: str) -> ProofView: ...
    async def voucher(self, wallet: str) -> VoucherView: ...
    async def withdraw(self, session: Session, request: WithdrawalRequest) -> WithdrawalView: ...
    async def withdrawals(self, session: Session) -> list[WithdrawalView]: ...
    def chain_name(self) -> str: ...
    def action_rules(self) -> ActionRules: ...
    async def claim_action(self, wallet: str = "") -> ActionMetadata: ...
    async def offer_claim(self, wallet: str) -> ClaimView: ...
    async def accept_claim(self, claim: str, transaction: str) -> ClaimView: ...
    async def sponsored_claim(self, claim: str) -> ClaimView: ...
    async def claim_transaction(self, account: str, wallet: str = "") -> ActionTransaction: ...
    async def put_blob(
        self, session: Session, sha256: str, body: AsyncIterator[bytes], length: int | None
    ) -> None: ...
    async def blob(self, session: Session, sha256: str) -> tuple[Path, int]: ...
    async def append_upload(
        self, session: Session, sha256: str, part: Part, body: AsyncIterator[bytes]
    ) -> int: ...
    async def upload(self, session: Session, sha256: str) -> tuple[int, int]: ...
    async def drop_upload(self, session: Session, sha256: str) -> None: ...
    async def input(self, session: Session, job: str, name: str) -> tuple[Path, int]: ...
    def counts(self) -> Mapping[str, int]: ...


#: Parameters of handlers, filled by name: `api`, `session`, `metrics`.
ApiParam: TypeAlias = NamedDependency[SkipValidation[Api]]
SessionParam: TypeAlias = NamedDependency[SkipValidation[Session]]
MetricsParam: TypeAlias = NamedDependency[SkipValidation[Metrics]]


class CheckedRequest(Request[Any, Any, Any]):
    """A request whose JSON is checked and decoded as the wire's is."""

    async def json(self) -> Any:
        opt = self.route_handler.opt
        raw = await self.body()
        if not opt.get("public") and trio.current_time() - self.state.found_at > RECHECK_S:
            # Whoever drips a body must not go on under a session that was revoked meanwhile.
            await needs_session(self, self.route_handler)
        try:
            check_json(raw, strict=bool(opt.get("public")))
            return msgspec.json.decode(raw, type=opt["body"])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ProtocolError("malformed", f"the body is not valid: {error}"[:500]) from error


def bearer_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The bearer in the `Authorization` header, or `""`.

    Raises:
        Refusal: `unauthenticated` for another scheme than Bearer.
    """
    value = connection.headers.get("authorization", "")
    scheme, _, bearer = value.partition(" ")
    if value and (scheme.lower() != "bearer" or len(bearer) > BEARER_CHARS_MAX):
        raise Refusal("unauthenticated", "write it like `Authorization: Bearer …`")
    return bearer.strip()


async def needs_session(
    connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler
) -> None:
    """Guard: find the session of the bearer, before the body is read.

    Raises:
        Refusal: `unauthenticated` or `session_expired`.
    """
    bearer = bearer_of(connection)
    if not bearer:
        raise Refusal("unauthenticated")
    api: Api = connection.app.state.api
    connection.scope["auth"] = await api.session(bearer)
    connection.state.found_at = trio.current_time()


async def current_session(request: Request[Any, Any, Any]) -> Session:
    """Dependency `session` of handlers with the guard."""
    session: Session = request.auth
    return session


#: What every route may answer, for the reader of the schema.
_ERRORS: Final = {
    400: _error("The request is not valid."),
    404: _error("There is no such thing."),
    429: _error("Too many requests: wait `Retry-After` seconds."),
}
#: Options of a handler that anybody may ask.
PUBLIC: Final[dict[str, Any]] = {"public": True, "responses": _ERRORS}
#: Options of a handler that needs a session. Every handler has these or those: a test looks.
SECURED: Final[dict[str, Any]] = {
    "guards": [needs_session],
    "security": [{"bearer": []}],
    "responses": {
        **_ERRORS,
        401: _error("A session is needed."),
        403: _error("Not in this session."),
    },
}
