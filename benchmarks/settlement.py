"""What settlement costs: on the chain by call and depth, and the tree of a million leaves.

The chain is LiteSVM in this process with the built program: units are exact for it, and the same
in every run; a live cluster's SPL Token is cheaper. Bytes and lamports are those of whole
transactions that one key pays for: where a proof is too deep for a packet, with a lookup table.
The tree runs in a process of its own, several times.
Not covered: what a claim waits for on a live cluster.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from benchmarks.cpu import Others
from benchmarks.keep import add_options, finish
from benchmarks.million_leaves import Measured
from benchmarks.record import ROOT, Record, Where, record, where
from benchmarks.settlement_costs import Cost, measure_costs

_LEAVES: Final = 1_000_000


def add_command(commands: Any) -> None:
    """Add `settlement` to the command line."""
    parser = commands.add_parser(
        "settlement",
        help="compute units, bytes and lamports of each call; the tree of a million leaves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--leaves", type=int, default=_LEAVES, help="of the tree (1000000)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of the tree (5)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    command = f"python -m benchmarks settlement --leaves {options.leaves}"
    here = where(f"{command} --repeat {options.repeat}", Path("/tmp"))  # noqa: S108
    records = [
        *_tree(here, options.leaves, options.repeat),
        *_calls(here, trio.run(measure_costs)),
    ]
    return finish("settlement", records, options)


def _tree(here: Where, leaves: int, repeat: int) -> Iterator[Record]:
    others = Others()
    runs = [_child(leaves) for _ in range(repeat)]
    cores = others.cores()
    for name, unit, values in (
        ("file written", "s", [each.write_s for each in runs]),
        ("file checked", "s", [each.check_s for each in runs]),
        ("root", "s", [each.tree_s for each in runs]),
        ("one proof", "ms", [1000 * each.proof_s for each in runs]),
        ("peak memory", "MiB", [each.peak_kib / 1024 for each in runs]),
    ):
        yield record(here, f"tree of {leaves}, {name}", unit, values, n=repeat, others=cores)


def _child(leaves: int) -> Measured:
    """One run in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "benchmarks.million_leaves", str(leaves)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Measured)


def _calls(here: Where, costs: dict[str, list[Cost]]) -> Iterator[Record]:
    for name, each in costs.items():
        for unit, values in (
            ("units", [cost.units for cost in each]),
            ("bytes", [cost.size for cost in each]),
            ("lamports", [cost.lamports for cost in each]),
        ):
            yield record(here, f"{name}, {unit}", unit, values, n=len(each))
