"""Whole histories of the house, each from one seed: no promise breaks, and broken code is found.

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

from coordinator import checks, events as ev, lifecycle
from coordinator.store.values import Job
from coordinator.verification.verdict import Verdict
from coordinator.writer import Writer
from tests.world import Fate, World, hash_of, live

SEEDS = range(1, 21)
#: A broken house must be found within this many seeds.
SEEDS_TO_FIND = 6


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
    seen: Counter[str] = Counter()
    for seed in range(100, 104):
        seen += live(seed, tmp_path).checkers.seen

    wanted = {
        "result accepted", "result stale", "verdict accepted", "verdict rejected", "AttemptLost",
        "TimePaidUp", "CancelAsked", "job completed", "job failed", "job cancelled",
        "CounterSigned", "AttemptStarted", "queue_timeout", "total_timeout",
        "quarantined",
    }  # fmt: skip
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


def _found(tmp_path: Path, fate: Fate | None = None) -> str:
    """The first words of the broken promise that some seed finds, or nothing."""
    for seed in range(1, SEEDS_TO_FIND + 1):
        try:
            live(seed, tmp_path, fate)
        except BaseException as error:  # noqa: BLE001 - whatever ends the world is what was found
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            return str(error)
    return ""


def _any_holder(job: Job | None, fence: int, node: int) -> bool:
    return job is not None and job.state in {"assigned", "running"}


@pytest.mark.slow
def test_a_house_without_fencing_tokens_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_holds", _any_holder)

    assert "the paid node holds the job's current fence" in _found(tmp_path)


async def _answer_first(self: Writer) -> None:
    """Commit as ever, but let whoever submits know before it is durable."""
    batch = list(self._queue)
    for waiting in batch:
        if isinstance(waiting.event, ev.JobsSubmitted) and waiting.then is not None:
            number = 1 + max(_numbers(self), default=0)
            job = Job(number, b"", "", "", b"", b"", 0, 0, "queued", 0)  # type: ignore[arg-type]
            waiting.then(ev.Outcome([job]))
            waiting.then = None
    await _flush(self)


def _numbers(writer: Writer) -> list[int]:
    reader = writer._engine._store.reader()
    try:
        return [job.id for job in reader.all_jobs(1_000_000)]
    finally:
        reader.close()


_flush = Writer.flush


@pytest.mark.slow
def test_a_house_that_acknowledges_before_the_commit_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "flush", _answer_first)

    fate = Fate(crash_before_commit=0.02)
    assert "an acknowledged submission is never lost" in _found(tmp_path, fate)


def _accept(*_: object) -> Verdict:
    return Verdict("accepted")


@pytest.mark.slow
def test_a_house_that_pays_unchecked_results_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "verify", _accept)

    assert "nothing is paid for a lie" in _found(tmp_path)


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
