"""A coordinator without sockets: streams in memory, a clock that jumps, threads that are none.

Real: the store, the engine, the dispatcher, trio-websocket. Faked: the network and the time, so
that ten seconds of silence, or a day, cost nothing.
Not here: a coordinator on a port (`house.py`), bad luck (`world.py`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trio_websocket as tw
from trio.testing import lockstep_stream_pair, memory_stream_pair

from coordinator.blobs import BlobFolder
from coordinator.clock import Clock, TrioClock
from coordinator.config import load_config
from coordinator.frame_stream import FrameStream
from coordinator.limits import FRAME_BYTES_MAX, READ_AHEAD_FRAMES_MAX
from coordinator.main import Coordinator, open_house
from coordinator.protocol.signing import Keypair, encode_signature
from coordinator.store.sqlite import open_sqlite
from coordinator.writer import run_inline
from onchain.address import encode_address
from tests.peer import Peer
from tests.world import START_MS, inline_thread


class JumpingClock(TrioClock):
    """Trio's time, and wall time that can be set forward by itself."""

    ahead_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.ahead_ms


@dataclass
class Indoors:
    """One coordinator and the nursery in which it and its connections live."""

    coordinator: Coordinator
    clock: JumpingClock
    nursery: trio.Nursery

    async def proof(self, keypair: Keypair, scope: str, node_key: bytes = b"") -> tuple[str, ...]:
        """Wallet, nonce and signature of a signed challenge."""
        wallet = encode_address(keypair.address)
        node = encode_address(node_key) if node_key else ""
        challenge = await self.coordinator.api.challenge(wallet, scope=scope, node=node)
        signature = encode_signature(keypair.sign(challenge.message.encode()))
        return wallet, challenge.nonce, signature

    async def token(self, keypair: Keypair, node_key: bytes = b"") -> str:
        proof = await self.proof(keypair, "token", node_key)
        return (await self.coordinator.api.issue_token(*proof)).token

    async def bearer(self, keypair: Keypair) -> str:
        return (
            await self.coordinator.api.open_session(*await self.proof(keypair, "wallet"))
        ).bearer

    async def connect(self, *, is_lockstep: bool = False) -> Peer:
        """A WebSocket to the coordinator.

        Args:
            is_lockstep: Nothing is buffered on the way: what is not read cannot be sent.
        """
        ours, theirs = lockstep_stream_pair() if is_lockstep else memory_stream_pair()
        self.nursery.start_soon(self._serve, theirs)
        socket = await tw.wrap_client_stream(
            self.nursery, ours, "coordinator", "/", message_queue_size=1 if is_lockstep else 1000
        )
        return Peer(socket)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        # As `coordinator.server` does it.
        try:
            async with trio.open_nursery() as nursery:
                framed = FrameStream(stream)
                request = await tw.wrap_server_stream(
                    nursery,
                    framed,
                    message_queue_size=READ_AHEAD_FRAMES_MAX,
                    max_message_size=FRAME_BYTES_MAX,
                )
                await self.coordinator.dispatcher.handle(request, "indoors", framed)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, tw.ConnectionClosed):
            pass
        finally:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def open_indoors(
    folder: Path, *, clock: Clock | None = None, **flags: Any
) -> AsyncIterator[Indoors]:
    """A coordinator in memory for the time of a block, by `clock` or by one that can be set."""
    db = folder / f"{secrets.token_hex(4)}.db"
    config = load_config(
        {"port": 3001, "db": str(db), "faucet": True, "withhold_hours": 0, **flags}, {}, None
    )
    store, jumping = open_sqlite(db), JumpingClock(START_MS)
    try:
        house, ids = open_house(store, config, lambda _: secrets.token_bytes(32))
        coordinator = Coordinator(
            store,
            store.reader(),
            config,
            house=house,
            ids=ids,
            blobs=BlobFolder(Path(config.blobs)),
            clock=clock or jumping,
            random_bytes=secrets.token_bytes,
            run_store=run_inline,
            run_thread=inline_thread,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(coordinator.operations.run)
            yield Indoors(coordinator, jumping, nursery)
            nursery.cancel_scope.cancel()
    finally:
        store.close()


def spec_of(kind: str, **params: Any) -> bytes:
    """The bytes of a specification."""
    return json.dumps({"kind": kind, "params": params}).encode()
