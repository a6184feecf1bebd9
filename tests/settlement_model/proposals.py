"""What the administrator proposes, and everything that a due proposal can do."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from tests.settlement_model.addresses import ZERO
from tests.settlement_model.governing import FLAGS_MAX
from tests.settlement_model.making import require_limits, require_roles
from tests.settlement_model.money import (
    excess,
    pay_out,
    require_own_account,
    require_token_accounts,
)
from tests.settlement_model.state import U32_MAX, Limits
from tests.settlement_model.step import Step, constant, is_zero
from tests.settlement_model.world import require


class Kind(IntEnum):
    LIMITS = 1
    PUBLISHER = 2
    GUARDIAN = 3
    VOUCHER = 4
    UNPAUSE = 5
    ADMIN = 6
    SWEEP = 7
    RESERVE = 8


ROLE_OF: Final = {
    Kind.PUBLISHER: "publisher",
    Kind.GUARDIAN: "guardian",
    Kind.ADMIN: "admin",
    Kind.VOUCHER: "voucher_key",
}
APPLIED_BY_ANYBODY: Final = {
    *(Kind.LIMITS, Kind.PUBLISHER, Kind.GUARDIAN, Kind.VOUCHER, Kind.UNPAUSE),
}


def propose_config(step: Step) -> None:
    step.role("admin")
    ledger, number = step.ledger, step.call.number("kind")
    require(number in {*Kind}, "BadArgs")
    kind = Kind(number)
    _require_fields(step, kind)
    expires_at = ledger.proposal_due_at + constant("PROPOSAL_LIFE")
    require(ledger.proposal_kind == 0 or step.now > expires_at, "ProposalPending")

    delay = ledger.limits.config_delay
    if kind is Kind.GUARDIAN:
        delay = max(delay, constant("GUARDIAN_DELAY"))
    ledger.proposal_number += 1
    ledger.proposal_due_at = step.now + delay
    ledger.proposal_kind = kind
    ledger.proposal_key = step.call.hash("key")
    ledger.proposal_amount = step.call.number("amount")
    ledger.proposal_flags = step.call.number("flags")
    ledger.proposal_limits = step.call.limits()
    step.emit(
        "ConfigProposed",
        number=ledger.proposal_number,
        kind=int(kind),
        due_at=ledger.proposal_due_at,
    )


def _require_fields(step: Step, kind: Kind) -> None:
    """The kind has what it needs, and nothing else."""
    key, amount = step.call.hash("key"), step.call.number("amount")
    flags, limits = step.call.number("flags"), step.call.limits()
    pays = kind in {Kind.SWEEP, Kind.RESERVE}
    require(limits == Limits() or kind is Kind.LIMITS, "BadArgs")
    require(is_zero(key) or kind in ROLE_OF or pays, "BadArgs")
    require(amount == 0 or pays, "BadArgs")
    require(flags == 0 or kind is Kind.UNPAUSE, "BadArgs")
    if kind is Kind.LIMITS:
        require_limits(limits)
    elif kind is Kind.UNPAUSE:
        require(1 <= flags <= FLAGS_MAX, "BadArgs")
    elif pays:
        require(amount != 0 and not is_zero(key), "BadArgs")
    else:
        _require_roles_with(step, kind, key)


def _require_roles_with(step: Step, kind: Kind, key: bytes) -> None:
    ledger = step.ledger
    roles = {name: getattr(ledger, name) for name in ROLE_OF.values()}
    require_roles(**{**roles, ROLE_OF[kind]: key})


def apply_config(step: Step) -> None:
    kind = _pending_kind(step, APPLIED_BY_ANYBODY)
    _require_due(step)
    ledger = step.ledger
    if kind is Kind.LIMITS:
        require_limits(ledger.proposal_limits)
        ledger.limits = ledger.proposal_limits
    elif kind is Kind.UNPAUSE:
        for flag in range(4):
            if ledger.proposal_flags & 1 << flag:
                ledger.paused_until[flag] = min(ledger.paused_until[flag], step.now)
    else:
        _take_role(step, kind)
    _applied(step)


def accept_admin(step: Step) -> None:
    kind = _pending_kind(step, {Kind.ADMIN})
    step.signed("authority")
    require(step.call.key("authority") == step.ledger.proposal_key, "Unauthorized")
    _require_due(step)
    _take_role(step, kind)
    _applied(step)


def _take_role(step: Step, kind: Kind) -> None:
    ledger = step.ledger
    _require_roles_with(step, kind, ledger.proposal_key)
    setattr(ledger, ROLE_OF[kind], ledger.proposal_key)
    if kind is Kind.VOUCHER:
        require(ledger.key_epoch < U32_MAX, "Overflow")
        ledger.key_epoch += 1


def sweep_excess(step: Step) -> None:
    _pending_kind(step, {Kind.SWEEP})
    _require_due(step)
    require_token_accounts(step)
    ledger = step.ledger
    amount = ledger.proposal_amount
    require(amount <= excess(step), "NotExcess")
    require_own_account(step, ledger.proposal_key)
    pay_out(step, amount)
    _applied(step)


def withdraw_reserve(step: Step) -> None:
    _pending_kind(step, {Kind.RESERVE})
    _require_due(step)
    require_token_accounts(step)
    ledger = step.ledger
    amount = ledger.proposal_amount
    require(amount <= ledger.reserve - ledger.advance, "ReserveInUse")
    require_own_account(step, ledger.proposal_key)
    ledger.reserve -= amount
    ledger.total_withdrawn += amount
    pay_out(step, amount)
    _applied(step)


def cancel_config(step: Step) -> None:
    step.role("admin", "guardian")
    ledger = step.ledger
    meant = ledger.proposal_kind != 0 and ledger.proposal_number == step.call.number("number")
    require(meant, "NoProposal")
    by_admin = step.call.key("authority") == ledger.admin
    require(ledger.proposal_kind != Kind.GUARDIAN or by_admin, "Unauthorized")
    _end(step, "ConfigCancelled")


def _pending_kind(step: Step, kinds: set[Kind]) -> Kind:
    require(step.ledger.proposal_kind in kinds, "NoProposal")
    return Kind(step.ledger.proposal_kind)


def _require_due(step: Step) -> None:
    due_at = step.ledger.proposal_due_at
    require(step.now >= due_at, "NotDue")
    require(step.now <= due_at + constant("PROPOSAL_LIFE"), "ProposalExpired")


def _applied(step: Step) -> None:
    _end(step, "ConfigApplied")


def _end(step: Step, event: str) -> None:
    """The proposal's fields become zero but its number and its moment."""
    ledger = step.ledger
    step.emit(event, number=ledger.proposal_number, kind=int(ledger.proposal_kind))
    ledger.proposal_kind = 0
    ledger.proposal_key = ZERO
    ledger.proposal_amount = 0
    ledger.proposal_flags = 0
    ledger.proposal_limits = Limits()
