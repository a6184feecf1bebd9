"""A measured number, with everything that one needs to believe it or to measure it again.

In:   values of one quantity from several repetitions.
Out:  a `Record`: unit, median, spread, sample size, machine, commit, versions, command; as JSON.
Rules:
  1. The CUDA simulator is refused: it computes the same results and means nothing in seconds.
  2. Nothing names the person or the place: no host name, no path.
Not here: whether the machine was busy with something else is noted here and judged in `keep.py`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[1]
#: Records that are kept with the code.
RECORDS: Final = ROOT / "benchmarks" / "records"
#: Libraries whose version moves the numbers.
_LIBRARIES: Final = (
    "trio",
    "trio-websocket",
    "wsproto",
    "msgspec",
    "pynacl",
    "numpy",
    "numba",
    "solders",
)


class SimulatorRefused(Exception):
    """NUMBA_ENABLE_CUDASIM is set: the simulator's times mean nothing. Unset it."""


class Machine(msgspec.Struct, frozen=True):
    """What it ran on."""

    cpu: str
    cores: int
    memory_gib: int
    system: str
    #: Of the folder that was written to; "" where nothing was.
    filesystem: str = ""
    #: Processes that wanted a core in the minute before, those of an earlier benchmark too.
    load: float = 0.0


class Where(msgspec.Struct, frozen=True):
    """The circumstances of a run, the same for all its records."""

    machine: Machine
    #: `+changes` when the tree was not that of the commit.
    commit: str
    versions: dict[str, str]
    command: str
    at: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity, measured."""

    name: str
    unit: str
    #: Median of `values`.
    value: float
    #: Smallest and largest of `values`.
    spread: tuple[float, float]
    #: One for each repetition.
    values: list[float]
    #: Things counted or timed in all repetitions together.
    n: int
    where: Where
    #: What else was so, for people.
    note: str = ""
    #: Cores that somebody else used while it was measured.
    others: float = 0.0


def record(
    where: Where,
    name: str,
    unit: str,
    values: Sequence[float],
    *,
    n: int,
    note: str = "",
    others: float = 0.0,
) -> Record:
    """A record of these values."""
    assert values, "a number comes from a measurement"
    rounded = [float(f"{value:.4g}") for value in values]
    return Record(
        name=name,
        unit=unit,
        value=float(f"{median(values):.4g}"),
        spread=(min(rounded), max(rounded)),
        values=rounded,
        n=n,
        where=where,
        note=note,
        others=round(others, 3),
    )


def where(command: str, folder: Path | None = None) -> Where:
    """The circumstances of this process; `folder` is where it writes.

    Raises:
        SimulatorRefused: the CUDA simulator is on.
    """
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in {"", "0"}:
        raise SimulatorRefused(str(SimulatorRefused.__doc__))
    return Where(
        machine=_machine(folder),
        commit=_commit(),
        versions=_versions(),
        command=command,
        at=datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - for people
    )


def write(path: Path, records: Sequence[Record]) -> None:
    """Write records as one JSON document."""
    raw = msgspec.json.format(msgspec.json.encode(list(records)), indent=1)
    path.write_bytes(raw + b"\n")


def read(path: Path) -> list[Record]:
    """The records of a file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Record])


def _machine(folder: Path | None) -> Machine:
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_after("/proc/cpuinfo", "model name\t:") or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(pages * page / 2**30),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        filesystem=_filesystem(folder) if folder is not None else "",
        load=round(os.getloadavg()[0], 2),
    )


def _after(path: str, words: str) -> str:
    """What follows these words in a file of the system; "" if they are not there."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.removeprefix(words).strip() for line in lines if line.startswith(words)), "")


def _filesystem(folder: Path) -> str:
    """The type of the file system that holds a folder: of the longest mount point above it."""
    found = (0, "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _device, mount, kind, *_ = line.split()
        if folder.resolve().is_relative_to(mount):
            found = max(found, (len(mount), kind))
    return found[1]


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own words
            ["git", *arguments],  # noqa: S607 - whichever git the developer uses
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    # What is measured decides, not the records of the benchmark before and what shows them.
    spared = (":!benchmarks/records", ":!README.md")
    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changes = git("status", "--porcelain", "-uno", "--", ".", *spared)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # a source archive, or a checkout of another owner
    return f"{commit}+changes" if changes else commit


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "implementation": sys.implementation.name}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
