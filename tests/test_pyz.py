"""The coordinator's one file: the same bytes twice, nothing in it that should not be, and it works.

It is built twice, from two copies of the tree in two folders, by the program that users call; then
it runs as on a fresh machine: an empty environment, an empty home.
Not covered: other Pythons and processors than this one. That they are told so is covered.
"""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile

import msgspec
import pytest
import trio

from benchmarks.record import Record
from coordinator.protocol.signing import generate
from hypernode.client import AsyncClient
from tests.processes import Program
from tests.tree import PRODUCT, ROOT, files

NAME: Final = "hypernode-coordinator.pyz"
_TOOLS: Final = ("shiv", "hatchling", "pip")
#: What a build reads; the rest of the tree may be missing.
_SOURCES: Final = (*PRODUCT, "deploy", "requirements", "pyproject.toml", "README.md")
#: What pip says where no index can be asked.
_OFFLINE: Final = ("No matching distribution found", "Could not find a version", "Connection")
START: Final[dict[str, Any]] = runpy.run_path(str(ROOT / "deploy" / "pyz" / "start.py"))


def build(folder: Path) -> Path:
    """The file, built from a copy of the tree in this folder."""
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy(ROOT / name, folder / name)
    done = subprocess.run(
        [sys.executable, "deploy/pyz/build.py", str(folder / NAME)],
        cwd=folder, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    if done.returncode and any(word in done.stderr for word in _OFFLINE) and "CI" not in os.environ:
        pytest.skip("no package index can be asked for the locked wheels")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / NAME


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all(map(importlib.util.find_spec, _TOOLS)):
        pytest.skip("needs the developer's tools")
    return build(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def home(pyz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the file has run once."""
    folder = tmp_path_factory.mktemp("home")
    done = start(pyz, {"HOME": str(folder)})
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def start(
    pyz: Path, environment: Mapping[str, str], *words: str
) -> subprocess.CompletedProcess[str]:
    """Run it with this environment and nothing else."""
    return subprocess.run(
        [sys.executable, str(pyz), *(words or ("--version",))],
        env=dict(environment), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def with_changed(pyz: Path, copy: Path, name: str, change: bytes) -> Path:
    """A copy with another content of one entry."""
    with ZipFile(pyz) as archive, copy.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with ZipFile(file, "w", ZIP_DEFLATED) as changed:
            for entry in archive.infolist():
                changed.writestr(entry, change if entry.filename == name else archive.read(entry))
    return copy


@pytest.mark.slow
def test_two_builds_in_two_folders_are_the_same_bytes(
    pyz: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = build(tmp_path_factory.mktemp("a-second-and-longer-name"))

    assert again.read_bytes() == pyz.read_bytes()


@pytest.mark.slow
def test_entries_are_sorted_and_have_one_date_and_mode(pyz: Path) -> None:
    with ZipFile(pyz) as archive:
        entries = archive.infolist()

    assert [entry.filename for entry in entries] == sorted(e.filename for e in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}


@pytest.mark.slow
def test_nothing_compiled_and_no_compiler_is_inside(pyz: Path) -> None:
    with ZipFile(pyz) as archive:
        names = archive.namelist()
    tops = {name.split("/")[1] for name in names if name.startswith("site-packages/")}

    assert [name for name in names if name.endswith((".pyc", "direct_url.json"))] == []
    assert [top for top in tops if re.match(r"numba|llvmlite|cuda|pynvml|pytest|shiv", top)] == []
    assert {*PRODUCT, "trio", "numpy"} <= tops


@pytest.mark.slow
def test_every_file_of_the_product_is_inside(pyz: Path) -> None:
    with ZipFile(pyz) as archive:
        wrong = [
            path.as_posix()
            for path in files(*PRODUCT)
            if archive.read(f"site-packages/{path.as_posix()}") != (ROOT / path).read_bytes()
        ]

    assert wrong == []


@pytest.mark.slow
def test_no_path_of_this_machine_is_inside(pyz: Path) -> None:
    places = [str(pyz.parent).encode(), str(ROOT).encode()]
    if sys.prefix != sys.base_prefix:  # a system's own `/usr` stands in many texts
        places.append(sys.prefix.encode())
    with ZipFile(pyz) as archive:
        found = [
            (name, place)
            for name in archive.namelist()
            for place in places
            if place in archive.read(name)
        ]

    assert found == []


@pytest.mark.slow
def test_what_is_inside_is_what_the_lock_file_fixes(pyz: Path) -> None:
    lock = (ROOT / "requirements" / "coordinator.txt").read_text(encoding="utf-8")
    locked = {plain(pin) for pin in re.findall(r"^[\w.-]+==[^ \\]+", lock, re.MULTILINE)}
    with ZipFile(pyz) as archive:
        inside = {
            plain(name.split("/")[1].removesuffix(".dist-info").replace("-", "=="))
            for name in archive.namelist()
            if name.endswith(".dist-info/METADATA")
        }

    assert [pin for pin in inside - locked if not pin.startswith("hypernode==")] == []


def plain(pin: str) -> str:
    return re.sub(r"[-_.]+", "-", pin).lower()


@pytest.mark.slow
def test_it_starts_from_an_empty_home(pyz: Path, home: Path) -> None:
    assert re.match(r"hypernode \d", start(pyz, {"HOME": str(home)}).stdout)
    assert [path.name for path in home.iterdir()] == [".cache"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "reason"),
    [("/proc/none", "No such file"), ("/dev/null/x", "Not a directory"), ("/tmp", "others may")],
)
def test_where_it_cannot_unpack_it_says_so_in_one_line(pyz: Path, place: str, reason: str) -> None:
    done = start(pyz, {"HOME": "/", "SHIV_ROOT": place})

    assert done.returncode == 1
    assert done.stderr.startswith(f"{NAME}: it cannot unpack into {place}: {reason}")
    assert len(done.stderr.splitlines()) == 1
    assert "SHIV_ROOT" in done.stderr


@pytest.mark.slow
def test_where_it_lies_unpacked_nothing_is_written(pyz: Path, home: Path) -> None:
    """So that it starts from a folder that it may not write."""
    cache = home / ".cache" / "hypernode"
    before = sorted((path, path.stat().st_mtime_ns) for path in [cache, *cache.iterdir()])
    cache.chmod(0o555)
    try:
        done = start(pyz, {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"})
    finally:
        cache.chmod(0o700)

    assert done.returncode == 0, done.stderr
    assert sorted((path, path.stat().st_mtime_ns) for path in [cache, *cache.iterdir()]) == before


@pytest.mark.slow
def test_code_that_others_may_change_is_not_run(pyz: Path, home: Path) -> None:
    (unpacked,) = (path for path in (home / ".cache/hypernode").iterdir() if path.is_dir())
    unpacked.chmod(0o777)
    try:
        done = start(pyz, {"HOME": str(home)})
    finally:
        unpacked.chmod(0o755)

    assert done.returncode == 1
    assert "others may write there" in done.stderr


@pytest.mark.slow
def test_an_unpacking_that_was_cut_off_begins_anew(pyz: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, str(pyz)], env={"HOME": str(tmp_path)}) as process:
        while not any(tmp_path.glob(".cache/hypernode/*.tmp/site-packages/*")):
            assert process.poll() is None, "it was not cut off"
        process.kill()

    assert start(pyz, {"HOME": str(tmp_path)}).returncode == 0


@pytest.mark.slow
def test_another_python_is_refused_before_anything_is_unpacked(pyz: Path, tmp_path: Path) -> None:
    built = {**START["this_python"](), "python": [3, 99]}
    other = with_changed(pyz, tmp_path / NAME, "built_for.json", msgspec.json.encode(built))

    done = start(other, {"HOME": str(tmp_path / "home")})

    assert done.returncode == 1
    assert done.stderr.startswith(f"{NAME}: it is built for CPython 3.99 on ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_what_else_is_installed_is_not_imported(pyz: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('not ours')")

    done = start(pyz, {"HOME": str(home), "PYTHONPATH": str(tmp_path)}, "kinds")

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_agent_is_not_in_it_and_it_says_so(pyz: Path, home: Path) -> None:
    done = start(pyz, {"HOME": str(home)}, "agent")

    assert done.returncode == 2
    assert done.stderr.startswith("error: this installation has no agent")


@pytest.mark.slow
async def test_an_agent_works_for_the_coordinator_in_the_file(
    pyz: Path, home: Path, tmp_path: Path
) -> None:
    """Its environment is empty but for its home; the agent is the one installed here."""
    python = (sys.executable, str(pyz))
    words = f"coordinator --faucet --port 0 --db {tmp_path}/market.db".split()
    program = Program("file", words, tmp_path, {"HOME": str(home)}, command=python, is_bare=True)
    async with program as coordinator:
        await coordinator.until_said("listening on ", 60)
        (url,) = re.findall(r"listening on (\S+)", coordinator.log.read_text())
        async with AsyncClient(url, generate()) as client:
            token = (await client.web.issue_token()).token
            (tmp_path / "token").write_text(token)
            words = (
                f"hypernode agent --url {url} --device cpu --token-file {tmp_path}/token".split()
            )
            async with Program("agent", [*words, "--state-dir", str(tmp_path / "state")], tmp_path):
                await client.web.faucet("10", "start")
                search = {"prefix": "6869", "start": 0, "count": 100_000, "target_bits": 12}
                job = await client.submit("hashsearch", search, budget="1")
                with trio.fail_after(90):
                    result = await job.result()
        assert await coordinator.stop(30) == 0

    assert result.receipt is not None
    assert result.receipt.verdict == "accepted"


@pytest.mark.slow
def test_its_size_and_its_starts_are_measured(pyz: Path) -> None:
    done = subprocess.run(
        [*(sys.executable, "-m", "benchmarks", "start"), "--repeat", "1", "--json", "--file", pyz],
        cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    found = {each.name: each for each in msgspec.json.decode(done.stdout, type=list[Record])}
    assert found["file"].value == pytest.approx(pyz.stat().st_size / 1e6, rel=0.01)
    assert found["warm start to version"].value < found["cold start to version"].value
    assert found["warm start to listening"].value > 0


HERE: Final = {
    "implementation": "CPython",
    "python": [3, 11],
    "machine": "x86_64",
    "glibc": [2, 36],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"glibc": [2, 40]}, ""),
        (
            {"python": [3, 12]},
            "built for CPython 3.11 on x86_64, and this is CPython 3.12 on x86_64",
        ),
        ({"python": [3, 6]}, "this is CPython 3.6"),
        ({"machine": "aarch64"}, "this is CPython 3.11 on aarch64"),
        ({"implementation": "PyPy"}, "this is PyPy 3.11"),
        ({"glibc": [2, 31]}, "it needs the C library glibc 2.36 or newer, and this is 2.31"),
        ({"glibc": []}, "and this is another one"),
    ],
)
def test_a_python_that_cannot_run_it_is_told_why(change: dict[str, Any], said: str) -> None:
    complaint = START["complaint"](HERE, {**HERE, **change})

    assert said in complaint
    assert bool(complaint) is bool(said)


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"HOME": "/h"}, "/h/.cache/hypernode"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/hypernode"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x", "CACHE_DIRECTORY": "/c:/d"}, "/c"),
        ({"HOME": "/h", "CACHE_DIRECTORY": "/c", "SHIV_ROOT": "/s"}, "/s"),
    ],
)
def test_what_was_named_comes_before_the_service_managers_folder_and_the_users(
    environment: dict[str, str], root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", environment["HOME"])

    assert START["chosen_root"](environment) == root
