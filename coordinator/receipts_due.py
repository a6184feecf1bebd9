"""Receipts that nodes are still to be sent: gathered a while, then in small messages, evenly.

In:   batches of receipts after their commit.
Out:  calls of `send` for one node at a time.
Rules:
  1. A node is sent what it was paid for once that has waited `RECEIPTS_GAP_S`, or once it is as
     much as one message takes: each message costs the node a signature, and us a check of it.
  2. No round sends a node more than one message: jobs pass between two rounds. Each node's rounds
     begin with its own first receipt, so that thousands of nodes are spread over the time.
  3. Who is away is offered its receipts when it comes back (agent_receipts).
Why: all at once, twice a second, held the jobs behind them for 70 ms at 1,000 jobs a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import trio

from coordinator import events as ev
from coordinator.bell import Bell
from coordinator.clock import Clock
from coordinator.limits import RECEIPT_BATCHES_TOGETHER_MAX, RECEIPTS_GAP_S

#: Between two rounds while receipts wait.
ROUND_S: Final = 0.02


class ReceiptsDue:
    """The batches that wait, by node."""

    def __init__(
        self, clock: Clock, send: Callable[[int, Sequence[ev.ReceiptsReady]], None]
    ) -> None:
        """Make it; `send` gives a node its receipts in these batches."""
        self._clock = clock
        self._send = send
        self._waiting: dict[int, list[ev.ReceiptsReady]] = {}
        #: When each node's first batch has waited long enough, the earliest first.
        self._due: dict[int, float] = {}
        #: Nodes for which more waits than a message takes.
        self._full: set[int] = set()
        self._bell = Bell()

    def note(self, ready: ev.ReceiptsReady) -> None:
        """A batch is on the disk."""
        if not self._due:
            self._bell.ring()
        for node in {receipt.node for receipt in ready.receipts}:
            waiting = self._waiting.setdefault(node, [])
            waiting.append(ready)
            if len(waiting) == 1:
                self._due[node] = self._clock.monotonic() + RECEIPTS_GAP_S
            elif len(waiting) == RECEIPT_BATCHES_TOGETHER_MAX:
                self._full.add(node)

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            await self._bell.wait()
            while self._due:
                await trio.sleep(ROUND_S)
                self.round()

    def round(self) -> None:
        """One message for each node whose turn it is."""
        now = self._clock.monotonic()
        due, self._full = self._full, set()
        for node, at in self._due.items():
            if at > now:
                break
            due.add(node)
        for node in due:
            self._send_some(node, RECEIPT_BATCHES_TOGETHER_MAX, now)

    def flush(self) -> None:
        """Send all of it."""
        self._full.clear()
        for node, waiting in tuple(self._waiting.items()):
            self._send_some(node, len(waiting), 0.0)

    def _send_some(self, node: int, most: int, now: float) -> None:
        waiting = self._waiting.pop(node)
        del self._due[node]
        some, left = waiting[:most], waiting[most:]
        if left:
            self._waiting[node] = left
            self._due[node] = now + RECEIPTS_GAP_S
            if len(left) >= most:
                self._full.add(node)
        self._send(node, some)
