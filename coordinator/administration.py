"""What administrators may ask: everybody's nodes, drains, and the jobs in quarantine.

Each question needs an `admin` session of one of the house's `admin_wallets`.
Not here: what anybody may ask (`api`), who asks (`access`), the decisions (`standing`).
"""

from __future__ import annotations

from coordinator import events as ev
from coordinator.access import Access
from coordinator.desk import job_view, node_view
from coordinator.limits import LISTING_ROWS_MAX
from coordinator.protocol.errors import Refusal
from coordinator.store.values import Session
from coordinator.views import DrainRequest, JobView, NodeView


class Administration(Access):
    """The part of the house's counter behind which administrators ask."""

    async def all_nodes(self, session: Session) -> list[NodeView]:
        """The newest nodes of everybody."""
        self._check(session, "admin")
        nodes = await self.read(lambda reader: reader.all_nodes(LISTING_ROWS_MAX))
        return [node_view(self.operations, self.ids, node) for node in nodes]

    async def node(self, node: str) -> NodeView:
        """One node; anybody may see it."""
        number = self.ids.decode("node", node)
        found = await self.read(lambda reader: reader.node(number))
        if found is None:
            raise Refusal("not_found")
        return node_view(self.operations, self.ids, found)

    async def drain_node(self, session: Session, node: str, request: DrainRequest) -> NodeView:
        """This node gets no jobs for a while."""
        self._check(session, "admin")
        number, ms = self.ids.decode("node", node), request.seconds * 1000
        await self.operations.writer.ask(ev.NodeFailing(number, request.reason, ms))
        return await self.node(node)

    async def undrain_node(self, session: Session, node: str) -> NodeView:
        """This node gets jobs again."""
        self._check(session, "admin")
        await self.operations.writer.ask(ev.NodeWell(self.ids.decode("node", node)))
        return await self.node(node)

    async def quarantined(self, session: Session) -> list[JobView]:
        """The newest jobs that ended their hosts."""
        self._check(session, "admin")
        rows = await self.read(lambda reader: reader.quarantined_jobs(LISTING_ROWS_MAX))
        return [job_view(self.ids, job, is_own=True) for job in rows]
