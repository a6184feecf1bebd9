"""The coordinator's HTTP API, as people use it who watch: its status, and their nodes."""

from __future__ import annotations

from typing import Final

import trio

from hypernode.errors import HypernodeError, Unreachable
from hypernode.status_answers import CoordinatorInfo, FleetNodeInfo
from hypernode.web import Web

#: For signing in before a status is asked for: a coordinator that is in trouble may not let us.
SIGN_IN_S: Final = 3.0


class WatchWeb(Web):
    """HTTP calls of somebody who watches."""

    #: Why the status is the public one, once it was asked for; "" when it is not.
    excuse = ""

    async def status(self) -> CoordinatorInfo:
        """How the coordinator is: all of it for an administrator, else what anybody may see."""
        signed_in = await self._may_sign_in()
        path = "/api/status"
        return await self._ask("GET", path, CoordinatorInfo, signed_in=signed_in)

    async def _may_sign_in(self) -> bool:
        if self.excuse or self.signer is None:
            self.excuse = self.excuse or "no wallet"
            return False
        with trio.move_on_after(SIGN_IN_S) as scope:
            try:
                await self.bearer()
            except Unreachable:
                raise
            except HypernodeError as error:
                self.excuse = error.code
        if scope.cancelled_caught:
            self.excuse = "unavailable"
        return not self.excuse

    async def fleet(self, *, everybody: bool = False) -> list[FleetNodeInfo]:
        """This wallet's newest nodes, or everybody's (open it with `scope="admin"` then)."""
        query = {"all": "true"} if everybody else {}
        return await self._ask(
            "GET", "/api/fleet", list[FleetNodeInfo], params=query, signed_in=True
        )
