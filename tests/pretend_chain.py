"""A chain for the world: the settlement program's sums, roots and records, and nothing else.

It takes what the program takes and refuses what it refuses (as assertions where only a mistake of
ours could ask for it). Time and slots are the world's.
Not covered: signatures, proofs, pauses, breakers, vouchers: the program's own tests have them.
Source: docs/program.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

#: By which a root must follow a wish to leave, s.
SETTLE_S: Final = 300


@dataclass(frozen=True)
class Root:
    """A published tree, with the leaves that its proofs would prove."""

    epoch: int
    root: bytes
    earnings: dict[bytes, int]
    exits: dict[bytes, int]
    published_s: int
    active_s: int = 0

    @property
    def total(self) -> int:
        return sum(self.earnings.values())

    @property
    def total_exitable(self) -> int:
        return sum(self.exits.values())


@dataclass(frozen=True)
class Record:
    """An owner's deposit record."""

    deposited: int = 0
    exited: int = 0
    exit_requested_s: int = 0


@dataclass
class PretendChain:
    """One ledger."""

    ledger: bytes
    slot: int = 1
    now_s: int = 0
    last_epoch: int = 0
    deposits: dict[bytes, Record] = field(default_factory=dict)
    claims: dict[bytes, int] = field(default_factory=dict)
    reserve_withdrawn: int = 0
    #: What active roots promised at most: never falls, whatever is revoked.
    promised: int = 0
    active: Root | None = None
    previous: Root | None = None
    pending: Root | None = None
    #: Epoch → what became of it.
    states: dict[int, str] = field(default_factory=dict)
    last_activation_s: int = 0
    stolen: int = 0

    def tick(self, now_s: int) -> None:
        self.now_s = now_s
        self.slot += 1

    @property
    def total_deposited(self) -> int:
        return sum(record.deposited for record in self.deposits.values())

    @property
    def total_exited(self) -> int:
        return sum(record.exited for record in self.deposits.values())

    @property
    def vault(self) -> int:
        out = sum(self.claims.values()) + self.total_exited + self.reserve_withdrawn
        return self.total_deposited - out

    @property
    def reserve(self) -> int:
        return self.deposits.get(self.ledger, Record()).deposited - self.reserve_withdrawn

    def deposit(self, owner: bytes, amount: int) -> None:
        record = self.deposits.get(owner, Record())
        self.deposits[owner] = replace(record, deposited=record.deposited + amount)

    def withdraw_reserve(self, amount: int) -> None:
        self.reserve_withdrawn += min(amount, self.reserve)

    def publish(self, root: Root) -> None:
        assert self.pending is None, "a root is decided before the next one"
        assert root.epoch == self.last_epoch + 1, "numbers grow by one"
        assert root.earnings or root.exits, "a root has a leaf"
        promised = root.total + root.total_exitable + self.reserve + self.reserve_withdrawn
        assert promised <= self.total_deposited, f"no root is insolvent: epoch {root.epoch}"
        assert root.total >= self.promised, f"no total falls: epoch {root.epoch}"
        self.last_epoch, self.pending = root.epoch, root
        self.states[root.epoch] = "published"

    def activate(self) -> None:
        assert self.pending is not None
        self.previous, self.active = self.active, replace(self.pending, active_s=self.now_s)
        self.pending = None
        self.promised = max(self.promised, self.active.total)
        self.last_activation_s = self.now_s
        self.states[self.active.epoch] = "active"

    def cancel(self) -> None:
        assert self.pending is not None
        self.states[self.pending.epoch] = "cancelled"
        self.pending = None

    def revoke(self) -> None:
        """Take the active root back, if there is one before it."""
        if self.active is None or self.previous is None:
            return
        self.states[self.active.epoch] = "revoked"
        self.active, self.previous = self.previous, None
        self.promised = max(self.active.total, sum(self.claims.values()))

    def claim(self, wallet: bytes) -> int:
        """Pay a wallet what its leaf proves; how much that is."""
        lifetime = self.active.earnings.get(wallet, 0) if self.active else 0
        amount = max(0, lifetime - self.claims.get(wallet, 0))
        if amount > self.vault:
            assert self.stolen, "no claim finds the vault empty"
            return 0
        if amount:
            self.claims[wallet] = lifetime
        return amount

    def exit(self, owner: bytes) -> int:
        """Pay an owner back what its exit leaf proves, if it asked long enough before the root."""
        record = self.deposits.get(owner, Record())
        since_s = record.exit_requested_s
        if not since_s or self.active is None or self.active.published_s < since_s + SETTLE_S:
            return 0
        exitable = self.active.exits.get(owner, 0)
        amount = max(0, exitable - record.exited)
        if amount > self.vault:
            assert self.stolen, "no exit finds the vault empty"
            return 0
        if amount:
            self.deposits[owner] = replace(record, exited=exitable)
        return amount

    def ask_to_leave(self, owner: bytes, *, stays: bool = False) -> None:
        record = self.deposits[owner]
        self.deposits[owner] = replace(record, exit_requested_s=0 if stays else self.now_s)

    def steal(self, wallet: bytes, amount: int) -> None:
        """A false root pays its author and is taken back; its number is gone."""
        if self.pending is None and amount <= self.vault:
            self.last_epoch += 1
            self.claims[wallet] = self.claims.get(wallet, 0) + amount
            self.stolen += amount
            self.promised = max(self.promised, sum(self.claims.values()))
