"""A buffer is filled with a program's bytes: many pieces at a time, and resumed where it was.

In:   a chain, who pays and signs, the bytes.
Out:  a buffer that holds them.
Rules:
  1. Only pieces that differ on the chain are written.
  2. Pieces are sent again until they landed or can no longer land: a piece twice is the same piece.
Source: solana-loader-v3-interface; the sending is ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio
from solders.instruction import Instruction

from onchain import loader
from onchain.chain import SIGNATURES_PER_CALL_MAX, Chain, Commitment, LatestBlockhash
from onchain.chain_errors import (
    ChainLied,
    ChainUnreachable,
    TransactionExpired,
    TransactionRefused,
)
from onchain.deeds import carry_out
from onchain.drafts import Signed, Signer
from onchain.fees import Fees
from onchain.loader import Buffer, ForeignBuffer
from onchain.sender import Pace, Sent
from onchain.transactions import Recipe

#: Pieces that are on their way at the same time: a public node allows some ten a second.
PARALLEL: Final = 16
#: How often all pieces that are missing are signed anew, each time after the signatures expired.
ROUNDS: Final = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Means:
    """With what a deployment is done."""

    chain: Chain
    #: Pays; authority of buffer and program.
    payer: Signer
    #: The ceilings of one transaction.
    fees: Fees = field(default_factory=Fees)
    pace: Pace = field(default_factory=lambda: Pace(signings_max=3))

    async def do(
        self,
        name: str,
        calls: Sequence[Instruction],
        is_done: Callable[[], Awaitable[bool]],
        *more: Signer,
    ) -> Sent:
        """Carry out one transaction of the loader's."""
        recipe = Recipe(tuple(calls), (self.payer, *more))
        return await carry_out(
            *(self.chain, recipe, loader.LOADER, self.fees),
            name=name,
            is_done=is_done,
            pace=self.pace,
        )


class Buffering:
    """One file on its way into one buffer.

    Args:
        means: With what.
        elf: The file.
        address: Another buffer than the usual one, made by somebody else.
    """

    def __init__(self, means: Means, elf: bytes, address: bytes | None = None) -> None:
        self._means = means
        self._elf = elf
        self._usual = loader.buffer_address(means.payer.address, elf)
        self.address = address or self._usual

    @property
    def size(self) -> int:
        """Bytes of the buffer's account."""
        return loader.BUFFER_HEAD + len(self._elf)

    @property
    def pieces(self) -> int:
        return len(self._offsets)

    @property
    def _offsets(self) -> range:
        return range(0, len(self._elf), loader.WRITE_BYTES)

    def _piece(self, offset: int) -> bytes:
        return self._elf[offset : offset + loader.WRITE_BYTES]

    def missing(self, buffer: Buffer | None) -> tuple[int, ...]:
        """Offsets of the pieces that the buffer has otherwise.

        Raises:
            ForeignBuffer: it is too short for them.
        """
        if buffer is None:
            return tuple(self._offsets)
        if len(buffer.data) < len(self._elf):
            msg = f"the buffer has {len(buffer.data)} bytes, the program {len(self._elf)}"
            raise ForeignBuffer(msg)
        return tuple(
            at
            for at in self._offsets
            if buffer.data[at : at + len(self._piece(at))] != self._piece(at)
        )

    async def read(self) -> Buffer | None:
        """The buffer now."""
        (found,) = (await self._means.chain.accounts([self.address])).values
        return loader.parse_buffer(found)

    async def fill(self, progress: Progress) -> None:
        """Make the buffer, and write what it lacks.

        Raises:
            ForeignBuffer: another holds it.
            TransactionRefused, TransactionExpired, ChainError: it did not come to its end; the next
                run goes on there.
        """
        if await self.read() is None:
            await self._make()
        for attempt in range(ROUNDS):
            buffer = await self.read()
            missing = self.missing(buffer)
            progress(self.pieces - len(missing), self.pieces)
            if not missing:
                return
            if buffer is None or buffer.authority != self._means.payer.address:
                raise ForeignBuffer(ForeignBuffer.__doc__)
            await self._write(missing, attempt, progress)
        msg = f"the buffer was not full after {ROUNDS} rounds: run it again, it goes on there"
        raise TransactionExpired(msg)

    async def _make(self) -> None:
        if self.address != self._usual:
            msg = "there is no buffer at this address"
            raise ForeignBuffer(msg)
        lamports = await self._means.chain.rent_minimum(self.size)
        calls = loader.create_buffer(self._means.payer.address, self._elf, lamports)

        async def is_made() -> bool:
            return await self.read() is not None

        await self._means.do("making the buffer", calls, is_made)

    async def _write(self, offsets: Sequence[int], attempt: int, progress: Progress) -> None:
        """Send the pieces again and again, until all landed or can no longer land."""
        chain, pace = self._means.chain, self._means.pace
        recipes = [self._writing(at) for at in offsets]
        budget = await self._means.fees.budget(chain, recipes[0], (self.address,), attempt)
        latest = await chain.latest_blockhash()
        signed = [recipe.sign(latest.blockhash, budget) for recipe in recipes]
        out = {each.signature: each for each in signed}
        deadline = trio.current_time() + pace.patience_s
        sent_at = float("-inf")
        while out:
            if trio.current_time() - sent_at >= pace.resend_s:
                sent_at = trio.current_time()
                await self._send_all([*out.values()])
            await self._settle(out)
            progress(self.pieces - len(out), self.pieces)
            if not out or await self._is_over(latest, deadline):
                return
            await trio.sleep(pace.poll_s)

    def _writing(self, offset: int) -> Recipe:
        payer = self._means.payer
        call = loader.write(self.address, payer.address, offset, self._piece(offset))
        return Recipe((call,), (payer,))

    async def _send_all(self, pieces: Sequence[Signed]) -> None:
        limiter = trio.CapacityLimiter(PARALLEL)
        async with trio.open_nursery() as nursery:
            for each in pieces:
                nursery.start_soon(self._send, each, limiter)

    async def _send(self, signed: Signed, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            try:
                await self._means.chain.send(signed.raw, preflight=False)
            except (ChainUnreachable, ChainLied, TransactionRefused):
                return  # what did not go out is sent again; what did is seen by its status

    async def _settle(self, out: dict[bytes, Signed]) -> None:
        """Take out what landed."""
        waiting = [*out]
        for at in range(0, len(waiting), SIGNATURES_PER_CALL_MAX):
            some = waiting[at : at + SIGNATURES_PER_CALL_MAX]
            try:
                found = await self._means.chain.statuses(some)
            except (ChainUnreachable, ChainLied):
                return
            for signature, status in zip(some, found.values, strict=True):
                if status is None or not status.commitment.covers(Commitment.CONFIRMED):
                    continue
                if status.fault is not None:
                    raise TransactionRefused(status.fault, signature=signature)
                del out[signature]

    async def _is_over(self, latest: LatestBlockhash, deadline: float) -> bool:
        if trio.current_time() >= deadline:
            return True
        try:
            height = await self._means.chain.block_height()
        except (ChainUnreachable, ChainLied):
            return False
        return height > latest.last_valid_block_height

    async def hand_over(self, authority: bytes) -> Sent | None:
        """Give the buffer to another, who then upgrades with it; None where it has it already."""

        async def is_handed() -> bool:
            found = await self.read()
            return found is not None and found.authority == authority

        if await is_handed():
            return None
        call = loader.set_authority(self.address, self._means.payer.address, authority)
        return await self._means.do("handing the buffer over", [call], is_handed)

    async def close(self) -> Sent | None:
        """Drop the buffer and take its lamports back; None where there is none."""

        async def is_closed() -> bool:
            return await self.read() is None

        if await is_closed():
            return None
        payer = self._means.payer.address
        call = loader.close_buffer(self.address, payer, payer)
        return await self._means.do("closing the buffer", [call], is_closed)
