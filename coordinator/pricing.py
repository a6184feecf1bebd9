"""What a job costs: from the work that its workload declares, never from reported time.

Price = max(FLOP at the price of a TFLOP, bytes at the price of a GiB), rounded down, at least one
base unit. A command's price is its time on the coordinator's clock. Pure; integers only.
"""

from __future__ import annotations

import msgspec

from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Spec
from coordinator.task import Task, task_for
from onchain.amounts import AMOUNT_MAX, UNITS, format_hyper

TERA = 10**12
GIB = 2**30
BASIS_POINTS = 10_000


class Rules(msgspec.Struct, frozen=True):
    """The market's numbers, from the configuration. Prices in base units."""

    #: The house's part of a price, in basis points.
    fee_bp: int = 250
    #: 10^12 operations: what a command pays for a second.
    price_per_tflop: int = UNITS // 100
    #: One GiB moved: half of that.
    price_per_gib: int = UNITS // 200
    #: One second of a command: the seed's 0.01 HYPER.
    command_price_per_s: int = UNITS // 100
    #: How long a post stays withheld, ms.
    withhold_ms: int = 24 * 3600 * 1000
    #: What all test jobs together may earn in a day.
    test_pay_daily: int = 0
    #: Whether the development faucet gives.
    faucet: bool = False


class Quote(msgspec.Struct, frozen=True, gc=False):
    """What one job would cost."""

    kind: str
    #: Base units; for a command what its execution limit would cost.
    price: int
    flop: int
    bytes: int
    is_timed: bool


def quote(spec: Spec, rules: Rules) -> Quote:
    """Price of a specification.

    Raises:
        Refusal: `unknown_kind` or `bad_spec`.
    """
    return quote_task(task_for(spec), rules)


def quote_task(task: Task, rules: Rules) -> Quote:
    """Price of what a specification says.

    Raises:
        Refusal: `bad_spec`.
    """
    spec, work, is_timed = task.spec, task.work, task.workload.is_timed
    if is_timed:
        price = rules.command_price_per_s * spec.limits.execution_s
    else:
        price = max(
            work.flop * rules.price_per_tflop // TERA, work.bytes * rules.price_per_gib // GIB, 1
        )
    if price > AMOUNT_MAX:
        raise Refusal("bad_spec", "this job costs more than any account can hold")
    return Quote(spec.kind, price, work.flop, work.bytes, is_timed)


def check_budget(asked: Quote, budget: int) -> None:
    """Refuse a budget that does not cover the price (a command runs as long as it is paid for).

    Raises:
        Refusal: `bad_amount` for nothing, `over_budget` naming the price.
    """
    if budget <= 0:
        raise Refusal("bad_amount", "the budget must be more than nothing")
    if not asked.is_timed and asked.price > budget:
        raise Refusal("over_budget", f"the job costs {format_hyper(asked.price)} HYPER")


def timed_limit_s(spec: Spec, budget: int, rules: Rules) -> int:
    """Whole seconds that a command may run: its limit, or what the budget pays for; at least 1.

    A job without a budget (a test job past the daily cap) earns nothing: its limit alone counts.
    """
    if not budget:
        return spec.limits.execution_s
    paid_for = budget // max(rules.command_price_per_s, 1)
    return max(1, min(spec.limits.execution_s, paid_for))


def price_of_time(elapsed_ms: int, budget: int, rules: Rules) -> int:
    """Base units for `elapsed_ms` of a command: rounded down, 1 at least, the budget at most."""
    return max(1, min(budget, rules.command_price_per_s * elapsed_ms // 1000))


def fee_of(price: int, rules: Rules) -> int:
    """The house's part of a price, rounded down: it is taken out of the price, not added to it."""
    return price * rules.fee_bp // BASIS_POINTS
