"""Sides measured in turns: A B C A B C, so that what drifts on a machine drifts for all of them.

In:   sides, each a server that is up all the time and a load that can be switched on and off.
Out:  samples of each side, one a round; values and ratios drawn from the same round.
Rules:
  1. One side is loaded at a time; each turn warms up before it is measured.
  2. A ratio is formed within a round; its median is told, not the ratio of two medians.
  3. The load's own CPU time is measured with the server's: past `GENERATOR_BUSY` the server may
     have waited for the load, and the note says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec
import trio

from benchmarks.cpu import Others

#: Part of its core above which a load generator may be what limits.
GENERATOR_BUSY: Final = 0.9


class Sample(msgspec.Struct, frozen=True):
    """What one turn of one side gave."""

    #: Things done, such as round trips.
    done: int
    wall_s: float
    #: CPU seconds of the server, with its threads and children.
    server_s: float
    #: CPU seconds of the load generator.
    generator_s: float
    #: Cores that somebody else used meanwhile.
    others: float = 0.0

    @property
    def per_cpu_s(self) -> float:
        return self.done / max(self.server_s, 1e-9)

    @property
    def rate(self) -> float:
        return self.done / self.wall_s


class Side(Protocol):
    """A server under a load."""

    @property
    def name(self) -> str: ...
    @property
    def what(self) -> str:
        """The load and the promises of the server, for people."""
        ...

    @property
    def done(self) -> int: ...

    def server_s(self) -> float: ...
    def check(self) -> None:
        """Raise if the server has died."""
        ...

    def start(self) -> None: ...
    async def stop(self) -> None:
        """End the load, and wait until nothing is in flight."""
        ...


async def interleaved(
    sides: Sequence[Side], *, rounds: int, seconds: float, warm_up_s: float
) -> dict[str, list[Sample]]:
    """Samples of `seconds` each, by the side's name, in the order of the rounds."""
    samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
    assert len(samples) == len(sides), "two sides have one name"
    for _ in range(rounds):
        for side in sides:
            samples[side.name].append(await turn(side, seconds, warm_up_s))
    return samples


async def turn(side: Side, seconds: float, warm_up_s: float) -> Sample:
    """Load one side and measure it."""
    side.start()
    await trio.sleep(warm_up_s)
    others = Others()
    done, server_s = side.done, side.server_s()
    generator_s, began = time.process_time(), trio.current_time()
    await trio.sleep(seconds)
    side.check()
    sample = Sample(
        done=side.done - done,
        wall_s=trio.current_time() - began,
        server_s=side.server_s() - server_s,
        generator_s=time.process_time() - generator_s,
        others=others.cores(),
    )
    await side.stop()
    return sample


def ratios(samples: Mapping[str, Sequence[Sample]], ours: str, theirs: str) -> list[float]:
    """Of work for a CPU second, one of each round."""
    return [
        one.per_cpu_s / other.per_cpu_s
        for one, other in zip(samples[ours], samples[theirs], strict=True)
    ]


def note_of(side: Side, samples: Sequence[Sample]) -> str:
    """What else was so in these samples."""
    wall_s = sum(sample.wall_s for sample in samples)
    server = sum(sample.server_s for sample in samples) / wall_s
    generator = sum(sample.generator_s for sample in samples) / wall_s
    note = f"{side.what}; the server used {server:.0%} of a core, the load {generator:.0%}"
    if generator > GENERATOR_BUSY:
        note += " (the load may be what limits: the server could have been busier)"
    return note
