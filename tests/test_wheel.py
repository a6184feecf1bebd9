"""What a user installs: the wheel holds the four packages whole, one command, and nothing else.

Not covered: installing it (both of README's commands do that).
"""

from __future__ import annotations

import configparser
import importlib.util
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

from tests.tree import PRODUCT, ROOT, files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="needs the locked build back end"
    ),
]

#: Debian's date of nothing in particular: two builds must not differ by when they were made.
_EPOCH: Final = "1700000000"


def build(folder: Path) -> Path:
    """Build the wheel with the back end that is installed: no download, no isolation."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH},
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def names(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}

    assert {top for top in tops if not top.endswith(".dist-info")} == set(PRODUCT)


def test_every_file_of_the_product_is_in_the_wheel(wheel: Path) -> None:
    """Build back ends drop what is not Python by default: the page, the program."""
    wanted = {path.as_posix() for path in files(*PRODUCT)}

    assert wanted - set(names(wheel)) == set()


def test_no_cache_and_no_test_is_in_the_wheel(wheel: Path) -> None:
    odd = [
        name
        for name in names(wheel)
        if name.endswith(".pyc") or Path(name).name.startswith(("test_", "conftest"))
    ]

    assert odd == []


def test_the_wheel_has_the_one_command(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (where,) = (n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
        entries = configparser.ConfigParser()
        entries.read_string(archive.read(where).decode())

    assert dict(entries["console_scripts"]) == {"hypernode": "hypernode.cli:main"}


def test_two_builds_are_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    again = build(tmp_path)

    assert sha256(again.read_bytes()).digest() == sha256(wheel.read_bytes()).digest()
