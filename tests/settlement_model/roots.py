"""Roots: published, approved, activated, cancelled, revoked."""

from __future__ import annotations

from tests.settlement_model.money import excess
from tests.settlement_model.state import Root
from tests.settlement_model.step import PUBLISH, Step, constant, is_zero
from tests.settlement_model.world import require


def publish_root(step: Step) -> None:
    ledger, call = step.ledger, step.call
    step.role("publisher")
    step.refuse_if_paused(PUBLISH)
    require(call.key("vault") == ledger.vault, "WrongVault")
    step.promote()
    require(ledger.pending.epoch == 0, "RootPending")
    epoch = call.number("epoch")
    require(epoch == ledger.last_epoch + 1, "BadEpoch")
    interval = ledger.limits.min_epoch_interval
    require(step.since(ledger.active.published_at) >= interval, "TooSoon")
    require(not is_zero(call.hash("root")) and call.number("leaf_count") >= 1, "EmptyRoot")
    total, total_exitable = call.number("total"), call.number("total_exitable")
    kept = total >= ledger.active.total and total_exitable >= ledger.total_exited
    require(kept, "TotalDecreased")
    intervals = max(1, step.since(ledger.active.active_at) // interval)
    intervals = min(constant("CAP_INTERVALS_MAX"), intervals)
    cap = ledger.limits.max_epoch_increase * intervals
    require(total - ledger.active.total <= cap, "ExceedsEpochCap")
    promised = total + total_exitable + ledger.reserve + ledger.total_withdrawn
    require(promised <= ledger.total_deposited and excess(step) >= 0, "Insolvent")

    slow_delay = ledger.limits.slow_delay
    ledger.pending = Root(
        epoch,
        call.hash("root"),
        call.hash("data_hash"),
        total,
        total_exitable,
        published_at=step.now,
        active_at=step.now + slow_delay,
        leaf_count=call.number("leaf_count"),
    )
    ledger.pending_min_slot = step.slot + constant("SLOTS_PER_SECOND_SLOW") * slow_delay
    ledger.approved = 0
    ledger.last_epoch = epoch
    step.emit(
        "RootPublished",
        epoch=epoch,
        root=ledger.pending.root,
        total=total,
        activates_at=ledger.pending.active_at,
    )


def approve_root(step: Step) -> None:
    step.role("guardian")
    ledger, pending = step.ledger, step.ledger.pending
    meant = step.call.number("epoch") == pending.epoch and step.call.hash("root") == pending.root
    require(pending.epoch != 0 and meant, "NoPendingRoot")
    pending.active_at = min(pending.active_at, step.now + ledger.limits.fast_delay)
    ledger.approved = 1
    step.emit(
        "RootApproved", epoch=pending.epoch, root=pending.root, activates_at=pending.active_at
    )


def activate_root(step: Step) -> None:
    step.refuse_if_paused(PUBLISH)
    require(step.ledger.pending.epoch != 0, "NoPendingRoot")
    require(step.is_due(), "NotDue")
    step.promote()


def cancel_root(step: Step) -> None:
    step.role("guardian", "admin")
    pending = step.ledger.pending
    meant = pending.epoch != 0 and step.call.number("epoch") == pending.epoch
    require(meant, "NoPendingRoot")
    step.drop_pending()
    step.emit("RootCancelled", epoch=pending.epoch, root=pending.root)


def revoke_root(step: Step) -> None:
    step.role("guardian", "admin")
    ledger, revoked = step.ledger, step.ledger.active
    meant = revoked.epoch != 0 and step.call.number("epoch") == revoked.epoch
    require(ledger.revocable == 1 and meant, "NotRevocable")
    restored = ledger.active = ledger.previous
    restored.active_at = step.now
    restored.total = max(restored.total, ledger.total_claimed - ledger.advance)
    spoken_for = ledger.total_withdrawn + ledger.reserve + restored.total
    free = max(0, ledger.total_deposited - spoken_for)
    restored.total_exitable = max(ledger.total_exited, min(restored.total_exitable, free))
    ledger.previous = Root()
    ledger.revocable = 0
    step.emit("RootRevoked", epoch=revoked.epoch, root=revoked.root, restored_epoch=restored.epoch)
