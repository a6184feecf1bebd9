"""Every record of a market, by the node's own list: where to look, never what to book.

In:   a `Chain`, a `Market`. Out: decoded records by whose they are, at finality.
Rule: a list is one node's word; who moves money by it reads the records again by address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from onchain.chain import Account, BytesAre, Chain, Commitment, Filter, SizeIs
from onchain.places import Market
from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD
from onchain.views import (
    ClaimRecord,
    DepositRecord,
    NotOfTheProgram,
    decode_claim_record,
    decode_deposit_record,
)

RunThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
#: Where a deposit record names its owner, bytes.
_OWNER: Final = slice(40, 72)


async def list_deposits(
    chain: Chain, market: Market, run_thread: RunThread
) -> tuple[int, dict[bytes, DepositRecord]]:
    """Slot, and the deposit records of a market by their owners."""

    def decode(account: Account) -> tuple[bytes, DepositRecord]:
        owner = account.data[_OWNER]
        return owner, decode_deposit_record(account, market, owner)

    filters: list[Filter] = [SizeIs(DEPOSIT_RECORD.size), BytesAre(8, market.ledger)]
    return await _listed(chain, market, filters, decode, run_thread)


async def list_claims(
    chain: Chain, market: Market, wallet_at: Mapping[bytes, bytes], run_thread: RunThread
) -> tuple[int, dict[bytes, ClaimRecord]]:
    """Slot, and claim records by their wallets: of those whose records lie in `wallet_at` only."""

    def decode(account: Account) -> tuple[bytes, ClaimRecord]:
        wallet = wallet_at.get(account.address)
        if wallet is None:
            raise NotOfTheProgram(NotOfTheProgram.__doc__)
        return wallet, decode_claim_record(account, market, wallet)

    filters: list[Filter] = [SizeIs(CLAIM_RECORD.size), BytesAre(0, CLAIM_RECORD.discriminator)]
    return await _listed(chain, market, filters, decode, run_thread)


async def _listed(
    chain: Chain,
    market: Market,
    filters: Sequence[Filter],
    decode: Callable[[Account], tuple[bytes, Any]],
    run_thread: RunThread,
) -> tuple[int, dict[bytes, Any]]:
    listed = await chain.program_accounts(market.program, filters, Commitment.FINALIZED)

    def decode_all() -> dict[bytes, Any]:
        found: dict[bytes, Any] = {}
        for account in listed.values:
            try:
                whose, record = decode(account)
            except NotOfTheProgram:
                continue  # another market's under the same program
            found[whose] = record
        return found

    return listed.slot, dict(await run_thread(decode_all))
