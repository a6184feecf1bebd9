"""The sole writer: a batch of events is one transaction; effects leave after the commit.

In:   events (`coordinator.events`), in the order in which they arrived.
Out:  one outcome an event, and the effects of them all.
Not here: the thread and the waiting (writer), sockets (dispatcher), SQL (store).
Rules:
  1. An event is handled wholly or refused wholly: handlers decide before they write.
  2. If anything unexpected happens, nothing of the batch is kept; the events are then tried one by
     one, so that a poisonous one harms only itself.
  3. Debits equal credits in each batch, and the batch is one link of the hash chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from coordinator import (
    chain_books,
    chain_events as cev,
    epochs,
    events as ev,
    identity,
    lifecycle,
    payroll,
    revocation,
    sponsored_books,
    standing,
    takeover,
    trial,
    withdrawals,
)
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal
from coordinator.store.interface import Store, StoreError
from coordinator.work import House, Work

log = get_log(__name__)

#: Which function handles which event.
HANDLERS: Final[dict[type[ev.Event], Callable[[Work, Any], object]]] = {
    ev.JobsSubmitted: lifecycle.submit,
    ev.JobMatched: lifecycle.assign,
    ev.AttemptStarted: lifecycle.start,
    ev.ResultArrived: lifecycle.receive_result,
    ev.VerdictReached: lifecycle.conclude,
    ev.AttemptLost: lifecycle.lose_attempt,
    ev.TimePaidUp: lifecycle.end_paid_time,
    ev.CancelAsked: lifecycle.cancel,
    ev.QueueTimedOut: lifecycle.expire_queued,
    ev.TotalTimedOut: lifecycle.end_total_time,
    ev.TestJobDue: trial.give_test_job,
    ev.ReleaseDue: payroll.release_due,
    ev.FaucetAsked: payroll.give,
    ev.CounterSigned: payroll.counter_sign,
    cev.LedgerFound: chain_books.bind,
    cev.DepositSeen: chain_books.see_deposit,
    cev.ClaimSeen: chain_books.see_claim,
    cev.ReserveSeen: chain_books.see_reserve,
    cev.ChainLooked: chain_books.note_look,
    cev.VoucherAsked: chain_books.give_voucher,
    cev.WithdrawAsked: withdrawals.withdraw,
    cev.SponsorAsked: sponsored_books.take,
    cev.SponsoredMoved: sponsored_books.move,
    cev.EpochClosed: epochs.close,
    cev.EpochSealed: epochs.seal,
    cev.EpochMoved: epochs.move,
    cev.LeavesTaken: takeover.take_leaves,
    cev.EpochTaken: takeover.take_epoch,
    ev.ChallengeMade: identity.keep_challenge,
    ev.TokenAsked: identity.issue_token,
    ev.SessionAsked: identity.open_session,
    ev.SessionClosed: identity.close_session,
    ev.SessionUsed: identity.note_use,
    ev.SessionRevoked: revocation.revoke_session,
    ev.TokenRevoked: revocation.revoke_token,
    ev.NodeRevoked: revocation.revoke_node,
    ev.AllRevoked: revocation.revoke_all,
    ev.NodeRegistered: identity.register_node,
    ev.InventoryReceived: identity.note_inventory,
    ev.NodesSeen: identity.note_heartbeats,
    ev.NodeFailing: standing.drain_node,
    ev.NodeWell: standing.undrain_node,
    ev.BlobStored: identity.note_blob,
    ev.BlobUsed: identity.use_blob,
    ev.BlobsDue: identity.forget_blobs,
    ev.BlobsGone: identity.note_files_gone,
    ev.ExpiryDue: identity.forget_expired,
    ev.WriteProbed: lambda work, _event: work.batch.probe(),
}


class Engine:
    """Applies events to a store. Used by one thread only: the store's own."""

    def __init__(self, store: Store, house: House) -> None:
        self._store = store
        self._house = house
        #: Events that failed by our own mistake, since the start.
        self.events_failed = 0

    def apply(
        self, events: Sequence[ev.Event], now_ms: int
    ) -> tuple[list[ev.Outcome], list[ev.Effect]]:
        """Handle the events in one transaction.

        Returns:
            An outcome an event, and the effects of them all. Fewer outcomes if the store failed
            while events were tried one by one: those without an outcome were not written.

        Raises:
            StoreError: the store failed; nothing was written, nothing may be acknowledged.
        """
        try:
            return self._transact(events, now_ms)
        except StoreError:
            raise
        except Exception:
            if len(events) == 1:
                log.exception("event failed", event_type=type(events[0]).__name__)
                self.events_failed += 1
                return [ev.Outcome(refusal=Refusal("internal"))], []
            log.warning("batch undone, trying its events one by one", events=len(events))
        outcomes: list[ev.Outcome] = []
        effects: list[ev.Effect] = []
        for event in events:
            try:
                outcome, effect = self.apply([event], now_ms)
            except StoreError:
                if not outcomes:
                    raise
                # What was kept is told; the writer sees that the rest was not.
                break
            outcomes += outcome
            effects += effect
        return outcomes, effects

    def _transact(
        self, events: Sequence[ev.Event], now_ms: int
    ) -> tuple[list[ev.Outcome], list[ev.Effect]]:
        outcomes = []
        with self._store.batch() as batch:
            work = Work(batch, self._house, now_ms)
            for event in events:
                try:
                    outcomes.append(ev.Outcome(HANDLERS[type(event)](work, event)))
                except Refusal as refusal:
                    outcomes.append(ev.Outcome(refusal=refusal))
            payroll.close_batch(work)
        return outcomes, work.effects
