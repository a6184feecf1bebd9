"""A development node in a thread of its own, for commands that run a loop of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue

import trio

from onchain.devnode import DevNode, Ports
from onchain.machine import Machine


@dataclass
class NodeThread:
    url: str
    node: DevNode

    @property
    def machine(self) -> Machine:
        """To be touched between two calls only: nothing else moves it then."""
        return self.node.machine


@contextmanager
def node_thread(node: DevNode) -> Iterator[NodeThread]:
    """Serve a node on a free port until the block ends."""
    ready: Queue[tuple[trio.lowlevel.TrioToken, trio.CancelScope, Ports]] = Queue()

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            ports = await nursery.start(node.serve, "127.0.0.1", 0)
            ready.put((trio.lowlevel.current_trio_token(), nursery.cancel_scope, ports))

    thread = threading.Thread(target=trio.run, args=(serve,), daemon=True)
    thread.start()
    token, scope, ports = ready.get(timeout=20)
    try:
        yield NodeThread(f"http://127.0.0.1:{ports.http}", node)
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(timeout=20)
        assert not thread.is_alive()
