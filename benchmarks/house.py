"""A coordinator in a process of its own, on its own core, with its peers on the others.

Rules:
  1. Its CPU time is the whole process's, by the kernel's count: threads, system calls and all.
  2. Its settings are the defaults (verification on, every commit synced to the disk); only the
     development faucet is on, prices are raised so that tiny jobs cost something, and one address
     may connect often.
  3. Once stopped, its books must balance and every job must have ended, or no number is believed.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from benchmarks.wire import LightAgent, LightSubmitter
from coordinator.protocol.signing import generate
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import JobState
from hypernode.children import Child, ChildFailed, running
from hypernode.web import Web

#: Those that we may use, before we leave one to the coordinator.
CORES: Final = sorted(os.sched_getaffinity(0))
_START_S: Final = 30.0
_LISTENING: Final = re.compile(r"listening on (http://\S+)")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_SETTINGS: Final = """\
faucet = true
price_per_tflop = "300000"
connections_per_address = 1000
"""
_CREDIT: Final = "1000000"


class House:
    """A running coordinator and the peers that load it."""

    def __init__(
        self, child: Child, url: str, nursery: trio.Nursery, stack: AsyncExitStack
    ) -> None:
        self._child = child
        self._stack = stack
        self._url = url
        self._socket_url = url.replace("http", "ws", 1)
        self._nursery = nursery
        self._numbers = itertools.count(1)
        self.submitters: list[LightSubmitter] = []

    @property
    def results(self) -> int:
        """Results that all submitters together have received."""
        return sum(submitter.results for submitter in self.submitters)

    def cpu_s(self) -> float:
        """CPU seconds that the coordinator has used, user and system, to 10 ms."""
        fields = Path(f"/proc/{self._child.pid}/stat").read_text(encoding="ascii")
        user, system = fields.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS_PER_S

    def check(self) -> None:
        """Raise if the coordinator has died."""
        self._child.check()

    async def add_agents(self, count: int, *, batch: int, gap_s: float = 0.0) -> None:
        for _ in range(count):
            async with Web(self._url, generate()) as operator:
                token = (await operator.issue_token()).token
            agent = LightAgent(self._socket_url, token, batch=batch, gap_s=gap_s)
            await self._nursery.start(agent.run)

    async def add_submitters(self, count: int) -> None:
        """Submitters, each of its own wallet, with credit."""
        for _ in range(count):
            # Open as long as its session is used: leaving it signs out.
            web = await self._stack.enter_async_context(Web(self._url, generate()))
            await web.faucet(_CREDIT, "benchmark")
            bearer = await web.bearer()
            submitter = LightSubmitter(self._socket_url, bearer, self._numbers.__next__)
            await self._nursery.start(submitter.run)
            self.submitters.append(submitter)


@asynccontextmanager
async def open_house(folder: Path) -> AsyncIterator[House]:
    """A coordinator in `folder`, pinned to a core; audited when it has stopped.

    Raises:
        ChildFailed: it did not start, or died.
        RuntimeError: its books do not balance, or jobs have not ended.
    """
    settings = folder / "settings.toml"
    settings.write_text(_SETTINGS, encoding="utf-8")
    database = folder / "market.db"
    arguments = ("coordinator", "--port", "0", "--db", str(database), "--config", str(settings))
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(running("coordinator", arguments, folder))
        _pin(child.pid)
        url = await _address_of(child)
        async with trio.open_nursery() as nursery:
            house = House(child, url, nursery, stack)
            yield house
            await _drained(house)
            nursery.cancel_scope.cancel()
    _audit(database)


async def _address_of(child: Child) -> str:
    with trio.move_on_after(_START_S):
        while (match := _LISTENING.search(child.text())) is None:
            child.check()
            await trio.sleep(0.02)
        return match[1]
    msg = f"the coordinator did not start: see {child.log}"
    raise ChildFailed(msg)


async def _drained(house: House) -> None:
    """Wait for the last results."""
    with trio.fail_after(60.0):
        while any(submitter.open for submitter in house.submitters):
            house.check()
            await trio.sleep(0.02)


def _pin(process: int) -> None:
    """The coordinator on one core, we on the others; no pinning where there is one core only."""
    if len(CORES) > 1:
        os.sched_setaffinity(process, CORES[:1])
        os.sched_setaffinity(0, CORES[1:])


def _audit(database: Path) -> None:
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
