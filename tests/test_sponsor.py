"""Who sponsors claims is not drained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onchain.sponsor import (
    CLAIM_RECORD_LAMPORTS,
    TOKEN_ACCOUNT_LAMPORTS,
    PayoutTooSmall,
    SponsorBudgetSpent,
    SponsoredTooOften,
    SponsorHistory,
    SponsorRefused,
    SponsorRequest,
    SponsorRules,
    SponsorshipTooDear,
    TokenAccountPaidBefore,
    check_sponsorship,
)

NOW = 1_700_000_000
RULES = SponsorRules(payout_min=1_000, lamports_window_max=10_000_000)
FIRST = SponsorRequest(
    payout=1_000, fee_lamports=5_000, opens_token_account=True, opens_record=True
)
REPEAT = replace(FIRST, opens_token_account=False, opens_record=False)


def test_what_a_claim_takes_is_added_up() -> None:
    assert FIRST.lamports == 5_000 + TOKEN_ACCOUNT_LAMPORTS + CLAIM_RECORD_LAMPORTS
    assert REPEAT.lamports == 5_000


def test_a_first_claim_is_paid_for() -> None:
    check_sponsorship(RULES, SponsorHistory(), FIRST, NOW)


@pytest.mark.parametrize(
    ("history", "request_", "error"),
    [
        (SponsorHistory(), replace(FIRST, payout=999), PayoutTooSmall),
        (SponsorHistory((), token_account_paid=True), FIRST, TokenAccountPaidBefore),
        (SponsorHistory((NOW - 86_399, NOW)), REPEAT, SponsoredTooOften),
        (SponsorHistory(), replace(FIRST, fee_lamports=50_001), SponsorshipTooDear),
        (SponsorHistory((), lamports_in_window=9_995_001), REPEAT, SponsorBudgetSpent),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_sponsor_refuses(
    history: SponsorHistory, request_: SponsorRequest, error: type[SponsorRefused]
) -> None:
    with pytest.raises(error):
        check_sponsorship(RULES, history, request_, NOW)


@pytest.mark.parametrize(
    ("history", "request_"),
    [
        (SponsorHistory((), token_account_paid=True), REPEAT),
        (SponsorHistory((NOW - 86_400, NOW)), REPEAT),
        (SponsorHistory(), replace(FIRST, fee_lamports=50_000)),
        (SponsorHistory((), lamports_in_window=9_995_000), REPEAT),
    ],
    ids=["repeat", "a day ago", "dearest", "last lamport"],
)
def test_borders_are_on_the_wallets_side(history: SponsorHistory, request_: SponsorRequest) -> None:
    check_sponsorship(RULES, history, request_, NOW)


def test_nothing_is_paid_for_nothing() -> None:
    """Whatever was configured: a claim that pays nothing would only cost."""
    with pytest.raises(PayoutTooSmall):
        check_sponsorship(
            replace(RULES, payout_min=0), SponsorHistory(), replace(REPEAT, payout=0), NOW
        )


def test_closing_the_token_account_again_and_again_earns_one_rent_only() -> None:
    history, paid = SponsorHistory(), 0
    for day in range(100):
        request = replace(REPEAT, opens_token_account=True)
        try:
            check_sponsorship(RULES, history, request, NOW + day * 86_400)
        except SponsorRefused:
            continue
        paid += request.lamports
        history = SponsorHistory((NOW + day * 86_400,), token_account_paid=True)

    assert paid == TOKEN_ACCOUNT_LAMPORTS + 5_000
