"""Builds `hypernode-coordinator.pyz`: the coordinator and the command `hypernode` in one file.

`./run pyz [FILE]`, or in an environment of the developer's tools: `python deploy/pyz/build.py`.
In:   `requirements/coordinator.txt` (versions and hashes), the sources of this tree.
Out:  one file, the same bytes wherever and whenever it is built by the same Python and zlib.
Rules:
  1. A dependency comes as the wheel whose hash is locked; nothing is compiled, no setup code runs.
  2. Wheels are unpacked here, not installed: an installer writes its own paths into scripts.
  3. Entries are sorted, have one date (`SOURCE_DATE_EPOCH`) and one mode.
Not covered: other Pythons, processors and C libraries than those of the wheels chosen here; what
starts in their place says so (`start.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypedDict
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "hypernode-coordinator.pyz"
LOCK: Final = ROOT / "requirements" / "coordinator.txt"
START: Final = ROOT / "deploy" / "pyz" / "start.py"
#: The first moment that a zip file can name.
EPOCH: Final = 315532800
#: Whichever `python3` comes first; `start.py` refuses one that it was not built for.
SHEBANG: Final = b"#!/usr/bin/env python3\n"
_MODE: Final = 0o100644
#: Folders of a wheel's `.data` whose content goes beside the packages; scripts are left out.
_LIBRARIES: Final = ("purelib", "platlib")
_GLIBC: Final = re.compile(r"manylinux_(\d+)_(\d+)_")


class BuiltFor(TypedDict):
    """What runs the file; `start.py` compares it with what it finds."""

    implementation: str
    python: list[int]
    machine: str
    glibc: list[int]


def main(arguments: list[str]) -> int:
    """Build the file, and say what it is."""
    parser = argparse.ArgumentParser(prog="deploy/pyz/build.py", description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=Path(NAME), help=NAME)
    output = parser.parse_args(arguments).output
    with tempfile.TemporaryDirectory() as folder:
        built_for = build(output, Path(folder))
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    size_mb = output.stat().st_size / 1e6
    python = ".".join(map(str, built_for["python"]))
    print(f"{output}: {size_mb:.1f} MB, for CPython {python} on {built_for['machine']}")
    print(f"sha256 {digest}")
    return 0


def build(output: Path, work: Path) -> BuiltFor:
    """Build the file in a folder of work; returns what it was built for."""
    wheels = [*fetch(work / "wheels"), own_wheel(work / "own")]
    for wheel in wheels:
        unpack(wheel, work / "site")
    (work / "empty").mkdir()
    shiv = [
        *("-m", "shiv.cli", "--site-packages", str(work / "site"), "--reproducible"),
        *("--extend-pythonpath", "--entry-point", "hypernode.cli:main"),
        *("--output-file", str(work / NAME)),
    ]
    run(shiv, TMPDIR=str(work / "empty"))
    built_for: BuiltFor = {
        "implementation": platform.python_implementation(),
        "python": list(sys.version_info[:2]),
        "machine": platform.machine(),
        "glibc": list(glibc_of(wheel.name for wheel in wheels)),
    }
    seal(work / NAME, output, built_for)
    return built_for


def run(words: list[str], **environment: str) -> None:
    """Run a Python tool of this environment, quiet unless it fails."""
    done = subprocess.run(  # noqa: S603 (our own words)
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch()), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(words[:3])} failed:\n{done.stdout}{done.stderr}")


def epoch() -> int:
    """The date of everything inside, seconds since 1970."""
    return max(EPOCH, int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH)))


def fetch(folder: Path) -> list[Path]:
    """The locked wheels for this Python; pip compares their hashes."""
    options = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(folder))
    run(["-m", "pip", "download", "--disable-pip-version-check", *options, "-r", str(LOCK)])
    return sorted(folder.glob("*.whl"))


def own_wheel(folder: Path) -> Path:
    """This project, as whoever installs it gets it."""
    run(["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpack(wheel: Path, site: Path) -> None:
    """Put a wheel's files where an installer would; two wheels with one file are an error."""
    with ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = _place(entry.filename)
            if entry.is_dir() or path is None:
                continue
            target = site / path
            if target.exists() or not target.resolve().is_relative_to(site.resolve()):
                sys.exit(f"{wheel.name}: {path} is there already, or leaves its folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))


def _place(name: str) -> str | None:
    """Where an entry of a wheel belongs; None for scripts, headers and their like."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    kind, _, path = rest.partition("/")
    return path if kind in _LIBRARIES else None


def glibc_of(names: Iterable[str]) -> tuple[int, int]:
    """The oldest C library on which all these wheels load; (0, 0) if none names one."""
    floors = [
        min((int(major), int(minor)) for major, minor in found)
        for name in names
        if (found := _GLIBC.findall(name))
    ]
    return max(floors, default=(0, 0))


def seal(made: Path, output: Path, built_for: BuiltFor) -> None:
    """Write shiv's archive anew: sorted, one date, one mode, and our own beginning."""
    with ZipFile(made) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    entries["__main__.py"] = START.read_bytes()
    entries["built_for.json"] = json.dumps(built_for, sort_keys=True).encode() + b"\n"
    moment = time.gmtime(epoch())[:6]
    partial = output.with_name(f".{output.name}.part")
    with partial.open("wb") as file:
        file.write(SHEBANG)
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            for name in sorted(entries):
                entry = ZipInfo(name, moment)
                entry.compress_type = ZIP_DEFLATED
                entry.create_system = 3
                entry.external_attr = _MODE << 16
                archive.writestr(entry, entries[name])
    partial.chmod(0o755)
    partial.replace(output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
