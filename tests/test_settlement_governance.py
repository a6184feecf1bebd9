"""The settlement model's governance: pauses, limits, proposals, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.settlement_model.governing import MAY_FALL, MAY_RISE
from tests.settlement_model.market import Answer, Market, no, ok
from tests.settlement_model.proposals import Kind
from tests.settlement_model.setting import DAY, HOUR, LIMITS, key
from tests.settlement_model.state import I64_MAX, Limits

WEEK = 7 * DAY


@pytest.fixture
def market() -> Market:
    return Market()


def paused(market: Market, role: str, flags: int) -> Answer:
    return market.by(role, "set_paused", flags=flags)


# Pauses


def test_the_guardian_pauses_for_three_days_and_rests_for_seven(market: Market) -> None:
    began = market.now
    no(paused(market, "guardian", 0), "BadArgs")
    no(paused(market, "guardian", 16), "BadArgs")
    no(paused(market, "publisher", 1), "Unauthorized")
    ok(paused(market, "guardian", 1))
    no(market.deposit("alice", 10), "Paused")
    market.wait(DAY)
    ok(paused(market, "guardian", 1 | 8))
    assert market.ledger.paused_until == [began + 3 * DAY, 0, 0, began + 3 * DAY]
    market.wait(2 * DAY - 1)
    no(market.deposit("alice", 10), "Paused")
    market.wait(1)
    ok(market.deposit("alice", 10))
    no(paused(market, "guardian", 4), "PauseSpent")
    market.wait(WEEK - 1)
    no(paused(market, "guardian", 4), "PauseSpent")
    market.wait(1)
    ok(paused(market, "guardian", 4))
    no(market.publish({"wally": 1}, {}), "Paused")


def test_the_administrator_gives_the_guardian_its_pause_back(market: Market) -> None:
    ok(paused(market, "guardian", 2))
    market.wait(3 * DAY)
    no(paused(market, "guardian", 8), "PauseSpent")
    ok(paused(market, "admin", 0))
    ok(paused(market, "guardian", 8))
    # Claims rest for as long as they were paused, whoever asks.
    no(paused(market, "guardian", 2), "PauseSpent")
    no(paused(market, "admin", 2), "PauseSpent")
    market.wait(3 * DAY - 1)
    no(paused(market, "admin", 2), "PauseSpent")
    market.wait(1)
    ok(paused(market, "admin", 2))


def test_claims_are_paused_for_fourteen_days_at_most_in_any_twenty_eight(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 100}, {"alice": 900}))
    began = market.now
    ok(paused(market, "guardian", 2))
    market.wait(2 * DAY)
    ok(paused(market, "admin", 15))
    ok(paused(market, "admin", 2))
    assert market.ledger.paused_until == [I64_MAX, began + 14 * DAY, I64_MAX, I64_MAX]
    for answer in (market.claim("wally"), market.leave("alice"), market.claim("wally", 1, "cover")):
        no(answer, "Paused")
    market.wait(12 * DAY)
    ok(market.claim("wally"))
    no(paused(market, "admin", 3), "PauseSpent")
    market.wait(14 * DAY - 1)
    no(paused(market, "admin", 2), "PauseSpent")
    market.wait(1)
    ok(paused(market, "admin", 2))


def test_a_paused_publication_promotes_nothing_and_a_proposal_lifts_it(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.publish({"wally": 100}, {"alice": 900}))
    ok(market.approve())
    ok(paused(market, "admin", 4))
    market.wait(HOUR)
    no(market.activate(), "Paused")
    no(market.claim("wally", epoch=1), "StaleEpoch")
    ok(market.propose(Kind.UNPAUSE, flags=4))
    no(market.send("apply_config"), "NotDue")
    market.wait(2 * DAY)
    ok(market.send("apply_config"))
    assert market.ledger.paused_until[2] == market.now

    ok(market.claim("wally", epoch=1))


def test_a_pause_that_was_lifted_early_is_followed_by_a_shorter_rest(market: Market) -> None:
    ok(market.propose(Kind.UNPAUSE, flags=2))
    market.wait(DAY)
    ok(paused(market, "admin", 2))
    market.wait(DAY)
    ok(market.send("apply_config"))
    no(paused(market, "admin", 2), "PauseSpent")
    market.wait(DAY)

    ok(paused(market, "admin", 2))


# Limits


@pytest.mark.parametrize("name", [*MAY_FALL, *MAY_RISE])
def test_limits_become_stricter_at_once_and_never_looser(name: str) -> None:
    market = Market(replace(LIMITS, window_limit=200_000, voucher_limit=200_000))
    limits = market.ledger.limits
    step = -1 if name in MAY_FALL else 1
    stricter = replace(limits, **{name: getattr(limits, name) + step})
    looser = replace(limits, **{name: getattr(limits, name) - step})
    if name in {"config_delay", "slow_delay", "fast_delay"}:
        no(market.by("admin", "tighten_limits", limits=looser), "BadLimits")
    else:
        no(market.by("admin", "tighten_limits", limits=looser), "NotTightening")
    no(market.by("guardian", "tighten_limits", limits=stricter), "Unauthorized")

    ok(market.by("admin", "tighten_limits", limits=stricter))
    assert market.ledger.limits == stricter


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_epoch_interval": 0},
        {"min_epoch_interval": WEEK + 1, "exit_after": 30 * DAY},
        {"window_secs": 0},
        {"window_secs": 30 * DAY + 1, "window_limit": 10**10, "voucher_limit": 0},
        {"window_limit": 99_999},
        {"voucher_limit": 99_999},
        {"fast_delay": HOUR - 1},
        {"fast_delay": DAY + 1},
        {"slow_delay": DAY - 1},
        {"exit_after": DAY + HOUR},
        {"exit_after": 30 * DAY + 1},
        {"config_delay": 2 * DAY - 1},
        {"config_delay": 30 * DAY + 1},
        {"min_deposit": 0},
        {"slow_delay": 2**32 - 1, "exit_after": 30 * DAY},
    ],
)
def test_limits_outside_the_programs_are_refused_wherever_they_come_in(
    market: Market, wrong: dict[str, int]
) -> None:
    limits = replace(LIMITS, **wrong)

    no(market.by("admin", "tighten_limits", limits=limits), "BadLimits")
    no(market.propose(Kind.LIMITS, limits=limits), "BadLimits")


@pytest.mark.parametrize(
    "edge",
    [
        {"voucher_limit": 0},
        {"window_limit": 100_000},
        {"exit_after": DAY + HOUR + 1},
        {"exit_after": 30 * DAY, "min_epoch_interval": WEEK},
        {"fast_delay": DAY},
        {"config_delay": 30 * DAY},
        {"max_epoch_increase": 0, "advance_cap": 0, "wallet_advance_cap": 0},
    ],
)
def test_the_last_limits_that_the_program_allows(market: Market, edge: dict[str, int]) -> None:
    limits = replace(LIMITS, **edge)
    ok(market.propose(Kind.LIMITS, limits=limits))
    market.wait(2 * DAY)
    ok(market.send("apply_config"))

    assert market.ledger.limits == limits
    assert market.ledger.proposal_limits == Limits()


def test_keys_of_vouchers_are_voided_one_epoch_at_a_time(market: Market) -> None:
    for wrong in (0, 2, 2**32 - 1):
        no(market.by("admin", "void_vouchers", key_epoch=wrong), "KeyEpochDecreased")
    no(market.by("guardian", "void_vouchers", key_epoch=1), "Unauthorized")
    ok(market.by("admin", "void_vouchers", key_epoch=1))
    no(market.by("admin", "void_vouchers", key_epoch=1), "KeyEpochDecreased")


# Proposals


def test_a_proposal_is_due_after_its_delay_and_expires_fourteen_days_later(market: Market) -> None:
    no(market.by("guardian", "propose_config", **_no_fields(Kind.PUBLISHER)), "Unauthorized")
    (event,) = ok(market.propose(Kind.PUBLISHER, key("publisher 2"))).events
    assert event.fields == {"number": 1, "kind": 2, "due_at": market.now + 2 * DAY}
    no(market.propose(Kind.PUBLISHER, key("publisher 3")), "ProposalPending")
    market.wait(2 * DAY - 1)
    no(market.send("apply_config"), "NotDue")
    market.wait(1 + 14 * DAY)
    no(market.propose(Kind.PUBLISHER, key("publisher 3")), "ProposalPending")
    market.wait(1)
    no(market.send("apply_config"), "ProposalExpired")
    ok(market.propose(Kind.PUBLISHER, key("publisher 3")))
    market.wait(16 * DAY)
    ok(market.send("apply_config"))
    no(market.send("apply_config"), "NoProposal")

    assert market.ledger.publisher == key("publisher 3")
    assert (market.ledger.proposal_number, market.ledger.proposal_kind) == (2, 0)
    assert market.ledger.proposal_due_at == market.now - 14 * DAY


def _no_fields(kind: Kind) -> dict[str, int | bytes | Limits]:
    return {
        "kind": int(kind),
        "key": key("new"),
        "amount": 0,
        "flags": 0,
        "limits": Limits(),
    }


def test_a_new_guardian_takes_seven_days_and_the_old_one_cannot_cancel_it(market: Market) -> None:
    ok(market.propose(Kind.GUARDIAN, key("guardian 2")))
    no(market.by("guardian", "cancel_config", number=1), "Unauthorized")
    market.wait(WEEK - 1)
    no(market.send("apply_config"), "NotDue")
    market.wait(1)
    ok(market.send("apply_config"))
    assert market.ledger.guardian == key("guardian 2")

    ok(market.propose(Kind.GUARDIAN, key("guardian 3")))
    ok(market.by("admin", "cancel_config", number=2))
    ok(market.propose(Kind.VOUCHER, key("voucher 2")))
    no(market.by("guardian", "cancel_config", number=2), "NoProposal")
    ok(market.by("guardian", "cancel_config", number=3))
    no(market.by("guardian", "cancel_config", number=3), "NoProposal")


def test_a_new_administrator_must_accept(market: Market) -> None:
    ok(market.propose(Kind.ADMIN, key("admin 2")))
    no(market.send("apply_config"), "NoProposal")
    accept = market.call("accept_admin", None, {"authority": key("admin 2")})
    no(market.model.apply(accept), "NotDue")
    market.wait(2 * DAY)
    no(market.by("admin", "accept_admin"), "Unauthorized")
    ok(market.model.apply(accept))

    assert market.ledger.admin == key("admin 2")


def test_roles_never_meet(market: Market) -> None:
    for kind, same in (
        (Kind.PUBLISHER, "admin"),
        (Kind.GUARDIAN, "publisher"),
        (Kind.ADMIN, "guardian"),
        (Kind.VOUCHER, "publisher"),
        (Kind.ADMIN, "voucher_key"),
    ):
        no(market.propose(kind, key(same)), "RoleConflict")
    for kind in (Kind.PUBLISHER, Kind.GUARDIAN, Kind.ADMIN):
        no(market.propose(kind), "RoleConflict")


def test_a_proposal_holds_what_its_kind_has_and_nothing_else(market: Market) -> None:
    for wrong in (
        market.propose(0),
        market.propose(9),
        market.propose(Kind.LIMITS, key("a"), limits=LIMITS),
        market.propose(Kind.LIMITS, amount=1, limits=LIMITS),
        market.propose(Kind.PUBLISHER, key("a"), flags=1),
        market.propose(Kind.PUBLISHER, key("a"), limits=LIMITS),
        market.propose(Kind.UNPAUSE),
        market.propose(Kind.UNPAUSE, flags=16),
        market.propose(Kind.UNPAUSE, key("a"), flags=1),
        market.propose(Kind.SWEEP, key("a")),
        market.propose(Kind.RESERVE, amount=1),
        market.propose(Kind.RESERVE, key("a"), amount=1, flags=1),
    ):
        no(wrong, "BadArgs")


def test_a_new_voucher_key_voids_the_old_ones_vouchers_and_zero_turns_them_off(
    market: Market,
) -> None:
    ok(market.deposit("reserve", 100))
    old = market.voucher("wally", 50, market.now + 2 * DAY + HOUR)
    ok(market.propose(Kind.VOUCHER, key("voucher 2")))
    market.wait(2 * DAY)
    ok(market.send("apply_config"))
    no(market.redeem("wally", 50, old), "BadVoucher")
    ok(market.redeem("wally", 50))
    assert market.ledger.key_epoch == 1
    ok(market.propose(Kind.VOUCHER))
    market.wait(2 * DAY)
    ok(market.send("apply_config"))
    no(market.redeem("wally", 60), "VouchersOff")


def test_only_what_is_nobodys_is_swept(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.propose(Kind.SWEEP, key("finder"), amount=70))
    market.donate(69)
    no(market.pay_proposed("sweep_excess", "finder"), "NotDue")
    market.wait(2 * DAY)
    no(market.pay_proposed("withdraw_reserve", "finder"), "NoProposal")
    no(market.pay_proposed("sweep_excess", "finder"), "NotExcess")
    market.donate(1)
    no(market.pay_proposed("sweep_excess", "thief"), "WrongTokenOwner")
    ok(market.pay_proposed("sweep_excess", "finder"))

    assert (market.balance("finder"), market.vault_balance) == (70, 1_000)


def test_of_the_reserve_only_what_backs_nothing_is_withdrawn(market: Market) -> None:
    ok(market.deposit("reserve", 300))
    ok(market.redeem("wally", 150))
    ok(market.propose(Kind.RESERVE, key("operator"), amount=151))
    market.wait(2 * DAY)
    no(market.pay_proposed("withdraw_reserve", "operator"), "ReserveInUse")
    ok(market.by("admin", "cancel_config", number=1))
    ok(market.propose(Kind.RESERVE, key("operator"), amount=150))
    market.wait(2 * DAY)
    ok(market.pay_proposed("withdraw_reserve", "operator"))

    assert market.balance("operator") == 150
    assert (market.ledger.reserve, market.ledger.total_withdrawn) == (150, 150)
    assert market.vault_balance == 0
