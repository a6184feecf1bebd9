"""An agent that waits for work costs little memory: nothing of its handshake stays.

Not here: how many bytes it is (`python -m benchmarks idle`).
"""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import trio
from wsproto.handshake import H11Handshake

from benchmarks.hub import Hub
from benchmarks.wire import LightAgent
from coordinator.head import Head
from coordinator.protocol import messages as m
from coordinator.protocol.signing import generate
from tests.house import open_house


def alive(*kinds: type) -> list[type]:
    gc.collect()
    return [type(each) for each in gc.get_objects() if isinstance(each, kinds)]


@pytest.mark.slow
async def test_a_registered_agent_keeps_nothing_of_how_it_came_in(tmp_path: Path) -> None:
    before = alive(H11Handshake, Head, m.Inventory, m.Register, m.Hello)
    async with open_house(tmp_path) as house, trio.open_nursery() as nursery:
        hub = Hub()
        nursery.start_soon(hub.run)
        agent = LightAgent(await house.token(generate()))
        await agent.register(hub, house.ws)
        agent.beat()
        with trio.fail_after(5):
            while not agent.beats:  # noqa: ASYNC110 - links are plain
                await trio.sleep(0.01)

        kept = alive(H11Handshake, Head, m.Inventory, m.Register, m.Hello)

        agent.close()
        nursery.cancel_scope.cancel()
    assert len(kept) <= len(before), kept
