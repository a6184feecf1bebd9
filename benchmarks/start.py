"""How large the coordinator's one file is, and how soon it listens.

The file is built anew, or named with `--file`. Each start has an empty environment but for a home,
and a database of its own. Cold: nothing is unpacked and nothing compiled yet. Warm: the next start
after that one. The time runs from the start of the process to its end (`--version`), or to the line
that says where it listens.
Not covered: a cold page cache (the file has just been written), slow disks.
"""

from __future__ import annotations

import argparse
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.keep import add_options, finish
from benchmarks.record import ROOT, Record, record, where

_MB: Final = 1e6
_WAIT_S: Final = 120.0
_LISTENING: Final = b"listening on"


def add_command(commands: Any) -> None:
    """Add `start` to the command line."""
    parser = commands.add_parser(
        "start",
        help="size of the coordinator's one file, and its start: cold and warm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--file", type=Path, help="the file; by default it is built")
    parser.add_argument("--repeat", type=int, default=5, help="starts of each kind (5)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory() as name:
        file = options.file.resolve() if options.file else _build(Path(name))
        records = _measure(file, Path(name), options.repeat)
    return finish("start", records, options)


def _build(folder: Path) -> Path:
    file = folder / "hypernode-coordinator.pyz"
    build = ROOT / "deploy" / "pyz" / "build.py"
    # Standard output is for records.
    subprocess.run([sys.executable, str(build), str(file)], stdout=sys.stderr, check=True)  # noqa: S603
    return file


def _measure(file: Path, folder: Path, repeat: int) -> list[Record]:
    here = where(f"python -m benchmarks start --repeat {repeat}", folder)
    times: dict[str, list[float]] = {}
    unpacked = 0
    for number in range(repeat):
        for what, arguments in (("version", ["--version"]), ("listening", None)):
            home = folder / f"home-{number}-{what}"
            home.mkdir()
            for kind in ("cold", "warm"):
                times.setdefault(f"{kind} start to {what}", []).append(
                    _seconds(file, home, arguments)
                )
            unpacked = max(unpacked, _size_of(home))
    sizes = [
        record(here, "file", "MB", [file.stat().st_size / _MB], n=1),
        record(here, "unpacked, with compiled code", "MB", [unpacked / _MB], n=1),
    ]
    return sizes + [
        record(here, name, "s", values, n=len(values), note="page cache warm")
        for name, values in times.items()
    ]


def _seconds(file: Path, home: Path, arguments: Sequence[str] | None) -> float:
    """Until it has ended; without arguments, until a coordinator listens."""
    words = arguments or ["coordinator", "--port", "0", "--db", str(home / "market.db")]
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 (our own file)
        [sys.executable, str(file), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"HOME": str(home), "PATH": os.defpath},
    )
    try:
        _read(process, b"" if arguments else _LISTENING)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def _read(process: subprocess.Popen[bytes], words: bytes) -> None:
    """Until it has said these words; until its end, if there are none."""
    assert process.stdout is not None
    said = b""
    with process.stdout, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(_WAIT_S):
            piece = os.read(process.stdout.fileno(), 65536)
            said += piece
            if words and words in said:
                return
            if not piece:
                break
    if words or process.wait() != 0:
        msg = f"it did not start: {said.decode(errors='replace')[-2000:]}"
        raise RuntimeError(msg)


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
