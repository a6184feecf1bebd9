"""Chains that misbehave: a wrapper around a `Chain`, and one around a dev node's answers.

Nothing in the product knows these: faults are put between, by whoever tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from onchain.chain import (
    Accounts,
    ChainClock,
    Commitment,
    Filter,
    LatestBlockhash,
    ProgramAccounts,
    Simulation,
    Statuses,
    TokenBalance,
)
from onchain.chain_errors import (
    ChainBehind,
    ChainRateLimited,
    ChainUnreachable,
    Fault,
    TransactionRefused,
)
from onchain.devnode_http import Answer, Reply
from onchain.machine_values import NotRun
from onchain.simulated import SimulatedChain


class Crash(BaseException):
    """The process died here; a `BaseException`, so that no handler of errors mends it."""


@dataclass
class Fuse:
    """Counts moments at which a process may die, and dies at one of them."""

    at: int | None = None
    burnt: int = 0

    def burn(self) -> None:
        self.burnt += 1
        if self.burnt == self.at:
            raise Crash


@dataclass
class FaultyChain:
    """A simulated chain behind a bad network.

    `sends` and `looks` are used up one by one; when they are empty all is well.
    Sends: `ok`, `drop` (answered, never heard of), `lost` (it lands, the answer does not come),
    `dead` (nothing goes out), `429`, `late N` (it lands N slots later, if it still may), `refused`
    (by a preflight that is wrong), `liar N` (refused, and yet it lands N slots later).
    Looks (statuses, height, slot): `ok`, `dead`, `429`, `behind`, `blind` (nobody knows anything).
    """

    inner: SimulatedChain
    sends: list[str] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)
    fuse: Fuse = field(default_factory=Fuse)
    #: Trio's time until which no node knows of any transaction.
    blind_until: float = 0.0
    raws: list[bytes] = field(default_factory=list)
    preflights: list[bool] = field(default_factory=list)
    _held: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def signatures(self) -> int:
        """Distinct transactions that were sent."""
        return len(set(self.raws))

    async def pass_time(self) -> None:
        """A slot every 0.4 s, with what was held back; runs until cancelled."""
        while True:
            await trio.sleep(0.4)
            self.inner.advance()
            due = [raw for slot, raw in self._held if slot <= self.inner.machine.slot]
            self._held = [each for each in self._held if each[1] not in due]
            for raw in due:
                self._run(raw)

    def _run(self, raw: bytes) -> None:
        try:
            self.inner.machine.submit(raw)
        except NotRun:
            return

    async def send(self, transaction: bytes, *, preflight: bool = True) -> bytes:
        self.fuse.burn()
        self.raws.append(transaction)
        self.preflights.append(preflight)
        signature = await self._send(transaction, preflight=preflight)
        self.fuse.burn()
        return signature

    async def _send(self, transaction: bytes, *, preflight: bool) -> bytes:
        how = self.sends.pop(0) if self.sends else "ok"
        if how == "dead":
            raise ChainUnreachable("no way to the node")
        if how == "429":
            raise ChainRateLimited("slow down", 1.0)
        if how == "vague" and preflight:
            raise TransactionRefused(Fault("BlockhashNotFound"))
        if how == "ok":
            return await self.inner.send(transaction, preflight=preflight)
        if how == "lost":
            await self.inner.send(transaction, preflight=preflight)
            raise ChainUnreachable("the answer was lost")
        if how.startswith(("refused", "liar")) and not preflight:
            how = "drop"  # whoever asks for no preflight is not told of one
        if how.startswith(("late", "liar")):
            self._held.append((self.inner.machine.slot + int(how.split()[1]), transaction))
        await trio.lowlevel.checkpoint()
        if how.startswith(("refused", "liar")):
            raise TransactionRefused(Fault("InstructionError", 1, "Custom", 17))
        return transaction[1:65]

    async def _looked(self) -> str:
        await trio.lowlevel.checkpoint()
        how = self.looks.pop(0) if self.looks else "ok"
        if how == "dead":
            raise ChainUnreachable("no way to the node")
        if how == "429":
            raise ChainRateLimited("slow down", 1.0)
        if how == "behind":
            raise ChainBehind("an answer of the past")
        return how

    async def statuses(
        self, signatures: Sequence[bytes], *, search_history: bool = False
    ) -> Statuses:
        how = await self._looked()
        found = await self.inner.statuses(signatures, search_history=search_history)
        # A node that knows nothing is an old one: it says so by its slot.
        is_blind = how == "blind" or trio.current_time() < self.blind_until
        return Statuses(0, (None,) * len(signatures)) if is_blind else found

    async def block_height(self, commitment: Commitment = Commitment.CONFIRMED) -> int:
        await self._looked()
        return await self.inner.block_height(commitment)

    async def slot(self, commitment: Commitment = Commitment.CONFIRMED) -> int:
        await self._looked()
        return await self.inner.slot(commitment)

    # ---- what is never broken here -------------------------------------------------------------

    async def genesis_hash(self) -> bytes:
        return await self.inner.genesis_hash()

    async def block_time(self, slot: int) -> int | None:
        return await self.inner.block_time(slot)

    async def clock(self, commitment: Commitment = Commitment.CONFIRMED) -> ChainClock:
        return await self.inner.clock(commitment)

    async def latest_blockhash(
        self, commitment: Commitment = Commitment.CONFIRMED
    ) -> LatestBlockhash:
        return await self.inner.latest_blockhash(commitment)

    async def accounts(
        self,
        addresses: Sequence[bytes],
        commitment: Commitment = Commitment.CONFIRMED,
        *,
        slot_min: int = 0,
        opinions: int = 1,
    ) -> Accounts:
        return await self.inner.accounts(addresses, commitment, slot_min=slot_min)

    async def balance(self, address: bytes, commitment: Commitment = Commitment.CONFIRMED) -> int:
        return await self.inner.balance(address, commitment)

    async def token_balance(
        self, address: bytes, commitment: Commitment = Commitment.CONFIRMED
    ) -> TokenBalance | None:
        return await self.inner.token_balance(address, commitment)

    async def program_accounts(
        self,
        program: bytes,
        filters: Sequence[Filter] = (),
        commitment: Commitment = Commitment.CONFIRMED,
    ) -> ProgramAccounts:
        return await self.inner.program_accounts(program, filters, commitment)

    async def rent_minimum(self, size: int) -> int:
        return await self.inner.rent_minimum(size)

    async def priority_fees(self, writable: Sequence[bytes] = ()) -> tuple[int, ...]:
        return await self.inner.priority_fees(writable)

    async def simulate(
        self, transaction: bytes, commitment: Commitment = Commitment.CONFIRMED
    ) -> Simulation:
        return await self.inner.simulate(transaction, commitment)

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass
class FaultyNode:
    """Put around a dev node's answers: `DevNode(around=faults.around)`.

    `plan` maps a method to what happens to its next calls: `ok`, `429`, `429 SECONDS`, `500`,
    `garbage`, `empty`, `dead` (the connection ends), `slow` (never answered), `lag N` (the context
    slot is N lower), `huge` (1 MiB of blanks), or a JSON text that stands for the result.
    """

    plan: dict[str, list[str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def around(self, answer: Answer) -> Answer:
        async def faulty(body: bytes) -> Reply:
            method = json.loads(body)["method"]
            self.calls.append(method)
            waiting = self.plan.get(method, [])
            return await self._reply(waiting.pop(0) if waiting else "ok", answer, body)

        return faulty

    async def _reply(self, how: str, answer: Answer, body: bytes) -> Reply:
        word, _, number = how.partition(" ")
        if how == "slow":
            await trio.sleep_forever()
        if how == "dead":
            raise trio.BrokenResourceError
        plain: dict[str, Reply] = {
            "429": Reply(b"", 429, (("retry-after", number),) if number else ()),
            "500": Reply(b"", 500),
            "garbage": Reply(b"<html>"),
            "empty": Reply(b"{}"),
            "huge": Reply(b" " * 2**20),
        }
        if word in plain:
            return plain[word]
        reply = await answer(body)
        if how == "ok":
            return reply
        document: dict[str, Any] = json.loads(reply.body)
        if word == "lag":
            document["result"]["context"]["slot"] -= int(number)
        else:
            document["result"] = json.loads(how)
        return Reply(json.dumps(document).encode())
