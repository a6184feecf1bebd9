"""What a job costs an agent beside its own work: from the task in its hands to the outcome there.

Loads: a kernel of a submitter whose source was seen before, one with a new source, and a search
       over one nonce, the smallest job of our own kinds. All in the sandbox that this host has.
A kernel's time is that of a process of its own, from its fork to its end, of the object code that
is linked there, and with a new source of the compilation in another one.
At the end the sandbox's processes are gone, and what they did counts as somebody else's: records
are kept with `--even-if-busy`; what others used during each load stands in them.
Not covered: the way to the agent and back (`dispatch`), inputs of more than some KiB, GPUs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import numpy as np
import trio

from agent.task import KERNEL, InputData, Outcome, Task
from agent.user_kernels import MODULE
from agent.worker import LocalRunner
from benchmarks.cpu import Others
from benchmarks.keep import add_options, finish
from benchmarks.record import Record, Where, record, where
from coordinator.limits import MIB

_ELEMENTS: Final = 1000
_SOURCE: Final = """@kernel
def saxpy(i, a: f32, x: In[f32], y: In[f32], out: Out[f32]):
    out[i] = a * x[i] + y[i] + f32({number})
"""
_SEARCH: Final = (
    b'{"kind":"hashsearch","params":{"prefix":"","start":%d,"count":1,"target_bits":1}}'
)


class JobFailed(Exception):
    """A job of the benchmark failed: there is nothing to measure."""


def add_command(commands: Any) -> None:
    """Add `jobs` to the command line."""
    parser = commands.add_parser(
        "jobs",
        help="what a job costs an agent beside its own work: kernels of submitters, our kinds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--times", type=int, default=50, help="jobs of each load (50)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    here = where(f"python -m benchmarks jobs --times {options.times}")
    return finish("jobs", trio.run(_measure_all, here, options.times), options)


async def _measure_all(here: Where, times: int) -> list[Record]:
    runner = LocalRunner(user_kernels=MODULE)
    try:
        report = await runner.start()
        if not runner.runs_user_kernels:
            raise JobFailed("; ".join(report.remarks))
        note = f"sandbox of level {report.worker_level}"
        # Once each, so that nothing is measured that happens once in an agent's life.
        await _kernel(runner, 0)
        await _search(runner, 0)
        loads: tuple[tuple[str, Callable[[int], Awaitable[None]]], ...] = (
            ("jobs, a kernel seen before", lambda _: _kernel(runner, 0)),
            ("jobs, a kernel with a new source", lambda number: _kernel(runner, number + 1)),
            ("jobs, a search over one nonce", lambda number: _search(runner, number + 1)),
        )
        records = []
        for name, load in loads:
            others = Others()
            took = [await _timed(load, number) for number in range(times)]
            cores = others.cores()
            records.append(record(here, name, "ms", took, n=times, note=note, others=cores))
        return records
    finally:
        await runner.aclose()


async def _timed(load: Callable[[int], Awaitable[None]], number: int) -> float:
    began = time.perf_counter()
    await load(number)
    return 1000 * (time.perf_counter() - began)


async def _kernel(runner: LocalRunner, number: int) -> None:
    params = {
        "source": _SOURCE.format(number=number), "scalars": {"a": 2.0},
        "outputs": {"out": [_ELEMENTS]}, "extent": [_ELEMENTS],
    }  # fmt: skip
    data = np.ones(_ELEMENTS, np.float32).tobytes()
    inputs = tuple(
        InputData(name, "float32", (_ELEMENTS,), len(data), data=data) for name in ("x", "y")
    )
    spec = msgspec.json.encode({"kind": KERNEL, "params": params})
    _check(await runner.run(_task(KERNEL, spec, inputs)))


async def _search(runner: LocalRunner, number: int) -> None:
    _check(await runner.run(_task("hashsearch", _SEARCH % number)))


def _task(kind: str, spec: bytes, inputs: tuple[InputData, ...] = ()) -> Task:
    return Task(
        "job", 1, kind, spec, execution_s=60.0, memory_mb=256, output_bytes=MIB, inputs=inputs
    )


def _check(outcome: Outcome) -> None:
    if outcome.status != "completed":
        msg = f"{outcome.code}: {outcome.detail}"
        raise JobFailed(msg)
