"""This machine: Python, packages, SQLite, disk, descriptors, ports.

Facts come in as arguments with this machine's own as defaults, so that a test can plant a fault.
Not covered: whether a package was altered (the lock files' hashes decide that at its installation).
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import socket
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Final

from coordinator.limits import CONNECTIONS_MAX, MIB
from coordinator.store.sqlite_connection import LIBRARY_VERSION, SOUND_VERSION
from hypernode.doctor.finding import Finding, failure, ok, warning

_PYTHON_MIN: Final = (3, 11)
#: Room below which a disk is full for us, and below which it soon will be.
_ROOM_BYTES_MIN: Final = 128 * MIB
_ROOM_BYTES_LOW: Final = 1024 * MIB
#: A commit waits for the disk: at 20 ms one disk takes 50 single commits a second.
_SYNC_MS_SLOW: Final = 20.0
_SYNCS: Final = 9
#: Descriptors of an agent: a few for each job; of a coordinator: one a connection, and files.
_FILES_AGENT: Final = 1024
_FILES_COORDINATOR: Final = CONNECTIONS_MAX + 512
_REINSTALL: Final = "install again from the lock files: `./run demo`, or pip with --require-hashes"
#: One requirement: name, extras, versions, marker.
_REQUIREMENT: Final = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*\(?(?P<specs>[^;)]*)\)?\s*(;(?P<marker>.*))?"
)
_SPEC: Final = re.compile(r"(==|>=|<=|<|>|!=|~=)\s*([0-9][^,\s]*)")


def check_python(version: Sequence[int] = sys.version_info[:3]) -> Finding:
    said = "Python " + ".".join(map(str, version))
    if tuple(version[:2]) < _PYTHON_MIN:
        return failure("python", f"{said} is too old", "install Python 3.11 or newer")
    return ok("python", said)


# ---- packages -----------------------------------------------------------------------------------


def requirements(extra: str = "") -> list[str]:
    """What this house asks for: of the installed package, or of the source tree beside us."""
    try:
        lines = metadata.requires("hypernode") or []
    except metadata.PackageNotFoundError:
        lines = list(_of_the_tree(extra))
    wanted = (f'extra == "{extra}"', f"extra == '{extra}'")
    return [
        line
        for line in lines
        if ("extra ==" not in line if not extra else any(mark in line for mark in wanted))
    ]


def _of_the_tree(extra: str) -> Iterator[str]:
    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not path.exists():
        return
    project = tomllib.loads(path.read_text())["project"]
    yield from project["dependencies"]
    for line in project["optional-dependencies"].get(extra, ()):
        yield f"{line}{' and' if ';' in line else ';'} extra == '{extra}'"


def check_packages(
    lines: Iterable[str], version_of: Callable[[str], str] = metadata.version, *, check: str
) -> Finding:
    """Whether every package is there, in a version that fits."""
    wrong, count = [], 0
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is None or ("sys_platform" in line and sys.platform not in line):
            continue
        count += 1
        try:
            found = version_of(match["name"])
        except metadata.PackageNotFoundError:
            wrong.append(f"{match['name']} is missing")
            continue
        if not fits(found, match["specs"]):
            wrong.append(f"{match['name']} is {found}, not {match['specs'].strip()}")
    if wrong:
        return failure(check, "; ".join(wrong), _REINSTALL)
    return ok(check, f"{count} packages, each in a version that fits")


def fits(version: str, specs: str) -> bool:
    """Whether a version fits all of `>=1.2,<2`; what is no number in it is not looked at."""
    return all(_fits_one(version, operator, wanted) for operator, wanted in _SPEC.findall(specs))


def _fits_one(version: str, operator: str, wanted: str) -> bool:
    if wanted.endswith(".*"):
        begins = _numbers(version)[: len(_numbers(wanted))] == _numbers(wanted)
        return begins if operator == "==" else not begins
    size = max(len(_numbers(version)), len(_numbers(wanted)))
    have, want = (
        numbers + (0,) * (size - len(numbers)) for numbers in (_numbers(version), _numbers(wanted))
    )
    return {
        "==": have == want, "!=": have != want, ">=": have >= want, "<=": have <= want,
        "<": have < want, ">": have > want, "~=": have >= want,
    }[operator]  # fmt: skip


def _numbers(version: str) -> tuple[int, ...]:
    release = version.split("+", maxsplit=1)[0].removesuffix(".*")
    return tuple(int(part) for part in re.findall(r"\d+", release))


def check_sqlite(version: Sequence[int] = LIBRARY_VERSION) -> Finding:
    said = "SQLite " + ".".join(map(str, version))
    if tuple(version) < SOUND_VERSION:
        return warning(
            "sqlite",
            f"{said} can corrupt a database in WAL mode when two programs write at once",
            "install pysqlite3>=0.6.1, which brings its own SQLite",
        )
    return ok("sqlite", said)


# ---- disk, descriptors, ports -------------------------------------------------------------------


def check_room(folder: Path, free_bytes: Callable[[Path], int] | None = None) -> Finding:
    """Room on the disk of a folder, or of the nearest one above that exists."""
    there = _nearest(folder)
    free = free_bytes(there) if free_bytes else shutil.disk_usage(there).free
    said = f"{free // MIB} MiB free at {there}"
    if free < _ROOM_BYTES_MIN:
        return failure("disk room", said, "make room, or choose another folder")
    if free < _ROOM_BYTES_LOW:
        return warning("disk room", said, "make room soon: results and receipts are kept there")
    return ok("disk room", said)


def _nearest(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def check_sync(folder: Path, sync: Callable[[int], None] = os.fsync) -> Finding:
    """How long the disk takes to promise that bytes are safe: each commit waits for that."""
    there = _nearest(folder)
    took = []
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".doctor-") as file:
            for _ in range(_SYNCS):
                file.write(b"x" * 4096)
                file.flush()
                began = time.perf_counter()
                sync(file.fileno())
                took.append((time.perf_counter() - began) * 1000)
    except OSError as error:
        said = f"{there} cannot be written: {error.strerror}"
        return failure("disk sync", said, "choose a folder of your own, or make room")
    said = f"a write is safe after {median(took):.1f} ms (median of {_SYNCS}) at {there}"
    if median(took) > _SYNC_MS_SLOW:
        return warning("disk sync", said, "use a disk that syncs faster: an SSD here")
    return ok("disk sync", said)


def check_files(role: str, limits: tuple[int, int] | None = None) -> Finding:
    """Descriptors that this process may open."""
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_COORDINATOR if role == "coordinator" else _FILES_AGENT
    infinity = resource.RLIM_INFINITY
    said = f"{'any number of' if soft == infinity else soft} open files are allowed"
    if soft != infinity and soft < needed:
        how = "`ulimit -n`" if hard == infinity or hard >= needed else "/etc/security/limits.conf"
        fix = f"allow {needed}: {how}, or LimitNOFILE= in the systemd unit"
        return warning("open files", f"{said}; a full house needs {needed}", fix)
    return ok("open files", said)


def check_port(host: str, port: int) -> Finding:
    """Whether a coordinator could listen there."""
    if port == 0:
        return ok("port", "the system will choose one")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            said = f"port {port} of {host} is taken: by a coordinator that runs, or another program"
            return warning("port", said, f"`ss -ltnp sport = :{port}` names it; or choose --port")
        fix = "choose a port above 1023, or give CAP_NET_BIND_SERVICE"
        if error.errno == errno.EADDRNOTAVAIL:
            fix = "choose an address of this machine: --host"
        return failure("port", f"port {port} of {host}: {error.strerror}", fix)
    return ok("port", f"port {port} of {host} is free")
