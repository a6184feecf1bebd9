"""The whole settler between two bad nodes, in short; the long form is `tests.settling_runs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator import chain_events as cev
from coordinator.settlement import reading
from tests import settling_runs
from tests.settling_runs import live

pytestmark = pytest.mark.slow


def test_everybody_is_paid_once_between_two_bad_nodes_whoever_is_killed(tmp_path: Path) -> None:
    seen = live(11, tmp_path, 22)

    assert seen["epochs"] >= 1
    assert seen["paid"] > 0
    assert sum(seen[how] for how in settling_runs.FAULTS) > 10
    assert sum(count for what, count in seen.items() if what.startswith("killed")) > 1


def test_a_house_that_books_claims_a_unit_short_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short:
        """The events, with claims of one unit less."""

        def __getattr__(self, name: str) -> object:
            return getattr(cev, name)

        @staticmethod
        def ClaimSeen(wallet: bytes, claimed: int, slot: int) -> cev.ClaimSeen:  # noqa: N802
            return cev.ClaimSeen(wallet, claimed - 1, slot)

    monkeypatch.setattr(reading, "cev", Short())
    monkeypatch.setattr(settling_runs, "PEACE_ROUNDS", 6)

    with pytest.RaisesGroup(AssertionError, allow_unwrapped=True, flatten_subgroups=True):
        live(11, tmp_path, 8)
