"""What a transaction may cost: its compute limit from a simulation, its price from recent blocks.

In:   a chain, a `Draft`, the accounts that many write to.
Out:  a `Budget` below the ceilings, or `FeeTooHigh`; `TransactionRefused` for a draft that would
      fail, before anything was signed.
Rules:
  1. The price is charged on the limit: the limit is what a simulation used and a tenth more.
  2. Each further attempt doubles the price: the one before did not come through.
  3. No ceiling is passed: a price is lowered to it, a base fee above it refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_high
from typing import Final

from onchain.chain import LAMPORTS_PER_SIGNATURE, Chain
from onchain.chain_errors import FeeTooHigh, TransactionRefused
from onchain.drafts import UNITS_MAX, Budget, Draft

#: Units above the simulated ones, at least: a tenth of a small program's is less than what one more
#: try for an address costs it.
SPARE_UNITS_MIN: Final = 1_500


@dataclass(frozen=True, slots=True)
class Fees:
    """The ceilings, and where the price begins."""

    #: Micro-lamports a unit where recent blocks took nothing.
    price_min: int = 0
    #: Micro-lamports a unit, at most.
    price_max: int = 1_000_000
    #: Lamports of one transaction, signatures and priority together, at most.
    lamports_max: int = 1_000_000

    async def budget(
        self, chain: Chain, draft: Draft, contended: tuple[bytes, ...], attempt: int
    ) -> Budget:
        """The budget of a draft's next attempt, the first being 0."""
        base = draft.signatures * LAMPORTS_PER_SIGNATURE
        if base > self.lamports_max:
            raise FeeTooHigh(base, self.lamports_max)
        price = await self._price(chain, contended, attempt)
        # A simulation replaces the blockhash: zeros take as many bytes.
        result = await chain.simulate(draft.unsigned(bytes(32), Budget(UNITS_MAX, price)))
        if result.fault is not None:
            raise TransactionRefused(result.fault, result.logs)
        units = min(UNITS_MAX, result.units + max(SPARE_UNITS_MIN, -(-result.units // 10)))
        affordable = (self.lamports_max - base) * 1_000_000 // units
        return Budget(units, min(price, affordable))

    async def _price(self, chain: Chain, contended: tuple[bytes, ...], attempt: int) -> int:
        recent = [fee for fee in await chain.priority_fees(contended) if fee > 0]
        price = max(self.price_min, median_high(recent) if recent else 0)
        # From nothing, doubling leads nowhere: a second attempt offers something.
        price = max(price, 1_000) << attempt if attempt else price
        return min(price, self.price_max)
