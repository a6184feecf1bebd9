"""What one look at the chain costs the coordinator, of a market with so many owners and wallets.

Each run is in a process of its own, beside a pretend node in another: JSON over HTTP, real sizes.
Not covered: how long a real node takes to go through its accounts; what the engine books.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.cpu import Others
from benchmarks.keep import add_options, finish
from benchmarks.looks import Measured
from benchmarks.record import ROOT, Record, Where, record, where

_RECORDS: Final = (100_000, 1_000_000)


def add_command(commands: Any) -> None:
    """Add `chain-look` to the command line."""
    parser = commands.add_parser(
        "chain-look",
        help="one look at the chain, of a market with 100,000 and with a million owners",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--records", type=int, nargs="+", default=_RECORDS, help="owners")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each (1)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    words = " ".join(map(str, options.records))
    command = f"python -m benchmarks chain-look --records {words} --repeat {options.repeat}"
    here = where(command, Path("/tmp"))  # noqa: S108
    records = [each for count in options.records for each in _looks(here, count, options.repeat)]
    return finish("chain-look", records, options)


def _looks(here: Where, count: int, repeat: int) -> Iterator[Record]:
    others = Others()
    runs = [_child(count) for _ in range(repeat)]
    cores = others.cores()
    for name, unit, values in (
        ("first pass", "looks", [each.first_looks for each in runs]),
        ("first pass, longest look", "s", [each.first_longest_s for each in runs]),
        ("first pass, CPU", "s", [each.first_cpu_s for each in runs]),
        ("nothing new", "s", [each.idle_s for each in runs]),
        ("nothing new, CPU", "ms", [1000 * each.idle_cpu_s for each in runs]),
        ("100 deposits", "s", [each.deposits_s for each in runs]),
        ("100 claims", "looks", [each.claim_looks for each in runs]),
        ("100 claims, longest look", "s", [each.claim_longest_s for each in runs]),
        ("peak memory", "MiB", [each.peak_kib / 1024 for each in runs]),
    ):
        yield record(here, f"look at {count}, {name}", unit, values, n=repeat, others=cores)


def _child(count: int) -> Measured:
    """One run in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "benchmarks.looks", str(count)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Measured)
