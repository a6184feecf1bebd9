"""Whether the coordinator lives, is ready, and what it counts.

`/livez`: the event loop turns. `/readyz`: it takes work in. `/startupz`: the start has ended.
`/healthz`: alive and ready. A process that is not alive should be restarted; one that is not ready
should be left alone. Each answer names its reasons (`readiness.REASONS`, `loop_lag`).
`/metrics` stands on the same port and answers peers of this machine only, unless `metrics_public`
is set. A request that a reverse proxy on this machine passes on is not this machine's: the proxy
says so in a header. One that is told to add none makes everybody look like this machine: give the
metrics a port of their own there (`metrics_port`), which no proxy passes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from coordinator.admission import is_loopback
from coordinator.door import peer_of
from coordinator.http_context import Api, ApiParam, MetricsParam
from coordinator.limits import LOOP_LAG_S_MAX
from coordinator.metrics import CONTENT_TYPE, Metrics
from coordinator.protocol.errors import Refusal
from coordinator.readiness import Readiness, Reason
from coordinator.views import Health, Status

ReadinessParam: TypeAlias = NamedDependency[SkipValidation[Readiness]]
LOOP_LAG: Final = "loop_lag"
#: What a reverse proxy adds to a request that it passes on.
PROXY_HEADERS: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def health_of(reasons: Sequence[Reason]) -> Health:
    """What is answered: `draining` where that is all that is wrong."""
    names = [reason.name for reason in reasons]
    status: Status = "ok" if not names else "draining" if names == ["draining"] else "failing"
    return Health(status, "; ".join(said for _, said in reasons), tuple(names))


def _lag(metrics: Metrics) -> list[Reason]:
    lag = metrics.loop_lag_s
    return [] if lag < LOOP_LAG_S_MAX else [Reason(LOOP_LAG, f"the loop lags {lag:.1f} s")]


def _answer(reasons: Sequence[Reason]) -> Response[Health]:
    return Response(health_of(reasons), status_code=503 if reasons else 200)


@get("/livez", public=True)
async def livez(metrics: MetricsParam) -> Response[Health]:
    """Whether the event loop turns."""
    return _answer(_lag(metrics))


@get("/readyz", public=True)
async def readyz(readiness: ReadinessParam) -> Response[Health]:
    """Whether the coordinator takes work in."""
    return _answer(readiness.reasons())


@get("/startupz", public=True)
async def startupz(readiness: ReadinessParam) -> Response[Health]:
    """Whether the start has ended, however the coordinator is now."""
    return _answer([reason for reason in readiness.reasons() if reason.name == "starting"])


@get("/healthz", public=True)
async def healthz(metrics: MetricsParam, readiness: ReadinessParam) -> Response[Health]:
    """Alive and ready."""
    return _answer([*_lag(metrics), *readiness.reasons()])


def _is_from_here(request: Request[Any, Any, Any]) -> bool:
    """Whether this machine itself asks, and passes nobody else's request on."""
    is_passed_on = any(name in request.headers for name in PROXY_HEADERS)
    return is_loopback(peer_of(request.scope)) and not is_passed_on


@get("/metrics", media_type="text/plain", include_in_schema=False, public=True)
async def prometheus(
    request: Request[Any, Any, Any],
    api: ApiParam,
    metrics: MetricsParam,
    readiness: ReadinessParam,
) -> Response[bytes]:
    """The numbers, for Prometheus."""
    state = request.app.state
    # With a port of its own this one has none, unless it is for everybody.
    may = state.metrics_public or (not state.has_metrics_port and _is_from_here(request))
    if not may:
        raise Refusal("not_found")
    return Response(page_of(api, metrics, readiness), media_type=CONTENT_TYPE)


def page_of(api: Api, metrics: Metrics, readiness: Readiness) -> bytes:
    """The page of this moment."""
    metrics.set_counts(api.counts())
    metrics.set_reasons([reason.name for reason in readiness.reasons()])
    return metrics.exposition()


ROUTES: Final = [livez, readyz, startupz, healthz, prometheus]
