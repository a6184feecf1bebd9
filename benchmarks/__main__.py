"""`python -m benchmarks COMMAND`: one command a benchmark; `--help` tells what it measures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks import (
    chain_look,
    compare,
    dispatch,
    every,
    idle,
    jobs,
    mapping,
    restart,
    settlement,
    start,
    storm,
)
from benchmarks.cpu import Others, adopt_orphans
from benchmarks.keep import why_not_begun
from benchmarks.record import SimulatorRefused
from benchmarks.schedulers import command


def main(arguments: Sequence[str]) -> int:
    """Run one benchmark and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for benchmark in (
        *(dispatch, jobs, idle, storm, mapping, command, restart, start, settlement),
        *(chain_look, every, compare),
    ):
        benchmark.add_command(commands)
    options = parser.parse_args(arguments)
    adopt_orphans()
    if busy := why_not_begun(options):
        print(f"error: not begun: {busy} (--even-if-busy keeps it)", file=sys.stderr)
        return 1
    options.others = Others()
    try:
        status: int = options.run(options)
    except SimulatorRefused as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except idle.TooFewDescriptors as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
