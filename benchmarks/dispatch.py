"""Durable round trips of a coordinator: how many for a CPU-second, and how long one takes.

One round trip: a job is submitted over a WebSocket, held and queued; matched and sent to an agent;
its result comes back, is verified (the default policy, by recomputing), paid, receipted; and result
and receipt reach the submitter. Each step is on the disk (`synchronous=FULL`) before the next one.
The workload is the smallest there is, a search over one nonce: what is measured is the house.
Loads, in turns within one run (`rounds.py`):
  - batched: 100 jobs a message from each submitter, results in groups of 100 every 10 ms, as our
    own agents send them; a thousand jobs of each submitter in flight;
  - unbatched: one job a message, one result a message: 100 submitters with one job each and as
    many agents; one submitter with 16 jobs or with one, and one agent;
  - echo and node: what a message costs in other servers (`peers.py`), one or 100 a message;
  - paced: `paced.py`, afterwards and alone.
Who does what: ours is durable, verifies, pays, signs and takes the jobs from submitters; echo and
node do none of it. A ratio says which side batches.
Not covered: large outputs, PostgreSQL, the agents' own work.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from benchmarks.house import House, open_house
from benchmarks.hub import Hub
from benchmarks.keep import add_options, finish
from benchmarks.paced import pace_all
from benchmarks.peers import PeerMissing, PeerSide, echo_server, echo_side, node_server, node_side
from benchmarks.record import Record, Where, record, where
from benchmarks.rounds import Sample, Side, interleaved, note_of, ratios
from benchmarks.wire import results_of, sample_jobs
from coordinator.limits import RESULTS_GAP_S
from coordinator.protocol.codec import encode

#: Until caches are filled and batches have their size.
WARM_UP_S: Final = 0.6
#: Each measurement is cut into so many rounds.
ROUNDS: Final = 5
#: Clients of a peer.
CONNECTIONS: Final = 100


class Load(msgspec.Struct, frozen=True):
    """A closed load: each submitter keeps `window` jobs in flight."""

    name: str
    batch: int
    window: int
    submitters: int
    agents: int

    @property
    def what(self) -> str:
        flight = self.window * self.submitters
        return (
            f"{self.batch} a message, {flight} in flight, submitters: {self.submitters}, "
            f"agents: {self.agents}; durable, verified, paid"
        )


class OurSide:
    """A coordinator under a closed load."""

    def __init__(self, load: Load, house: House) -> None:
        self._load = load
        self._house = house
        self.name = load.name
        self.what = load.what

    @property
    def done(self) -> int:
        return self._house.results

    def server_s(self) -> float:
        return self._house.cpu_s()

    def check(self) -> None:
        self._house.check()

    def start(self) -> None:
        for submitter in self._house.submitters:
            submitter.keep(self._load.batch, self._load.window)

    async def stop(self) -> None:
        for submitter in self._house.submitters:
            submitter.keep(self._load.batch, 0)
        await self._house.drained()


def add_command(commands: Any) -> None:
    """Add `dispatch` to the command line."""
    parser = commands.add_parser(
        "dispatch",
        help="durable round trips per CPU-second of the coordinator, and their latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (10)")
    parser.add_argument("--agents", type=int, default=2, help="agents of the batched load (2)")
    parser.add_argument("--only", default="", help="loads whose name begins like this")
    parser.add_argument("--folder", type=Path, help="where the database lies (a temporary folder)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        here = where(f"python -m benchmarks dispatch --seconds {options.seconds:g}", folder)
        records = trio.run(_measure_all, here, folder, options)
    return finish("dispatch", records, options)


async def _measure_all(here: Where, folder: Path, options: argparse.Namespace) -> list[Record]:
    loads = (
        Load("batched", batch=100, window=1000, submitters=2, agents=options.agents),
        Load("unbatched 100", batch=1, window=1, submitters=100, agents=100),
        Load("unbatched 16", batch=1, window=16, submitters=1, agents=1),
        Load("unbatched 1", batch=1, window=1, submitters=1, agents=1),
    )
    hub = Hub()
    records: list[Record] = []
    # A load that stops to look for garbage would be told as the server's latency.
    gc.collect()
    gc.disable()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        async with AsyncExitStack() as stack:
            sides: list[Side] = []
            for load in loads:
                if load.name.startswith(options.only):
                    house = await stack.enter_async_context(
                        open_house(_fresh(folder, load.name), hub)
                    )
                    sides.append(await _our_side(load, house))
            for peer in await _peer_sides(stack, hub, folder, options.only):
                stack.callback(peer.close)
                sides.append(peer)
            records += await _in_turns(here, sides, options.seconds)
        if "paced".startswith(options.only[:5]):
            async with open_house(_fresh(folder, "paced"), hub) as house:
                await house.add_agents(2, batch=100)
                await house.add_submitters(2)
                records += await pace_all(here, house, options.seconds)
        nursery.cancel_scope.cancel()
    gc.enable()
    return records


def _fresh(folder: Path, name: str) -> Path:
    fresh = folder / name.replace(" ", "-")
    fresh.mkdir()
    return fresh


async def _our_side(load: Load, house: House) -> OurSide:
    gap_s = RESULTS_GAP_S if load.batch > 1 else 0.0
    await house.add_agents(load.agents, batch=load.batch, gap_s=gap_s)
    await house.add_submitters(load.submitters)
    return OurSide(load, house)


async def _peer_sides(stack: AsyncExitStack, hub: Hub, folder: Path, only: str) -> list[PeerSide]:
    sides: list[PeerSide] = []
    if "echo".startswith(only[:4]):
        echo = await stack.enter_async_context(echo_server(_fresh(folder, "echo")))
        for batch, connections in ((1, CONNECTIONS), (100, 2)):
            said = encode(*results_of(sample_jobs(batch)))
            assert isinstance(said, bytes), "results with outputs are binary"
            sides.append(await echo_side(hub, echo, batch, connections, said))
    if "node".startswith(only[:4]):
        try:
            node = await stack.enter_async_context(node_server(_fresh(folder, "node")))
        except PeerMissing as missing:
            print(missing)
            return sides
        for batch, connections in ((1, CONNECTIONS), (100, 2)):
            sides.append(await node_side(hub, node, batch, connections))
    return sides


async def _in_turns(here: Where, sides: Sequence[Side], seconds: float) -> list[Record]:
    samples = await interleaved(sides, rounds=ROUNDS, seconds=seconds / ROUNDS, warm_up_s=WARM_UP_S)
    records: list[Record] = []
    for side in sides:
        records += _records(here, side, samples[side.name])
    return records + _ratios(here, sides, samples)


def _records(here: Where, side: Side, samples: Sequence[Sample]) -> list[Record]:
    n = sum(sample.done for sample in samples)
    note = note_of(side, samples)
    name = f"dispatch {side.name}"
    others = max(sample.others for sample in samples)
    per_cpu = [sample.per_cpu_s for sample in samples]
    rates = [sample.rate for sample in samples]
    return [
        record(here, name, "round trips / CPU-s", per_cpu, n=n, note=note, others=others),
        record(here, f"{name}, rate", "round trips / s", rates, n=n, note=note, others=others),
    ]


#: Which of ours is compared with which peer, and what must be said with it.
COMPARED: Final = (
    ("batched", "node, 1 a message", "ours batches and is durable, node does neither"),
    ("batched", "node, 100 a message", "both batch, ours is durable"),
    ("batched", "echo, 100 a message", "both batch, ours is durable"),
    ("unbatched 100", "node, 1 a message", "neither batches, ours is durable"),
    ("unbatched 100", "echo, 1 a message", "neither batches, ours is durable"),
)


def _ratios(
    here: Where, sides: Sequence[Side], samples: Mapping[str, Sequence[Sample]]
) -> list[Record]:
    names = {side.name for side in sides}
    return [
        record(
            here,
            f"dispatch {ours} : {theirs}",
            "ratio",
            ratios(samples, ours, theirs),
            n=len(samples[ours]),
            note=f"{said}; of round trips for a CPU-second, in one run, a round at a time",
        )
        for ours, theirs, said in COMPARED
        if {ours, theirs} <= names
    ]
