"""Claims, built from the chain as it is now, for wallets that sign elsewhere.

In:   the market, the active root's proofs, a wallet.
Out:  unsigned transactions and amounts; what the program would refuse is a `Refusal` in its words.
Rules:
  1. So many are built at once and no more; each has its time, then the chain is unreachable.
  2. A proof that does not fit in a packet takes the configured lookup table.
  3. Nothing is given out that would fail: every transaction was simulated.
Not here: sponsors (`sponsoring`), HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from coordinator.claim_limits import CLAIM_BUILD_S, CLAIMS_BUILT_AT_ONCE_MAX
from coordinator.clock import iso
from coordinator.protocol.errors import Refusal
from coordinator.settlement.proofs import Proofs
from coordinator.settlement_state import Built
from onchain.actions import chain_id
from onchain.address import encode_address
from onchain.chain import Chain
from onchain.chain_errors import (
    ChainError,
    FeeTooHigh,
    PacketTooLarge,
    TransactionRefused,
)
from onchain.claim import Elsewhere, Plan, plan_claim, unsigned_transaction
from onchain.drafts import Budget
from onchain.errors import OnchainError
from onchain.fees import Fees
from onchain.lookup_tables import LookupTable, read_tables
from onchain.outlook import Outlook, claim_outlook
from onchain.places import Market
from onchain.program_refusals import ProgramRefused, refusal_named
from onchain.reads import ClaimNow, read_claim
from onchain.settlement_tree import Proof

_SOL = 1_000_000_000


class Claims:
    """Builds claims of one market."""

    def __init__(
        self, chain: Chain, market: Market, proofs: Proofs, fees: Fees, table: bytes | None = None
    ) -> None:
        """Build with these.

        Args:
            chain: The nodes.
            market: What was pinned.
            proofs: Of the active root.
            fees: Ceilings of what a claim costs its payer.
            table: Address of the market's lookup table, where there is one.
        """
        self._chain = chain
        self._market = market
        self._proofs = proofs
        self._fees = fees
        self._table = table
        self._tables: tuple[LookupTable, ...] | None = None
        self._places = trio.CapacityLimiter(CLAIMS_BUILT_AT_ONCE_MAX)
        self.chain_name = chain_id(market.cluster_tag)

    async def payable(self, wallet: bytes) -> int:
        """What a claim would pay now, base units.

        Raises:
            Refusal: `not_found`, `claim_refused`, `busy`, `chain_unreachable`.
        """
        with self.working():
            state, proof = await self.look(wallet)
            outlook = claim_outlook(state.ledger, state.record, proof, state.clock)
            if not outlook.is_open:
                raise refusal_named(outlook.refusal, outlook.again_at)
            check_pays(outlook)
            return outlook.pay

    async def build(self, wallet: bytes, payer: bytes) -> Built:
        """A claim whose payer signs it, and nobody else.

        Raises:
            Refusal: as `payable`, and `insufficient_sol`.
        """
        with self.working():
            state, proof = await self.look(wallet)
            tables = await self.tables()
            plan = plan_claim(self._market, state, proof, payer=Elsewhere(payer), tables=tables)
            check_pays(plan.outlook)
            try:
                raw = await unsigned_transaction(self._chain, plan, self._market, self._fees)
            except TransactionRefused as error:
                raise await self._why(error, plan, payer) from error
            return Built(raw, plan.outlook.pay)

    async def look(self, wallet: bytes) -> tuple[ClaimNow, Proof]:
        """The wallet's record on the chain, and its proof.

        Raises:
            Refusal: `not_found`: the active root has no leaf of it.
        """
        proof = await self._proofs.find(wallet)
        if proof is None:
            raise Refusal("not_found", "no active root has a leaf of this wallet yet")
        return await read_claim(self._chain, self._market, wallet), proof

    async def tables(self) -> tuple[LookupTable, ...]:
        """The market's lookup table, read once: it only grows."""
        if self._tables is None:
            wanted = () if self._table is None else (self._table,)
            self._tables = await read_tables(self._chain, wanted) if wanted else ()
        return self._tables

    @contextmanager
    def working(self) -> Iterator[None]:
        """One of the places for building, for `CLAIM_BUILD_S`; the chain's errors as refusals.

        Raises:
            Refusal: `busy`, `claim_refused`, `chain_unreachable`.
        """
        who = object()
        try:
            self._places.acquire_on_behalf_of_nowait(who)
        except trio.WouldBlock as error:
            raise Refusal("busy", "as many claims are built as can be now") from error
        try:
            with trio.fail_after(CLAIM_BUILD_S), in_words():
                yield
        except trio.TooSlowError as error:
            raise Refusal("chain_unreachable") from error
        finally:
            self._places.release_on_behalf_of(who)

    async def _why(self, error: TransactionRefused, plan: Plan, payer: bytes) -> Refusal:
        """Why a simulation failed: mostly, the account that pays has nothing to pay with."""
        needed = plan.sponsor_request(Budget()).lamports
        has = await self._chain.balance(payer)
        if has < needed:
            said = f"{encode_address(payer)} has {_sol(has)} SOL; this claim takes {_sol(needed)}"
            return Refusal("insufficient_sol", said)
        return Refusal("claim_refused", f"the chain would refuse it: {error.fault}")


def check_pays(outlook: Outlook) -> None:
    """That a claim pays something: one may only prove what vouchers advanced, at its payer's cost.

    Raises:
        Refusal: `claim_refused`.
    """
    if not outlook.pay:
        raise Refusal("claim_refused", "it would pay nothing: vouchers have paid what it proves")


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what the chain and its program say into refusals."""
    try:
        yield
    except ProgramRefused as error:
        again = f"; ask again at {iso(1000 * error.again_at)}" if error.again_at else ""
        said = error.sentence.rstrip(".")
        raise Refusal("claim_refused", f"{error.name}: {said}{again}") from error
    except PacketTooLarge as error:
        said = "its proof does not fit in a packet: the market needs a lookup table"
        raise Refusal("claim_refused", said) from error
    except FeeTooHigh as error:
        raise Refusal("claim_refused", str(error)) from error
    except (ChainError, OnchainError) as error:
        raise Refusal("chain_unreachable", f"the chain cannot be asked: {error}"[:300]) from error


def _sol(lamports: int) -> str:
    return f"{lamports // _SOL}.{lamports % _SOL:09d}"
