"""The short form of the fuzz: the same supply of broken things, in a second or two each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fuzz import GROWTH_MB_MAX, Fuzz, fuzz_decoder, fuzz_http, fuzz_socket, live


def test_the_decoders_answer_every_frame_with_a_message_or_a_protocol_error() -> None:
    found = fuzz_decoder(3_000, seed=7)

    assert sum(found.values()) == 3_000
    # It reaches deep enough that some pass, and wide enough that each kind of fault is met.
    assert found["a message"] > 100
    assert {"malformed", "unknown_type", "too_deep"} <= set(found)


def test_a_seed_is_a_supply_that_can_be_had_again() -> None:
    one, other = Fuzz(3), Fuzz(3)

    assert [one.frame() for _ in range(200)] == [other.frame() for _ in range(200)]


@pytest.mark.slow
@pytest.mark.parametrize(("part", "count"), [(fuzz_socket, 80), (fuzz_http, 300)])
async def test_a_live_house_stands_a_flood_of_broken_words(
    part: Callable[..., Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.door.REQUESTS_BURST", 10**9)
    found, grown_mb = await live(part, count, seed=11)

    assert sum(found.values()) > 10
    assert grown_mb < GROWTH_MB_MAX
