"""One instruction while it runs: arguments, a draft of the accounts, the page's shared parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from onchain.program.layout import CONSTANTS
from tests.settlement_model.addresses import SYSTEM_PROGRAM, ZERO, derived, derived_with
from tests.settlement_model.calls import Before, Parsed
from tests.settlement_model.state import ClaimRecord, DepositRecord, Ledger, Root, Value
from tests.settlement_model.world import Draft, Refusal, require

DEPOSIT: Final = 0
CLAIM: Final = 1
PUBLISH: Final = 2
REDEEM: Final = 3


def constant(name: str) -> int:
    return CONSTANTS[name][0]


@dataclass(frozen=True, slots=True)
class Event:
    """What the program logs: its name, and its fields in the declared order."""

    name: str
    fields: dict[str, Value]


@dataclass
class Step:
    program: bytes
    now: int
    slot: int
    call: Parsed
    draft: Draft
    before: Before | None
    rent_threshold: float
    events: list[Event] = field(default_factory=list)

    @property
    def ledger_key(self) -> bytes:
        return self.call.key("ledger")

    @property
    def ledger(self) -> Ledger:
        """The ledger; whatever is assigned in it lasts if the instruction succeeds."""
        data = self.draft.at(self.ledger_key).data
        assert isinstance(data, Ledger)
        return data

    def emit(self, name: str, **fields: Value) -> None:
        self.events.append(Event(name, fields))

    def signed(self, account: str) -> None:
        require(self.call.accounts[account].signer, "MissingSigner")

    def role(self, *roles: str) -> None:
        self.signed("authority")
        holders = [getattr(self.ledger, role) for role in roles]
        require(self.call.key("authority") in holders, "Unauthorized")

    def refuse_if_paused(self, flag: int) -> None:
        require(not self.is_paused(flag), "Paused")

    def is_paused(self, flag: int) -> bool:
        return self.now < self.ledger.paused_until[flag]

    def since(self, moment: int) -> int:
        """Seconds from that moment to now, never below zero."""
        return max(0, self.now - moment)

    # Roots

    def is_due(self) -> bool:
        ledger = self.ledger
        return (
            ledger.pending.epoch != 0
            and not self.is_paused(PUBLISH)
            and self.now >= ledger.pending.active_at
            and (ledger.approved == 1 or self.slot >= ledger.pending_min_slot)
        )

    def promote(self) -> None:
        if not self.is_due():
            return
        ledger = self.ledger
        ledger.previous = ledger.active
        ledger.active = ledger.pending
        ledger.active.active_at = self.now
        self.drop_pending()
        ledger.revocable = 1
        self.emit(
            "RootActivated",
            epoch=ledger.active.epoch,
            root=ledger.active.root,
            total=ledger.active.total,
        )

    def drop_pending(self) -> None:
        self.ledger.pending = Root()
        self.ledger.pending_min_slot = 0
        self.ledger.approved = 0

    # Records

    def claim_record(self, *, may_open: bool = True) -> ClaimRecord:
        wallet = self.call.key("wallet")
        new = ClaimRecord() if may_open else None
        record = self._record("claim_record", ClaimRecord, (b"claim", wallet), new)
        assert isinstance(record, ClaimRecord)
        return record

    def deposit_record(self, *, may_open: bool = False) -> DepositRecord:
        owner = self.call.key("owner")
        new = DepositRecord(self.ledger_key, owner) if may_open else None
        record = self._record("deposit_record", DepositRecord, (b"deposit", owner), new)
        assert isinstance(record, DepositRecord)
        return record

    def _record(
        self,
        account: str,
        kind: type[ClaimRecord | DepositRecord],
        seed: tuple[bytes, bytes],
        new: ClaimRecord | DepositRecord | None,
    ) -> ClaimRecord | DepositRecord:
        """`open` where a new one is given, `existing` where none is."""
        address = self.call.key(account)
        seeds = (seed[0], self.ledger_key, seed[1])
        held = self.draft.at(address)
        if held.owner == self.program:
            if (
                not isinstance(held.data, ClaimRecord | DepositRecord)
                or type(held.data) is not kind
            ):
                raise Refusal("InvalidRecord")
            require(
                derived_with(self.program, held.data.bump, *seeds) == address,
                "InvalidRecord",
            )
            return held.data
        if new is None or held.owner != SYSTEM_PROGRAM:
            raise Refusal("InvalidRecord")
        canonical, new.bump = derived(self.program, *seeds)
        require(canonical == address, "InvalidRecord")
        require(self.rent_threshold in {1, 2}, "UnsupportedRent")
        held.owner, held.data = self.program, new
        return new


def is_zero(key: bytes) -> bool:
    return key == ZERO
