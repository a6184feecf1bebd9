"""Claims that the house pays for: written and looked at inside a batch.

Not here: whether the house pays (`coordinator.sponsored_books`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from coordinator.store.rows import Row
from coordinator.store.settlement_values import Sponsored, SponsoredState, SponsorUse
from coordinator.store.sqlite_settlement import SettlementPart

SELECT_SPONSORED: Final = (
    "SELECT s.name, w.address, s.state, s.taken_ms, s.pay, s.lamports, s.fee_lamports,"
    " s.opens_token_account, s.signature, s.last_height, s.raw, s.ended_ms"
    " FROM sponsored s CROSS JOIN wallets w ON w.id = s.wallet "
)
BY_NAME: Final = SELECT_SPONSORED + "WHERE s.name = ?"
#: All numbers at one moment: one statement.
USE: Final = """
SELECT (SELECT count(*) FROM sponsored WHERE wallet = ?1 AND opens_token_account = 1),
(SELECT count(*) FROM sponsored WHERE wallet = ?1 AND ended_ms = 0),
(SELECT count(*) FROM sponsored WHERE ended_ms = 0),
(SELECT ifnull(sum(lamports), 0) FROM sponsored WHERE taken_ms > ?2)"""
TIMES: Final = "SELECT taken_ms FROM sponsored WHERE wallet = ? AND taken_ms > ? ORDER BY taken_ms"
_MARKS: Final = ", ".join("?" * 12)


def sponsored_of(row: Row) -> Sponsored:
    name, wallet, state, taken, pay, lamports, fee, opens, *rest = row
    opens, state = bool(opens), SponsoredState(state)
    return Sponsored(name, wallet, state, taken, pay, lamports, fee, opens, *rest)


def use_of(row: Row | None, times: Sequence[Row]) -> SponsorUse:
    assert row is not None
    paid, own, out, lamports = row
    return SponsorUse(tuple(each[0] for each in times), bool(paid), bool(own), out, lamports)


class SponsoredPart(SettlementPart):
    """What a batch does with them."""

    def sponsored(self, name: bytes) -> Sponsored | None:
        row = self._one(BY_NAME, (name,))
        return None if row is None else sponsored_of(row)

    def save_sponsored(self, sponsored: Sponsored) -> None:
        self._run(
            f"INSERT OR REPLACE INTO sponsored VALUES ({_MARKS})",
            (
                sponsored.name, self._wallet(sponsored.wallet), sponsored.state.value,
                sponsored.taken_ms, sponsored.pay, sponsored.lamports, sponsored.fee_lamports,
                sponsored.opens_token_account, sponsored.signature, sponsored.last_height,
                sponsored.raw, sponsored.ended_ms,
            ),
        )  # fmt: skip

    def sponsor_use(self, wallet: bytes, since_ms: int) -> SponsorUse:
        number = self._known_wallet(wallet)
        return use_of(self._one(USE, (number, since_ms)), self._all(TIMES, (number, since_ms)))
