"""What a claim may cost, in the virtual machine of the pinned packages and in the newest one.

Goals: a later claim among a million leaves takes 13,700 units with SPL Token as it was, 8,000 with
the token program that clusters run now; a transaction fits into a packet.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest

pytest.importorskip("solders", reason="the extra `chain` is not installed")

from onchain.program.build.construct import FOLDER, file_name
from onchain.program.build.image import Version
from tests.program_costs import Cost, table
from tests.program_world import FILE_SETTING
from tests.tree import ROOT

REPEAT = "claim, again, depth 20"
#: Most bytes of a transaction.
PACKET = 1_232
#: Most bytes of what is released: rent is paid for each of them.
RELEASE = 40 * 1024


def test_a_later_claim_among_a_million_leaves_is_cheap_and_fits_into_a_packet() -> None:
    costs = table()

    assert costs[REPEAT].units <= 13_700
    assert {name: each.size for name, each in costs.items() if each.size > PACKET} == {}
    assert costs["claim, again, depth 20"].units < costs["claim, first, depth 20"].units


def test_with_the_newest_token_program_it_is_cheaper_still() -> None:
    python = os.environ.get("CHAIN_NEXT_PYTHON")
    if not python and "CI" not in os.environ:
        pytest.skip("needs CHAIN_NEXT_PYTHON: Python with requirements/chain-next.txt")
    assert python
    released = FOLDER / file_name(Version.V3)
    said = subprocess.run(
        [python, "-m", "tests.program_costs"],
        cwd=ROOT,
        env={**os.environ, FILE_SETTING: str(released)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    costs = {name: Cost(*row) for name, row in json.loads(said.stdout).items()}
    assert costs[REPEAT].units <= 8_000


@pytest.mark.parametrize("version", list(Version))
def test_the_program_says_where_to_report_a_flaw(version: Version) -> None:
    data = (FOLDER / file_name(version)).read_bytes()
    begin, end = (b"=======%s SECURITY.TXT V1=======" % each for each in (b"BEGIN", b"END"))

    words = data.split(begin + b"\0")[1].split(end)[0].decode().split("\0")[:-1]
    said = dict(zip(words[::2], words[1::2], strict=True))
    assert {"name", "project_url", "contacts", "policy"} <= said.keys()
    assert all(said.values())


def test_what_is_released_is_small() -> None:
    assert (FOLDER / file_name(Version.V3)).stat().st_size <= RELEASE
