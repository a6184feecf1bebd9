"""Whole histories of the house, each from one seed: no promise breaks.

That broken houses are found: `test_mutants.py`.

`python -m tests.test_world FIRST COUNT` plays more seeds than the suite does.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog

from tests.world import World, hash_of, live

SEEDS = range(1, 21)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_breaks_in_any_history(seed: int, tmp_path: Path) -> None:
    world = live(seed, tmp_path)

    seen = world.checkers.seen
    assert seen["job completed"] > 0
    assert world.restarts > 0, "a history without a crash shows little"


@pytest.mark.slow
def test_the_histories_together_see_everything_that_can_go_wrong(tmp_path: Path) -> None:
    wanted = {
        "result accepted", "result stale", "verdict accepted", "verdict rejected", "AttemptLost",
        "TimePaidUp", "CancelAsked", "job completed", "job failed", "job cancelled",
        "CounterSigned", "AttemptStarted", "power cuts", "cut off", "partings",
        "clocks set", "queue_timeout", "total_timeout",
        "quarantined", "roots", "claims", "withdrawn", "wishes to leave", "thefts",
        "epoch cancelled", "epoch revoked",
    }  # fmt: skip
    seen: Counter[str] = Counter()
    # Some of it is rare: as many histories as it takes, within reason.
    for seed in range(100, 112):
        seen += live(seed, tmp_path).checkers.seen
        if seed >= 103 and wanted <= seen.keys():
            break

    assert wanted - seen.keys() == set()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history_in_another_process(tmp_path: Path) -> None:
    here = hash_of(live(7, tmp_path))
    code = (
        "import sys, pathlib, structlog\n"
        "structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))\n"
        "from tests.world import hash_of, live\n"
        "print(hash_of(live(7, pathlib.Path(sys.argv[1]))))\n"
    )
    folder = tmp_path / "other"
    folder.mkdir()
    there = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip

    assert here == there.stdout.strip()
    assert here != hash_of(live(8, tmp_path))


def main(arguments: Sequence[str]) -> None:
    """Play seeds until the count is reached or a promise breaks."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    first, count = int(arguments[0]), int(arguments[1])
    began = time.perf_counter()
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            world: World = live(seed, Path(folder))
            seen += world.checkers.seen
            seen["restarts"] += world.restarts
    print(f"{count} seeds from {first} in {time.perf_counter() - began:.1f} s: {dict(seen)}")


if __name__ == "__main__":
    main(sys.argv[1:])
