"""Records of a market, by the node's own list: where to look, never what to book.

In:   a `Chain`, a `Market`; filters that narrow the list. Out: decoded records by whose they are,
      at finality.
Rules:
  1. A list is one node's word; who moves money by it reads the records again by address.
  2. Some 150,000 records are more than one answer may have: a long list is walked by `pages`, which
     together let every record through once.
Why bytes: a node filters by equality alone. The higher bytes of a slot or of a time are the same
for a block of them, so a range is a few such questions (`deposited_in`, `asked_in`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from onchain.chain import Account, BytesAre, Chain, Commitment, Filter, SizeIs
from onchain.chain_errors import ChainLied
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
#: Where it has the slot of its latest deposit, and when its owner asked to leave.
_LAST_SLOT, _ASKED_AT = 88, 96
#: Where a claim record has the second byte of what was claimed: it differs from record to record
#: also where all are paid whole HYPER, whose lowest six bits are zero.
_CLAIMED: Final = 9
#: Pages of a long list: one for each value of a byte that differs from record to record.
PAGES: Final = 256
#: Seconds whose times have the same five higher bytes: 194 days.
_ASKED_BITS: Final = 24
_DAY_S: Final = 86_400


class WalletAt(Protocol):
    """Whose claim record lies where."""

    def get(self, address: bytes, /) -> bytes | None: ...


def deposit_page(number: int) -> BytesAre:
    """The owners whose first byte is this."""
    return BytesAre(_OWNER.start, bytes([number]))


def claim_page(number: int) -> BytesAre:
    """The records whose sum has this second byte; one that is paid meanwhile changes its page."""
    return BytesAre(_CLAIMED, bytes([number]))


def deposited_in(first_slot: int, last_slot: int) -> list[BytesAre]:
    """Filters, two at most: together they let through who deposited last in these slots.

    And who did so shortly before or after: a block has 256 slots, or 256 times as many where they
    are too far from each other.

    Raises:
        ChainLied: no chain gets so far.
    """
    assert 0 <= first_slot <= last_slot
    for width in range(1, 8):
        first, last = first_slot >> 8 * width, last_slot >> 8 * width
        if last - first < 2:
            return [
                BytesAre(_LAST_SLOT + width, block.to_bytes(8 - width, "little"))
                for block in range(first, last + 1)
            ]
    msg = f"slot {last_slot}, where {first_slot} was seen before"
    raise ChainLied(msg)


def asked_in(now_s: int) -> list[BytesAre]:
    """Filters, two at most: together they let through who asked to leave within the last day."""
    blocks = sorted({max(0, now_s - _DAY_S) >> _ASKED_BITS, now_s >> _ASKED_BITS})
    offset = _ASKED_AT + _ASKED_BITS // 8
    return [BytesAre(offset, block.to_bytes(5, "little")) for block in blocks if block]


async def list_deposits(
    chain: Chain, market: Market, run_thread: RunThread, *more: Filter
) -> tuple[int, dict[bytes, DepositRecord]]:
    """Slot, and the deposit records of a market by their owners; those that `more` lets through."""

    def decode(account: Account) -> tuple[bytes, DepositRecord]:
        owner = account.data[_OWNER]
        return owner, decode_deposit_record(account, market, owner)

    filters: list[Filter] = [SizeIs(DEPOSIT_RECORD.size), BytesAre(8, market.ledger), *more]
    return await _listed(chain, market, filters, decode, run_thread)


async def list_claims(
    chain: Chain, market: Market, wallet_at: WalletAt, run_thread: RunThread, *more: Filter
) -> tuple[int, dict[bytes, ClaimRecord]]:
    """Slot, and claim records by their wallets: of those whose records lie in `wallet_at` only."""

    def decode(account: Account) -> tuple[bytes, ClaimRecord]:
        wallet = wallet_at.get(account.address)
        if wallet is None:
            raise NotOfTheProgram(NotOfTheProgram.__doc__)
        return wallet, decode_claim_record(account, market, wallet)

    filters: list[Filter] = [
        SizeIs(CLAIM_RECORD.size),
        BytesAre(0, CLAIM_RECORD.discriminator),
        *more,
    ]
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
