"""What accounts hold, as mutable values, and their exact bytes by the declared layouts.

Units as in docs/program.md: amounts in base units, times in Unix seconds, durations in seconds.
"""

from __future__ import annotations

import struct
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from onchain.program import layout
from onchain.program.layout import SIZES, Layout
from tests.settlement_model.addresses import ZERO

U32_MAX: Final = 2**32 - 1
U64_MAX: Final = 2**64 - 1
I64_MAX: Final = 2**63 - 1

#: A number, bytes, a struct, or a list of these.
Value = Any
_FORMATS: Final = {"u8": "<B", "u32": "<I", "u64": "<Q", "i64": "<q"}


@dataclass(slots=True)
class Limits:
    max_epoch_increase: int = 0
    window_limit: int = 0
    advance_cap: int = 0
    wallet_advance_cap: int = 0
    voucher_limit: int = 0
    min_deposit: int = 0
    min_epoch_interval: int = 0
    slow_delay: int = 0
    fast_delay: int = 0
    window_secs: int = 0
    exit_after: int = 0
    config_delay: int = 0


@dataclass(slots=True)
class Root:
    epoch: int = 0
    root: bytes = ZERO
    data_hash: bytes = ZERO
    total: int = 0
    total_exitable: int = 0
    published_at: int = 0
    active_at: int = 0
    leaf_count: int = 0


@dataclass(slots=True)
class Ledger:
    base: bytes
    cluster_tag: bytes
    mint: bytes
    vault: bytes
    token_program: bytes
    admin: bytes
    publisher: bytes
    guardian: bytes
    voucher_key: bytes
    total_deposited: int = 0
    total_claimed: int = 0
    total_exited: int = 0
    total_withdrawn: int = 0
    reserve: int = 0
    advance: int = 0
    last_epoch: int = 0
    active: Root = field(default_factory=Root)
    previous: Root = field(default_factory=Root)
    pending: Root = field(default_factory=Root)
    pending_min_slot: int = 0
    limits: Limits = field(default_factory=Limits)
    flow_level: int = 0
    flow_updated_at: int = 0
    voucher_flow_level: int = 0
    voucher_flow_updated_at: int = 0
    paused_until: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    claim_paused_at: int = 0
    guardian_paused_at: int = 0
    proposal_number: int = 0
    proposal_due_at: int = 0
    proposal_key: bytes = ZERO
    proposal_amount: int = 0
    proposal_limits: Limits = field(default_factory=Limits)
    proposal_kind: int = 0
    proposal_flags: int = 0
    revocable: int = 0
    approved: int = 0
    bump: int = 0
    version: int = 1
    decimals: int = 0
    key_epoch: int = 0


@dataclass(slots=True)
class ClaimRecord:
    claimed: int = 0
    covered: int = 0
    bump: int = 0
    ata_bump: int = 0


@dataclass(slots=True)
class DepositRecord:
    ledger: bytes
    owner: bytes
    deposited: int = 0
    exited: int = 0
    last_slot: int = 0
    exit_requested_at: int = 0
    bump: int = 0


Record = Ledger | ClaimRecord | DepositRecord
Known = TypeVar("Known", Ledger, ClaimRecord, DepositRecord, Root, Limits)
LAYOUTS: Final[dict[type, Layout]] = {
    Ledger: layout.LEDGER,
    ClaimRecord: layout.CLAIM_RECORD,
    DepositRecord: layout.DEPOSIT_RECORD,
    Root: layout.ROOT,
    Limits: layout.LIMITS,
}
#: Fields that are zero and stand in no value.
UNUSED: Final = {"padding", "reserved"}


def encode(value: Record | Root | Limits) -> bytes:
    """The bytes of a record, with its discriminator, or of a struct inside one."""
    declared = LAYOUTS[type(value)]
    parts = [declared.discriminator] if declared.seeds else []
    for name, type_, _ in declared.fields:
        if name in UNUSED:
            parts.append(bytes(layout.size_of(type_)))
        else:
            parts.append(encode_field(type_, getattr(value, name)))
    return b"".join(parts)


def encode_field(type_: str, value: Value) -> bytes:
    """One field, little endian.

    Raises:
        struct.error: the number does not fit into its type.
    """
    name, _, count = type_.partition("*")
    if count:
        assert isinstance(value, list)
        assert len(value) == int(count)
        return b"".join(encode_field(name, item) for item in value)
    if isinstance(value, Root | Limits):
        return encode(value)
    if isinstance(value, bytes):
        assert len(value) == SIZES[name]
        return value
    return struct.pack(_FORMATS[name], value)


def decode(kind: type[Known], raw: bytes) -> Known:
    """The value that those bytes hold.

    Raises:
        ValueError: wrong length, wrong discriminator, or something in bytes that must be zero.
    """
    declared = LAYOUTS[kind]
    if len(raw) != declared.size or (declared.seeds and raw[:8] != declared.discriminator):
        message = f"{len(raw)} bytes are not a {declared.name}"
        raise ValueError(message)
    values: dict[str, Any] = {}
    for at, (name, type_, _) in declared.offsets():
        part = raw[at : at + layout.size_of(type_)]
        if name not in UNUSED:
            values[name] = decode_field(type_, part)
        elif any(part):
            message = f"{declared.name}.{name} is not zero"
            raise ValueError(message)
    return kind(**values)


def decode_field(type_: str, raw: bytes) -> Value:
    name, _, count = type_.partition("*")
    if count:
        size = layout.size_of(name)
        return [decode_field(name, raw[at : at + size]) for at in range(0, len(raw), size)]
    if name in layout.STRUCTS:
        return decode({"Root": Root, "Limits": Limits}[name], raw)
    if name in _FORMATS:
        return struct.unpack(_FORMATS[name], raw)[0]
    return raw


def copied(value: Record) -> Record:
    """A copy that shares nothing mutable with the original."""
    twin = copy(value)
    if isinstance(twin, Ledger):
        for name in ("active", "previous", "pending", "limits", "proposal_limits", "paused_until"):
            setattr(twin, name, copy(getattr(twin, name)))
    return twin
