"""Listings and walks of settlement: epochs, leaves, what was booked of the chain.

A leaf has no row. It is what an account's sums are now, less what transfers after the epoch's last
one did to it: transfers never change, so the same leaves come out however late they are asked for.
Rules:
  1. Leaves of an epoch are read in one snapshot, a thousand wallets at a time.
  2. They are sorted by the wallet's bytes, which is the order of the index over addresses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from coordinator.limits import READ_ROWS_MAX
from coordinator.store.rows import Row
from coordinator.store.settlement_values import (
    ChainSums,
    Claim,
    Deposit,
    Epoch,
    EpochState,
    Settlement,
    SettlementFigures,
    Voucher,
    Withdrawal,
)
from coordinator.store.sqlite_journal import moved_after
from coordinator.store.sqlite_query import Query
from coordinator.store.sqlite_settlement import (
    SELECT_ACTIVE,
    SELECT_CLAIMS,
    SELECT_DEPOSITS,
    SELECT_EPOCHS,
    SELECT_SETTLEMENT,
    SELECT_VOUCHERS,
    SELECT_WITHDRAWALS,
    epoch_of,
    withdrawal_of,
)
from coordinator.store.values import Receipt
from onchain.address import decode_address, encode_address

_ID_MAX: Final = 2**62
_WALLET: Final = "(SELECT id FROM wallets WHERE address = ?)"
#: All numbers at one moment: one statement.
_FIGURES: Final = """
SELECT (SELECT ifnull(sum(deposited), 0) FROM deposits),
(SELECT ifnull(sum(credits), 0) FROM accounts NOT INDEXED
    WHERE code >= 'earned:' AND code < 'earned;'),
(SELECT ifnull(sum(credits - debits), 0) FROM accounts NOT INDEXED
    WHERE code >= 'withheld:' AND code < 'withheld;'),
(SELECT ifnull(sum(amount), 0) FROM withdrawals WHERE epoch = 0 OR epoch >
    ifnull((SELECT number FROM epochs WHERE state = 'active' ORDER BY active_s DESC, number DESC
    LIMIT 1), 0)),
ifnull((SELECT total FROM epochs WHERE state = 'active' ORDER BY active_s DESC, number DESC
    LIMIT 1), 0),
ifnull((SELECT credits - debits FROM accounts WHERE code = 'reserve'), 0),
ifnull((SELECT debits - credits FROM accounts WHERE code = 'loss'), 0)"""
_CHAIN_SUMS: Final = """
SELECT (SELECT ifnull(sum(deposited), 0) FROM deposits),
(SELECT ifnull(sum(exited), 0) FROM deposits),
(SELECT ifnull(sum(claimed), 0) FROM claims),
(SELECT count(*) FROM deposits), (SELECT count(*) FROM claims)"""
#: By their numbers, which only rise; the index over codes would have to be sorted.
_EARNING: Final = """
SELECT id, code FROM accounts NOT INDEXED
WHERE id > ? AND code >= 'earned:' AND code < 'earned;' ORDER BY id LIMIT ?"""
_BY_CODE: Final = (
    "SELECT code, id, debits, credits FROM accounts WHERE code IN (SELECT value FROM json_each(?))"
)
#: What the rows of transfers after an epoch's last one did to each account that they touched.
_LATE: Final = (
    "SELECT account, sum(debit), sum(credit), sum(exited) FROM ("
    "SELECT debit AS account, amount AS debit, 0 AS credit,"
    " CASE kind WHEN 'exit' THEN amount ELSE 0 END AS exited FROM transfers WHERE id > ?1"
    " UNION ALL SELECT credit, 0, amount, 0 FROM transfers WHERE id > ?1) GROUP BY account"
)
_EARNERS: Final = "SELECT address FROM wallets WHERE address > ? ORDER BY address LIMIT ?"
_DEPOSITORS: Final = (
    "SELECT w.address, d.exited, e.epoch IS NOT NULL FROM wallets w"
    " CROSS JOIN deposits d ON d.wallet = w.id"
    " LEFT JOIN epoch_exits e ON e.wallet = w.id AND e.epoch = ?"
    " WHERE w.address > ? ORDER BY w.address LIMIT ?"
)
#: Debits, credits and exits of an account.
_Late = Mapping[int, tuple[int, int, int]]
_NOTHING: Final = (0, 0, 0)


class SettlementQuery(Query):
    """The part of a `Reader` that knows the chain's books."""

    def settlement(self) -> Settlement | None:
        row = self._one(SELECT_SETTLEMENT)
        return None if row is None else Settlement(*row)

    def settlement_figures(self) -> SettlementFigures:
        row = self._one(_FIGURES)
        assert row is not None
        return SettlementFigures(*row)

    # epochs
    def epoch(self, number: int) -> Epoch | None:
        row = self._one(SELECT_EPOCHS + "WHERE number = ?", (number,))
        return None if row is None else epoch_of(row)

    def epochs(self, limit: int, *, before: int | None = None) -> Sequence[Epoch]:
        below = _ID_MAX if before is None else before
        sql = SELECT_EPOCHS + "WHERE number < ? ORDER BY number DESC LIMIT ?"
        return [epoch_of(row) for row in self._all(sql, (below, limit))]

    def active_epoch(self) -> Epoch | None:
        row = self._one(SELECT_ACTIVE)
        return None if row is None else epoch_of(row)

    def epochs_by_state(self) -> Mapping[EpochState, int]:
        counts = dict.fromkeys(EpochState, 0)
        for state, count in self._all("SELECT state, count(*) FROM epochs GROUP BY state"):
            counts[EpochState(state)] = count
        return counts

    # leaves
    def earnings_leaves(self, number: int) -> Iterator[tuple[bytes, int]]:
        with self._snapshot():
            late = self._late(number)
            for wallets in self._pages(_EARNERS):
                accounts = self._by_code(f"earned:{encode_address(row[0])}" for row in wallets)
                for (wallet,) in wallets:
                    account = accounts.get(f"earned:{encode_address(wallet)}")
                    if account is not None:
                        lifetime = account[3] - late.get(account[1], _NOTHING)[1]
                        if lifetime:
                            yield wallet, lifetime

    def exit_leaves(self, number: int) -> Iterator[tuple[bytes, int]]:
        with self._snapshot():
            late = self._late(number)
            for owners in self._pages(_DEPOSITORS, number):
                names = [encode_address(row[0]) for row in owners]
                unspent = self._by_code(f"credit:{name}" for name in names)
                holds = self._by_code(f"hold:{name}" for name in names)
                for (owner, exited, is_leaving), name in zip(owners, names, strict=True):
                    exitable, late_exits = _balance(unspent.get(f"credit:{name}"), late)
                    if not is_leaving:
                        exitable += _balance(holds.get(f"hold:{name}"), late)[0]
                    exitable += exited - late_exits
                    if exitable:
                        yield owner, exitable

    def _late(self, number: int) -> _Late:
        row = next(self._rows("SELECT last_transfer FROM epochs WHERE number = ?", (number,)), None)
        assert row is not None, "leaves are asked for of an epoch that there is"
        moved = moved_after(self._rows, row[0])
        late = {each[0]: (each[1], each[2], each[3]) for each in self._rows(_LATE, (row[0],))}
        for account, (debits, credits_) in moved.items():
            before = late.get(account, _NOTHING)
            late[account] = (before[0] + debits, before[1] + credits_, before[2])
        return late

    def _pages(self, sql: str, *parameters: object) -> Iterator[list[Row]]:
        after = b""
        while True:
            rows = list(self._rows(sql, (*parameters, after, READ_ROWS_MAX)))
            if rows:
                yield rows
            if len(rows) < READ_ROWS_MAX:
                return
            after = rows[-1][0]

    def _by_code(self, codes: Iterator[str]) -> dict[str, Row]:
        listed = msgspec.json.encode(list(codes)).decode()
        return {row[0]: row for row in self._rows(_BY_CODE, (listed,))}

    # what was booked
    def deposit(self, owner: bytes) -> Deposit:
        row = self._one(SELECT_DEPOSITS + f"WHERE d.wallet = {_WALLET}", (owner,))
        return Deposit(owner) if row is None else Deposit(*row)

    def deposits(self) -> Iterator[Deposit]:
        sql = SELECT_DEPOSITS.replace("d.slot FROM", "d.slot, d.wallet FROM")
        sql += "WHERE d.wallet > ? ORDER BY d.wallet LIMIT ?"
        return (Deposit(*row[:5]) for row in self._walk(sql, 5))

    def claim(self, wallet: bytes) -> Claim:
        row = self._one(SELECT_CLAIMS + f"WHERE c.wallet = {_WALLET}", (wallet,))
        return Claim(wallet) if row is None else Claim(*row)

    def claims(self) -> Iterator[Claim]:
        sql = SELECT_CLAIMS.replace("c.slot FROM", "c.slot, c.wallet FROM")
        sql += "WHERE c.wallet > ? ORDER BY c.wallet LIMIT ?"
        return (Claim(*row[:3]) for row in self._walk(sql, 3))

    def chain_sums(self) -> ChainSums:
        row = self._one(_CHAIN_SUMS)
        assert row is not None
        return ChainSums(*row)

    def leaving(self) -> Sequence[bytes]:
        rows = self._all(SELECT_DEPOSITS + "WHERE d.exit_requested_s > 0 ORDER BY d.wallet")
        return [row[0] for row in rows]

    def earners(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        rows = self._all(_EARNING, (after, limit))
        return [(row[0], decode_address(row[1].removeprefix("earned:"))) for row in rows]

    def voucher(self, wallet: bytes) -> Voucher | None:
        row = self._one(SELECT_VOUCHERS + f"WHERE v.wallet = {_WALLET}", (wallet,))
        return None if row is None else Voucher(*row)

    def withdrawals_of(self, wallet: bytes, limit: int) -> Sequence[Withdrawal]:
        sql = SELECT_WITHDRAWALS + f"WHERE x.wallet = {_WALLET} ORDER BY x.id DESC LIMIT ?"
        return [withdrawal_of(row) for row in self._all(sql, (wallet, limit))]

    def withdrawals_in(
        self, epoch: int, after: int, limit: int
    ) -> Sequence[tuple[int, Withdrawal]]:
        sql = SELECT_WITHDRAWALS + "WHERE x.epoch = ? AND x.id > ? ORDER BY x.id LIMIT ?"
        return [(row[8], withdrawal_of(row)) for row in self._all(sql, (epoch, after, limit))]

    def receipts_of(self, wallet: bytes, after: int, limit: int) -> Sequence[Receipt]:
        # By the jobs of its nodes: an index of receipts by wallet would be written at every job.
        rows = self._all(
            "SELECT r.job, r.fence, r.node, w.address, r.batch, r.position, r.data FROM jobs j"
            " CROSS JOIN receipts r ON r.job = j.id CROSS JOIN wallets w ON w.id = r.wallet"
            f" WHERE j.operator = {_WALLET} AND j.id > ? ORDER BY j.id LIMIT ?",
            (wallet, after, limit),
        )
        return [Receipt(*row) for row in rows]


def _balance(account: Row | None, late: _Late) -> tuple[int, int]:
    """An account's balance as of then, and what was exited out of it since."""
    if account is None:
        return 0, 0
    debited, credited, exited = late.get(account[1], _NOTHING)
    return (account[3] - credited) - (account[2] - debited), exited
