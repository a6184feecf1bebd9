"""Everything that an agent is made of: the real parts (`main.py`), or a world's."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 (the caller's seeded generator, as a type)
from typing import TypeAlias

from agent.disk import Hop, in_thread
from agent.earnings import Earnings
from agent.inputs import InputCache
from agent.link import Connect
from agent.outbox import Outbox
from agent.papers import PapersKeeper
from agent.places import Place
from agent.state import State
from agent.task import Runner
from agent.uploads import Uploader
from coordinator.clock import Clock
from coordinator.protocol.handshake import NONCE_BYTES
from coordinator.protocol.messages import HostInfo, Inventory, Telemetry
from coordinator.protocol.signing import Keypair


def _new_nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)


async def _no_telemetry() -> list[Telemetry]:
    return []


#: Hears the inventory, the places that are out with the reason, and those whose task cannot end.
Tell: TypeAlias = Callable[[Inventory, Mapping[int, str], Collection[int]], None]
#: Makes this host ready, then says what it is and can do.
#: Raises `Refusal` where it can do nothing.
WarmUp: TypeAlias = Callable[[], Awaitable[Inventory]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    connect: Connect
    node_key: Keypair
    #: Shown to the coordinator while it does not know the node key; may be empty.
    token: str
    #: What this host is and can do, or how to find out while the agent connects.
    inventory: Inventory | WarmUp
    #: Where tasks compute, once the host is warm; alike places, one a slot, if not said.
    places: Callable[[], Sequence[Place]] | None = None
    #: Looks after the devices, once they are warm, and tells what changed.
    watch: Callable[[Tell], Awaitable[None]] | None = None
    runner: Runner
    outbox: Outbox
    state: State
    uploader: Uploader
    #: Where the inputs of jobs are kept; None: jobs with large inputs fail here.
    inputs: InputCache | None = None
    clock: Clock
    #: Seeded by the caller; it decides waiting times only.
    rng: Random
    host_info: HostInfo = field(default_factory=HostInfo)
    telemetry: Callable[[], Awaitable[list[Telemetry]]] = _no_telemetry
    #: 32 unpredictable bytes.
    new_nonce: Callable[[], bytes] = _new_nonce
    hop: Hop = in_thread
    #: What receipts add up to.
    earnings: Earnings = field(default_factory=Earnings)
    #: Keeps what its owner can claim by; without it none is sent here.
    papers: PapersKeeper | None = None
