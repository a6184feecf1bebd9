"""Whether the coordinator lives, is ready, and what it counts.

`/livez`: the event loop turns. `/readyz`: it takes work in (not draining, the store answers).
`/healthz`: both. A process that is not alive should be restarted; one that is not ready should
be left alone.
`/metrics` stands on the same port and answers peers of this machine only, unless `metrics_public`
is set. Behind a reverse proxy on this machine everybody looks like this machine: keep the path
from the outside there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from coordinator.admission import is_loopback
from coordinator.door import peer_of
from coordinator.http_context import ApiParam, MetricsParam
from coordinator.limits import LOOP_LAG_S_MAX
from coordinator.metrics import CONTENT_TYPE, Metrics
from coordinator.protocol.errors import Refusal
from coordinator.signals import Drain
from coordinator.views import Health


class Readiness:
    """Says why the house takes no work in now."""

    def __init__(self, drain: Drain, store_failure: Callable[[], str] = lambda: "") -> None:
        """Ask these.

        Args:
            drain: Whether the process ends.
            store_failure: Why the store does not answer, or `""`.
        """
        self._drain = drain
        self._store_failure = store_failure

    def look(self) -> Health:
        if self._drain.is_draining:
            return Health("draining")
        failure = self._store_failure()
        return Health("failing", failure) if failure else Health("ok")


ReadinessParam: TypeAlias = NamedDependency[SkipValidation[Readiness]]


def _alive(metrics: Metrics) -> Health:
    lag = metrics.loop_lag_s
    return Health("ok") if lag < LOOP_LAG_S_MAX else Health("failing", f"the loop lags {lag:.1f} s")


def _answer(health: Health) -> Response[Health]:
    return Response(health, status_code=200 if health.status == "ok" else 503)


@get("/livez", public=True)
async def livez(metrics: MetricsParam) -> Response[Health]:
    """Whether the event loop turns."""
    return _answer(_alive(metrics))


@get("/readyz", public=True)
async def readyz(readiness: ReadinessParam) -> Response[Health]:
    """Whether the coordinator takes work in."""
    return _answer(readiness.look())


@get("/healthz", public=True)
async def healthz(metrics: MetricsParam, readiness: ReadinessParam) -> Response[Health]:
    """Alive and ready."""
    alive = _alive(metrics)
    return _answer(alive if alive.status != "ok" else readiness.look())


@get("/metrics", media_type="text/plain", include_in_schema=False, public=True)
async def prometheus(
    request: Request[Any, Any, Any], api: ApiParam, metrics: MetricsParam
) -> Response[bytes]:
    """The numbers, for Prometheus."""
    if not request.app.state.metrics_public and not is_loopback(peer_of(request.scope)):
        raise Refusal("not_found")
    metrics.set_counts(api.counts())
    return Response(metrics.exposition(), media_type=CONTENT_TYPE)


ROUTES: Final = [livez, readyz, healthz, prometheus]
