"""The settlement benchmark: every call is measured, and costs what this one program costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.settlement_costs import DEPTHS, measure_costs


async def test_every_call_is_measured_and_a_repeated_claim_stays_cheap() -> None:
    costs = await measure_costs()

    names = {name.removesuffix(", lookup table") for name in costs}
    for depth in DEPTHS:
        assert {f"claim, first, depth {depth}", f"claim, again, depth {depth}"} <= names
    assert {"open a market", "publish a root", "redeem, first", "exit, depth 20"} <= names
    again = costs["claim, again, depth 20"]
    assert max(cost.units for cost in again) <= 13_700
    assert {cost.lamports for cost in again} == {5_000}
    assert all(cost.size <= 1_232 for each in costs.values() for cost in each)


def test_the_command_measures_a_tree_in_a_process_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing() -> dict[str, list[object]]:
        return {}

    monkeypatch.setattr("benchmarks.settlement.measure_costs", nothing)

    assert main(["settlement", "--leaves", "3000", "--repeat", "1", "--json"]) == 0

    records = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert set(records) == {
        f"tree of 3000, {name}"
        for name in ("file written", "file checked", "root", "one proof", "peak memory")
    }
    assert 5 < records["tree of 3000, peak memory"]["value"] < 200
    assert Path(records["tree of 3000, root"]["where"]["command"]).name
