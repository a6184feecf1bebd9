"""A claim that a sponsor pays for: offered, signed by the wallet, then by us, sent as it is.

In:   a plan whose payer is the sponsor and that the wallet signs too; what the other side gave.
Out:  `Offer`: bytes without signatures and what they would cost; these with the wallet's signature;
      an `Intent` for `sender`.
Rules:
  1. What an offer costs was simulated, and its bytes fix it: nobody raises it afterwards.
  2. What the wallet signed cannot be signed anew: it lands as it is, or expires.
  3. A wallet signs an offer only if it would build the same bytes itself, but for what it does not
     pay: blockhash and budget.
  4. It counts as expired by the finalized height: before that it may still cost something.
Not here: whether we pay (`sponsor`), our signature (`cosign`), the history (the coordinator's).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import NoReturn

import trio
from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.message import MessageV0, to_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from coordinator.limits import TRANSACTION_BYTES_MAX
from onchain.chain import Chain, Commitment
from onchain.chain_errors import BadDraft, TransactionExpired
from onchain.claim import Plan, priced
from onchain.drafts import Budget, Signer
from onchain.fees import Fees
from onchain.places import TOKEN_PROGRAM, Market
from onchain.sender import Intent
from onchain.sponsor import Rents, SponsorRequest

#: Bytes of a token account; the second token program marks that it keeps its owner.
_TOKEN_ACCOUNT_BYTES = 165
_TOKEN_2022_ACCOUNT_BYTES = 170
_RECORD_BYTES = 32
#: First byte of the compute-budget program's instructions.
_UNITS, _PRICE = 2, 3


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
    budget, latest = await priced(chain, plan, market, fees)
    raw = plan.recipe.unsigned(latest.blockhash, budget)
    message = to_bytes_versioned(VersionedTransaction.from_bytes(raw).message)
    return Offer(
        sha256(message).digest(),
        raw,
        plan.sponsor_request(budget, rents),
        latest.last_valid_block_height,
    )


class ForeignOffer(BadDraft):
    """This offer is not the claim that this wallet would build; nothing was signed."""


def tables_in(raw: bytes) -> tuple[bytes, ...]:
    """Addresses of the lookup tables that an offer takes.

    Raises:
        ForeignOffer: no offer.
    """
    return tuple(bytes(each.account_key) for each in _message(raw).address_table_lookups)


def payer_in(raw: bytes) -> bytes:
    """Who would pay for an offer; raises as `tables_in`."""
    return bytes(_message(raw).account_keys[0])


def sign_offer(raw: bytes, plan: Plan, wallet: Signer) -> bytes:
    """An offer with the wallet's signature, for the sponsor.

    Args:
        raw: What the sponsor gave.
        plan: The claim as this side would build it, with the same payer.
        wallet: Signs.

    Raises:
        ForeignOffer: it is something else.
    """
    message = _message(raw)
    blockhash, budget = bytes(message.recent_blockhash), _budget_in(message)
    # As its own payer the wallet would pay whatever budget somebody chose.
    is_own = bytes(message.account_keys[0]) == wallet.address
    if is_own or plan.recipe.unsigned(blockhash, budget) != raw:
        raise ForeignOffer(ForeignOffer.__doc__)
    signers = message.account_keys[: message.header.num_required_signatures]
    signatures = [Signature.default()] * len(signers)
    place = [bytes(each) for each in signers].index(wallet.address)
    signatures[place] = Signature.from_bytes(wallet.sign(to_bytes_versioned(message)))
    return bytes(VersionedTransaction.populate(message, signatures))


def _message(raw: bytes) -> MessageV0:
    try:
        message = VersionedTransaction.from_bytes(raw[: TRANSACTION_BYTES_MAX + 1]).message
    except ValueError as error:
        raise ForeignOffer(ForeignOffer.__doc__) from error
    if not isinstance(message, MessageV0) or not message.account_keys:
        raise ForeignOffer(ForeignOffer.__doc__)
    return message


def _budget_in(message: MessageV0) -> Budget:
    """What an offer may use: whoever pays has chosen it."""
    numbers = {_UNITS: 0, _PRICE: 0}
    for each in message.instructions:
        if message.account_keys[each.program_id_index] == COMPUTE_BUDGET and each.data:
            numbers[each.data[0]] = int.from_bytes(bytes(each.data)[1:9], "little")
    return Budget(min(numbers[_UNITS], 2**32 - 1), numbers[_PRICE])


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
