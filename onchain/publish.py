"""What is done with a market's roots: publish, approve, activate, cancel, revoke.

In:   a chain, a `Sender`, a market, who pays; leaf files; the roles' keys.
Out:  `Sent`, once the chain has it.
Rules:
  1. Nothing is signed before `publication` has passed it against the chain as it is now.
  2. The guardian approves what it has recomputed from the file, never what it was told.
  3. Files are read and hashed in a thread: a million leaves take a second, and others have work.
  4. An epoch's number is spent once: a root of another under the same number is told, not repeated.
Not covered: fetching leaf files, recomputing leaves from books and receipts.
Source: `docs/program.md`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
from solders.instruction import Instruction

from onchain import role_calls
from onchain.chain import Chain
from onchain.drafts import Signer
from onchain.leaves import LeafFile
from onchain.outlook import is_due, promoted
from onchain.places import Market
from onchain.program_refusals import refusal_named
from onchain.publication import (
    Publication,
    PublicationError,
    check_pending,
    check_predecessor,
    check_publication,
    prepare,
    promised_part,
)
from onchain.reads import LedgerNow, read_ledger
from onchain.sender import Intent, Sender, Sent
from onchain.shortages import in_words
from onchain.transactions import Recipe
from onchain.views import Ledger, Root


class EpochTaken(PublicationError):
    """Another root was published under this number."""


@dataclass(frozen=True, slots=True)
class Roots:
    """A market's roots, for those who hold its roles."""

    chain: Chain
    sender: Sender
    market: Market
    #: Pays the fees; a role may pay its own.
    payer: Signer

    async def publish(
        self,
        file: LeafFile,
        *,
        publisher: Signer,
        before: LeafFile | None = None,
        guardian: Signer | None = None,
    ) -> Sent:
        """Promise the root of a leaf file.

        Args:
            file: The leaves of the next epoch.
            publisher: Signs.
            before: The leaves of the active root; None where there is none yet.
            guardian: Signs an approval in the same transaction, where it is at hand.

        Raises:
            LeafFileError, PublicationError: nothing was signed.
            EpochTaken: another root has this number.
            ProgramRefused, ChainError: see `Sender.send`.
        """
        publication = await trio.to_thread.run_sync(prepare, file)
        state = await self._now()
        if state.ledger.last_epoch < publication.promised.epoch:
            check_publication(publication, self.market.ledger, state)
            active = promoted(state.ledger, state.clock).active
            await trio.to_thread.run_sync(check_predecessor, before, file, active)
        calls = [self._promise(publication, publisher)]
        signers = [publisher]
        if guardian is not None:
            calls.append(self._approval(publication.promised, guardian))
            signers.append(guardian)
        sent = await self._send("publish", publication.promised, calls, signers, self._published)
        _check_taken((await self._now()).ledger, publication.promised)
        return sent

    async def may_land(self, epoch: int, root: bytes) -> bool:
        """Whether a publication that was signed here has landed, or still may.

        Raises:
            ChainError: nobody knows.
        """
        return await self.sender.may_land(self._name("publish", epoch, root))

    async def approve(self, file: LeafFile, *, guardian: Signer) -> Sent:
        """Approve the pending root, if it is the one that follows from the guardian's own file.

        Raises:
            LeafFileError, RootDiffers, FileOfAnotherLedger: nothing was signed.
            ProgramRefused, ChainError: see `Sender.send`.
        """
        publication = await trio.to_thread.run_sync(prepare, file)
        check_pending(publication, self.market.ledger, (await self._now()).ledger)
        call = self._approval(publication.promised, guardian)
        return await self._send("approve", publication.promised, [call], [guardian], self._approved)

    async def activate(self) -> Sent:
        """Activate the pending root, which is due; claims do that by themselves too.

        Raises:
            ProgramRefused: `NoPendingRoot` or `NotDue`; the latter with `again_at`.
        """
        state = await self._now()
        pending = state.ledger.pending
        if pending.epoch == 0:
            raise refusal_named("NoPendingRoot")
        if not is_due(state.ledger, state.clock):
            raise refusal_named("NotDue", pending.active_at, now_s=state.clock.unix_s)
        call = role_calls.activate_root(self.market)
        return await self._send("activate", pending, [call], [], self._not_pending)

    async def cancel(self, epoch: int, *, role: Signer) -> Sent:
        """Drop the pending root; guardian or administrator.

        Raises:
            ProgramRefused: `NoPendingRoot`.
        """
        pending = (await self._now()).ledger.pending
        if epoch == 0 or pending.epoch != epoch:
            raise refusal_named("NoPendingRoot")
        call = role_calls.cancel_root(self.market, authority=role.address, epoch=epoch)
        return await self._send("cancel", pending, [call], [role], self._not_pending)

    async def revoke(self, epoch: int, *, role: Signer) -> Sent:
        """Take back the active root; guardian or administrator. A pending root stays.

        Raises:
            ProgramRefused: `NotRevocable`.
        """
        ledger = (await self._now()).ledger
        if epoch == 0 or ledger.active.epoch != epoch or not ledger.revocable:
            raise refusal_named("NotRevocable")
        call = role_calls.revoke_root(self.market, authority=role.address, epoch=epoch)
        return await self._send("revoke", ledger.active, [call], [role], self._not_active)

    def _promise(self, publication: Publication, publisher: Signer) -> Instruction:
        return role_calls.publish_root(
            self.market, authority=publisher.address, promised=publication.promised
        )

    def _approval(self, root: Root, guardian: Signer) -> Instruction:
        return role_calls.approve_root(
            self.market, authority=guardian.address, epoch=root.epoch, root=root.root
        )

    async def _now(self) -> LedgerNow:
        return await read_ledger(self.chain, self.market)

    def _name(self, deed: str, epoch: int, root: bytes) -> str:
        return f"{deed}:{self.market.ledger.hex()}:{epoch}:{root.hex()}"

    async def _send(
        self,
        deed: str,
        root: Root,
        calls: list[Instruction],
        signers: list[Signer],
        holds: Callable[[Ledger, Root], bool],
    ) -> Sent:
        recipe = Recipe(tuple(calls), _distinct(self.payer, *signers))

        async def is_done() -> bool:
            return holds((await self._now()).ledger, root)

        done: Callable[[], Awaitable[bool]] = is_done
        name = self._name(deed, root.epoch, root.root)
        intent = Intent(name, recipe, done, lands_once=True)
        async with in_words(self.chain, recipe, self.market.program):
            return await self.sender.send(intent)

    @staticmethod
    def _published(ledger: Ledger, root: Root) -> bool:
        return ledger.last_epoch >= root.epoch

    @staticmethod
    def _approved(ledger: Ledger, root: Root) -> bool:
        return ledger.pending.epoch != root.epoch or ledger.approved == 1

    @staticmethod
    def _not_pending(ledger: Ledger, root: Root) -> bool:
        return ledger.pending.epoch != root.epoch

    @staticmethod
    def _not_active(ledger: Ledger, root: Root) -> bool:
        return ledger.active.epoch != root.epoch


def _check_taken(ledger: Ledger, promised: Root) -> None:
    """Whatever has this epoch's number on the chain is what was promised."""
    for root in (ledger.pending, ledger.active, ledger.previous):
        if root.epoch == promised.epoch and promised_part(root) != promised:
            raise EpochTaken(EpochTaken.__doc__)


def _distinct(*signers: Signer) -> tuple[Signer, ...]:
    """Each key once, in order."""
    return tuple({each.address: each for each in signers}.values())
