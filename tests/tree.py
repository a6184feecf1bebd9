"""The files of the tree, for the tests that keep it true.

Out: paths relative to the top level, in a stable order, and the module names of Python sources.
Not here: what is demanded of them (`test_layers.py`, `test_tree.py`, `test_readme.py`).
Why no `git ls-files`: git refuses a checkout of another owner, and a rule holds before `git add`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
#: What a user installs.
PRODUCT: Final = ("agent", "coordinator", "hypernode", "onchain")
#: What lies in the tree besides.
WORKSHOP: Final = ("benchmarks", "tests")
#: What it is shipped with: files for those who run it, texts for owners and operators.
SHIPPING: Final = ("deploy", "docs")
#: Text at the top level and beside it that the tests read too.
TOP: Final = ("README.md", "pyproject.toml", "run", ".ci/run")


def files(*folders: str) -> Iterator[Path]:
    """Every file below the folders, caches left out, relative to the top level."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield path.relative_to(ROOT)


def sources(*folders: str) -> list[Path]:
    """Python files below the folders, relative to the top level."""
    return [path for path in files(*folders) if path.suffix == ".py"]


def module_name(path: Path) -> str:
    """`coordinator/jobs.py` is `coordinator.jobs`, `agent/__init__.py` is `agent`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")
