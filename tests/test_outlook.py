"""What the program would answer: each step of the page, and sums at their borders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from onchain.chain import ChainClock
from onchain.leaves import Kind
from onchain.merkle import hash_node
from onchain.outlook import (
    Outlook,
    claim_outlook,
    cover_outlook,
    exit_door,
    exit_outlook,
    headroom,
    is_due,
    promoted,
    redeem_outlook,
    shortest_exit_after,
)
from onchain.settlement_tree import Proof
from onchain.views import ClaimRecord, DepositRecord, Ledger, Root
from onchain.vouchers import voucher_for
from tests.ledger_values import ACTIVE, DAY, LIMITS, MARKET, NOW, ledger

WALLET = b"W" * 32
CLOCK = ChainClock(slot=1_000, epoch=0, unix_s=NOW)
RECORD = ClaimRecord(2_000, 2_000, 255, 255)


def proof(kind: Kind, amount: int, epoch: int = 3) -> Proof:
    """The first of two leaves."""
    return Proof(
        kind=kind,
        ledger=MARKET.ledger,
        address=WALLET,
        epoch=epoch,
        index=0,
        amount=amount,
        path=(b"s" * 32,),
    )


def under(leaf: Proof, **changes: Any) -> Ledger:
    """A ledger whose active root has this leaf."""
    root = msgspec.structs.replace(
        ACTIVE, epoch=leaf.epoch, root=hash_node(leaf.leaf, leaf.path[0])
    )
    return ledger(**({"active": root} | changes))


EARNED = proof(Kind.EARNINGS, 5_000)


def test_a_claim_pays_the_difference() -> None:
    assert claim_outlook(under(EARNED), RECORD, EARNED, CLOCK) == Outlook(pay=3_000)
    assert claim_outlook(under(EARNED), ClaimRecord(), EARNED, CLOCK) == Outlook(pay=5_000)


def test_a_claim_under_the_previous_root_pays_too() -> None:
    before = msgspec.structs.replace(under(EARNED).active, epoch=2)
    old = replace(EARNED, epoch=2)

    assert claim_outlook(ledger(previous=before), RECORD, old, CLOCK).pay == 3_000


def test_a_claim_pays_what_the_breaker_lets_out() -> None:
    limits = msgspec.structs.replace(LIMITS, window_limit=1_000, window_secs=1_000)
    flow = {"limits": limits, "flow_level": 800, "flow_updated_at": NOW - 100}

    assert claim_outlook(under(EARNED, **flow), RECORD, EARNED, CLOCK) == Outlook(pay=300)


@pytest.mark.parametrize(
    ("changes", "record", "leaf", "wanted"),
    [
        ({"paused_until": (0, NOW + 1, 0, 0)}, RECORD, EARNED, Outlook(0, "Paused", NOW + 1)),
        ({}, RECORD, replace(EARNED, epoch=4), Outlook(0, "StaleEpoch")),
        ({"previous": Root()}, RECORD, replace(EARNED, epoch=0), Outlook(0, "StaleEpoch")),
        ({}, RECORD, replace(EARNED, amount=5_001), Outlook(0, "InvalidProof")),
        ({}, ClaimRecord(5_000, 5_000, 1), EARNED, Outlook(0, "NothingToClaim")),
        (
            {"flow_level": LIMITS.window_limit, "flow_updated_at": NOW},
            RECORD,
            EARNED,
            Outlook(0, "RateLimited", NOW + 1),
        ),
        ({"total_claimed": 7_001}, RECORD, EARNED, Outlook(0, "ExceedsTotal")),
    ],
    ids=lambda each: each.refusal if isinstance(each, Outlook) else "",
)
def test_a_claim_is_refused(
    changes: dict[str, Any], record: ClaimRecord, leaf: Proof, wanted: Outlook
) -> None:
    state = under(EARNED, **changes)

    assert claim_outlook(state, record, leaf, CLOCK) == wanted


def test_the_total_may_be_reached() -> None:
    state = under(EARNED, total_claimed=7_000)

    assert claim_outlook(state, RECORD, EARNED, CLOCK).pay == 3_000


def test_a_pause_that_is_over_stops_nothing() -> None:
    state = under(EARNED, paused_until=(0, NOW, 0, 0))

    assert claim_outlook(state, RECORD, EARNED, CLOCK).is_open


def test_covering_pays_nothing_and_needs_a_record() -> None:
    ahead = ClaimRecord(6_000, 2_000, 255)
    state = under(EARNED, advance=4_000, total_claimed=6_000)

    assert cover_outlook(state, ahead, EARNED, CLOCK) == Outlook()
    assert claim_outlook(state, ahead, EARNED, CLOCK) == Outlook()
    assert cover_outlook(state, ClaimRecord(), EARNED, CLOCK).refusal == "InvalidRecord"
    covered = ClaimRecord(6_000, 5_000, 255)
    assert cover_outlook(state, covered, EARNED, CLOCK).refusal == "NothingToClaim"


# ---- roots that become due --------------------------------------------------------------------

PENDING = Root(4, b"n" * 32, b"d" * 32, 11_000, 400, NOW - DAY, NOW, 2)


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, False),
        ({"pending": PENDING, "pending_min_slot": 1_000}, True),
        ({"pending": PENDING, "pending_min_slot": 1_001}, False),
        ({"pending": PENDING, "pending_min_slot": 1_001, "approved": 1}, True),
        ({"pending": PENDING, "paused_until": (0, 0, NOW + 1, 0)}, False),
        ({"pending": PENDING, "paused_until": (0, 0, NOW, 0)}, True),
        ({"pending": msgspec.structs.replace(PENDING, active_at=NOW + 1)}, False),
    ],
)
def test_a_root_is_due_by_time_and_slot_or_approval(changes: dict[str, Any], due: bool) -> None:
    assert is_due(ledger(**changes), CLOCK) is due


def test_a_due_root_is_the_one_that_claims_are_checked_against() -> None:
    before = ledger(pending=PENDING, approved=1)

    after = promoted(before, CLOCK)

    assert after.previous == before.active
    assert after.active == msgspec.structs.replace(PENDING, active_at=NOW)
    assert (after.pending, after.approved, after.revocable) == (Root(), 0, 1)
    assert promoted(ledger(), CLOCK) == ledger()


# ---- breakers ---------------------------------------------------------------------------------


@given(
    st.integers(0, 2**64 - 1),
    st.integers(-100, 10**6),
    st.integers(1, 2**64 - 1),
    st.integers(1, 30 * DAY),
)
def test_headroom_is_within_the_limit_and_never_falls_with_time(
    level: int, elapsed: int, limit: int, window: int
) -> None:
    room = headroom(level, 0, limit, window, elapsed)

    assert 0 <= room <= limit
    assert headroom(level, 0, limit, window, elapsed + 1) >= room
    assert headroom(level, 0, limit, window, window) == limit


def test_a_bucket_empties_evenly() -> None:
    assert headroom(1_000, 0, 1_000, 100, 0) == 0
    assert headroom(1_000, 0, 1_000, 100, 99) == 990
    assert headroom(1_000, 50, 1_000, 100, 0) == 0
    assert headroom(7, 0, 7, 10, 9) == 6


# ---- vouchers ---------------------------------------------------------------------------------

VOUCHER = voucher_for(MARKET, WALLET, cumulative=2_500, expires_at=NOW, key_epoch=1)


@pytest.mark.parametrize(
    ("changes", "record", "wanted"),
    [
        ({}, RECORD, Outlook(pay=500)),
        ({"voucher_key": bytes(32)}, RECORD, Outlook(0, "VouchersOff")),
        ({"paused_until": (0, 0, 0, NOW + 9)}, RECORD, Outlook(0, "Paused", NOW + 9)),
        ({"key_epoch": 2}, RECORD, Outlook(0, "BadVoucher")),
        ({}, ClaimRecord(2_500, 0, 1), Outlook(0, "NothingToClaim")),
        ({"advance": 5_000}, RECORD, Outlook(0, "AdvanceExhausted")),
        ({"reserve": 100, "advance": 0}, RECORD, Outlook(pay=100)),
        ({"advance": 4_900}, RECORD, Outlook(pay=100)),
        ({"advance": 900}, ClaimRecord(2_000, 1_100, 1), Outlook(pay=100)),
        ({"advance": 5_000}, ClaimRecord(2_000, 2_300, 1), Outlook(pay=300)),
        (
            {"voucher_flow_level": LIMITS.voucher_limit, "voucher_flow_updated_at": NOW},
            RECORD,
            Outlook(0, "RateLimited", NOW + 1),
        ),
    ],
)
def test_a_voucher_pays_within_reserve_caps_and_breaker(
    changes: dict[str, Any], record: ClaimRecord, wanted: Outlook
) -> None:
    assert redeem_outlook(ledger(**changes), record, VOUCHER, CLOCK) == wanted


def test_a_voucher_ends_after_its_last_second() -> None:
    late = ChainClock(1_000, 0, NOW + 1)

    assert redeem_outlook(ledger(), RECORD, VOUCHER, late).refusal == "VoucherExpired"


# ---- exits ------------------------------------------------------------------------------------

CREDIT = proof(Kind.EXIT, 400)
OWNER = DepositRecord(MARKET.ledger, WALLET, 1_000, 100, 0, 0, 255)
OLD = {"active_at": NOW - 10 * DAY, "published_at": NOW - 11 * DAY}


def exits_under(leaf: Proof, root: dict[str, int], **changes: Any) -> Ledger:
    state = under(leaf, **changes)
    return msgspec.structs.replace(state, active=msgspec.structs.replace(state.active, **root))


@pytest.mark.parametrize(
    ("root", "changes", "record", "wanted"),
    [
        (OLD, {}, OWNER, Outlook(pay=300)),
        (OLD, {"paused_until": (0, NOW + 5, 0, 0)}, OWNER, Outlook(0, "Paused", NOW + 5)),
        (
            OLD | {"active_at": NOW - 10 * DAY + 1},
            {},
            OWNER,
            Outlook(0, "ExitClosed", NOW + 1),
        ),
        (OLD, {}, DepositRecord(), Outlook(0, "InvalidRecord")),
        (OLD, {}, msgspec.structs.replace(OWNER, exited=400), Outlook(0, "NothingToExit")),
        (OLD, {"total_exited": 201}, OWNER, Outlook(0, "ExceedsTotal")),
        (OLD, {"total_exited": 200}, OWNER, Outlook(pay=300)),
        (
            OLD,
            {"pending": msgspec.structs.replace(PENDING, active_at=NOW + 9), "total_exited": 101},
            OWNER,
            Outlook(0, "ExceedsTotal"),
        ),
    ],
)
def test_an_exit_pays_what_is_unspent(
    root: dict[str, int], changes: dict[str, Any], record: DepositRecord, wanted: Outlook
) -> None:
    assert exit_outlook(exits_under(CREDIT, root, **changes), record, CREDIT, CLOCK) == wanted


def test_an_exit_is_under_the_active_root_only() -> None:
    state = exits_under(CREDIT, OLD)
    moved = msgspec.structs.replace(state, previous=state.active, active=ACTIVE)
    moved = msgspec.structs.replace(moved, active=msgspec.structs.replace(ACTIVE, epoch=4))

    assert exit_outlook(moved, OWNER, CREDIT, CLOCK).refusal == "StaleEpoch"


def test_the_second_door_opens_for_who_asked_before_the_root() -> None:
    asked = msgspec.structs.replace(OWNER, exit_requested_at=NOW - 10 * DAY)
    fresh = {"active_at": NOW - DAY, "published_at": NOW - 10 * DAY + 600}
    state = exits_under(CREDIT, fresh)

    assert exit_outlook(state, asked, CREDIT, CLOCK).pay == 300
    early = exits_under(CREDIT, fresh | {"published_at": NOW - 10 * DAY + 599})
    assert exit_outlook(early, asked, CREDIT, CLOCK).refusal == "ExitClosed"
    assert exit_door(early, asked) == NOW + 9 * DAY
    later = msgspec.structs.replace(asked, exit_requested_at=NOW - 10 * DAY + 1)
    assert exit_door(exits_under(CREDIT, fresh | {"published_at": NOW}), later) == NOW + 1


@pytest.mark.parametrize(
    ("kind", "proposed", "shortest"),
    [(1, 9 * DAY, 9 * DAY), (1, 11 * DAY, 10 * DAY), (2, 0, 10 * DAY), (0, 0, 10 * DAY)],
)
def test_a_proposal_of_limits_may_open_the_first_door_sooner(
    kind: int, proposed: int, shortest: int
) -> None:
    limits = msgspec.structs.replace(LIMITS, exit_after=proposed)

    assert shortest_exit_after(ledger(proposal_kind=kind, proposal_limits=limits)) == shortest
