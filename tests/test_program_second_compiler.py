"""Debian's clang builds the settlement program too: two compilers, the same answers and bytes.

What one compiler gets wrong, or what the language leaves open, would show as a difference here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from onchain.program.build.compile import CLANGS
from onchain.program.build.construct import build, file_name, save
from onchain.program.build.image import Version
from onchain.program.generate import HERE
from tests.program_suite import CASES
from tests.program_world import FILE_SETTING
from tests.tree import ROOT

V0, V3 = Version
COMMANDS: Final = {
    "cases": (("tests.program_suite",), f"{len(CASES)} cases, 0 otherwise"),
    "lives": (
        ("tests.program_fuzz", "--operations", "3000", "--seed", "2000"),
        "no difference",
    ),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which(CLANGS[0]) is None and "CI" not in os.environ, reason=f"needs {CLANGS[0]}"
    ),
]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both versions as clang makes them."""
    folder = tmp_path_factory.mktemp("clang")
    save(build(HERE / "src", "clang"), folder)
    return folder


def test_it_is_another_program_file(other: Path) -> None:
    for version in Version:
        assert (other / file_name(version)).read_bytes() != (HERE / file_name(version)).read_bytes()


@pytest.mark.parametrize("what", COMMANDS)
@pytest.mark.parametrize("version", Version, ids=["pinned", "newest"])
def test_it_behaves_the_same(other: Path, version: Version, what: str) -> None:
    python = sys.executable if version is V0 else os.environ.get("CHAIN_NEXT_PYTHON")
    if python is None and "CI" not in os.environ:
        pytest.skip("needs CHAIN_NEXT_PYTHON: Python with requirements/chain-next.txt")
    assert python is not None
    command, said = COMMANDS[what]

    done = subprocess.run(
        [python, "-m", *command],
        cwd=ROOT,
        env={**os.environ, FILE_SETTING: str(other / file_name(version))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert said in done.stdout
