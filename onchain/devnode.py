"""A Solana node for development: JSON-RPC and subscriptions in front of LiteSVM.

In:   a `Machine`, ports, a folder to keep the chain in.
Out:  HTTP on one port, WebSocket on the next, as `@solana/web3.js` and anchorpy expect them.
Rules:
  1. Slots move with time, unless the node is made with `slot_s=None`; whoever cannot wait calls
     `hyperAdvance`.
  2. With a folder the chain is saved soon after each change and at the end; a start with the same
     folder goes on there, and the time that passed meanwhile passes at once.
  3. One task moves the machine at a time: a request is answered in one step.
Not covered: consensus, gossip, blocks in full; a power cut loses what came after the last save, so
nothing of worth may rest on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio
from trio_websocket import serve_websocket

from coordinator.clock import Clock, SystemClock
from coordinator.limits import (
    DEVNODE_BODY_BYTES_MAX,
    DEVNODE_SAVE_S,
    DEVNODE_WARP_SLOTS_MAX,
)
from onchain.devnode_http import Answer, HttpServer, Reply
from onchain.devnode_rpc import answer
from onchain.devnode_websocket import Bell, Subscriptions
from onchain.machine import SLOT_MS, Machine
from onchain.machine_state import load, save

#: Where clients look for a local node; the WebSocket is one port further.
PORT: Final = 8899
#: What a cluster takes: an honest default, so that nothing works here only because all is final.
CONFIRM_SLOTS: Final = 1
FINALIZE_SLOTS: Final = 31


@dataclass(frozen=True, slots=True)
class Ports:
    http: int
    websocket: int


class DevNode:
    """One node; `serve` it, and reach into its `machine` between two awaits.

    Args:
        machine: The chain; a new one with a cluster's pace of finality, at the present time, unless
            given.
        folder: Where it is kept; in memory only without one.
        slot_s: Seconds of a slot; None for slots that move by `hyperAdvance` only.
        clock: What time it is at the start.
        around: Wraps the way from a body to its answer: for tests that break things.
    """

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        folder: Path | None = None,
        slot_s: float | None = SLOT_MS / 1000,
        clock: Clock | None = None,
        around: Callable[[Answer], Answer] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.machine = machine or Machine(
            unix_s=clock.wall_ms() // 1000,
            confirm_slots=CONFIRM_SLOTS,
            finalize_slots=FINALIZE_SLOTS,
        )
        self.bell = Bell()
        self._folder = folder
        self._slot_s = slot_s
        self._answer = around(self.answer) if around else self.answer
        if folder is not None and load(self.machine, folder) and slot_s is not None:
            self._catch_up(clock.wall_ms())

    def _catch_up(self, wall_ms: int) -> None:
        behind = max(0, wall_ms - self.machine.time_ms)
        self.machine.advance(min(DEVNODE_WARP_SLOTS_MAX, behind // SLOT_MS), ms=behind)

    async def answer(self, body: bytes) -> Reply:
        """The answer to a body of JSON-RPC."""
        said = answer(self.machine, body)
        self.bell.ring()
        await trio.lowlevel.checkpoint()
        return Reply(said)

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = PORT,
        websocket_port: int | None = None,
        *,
        task_status: trio.TaskStatus[Ports] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; ports of 0 are any free ones, and `started` tells which."""
        if websocket_port is None:
            websocket_port = port + 1 if port else 0
        listeners = await trio.open_tcp_listeners(port, host=host)
        subscriptions = Subscriptions(self.machine, self.bell)
        serve_news = partial(
            serve_websocket,
            subscriptions.serve,
            host,
            websocket_port,
            None,
            max_message_size=DEVNODE_BODY_BYTES_MAX,
            message_queue_size=1,
        )
        try:
            async with trio.open_nursery() as nursery:
                news = await nursery.start(serve_news)
                await nursery.start(HttpServer(self._answer).serve, listeners)
                nursery.start_soon(self._move)
                nursery.start_soon(self._keep)
                http: int = listeners[0].socket.getsockname()[1]
                task_status.started(Ports(http, news.port))
        finally:
            if self._folder is not None:
                save(self.machine, self._folder)

    async def _move(self) -> None:
        """Let slots pass as time does, however late this task is called."""
        if self._slot_s is None:
            return
        begun, passed = trio.current_time(), 0
        while True:
            await trio.sleep_until(begun + (passed + 1) * self._slot_s)
            due = int((trio.current_time() - begun) / self._slot_s) - passed
            if due > 0:
                self.machine.advance(due)
                passed += due
                self.bell.ring()

    async def _keep(self) -> None:
        if self._folder is None:
            return
        saved = self.machine.changes
        while True:
            await trio.sleep(DEVNODE_SAVE_S)
            if self.machine.changes != saved:
                saved = self.machine.changes
                save(self.machine, self._folder)
