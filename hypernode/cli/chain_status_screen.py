"""A ledger as people and programs read it: one screen of at most 80 columns, one document.

In:   a market, its ledger as of one slot, what must hold.
Out:  lines; a document of plain values, amounts in HYPER as text, times in Unix s.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any, Final

import msgspec

from hypernode.cli.agent_words import duration
from hypernode.cli.durations import seconds_text
from hypernode.cli.moments import FOR_EVER, utc
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.ledger_health import Finding
from onchain.outlook import claim_headroom, is_due, voucher_headroom
from onchain.places import Market
from onchain.program.instructions import PROPOSALS
from onchain.program.layout import CONSTANTS
from onchain.reads import LedgerNow
from onchain.views import Ledger, Limits, Root

COLUMNS: Final = 80
FLAGS: Final = ("deposit", "claim", "publish", "redeem")
ROLES: Final = ("admin", "publisher", "guardian", "voucher_key")
_LABEL: Final = 12
_PROPOSAL_LIFE: Final = CONSTANTS["PROPOSAL_LIFE"][0]


def lines(market: Market, now: LedgerNow, found: Sequence[Finding]) -> list[str]:
    """The screen."""
    ledger = now.ledger
    broken = [each for each in found if not each.holds]
    checks = [f"NOT SO: {each.name} ({each.said})" for each in broken]
    screen = [
        _line("Ledger", encode_address(market.ledger)),
        _line("Program", encode_address(market.program)),
        _line("Mint", encode_address(market.mint)),
        _line("As of", f"slot {now.slot}, {utc(now.clock.unix_s)}"),
        "",
        *(_line(name.replace("_", " ").capitalize(), _role(ledger, name)) for name in ROLES),
        "",
        _line("Active", _root(ledger.active, now)),
        _line("Previous", _root(ledger.previous, now)),
        _line("Pending", _pending(ledger, now)),
        "",
        *_money(now),
        "",
        *_breakers(ledger, now.clock.unix_s),
        _line("Paused", _pauses(ledger, now.clock.unix_s)),
        _line("Proposal", _proposal(ledger, now.clock.unix_s)),
        *_limits(ledger.limits),
        "",
        _line("Sound", "NO" if broken else f"yes: all {len(found)} of what must hold holds"),
        *(_line("", each) for each in checks),
    ]
    return [line for each in screen for line in each.split("\n")]


def _line(name: str, value: str) -> str:
    """A name and what belongs to it; what is too long goes on below, and no number is ever cut."""
    indent = " " * (_LABEL + 1)
    return fill(
        value,
        COLUMNS,
        initial_indent=f"{name:<{_LABEL}} ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _role(ledger: Ledger, name: str) -> str:
    key: bytes = getattr(ledger, name)
    return "none: vouchers are off" if key == bytes(32) else encode_address(key)


def _root(root: Root, now: LedgerNow) -> str:
    if root.epoch == 0:
        return "none"
    age = duration(max(0, now.clock.unix_s - root.active_at))
    return (
        f"epoch {root.epoch}, {root.leaf_count} leaves, {format_hyper(root.total)} earned, "
        f"{age} ago"
    )


def _pending(ledger: Ledger, now: LedgerNow) -> str:
    root, time = ledger.pending, now.clock.unix_s
    if root.epoch == 0:
        return "none"
    approved = "approved" if ledger.approved else "not approved"
    if is_due(ledger, now.clock):
        due = "due now"
    elif root.active_at > time:
        due = f"due in {duration(root.active_at - time)}"
    else:
        due = f"due at slot {ledger.pending_min_slot}"
    return f"epoch {root.epoch}, {format_hyper(root.total)} earned, {approved}, {due}"


def _money(now: LedgerNow) -> list[str]:
    """Amounts in columns, the decimal places below each other."""
    ledger = now.ledger
    pairs = [
        (("Deposited", ledger.total_deposited), ("In the vault", now.vault_balance)),
        (("Claimed", ledger.total_claimed), ("Owed", ledger.owed)),
        (("Exited", ledger.total_exited), ("Excess", now.vault_balance - ledger.owed)),
        (("Withdrawn", ledger.total_withdrawn), ("Reserve", ledger.reserve)),
        (("Last epoch", ledger.last_epoch), ("Advance", ledger.advance)),
    ]
    return [
        f"{one:<{_LABEL}} {_amount(one, value):>22}   {other:<{_LABEL}} {format_hyper(more):>22}"
        for (one, value), (other, more) in pairs
    ]


def _amount(name: str, value: int) -> str:
    return str(value) if name == "Last epoch" else format_hyper(value)


def _breakers(ledger: Ledger, time: int) -> list[str]:
    limits = ledger.limits
    return [
        _line("Claims", _breaker(claim_headroom(ledger, time), limits.window_limit, limits)),
        _line("Vouchers", _breaker(voucher_headroom(ledger, time), limits.voucher_limit, limits)),
    ]


def _breaker(room: int, limit: int, limits: Limits) -> str:
    if limit == 0:
        return "nothing may go out"
    window = seconds_text(limits.window_secs)
    return f"{format_hyper(room)} of {format_hyper(limit)} HYPER free now, a window of {window}"


def _pauses(ledger: Ledger, time: int) -> str:
    paused = [
        name if until == FOR_EVER else f"{name} for {duration(until - time)}"
        for name, until in zip(FLAGS, ledger.paused_until, strict=True)
        if time < until
    ]
    return ", ".join(paused) or "nothing"


def _proposal(ledger: Ledger, time: int) -> str:
    if ledger.proposal_kind == 0:
        return "none"
    name = PROPOSALS[ledger.proposal_kind][0]
    due = ledger.proposal_due_at
    if time < due:
        when = f"due in {duration(due - time)}"
    elif time <= due + _PROPOSAL_LIFE:
        when = f"due now, for {duration(due + _PROPOSAL_LIFE - time)}"
    else:
        when = "expired"
    return f"{ledger.proposal_number}: {name}, {when}"


def _limits(limits: Limits) -> list[str]:
    times = (
        f"a root every {seconds_text(limits.min_epoch_interval)}, active after "
        f"{seconds_text(limits.fast_delay)} (approved) or {seconds_text(limits.slow_delay)}"
    )
    more = (
        f"exits after {seconds_text(limits.exit_after)}, changes after "
        f"{seconds_text(limits.config_delay)}"
    )
    caps = (
        f"{format_hyper(limits.max_epoch_increase)} HYPER a root, advance at most "
        f"{format_hyper(limits.advance_cap)}"
    )
    return [_line("Limits", caps), _line("", times), _line("", more)]


# ---- for programs --------------------------------------------------------------------------------


def document(market: Market, now: LedgerNow, found: Sequence[Finding]) -> dict[str, Any]:
    """Everything of the screen, and the rest of the ledger."""
    ledger, time = now.ledger, now.clock.unix_s
    return {
        "ledger": encode_address(market.ledger),
        "program": encode_address(market.program),
        "mint": encode_address(market.mint),
        "vault": encode_address(market.vault),
        "token_program": encode_address(market.token_program),
        "genesis": encode_address(market.cluster_tag),
        "slot": now.slot,
        "unix_s": time,
        "roles": {name: encode_address(getattr(ledger, name)) for name in ROLES},
        "active": _root_document(ledger.active),
        "previous": _root_document(ledger.previous),
        "pending": _root_document(ledger.pending)
        and {
            **(_root_document(ledger.pending) or {}),
            "approved": bool(ledger.approved),
            "min_slot": ledger.pending_min_slot,
            "due": is_due(ledger, now.clock),
        },
        "last_epoch": ledger.last_epoch,
        "vault_balance": format_hyper(now.vault_balance),
        **{name: format_hyper(getattr(ledger, name)) for name in _TOTALS},
        "breakers": {
            "claims_free": format_hyper(claim_headroom(ledger, time)),
            "vouchers_free": format_hyper(voucher_headroom(ledger, time)),
        },
        "paused_until": {
            name: until
            for name, until in zip(FLAGS, ledger.paused_until, strict=True)
            if time < until
        },
        "proposal": _proposal_document(ledger),
        "limits": _limits_document(ledger.limits),
        "key_epoch": ledger.key_epoch,
        "sound": all(each.holds for each in found),
        "findings": [{"name": each.name, "holds": each.holds, "said": each.said} for each in found],
    }


_TOTALS: Final = (
    *("total_deposited", "total_claimed", "total_exited", "total_withdrawn"),
    *("owed", "reserve", "advance"),
)
_AMOUNTS: Final = frozenset(
    ("max_epoch_increase", "window_limit", "advance_cap", "wallet_advance_cap")
) | {"voucher_limit", "min_deposit"}


def _root_document(root: Root) -> dict[str, Any] | None:
    if root.epoch == 0:
        return None
    return {
        "epoch": root.epoch,
        "root": root.root.hex(),
        "data_hash": root.data_hash.hex(),
        "total": format_hyper(root.total),
        "total_exitable": format_hyper(root.total_exitable),
        "published_at": root.published_at,
        "active_at": root.active_at,
        "leaf_count": root.leaf_count,
    }


def _proposal_document(ledger: Ledger) -> dict[str, Any] | None:
    if ledger.proposal_kind == 0:
        return None
    return {
        "number": ledger.proposal_number,
        "kind": PROPOSALS[ledger.proposal_kind][0],
        "due_at": ledger.proposal_due_at,
        "expires_at": ledger.proposal_due_at + _PROPOSAL_LIFE,
        "key": encode_address(ledger.proposal_key),
        "amount": format_hyper(ledger.proposal_amount),
        "flags": ledger.proposal_flags,
        "limits": _limits_document(ledger.proposal_limits),
    }


def _limits_document(limits: Limits) -> dict[str, Any]:
    return {
        name: format_hyper(value) if name in _AMOUNTS else value
        for name, value in msgspec.structs.asdict(limits).items()
    }
