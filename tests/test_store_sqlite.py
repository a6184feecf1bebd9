"""The SQLite store: the conformance suite on a file and in memory, then what only SQLite has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from coordinator.store.sqlite import open_sqlite
from tests.store_conformance import StoreConformance
from tests.store_machine import machine_of
from tests.store_values import House


class TestSqliteFile(StoreConformance):
    @pytest.fixture
    def house(self, tmp_path: Path) -> Iterator[House]:
        house = House(lambda: open_sqlite(tmp_path / "store.db"))
        yield house
        house.store.close()


class TestSqliteInMemory(StoreConformance):
    @pytest.fixture
    def house(self) -> Iterator[House]:
        house = House(lambda: open_sqlite(":memory:"), can_reopen=False)
        yield house
        house.store.close()


_Machine = machine_of(lambda folder: open_sqlite(folder / "store.db"))
_Machine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


@pytest.mark.slow
class TestSqliteMachine(_Machine.TestCase):  # type: ignore[misc, name-defined]
    """Any order of batches, failures and reopenings, against a dictionary."""
