"""The coordinator's HTTP API, as its administrators use it.

Every call needs an `admin` session: a wallet that the coordinator's `admin_wallets` names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote as escape

from hypernode.answers import JobInfo, NodeInfo
from hypernode.errors import NotFound, error_of
from hypernode.web import Web


@contextmanager
def _naming(node: str) -> Iterator[None]:
    """Say of a node that is not there that it is the node."""
    try:
        yield
    except NotFound as error:
        raise error_of("not_found", f"there is no node {node[:80]!r}") from error


class AdminWeb(Web):
    """HTTP calls of an administrator; open it with `scope="admin"`."""

    async def all_nodes(self) -> list[NodeInfo]:
        """The newest nodes of everybody."""
        return await self._ask("GET", "/api/nodes", list[NodeInfo], signed_in=True)

    async def drain_node(self, node: str, reason: str, seconds: int) -> NodeInfo:
        """No jobs for this node for a while.

        Raises:
            NotFound: there is no such node.
        """
        body = {"reason": reason, "seconds": seconds}
        path = f"/api/nodes/{escape(node, safe='')}/drain"
        with _naming(node):
            return await self._ask("POST", path, NodeInfo, json=body, signed_in=True)

    async def undrain_node(self, node: str) -> NodeInfo:
        """Jobs again for this node.

        Raises:
            NotFound: there is no such node.
        """
        path = f"/api/nodes/{escape(node, safe='')}/undrain"
        with _naming(node):
            return await self._ask("POST", path, NodeInfo, signed_in=True)

    async def quarantined_jobs(self) -> list[JobInfo]:
        """The newest jobs that were given up since they ended hosts."""
        query = {"quarantined": "true"}
        return await self._ask("GET", "/api/jobs", list[JobInfo], params=query, signed_in=True)
