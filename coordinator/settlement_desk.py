"""What anybody may ask about settlement: epochs, their files, proofs; and a wallet's withdrawals.

In:   the store; `find_proof` and `leaf_files`, which the shell that settles provides.
Out:  views, or a `Refusal`: `no_chain` where nothing is settled.
Not here: routes (`settlement_routes`), decisions (`epochs`, `withdrawals`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from coordinator import chain_events as cev, solvency
from coordinator.chain_place import OnChain
from coordinator.clock import iso
from coordinator.desk import parse_amount, parse_wallet
from coordinator.leaf_files import LeafFiles
from coordinator.limits import LISTING_ROWS_MAX, WITHDRAWALS_PER_PAGE
from coordinator.logs_desk import LogsDesk
from coordinator.ports import PapersPort
from coordinator.protocol.errors import Refusal
from coordinator.protocol.memo import decode_transaction
from coordinator.protocol.signin import milliseconds_of
from coordinator.protocol.signing import decode_signature
from coordinator.settlement_state import SettlementState, Settling
from coordinator.settlement_views import (
    EpochView,
    ProofView,
    SettlementView,
    VoucherView,
    WithdrawalRequest,
    WithdrawalsView,
    WithdrawalView,
    epoch_view,
    withdrawal_view,
)
from coordinator.store.interface import Reader
from coordinator.store.settlement_values import Epoch, Settlement, Withdrawal
from coordinator.store.values import Session
from onchain.address import encode_address
from onchain.amounts import format_hyper

#: The proof of a wallet's leaf in the active root; None where it has none.
FindProof: TypeAlias = Callable[[bytes], Awaitable[ProofView | None]]


class SettlementDesk(LogsDesk):
    """The part of the house's counter where settlement is asked about."""

    leaf_files: LeafFiles
    #: Set by the shell that settles, once it has a tree.
    find_proof: FindProof | None = None
    #: The shell itself; None where the chain is not read.
    settling: Settling | None = None
    #: Told of each agent that keeps earnings papers, once it is ready.
    on_papers: Callable[[PapersPort], None] | None = None

    def _settling(self) -> OnChain:
        if self.house.on_chain is None:
            raise Refusal("no_chain")
        return self.house.on_chain

    async def settlement(self, state: SettlementState | None = None) -> SettlementView:
        """Where the house settles and how that stands, after the latest round or the given one."""
        on_chain, now_ms = self._settling(), self.operations.clock.wall_ms()

        def load(reader: Reader) -> tuple[Settlement | None, Epoch | None]:
            return reader.settlement(), reader.active_epoch()

        settlement, active = await self.read(load)
        stop = solvency.why_no_spending(settlement, now_ms)
        told = settlement or Settlement(on_chain.ledger)
        if state is None:
            state = self.settling.state if self.settling else SettlementState()
        return SettlementView(
            chain_id=self.house.realm.chain,
            ledger=encode_address(on_chain.ledger),
            coordinator_key=encode_address(self.coordinator_key),
            active_epoch=active.number if active else 0,
            spend_until=iso(told.spend_until_ms) if told.told_ms else None,
            unrooted=format_hyper(told.unrooted),
            backed=format_hyper(told.promise),
            stopped=stop.code if stop else "",
            looked_at=iso(state.looked_ms) if state.looked_ms else None,
            slot=state.slot,
            chain_epoch=state.active_epoch,
            pending_epoch=state.pending_epoch,
            pending_at=iso(1000 * state.pending_at_s) if state.pending_epoch else None,
            publishes=state.publishes,
            alarm=state.alarm,
            settler_stopped=state.is_stopped,
            said=state.said,
            did=state.did,
            waits=state.waits,
            waits_until=iso(1000 * state.waits_until_s) if state.waits_until_s else None,
            clock=iso(1000 * state.clock_s) if state.clock_s else None,
        )

    async def settle_now(self, session: Session, anew: int = 0) -> SettlementView:
        """One round of settlement now; an epoch is closed where the chain allows it, or anew."""
        self._check(session, "admin")
        self._settling()
        if self.settling is None:
            raise Refusal("no_chain", "this coordinator has no nodes: set rpc")
        return await self.settlement(await self.settling.round_now(anew))

    async def epochs(self, before: int | None = None) -> list[EpochView]:
        """The newest epochs, with numbers below `before`."""
        self._settling()
        rows = await self.read(lambda reader: reader.epochs(LISTING_ROWS_MAX, before=before))
        return [epoch_view(row) for row in rows]

    async def epoch(self, number: int) -> EpochView:
        """One epoch."""
        return epoch_view(await self._epoch(number))

    async def _epoch(self, number: int) -> Epoch:
        self._settling()
        found = await self.read(lambda reader: reader.epoch(number))
        if found is None:
            raise Refusal("not_found", f"there is no epoch {number}")
        return found

    async def leaf_file(self, number: int) -> tuple[Path, int, str]:
        """Where the leaf file of an epoch lies, its size in bytes, its SHA-256 in hexadecimal."""
        epoch = await self._epoch(number)
        size = self.leaf_files.size(number, epoch.data_hash) if epoch.root else None
        if size is None:
            raise Refusal("not_found", f"the leaf file of epoch {number} is not here")
        return self.leaf_files.path(number, epoch.data_hash), size, epoch.data_hash.hex()

    async def withdrawals_in(self, number: int, after: int) -> WithdrawalsView:
        """What an epoch's leaves count first of withdrawals, with what was signed."""
        await self._epoch(number)
        rows = await self.read(
            lambda reader: reader.withdrawals_in(number, after, WITHDRAWALS_PER_PAGE)
        )
        is_all = len(rows) < WITHDRAWALS_PER_PAGE
        return WithdrawalsView(
            [withdrawal_view(row) for _, row in rows], None if is_all else rows[-1][0]
        )

    async def proof(self, wallet: str) -> ProofView:
        """The proof of a wallet's leaf in the active root."""
        raw = parse_wallet(wallet)
        self._settling()
        found = None if self.find_proof is None else await self.find_proof(raw)
        if found is None:
            raise Refusal("not_found", "no active root has a leaf of this wallet")
        return found

    async def voucher(self, wallet: str) -> VoucherView:
        """A voucher of a wallet's earnings; it pays that wallet only, so anybody may ask."""
        raw = parse_wallet(wallet)
        self._settling()
        if self.settling is None:
            raise Refusal("not_found", "this coordinator gives no vouchers")
        return await self.settling.voucher(raw)

    async def withdraw(self, session: Session, request: WithdrawalRequest) -> WithdrawalView:
        """Make credit of the session's wallet its earnings, once a key."""
        self._check(session, "wallet")
        event = cev.WithdrawAsked(
            session.wallet,
            parse_amount(request.amount),
            request.key,
            milliseconds_of(request.issued_at),
            decode_signature(request.signature) if request.signature else b"",
            decode_transaction(request.transaction) if request.transaction else b"",
        )
        withdrawal: Withdrawal = await self.operations.writer.ask(event)
        return withdrawal_view(withdrawal)

    async def withdrawals(self, session: Session) -> list[WithdrawalView]:
        """The newest withdrawals of the session's wallet."""
        self._check(session, "wallet")
        self._settling()
        wallet = session.wallet
        rows = await self.read(lambda reader: reader.withdrawals_of(wallet, LISTING_ROWS_MAX))
        return [withdrawal_view(row) for row in rows]
