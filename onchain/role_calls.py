"""Calls of the settlement program by those who run a market: roots, pauses, proposals.

In:   a `Market`, and named arguments. `authority` is the role that signs.
Out:  instructions as solders has them, for `transactions.Recipe`.
Not here: whether it is wise: `publish` looks before it signs.
Source: `docs/program.md`, "Instructions".
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any, Final

import msgspec
from solders.instruction import Instruction

from onchain.anchor import instruction
from onchain.places import SYSTEM_PROGRAM, Market
from onchain.program.instructions import FLAGS, PROPOSALS
from onchain.views import Limits, Root


class Pause(IntFlag):
    """What can be paused."""

    DEPOSIT = FLAGS["DEPOSIT"]
    CLAIM = FLAGS["CLAIM"]
    PUBLISH = FLAGS["PUBLISH"]
    REDEEM = FLAGS["REDEEM"]


class Proposal(IntEnum):
    """What can be proposed."""

    LIMITS = 1
    PUBLISHER = 2
    GUARDIAN = 3
    VOUCHER = 4
    UNPAUSE = 5
    ADMIN = 6
    SWEEP = 7
    RESERVE = 8


assert {kind.value: kind.name for kind in Proposal} == {
    number: name for number, (name, _) in PROPOSALS.items()
}

NO_PAUSE: Final = Pause(0)
#: What a proposal carries where its kind has no limits.
NO_LIMITS: Final = Limits(
    max_epoch_increase=0,
    window_limit=0,
    advance_cap=0,
    wallet_advance_cap=0,
    voucher_limit=0,
    min_deposit=0,
    min_epoch_interval=0,
    slow_delay=0,
    fast_delay=0,
    window_secs=0,
    exit_after=0,
    config_delay=0,
)


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what; addresses of 32 bytes, pairwise different."""

    admin: bytes
    publisher: bytes
    guardian: bytes
    #: Zero: vouchers are off.
    voucher_key: bytes = bytes(32)


def initialize(
    market: Market, *, payer: bytes, base: bytes, roles: Roles, limits: Limits
) -> Instruction:
    """Make the ledger of `base`; `payer` and `base` sign. The vault must be there already."""
    accounts = {
        "payer": payer,
        "base": base,
        "ledger": market.ledger,
        "mint": market.mint,
        "vault": market.vault,
        "token_program": market.token_program,
        "system_program": SYSTEM_PROGRAM,
    }
    arguments = {
        "cluster_tag": market.cluster_tag,
        **msgspec.structs.asdict(roles),
        "limits": msgspec.structs.asdict(limits),
    }
    return instruction(market.program, "initialize", accounts, arguments)


def publish_root(market: Market, *, authority: bytes, promised: Root) -> Instruction:
    """Promise a new root; the publisher signs. Its times are the program's to set."""
    accounts = {"authority": authority, "ledger": market.ledger, "vault": market.vault}
    arguments = {
        "epoch": promised.epoch,
        "root": promised.root,
        "data_hash": promised.data_hash,
        "total": promised.total,
        "total_exitable": promised.total_exitable,
        "leaf_count": promised.leaf_count,
    }
    return instruction(market.program, "publish_root", accounts, arguments)


def approve_root(market: Market, *, authority: bytes, epoch: int, root: bytes) -> Instruction:
    """The pending root was recomputed and is right; the guardian signs."""
    return _by_role(market, "approve_root", authority, epoch=epoch, root=root)


def activate_root(market: Market) -> Instruction:
    """Activate a due root; nobody signs."""
    return instruction(market.program, "activate_root", {"ledger": market.ledger}, {})


def cancel_root(market: Market, *, authority: bytes, epoch: int) -> Instruction:
    """Drop the pending root; guardian or administrator signs."""
    return _by_role(market, "cancel_root", authority, epoch=epoch)


def revoke_root(market: Market, *, authority: bytes, epoch: int) -> Instruction:
    """Take back the active root; guardian or administrator signs."""
    return _by_role(market, "revoke_root", authority, epoch=epoch)


def set_paused(market: Market, *, authority: bytes, flags: Pause) -> Instruction:
    """Add pauses; guardian or administrator signs."""
    return _by_role(market, "set_paused", authority, flags=int(flags))


def tighten_limits(market: Market, *, authority: bytes, limits: Limits) -> Instruction:
    """Make limits stricter at once; the administrator signs."""
    return _by_role(market, "tighten_limits", authority, limits=msgspec.structs.asdict(limits))


def void_vouchers(market: Market, *, authority: bytes, key_epoch: int) -> Instruction:
    """Void every voucher of an older key epoch; the administrator signs."""
    return _by_role(market, "void_vouchers", authority, key_epoch=key_epoch)


def propose_config(
    market: Market,
    *,
    authority: bytes,
    kind: Proposal,
    key: bytes = bytes(32),
    amount: int = 0,
    flags: Pause = NO_PAUSE,
    limits: Limits = NO_LIMITS,
) -> Instruction:
    """Propose what takes effect after a delay; the administrator signs.

    Args:
        market: The market.
        authority: The administrator.
        kind: What is proposed; it decides which of the rest is given.
        key: The new key, or the wallet that gets the money.
        amount: Base units of a sweep or of the reserve.
        flags: Pauses to lift.
        limits: The new limits.
    """
    arguments = {
        "kind": int(kind),
        "key": key,
        "amount": amount,
        "flags": int(flags),
        "limits": msgspec.structs.asdict(limits),
    }
    return _by_role(market, "propose_config", authority, **arguments)


def apply_config(market: Market) -> Instruction:
    """Apply a due proposal of limits, publisher, guardian, voucher key or pauses; nobody signs."""
    return instruction(market.program, "apply_config", {"ledger": market.ledger}, {})


def accept_admin(market: Market, *, authority: bytes) -> Instruction:
    """Take over as the administrator; the proposed one signs."""
    return _by_role(market, "accept_admin", authority)


def sweep_excess(market: Market, *, wallet: bytes) -> Instruction:
    """Pay out, to the proposed wallet, what the vault holds above all that it owes."""
    return _pay_out(market, "sweep_excess", wallet)


def withdraw_reserve(market: Market, *, wallet: bytes) -> Instruction:
    """Pay out, to the proposed wallet, a part of the reserve that backs nothing."""
    return _pay_out(market, "withdraw_reserve", wallet)


def cancel_config(market: Market, *, authority: bytes, number: int) -> Instruction:
    """Drop a proposal by its number; guardian or administrator signs."""
    return _by_role(market, "cancel_config", authority, number=number)


def _by_role(market: Market, name: str, authority: bytes, **arguments: Any) -> Instruction:
    accounts = {"authority": authority, "ledger": market.ledger}
    return instruction(market.program, name, accounts, arguments)


def _pay_out(market: Market, name: str, wallet: bytes) -> Instruction:
    accounts = {
        "ledger": market.ledger,
        "vault": market.vault,
        "destination": market.token_account(wallet),
        "mint": market.mint,
        "token_program": market.token_program,
    }
    return instruction(market.program, name, accounts, {})
