"""Vouchers, given out: what a wallet earned past its withholding window, signed by the voucher key.

In:   a wallet; the engine, which says how much and notes it; the ledger as it was last read.
Out:  `SignedVoucher`s.
Rules:
  1. None is given where nothing is promised: without a reserve, without vouchers on the chain, or
     with another key than the chain's.
  2. The engine notes what a voucher says before it is signed; a later one never says less.
  3. One wallet's voucher is signed anew once a minute at most: whoever asks gets the same.
Not here: who is given one unasked (`pushing`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from coordinator import chain_events as cev
from coordinator.events import Event
from coordinator.limits import VOUCHER_AGAIN_MS, VOUCHER_LIFE_S, VOUCHERS_HELD_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import Keypair
from coordinator.store.settlement_values import Voucher
from onchain.places import Market
from onchain.reads import LedgerNow
from onchain.vouchers import SignedVoucher, sign_voucher, voucher_for


class Issuing:
    """Gives vouchers of one market."""

    def __init__(
        self,
        market: Market,
        key: Keypair,
        *,
        ask: Callable[[Event], Awaitable[Any]],
        wall_ms: Callable[[], int],
    ) -> None:
        self._market = market
        self._key = key
        self._ask = ask
        self._wall_ms = wall_ms
        self._held: OrderedDict[bytes, tuple[int, int, SignedVoucher]] = OrderedDict()

    def key_epoch(self, now: LedgerNow, promise: int) -> int | None:
        """Of the vouchers that are given; None: nothing is promised, or the chain has another key.

        Args:
            now: The ledger, as it was last read.
            promise: What the reserve backs, base units.
        """
        is_ours = now.ledger.voucher_key == self._key.address
        return now.ledger.key_epoch if promise and is_ours else None

    def _why_none(self, now: LedgerNow) -> str:
        ledger = now.ledger
        if ledger.voucher_key == bytes(32):
            return "no vouchers here: the ledger has no voucher key"
        if ledger.voucher_key != self._key.address:
            return "no vouchers here: the coordinator's voucher key is not the ledger's"
        if not ledger.limits.advance_cap:
            return "no vouchers here: the ledger's advance_cap is 0"
        return "no vouchers here: the operator has put no reserve behind them"

    async def give(self, wallet: bytes, now: LedgerNow, promise: int) -> SignedVoucher:
        """A wallet's voucher.

        Args:
            wallet: Who earned.
            now: The ledger, as it was last read.
            promise: What the reserve backs, base units.

        Raises:
            Refusal: `not_found`: nothing is promised, or it has earned nothing.
        """
        ledger = now.ledger
        if self.key_epoch(now, promise) is None:
            raise Refusal("not_found", self._why_none(now))
        held = self._held.get(wallet)
        if held and held[0] + VOUCHER_AGAIN_MS > self._wall_ms() and held[1] == ledger.key_epoch:
            return held[2]
        expires_s = now.clock.unix_s + VOUCHER_LIFE_S
        noted: Voucher = await self._ask(cev.VoucherAsked(wallet, expires_s))
        voucher = voucher_for(
            self._market,
            wallet,
            cumulative=noted.cumulative,
            expires_at=noted.expires_s,
            key_epoch=ledger.key_epoch,
        )
        signed = sign_voucher(self._key, voucher)
        self._held[wallet] = (self._wall_ms(), ledger.key_epoch, signed)
        while len(self._held) > VOUCHERS_HELD_MAX:
            self._held.popitem(last=False)
        return signed
