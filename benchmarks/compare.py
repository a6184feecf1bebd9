"""Two sets of records beside each other: what became better, what worse, and what cannot be told.

In:   two files of records, or two folders of them (an older checkout's `benchmarks/records`, say).
Out:  a line for each record that both have: old, new, their ratio, a verdict.
Rules:
  1. A difference counts only beyond the spread: the ranges of both records' values do not touch.
     Where a record has one value only, there is no spread, and a difference below
     `ALONE` is not told from noise.
  2. Whether more is better follows from the unit.
  3. Records of different machines or of a busy one are compared too, and it is said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from benchmarks.keep import why_busy
from benchmarks.record import Record, read

Verdict = Literal["better", "worse", "same"]
#: Of a single value: what a percentile of one run moves by itself.
ALONE: Final = 0.25
#: Beginnings of units of which less is better.
_LESS_IS_BETTER: Final = ("ms", "µs", "KiB", "MiB", "MB", "CPU-", "% of")


class Line(msgspec.Struct, frozen=True):
    """One quantity, before and after."""

    old: Record
    new: Record

    @property
    def ratio(self) -> float:
        """New by old."""
        return self.new.value / self.old.value if self.old.value else float("inf")

    @property
    def verdict(self) -> Verdict:
        """Better or worse beyond the spread, or the same as far as one can tell."""
        if len(self.old.values) == 1 or len(self.new.values) == 1:
            apart = not 1 / (1 + ALONE) <= self.ratio <= 1 + ALONE
        else:
            (old_low, old_high), (new_low, new_high) = self.old.spread, self.new.spread
            apart = new_low > old_high or new_high < old_low
        if not apart:
            return "same"
        return "better" if (self.ratio > 1) == more_is_better(self.new.unit) else "worse"


def more_is_better(unit: str) -> bool:
    """Whether a larger number of this unit is the better one: rates and ratios are such."""
    is_rate = " / " in unit or unit == "ratio"
    return is_rate or not (unit == "s" or unit.startswith(_LESS_IS_BETTER))


def add_command(commands: Any) -> None:
    """Add `compare` to the command line."""
    parser = commands.add_parser(
        "compare",
        help="two sets of records: ratios, and a verdict beyond the spread",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path, help="a file of records, or a folder")
    parser.add_argument("new", type=Path, help="the same, later")
    parser.add_argument("--strict", action="store_true", help="end with 1 if anything is worse")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a line a record; 1 if that was asked for and something is worse."""
    try:
        old, new = records_at(options.old), records_at(options.new)
    except (OSError, msgspec.DecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    lines = compared(old, new)
    for line in lines:
        unit, ratio = line.new.unit, f"{line.ratio:.2f}x"
        print(f"{line.new.name:<54} {line.old.value:>10,g} {line.new.value:>10,g} {unit:<20} "
              f"{ratio:>7}  {line.verdict}")  # fmt: skip
    for remark in remarks(list(old.values()), list(new.values()), lines):
        print(remark)
    is_worse = any(line.verdict == "worse" for line in lines)
    return 1 if options.strict and is_worse else 0


def records_at(path: Path) -> dict[str, Record]:
    """The records of a file or of a folder's files, by name.

    Raises:
        FileNotFoundError: there is none.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        msg = f"no records in {path}"
        raise FileNotFoundError(msg)
    return {each.name: each for file in files for each in read(file)}


def compared(old: Mapping[str, Record], new: Mapping[str, Record]) -> list[Line]:
    """Those that both have, in the order of the new ones."""
    both = ((old[name], record) for name, record in new.items() if name in old)
    return [Line(before, after) for before, after in both if before.unit == after.unit]


def remarks(old: Sequence[Record], new: Sequence[Record], lines: Sequence[Line]) -> list[str]:
    """What must be known before one believes a comparison."""
    said = []
    machines = {(r.where.machine.cpu, r.where.machine.cores) for r in (*old, *new)}
    if len(machines) > 1:
        said.append(f"note: they come from different machines: {sorted(machines)}")
    for name, records in (("old", old), ("new", new)):
        if busy := why_busy(records):
            said.append(f"note: the {name} records come from a busy machine: {busy}")
    alone = len(lines) - sum(min(len(x.old.values), len(x.new.values)) > 1 for x in lines)
    if alone:
        said.append(f"note: {alone} are of one value: below {ALONE:.0%} they count as the same")
    missing = len(new) - len(lines)
    if missing:
        said.append(f"note: {missing} of the new records have no old one of the same name and unit")
    return said
