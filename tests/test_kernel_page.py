"""docs/kernels.md: its tables are the declarations', its limits exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel_tables import TABLES
from tests.readme_sections import marked
from tests.tree import read

PAGE = read(Path("docs/kernels.md"))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_declarations_say(name: str) -> None:
    """If it is not: `python -m tests.docs_sections --write`."""
    written = marked(name).search(PAGE)

    assert written is not None
    assert written[0] == TABLES[name]()
