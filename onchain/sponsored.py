"""A claim that a sponsor pays for: offered, signed by the wallet, then by us, sent as it is.

In:   a plan whose payer is our key and that the wallet signs too; what the wallet returned.
Out:  `Offer`: bytes without signatures and what they would cost; an `Intent` for `sender`.
Rules:
  1. What an offer costs was simulated, and its bytes fix it: nobody raises it afterwards.
  2. What the wallet signed cannot be signed anew: it lands as it is, or expires.
  3. It counts as expired by the finalized height: before that it may still cost something.
Not here: whether we pay (`sponsor`), our signature (`cosign`), the history (the coordinator's).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import NoReturn

import trio
from solders.message import to_bytes_versioned
from solders.transaction import VersionedTransaction

from onchain.chain import Chain, Commitment
from onchain.chain_errors import TransactionExpired
from onchain.claim import Plan
from onchain.drafts import Budget
from onchain.fees import Fees
from onchain.places import TOKEN_PROGRAM, Market
from onchain.program_refusals import explained
from onchain.sender import Intent
from onchain.sponsor import Rents, SponsorRequest

#: Bytes of a token account; the second token program marks that it keeps its owner.
_TOKEN_ACCOUNT_BYTES = 165
_TOKEN_2022_ACCOUNT_BYTES = 170
_RECORD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Offer:
    """A transaction that we would pay for, once the wallet has signed it."""

    #: SHA-256 of its message: no two offers have the same.
    name: bytes
    #: The transaction, all signatures zeros.
    raw: bytes
    request: SponsorRequest
    last_valid_block_height: int


async def read_rents(chain: Chain, market: Market) -> Rents:
    """What a claim's accounts lock on this chain."""
    is_first = market.token_program == TOKEN_PROGRAM
    size = _TOKEN_ACCOUNT_BYTES if is_first else _TOKEN_2022_ACCOUNT_BYTES
    return Rents(await chain.rent_minimum(size), await chain.rent_minimum(_RECORD_BYTES))


async def make_offer(chain: Chain, plan: Plan, market: Market, fees: Fees, rents: Rents) -> Offer:
    """A plan's bytes for its wallet to sign, and what they would cost its payer.

    Raises:
        ProgramRefused, TransactionRefused: it would fail.
        FeeTooHigh: it costs more than the ceiling.
        ChainError: the chain could not be asked.
    """
    with explained(plan.recipe, market.program):
        budget = await fees.budget(chain, plan.recipe, (market.ledger, market.vault), 0)
    latest = await chain.latest_blockhash()
    raw = plan.recipe.unsigned(latest.blockhash, budget)
    message = to_bytes_versioned(VersionedTransaction.from_bytes(raw).message)
    return Offer(
        sha256(message).digest(),
        raw,
        plan.sponsor_request(budget, rents),
        latest.last_valid_block_height,
    )


@dataclass(frozen=True, slots=True)
class _AsSigned:
    """A `Draft` that is signed already, by others too: there is no second one like it."""

    #: Of the sponsor and of the wallet.
    signatures: int = 2

    def unsigned(self, blockhash: bytes, budget: Budget) -> NoReturn:  # noqa: ARG002 - a `Draft`'s
        """Refuses.

        Raises:
            TransactionExpired: always: it is asked for only once the signed one has expired.
        """
        msg = "what the wallet signed has expired: it signs another one"
        raise TransactionExpired(msg)

    sign = unsigned


def sponsored_intent(market: Market, name: bytes) -> Intent:
    """An offer that was signed, for a sender whose journal holds it as an open attempt."""

    async def is_done() -> bool:
        # Only this very transaction is meant, and its status tells.
        await trio.lowlevel.checkpoint()
        return False

    return Intent(
        f"sponsored:{market.ledger.hex()}:{name.hex()}",
        _AsSigned(),
        is_done,
        commitment=Commitment.CONFIRMED,
    )
