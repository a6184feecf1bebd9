"""What a market looks like now: everything that one decision needs, as of one slot.

In:   a `Chain`, a `Market`, a wallet.
Out:  `LedgerNow`, `ClaimNow`, `ExitNow`: decoded, with the chain's own clock.
Rules:
  1. One question for one decision: values of two slots could contradict each other.
  2. What lies at the pinned addresses is believed only as far as `views` does.
Not covered: a node that lies; ask more than one (`opinions` of `Chain.accounts`) where it matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from onchain.chain import (
    ACCOUNTS_PER_CALL_MAX,
    CLOCK_ADDRESS,
    Account,
    Chain,
    ChainClock,
    Commitment,
    parse_clock,
)
from onchain.places import Market
from onchain.views import (
    ClaimRecord,
    DepositRecord,
    Ledger,
    NotOfTheProgram,
    decode_claim_record,
    decode_deposit_record,
    decode_ledger,
)

#: Mint, owner, amount: the beginning of a token account, which has 165 bytes or more.
_TOKEN: Final = Struct("<32s32sQ")
_TOKEN_BYTES_MIN: Final = 165
#: Accounts in one answer beside ledger, clock and vault.
RECORDS_AT_ONCE: Final = ACCOUNTS_PER_CALL_MAX - 3


@dataclass(frozen=True, slots=True)
class LedgerNow:
    """A market and its vault."""

    slot: int
    clock: ChainClock
    ledger: Ledger
    #: Base units in the vault.
    vault_balance: int


@dataclass(frozen=True, slots=True)
class ClaimNow:
    """A market and one wallet's record in it."""

    slot: int
    clock: ChainClock
    ledger: Ledger
    record: ClaimRecord
    #: Whether anything lies at the address of the wallet's token account.
    has_token_account: bool


@dataclass(frozen=True, slots=True)
class ExitNow:
    """A market and one owner's deposits in it."""

    slot: int
    clock: ChainClock
    ledger: Ledger
    record: DepositRecord
    has_token_account: bool


async def read_ledger(
    chain: Chain, market: Market, commitment: Commitment = Commitment.CONFIRMED
) -> LedgerNow:
    """The market now.

    Raises:
        NotOfTheProgram, OtherMarket: not what was pinned (see `views`).
        ChainError: the chain could not be asked.
    """
    slot, clock, ledger, (vault,) = await _read(chain, market, (market.vault,), commitment)
    return LedgerNow(slot, clock, ledger, _balance(vault, market))


async def read_claim(
    chain: Chain, market: Market, wallet: bytes, commitment: Commitment = Commitment.CONFIRMED
) -> ClaimNow:
    """The market and a wallet's record now; raises as `read_ledger` does."""
    wanted = (market.claim_record(wallet), market.token_account(wallet))
    slot, clock, ledger, (record, token) = await _read(chain, market, wanted, commitment)
    decoded = decode_claim_record(record, market, wallet)
    return ClaimNow(slot, clock, ledger, decoded, _is_token_account(token, market))


async def read_exit(
    chain: Chain, market: Market, owner: bytes, commitment: Commitment = Commitment.CONFIRMED
) -> ExitNow:
    """The market and an owner's deposits now; raises as `read_ledger` does."""
    wanted = (market.deposit_record(owner), market.token_account(owner))
    slot, clock, ledger, (record, token) = await _read(chain, market, wanted, commitment)
    decoded = decode_deposit_record(record, market, owner)
    return ExitNow(slot, clock, ledger, decoded, _is_token_account(token, market))


async def read_records(
    chain: Chain,
    market: Market,
    addresses: Sequence[bytes],
    *,
    slot_min: int = 0,
    opinions: int = 1,
) -> tuple[LedgerNow, tuple[Account | None, ...]]:
    """The market at finality, and up to `RECORDS_AT_ONCE` accounts, all in one answer.

    Raises:
        NotOfTheProgram, OtherMarket: as `read_ledger`.
        ChainError: the chain could not be asked, or `opinions` nodes do not agree.
    """
    assert len(addresses) <= RECORDS_AT_ONCE
    wanted = (market.ledger, CLOCK_ADDRESS, market.vault, *addresses)
    found = await chain.accounts(wanted, Commitment.FINALIZED, slot_min=slot_min, opinions=opinions)
    ledger, clock, vault, *rest = found.values
    now = LedgerNow(
        found.slot, parse_clock(clock), decode_ledger(ledger, market), _balance(vault, market)
    )
    return now, tuple(rest)


async def _read(
    chain: Chain, market: Market, more: tuple[bytes, ...], commitment: Commitment
) -> tuple[int, ChainClock, Ledger, tuple[Account | None, ...]]:
    found = await chain.accounts((market.ledger, CLOCK_ADDRESS, *more), commitment)
    ledger, clock, *rest = found.values
    return found.slot, parse_clock(clock), decode_ledger(ledger, market), tuple(rest)


def _is_token_account(account: Account | None, market: Market) -> bool:
    """Lamports that somebody sent to the address do not make it one."""
    return account is not None and account.owner == market.token_program


def _balance(vault: Account | None, market: Market) -> int:
    if vault is None or vault.owner != market.token_program or len(vault.data) < _TOKEN_BYTES_MIN:
        msg = "no vault at the ledger's token account"
        raise NotOfTheProgram(msg)
    mint, owner, amount = _TOKEN.unpack_from(vault.data)
    if (mint, owner) != (market.mint, market.ledger):
        msg = "the vault has another mint or owner than the ledger's"
        raise NotOfTheProgram(msg)
    return int(amount)
