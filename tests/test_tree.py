"""The tree's own manners: names, sizes, leftovers, and lock files that fix what pyproject asks for.

Rules:
  1. A module is named for what it holds, never for being of use.
  2. Nothing unfinished is marked in the sources: it is done, refused by name, or not there.
  3. The tree speaks of the product only: no place on somebody's machine, no work list, no registry.
  4. Each lock file fixes every requirement by version and hash, and all agree.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tree import PRODUCT, SHIPPING, TOP, WORKSHOP, files, read, sources

VAGUE: Final = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc", "shared"}
LINES_MAX: Final = 450
TEXT: Final = {
    *(".py", ".js", ".mjs", ".css", ".html", ".c", ".h", ".md", ".toml", ".txt", ".json"),
    *(".service", ".socket", ".Dockerfile", ".yml", ".yaml", ".conf"),
}
# A letter in brackets keeps a pattern from finding itself.
UNFINISHED: Final = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b|NotImplemented[E]rror")
FOREIGN: Final = re.compile(
    r"/w[o]rk/|/home/[a-z]|/var/lib/hn[d]ev|/opt/(?:py[p]i|wheels)|\.lib[r]ary\b"
    r"|\bissue #?\d|\bpull request #?\d|\((?:fixes|closes|see) #\d"
    r"|py[p]i\.org|pythonhosted\.[o]rg|registry\.npm[j]s|crates\.[i]o|deb\.debian\.[o]rg"
    r"|\b(?:design|style|market|settlement|settlement-review|onchain-toolchain|compute|network"
    r"|reliability|ux|seed-gpu-hosts)\.md\b"
)
#: Naming the repository makes it somebody else's thread, a source like a paper.
CITED: Final = re.compile(r"[\w.-]+/[\w.-]+ (?:issue|pull request) #?\d+")
LOCKS: Final = {
    "agent": ["agent", "chain"],
    "bench": ["agent", "bench"],
    "build": ["build"],
    "coordinator": ["chain"],
    "cuda": ["agent", "chain", "cuda"],
    "dev": ["agent", "chain", "dev"],
}
#: Without the project: what they fix is asked for in a file of their own.
ASIDE: Final = ("chain-next",)
#: Installed from as they are: nothing is built.
BUILDS_NOTHING: Final = {"coordinator"}

EVERY_TEXT: Final = [
    path.as_posix()
    for path in (*files(*PRODUCT, *WORKSHOP, *SHIPPING, "requirements"), *map(Path, TOP))
    if path.suffix in TEXT or path.as_posix() in TOP
]


def found(pattern: re.Pattern[str], text: str) -> list[str]:
    return [
        f"{number}: {line.strip()[:90]}"
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(CITED.sub("", line))
    ]


def pins(lock: str) -> dict[str, set[str]]:
    """Name → versions that a lock file fixes (more than one where markers choose)."""
    fixed: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", read(Path("requirements", f"{lock}.txt")), re.MULTILINE
    ):
        fixed.setdefault(canonicalize_name(name), set()).add(version)
    return fixed


def wanted(lock: str) -> list[Requirement]:
    """What pyproject asks for, the build back end included where something is built."""
    if lock in ASIDE:
        text = read(Path("requirements", f"{lock}.in"))
        return [Requirement(line) for line in text.splitlines() if not line.startswith("#")]
    project = tomllib.loads(read(Path("pyproject.toml")))
    lines = list(project["project"]["dependencies"])
    if lock not in BUILDS_NOTHING:
        lines += project["build-system"]["requires"]
    for extra in LOCKS[lock]:
        lines += project["project"]["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("path", [path.as_posix() for path in sources(*PRODUCT, *WORKSHOP)])
def test_a_module_is_named_for_what_it_holds(path: str) -> None:
    parts = {part.strip("_") for part in Path(path).with_suffix("").parts}

    assert parts.isdisjoint(VAGUE)


@pytest.mark.parametrize("path", [path.as_posix() for path in sources(*PRODUCT)])
def test_a_module_can_be_read_in_one_sitting(path: str) -> None:
    assert len(read(Path(path)).splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", EVERY_TEXT)
def test_nothing_unfinished_is_left_in_the_tree(path: str) -> None:
    assert found(UNFINISHED, read(Path(path))) == []


@pytest.mark.parametrize("path", EVERY_TEXT)
def test_the_tree_speaks_of_the_product_only(path: str) -> None:
    assert found(FOREIGN, read(Path(path))) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (UNFINISHED, "x = 1  # TOD\x4f: later"),
        (UNFINISHED, "raise NotImplemented\x45rror"),
        (FOREIGN, "see /w\x6frk/main"),
        (FOREIGN, "as issu\x65 12 asks"),
        (FOREIGN, "as design\x2emd says"),
        (FOREIGN, "https://pyp\x69.org/simple"),
    ],
)
def test_a_leftover_is_found(pattern: re.Pattern[str], line: str) -> None:
    assert len(found(pattern, f"first\n{line}\n")) == 1


@pytest.mark.parametrize("lock", [*LOCKS, *ASIDE])
def test_a_lock_file_fixes_every_requirement(lock: str) -> None:
    fixed = pins(lock)

    loose = [
        str(need)
        for need in wanted(lock)
        if not all(map(need.specifier.contains, fixed.get(canonicalize_name(need.name), {""})))
    ]

    assert loose == []


@pytest.mark.parametrize("lock", [*LOCKS, *ASIDE])
def test_a_lock_file_has_a_hash_for_each_pin_and_names_no_source(lock: str) -> None:
    text = read(Path("requirements", f"{lock}.txt"))
    bare = re.findall(r"^[^#\s].*(?<!\\)\n(?!    --hash=sha256:)", text, re.MULTILINE)

    assert bare == []
    assert re.findall(r"://|^-|--(?:index|find|extra)|@ ", text, re.MULTILINE) == []


@pytest.mark.parametrize("lock", ["bench", "cuda", "dev"])
def test_lock_files_agree_on_every_version(lock: str) -> None:
    agent, other = pins("agent"), pins(lock)
    shared = agent if lock != "bench" else agent.keys() & (other.keys() - {"toolz"})

    assert {name: other.get(name) for name in shared} == {name: agent[name] for name in shared}
    assert len(shared) > 60


def test_the_coordinators_lock_file_is_a_part_of_the_agents() -> None:
    """And small: a compiler of kernels has no place in it."""
    agent, coordinator = pins("agent"), pins("coordinator")

    assert {name: agent.get(name) for name in coordinator} == coordinator
    assert {"numba", "llvmlite", "nvidia-ml-py", "hatchling"}.isdisjoint(coordinator)
