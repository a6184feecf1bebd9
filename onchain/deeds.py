"""An owner's deeds by hand: rehearsed, carried out once, or handed out unsigned.

In:   a chain, a `Recipe`, the program that it calls, the ceilings of what it may cost.
Out:  what it would cost, what did it, or bytes for another to sign; the program's refusals by name.
Rules:
  1. Nothing is signed that a simulation shows to fail.
  2. What lands is looked for until it landed or can no longer land; nothing is signed twice.
Not covered: durable nonces: what is handed out unsigned is good for 150 blocks, about a minute,
unless the signer's program puts a blockhash of its own, as multisigs do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import based58

from onchain.chain import Chain, Commitment
from onchain.chain_errors import BadDraft
from onchain.drafts import Budget
from onchain.fees import Fees
from onchain.journal import MemoryJournal
from onchain.sender import Intent, Pace, Sender, Sent
from onchain.shortages import in_words
from onchain.transactions import Recipe


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A signer whose key is not here."""

    address: bytes

    def sign(self, message: bytes) -> bytes:  # noqa: ARG002 - a `Signer`'s method
        """Never.

        Raises:
            BadDraft: always.
        """
        msg = "this key is not here"
        raise BadDraft(msg)


async def rehearse(chain: Chain, recipe: Recipe, program: bytes, fees: Fees) -> Budget:
    """What it may use, by a simulation.

    Raises:
        ProgramRefused, Shortage, TransactionRefused: it would fail.
        FeeTooHigh: it costs more than the ceiling.
        ChainError: the chain could not be asked.
    """
    async with in_words(chain, recipe, program):
        return await fees.budget(chain, recipe, (), 0)


async def hand_out(chain: Chain, recipe: Recipe, program: bytes, fees: Fees) -> bytes:
    """Its bytes with zeros for signatures; raises as `rehearse` does."""
    budget = await rehearse(chain, recipe, program, fees)
    latest = await chain.latest_blockhash(Commitment.FINALIZED)
    return recipe.unsigned(latest.blockhash, budget)


async def carry_out(
    chain: Chain,
    recipe: Recipe,
    program: bytes,
    fees: Fees,
    *,
    name: str,
    is_done: Callable[[], Awaitable[bool]],
    pace: Pace | None = None,
) -> Sent:
    """Sign and send it, and see that it is done.

    Args:
        chain: The chain.
        recipe: What is done.
        program: The program whose refusals are named.
        fees: The ceilings.
        name: For people, in errors.
        is_done: Whether what it brings about holds already.
        pace: Waits.

    Raises:
        ProgramRefused, Shortage, TransactionRefused: it would fail, or landed and failed.
        TransactionExpired, ChainError: it did not land, or nobody knows.
    """
    sender = Sender(chain, MemoryJournal(), fees=fees, pace=pace or Pace(signings_max=1))
    async with in_words(chain, recipe, program):
        return await sender.send(Intent(name, recipe, is_done))


def signature_text(signature: bytes) -> str:
    """Base58, as explorers know it."""
    return based58.b58encode(signature).decode()
