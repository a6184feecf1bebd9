"""Ours beside Dask, Celery with Redis, and Ray: the same trivial task, two workers, in turns.

A round runs each of them for some seconds, a thousand tasks in flight at a time; then single tasks,
one after the other, from submission to result. Told are tasks a second, tasks for a CPU-second of
the scheduler or broker alone, and of everything together (client, scheduler, workers); all
processes share the machine's cores, none is pinned.
Who does what: ours is durable on the disk before each step, verifies every result, pays it and
signs receipts; the others keep tasks in memory (Redis without snapshots and log) and believe their
workers. Ours runs real agents (our kernel in a sandboxed process), and light ones that answer at
once, whose records say so.
What is not installed is left out, and a sentence says so.
Not covered: several machines, large arguments, retries, PostgreSQL.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.cpu import Others, cpu_s, own_cpu_s
from benchmarks.keep import add_options, finish
from benchmarks.paced import percentile
from benchmarks.record import ROOT, Record, Where, record, where
from benchmarks.schedulers.driver import CHUNK, Answer, Order
from hypernode.children import die_with

ROUNDS: Final = 3
SINGLES: Final = 60
_END_S: Final = 60.0
#: For a driver's start, and for each order.
_ANSWER_S: Final = 180.0


class Kind(msgspec.Struct, frozen=True):
    """A driver that can be started."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    #: Tasks a submission, each measured by itself.
    batches: tuple[int, ...] = (CHUNK,)
    #: A package and a program that it needs.
    package: str = ""
    program: str = ""
    what: str = "in memory, nothing verified"

    def missing(self) -> str:
        """A sentence about what is not here; "" if all is."""
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"{self.name} was left out: it is not installed (./run bench schedulers does it)"
        if self.program and shutil.which(self.program) is None:
            return f"{self.name} was left out: {self.program} is missing (apt-get install it)"
        return ""


_DURABLE: Final = "durable, verified, paid"
KINDS: Final = (
    Kind("ours", "on_ours", ("real",), batches=(1, 10, 100), what=f"real agents; {_DURABLE}"),
    Kind("ours, light agents", "on_ours", ("light",), batches=(1, 10, 100),
         what=f"agents without work; {_DURABLE}"),
    Kind("dask", "on_dask", package="distributed"),
    Kind("celery", "on_celery", package="celery", program="redis-server"),
    Kind("ray", "on_ray", package="ray"),
)  # fmt: skip


class Sample(msgspec.Struct, frozen=True):
    """One turn of one scheduler."""

    done: int
    seconds: float
    scheduler_s: float
    total_s: float


class DriverFailed(Exception):
    """A driver ended before its time; its words are on standard error."""


class Driver:
    """A running driver process."""

    def __init__(self, kind: Kind, process: subprocess.Popen[bytes]) -> None:
        self.kind = kind
        self._process = process
        self._scheduler = self._hear().scheduler

    def _hear(self) -> Answer:
        out = self._process.stdout
        assert out is not None
        if not select.select([out], [], [], _ANSWER_S)[0]:
            msg = f"the driver of {self.kind.name} did not answer in {_ANSWER_S:g} s"
            raise DriverFailed(msg)
        line = out.readline()
        if not line:
            msg = f"the driver of {self.kind.name} ended early"
            raise DriverFailed(msg)
        return msgspec.json.decode(line, type=Answer)

    def _tell(self, order: Order) -> Answer:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        return self._hear()

    def run(self, seconds: float, batch: int) -> Sample:
        """Tasks for so long."""
        scheduler_s, total_s = own_cpu_s(self._scheduler), cpu_s([self._process.pid])
        answer = self._tell(Order(seconds=seconds, batch=batch))
        return Sample(
            answer.done,
            answer.seconds,
            own_cpu_s(self._scheduler) - scheduler_s,
            cpu_s([self._process.pid]) - total_s,
        )

    def singles(self, count: int) -> list[float]:
        """Latencies of single tasks, s."""
        return self._tell(Order(singles=count)).latencies


def add_command(commands: Any) -> None:
    """Add `schedulers` to the command line."""
    parser = commands.add_parser(
        "schedulers",
        help="ours beside Dask, Celery with Redis, and Ray",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn (3)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each (3)")
    parser.add_argument("--only", default="", help="schedulers whose name begins like this")
    parser.add_argument("--folder", type=Path, help="where files lie (a temporary folder)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    command = f"python -m benchmarks schedulers --seconds {options.seconds:g}"
    with tempfile.TemporaryDirectory(dir=options.folder) as name, ExitStack() as stack:
        folder = Path(name)
        here = where(f"{command} --rounds {options.rounds}", folder)
        drivers = []
        for kind in KINDS:
            if kind.name.startswith(options.only):
                if missing := kind.missing():
                    print(missing, file=sys.stderr)
                else:
                    drivers.append(stack.enter_context(_started(kind, folder)))
        records = _measure(here, drivers, options.seconds, options.rounds)
    return finish("schedulers", records, options)


@contextmanager
def _started(kind: Kind, folder: Path) -> Iterator[Driver]:
    """A driver for the time of a block; at its end it has looked at its own books."""
    own = folder / kind.name.replace(", ", "-").replace(" ", "-")
    own.mkdir()
    process = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-m", f"benchmarks.schedulers.{kind.module}", str(own), *kind.arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509
    )
    try:
        yield Driver(kind, process)
        assert process.stdin is not None
        process.stdin.close()
        if status := process.wait(_END_S):
            msg = f"the driver of {kind.name} ended with status {status}"
            raise DriverFailed(msg)
    finally:
        process.kill()
        process.wait()


def _measure(here: Where, drivers: Sequence[Driver], seconds: float, rounds: int) -> list[Record]:
    sides = [(driver, batch) for driver in drivers for batch in driver.kind.batches]
    samples: dict[str, list[Sample]] = {_name(*side): [] for side in sides}
    singles: dict[str, list[float]] = {driver.kind.name: [] for driver in drivers}
    others = Others()
    for driver, batch in sides:
        driver.run(0.5, batch)
    for _ in range(rounds):
        for driver, batch in sides:
            samples[_name(driver, batch)].append(driver.run(seconds, batch))
        for driver in drivers:
            singles[driver.kind.name] += driver.singles(SINGLES)
    shared = partial(record, here, others=others.cores())
    records: list[Record] = []
    for driver, batch in sides:
        records += _records(shared, driver, batch, samples[_name(driver, batch)])
    for driver in drivers:
        found, name = singles[driver.kind.name], driver.kind.name
        for percent in (50, 99):
            value = [1000 * percentile(found, percent)]
            note = f"one task at a time; {driver.kind.what}"
            full = f"schedulers {name}, one task, p{percent}"
            records.append(shared(full, "ms", value, n=len(found), note=note))
    return records + _ratios(shared, samples)


def _name(driver: Driver, batch: int) -> str:
    return driver.kind.name + (f", batch {batch}" if len(driver.kind.batches) > 1 else "")


def _records(shared: Any, driver: Driver, batch: int, samples: Sequence[Sample]) -> list[Record]:
    n = sum(sample.done for sample in samples)
    name = f"schedulers {_name(driver, batch)}"
    one = partial(shared, n=n, note=f"{CHUNK} tasks in flight, two workers; {driver.kind.what}")
    return [
        one(name, "tasks / s", [each.done / each.seconds for each in samples]),
        one(f"{name}, scheduler", "tasks / CPU-s",
            [each.done / max(each.scheduler_s, 0.01) for each in samples]),
        one(f"{name}, everything", "tasks / CPU-s",
            [each.done / max(each.total_s, 0.01) for each in samples]),
    ]  # fmt: skip


def _ratios(shared: Any, samples: Mapping[str, Sequence[Sample]]) -> list[Record]:
    """Ours to each other scheduler, of one round each."""
    records = []
    for ours in (name for name in samples if name.startswith("ours")):
        for theirs in (name for name in samples if not name.startswith("ours")):
            pairs = list(zip(samples[ours], samples[theirs], strict=True))
            ratios = [(a.done / a.seconds) / (b.done / b.seconds) for a, b in pairs]
            note = "tasks a second, in one run, a round at a time; ours is durable and verifies"
            full = f"schedulers {ours} : {theirs}"
            records.append(shared(full, "ratio", ratios, n=len(pairs), note=note))
    return records
