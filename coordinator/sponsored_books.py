"""What the house pays for its hosts' claims: decided and written before our signature leaves.

In:   one batch at work (`Work`), and an event.
Out:  a `Sponsored`; or a refusal by name, and nothing done.
Rules:
  1. Whether the house pays is decided inside the transaction that writes it down: two claims at
     once, or a process that dies, spend no lamport twice. The rules are `onchain.sponsor`'s.
  2. A claim that is out counts with all that it may cost. One that expired cost nothing, one that
     failed its fee; both count among a wallet's claims of the day: failing on purpose is no way
     around the rules.
  3. A wallet has one claim out at a time; all together `SPONSORED_OUT_MAX`.
  4. A claim moves forward only (`_MOVES`), and is never deleted.
Not covered: a database that was restored from a backup: it knows nothing of what was paid since,
so that a wallet may be paid for an account a second time; the day's budget still holds from then.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from coordinator import chain_events as cev
from coordinator.claim_limits import SPONSORED_OUT_MAX
from coordinator.protocol.errors import Refusal
from coordinator.store.settlement_values import Sponsored, SponsoredState as S, SponsorUse
from coordinator.work import Work
from onchain.sponsor import (
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

_CODES: Final[dict[type[SponsorRefused], str]] = {
    PayoutTooSmall: "payout_too_small",
    TokenAccountPaidBefore: "token_account_paid",
    SponsoredTooOften: "sponsored_too_often",
    SponsorshipTooDear: "sponsorship_too_dear",
    SponsorBudgetSpent: "sponsor_budget_spent",
}
#: State → those that may follow it.
_MOVES: Final[dict[S, frozenset[S]]] = {
    S.SENT: frozenset({S.CONFIRMED, S.FINALIZED, S.EXPIRED, S.FAILED}),
    # A fork may take back what was confirmed.
    S.CONFIRMED: frozenset({S.FINALIZED, S.EXPIRED, S.FAILED}),
    S.FINALIZED: frozenset(),
    S.EXPIRED: frozenset(),
    S.FAILED: frozenset(),
}


def check(rules: SponsorRules, use: SponsorUse, request: SponsorRequest, now_ms: int) -> None:
    """Whether the house pays for a claim.

    Args:
        rules: As configured.
        use: What was paid before, since `since_ms(rules, now_ms)`.
        request: What the claim would take.
        now_ms: Our clock.

    Raises:
        Refusal: it does not; the code says why.
    """
    if use.is_out:
        raise Refusal("claim_out")
    if use.out >= SPONSORED_OUT_MAX:
        raise Refusal("busy", "as many sponsored claims are on their way as can be: try again soon")
    history = SponsorHistory(
        tuple(each // 1000 for each in use.taken_ms), use.token_account_paid, use.lamports
    )
    try:
        check_sponsorship(rules, history, request, now_ms // 1000)
    except SponsorRefused as error:
        raise Refusal(_CODES[type(error)]) from error


def since_ms(rules: SponsorRules, now_ms: int) -> int:
    """Where the window begins that budgets and numbers of claims count in."""
    return now_ms - 1000 * rules.window_s


def take(work: Work, event: cev.SponsorAsked) -> Sponsored:
    """Note that the house pays for a claim, if it does."""
    if work.house.on_chain is None:
        raise Refusal("no_chain")
    known = work.batch.sponsored(event.name)
    if known is not None:
        return known
    use = work.batch.sponsor_use(event.wallet, since_ms(event.rules, work.now_ms))
    check(event.rules, use, event.request, work.now_ms)
    sponsored = Sponsored(
        name=event.name,
        wallet=event.wallet,
        state=S.SENT,
        taken_ms=work.now_ms,
        pay=event.request.payout,
        lamports=event.request.lamports,
        fee_lamports=event.request.fee_lamports,
        opens_token_account=event.request.opens_token_account,
        signature=event.signature,
        last_height=event.last_height,
        raw=event.raw,
    )
    work.batch.save_sponsored(sponsored)
    return sponsored


def move(work: Work, event: cev.SponsoredMoved) -> Sponsored:
    """Note what became of it; what it did not cost is free again (rule 2)."""
    known = work.batch.sponsored(event.name)
    if known is None:
        raise Refusal("claim_unknown")
    if event.state not in _MOVES[known.state]:
        return known
    after = replace(known, state=event.state)
    if not _MOVES[event.state]:
        after = replace(after, raw=b"", ended_ms=work.now_ms)
    if event.state in {S.EXPIRED, S.FAILED} and event.is_free:
        cost = known.fee_lamports if event.state is S.FAILED else 0
        after = replace(after, lamports=cost, opens_token_account=False)
    work.batch.save_sponsored(after)
    return after
