"""Random lives of the settlement program, each on the built file and on the model at once.

`python -m tests.program_fuzz --operations N --seed N` lives markets of `LIFE` operations each until
so many are done. After each operation: the answers and every byte of the accounts are the same (see
`program_twin`), and the invariants of `docs/program.md` hold. After each life everybody is paid
(`program_recovery`). At the end: what was reached, and what was not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from onchain.program.instructions import INSTRUCTIONS
from onchain.program.refusals import CODES
from tests.program_operations import Operations
from tests.program_recovery import Recovered, recover
from tests.program_twin import Twin
from tests.settlement_model.invariants import Books, check_books, check_nothing_fell, check_windows
from tests.settlement_model.setting import HOUR, LIMITS
from tests.settlement_model.state import Limits

#: Operations of one market; then another begins, so that no state lasts for ever.
LIFE: Final = 1_500
#: Errors that no random life reaches, and why.
UNREACHED: Final = {
    "Overflow": "what a sum of deposits would exceed, the vault's own 64 bits exceed first",
    "TransferMismatch": "SPL Token moves what it is told to",
}


#: Event → the breaker that what it tells of went through.
PAYING: Final = {"Claimed": "flow", "Exited": "flow", "Redeemed": "voucher"}


@dataclass
class Told:
    operations: int = 0
    lives: int = 0
    reached: Counter[tuple[str, str]] = field(default_factory=Counter)
    recovered: list[Recovered] = field(default_factory=list)

    def unreached(self) -> tuple[set[str], set[str]]:
        """Instructions that never succeeded, and errors that never came."""
        good = {name for name, error in self.reached if error == "ok"}
        seen = {error for _, error in self.reached}
        return {each.name for each in INSTRUCTIONS} - good, {*CODES} - seen


class Watch:
    """The invariants, from one operation to the next."""

    def __init__(self, life: Operations) -> None:
        self._life = life
        self._books = self._read()
        self._paid: dict[str, list[tuple[int, int]]] = {"flow": [], "voucher": []}

    def _read(self) -> Books:
        return self._life.twin.books()

    def look(self, moment: int) -> None:
        """Check the books after an operation; `moment` is when the one before was."""
        before, after = self._books, self._read()
        self._books = after
        check_books(after, self._life.donations)
        check_nothing_fell(before, after)
        self._look_at_windows(before, after, moment)

    def _look_at_windows(self, before: Books, after: Books, moment: int) -> None:
        """Payments under one set of limits, while the clock goes forward."""
        old, new, now = before.ledger, after.ledger, self._life.twin.now
        if old.limits != new.limits or now < moment:
            self._paid = {"flow": [], "voucher": []}
            return
        for event in self._life.twin.logged:
            if event.name in PAYING:
                self._paid[PAYING[event.name]].append((now, event.fields["amount"]))
        limits = new.limits
        for name, limit in (("flow", limits.window_limit), ("voucher", limits.voucher_limit)):
            since = now - limits.window_secs
            self._paid[name] = [one for one in self._paid[name] if one[0] >= since]
            check_windows(self._paid[name], limit, limits.window_secs)


def limits_of(seed: int) -> Limits:
    """Roomy ones, narrow breakers, rare roots, large advances: each in some lives."""
    chosen = replace(LIMITS)
    if seed % 2:
        chosen.window_limit = chosen.voucher_limit = 100_000
    if seed % 3 == 0:
        chosen.min_epoch_interval = 6 * HOUR
    if seed % 4 >= 2:
        chosen.advance_cap, chosen.wallet_advance_cap = 400_000, 300_000
    return chosen


def live(seed: int, operations: int, told: Told) -> None:
    """One market from its making until everybody is paid."""
    twin = Twin(limits_of(seed))
    twin.with_vouchers()
    life = Operations(twin, seed)
    watch = Watch(life)
    for _ in range(operations):
        moment, twin.logged = twin.now, ()
        life.step()
        watch.look(moment)
    told.recovered.append(recover(life))
    check_books(twin.books(), life.donations)
    twin.compare_all()
    told.lives += 1
    told.operations += sum(twin.reached.values())
    told.reached += twin.reached


def run(seed: int, operations: int) -> Told:
    """Lives with the seeds from `seed` on, until that many calls were made."""
    told = Told()
    while told.operations < operations:
        live(seed + told.lives, LIFE, told)
    return told


def lines(told: Told, seconds: float) -> Iterable[str]:
    yield f"{told.operations} calls in {told.lives} lives, {seconds:.0f} s: no difference"
    for name, count in sorted(told.reached.items()):
        yield f"  {name[0]} {name[1]}: {count}"
    instructions, errors = told.unreached()
    yield f"never succeeded: {sorted(instructions) or 'none'}; never refused by: {sorted(errors)}"
    days = max(each.seconds for each in told.recovered) / 86_400
    cost = max(each.cost for each in told.recovered)
    stolen = sum(each.stolen for each in told.recovered)
    yield f"recovery: {days:.1f} days at most, {cost} at most deposited for it; stolen {stolen}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.program_fuzz", description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    start = time.monotonic()
    told = run(chosen.seed, chosen.operations)
    print(*lines(told, time.monotonic() - start), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
