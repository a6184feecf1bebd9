"""`python -m benchmarks.schedulers.on_celery FOLDER`: Celery with Redis, and two prefork workers.

Redis is broker and store of results, on a Unix socket, with neither snapshots nor a log: a broker
that ends loses its tasks, as the other schedulers in memory do. The worker's other settings are
Celery's own, but for chatter between workers, of which there is one.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from celery import Celery

from benchmarks.schedulers.driver import Voice, drive
from benchmarks.schedulers.processes import started
from benchmarks.schedulers.tasks import search as plain_search

_SOCKET: Final = "HYPERNODE_BENCHMARK_REDIS"
_START_S: Final = 60.0
#: The worker imports this module: the socket's path comes by the environment.
_URL: Final = f"redis+socket://{os.environ.get(_SOCKET, '/nowhere')}"

app: Any = Celery("benchmarks", broker=_URL, backend=_URL)
app.conf.update(broker_connection_retry_on_startup=True, worker_send_task_events=False)


@app.task  # type: ignore[untyped-decorator]
def search(number: int) -> list[int]:
    """The task, as Celery wants it."""
    return plain_search(number)


class CeleryScheduler:
    """Tasks through Redis."""

    def __init__(self, redis: subprocess.Popen[bytes]) -> None:
        self.processes = [redis.pid]

    def many(self, numbers: list[int], _batch: int) -> list[list[int]]:
        return [result.get() for result in [search.delay(number) for number in numbers]]

    def one(self, number: int) -> list[int]:
        answer: list[int] = search.delay(number).get()
        return answer


def main(folder: Path) -> None:
    """Start, then obey."""
    voice, socket = Voice(), Path(os.environ[_SOCKET])
    redis = shutil.which("redis-server")
    assert redis is not None, "the benchmark looks before it starts us"
    with ExitStack() as stack:
        server = stack.enter_context(started(
            [redis, "--port", "0", "--unixsocket", str(socket), "--save", "",
             "--appendonly", "no"], folder
        ))  # fmt: skip
        until = time.monotonic() + _START_S
        while not socket.exists() and time.monotonic() < until:
            time.sleep(0.02)
        stack.enter_context(started(
            [sys.executable, "-m", "celery", "-A", "benchmarks.schedulers.on_celery", "worker",
             "--concurrency", "2", "--loglevel", "ERROR", "--without-gossip", "--without-mingle",
             "--without-heartbeat"], folder, os.environ
        ))  # fmt: skip
        search.delay(0).get(timeout=_START_S)
        drive(CeleryScheduler(server), voice)


if __name__ == "__main__":
    # The worker reads the socket's path before it imports this module; so must we, under its name:
    # tasks are called by the module that defines them, and that is not `__main__`.
    os.environ[_SOCKET] = str(Path(sys.argv[1]) / "redis.sock")
    on_celery = importlib.import_module("benchmarks.schedulers.on_celery")
    on_celery.main(Path(sys.argv[1]))
    # Its results' listener would look for Redis for a while longer.
    os._exit(0)
