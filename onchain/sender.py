"""Sending so that a deed is done once: over any chain, through lost packets, lies and restarts.

In:   an `Intent`: its name, a `Draft`, and how to see on the chain that the deed is done.
Out:  `Sent`; or the errors of `chain_errors`, with the attempt left open in the journal where it
      may still land.
Rules:
  1. Done already? → blockhash → sign → journal → send → look, and the same bytes again, until it
     landed or can no longer land. Only then, and after another look, is it signed anew.
  2. At most one signature of an intent can land at any moment.
  3. Silence and errors of nodes decide nothing; the block height decides, and for what the chain
     does not itself refuse a second time, the finalized one.
  4. The first send has a preflight; sends after it have none, for the bytes may be out already.
  5. What it costs stays below the configured ceiling.
Not covered: a deed done by others while our attempt is out (then the chain must refuse the second:
`lands_once`); a state read that lies "done"; nodes that all lie about the block height.
Source: anza-xyz's guides on retrying and expiry; the loop is ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from onchain.chain import Chain, Commitment, SignatureStatus
from onchain.chain_errors import (
    ChainError,
    ChainLied,
    ChainUnreachable,
    TransactionExpired,
    TransactionRefused,
)
from onchain.drafts import Draft
from onchain.fees import Fees
from onchain.journal import Attempt, End, Journal

#: Refusals of a preflight that speak of the node's view and not of the transaction: it lags, or
#: the bytes came through another one.
VAGUE: Final = frozenset({"AlreadyProcessed", "BlockhashNotFound"})


@dataclass(frozen=True, slots=True)
class Intent:
    """A deed to be done on the chain."""

    #: Its own name, unique for ever; the journal knows it by this.
    name: str
    draft: Draft
    #: Reads the chain: does what the deed brings about already hold? Once more before each signing.
    is_done: Callable[[], Awaitable[bool]]
    #: The chain itself refuses a second one (an epoch published, a difference claimed).
    lands_once: bool = False
    #: How sure it must be before it counts as landed.
    commitment: Commitment = Commitment.CONFIRMED
    #: Accounts that many write to: what coming early costs is asked for them.
    contended: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """The deed is done."""

    #: The signature that did it; None where the chain showed it done before anything was signed.
    signature: bytes | None
    #: Slot of its block; None where that is not known any more.
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """Waits, s, and how often."""

    poll_s: float = 1.0
    #: Leaders drop what they cannot take: the same bytes again about every five slots.
    resend_s: float = 2.0
    #: From the beginning of an attempt until its outcome is left to a later call.
    patience_s: float = 600.0
    #: Signatures in one call, each after the one before expired.
    signings_max: int = 5


class IntentBusy(ChainError):
    """The same intent is being sent already."""


class Sender:
    """Sends intents over one chain, with one journal; several at a time, each name once."""

    def __init__(
        self, chain: Chain, journal: Journal, *, fees: Fees | None = None, pace: Pace | None = None
    ) -> None:
        self._chain = chain
        self._journal = journal
        self._fees = fees or Fees()
        self._pace = pace or Pace()
        self._busy: set[str] = set()

    async def send(self, intent: Intent) -> Sent:
        """Do a deed, or find it done; goes on where a process before this one stopped.

        Raises:
            TransactionRefused: it would fail, or landed and failed.
            TransactionExpired: every attempt expired.
            ChainUnreachable, ChainLied: nobody could be asked for too long; call again later.
            FeeTooHigh, PacketTooLarge, BadDraft: nothing was signed.
            IntentBusy: it is being sent by another task.
        """
        if intent.name in self._busy:
            msg = f"{intent.name} is being sent"
            raise IntentBusy(msg)
        self._busy.add(intent.name)
        try:
            landed = await self._journal.landed(intent.name)
            return Sent(landed) if landed is not None else await self._do(intent)
        finally:
            self._busy.discard(intent.name)

    async def may_land(self, name: str) -> bool:
        """Whether anything that was signed for a deed has landed, or still may, at finality.

        Raises:
            ChainError: the chain could not be asked: then nobody knows.
        """
        if await self._journal.landed(name) is not None:
            return True
        waiting = await self._journal.open_attempts(name)
        if not waiting:
            return False
        height = await self._chain.block_height(Commitment.FINALIZED)
        signatures = [each.signature for each in waiting]
        found = await self._chain.statuses(signatures, search_history=True)
        return any(
            status is not None or height <= attempt.last_valid_block_height
            for attempt, status in zip(waiting, found.values, strict=True)
        )

    async def _do(self, intent: Intent) -> Sent:
        waiting = [*await self._journal.open_attempts(intent.name)]
        for number in range(self._pace.signings_max + len(waiting)):
            if await intent.is_done():
                for attempt in waiting:
                    await self._journal.close(attempt, End.DONE)
                return Sent(waiting[0].signature if waiting else None)
            is_new = not waiting
            attempt = waiting.pop(0) if waiting else await self._sign(intent, number)
            status = await _Follow(self._chain, self._journal, self._pace, intent, attempt).through(
                is_new=is_new
            )
            if status is not None:
                return await self._ended(attempt, status)
            await self._journal.close(attempt, End.EXPIRED)
        msg = f"{intent.name} did not land in {self._pace.signings_max} attempts"
        raise TransactionExpired(msg)

    async def _sign(self, intent: Intent, number: int) -> Attempt:
        """A new attempt, in the journal."""
        budget = await self._fees.budget(self._chain, intent.draft, intent.contended, number)
        latest = await self._chain.latest_blockhash()
        signed = intent.draft.sign(latest.blockhash, budget)
        attempt = Attempt(intent.name, signed.signature, signed.raw, latest.last_valid_block_height)
        await self._journal.write(attempt)
        return attempt

    async def _ended(self, attempt: Attempt, status: SignatureStatus) -> Sent:
        if status.fault is not None:
            await self._journal.close(attempt, End.FAILED)
            raise TransactionRefused(status.fault, signature=attempt.signature)
        await self._journal.close(attempt, End.LANDED)
        return Sent(attempt.signature, status.slot)


class _Follow:
    """One attempt, followed until it landed or expired."""

    def __init__(
        self, chain: Chain, journal: Journal, pace: Pace, intent: Intent, attempt: Attempt
    ) -> None:
        self._chain = chain
        self._journal = journal
        self._pace = pace
        self._intent = intent
        self._attempt = attempt
        self._is_out = False
        self._sent_at = float("-inf")

    async def through(self, *, is_new: bool) -> SignatureStatus | None:
        """The status of what landed; None for what expired without landing.

        Args:
            is_new: It was never sent, so it is sent first, with a preflight.
        """
        self._is_out = not is_new
        deadline = trio.current_time() + self._pace.patience_s
        if is_new:
            await self._send()
        while True:
            try:
                is_over, status = await self._look()
                if is_over:
                    return status
                if status is None:
                    await self._send_when_due()
            except (ChainUnreachable, ChainLied):
                if trio.current_time() >= deadline:
                    raise
            if trio.current_time() >= deadline:
                msg = f"{self._intent.name} neither landed nor expired"
                raise ChainUnreachable(msg)
            await trio.sleep(self._pace.poll_s)

    async def _look(self) -> tuple[bool, SignatureStatus | None]:
        """Whether it is over, and its status as far as there is one."""
        signatures = [self._attempt.signature]
        status = (await self._chain.statuses(signatures)).values[0]
        if status is None and await self._is_too_late():
            # One more look, into the history (what another process sent may have landed long ago),
            # by a node that has come as far as the height that we have just seen.
            slot = await self._chain.slot(self._height_commitment)
            found = await self._chain.statuses(signatures, search_history=True)
            status = found.values[0]
            if status is None:
                return found.slot >= slot, None
        return status is not None and status.commitment.covers(self._intent.commitment), status

    @property
    def _height_commitment(self) -> Commitment:
        # A fork may have more blocks than the one that stays: what must never land twice waits
        # for the height that nobody can take back.
        return Commitment.CONFIRMED if self._intent.lands_once else Commitment.FINALIZED

    async def _is_too_late(self) -> bool:
        height = await self._chain.block_height(self._height_commitment)
        return height > self._attempt.last_valid_block_height

    async def _send_when_due(self) -> None:
        if trio.current_time() - self._sent_at >= self._pace.resend_s:
            await self._send()

    async def _send(self) -> None:
        preflight, self._is_out = not self._is_out, True
        self._sent_at = trio.current_time()
        try:
            await self._chain.send(self._attempt.raw, preflight=preflight)
        except TransactionRefused as error:
            if not preflight or error.code in VAGUE:
                return
            if self._intent.lands_once:
                # Should it be out after all, the chain refuses whatever we send next or before.
                await self._journal.close(self._attempt, End.REFUSED)
            raise
        except (ChainUnreachable, ChainLied):
            return
