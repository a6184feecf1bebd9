"""Each broken house is found by the world, and by the promise that it breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.mutants import MUTANTS, found


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_house_is_found_by_the_promise_that_it_breaks(name: str, tmp_path: Path) -> None:
    seed, promise = found(MUTANTS[name], tmp_path)

    assert seed, "no seed found it"
    assert promise.startswith(MUTANTS[name].promises)
