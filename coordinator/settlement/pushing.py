"""Earnings papers on their way to the agents that earned: proofs of the active root, vouchers.

In:   agents that keep papers and say which they have; rounds of settlement; the proofs and the
      vouchers that the shell gives.
Out:  `papers` messages, each to an agent that lacks what is in it.
Rules:
  1. One wallet at a time, with a rest after each and after each few of its agents: neither a root
     that becomes active nor ten thousand agents that come back hold up jobs.
  2. A wallet is looked at when one of its agents comes, when another root is active, and every
     `VOUCHER_LOOK_S`.
  3. An agent is sent what it lacks and nothing again: what it has it said when it came.
  4. A voucher is signed where one is needed (`is_needed`): when much is not vouched for, when the
     one that is there ends soon, when its key is void.
  5. Whatever goes wrong with one wallet costs that wallet its turn, until the next look.
Not covered: whether the agent kept it; it looks for itself, and says so when it comes back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Protocol

import trio

from coordinator import ledger
from coordinator.bell import Bell
from coordinator.evidence_limits import (
    PAPERS_GAP_S,
    PAPERS_TOGETHER_MAX,
    VOUCHER_LOOK_S,
    VOUCHER_RENEW_S,
    VOUCHER_UNVOUCHED_PART,
)
from coordinator.log import get_log
from coordinator.ports import PapersPort
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.messages import EarningsProof, Papers, PapersKept
from coordinator.settlement_metrics import SettlementMetrics
from coordinator.settlement_views import ProofView
from coordinator.store.interface import Reader, StoreError
from onchain.amounts import format_hyper, parse_hyper
from onchain.errors import BadAmount, OnchainError
from onchain.vouchers import SignedVoucher

log = get_log(__name__)


class Source(Protocol):
    """What gives papers: the shell that settles."""

    @property
    def active_epoch(self) -> int:
        """Of the root that proofs are of; 0: there is none."""
        ...

    @property
    def key_epoch(self) -> int | None:
        """Of the vouchers that are given; None: none are."""
        ...

    async def proof(self, wallet: bytes) -> ProofView | None: ...
    async def signed_voucher(self, wallet: bytes) -> SignedVoucher:
        """A wallet's voucher, or a `Refusal`."""
        ...


def is_needed(kept: PapersKept, *, earned: int, rooted: int, key_epoch: int, now_s: int) -> bool:
    """Whether an agent needs another voucher than the one that it has.

    Args:
        kept: What it has.
        earned: All that its wallet earned past the withholding window, base units.
        rooted: What of it the active root proves.
        key_epoch: Of the key that signs vouchers now.
        now_s: Unix s.
    """
    unrooted = earned - rooted
    if unrooted <= 0:
        return False  # the proof is worth as much
    is_void = kept.key_epoch != key_epoch or kept.vouched_until <= now_s + VOUCHER_RENEW_S
    unvouched = earned - max(rooted, parse_hyper(kept.vouched))
    return is_void or VOUCHER_UNVOUCHED_PART * unvouched > unrooted


class Pushing:
    """Sends papers; `run` it in one task."""

    def __init__(
        self,
        source: Source,
        *,
        is_here: Callable[[PapersPort], bool],
        read: Callable[[Callable[[Reader], Any]], Awaitable[Any]],
        wall_ms: Callable[[], int],
        metrics: SettlementMetrics,
    ) -> None:
        """Send what `source` gives.

        Args:
            source: Gives proofs and vouchers.
            is_here: Whether this is its node's present connection.
            read: Asks the books.
            wall_ms: Our clock.
            metrics: Counts what was sent.
        """
        self._source = source
        self._is_here = is_here
        self._read = read
        self._wall_ms = wall_ms
        self._metrics = metrics
        #: By wallet and node: who keeps papers. Who left is forgotten when its wallet's turn comes.
        self._holders: dict[bytes, dict[int, PapersPort]] = {}
        #: Wallets that are to be looked at, in order.
        self._queue: dict[bytes, None] = {}
        self._epoch = 0
        self._bell = Bell()

    @property
    def waiting(self) -> int:
        """Wallets that wait for their turn."""
        return len(self._queue)

    def join(self, holder: PapersPort) -> None:
        """An agent that keeps papers is ready.

        Raises:
            ProtocolError: `malformed`: what it says that it has is no amount.
        """
        try:
            parse_hyper(PapersKept().vouched if holder.papers is None else holder.papers.vouched)
        except BadAmount as error:
            raise ProtocolError("malformed", str(error)) from error
        self._holders.setdefault(holder.wallet, {})[holder.node.id] = holder
        self._ask([holder.wallet])

    def look(self) -> None:
        """A round of settlement has ended: if another root is active now, all are to have it."""
        if self._source.active_epoch != self._epoch:
            self._epoch = self._source.active_epoch
            self._ask_all()

    def _ask_all(self) -> None:
        # In the order of the leaves: neighbours' proofs share most of their hashing.
        self._ask(sorted(self._holders))

    def _ask(self, wallets: Iterable[bytes]) -> None:
        self._queue.update(dict.fromkeys(wallets))
        self._bell.ring()

    async def run(self) -> None:
        """Send what is due, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_again)
            while True:
                await self._bell.wait()
                while self._queue:
                    wallet = next(iter(self._queue))
                    del self._queue[wallet]
                    await self._serve(wallet)
                    await trio.sleep(PAPERS_GAP_S)

    async def _look_again(self) -> None:
        while True:
            await trio.sleep(VOUCHER_LOOK_S)
            self._ask_all()

    async def _serve(self, wallet: bytes) -> None:
        holders = [each for each in self._holders[wallet].values() if self._is_here(each)]
        self._holders[wallet] = {each.node.id: each for each in holders}
        if not holders:
            del self._holders[wallet]
            return
        try:
            proof = await self._source.proof(wallet)
            voucher = await self._voucher(wallet, holders, proof)
        except (OnchainError, OSError, Refusal, StoreError) as error:
            log.warning("no papers", error=type(error).__name__, said=str(error))
            return
        for start in range(0, len(holders), PAPERS_TOGETHER_MAX):
            if start:
                await trio.sleep(PAPERS_GAP_S)
            for holder in holders[start : start + PAPERS_TOGETHER_MAX]:
                self._send(holder, proof, voucher)

    async def _voucher(
        self, wallet: bytes, holders: list[PapersPort], proof: ProofView | None
    ) -> SignedVoucher | None:
        """A voucher for this wallet, where one of its agents needs one."""
        key_epoch, account = self._source.key_epoch, ledger.earned_of(wallet)
        if key_epoch is None:
            return None
        earned = (await self._read(lambda reader: reader.account(account))).credits
        needs = partial(
            is_needed,
            earned=earned,
            rooted=_amount_of(proof),
            key_epoch=key_epoch,
            now_s=self._wall_ms() // 1000,
        )
        if not any(needs(each.papers) for each in holders if each.papers is not None):
            return None
        voucher = await self._source.signed_voucher(wallet)
        # Withdrawals that wait for their root are credits too, and no voucher counts them.
        return voucher if voucher.voucher.cumulative > _amount_of(proof) else None

    def _send(
        self, holder: PapersPort, proof: ProofView | None, voucher: SignedVoucher | None
    ) -> None:
        """Send an agent what it lacks."""
        kept = holder.papers
        if kept is None or not self._is_here(holder):
            return
        if proof is not None and proof.epoch == kept.epoch:
            proof = None
        if voucher is not None and not _is_better(voucher, kept):
            voucher = None
        if proof is None and voucher is None:
            return
        after = PapersKept(kept.epoch if proof is None else proof.epoch, *_vouched(voucher, kept))
        holder.send_papers(_message(proof, voucher), after)
        self._metrics.papers_sent(proof=proof is not None, voucher=voucher is not None)


def _amount_of(proof: ProofView | None) -> int:
    return 0 if proof is None else parse_hyper(proof.lifetime)


def _is_better(voucher: SignedVoucher, kept: PapersKept) -> bool:
    """Whether a voucher says more than the one that an agent has, or says it for longer."""
    said = voucher.voucher
    return (said.key_epoch, said.cumulative, said.expires_at) > (
        kept.key_epoch,
        parse_hyper(kept.vouched),
        kept.vouched_until,
    )


def _vouched(voucher: SignedVoucher | None, kept: PapersKept) -> tuple[str, int, int]:
    """The part of `PapersKept` that is about the voucher, once this one was sent."""
    if voucher is None:
        return kept.vouched, kept.vouched_until, kept.key_epoch
    said = voucher.voucher
    return format_hyper(said.cumulative), said.expires_at, said.key_epoch


def _message(proof: ProofView | None, voucher: SignedVoucher | None) -> Papers:
    leaf = None
    if proof is not None:
        leaf = EarningsProof(
            ledger=proof.ledger,
            wallet=proof.wallet,
            epoch=proof.epoch,
            root=proof.root,
            leaf_count=proof.leaf_count,
            index=proof.index,
            lifetime=proof.lifetime,
            path=proof.proof,
        )
    return Papers(leaf, "" if voucher is None else encode_base64url(voucher.pack()))
