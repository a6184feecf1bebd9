"""Every benchmark, one after the other: about fourteen minutes on two cores at rest.

Each runs in a process of its own and prints its table; one that fails or is not kept is named at
the end, and the others go on. What a benchmark needs and is not here (Node, Redis) is left out by a
sentence.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import Any, Final

from benchmarks.keep import add_keep_options
from benchmarks.record import ROOT

#: In this order; about so many seconds each.
COMMANDS: Final[dict[tuple[str, ...], int]] = {
    ("dispatch", "--seconds", "10"): 180,
    ("jobs",): 30,
    ("idle", "--agents", "5000"): 90,
    ("storm", "--agents", "1000"): 30,
    ("map",): 120,
    ("schedulers",): 150,
    ("restart", "--kills", "3"): 200,
    ("start",): 60,
    ("settlement",): 30,
}


def add_command(commands: Any) -> None:
    """Add `all` to the command line."""
    parser = commands.add_parser(
        "all",
        help="every benchmark, one after the other",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_keep_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run them; the number of those that failed, at most 1."""
    more = [
        f"--{name.replace('_', '-')}" for name in ("keep", "even_if_busy") if vars(options)[name]
    ]
    failed, began = [], time.monotonic()
    for command, about_s in COMMANDS.items():
        print(f"--- {' '.join(command)} (about {about_s} s)", flush=True)
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-m", "benchmarks", *command, *more], cwd=ROOT, check=False
        )
        if done.returncode:
            failed.append(command[0])
    print(
        f"--- {time.monotonic() - began:.0f} s; failed or not kept: {', '.join(failed) or 'none'}"
    )
    return 1 if failed else 0
