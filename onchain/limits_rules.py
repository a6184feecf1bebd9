"""Roles and limits before they are sent: what of them the program would refuse, each by name. Pure.

In:   `Roles`, `Limits`.
Out:  sentences, none where the program would take them.
Rule: these are `roles_ok`, `limits_ok` and the comparison of `tighten_limits`, word for word.
Source: `docs/program.md`, "Parts used by several", "tighten_limits".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import msgspec

from onchain.program.layout import CONSTANTS
from onchain.role_calls import Roles
from onchain.views import Limits

_NOBODY = bytes(32)
_FALLING = (
    *("max_epoch_increase", "window_limit", "advance_cap", "wallet_advance_cap"),
    "voucher_limit",
)
_RISING = ("min_epoch_interval", "slow_delay", "fast_delay", "config_delay")
_FIXED = ("min_deposit", "window_secs", "exit_after")


def role_problems(roles: Roles) -> Iterator[str]:
    """Roles that are nobody's, or two of the same key."""
    for name in ("admin", "publisher", "guardian"):
        if getattr(roles, name) == _NOBODY:
            yield f"{name} is nobody"
    for one, other in combinations(("admin", "publisher", "guardian", "voucher_key"), 2):
        key = getattr(roles, one)
        if key == getattr(roles, other) != _NOBODY:
            yield f"{one} and {other} are the same key"


def limit_problems(limits: Limits) -> Iterator[str]:
    """Limits outside what the program allows; durations in s."""
    yield from _between("min_epoch_interval", limits.min_epoch_interval, 1, "MAX_EPOCH_INTERVAL")
    yield from _between("window_secs", limits.window_secs, 1, "MAX_WINDOW")
    least = _constant("MIN_WINDOW_RATE") * limits.window_secs
    if limits.window_limit < least:
        yield f"window_limit is below {least} base units, MIN_WINDOW_RATE a second of the window"
    if 0 < limits.voucher_limit < least:
        yield f"voucher_limit is neither 0 nor at least {least} base units"
    if limits.fast_delay < _constant("MIN_FAST_DELAY"):
        yield f"fast_delay is below {_constant('MIN_FAST_DELAY')} s"
    if limits.fast_delay > limits.slow_delay:
        yield "fast_delay is above slow_delay"
    if limits.slow_delay < _constant("MIN_SLOW_DELAY"):
        yield f"slow_delay is below {_constant('MIN_SLOW_DELAY')} s"
    if limits.slow_delay + limits.min_epoch_interval >= limits.exit_after:
        yield "exit_after is not above slow_delay and min_epoch_interval together"
    if limits.exit_after > _constant("MAX_EXIT_AFTER"):
        yield f"exit_after is above {_constant('MAX_EXIT_AFTER')} s"
    least_delay = _constant("MIN_CONFIG_DELAY")
    yield from _between("config_delay", limits.config_delay, least_delay, "MAX_CONFIG_DELAY")
    if limits.min_deposit < 1:
        yield "min_deposit is below one base unit"


def loosenings(before: Limits, after: Limits) -> Iterator[str]:
    """Changes that only a proposal can make."""
    old, new = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    for name in _FALLING:
        if new[name] > old[name]:
            yield f"{name} rises from {old[name]} to {new[name]}"
    for name in _RISING:
        if new[name] < old[name]:
            yield f"{name} falls from {old[name]} to {new[name]}"
    for name in _FIXED:
        if new[name] != old[name]:
            yield f"{name} changes from {old[name]} to {new[name]}"


def _between(name: str, value: int, least: int, most: str) -> Iterator[str]:
    if not least <= value <= _constant(most):
        yield f"{name} is not between {least} and {_constant(most)} s"


def _constant(name: str) -> int:
    return CONSTANTS[name][0]
