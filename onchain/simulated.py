"""The chain in this process: `Chain` over a `Machine`, without a network or a wait.

In:   what `Chain` asks; `machine.advance` lets slots and time pass, `airdrop` gives lamports.
Out:  the values of `chain`, the errors of `chain_errors`.
Rule: every answer passes a Trio checkpoint, so that code which runs here yields as it would over a
      network.
Not covered: nodes that lag or lie, lost transactions (`tests` wrap a chain for that), forks.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio
from solders.account import Account as VmAccount

from onchain.chain import (
    CLOCK_ADDRESS,
    Account,
    Accounts,
    ChainClock,
    Commitment,
    Filter,
    LatestBlockhash,
    ProgramAccounts,
    SignatureStatus,
    Simulation,
    SizeIs,
    Statuses,
    TokenBalance,
    parse_clock,
)
from onchain.chain_errors import ChainBehind, Fault, TransactionRefused, parse_fault
from onchain.machine import Machine
from onchain.machine_values import Landed, NotRun, Outcome, token_of

#: Blocks for which a node remembers a transaction without searching its history.
STATUS_BLOCKS = 300


class SimulatedChain:
    """A `Chain` that is all there is: its machine is open to whoever drives it."""

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or Machine()

    # ---- what a cluster's people do, and time ------------------------------------------------

    def airdrop(self, address: bytes, lamports: int) -> bytes:
        """Give lamports; returns the signature."""
        return self.machine.airdrop(address, lamports).signature

    def advance(self, slots: int = 1, *, ms: int | None = None, blocks: int | None = None) -> None:
        """Let slots and time pass, as `Machine.advance` says."""
        self.machine.advance(slots, ms=ms, blocks=blocks)

    # ---- reads ------------------------------------------------------------------------------

    async def genesis_hash(self) -> bytes:
        """Which cluster this is: named at the machine's making."""
        await trio.lowlevel.checkpoint()
        return self.machine.genesis

    async def slot(self, commitment: Commitment = Commitment.CONFIRMED) -> int:
        await trio.lowlevel.checkpoint()
        return self.machine.slot_at(commitment)

    async def block_height(self, commitment: Commitment = Commitment.CONFIRMED) -> int:
        await trio.lowlevel.checkpoint()
        return self.machine.height_at(commitment)

    async def block_time(self, slot: int) -> int | None:
        await trio.lowlevel.checkpoint()
        return self.machine.time_of(slot)

    async def clock(self, commitment: Commitment = Commitment.CONFIRMED) -> ChainClock:
        return parse_clock((await self.accounts([CLOCK_ADDRESS], commitment)).values[0])

    async def latest_blockhash(
        self, commitment: Commitment = Commitment.CONFIRMED
    ) -> LatestBlockhash:
        await trio.lowlevel.checkpoint()
        blockhash, last_height = self.machine.latest_blockhash(commitment)
        return LatestBlockhash(blockhash, last_height, self.machine.slot_at(commitment))

    async def accounts(
        self,
        addresses: Sequence[bytes],
        commitment: Commitment = Commitment.CONFIRMED,
        *,
        slot_min: int = 0,
        opinions: int = 1,  # noqa: ARG002 (the only node there is agrees with itself)
    ) -> Accounts:
        await trio.lowlevel.checkpoint()
        slot = self.machine.slot_at(commitment)
        if slot < slot_min:
            msg = f"the chain is at slot {slot}, {slot_min} was asked for"
            raise ChainBehind(msg)
        return Accounts(slot, tuple(self._account(each, commitment) for each in addresses))

    def _account(self, address: bytes, commitment: Commitment) -> Account | None:
        found = self.machine.account(address, commitment)
        return None if found is None else _account_of(address, found)

    async def balance(self, address: bytes, commitment: Commitment = Commitment.CONFIRMED) -> int:
        await trio.lowlevel.checkpoint()
        found = self.machine.account(address, commitment)
        return 0 if found is None else found.lamports

    async def token_balance(
        self, address: bytes, commitment: Commitment = Commitment.CONFIRMED
    ) -> TokenBalance | None:
        await trio.lowlevel.checkpoint()
        token = token_of(self.machine.account(address, commitment))
        mint = self.machine.mint_of(address)
        if token is None or mint is None:
            return None
        return TokenBalance(token.amount, mint[1], self.machine.slot_at(commitment))

    async def program_accounts(
        self,
        program: bytes,
        filters: Sequence[Filter] = (),
        commitment: Commitment = Commitment.CONFIRMED,
    ) -> ProgramAccounts:
        await trio.lowlevel.checkpoint()
        all_known = (self._account(each, commitment) for each in sorted(self.machine.known))
        fitting = tuple(
            account
            for account in all_known
            if account is not None and account.owner == program and passes(account.data, filters)
        )
        return ProgramAccounts(self.machine.slot_at(commitment), fitting)

    async def rent_minimum(self, size: int) -> int:
        await trio.lowlevel.checkpoint()
        return self.machine.rent_minimum(size)

    async def priority_fees(self, writable: Sequence[bytes] = ()) -> tuple[int, ...]:  # noqa: ARG002
        """Nobody competes here: one fee of nothing."""
        await trio.lowlevel.checkpoint()
        return (0,)

    # ---- transactions -----------------------------------------------------------------------

    async def simulate(
        self,
        transaction: bytes,
        commitment: Commitment = Commitment.CONFIRMED,
    ) -> Simulation:
        """Runs on the newest state, whatever the commitment: the machine keeps no other to run."""
        await trio.lowlevel.checkpoint()
        try:
            outcome = self.machine.simulate(transaction)
        except NotRun as error:
            raise _refusal(Outcome(error.error, error.logs)) from error
        fault = parse_fault(outcome.error)
        return Simulation(outcome.units, outcome.logs, fault, self.machine.slot_at(commitment))

    async def send(self, transaction: bytes, *, preflight: bool = True) -> bytes:
        await trio.lowlevel.checkpoint()
        try:
            checked = self.machine.check(transaction)
            if preflight:
                outcome = self.machine.simulate(transaction)
                if outcome.error is not None:
                    raise _refusal(outcome)
            self.machine.submit(transaction)
        except NotRun as error:
            # A node takes a well-formed transaction without preflight and says nothing more of it.
            if preflight or error.error in {"SanitizeFailure", "SignatureFailure"}:
                raise _refusal(Outcome(error.error, error.logs)) from error
            return transaction[1:65]
        return bytes(checked.signatures[0])

    async def statuses(
        self, signatures: Sequence[bytes], *, search_history: bool = False
    ) -> Statuses:
        await trio.lowlevel.checkpoint()
        oldest = 0 if search_history else self.machine.slot - STATUS_BLOCKS
        found = [self.machine.landed.get(each) for each in signatures]
        values = [
            None if each is None or each.slot < oldest else status_of(self.machine, each)
            for each in found
        ]
        return Statuses(self.machine.slot, tuple(values))

    async def aclose(self) -> None:
        """Nothing is held."""
        await trio.lowlevel.checkpoint()


def passes(data: bytes, filters: Sequence[Filter]) -> bool:
    """Whether an account's data pass all filters."""
    return all(
        len(data) == each.size
        if isinstance(each, SizeIs)
        else data[each.offset : each.offset + len(each.value)] == each.value
        for each in filters
    )


def status_of(machine: Machine, landed: Landed) -> SignatureStatus:
    """How sure a landed transaction is by now."""
    surest = [each for each in Commitment if landed.slot <= machine.slot_at(each)]
    return SignatureStatus(landed.slot, parse_fault(landed.outcome.error), surest[-1])


def _account_of(address: bytes, found: VmAccount) -> Account:
    return Account(address, found.lamports, bytes(found.owner), bytes(found.data), found.executable)


def _refusal(outcome: Outcome) -> TransactionRefused:
    fault = parse_fault(outcome.error)
    return TransactionRefused(fault or Fault("Unknown"), outcome.logs)
