"""`python -m benchmarks.schedulers.on_dask FOLDER`: Dask's scheduler and two worker processes.

Everything is in memory: a scheduler that ends loses its tasks. Workers have one thread each and no
nanny; a thousand futures of `Client.map` are gathered together, as Dask's users do it.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from distributed import Client

from benchmarks.schedulers.driver import Voice, drive
from benchmarks.schedulers.processes import started
from benchmarks.schedulers.tasks import search


class Dask:
    """A scheduler in a process of its own."""

    def __init__(self, client: Client, scheduler: subprocess.Popen[bytes]) -> None:
        self._client = client
        self.processes = [scheduler.pid]

    def many(self, numbers: list[int], _batch: int) -> list[list[int]]:
        futures = self._client.map(search, numbers, pure=False)
        answers: list[list[int]] = self._client.gather(futures)
        return answers

    def one(self, number: int) -> list[int]:
        answer: list[int] = self._client.submit(search, number, pure=False).result()
        return answer


def main(folder: Path) -> None:
    """Start, then obey."""
    voice, file = Voice(), str(folder / "scheduler.json")
    python = [sys.executable, "-m"]
    with ExitStack() as stack:
        scheduler = stack.enter_context(started(
            [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
             "--no-dashboard", "--no-show", "--scheduler-file", file], folder
        ))  # fmt: skip
        for _ in range(2):
            stack.enter_context(started(
                [*python, "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny",
                 "--no-dashboard", "--scheduler-file", file,
                 "--local-directory", str(folder)], folder
            ))  # fmt: skip
        with Client(scheduler_file=file, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            drive(Dask(client, scheduler), voice)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
