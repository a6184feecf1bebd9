"""What the house pays for claims, as its books decide it: whatever is asked, in whatever order.

A model beside the books plays the sponsor's account: it pays what a chain would take of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from coordinator import chain_events as cev
from coordinator.claim_limits import SPONSORED_OUT_MAX
from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import Sponsored, SponsoredState as S
from onchain.sponsor import SponsorRequest, SponsorRules
from tests.build import Market
from tests.chain_market import ChainMarket

DAY_MS = 24 * 3600 * 1000
RULES = SponsorRules(payout_min=1_000, lamports_window_max=10_000_000)
FIRST = SponsorRequest(
    payout=1_000, fee_lamports=10_000, opens_token_account=True, opens_record=True
)
AGAIN = replace(FIRST, opens_token_account=False, opens_record=False)
WALLETS = [bytes([100 + number]) * 32 for number in range(4)]


@pytest.fixture
def market() -> Iterator[ChainMarket]:
    made = ChainMarket()
    yield made
    made.close()


@dataclass
class Asker:
    """Asks under fresh names."""

    market: Market
    rules: SponsorRules = RULES
    number: int = 0

    def event(self, wallet: bytes, request: SponsorRequest) -> cev.SponsorAsked:
        self.number += 1
        name = self.number.to_bytes(32, "big")
        return cev.SponsorAsked(name, wallet, self.rules, request, bytes(64), b"signed", 150)

    def ask(self, wallet: bytes, request: SponsorRequest = FIRST) -> Sponsored:
        taken: Sponsored = self.market.ask(self.event(wallet, request))
        return taken

    def refused(self, wallet: bytes, request: SponsorRequest = FIRST) -> str:
        with pytest.raises(Refusal) as caught:
            self.ask(wallet, request)
        return caught.value.code

    def move(self, taken: Sponsored, state: S, **more: Any) -> Sponsored:
        moved: Sponsored = self.market.ask(cev.SponsoredMoved(taken.name, state, **more))
        return moved


def test_a_claim_is_written_with_what_it_may_cost(market: ChainMarket) -> None:
    taken = Asker(market).ask(WALLETS[0])

    assert market.reader.sponsored(taken.name) == taken
    assert (taken.state, taken.lamports, taken.raw) == (S.SENT, FIRST.lamports, b"signed")


def test_a_claim_that_is_told_again_is_answered_as_before(market: ChainMarket) -> None:
    asker = Asker(market)
    event = asker.event(WALLETS[0], FIRST)
    first = market.ask(event)
    market.now_ms += 5

    assert market.ask(msgspec.structs.replace(event, raw=b"other")) == first
    assert market.reader.sponsor_use(WALLETS[0], 0).lamports == FIRST.lamports


@pytest.mark.parametrize(
    ("states", "lamports", "paid"),
    [
        ([S.CONFIRMED], FIRST.lamports, True),
        ([S.CONFIRMED, S.FINALIZED], FIRST.lamports, True),
        ([S.FINALIZED, S.EXPIRED], FIRST.lamports, True),
        ([S.EXPIRED], 0, False),
        ([S.EXPIRED, S.FINALIZED], 0, False),
        ([S.FAILED], FIRST.fee_lamports, False),
        ([S.CONFIRMED, S.EXPIRED], 0, False),
        ([S.CONFIRMED, S.SENT], FIRST.lamports, True),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_a_claim_costs_follows_from_how_it_ended(
    market: ChainMarket, states: list[S], lamports: int, *, paid: bool
) -> None:
    asker = Asker(market)
    taken = asker.ask(WALLETS[0])
    for state in states:
        asker.move(taken, state)
    use = market.reader.sponsor_use(WALLETS[0], 0)

    assert (use.lamports, use.token_account_paid, len(use.taken_ms)) == (lamports, paid, 1)
    final = states[0] if states[0] != S.CONFIRMED else states[-1]
    found = market.reader.sponsored(taken.name)
    assert found is not None
    assert bool(found.ended_ms) is (final in {S.FINALIZED, S.EXPIRED, S.FAILED})
    assert (found.raw == b"") is bool(found.ended_ms)


def test_what_may_have_landed_stays_paid(market: ChainMarket) -> None:
    asker = Asker(market)
    ended = asker.move(asker.ask(WALLETS[0]), S.EXPIRED, is_free=False)

    assert (ended.lamports, ended.opens_token_account) == (FIRST.lamports, True)


def test_refusals_have_names(market: ChainMarket) -> None:
    asker = Asker(market)
    dear = replace(FIRST, fee_lamports=60_000)
    assert asker.refused(WALLETS[0], replace(FIRST, payout=999)) == "payout_too_small"
    assert asker.refused(WALLETS[0], dear) == "sponsorship_too_dear"
    one = asker.ask(WALLETS[0])
    assert asker.refused(WALLETS[0], AGAIN) == "claim_out"
    asker.move(one, S.FINALIZED)
    assert asker.refused(WALLETS[0], FIRST) == "token_account_paid"
    asker.move(asker.ask(WALLETS[0], AGAIN), S.FINALIZED)
    assert asker.refused(WALLETS[0], AGAIN) == "sponsored_too_often"
    for wallet in WALLETS[1:3]:
        asker.ask(wallet)
    assert asker.refused(WALLETS[3]) == "sponsor_budget_spent"
    market.now_ms += DAY_MS
    assert asker.ask(WALLETS[3]).state is S.SENT


def test_so_many_are_out_at_once_and_no_more(market: ChainMarket) -> None:
    asker = Asker(market, replace(RULES, lamports_window_max=10**12))
    for number in range(SPONSORED_OUT_MAX):
        asker.ask(number.to_bytes(32, "big"))

    assert asker.refused(WALLETS[0]) == "busy"


def test_a_claim_that_nobody_asked_for_does_not_move(market: ChainMarket) -> None:
    with pytest.raises(Refusal) as caught:
        market.ask(cev.SponsoredMoved(bytes(32), S.FINALIZED))
    assert caught.value.code == "claim_unknown"


# ---- any order ----------------------------------------------------------------------------------

WISH = st.tuples(
    st.just("ask"),
    st.sampled_from(WALLETS),
    st.builds(
        SponsorRequest,
        payout=st.sampled_from([1, 999, 1_000, 10**9]),
        fee_lamports=st.integers(5_000, 100_000),
        opens_token_account=st.booleans(),
        opens_record=st.booleans(),
    ),
)
MOVE = st.tuples(st.just("move"), st.integers(0, 40), st.sampled_from([*S]), st.booleans())
WAIT = st.tuples(st.just("wait"), st.sampled_from([1, 1_000, DAY_MS // 2, DAY_MS - 1, DAY_MS]))


@dataclass
class Account:
    """The sponsor's account as a chain would have it: (when the house agreed, what it cost)."""

    costs: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    opened: set[bytes] = field(default_factory=set)

    def took(self, taken: Sponsored) -> None:
        """Out: it may cost all of it, now or later."""
        self.costs[taken.name] = (taken.taken_ms, taken.lamports)
        if taken.opens_token_account:
            assert taken.wallet not in self.opened, "paid for an account twice"
            self.opened.add(taken.wallet)

    def ended(self, was: Sponsored, state: S, *, is_free: bool) -> None:
        if state in {S.EXPIRED, S.FAILED} and is_free:
            cost = was.fee_lamports if state is S.FAILED else 0
            self.costs[was.name] = (was.taken_ms, cost)
            if was.opens_token_account:
                self.opened.discard(was.wallet)

    def worst_window(self) -> int:
        """The most that any window of a day cost."""
        return max(
            (
                sum(cost for other, cost in self.costs.values() if at - DAY_MS < other <= at)
                for at, _ in self.costs.values()
            ),
            default=0,
        )


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(WISH, WISH, MOVE, WAIT), max_size=60), st.integers(10_000, 12_000_000))
def test_no_order_of_claims_spends_more_than_the_windows_budget(
    steps: list[tuple[Any, ...]], budget: int
) -> None:
    """Nor pays for a token account twice, nor has two claims of one wallet out."""
    market = ChainMarket()
    asker = Asker(market, replace(RULES, lamports_window_max=budget))
    account, known = Account(), list[Sponsored]()
    for kind, *rest in steps:
        if kind == "wait":
            market.now_ms += rest[0]
        elif kind == "ask":
            try:
                taken = asker.ask(*rest)
            except Refusal:
                continue
            known.append(taken)
            account.took(taken)
        elif known:
            number, state, is_free = rest
            was = market.reader.sponsored(known[number % len(known)].name)
            assert was is not None
            now = asker.move(was, state, is_free=is_free)
            if now != was:
                account.ended(was, state, is_free=is_free)
        assert account.worst_window() <= budget
        out = [each.wallet for each in market.reader.sponsored_out()]
        assert len(out) == len(set(out))
    total = sum(cost for _, cost in account.costs.values())
    assert total == sum(
        row.lamports for each in known if (row := market.reader.sponsored(each.name))
    )
    market.close()
