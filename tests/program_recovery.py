"""The end of every random life: honest keys put the market right, and everybody is paid in full.

In:   a market after any operations; the keys of its roles, whoever holds them by now.
Out:  every wallet has what it earned, every owner its unspent credit; how long that took.
Rules:
  1. Only instructions of the program: whatever state it was left in, there is a way out of it.
  2. The operator deposits what false roots cost; nobody else loses anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tests.program_life import OWNERS, ROLES, THIEF, WALLETS, Life
from tests.program_twin import kind_of
from tests.settlement_model.addresses import ZERO
from tests.settlement_model.calls import Argument
from tests.settlement_model.market import ok
from tests.settlement_model.setting import DAY, LIMITS, key
from tests.settlement_model.state import Limits

#: Windows of the breaker that a wallet waits at most: what it earned is far below their limits.
WINDOWS: Final = 2_000


class Stuck(AssertionError):
    """Somebody could not be paid; its argument says who and why."""


@dataclass
class Recovered:
    #: Seconds from the last operation until the last wallet and owner was paid.
    seconds: int
    #: What the operator had to deposit.
    cost: int
    #: What false roots had paid to somebody who earned nothing.
    stolen: int


def recover(life: Life) -> Recovered:
    """Pay everybody; raise `Stuck` where that is not possible."""
    twin = life.twin
    twin.model.world.rent_threshold = 2.0
    start = twin.now
    life.calm()
    before = twin.ledger.total_deposited
    _loosen(life)
    _settle(life)
    cost = twin.ledger.total_deposited - before
    _claims(life)
    _exits(life)
    return Recovered(twin.now - start, cost, life.claimed(THIEF))


def _by(life: Life, role: str, name: str, **args: Argument) -> None:
    held = getattr(life.twin.ledger, role)
    holder = next(who for who in ROLES if key(who) == held)
    ok(life.twin.send(name, args, {"authority": key(holder)}))


def _loosen(life: Life) -> None:
    """Usual limits, no pause, no root or proposal that stands: each by its delay."""
    twin = life.twin
    twin.wait(DAY)
    if twin.ledger.proposal_kind:
        _by(life, "admin", "cancel_config", number=twin.ledger.proposal_number)
    limits = replace(LIMITS, max_epoch_increase=10**12, window_limit=10**12)
    _apply(life, kind=kind_of("LIMITS"), limits=limits)
    _apply(life, kind=kind_of("UNPAUSE"), flags=15)
    if twin.ledger.pending.epoch:
        _by(life, "guardian", "cancel_root", epoch=twin.ledger.pending.epoch)


def _apply(life: Life, **given: Argument) -> None:
    nothing: dict[str, Argument] = {"key": ZERO, "amount": 0, "flags": 0, "limits": Limits()}
    _by(life, "admin", "propose_config", **{**nothing, **given})
    ledger = life.twin.ledger
    life.twin.wait(max(0, ledger.proposal_due_at - life.twin.now))
    ok(life.twin.send("apply_config"))


def _settle(life: Life) -> None:
    """A true root, active."""
    twin = life.twin
    twin.wait(max(0, twin.ledger.active.published_at + LIMITS.min_epoch_interval - twin.now))
    args = life.root_args(*life.true_leaves())
    life.make_good(args)
    _by(life, "publisher", "publish_root", **args)
    pending = twin.ledger.pending
    _by(life, "guardian", "approve_root", epoch=pending.epoch, root=pending.root)
    twin.wait(twin.ledger.limits.fast_delay)
    ok(twin.send("activate_root"))


def _claims(life: Life) -> None:
    for who in WALLETS:
        for _ in range(WINDOWS):
            if life.claimed(who) >= life.earned[who]:
                break
            ok(life.twin.claim(who))
            life.twin.wait(life.twin.ledger.limits.window_secs)
        else:
            raise Stuck(who, life.claimed(who), life.earned[who])


def _exits(life: Life) -> None:
    life.twin.wait(life.twin.ledger.limits.exit_after)
    for who in OWNERS:
        if life.free(who):
            ok(life.twin.leave(who))
        if life.exited(who) < life.credit[who]:
            raise Stuck(who, life.exited(who), life.credit[who])
