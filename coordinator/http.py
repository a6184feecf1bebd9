"""The HTTP application: Litestar, its routes and its errors, behind the door.

Every error is an `ErrorView`: `{"error": sentence, "code": name}`; ours with the status of
`errors.CODES`, Litestar's own (404, 405, 413, a parameter of the wrong form) under the code that
says the same. What is nobody's refusal is `internal`, with one line in the log and no traceback to
the peer. `/openapi.json` is OpenAPI 3.1, made from the types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler

from coordinator import (
    action_routes,
    blob_routes,
    claim_routes,
    health_routes,
    log_routes,
    routes,
    settlement_routes,
    upload_routes,
)
from coordinator.claim_limits import CLAIM_READS_PER_MINUTE
from coordinator.config import Config
from coordinator.door import Door, error_view, wait_header
from coordinator.http_context import Api, CheckedRequest, current_session
from coordinator.limits import BODY_BYTES_MAX, CHALLENGES_PER_MINUTE
from coordinator.log import get_log
from coordinator.metrics import Metrics
from coordinator.protocol.errors import CODES, HypernodeError, Refusal
from coordinator.ratelimit import RateLimiter
from coordinator.readiness import Readiness
from coordinator.views import ErrorView

#: Litestar's refusals, by status; any other status below 500 is a request of the wrong form.
_CODE_OF_STATUS: Final = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}
_CHALLENGE_PATH: Final = "/api/nodes/challenge"
log = get_log(__name__)


def build_app(
    api: Api,
    config: Config,
    *,
    metrics: Metrics,
    readiness: Readiness,
    more: Sequence[ControllerRouterHandler] = (),
) -> Door:
    """The ASGI application that `server` serves.

    Args:
        api: What the handlers ask.
        config: Origins, hosts, who reads the metrics.
        metrics: Where answers and refusals are counted.
        readiness: What `/readyz` says.
        more: Further handlers of Litestar (the page).
    """
    app = Litestar(
        route_handlers=[
            *routes.ROUTES,
            *blob_routes.ROUTES,
            *upload_routes.ROUTES,
            *log_routes.ROUTES,
            *health_routes.ROUTES,
            *settlement_routes.ROUTES,
            *action_routes.ROUTES,
            *claim_routes.ROUTES,
            *more,
        ],
        dependencies={
            "api": Provide(lambda: api, sync_to_thread=False),
            "session": Provide(current_session),
            "metrics": Provide(lambda: metrics, sync_to_thread=False),
            "readiness": Provide(lambda: readiness, sync_to_thread=False),
            "challenges": _constant(_by_minute(CHALLENGES_PER_MINUTE)),
            "claim_reads": _constant(_by_minute(CLAIM_READS_PER_MINUTE)),
        },
        exception_handlers={
            HypernodeError: answer_refusal,
            HTTPException: answer_http_exception,
            Exception: answer_failure,
        },
        request_class=CheckedRequest,
        request_max_body_size=BODY_BYTES_MAX,
        state=State(
            {
                "api": api,
                "metrics": metrics,
                "metrics_public": config.metrics_public,
                "has_metrics_port": config.metrics_port is not None,
            }
        ),
        openapi_config=_openapi(),
        logging_config=None,
    )
    return Door(app, config, metrics, api.chain_name)


def _by_minute(count: int) -> RateLimiter:
    return RateLimiter(count / 60, count)


def _constant(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="HYPERNODE coordinator",
        version="1",
        description="Jobs, nodes, sessions, blobs. Every error is `{error, code}`.",
        # Not at "/": Litestar would answer "/" and "/{anything}" itself, with its own pages.
        path="/openapi.json",
        render_plugins=[JsonRenderPlugin(path="/")],
        use_handler_docstrings=True,
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}
        ),
    )


def answer_refusal(request: Request[Any, Any, Any], refusal: HypernodeError) -> Response[ErrorView]:
    """A refusal or a broken message, with the status of its code."""
    request.app.state.metrics.refused(refusal.code)
    where = _CHALLENGE_PATH if refusal.code == "challenge_required" else None
    headers = wait_header(refusal) if isinstance(refusal, Refusal) else {}
    return Response(
        error_view(request.scope["path"], refusal.sentence, refusal.code, where),
        status_code=CODES[refusal.code][1],
        media_type="application/json",
        headers=headers,
    )


def answer_http_exception(
    request: Request[Any, Any, Any], error: HTTPException
) -> Response[ErrorView]:
    """Litestar's own refusal, in our words."""
    if error.status_code >= 500:
        return answer_failure(request, error)
    code = _CODE_OF_STATUS.get(error.status_code, "malformed")
    allow = {k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"}
    return Response(
        error_view(request.scope["path"], _sentence(error, code), code),
        status_code=error.status_code,
        media_type="application/json",
        headers=allow,
    )


def _sentence(error: HTTPException, code: str) -> str:
    """What is wrong, with the parameter's name where there is one."""
    if isinstance(error.extra, list) and error.extra:
        first = error.extra[0]
        if isinstance(first, dict) and "message" in first:
            return f"{first.get('key', 'request')}: {first['message']}"[:500]
    return error.detail[:500] if code == "malformed" else CODES[code][0]


def answer_failure(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorView]:
    """Our fault: one line in the log, a code and nothing else for the peer."""
    request.app.state.metrics.failed("http")
    log.error(
        "request failed", method=request.method, path=request.scope["path"][:200], exc_info=error
    )
    view = error_view(request.scope["path"], CODES["internal"][0], "internal")
    return Response(view, status_code=500, media_type="application/json")
