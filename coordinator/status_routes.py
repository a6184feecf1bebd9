"""The status and the fleet over HTTP.

`GET /api/status`: anybody sees how the coordinator is and how much there is of what; an `admin`
session sees the rest. `GET /api/fleet`: a session's own nodes; `all=true` for an `admin` session.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from litestar import Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter, SkipValidation

from coordinator.fleet import Fleet
from coordinator.http_context import PUBLIC, SECURED, ApiParam, SessionParam, bearer_of
from coordinator.overview import Overview
from coordinator.routes import AnyRequest
from coordinator.status_views import FleetNode, StatusView

OverviewParam: TypeAlias = NamedDependency[SkipValidation[Overview]]
FleetParam: TypeAlias = NamedDependency[SkipValidation[Fleet]]
AllQuery: TypeAlias = Annotated[
    bool, QueryParameter(name="all", description="Everybody's nodes (administrators).")
]


@get("/api/status", **PUBLIC)
async def status(request: AnyRequest, api: ApiParam, overview: OverviewParam) -> StatusView:
    """How the coordinator is; `detail` is for an `admin` session only."""
    bearer = bearer_of(request)
    session = await api.session(bearer) if bearer else None
    return overview.status(for_admin=session is not None and api.is_admin(session))


@get("/api/fleet", **SECURED)
async def fleet(
    fleet: FleetParam, session: SessionParam, everybody: AllQuery = False
) -> list[FleetNode]:
    """The newest nodes of the session's wallet, and why each is idle; or everybody's."""
    return await fleet.nodes(session, everybody=everybody)


def status_router(overview: Overview, nodes: Fleet) -> Router:
    """The routes, with what they ask."""
    return Router(
        "/",
        route_handlers=[status, fleet],
        dependencies={
            "overview": Provide(lambda: overview, sync_to_thread=False),
            "fleet": Provide(lambda: nodes, sync_to_thread=False),
        },
    )
