"""What a round did and what the settler waits for, in words for whoever asked for the round. Pure.

In:   the ledger at finality, the newest epoch's row, what the round found in its way.
Out:  sentences, and the moment on the chain's clock at which each wait ends where one is known.
"""

from __future__ import annotations

from typing import NamedTuple

import based58

from coordinator.store.settlement_values import Epoch, EpochState
from onchain.amounts import format_hyper
from onchain.chain import ChainClock
from onchain.views import Ledger


class Wait(NamedTuple):
    """What has to come before the next step."""

    what: str
    #: Unix s on the chain's clock; 0: no moment is known.
    until_s: int = 0


def closed(epoch: Epoch) -> str:
    """An epoch's leaves were fixed."""
    return (
        f"epoch {epoch.number} closed: {format_hyper(epoch.total)} HYPER earned, "
        f"{format_hyper(epoch.total_exitable)} HYPER exitable in all"
    )


def sealed(epoch: Epoch) -> str:
    """Its leaf file was written."""
    return f"epoch {epoch.number}: {epoch.leaf_count} leaves, root {epoch.root.hex()}"


def sent(deed: str, epoch: int, signature: bytes | None) -> str:
    """A root was published, or activated; nothing was signed where the chain showed it done."""
    how = "it was done before" if not signature else f"transaction {_text(signature)}"
    return f"root of epoch {epoch} {deed}: {how}"


def pending(ledger: Ledger, clock: ChainClock) -> Wait:
    """A published root that is not due yet."""
    root = ledger.pending
    if clock.unix_s < ledger.paused_until[2]:
        return Wait("publishing is paused: no root becomes active", ledger.paused_until[2])
    if ledger.approved:
        return Wait(
            f"the root of epoch {root.epoch} is approved and becomes active", root.active_at
        )
    if clock.unix_s >= root.active_at:
        slots = ledger.pending_min_slot - clock.slot
        return Wait(f"the root of epoch {root.epoch} becomes active after {slots} more slots")
    return Wait(
        f"the guardian's approval of the root of epoch {root.epoch} (it is seen when it is final, "
        f"some 15 s later), then its delay of {ledger.limits.fast_delay} s; without, the root "
        "becomes active by itself",
        root.active_at,
    )


def after_publishing(epoch: int) -> Wait:
    """A root that was just sent."""
    return Wait(f"the root of epoch {epoch} to be final on the chain: some 15 s, then the guardian")


def after_activating(epoch: int) -> Wait:
    """A root that was just activated, here or by somebody else."""
    return Wait(f"the activation of epoch {epoch} to be final on the chain: some 15 s, then claims")


def before_closing(ledger: Ledger, last: Epoch | None, due_s: int) -> Wait:
    """Nothing is open.

    Args:
        ledger: At finality.
        last: The newest epoch.
        due_s: When the next one is closed by the schedule, Unix s on the chain's clock.
    """
    earliest = ledger.active.published_at + ledger.limits.min_epoch_interval
    ended = ""
    if last is not None and last.state in {EpochState.CANCELLED, EpochState.REVOKED}:
        ended = f"epoch {last.number} was {last.state.value}; "
    return Wait(f"{ended}the time to close the next epoch", max(due_s, earliest))


NOTHING_EARNED = Wait("somebody to earn or deposit: there is no leaf to publish")
NO_PUBLISHER = Wait("a publisher: publisher_key is not set, so nothing is closed or published here")


def _text(signature: bytes) -> str:
    return based58.b58encode(signature).decode()
