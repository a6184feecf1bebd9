"""Records that one can believe, and a benchmark that still runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.record import Record, SimulatorRefused, read, record, where, write
from tests.tree import ROOT


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    here = where("python -m benchmarks nothing", tmp_path)
    records = [
        record(here, "one", "things / s", [3.0, 1.0, 2.00004], n=12, note="three slices"),
        record(here, "two", "ms", [0.5], n=1),
    ]

    write(tmp_path / "records.json", records)

    assert read(tmp_path / "records.json") == records
    assert records[0].value == 2.0
    assert records[0].spread == (1.0, 3.0)


def test_a_record_tells_neither_where_nor_whose_it_is(tmp_path: Path) -> None:
    here = where("python -m benchmarks nothing", tmp_path)

    text = msgspec.json.encode(here).decode()

    assert here.machine.filesystem != "unknown"
    assert str(tmp_path) not in text
    assert str(ROOT) not in text


def test_the_cuda_simulator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")

    with pytest.raises(SimulatorRefused):
        where("python -m benchmarks nothing")


@pytest.mark.slow
def test_dispatch_measures_a_real_coordinator_whose_books_balance(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "dispatch", "--only", "batched", "--seconds", "1",
         "--folder", str(tmp_path), "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    per_cpu, rate = msgspec.json.decode(done.stdout, type=list[Record])
    assert per_cpu.unit == "round trips / CPU-s"
    assert rate.n == per_cpu.n > 100
    assert list(tmp_path.iterdir()) == []
