"""Ledgers and records made up for tests: values, and the bytes that a chain would hold.

The bytes are packed from `onchain.program.layout` alone, so that what decodes them is checked by
something that does not share a line with it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from onchain.chain import Account
from onchain.places import Market
from onchain.program import DEVELOPMENT_ID
from onchain.program.layout import STRUCTS, Field, Layout
from onchain.role_calls import NO_LIMITS
from onchain.views import Ledger, Limits, Root

DAY: Final = 86_400
#: When the made-up ledgers live, Unix s.
NOW: Final = 1_700_000_000
MARKET: Final = Market(DEVELOPMENT_ID, b"L" * 32, b"M" * 32, cluster_tag=b"G" * 32)

LIMITS: Final = Limits(
    max_epoch_increase=1_000_000,
    window_limit=86_400_000,
    advance_cap=5_000,
    wallet_advance_cap=1_000,
    voucher_limit=86_400_000,
    min_deposit=1,
    min_epoch_interval=3_600,
    slow_delay=DAY,
    fast_delay=3_600,
    window_secs=DAY,
    exit_after=10 * DAY,
    config_delay=2 * DAY,
)

ACTIVE: Final = Root(
    epoch=3,
    root=b"r" * 32,
    data_hash=b"d" * 32,
    total=10_000,
    total_exitable=500,
    published_at=NOW - 2 * DAY,
    active_at=NOW - DAY,
    leaf_count=2,
)


def ledger(**changes: Any) -> Ledger:
    """A ledger in ordinary running: epoch 3 is active, epoch 2 is the one before."""
    fields: dict[str, Any] = {
        "base": b"B" * 32,
        "cluster_tag": MARKET.cluster_tag,
        "mint": MARKET.mint,
        "vault": MARKET.vault,
        "token_program": MARKET.token_program,
        "admin": b"a" * 32,
        "publisher": b"p" * 32,
        "guardian": b"g" * 32,
        "voucher_key": b"v" * 32,
        "total_deposited": 100_000,
        "total_claimed": 2_000,
        "total_exited": 0,
        "total_withdrawn": 0,
        "reserve": 20_000,
        "advance": 0,
        "last_epoch": 3,
        "active": ACTIVE,
        "previous": msgspec.structs.replace(ACTIVE, epoch=2, root=b"q" * 32, total=9_000),
        "pending": Root(),
        "pending_min_slot": 0,
        "limits": LIMITS,
        "flow_level": 0,
        "flow_updated_at": NOW - DAY,
        "voucher_flow_level": 0,
        "voucher_flow_updated_at": NOW - DAY,
        "paused_until": (0, 0, 0, 0),
        "claim_paused_at": 0,
        "guardian_paused_at": 0,
        "proposal_number": 0,
        "proposal_due_at": 0,
        "proposal_key": bytes(32),
        "proposal_amount": 0,
        "proposal_limits": NO_LIMITS,
        "proposal_kind": 0,
        "proposal_flags": 0,
        "revocable": 1,
        "approved": 0,
        "bump": 255,
        "version": 1,
        "decimals": 6,
        "key_epoch": 1,
    }
    return Ledger(**(fields | changes))


def packed(layout: Layout, value: Any) -> bytes:
    """The bytes of an account whose fields are those of a value; reserved fields are zero."""
    start = layout.discriminator if layout.seeds else b""
    return start + b"".join(
        _packed(field, getattr(value, field.name, 0)) for field in layout.fields
    )


def _packed(field: Field, value: Any) -> bytes:
    name, _, count = field.type.partition("*")
    if name in STRUCTS:
        return packed(STRUCTS[name], value)
    if name in {"pubkey", "hash"}:
        return bytes(value)
    size, signed = {"u8": 1, "u32": 4, "u64": 8, "i64": 8}[name], name == "i64"
    values = value if isinstance(value, tuple) else (value,) * int(count or 1)
    return b"".join(each.to_bytes(size, "little", signed=signed) for each in values)


def account(address: bytes, data: bytes, owner: bytes = DEVELOPMENT_ID) -> Account:
    return Account(address, 1_000_000, owner, data)
