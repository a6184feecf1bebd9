"""`python -m benchmarks.light_agents URL TOKEN…`: light agents in a process of their own.

They answer as `wire.LightAgent` does, results in groups every 10 ms, until they are ended.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio

from benchmarks.hub import Hub
from benchmarks.wire import LightAgent
from coordinator.limits import HEARTBEAT_S, ITEMS_PER_MESSAGE_MAX, RESULTS_GAP_S


async def serve(url: str, tokens: Sequence[str]) -> None:
    """Register, then work for ever."""
    hub = Hub()
    agents = [LightAgent(each, batch=ITEMS_PER_MESSAGE_MAX, is_lazy=True) for each in tokens]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        for agent in agents:
            await agent.register(hub, url)
        nursery.start_soon(_beat, agents)
        while True:
            await trio.sleep(RESULTS_GAP_S)
            for agent in agents:
                agent.answer()


async def _beat(agents: Sequence[LightAgent]) -> None:
    while True:
        await trio.sleep(HEARTBEAT_S)
        for agent in agents:
            agent.beat()


if __name__ == "__main__":
    trio.run(serve, sys.argv[1], sys.argv[2:])
