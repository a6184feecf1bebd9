"""`python -m benchmarks.schedulers.on_ray FOLDER`: Ray on this machine, with two CPUs.

Everything is in memory; the dashboard and reports of use are off. A batch of remote calls is
waited for together, as Ray's users do it. The scheduler is what Ray's head and its local agent of
the node use (`gcs_server`, `raylet`); its owners of tasks live in the driver.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.cpu import tree
from benchmarks.schedulers.driver import Voice, drive
from benchmarks.schedulers.tasks import search

_SCHEDULERS: Final = ("gcs_server", "raylet")
_STORE_BYTES: Final = 128 * 1024 * 1024
_QUIET: Final = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Ray:
    """Tasks of this driver."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._search = ray.remote(search)
        own = [each for each in tree(os.getpid()) if _name_of(each) in _SCHEDULERS]
        self.processes = own

    def many(self, numbers: list[int], _batch: int) -> list[list[int]]:
        answers: list[list[int]] = self._ray.get([self._search.remote(n) for n in numbers])
        return answers

    def one(self, number: int) -> list[int]:
        answer: list[int] = self._ray.get(self._search.remote(number))
        return answer


def _name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def main(folder: Path) -> None:
    """Start, then obey."""
    voice = Voice()
    os.environ.update(_QUIET)
    import ray  # noqa: PLC0415 - it reads the environment

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=_STORE_BYTES,
        _temp_dir=str(folder),
    )
    try:
        drive(Ray(ray), voice)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
