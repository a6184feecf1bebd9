"""The benchmark of looks at the chain: its pretend node is believed, and everything is found."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main


@pytest.mark.slow
def test_the_command_finds_what_a_crowd_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chain-look", "--records", "300", "--json"]) == 0

    found = {each["name"]: each["value"] for each in json.loads(capsys.readouterr().out)}
    assert found["look at 300, first pass"] == 1
    assert found["look at 300, 100 claims"] == 1
    assert 0 < found["look at 300, 100 deposits"] < 60
    assert 5 < found["look at 300, peak memory"] < 500
