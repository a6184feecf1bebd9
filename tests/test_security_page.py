"""docs/security.md names tests, limits and settings: each of them exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from coordinator import claim_limits, conversation, evidence_limits, limits
from coordinator.config import Config
from coordinator.protocol.errors import CODES
from tests.tree import ROOT

PAGE: Final = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
#: The lines of the tables of attacks: five columns.
ROWS: Final = [
    line
    for line in PAGE.splitlines()
    if line.count("|") == 6 and not line.startswith(("| # ", "| --- "))
]
NAMED: Final = sorted(set(re.findall(r"(test_\w+\.py)::(test_\w+)", PAGE)))
#: The list that the page must answer, but for what no part of the product has.
NUMBERS: Final = {*range(1, 37), 40, 43, 44, 45, 48, 51}


def test_every_attack_of_the_list_has_its_line_and_each_line_its_tests() -> None:
    numbers = {int(row.split("|")[1]) for row in ROWS if row.split("|")[1].strip()}

    assert numbers >= NUMBERS
    for row in ROWS:
        assert "::test_" in row.split("|")[-2], row[:80]


@pytest.mark.parametrize(("file", "name"), NAMED, ids=str)
def test_a_named_test_exists(file: str, name: str) -> None:
    source = Path(ROOT, "tests", file).read_text(encoding="utf-8")

    assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE)


def test_the_limits_settings_and_codes_are_those_of_the_product() -> None:
    words = {word for row in ROWS for word in re.findall(r"`(\w+)`", row.split("|")[4])}
    assert len(words) > 20
    for word in words:
        known = any(hasattr(each, word) for each in (limits, claim_limits, evidence_limits))
        assert known or word in Config.__struct_fields__, word

    said = {word for row in ROWS for word in re.findall(r"`([a-z_]+)`", row.split("|")[3])}
    assert said <= {*CODES, "error"}, said - set(CODES)


def test_the_close_codes_are_those_that_are_sent() -> None:
    ours = {code for code in conversation.CLOSE_CODES.values() if code >= 4000}

    assert {int(code) for code in re.findall(r"^\| (40\d\d) ", PAGE, re.MULTILINE)} == ours
