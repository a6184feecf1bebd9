"""Settlement inside a batch: deposits, claims, epochs, withdrawals, vouchers.

All are rare beside jobs and written at once; what every submission asks (`settlement`, and the
submitter's `deposit`) is remembered by the writer.
Not here: whether anything of it is allowed (`coordinator.chain_books`, `coordinator.epochs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from coordinator.store.rows import Row
from coordinator.store.settlement_values import (
    Claim,
    Deposit,
    Epoch,
    EpochState,
    Settlement,
    Sums,
    Voucher,
    Withdrawal,
)
from coordinator.store.sqlite_connection import Connection
from coordinator.store.sqlite_memory import Memory
from coordinator.store.sqlite_receipts import ReceiptsPart

SELECT_SETTLEMENT: Final = (
    "SELECT ledger, reserve_withdrawn, reserve_slot, told_ms, spend_until_ms, last_activation_s,"
    " unrooted, promise FROM settlement"
)
SELECT_EPOCHS: Final = (
    "SELECT number, state, closed_ms, last_transfer, total, total_exitable, leaf_count, root,"
    " data_hash, published_s, active_s, ended_s, signature FROM epochs "
)
SELECT_ACTIVE: Final = (
    SELECT_EPOCHS + "WHERE state = 'active' ORDER BY active_s DESC, number DESC LIMIT 1"
)
SELECT_DEPOSITS: Final = (
    "SELECT w.address, d.deposited, d.exited, d.exit_requested_s, d.slot FROM deposits d"
    " CROSS JOIN wallets w ON w.id = d.wallet "
)
SELECT_CLAIMS: Final = (
    "SELECT w.address, c.claimed, c.slot FROM claims c CROSS JOIN wallets w ON w.id = c.wallet "
)
SELECT_WITHDRAWALS: Final = (
    "SELECT w.address, x.key, x.amount, x.issued_ms, x.asked_ms, x.epoch, x.form, x.proof, x.id"
    " FROM withdrawals x CROSS JOIN wallets w ON w.id = x.wallet "
)
SELECT_VOUCHERS: Final = (
    "SELECT w.address, v.cumulative, v.expires_s, v.issued_ms FROM vouchers v"
    " CROSS JOIN wallets w ON w.id = v.wallet "
)
#: One walk over the table for all classes: by the index over codes, whose order is not the
#: table's, a million accounts take eight times as long (1.5 s, measured). `;` follows `:`.
_SUM_CLASS: Final = "ifnull(sum({}) FILTER (WHERE code >= '{name}:' AND code < '{name};'), 0)"
_MARKS_13: Final = ", ".join("?" * 13)


def epoch_of(row: Row) -> Epoch:
    return Epoch(row[0], EpochState(row[1]), *row[2:])


def withdrawal_of(row: Row) -> Withdrawal:
    return Withdrawal(*row[:8])


class SettlementPart(ReceiptsPart):
    """The chain's books of one batch."""

    def __init__(self, connection: Connection, memory: Memory) -> None:
        super().__init__(connection, memory)
        self._settlement: Settlement | None = None
        self._deposits: dict[bytes, Deposit] = {}

    def settlement(self) -> Settlement | None:
        found = self._settlement
        if found is None:
            if not self._memory.is_settlement_known:
                row = self._one(SELECT_SETTLEMENT)
                self._memory.settlement = None if row is None else Settlement(*row)
                self._memory.is_settlement_known = True
            found = self._memory.settlement
        return found

    def save_settlement(self, settlement: Settlement) -> None:
        self._settlement = settlement
        self._run(
            "INSERT OR REPLACE INTO settlement VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                settlement.ledger, settlement.reserve_withdrawn, settlement.reserve_slot,
                settlement.told_ms, settlement.spend_until_ms, settlement.last_activation_s,
                settlement.unrooted, settlement.promise,
            ),
        )  # fmt: skip

    # deposits and claims
    def deposit(self, owner: bytes) -> Deposit:
        found = self._deposits.get(owner) or self._memory.deposits.get(owner)
        if found is None:
            row = self._one(SELECT_DEPOSITS + "WHERE d.wallet = ?", (self._known_wallet(owner),))
            found = Deposit(owner) if row is None else Deposit(*row)
            self._memory.deposits.put(owner, found)
        return found

    def save_deposit(self, deposit: Deposit) -> None:
        self._deposits[deposit.owner] = deposit
        self._run(
            "INSERT OR REPLACE INTO deposits VALUES (?, ?, ?, ?, ?)",
            (
                self._wallet(deposit.owner), deposit.deposited, deposit.exited,
                deposit.exit_requested_s, deposit.slot,
            ),
        )  # fmt: skip

    def leaving(self) -> Sequence[bytes]:
        rows = self._all(SELECT_DEPOSITS + "WHERE d.exit_requested_s > 0 ORDER BY d.wallet")
        return [row[0] for row in rows]

    def deposit_sums(self) -> tuple[int, int]:
        row = self._one("SELECT ifnull(sum(deposited), 0), ifnull(sum(exited), 0) FROM deposits")
        assert row is not None
        return row[0], row[1]

    def claim(self, wallet: bytes) -> Claim:
        row = self._one(SELECT_CLAIMS + "WHERE c.wallet = ?", (self._known_wallet(wallet),))
        return Claim(wallet) if row is None else Claim(*row)

    def save_claim(self, claim: Claim) -> None:
        self._run(
            "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)",
            (self._wallet(claim.wallet), claim.claimed, claim.slot),
        )

    # epochs
    def class_sums(self, names: Sequence[str]) -> Mapping[str, Sums]:
        columns = [
            _SUM_CLASS.format(column, name=name)
            for name in names
            for column in ("debits", "credits")
        ]
        row = self._one(f"SELECT {', '.join(columns)} FROM accounts NOT INDEXED")
        assert row is not None
        return {name: Sums(row[2 * i], row[2 * i + 1]) for i, name in enumerate(names)}

    def last_transfer(self) -> int:
        assert not self._posted, "asked before the batch's own transfers are numbered"
        number = self._next_id("transfers")
        self._next_ids["transfers"] = number  # looked at, not taken
        return number - 1

    def last_epoch(self) -> Epoch | None:
        row = self._one(SELECT_EPOCHS + "ORDER BY number DESC LIMIT 1")
        return None if row is None else epoch_of(row)

    def epoch(self, number: int) -> Epoch | None:
        row = self._one(SELECT_EPOCHS + "WHERE number = ?", (number,))
        return None if row is None else epoch_of(row)

    def active_epoch(self) -> Epoch | None:
        row = self._one(SELECT_ACTIVE)
        return None if row is None else epoch_of(row)

    def save_epoch(self, epoch: Epoch) -> None:
        self._run(
            # Not REPLACE: rows of `epoch_exits` refer to this one.
            f"INSERT INTO epochs VALUES ({_MARKS_13}) ON CONFLICT DO UPDATE SET"
            " state = excluded.state, closed_ms = excluded.closed_ms,"
            " last_transfer = excluded.last_transfer, total = excluded.total,"
            " total_exitable = excluded.total_exitable, leaf_count = excluded.leaf_count,"
            " root = excluded.root, data_hash = excluded.data_hash,"
            " published_s = excluded.published_s, active_s = excluded.active_s,"
            " ended_s = excluded.ended_s, signature = excluded.signature",
            (
                epoch.number, epoch.state.value, epoch.closed_ms, epoch.last_transfer, epoch.total,
                epoch.total_exitable, epoch.leaf_count, epoch.root, epoch.data_hash,
                epoch.published_s, epoch.active_s, epoch.ended_s, epoch.signature,
            ),
        )  # fmt: skip

    def note_exits(self, epoch: int, owners: Sequence[bytes]) -> None:
        self._run("DELETE FROM epoch_exits WHERE epoch = ?", (epoch,))
        rows = [(epoch, self._wallet(owner)) for owner in owners]
        self._run_many("INSERT INTO epoch_exits VALUES (?, ?)", rows)

    def note_wallet(self, wallet: bytes) -> None:
        self._wallet(wallet)

    # withdrawals and vouchers
    def withdrawal(self, wallet: bytes, key: str) -> Withdrawal | None:
        row = self._one(
            SELECT_WITHDRAWALS + "WHERE x.wallet = ? AND x.key = ?",
            (self._known_wallet(wallet), key),
        )
        return None if row is None else withdrawal_of(row)

    def add_withdrawal(self, withdrawal: Withdrawal) -> None:
        self._run(
            "INSERT INTO withdrawals (wallet, key, amount, issued_ms, asked_ms, epoch, form, proof)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._wallet(withdrawal.wallet), withdrawal.key, withdrawal.amount,
                withdrawal.issued_ms, withdrawal.asked_ms, withdrawal.epoch, withdrawal.form,
                withdrawal.proof,
            ),
        )  # fmt: skip

    def withdrawals_open(self, wallet: bytes) -> int:
        row = self._one(
            "SELECT count(*) FROM withdrawals WHERE wallet = ? AND epoch = 0",
            (self._known_wallet(wallet),),
        )
        assert row is not None
        return int(row[0])

    def count_withdrawals(self, epoch: int) -> int:
        return self._run("UPDATE withdrawals SET epoch = ? WHERE epoch = 0", (epoch,))

    def withdrawn_since(self, wallet: bytes, epoch: int) -> int:
        row = self._one(
            "SELECT ifnull(sum(amount), 0) FROM withdrawals WHERE wallet = ?"
            " AND (epoch = 0 OR epoch > ?)",
            (self._known_wallet(wallet), epoch),
        )
        assert row is not None
        return int(row[0])

    def voucher(self, wallet: bytes) -> Voucher | None:
        row = self._one(SELECT_VOUCHERS + "WHERE v.wallet = ?", (self._known_wallet(wallet),))
        return None if row is None else Voucher(*row)

    def save_voucher(self, voucher: Voucher) -> None:
        self._run(
            "INSERT OR REPLACE INTO vouchers VALUES (?, ?, ?, ?)",
            (
                self._wallet(voucher.wallet), voucher.cumulative, voucher.expires_s,
                voucher.issued_ms,
            ),
        )  # fmt: skip

    # the end
    def _remember(self) -> None:
        super()._remember()
        self._memory.deposits.put_all(self._deposits)
        if self._settlement is not None:
            self._memory.settlement = self._settlement
            self._memory.is_settlement_known = True
