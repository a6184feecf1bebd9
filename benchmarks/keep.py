"""What every benchmark does at its end: show its records, and keep them if they may be believed.

Rules:
  1. Records of a busy machine are not kept, unless one insists (`--even-if-busy`): what others used
     of its cores during the whole run, and during any one measurement, is within bounds. A run
     to be kept does not even begin where others use them in the second before.
  2. A kept file holds one run's records; the older one is replaced as a whole.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from benchmarks.cpu import Others
from benchmarks.record import RECORDS, Record, write

#: Cores that others may use, on average over a run: a tenth of one is a cron job, more is company.
OTHERS_MAX: Final = 0.15
#: And during one measurement, which may be short.
OTHERS_ONCE_MAX: Final = 0.5
#: A look at the machine before a run.
_LOOK_S: Final = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every benchmark has."""
    parser.add_argument("--json", action="store_true", help="print records, not a table")
    add_keep_options(parser)


def add_keep_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what becomes of the records."""
    parser.add_argument("--keep", action="store_true", help="write benchmarks/records")
    parser.add_argument(
        "--even-if-busy", action="store_true", help="keep records of a busy machine too"
    )


def finish(name: str, records: Sequence[Record], options: argparse.Namespace) -> int:
    """Print the records, keep them if that was asked for; the exit status."""
    if options.json:
        print(msgspec.json.encode(list(records)).decode())
    else:
        print_table(records)
    if not options.keep:
        return 0
    busy = why_busy(records, options.others.cores())
    if busy and not options.even_if_busy:
        print(f"error: not kept: {busy} (--even-if-busy keeps it)", file=sys.stderr)
        return 1
    RECORDS.mkdir(exist_ok=True)
    write(RECORDS / f"{name}.json", records)
    print("kept; README shows it after: python -m tests.readme_sections --write", file=sys.stderr)
    return 0


def why_not_begun(options: argparse.Namespace) -> str:
    """Why a run whose records are to be kept need not begin now; "" if it may, or keeps nothing."""
    if not getattr(options, "keep", False) or options.even_if_busy:
        return ""
    look = Others()
    time.sleep(_LOOK_S)
    cores = look.cores()
    return f"others use {cores:.0%} of a core now" if cores > OTHERS_MAX else ""


def why_busy(records: Sequence[Record], others: float = 0.0) -> str:
    """Why these records should not be believed; "" if the machine was ours.

    Args:
        records: Each with what others used while it was measured.
        others: Cores that others used on average over the whole run.
    """
    once = max(each.others for each in records)
    if others > OTHERS_MAX:
        return f"others used {others:.0%} of a core all the while"
    if once > OTHERS_ONCE_MAX:
        return f"others used {once:.0%} of a core during a measurement"
    return ""


def print_table(records: Sequence[Record]) -> None:
    """A line a record, then what they all have in common."""
    width = max(len(each.name) for each in records)
    for each in records:
        low, high = each.spread
        spread = f"{low:,g} to {high:,g}" if low != high else ""
        print(f"{each.name:<{width}}  {each.value:>10,g} {each.unit:<20} {spread:<22} n={each.n}")
    first_of = {each.note: each.name for each in reversed(records) if each.note}
    for note, name in reversed(first_of.items()):
        print(f"{name}: {note}")
    here = records[0].where
    machine = here.machine
    others = max(each.others for each in records)
    print(
        f"{machine.cpu}, {machine.cores} cores, {machine.filesystem or 'no disk'}; "
        f"load before {machine.load}, others used up to {others:.0%} of a core"
    )
    print(f"commit {here.commit}; {', '.join(f'{k} {v}' for k, v in here.versions.items())}")
