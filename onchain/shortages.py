"""What a transaction's payer lacks, in words and amounts: the runtime tells codes.

In:   a chain, a `Recipe`, the `TransactionRefused` that it met.
Out:  `NotEnoughSol`, `NotEnoughTokens`: who lacks it, how much there is, how much it takes.
Rules:
  1. What an instruction of ours refused has its own name and keeps it (`program_refusals`).
  2. Amounts are the chain's: a balance is read, a need is the one that the runtime told, else the
     least that it can be.
  3. A refusal that fits nothing here stays as it is, with its log.
Not covered: what landed and failed has no log; of that only a missing fee is known by its name.
Source: solana-sdk `TransactionError`; agave `system_processor.rs` ("Transfer: insufficient
lamports"); spl-token `error.rs` ("insufficient funds").
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from onchain.address import encode_address
from onchain.amounts import format_hyper, format_sol
from onchain.chain import LAMPORTS_PER_SIGNATURE, Chain, Commitment
from onchain.chain_errors import (
    ChainError,
    Fault,
    NotEnoughSol,
    NotEnoughTokens,
    TransactionRefused,
)
from onchain.places import Market
from onchain.program_refusals import explained
from onchain.transactions import Recipe

#: The runtime's names for a payer that cannot pay.
_NO_FEE: Final = frozenset({"AccountNotFound", "InsufficientFundsForFee"})
_NO_RENT: Final = "InsufficientFundsForRent"
_SYSTEM: Final = re.compile(r"Transfer: insufficient lamports (\d{1,20}), need (\d{1,20})")


@asynccontextmanager
async def in_words(chain: Chain, recipe: Recipe, program: bytes) -> AsyncIterator[None]:
    """Turn a `TransactionRefused` into the program's own refusal, or into who lacks what."""
    try:
        with explained(recipe, program):
            yield
    except TransactionRefused as error:
        found = await _shortage(chain, recipe, error)
        if found is None:
            raise
        raise found from error


async def _shortage(chain: Chain, recipe: Recipe, error: TransactionRefused) -> NotEnoughSol | None:
    fee = recipe.signatures * LAMPORTS_PER_SIGNATURE
    told = _told(error.logs)
    if error.fault.name in _NO_FEE:
        need = f"{format_sol(fee)} SOL or more for its fee"
    elif error.fault.name == _NO_RENT:
        try:
            rent = await chain.rent_minimum(0)
        except ChainError:
            return None  # what is known already says more than this would
        need = (
            f"{format_sol(fee)} SOL for its fee and {format_sol(rent)} SOL that must stay in an "
            "account"
        )
    elif told is not None:
        need = (
            f"{format_sol(fee)} SOL for its fee and {format_sol(told)} SOL or more as rent of what "
            "it makes"
        )
    else:
        return None
    payer = recipe.signers[0].address
    try:
        has = await chain.balance(payer, Commitment.CONFIRMED)
    except ChainError:
        return None
    who = encode_address(payer)
    sentence = (
        f"{who} pays for this transaction and has {format_sol(has)} SOL: it takes {need}; send SOL "
        f"to {who}"
    )
    return NotEnoughSol(sentence, payer, error)


def _told(logs: Iterable[str]) -> int | None:
    """Lamports that the system program wanted to move and did not find."""
    for line in logs:
        if found := _SYSTEM.search(line):
            return int(found[2])
    return None


async def check_tokens(chain: Chain, market: Market, wallet: bytes, amount: int) -> int:
    """Refuse a payment that a wallet's own token account does not hold; what it holds, base units.

    Raises:
        NotEnoughTokens: nothing was signed.
        ChainError: the chain could not be asked.
    """
    account = market.token_account(wallet)
    found = await chain.token_balance(account, Commitment.CONFIRMED)
    if found is not None and found.amount >= amount:
        return found.amount
    who, mint = encode_address(wallet), encode_address(market.mint)
    if found is None:
        has = f"{who} has no tokens of the mint {mint}: there is no token account of its own"
    else:
        has = f"{who} has {format_hyper(found.amount)} HYPER (mint {mint})"
    sentence = f"{has}; this takes {format_hyper(amount)} HYPER: send tokens to {who}"
    raise NotEnoughTokens(sentence, wallet, TransactionRefused(Fault("InsufficientFunds")))
