"""What one look at the chain asks for: what is new, and of long lists a part; nothing is missed.

The limits are small here, so that a market of twenty owners is a long list.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from coordinator.settlement import reading, sweeping
from coordinator.settlement.sweeping import PASS_PAUSE_S
from onchain import calls
from onchain.address import encode_address
from onchain.chain import BytesAre, Filter, ProgramAccounts
from onchain.chain_errors import ChainUnreachable
from onchain.simulated import SimulatedChain
from tests.build import ALICE, BOB, CREDIT, OPERATOR
from tests.chains import key
from tests.settling import House, open_house

OWNERS = [key(f"owner {number}").address for number in range(20)]


@dataclass
class LongLists:
    """A chain whose whole lists are too long for an answer; it remembers what was listed."""

    inner: SimulatedChain
    is_long: bool = True
    #: Lists leave everything out.
    is_blind: bool = False
    asked: list[Sequence[Filter]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def program_accounts(
        self, program: bytes, filters: Sequence[Filter] = (), *more: Any
    ) -> ProgramAccounts:
        self.asked.append(filters)
        found = await self.inner.program_accounts(program, filters, *more)
        if self.is_long and len(filters) == 2 and len(found.values) > 5:
            raise ChainUnreachable("did not answer: AnswerTooLong")
        return ProgramAccounts(found.slot, ()) if self.is_blind else found

    def pages(self) -> int:
        """Pages of deposits or claims since the last time."""
        asked, self.asked = self.asked, []
        return sum(
            len(each.value) == 1 for _, *f in asked for each in f if isinstance(each, BytesAre)
        )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = await open_house(tmp_path)
    yield made
    await made.close()


async def with_long_lists(house: House, *, is_long: bool = True) -> LongLists:
    chain = LongLists(house.bazaar.chain, is_long)
    house.chain = chain
    await house.restart()
    return chain


def credit(house: House, owner: bytes) -> int:
    return house.market.balance(f"credit:{encode_address(owner)}")


async def deposit_for_all(house: House) -> None:
    for number, owner in enumerate(OWNERS):
        await house.bazaar.deposit(owner, 1_000 + number)
    house.later()


async def test_a_list_that_is_too_long_for_an_answer_is_walked_by_pages_over_several_looks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "RECORDS_LISTED_MAX", 64)
    chain = await with_long_lists(house)
    await deposit_for_all(house)
    assert await house.round() == "chain_unreachable"

    walked = []
    for _ in range(4):
        chain.pages()
        assert await house.round() == ""
        walked.append(chain.pages())

    assert walked == [64, 64, 64, 64]
    assert [credit(house, owner) for owner in OWNERS] == [1_000 + n for n in range(20)]
    assert await house.round() == ""
    assert chain.pages() == 0


async def test_a_new_deposit_is_asked_for_by_its_slot_and_no_list_is_walked(house: House) -> None:
    chain = await with_long_lists(house, is_long=False)
    assert await house.round() == ""
    await house.bazaar.deposit(BOB.address, 500)
    house.later()
    chain.asked.clear()

    assert await house.round() == ""

    assert credit(house, BOB.address) == CREDIT + 500
    assert 1 <= len(chain.asked) <= 4
    assert all(len(filters) == 3 for filters in chain.asked)
    chain.asked.clear()
    assert await house.round() == ""
    assert len(chain.asked) <= 2  # who asked to leave; the ledger's sums have not moved


async def test_who_asks_to_leave_is_seen_at_once_and_who_stays_after_all_too(
    house: House,
) -> None:
    chain = await with_long_lists(house, is_long=False)
    assert await house.round() == ""
    asks = calls.request_exit(house.bazaar.market, owner=BOB.address)
    await house.bazaar.do(asks, signers=(BOB,))
    house.later()
    chain.is_long = True  # no whole list from here on
    assert await house.round() == ""
    assert house.market.reader.leaving() == [BOB.address]
    assert house.market.reader.deposit(BOB.address).exit_requested_s > 0

    stays = calls.cancel_exit(house.bazaar.market, owner=BOB.address)
    await house.bazaar.do(stays, signers=(BOB,))
    house.later()
    assert await house.round() == ""
    assert house.market.reader.leaving() == []


async def test_more_changes_than_fit_into_one_look_are_booked_once_each_over_several(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await house.round() == ""
    monkeypatch.setattr(reading, "RECORDS_CHANGED_MAX", 7)
    await deposit_for_all(house)

    booked = []
    for _ in range(4):
        assert await house.round() == ""
        booked.append(sum(credit(house, owner) > 0 for owner in OWNERS))

    assert booked == [7, 14, 20, 20]
    assert [credit(house, owner) for owner in OWNERS] == [1_000 + n for n in range(20)]


async def test_a_claim_is_found_in_a_long_list_and_what_nobody_earned_is_told_at_its_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "RECORDS_WHOLE_MAX", 0)
    monkeypatch.setattr(sweeping, "RECORDS_LISTED_MAX", 200)
    earned = house.market.earn()
    await house.settle()
    await with_long_lists(house)
    assert await house.round() == ""
    assert await house.claim(OPERATOR.address) == earned
    house.later()
    looks = 0
    while house.market.reader.claim(OPERATOR.address).claimed == 0:
        assert await house.round() == ""
        looks += 1
        assert looks <= 2
    while looks < 2:
        assert await house.round() == ""
        looks += 1

    assert house.settlement.state.unexplained == 0
    chain = house.chain
    chain.pages()
    assert await house.round() == ""
    assert chain.pages() == 0  # the sums agree: nothing is walked
    house.later(PASS_PAUSE_S)


async def test_a_deposit_that_a_list_left_out_is_found_by_the_next_pass(house: House) -> None:
    chain = await with_long_lists(house, is_long=False)
    assert await house.round() == ""
    await house.bazaar.deposit(ALICE.address, 300)
    house.later()
    chain.is_blind = True
    assert await house.round() == ""
    assert credit(house, ALICE.address) == CREDIT
    chain.is_blind = False
    house.later()

    assert await house.round() == ""
    assert credit(house, ALICE.address) == CREDIT + 300
