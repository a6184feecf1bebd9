"""The short form of `python -m tests.kill_runs`: a few kills with everything switched on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill_runs import FullHouse
from tests.test_kill import live

KILLS = 6


@pytest.mark.slow
def test_kill_9_with_tls_backups_commands_and_blobs_loses_nothing(tmp_path: Path) -> None:
    seen = live(3, tmp_path, KILLS, FullHouse).seen

    assert seen["killed coordinator"] >= 3
    for what in ("command completed", "hashsearch completed", "blobs", "backups", "lies"):
        assert seen[what] > 0, f"a history without {what} shows little of it: {seen}"
