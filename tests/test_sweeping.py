"""Long lists of the chain: pages, passes and their pauses, places of records; filters by bytes."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, strategies as st

from coordinator.settlement import sweeping
from coordinator.settlement.sweeping import (
    PASS_EVERY_S,
    PASS_PAUSE_S,
    RECORDS_LISTED_MAX,
    RECORDS_WHOLE_MAX,
    Places,
    Sweep,
)
from onchain.chain import BytesAre
from onchain.chain_errors import ChainLied
from onchain.listing import PAGES, asked_in, deposit_page, deposited_in
from onchain.program.layout import DEPOSIT_RECORD

#: At 0.4 s a slot, 900 million years.
SLOT_MAX = 2**56
NOW_S = 1_800_000_000


def offset_of(name: str) -> int:
    """Where a field of a deposit record lies: each field's place in declared order."""
    sizes = {"pubkey": 32, "u64": 8, "i64": 8, "u8": 1, "u8*7": 7}
    at = 8
    for field in DEPOSIT_RECORD.fields:
        if field.name == name:
            return at
        at += sizes[field.type]
    raise AssertionError(name)


def lets_through(filters: list[BytesAre], name: str, value: int) -> bool:
    data = bytes(offset_of(name)) + value.to_bytes(8, "little")
    return any(data[each.offset :].startswith(each.value) for each in filters)


# ---- filters ------------------------------------------------------------------------------------
@given(st.integers(0, SLOT_MAX), st.integers(0, SLOT_MAX), st.integers(0, SLOT_MAX))
def test_no_deposit_of_a_range_of_slots_is_left_out(one: int, two: int, three: int) -> None:
    first, slot, last = sorted((one, two, three))
    filters = deposited_in(first, last)

    assert len(filters) <= 2
    assert lets_through(filters, "last_slot", slot)


def test_a_slot_of_a_future_that_no_chain_has_is_a_lie() -> None:
    with pytest.raises(ChainLied):
        deposited_in(5, 2**60)


@given(st.integers(0, 2**40), st.integers(0, 2**20))
def test_what_was_deposited_long_before_is_not_listed(first: int, length: int) -> None:
    filters = deposited_in(first, first + length)
    far = 2 * max(256, 256 * length)

    assert not lets_through(filters, "last_slot", first + length + far + 256)
    if first > far + 256:
        assert not lets_through(filters, "last_slot", first - far - 256)


@given(st.integers(86_400, 2**33), st.integers(0, 86_400))
def test_whoever_asked_to_leave_within_a_day_is_listed(now_s: int, ago: int) -> None:
    filters = asked_in(now_s)
    asked = now_s - ago

    assert len(filters) <= 2
    assert lets_through(filters, "exit_requested_at", asked) or asked < 2**24
    assert not lets_through(filters, "exit_requested_at", 0)


# ---- passes -------------------------------------------------------------------------------------
def walked(sweep: Sweep, now_s: int = NOW_S, records: int = 1) -> list[list[BytesAre]]:
    pages = sweep.pages()
    for _ in pages:
        sweep.saw(records, now_s)
    return pages


def test_a_short_list_is_asked_for_whole_and_again_whenever_there_is_a_reason() -> None:
    sweep = Sweep(deposit_page)
    assert sweep.is_due(NOW_S)
    sweep.begin(RECORDS_WHOLE_MAX, NOW_S)

    assert walked(sweep, records=RECORDS_WHOLE_MAX) == [[]]
    assert not sweep.is_running
    assert not sweep.is_due(NOW_S + PASS_EVERY_S - 1)
    assert sweep.is_due(NOW_S + PASS_EVERY_S)
    assert sweep.may_begin(NOW_S)


@pytest.mark.parametrize("count", [RECORDS_WHOLE_MAX + 1, 100_000, 1_000_000, 30_000_000])
def test_a_long_list_is_walked_once_through_in_looks_of_bounded_size(count: int) -> None:
    sweep = Sweep(deposit_page)
    sweep.begin(count, NOW_S)
    seen: list[list[BytesAre]] = []
    while sweep.is_running:
        pages = walked(sweep, records=count // PAGES)
        assert len(pages) * (count // PAGES) <= max(RECORDS_LISTED_MAX, count // PAGES)
        seen += pages

    assert sweep.is_paged
    assert seen == [[deposit_page(number)] for number in range(PAGES)]
    assert not sweep.may_begin(NOW_S + PASS_PAUSE_S - 1)
    assert sweep.may_begin(NOW_S + PASS_PAUSE_S)


def test_a_list_that_came_too_long_is_walked_by_pages_the_next_time() -> None:
    sweep = Sweep(deposit_page)
    sweep.begin(0, NOW_S)
    sweep.failed()
    assert not sweep.is_running
    assert sweep.may_begin(NOW_S)
    sweep.begin(0, NOW_S)

    assert sweep.is_paged
    sweep.failed()  # a page that did not come is asked for again
    assert sweep.pages()[0] == [deposit_page(0)]


# ---- places -------------------------------------------------------------------------------------
def place_of(wallet: bytes) -> bytes:
    """Addresses that often begin alike: four beginnings for all wallets."""
    digest = sha256(wallet).digest()
    return bytes([digest[0] & 3]) * 8 + digest[8:]


@given(st.lists(st.integers(0, 200), max_size=60), st.integers(1, 8))
def test_every_wallet_is_found_at_its_place_and_no_other(numbers: list[int], fresh: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "_FRESH_MAX", fresh)
        wallets = [bytes([number]) * 32 for number in dict.fromkeys(numbers)]
        places = Places(place_of)
        for wallet in wallets:
            places.add([wallet])

        assert len(places) == len(wallets)
        assert [places.get(place_of(wallet)) for wallet in wallets] == wallets
        assert places.get(place_of(bytes([201]) * 32)) is None
