"""Nodes as their operators and the administrators look at them: at work, or why not.

In:   rows of nodes, the index in memory.
Out:  a `FleetNode` each.
Not here: who may ask (`access`), what a stranger sees of a node (`desk.node_view`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coordinator.access import Access
from coordinator.clock import iso
from coordinator.desk import last_seen_ms
from coordinator.idle import SENTENCES, lack
from coordinator.limits import LISTING_ROWS_MAX
from coordinator.operations import Operations
from coordinator.protocol.messages import Inventory
from coordinator.status_views import FleetNode
from coordinator.store.interface import Reader
from coordinator.store.values import Node, NodeWork, Session
from coordinator.watch import node_state
from onchain.address import encode_address
from onchain.amounts import format_hyper

_inventory = msgspec.json.Decoder(Inventory)
_NOTHING = NodeWork(0, 0)


class Fleet:
    """Answers for nodes."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def nodes(self, session: Session, *, everybody: bool) -> list[FleetNode]:
        """The newest nodes of the session's wallet, or of everybody for an administrator.

        Raises:
            Refusal: `forbidden`.
        """
        self._access.check(session, *(("admin",) if everybody else ("wallet", "admin")))

        def load(reader: Reader) -> tuple[list[Node], Mapping[int, NodeWork]]:
            nodes = list(
                reader.all_nodes(LISTING_ROWS_MAX)
                if everybody
                else reader.nodes_of(session.wallet, LISTING_ROWS_MAX)
            )
            return nodes, reader.node_work([node.id for node in nodes])

        nodes, work = await self._access.read(load)
        return [self._view(node, work.get(node.id, _NOTHING)) for node in nodes]

    def _view(self, node: Node, work: NodeWork) -> FleetNode:
        operations = self._access.operations
        inventory = _inventory.decode(node.inventory) if node.inventory else None
        has = operations.scheduler.capability(node.id)
        idle = why_idle(operations, node)
        return FleetNode(
            id=self._access.ids.encode("node", node.id),
            wallet=encode_address(node.wallet),
            hostname=node.hostname,
            state=node_state(operations, node.id),
            devices=tuple(d.name for d in inventory.devices) if inventory else (),
            sandbox=inventory.sandbox if inventory else 0,
            worker_sandbox=inventory.worker_sandbox if inventory else 0,
            kinds=tuple(inventory.kinds) if inventory else (),
            slots=has.slots if has else 0,
            held=operations.registry.held(node.id),
            done=work.done,
            failed=work.failed,
            earned=format_hyper(node.earned),
            last_seen=iso(last_seen_ms(operations, node)),
            idle=idle,
            why=_sentence(operations, node, idle),
            version=inventory.version if inventory else "",
            remarks=tuple(inventory.remarks) if inventory else (),
        )


def why_idle(operations: Operations, node: Node) -> str:
    """Why the node has nothing to do, by name (`idle`); "" when it has."""
    state = node_state(operations, node.id)
    if state == "offline":
        return _why_offline(node, operations.clock.wall_ms())
    if operations.drains.of(node.id) is not None:
        return "drained"
    has = operations.scheduler.capability(node.id)
    if state != "online" or has is None:
        return "starting" if state == "online" else state
    if has.slots and operations.registry.held(node.id):
        return ""
    return lack(has, operations.scheduler.demands()) if has.slots else "no_slots"


def _why_offline(node: Node, now_ms: int) -> str:
    if node.is_revoked:
        return "revoked"
    return "key_expired" if node.node_key and node.key_expires_ms < now_ms else "offline"


def _sentence(operations: Operations, node: Node, idle: str) -> str:
    drained = operations.drains.of(node.id)
    if idle == "drained" and drained is not None:
        return f"{SENTENCES[idle]}, until {iso(drained.until_ms)}: {drained.reason}"
    return SENTENCES[idle]
