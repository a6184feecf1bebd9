"""A scheduler's driver process: it starts the scheduler and two workers, then does what it is told.

In:   lines of JSON on standard input: run tasks for some seconds, or one by one.
Out:  a line of JSON each: how many tasks, in how long; or the latency of each.
Rules:
  1. Whatever belongs to the scheduler descends from this process, so that its CPU time is counted.
  2. Every answer is compared with what the task computes.
  3. Standard output is for answers: what libraries print goes to standard error.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec

from benchmarks.schedulers.tasks import compare

#: Tasks that are submitted together, and waited for together, in a run of some seconds.
CHUNK: Final = 1000


class Order(msgspec.Struct):
    """What the driver shall do: one of both."""

    #: Run tasks, many at a time, for so long.
    seconds: float = 0.0
    #: Run so many tasks, one after the other.
    singles: int = 0
    #: Tasks in one submission, where a scheduler's client lets one choose.
    batch: int = CHUNK


class Answer(msgspec.Struct):
    """What it did."""

    done: int = 0
    seconds: float = 0.0
    latencies: list[float] = []
    #: Processes of the scheduler or broker, without workers and clients; said at the start.
    scheduler: list[int] = []


class Scheduler(Protocol):
    """A scheduler with two workers that are up."""

    @property
    def processes(self) -> Sequence[int]:
        """Of the scheduler or broker alone."""
        ...

    def many(self, numbers: list[int], batch: int) -> list[list[int]]: ...
    def one(self, number: int) -> list[int]: ...


class Mouth(Protocol):
    """Where answers go."""

    def say(self, answer: Answer) -> None: ...


class Voice:
    """Standard output, taken away from everybody else."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)

    def say(self, answer: Answer) -> None:
        self._out.write(msgspec.json.encode(answer) + b"\n")


def drive(scheduler: Scheduler, voice: Mouth) -> None:
    """Obey until standard input ends."""
    numbers = itertools.count(1)
    voice.say(Answer(scheduler=list(scheduler.processes)))
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        if order.singles:
            voice.say(Answer(latencies=[_single(scheduler, numbers) for _ in range(order.singles)]))
        else:
            voice.say(_run(scheduler, numbers, order))


def _run(scheduler: Scheduler, numbers: Iterator[int], order: Order) -> Answer:
    answer, began = Answer(), time.perf_counter()
    while answer.seconds < order.seconds:
        chunk = list(itertools.islice(numbers, CHUNK))
        compare(chunk, scheduler.many(chunk, order.batch))
        answer.done += len(chunk)
        answer.seconds = time.perf_counter() - began
    return answer


def _single(scheduler: Scheduler, numbers: Iterator[int]) -> float:
    number, began = next(numbers), time.perf_counter()
    answer = scheduler.one(number)
    took = time.perf_counter() - began
    compare([number], [answer])
    return took
