"""exit, request_exit, cancel_exit: depositors who take their credit back."""

from __future__ import annotations

from tests.settlement_model.money import (
    Breaker,
    pay_out,
    require_own_account,
    require_token_accounts,
)
from tests.settlement_model.state import DepositRecord
from tests.settlement_model.step import CLAIM, Step, constant
from tests.settlement_model.tree import exit_leaf, leads_to
from tests.settlement_model.world import require


def leave(step: Step) -> None:
    """The instruction `exit`."""
    step.refuse_if_paused(CLAIM)
    step.promote()
    ledger, owner = step.ledger, step.call.key("owner")
    epoch, exitable = step.call.number("epoch"), step.call.number("exitable")
    require(epoch != 0 and epoch == ledger.active.epoch, "StaleEpoch")
    require_token_accounts(step)
    leaf = exit_leaf(step.ledger_key, owner, exitable)
    active, index = ledger.active, step.call.number("index")
    found = leads_to(active.root, leaf, index, active.leaf_count, step.call.proof())
    require(found, "InvalidProof")
    record = step.deposit_record()
    require(_door_is_open(step, record), "ExitClosed")
    require(exitable > record.exited, "NothingToExit")
    breaker = Breaker(step, "flow")
    pay = min(exitable - record.exited, breaker.headroom())
    exited = ledger.total_exited + pay
    require(exited <= active.total_exitable, "ExceedsTotal")
    pending = ledger.pending
    require(pending.epoch == 0 or exited <= pending.total_exitable, "ExceedsTotal")
    require_own_account(step, owner)
    breaker.take(pay)
    record.exited += pay
    ledger.total_exited = exited
    pay_out(step, pay)
    step.emit("Exited", owner=owner, amount=pay, exited=record.exited)


def _door_is_open(step: Step, record: DepositRecord) -> bool:
    active, after = step.ledger.active, step.ledger.limits.exit_after
    if step.since(active.active_at) >= after:
        return True
    requested_at = record.exit_requested_at
    settled = active.published_at >= requested_at + constant("EXIT_SETTLE")
    return requested_at != 0 and step.since(requested_at) >= after and settled


def request_exit(step: Step) -> None:
    step.signed("owner")
    record = step.deposit_record()
    require(record.exit_requested_at == 0, "ExitRequested")
    record.exit_requested_at = step.now
    _emit_asked(step, record)


def cancel_exit(step: Step) -> None:
    step.signed("owner")
    record = step.deposit_record()
    require(record.exit_requested_at != 0, "NoExitRequest")
    record.exit_requested_at = 0
    _emit_asked(step, record)


def _emit_asked(step: Step, record: DepositRecord) -> None:
    step.emit("ExitAsked", owner=record.owner, requested_at=record.exit_requested_at)
