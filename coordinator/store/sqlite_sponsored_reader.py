"""Claims that the house pays for, as committed: one by its name, those that are out, the sums."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.store.settlement_values import Sponsored, SponsorUse
from coordinator.store.sqlite_settlement_reader import SettlementQuery
from coordinator.store.sqlite_sponsored import (
    BY_NAME,
    SELECT_SPONSORED,
    TIMES,
    USE,
    sponsored_of,
    use_of,
)


class SponsoredQuery(SettlementQuery):
    """The part of a `Reader` that knows them."""

    def sponsored(self, name: bytes) -> Sponsored | None:
        row = self._one(BY_NAME, (name,))
        return None if row is None else sponsored_of(row)

    def sponsored_out(self) -> Sequence[Sponsored]:
        rows = self._all(SELECT_SPONSORED + "WHERE s.ended_ms = 0 ORDER BY s.taken_ms, s.name")
        return [sponsored_of(row) for row in rows]

    def sponsor_use(self, wallet: bytes, since_ms: int) -> SponsorUse:
        row = self._one("SELECT id FROM wallets WHERE address = ?", (wallet,))
        number = None if row is None else row[0]
        return use_of(self._one(USE, (number, since_ms)), self._all(TIMES, (number, since_ms)))
