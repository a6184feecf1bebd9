"""Those who hold a role at work: pauses, limits, proposals of every kind, and what each may not do.

Not here: roots, which publisher and guardian make (`test_program_story`).
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("solders", reason="the extra `chain` is not installed")

from onchain.program.instructions import PROPOSALS
from tests.program_market import (
    BUYER,
    DAY,
    GUARDIAN,
    HOST,
    LIMITS,
    PUBLISHER,
    STRANGER,
    Market,
    event,
    opened,
)
from tests.program_world import key_of

KIND = {name: kind for kind, (name, _) in PROPOSALS.items()}
NEVER = 2**63 - 1


@pytest.fixture
def market() -> Market:
    return opened()


# ---- Pauses and limits.


def test_the_guardian_pauses_for_three_days_and_then_rests(market: Market) -> None:
    start = market.now
    paused = market.run("set_paused", {"flags": 3}, authority=GUARDIAN)

    assert event(paused) == ("PausedSet", {"flags": 3, "by": bytes(GUARDIAN)})
    assert market.deposit(1_000).error == "Paused"
    assert market.state()["paused_until"] == (start + 3 * DAY, start + 3 * DAY, 0, 0)
    market.wait(3 * DAY)
    assert market.deposit(1_000).error is None
    assert market.run("set_paused", {"flags": 1}, authority=GUARDIAN).error == "PauseSpent"
    market.wait(7 * DAY)
    assert market.run("set_paused", {"flags": 1}, authority=GUARDIAN).error is None


def test_the_administrator_pauses_until_it_is_lifted_but_claims_only_for_a_while(
    market: Market,
) -> None:
    market.root({HOST: 1_000_000}, {BUYER: 1_000_000})
    start = market.now

    assert market.run("set_paused", {"flags": 16}).error == "BadArgs"
    assert market.run("set_paused", {"flags": 15}).error is None
    assert market.state()["paused_until"] == (NEVER, start + 14 * DAY, NEVER, NEVER)
    assert market.claim(1).error == "Paused"
    assert market.exit(1).error == "Paused"
    assert market.redeem(1).error == "Paused"
    assert market.run("activate_root").error == "Paused"
    assert market.publish({HOST: 1_000_000}).error == "Paused"
    market.wait(14 * DAY)
    assert market.claim(1).error is None
    assert market.run("set_paused", {"flags": 2}).error == "PauseSpent"
    assert market.state()["claim_paused_at"] == start


def test_limits_are_made_stricter_at_once_and_looser_never(market: Market) -> None:
    stricter = LIMITS | {"advance_cap": 10, "config_delay": 3 * DAY}

    assert event(market.run("tighten_limits", {"limits": stricter})) == (
        "LimitsTightened",
        {f"limits.{name}": value for name, value in stricter.items()},
    )
    assert market.state()["limits.advance_cap"] == 10
    assert market.run("tighten_limits", {"limits": LIMITS}).error == "NotTightening"


# ---- Proposals.

NEW_KEY = key_of("new key")
LOOSER = LIMITS | {"max_epoch_increase": 9_000_000}


@pytest.mark.parametrize(
    ("kind", "given", "effect"),
    [
        ("LIMITS", {"limits": LOOSER}, {"limits.max_epoch_increase": 9_000_000}),
        ("PUBLISHER", {"key": NEW_KEY}, {"publisher": bytes(NEW_KEY)}),
        ("GUARDIAN", {"key": NEW_KEY}, {"guardian": bytes(NEW_KEY)}),
        ("VOUCHER", {"key": NEW_KEY}, {"voucher_key": bytes(NEW_KEY), "key_epoch": 1}),
        ("UNPAUSE", {"flags": 5}, {}),
    ],
)
def test_a_proposal_takes_effect_after_its_delay(
    market: Market, kind: str, given: dict[str, Any], effect: dict[str, Any]
) -> None:
    market.run("set_paused", {"flags": 1 + 4 + 8})
    delay = 7 * DAY if kind == "GUARDIAN" else LIMITS["config_delay"]
    due = market.now + delay
    before = market.state()

    assert event(market.propose(KIND[kind], **given)) == (
        "ConfigProposed",
        {"number": 1, "kind": KIND[kind], "due_at": due},
    )
    assert market.propose(KIND[kind], **given).error == "ProposalPending"
    market.wait(delay - 1)
    assert market.run("apply_config").error == "NotDue"
    market.wait(1)
    applied = event(market.run("apply_config"))
    assert applied == ("ConfigApplied", {"number": 1, "kind": KIND[kind]})

    if kind == "UNPAUSE":
        effect = {"paused_until": (due, 0, due, NEVER)}
    settled = {"proposal_number": 1, "proposal_due_at": due}
    assert market.state() == before | effect | settled


def test_a_proposed_administrator_accepts(market: Market) -> None:
    market.propose(KIND["ADMIN"], key=NEW_KEY)
    market.wait(LIMITS["config_delay"])

    assert market.run("apply_config").error == "NoProposal"
    assert market.run("accept_admin", authority=STRANGER).error == "Unauthorized"
    assert event(market.run("accept_admin", authority=NEW_KEY))[0] == "ConfigApplied"
    assert market.state()["admin"] == bytes(NEW_KEY)
    assert market.run("set_paused", {"flags": 1}).error == "Unauthorized"


def test_what_the_vault_holds_above_its_debts_is_swept(market: Market) -> None:
    market.world.put(market.vault, market.tokens(market.ledger, 12_000_777))
    market.propose(KIND["SWEEP"], key=STRANGER, amount=778)
    market.wait(LIMITS["config_delay"])
    destination = market.account_of(STRANGER)

    assert market.run("sweep_excess", destination=destination).error == "NotExcess"
    market.run("cancel_config", {"number": 1})
    market.propose(KIND["SWEEP"], key=STRANGER, amount=777)
    market.wait(LIMITS["config_delay"])
    assert event(market.run("sweep_excess", destination=destination))[1]["number"] == 2
    assert market.balance(destination) == 777
    assert market.balance(market.vault) == 12_000_000


def test_the_reserve_is_withdrawn_as_far_as_it_backs_nothing(market: Market) -> None:
    market.redeem(600_000)
    market.propose(KIND["RESERVE"], key=STRANGER, amount=1_400_001)
    market.wait(LIMITS["config_delay"])
    destination = market.account_of(STRANGER)

    assert market.run("withdraw_reserve", destination=destination).error == "ReserveInUse"
    market.run("cancel_config", {"number": 1})
    market.propose(KIND["RESERVE"], key=STRANGER, amount=1_400_000)
    market.wait(LIMITS["config_delay"])
    assert market.run("withdraw_reserve", destination=destination).error is None
    assert market.balance(destination) == 1_400_000
    state = market.state()
    assert (state["reserve"], state["total_withdrawn"]) == (600_000, 1_400_000)


def test_the_guardian_cancels_proposals_but_not_its_own_replacement(market: Market) -> None:
    market.propose(KIND["PUBLISHER"], key=NEW_KEY)
    cancelled = market.run("cancel_config", {"number": 1}, authority=GUARDIAN)
    assert event(cancelled) == ("ConfigCancelled", {"number": 1, "kind": KIND["PUBLISHER"]})

    market.propose(KIND["GUARDIAN"], key=NEW_KEY)
    args = {"number": 2}
    assert market.run("cancel_config", args, authority=GUARDIAN).error == "Unauthorized"
    assert market.run("cancel_config", args).error is None
    assert market.run("cancel_config", args).error == "NoProposal"


def test_a_proposal_that_nobody_applied_expires(market: Market) -> None:
    market.propose(KIND["PUBLISHER"], key=NEW_KEY)
    market.wait(LIMITS["config_delay"] + 14 * DAY + 1)

    assert market.run("apply_config").error == "ProposalExpired"
    assert market.propose(KIND["PUBLISHER"], key=PUBLISHER).error is None
    assert market.propose(9, key=NEW_KEY).error == "BadArgs"
