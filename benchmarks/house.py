"""A coordinator in a process of its own, on its own core, with its peers on the others.

Rules:
  1. Its CPU time is the whole process's, by the kernel's count: threads, children, system calls.
  2. Its settings are the defaults (verification on, every commit synced to the disk); only the
     development faucet is on, prices are raised so that tiny jobs cost something, and one address
     may connect often.
  3. Once stopped, its books must balance and every job must have ended, or no number is believed.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from benchmarks.cpu import cpu_s, rss_bytes
from benchmarks.hub import Hub
from benchmarks.join import Joins, loopback
from benchmarks.wire import LightAgent, LightSubmitter
from coordinator.limits import CONNECTIONS_MAX, HEARTBEAT_S
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import JobState
from hypernode.children import Child, ChildFailed, running

#: Those that we may use, before we leave one to the measured server.
CORES: Final = sorted(os.sched_getaffinity(0))
_START_S: Final = 30.0
_DRAIN_S: Final = 60.0
#: Agents from one address: a coordinator's bound is above it, with room for submitters.
_CONNECTIONS_PER_ADDRESS: Final = 500
#: Agents that register at the same time.
_DIALLERS: Final = 16
_LISTENING: Final = re.compile(r"listening on (http://\S+)")
#: Parts of a heartbeat's period at which some of the agents beat.
_BEAT_PARTS: Final = 100
DATABASE: Final = "market.db"
_SETTINGS: Final = """\
faucet = true
price_per_tflop = "300000"
connections_per_address = 1000
"""


class House:
    """A running coordinator and the peers that load it."""

    def __init__(self, child: Child, url: str, hub: Hub, nursery: trio.Nursery) -> None:
        self._child = child
        self._hub = hub
        self._nursery = nursery
        self._joins = Joins(url)
        self._numbers = itertools.count(1)
        self._is_beating = False
        self.socket_url = url.replace("http", "ws", 1)
        self.agents: list[LightAgent] = []
        self.submitters: list[LightSubmitter] = []

    @property
    def results(self) -> int:
        """Results that all submitters together have received."""
        return sum(submitter.results for submitter in self.submitters)

    @property
    def open(self) -> int:
        """Jobs that have no result yet."""
        return sum(submitter.open for submitter in self.submitters)

    def cpu_s(self) -> float:
        """CPU seconds that the coordinator has used, user and system, to 10 ms."""
        return cpu_s([self._child.pid])

    def rss_bytes(self) -> int:
        """Memory of the coordinator that lies in RAM."""
        return rss_bytes(self._child.pid)

    def check(self) -> None:
        """Raise if the coordinator has died."""
        self._child.check()

    async def tokens(self, count: int) -> list[str]:
        """Tokens of so many new wallets."""
        return await self._joins.tokens(count)

    async def add_agents(
        self, count: int, *, batch: int, gap_s: float = 0.0, tokens: Sequence[str] = ()
    ) -> None:
        """Agents, each of its own wallet; their results leave at once, or every `gap_s`."""
        found = tokens or await self.tokens(count)
        if not self._is_beating:
            self._is_beating = True
            self._nursery.start_soon(self._beat)
            if gap_s:
                self._nursery.start_soon(self._answer_every, gap_s)
        begin = len(self.agents)
        self.agents += [LightAgent(token, batch=batch, is_lazy=gap_s > 0) for token in found]
        async with trio.open_nursery() as nursery:
            for dialler in range(_DIALLERS):
                places = range(begin + dialler, len(self.agents), _DIALLERS)
                nursery.start_soon(self._register, places)

    async def _register(self, places: range) -> None:
        for place in places:
            await self.dial_agent(place)

    async def dial_agent(self, place: int) -> None:
        """Let the agent of this place register, from its own address."""
        local = loopback(place // _CONNECTIONS_PER_ADDRESS)
        await self.agents[place].register(self._hub, self.socket_url, local=local)

    async def add_submitters(self, count: int) -> None:
        """Submitters, each of its own wallet, with credit."""
        for bearer in await self._joins.bearers(count):
            submitter = LightSubmitter(bearer, self._numbers.__next__)
            await submitter.enter(self._hub, self.socket_url)
            self.submitters.append(submitter)

    async def _beat(self) -> None:
        """Each agent's heartbeat in its turn, evenly over the period."""
        for part in itertools.cycle(range(_BEAT_PARTS)):
            await trio.sleep(HEARTBEAT_S / _BEAT_PARTS)
            for agent in self.agents[part::_BEAT_PARTS]:
                if agent.is_ready and agent.is_here:
                    agent.beat()

    async def _answer_every(self, gap_s: float) -> None:
        while True:
            await trio.sleep(gap_s)
            for agent in self.agents:
                agent.answer()

    def hang_up(self) -> None:
        """All peers leave."""
        for link in (*self.agents, *self.submitters):
            if link.is_here:
                link.close()

    async def drained(self) -> None:
        """Wait for the last results.

        Raises:
            trio.TooSlowError: they do not come.
        """
        with trio.fail_after(_DRAIN_S):
            while self.open:
                self.check()
                await trio.sleep(0.01)


@asynccontextmanager
async def open_house(
    folder: Path, hub: Hub, *, connections: int = CONNECTIONS_MAX
) -> AsyncIterator[House]:
    """A coordinator in `folder`, pinned to a core; audited when it has stopped.

    Raises:
        ChildFailed: it did not start, or died.
        RuntimeError: its books do not balance, or jobs have not ended.
    """
    async with (
        coordinator_in(folder, connections=connections, is_pinned=True) as (child, url),
        trio.open_nursery() as nursery,
    ):
        house = House(child, url, hub, nursery)
        yield house
        await house.drained()
        nursery.cancel_scope.cancel()
        house.hang_up()
    audit(folder / DATABASE)


@asynccontextmanager
async def coordinator_in(
    folder: Path, *, connections: int = CONNECTIONS_MAX, is_pinned: bool = False
) -> AsyncIterator[tuple[Child, str]]:
    """A coordinator's process and its address."""
    settings = folder / "settings.toml"
    settings.write_text(f"{_SETTINGS}connections = {connections}\n", encoding="utf-8")
    names = ("--db", str(folder / DATABASE), "--config", str(settings))
    async with running("coordinator", ("coordinator", "--port", "0", *names), folder) as child:
        if is_pinned:
            pin(child.pid)
        yield child, await _address_of(child)


async def _address_of(child: Child) -> str:
    with trio.move_on_after(_START_S):
        while (match := _LISTENING.search(child.text())) is None:
            child.check()
            await trio.sleep(0.02)
        return match[1]
    msg = f"the coordinator did not start: see {child.log}"
    raise ChildFailed(msg)


def pin(process: int) -> None:
    """The measured server on one core, we on the others; no pinning where there is one core only.

    Early in its life: threads that it starts later stay on its core, earlier ones do not.
    """
    if len(CORES) > 1:
        os.sched_setaffinity(process, CORES[:1])
        os.sched_setaffinity(0, CORES[1:])


def audit(database: Path) -> None:
    """Look for faults of the books, and for jobs that have not ended.

    Raises:
        RuntimeError: there are some, or no job was ever completed.
    """
    store = open_sqlite(database)
    try:
        faults = list(store.check())
        open_jobs = [job.id for job in store.reader().open_jobs()]
        completed = store.reader().jobs_by_state()[JobState.COMPLETED]
    finally:
        store.close()
    if faults or open_jobs or not completed:
        msg = f"{completed} jobs completed, {len(open_jobs)} are open, faults: {faults}"
        raise RuntimeError(msg)
