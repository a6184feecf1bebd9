"""A model that checks the page's invariants after each instruction, applied or refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.settlement_model.calls import Call
from tests.settlement_model.invariants import (
    Books,
    books_of,
    check,
    check_books,
    check_nothing_fell,
    check_windows,
)
from tests.settlement_model.model import Applied, Model, Refused
from tests.settlement_model.proposals import Kind
from tests.settlement_model.state import Limits


@dataclass
class Watched(Model):
    """One ledger under watch; the clock of its world must not go back (invariant 6)."""

    key: bytes
    #: What is in the vault past the program: whoever puts it there adds it here.
    donations: int = 0
    #: The call before, for those who want to send it again.
    last: Call | None = None
    _paid: list[tuple[int, int]] = field(default_factory=list)
    _redeemed: list[tuple[int, int]] = field(default_factory=list)

    def apply(self, call: Call) -> Applied | Refused:
        """As the model does.

        Raises:
            Broken: an invariant does not hold.
        """
        before = self._books()
        answer = super().apply(call)
        after = self._books()
        self.last = call
        if isinstance(answer, Refused):
            check(before == after, f"a refused {call.name} changed something")
        else:
            self._note(answer, before, after.ledger.limits)
        check_books(after, self.donations)
        check_nothing_fell(before, after)
        return answer

    def _books(self) -> Books:
        return books_of(self.world, self.program, self.key)

    def _note(self, answer: Applied, before: Books, limits: Limits) -> None:
        if before.ledger.limits != limits:
            self._paid.clear()
            self._redeemed.clear()
        for event in answer.events:
            moment = self.world.now
            if event.name in {"Claimed", "Exited"}:
                self._paid.append((moment, event.fields["amount"]))
            elif event.name == "Redeemed":
                self._redeemed.append((moment, event.fields["amount"]))
            elif event.name == "ConfigApplied" and event.fields["kind"] == Kind.SWEEP:
                self.donations -= before.ledger.proposal_amount
        check_windows(self._paid, limits.window_limit, limits.window_secs)
        check_windows(self._redeemed, limits.voucher_limit, limits.window_secs)
        # What is older than a window stands in no window any more.
        for payments in (self._paid, self._redeemed):
            payments[:] = [one for one in payments if one[0] >= self.world.now - limits.window_secs]
