"""Proofs of the active root's leaves, for whoever asks.

In:   the epoch whose root is active; its leaf file.
Out:  the proof of a wallet's earnings.
Rules:
  1. One tree is held: that of the active root. It is replaced whole.
  2. A file is read by one asker at a time, off Trio's loop.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import trio

from coordinator.leaf_files import LeafFiles
from coordinator.settlement.closing import leaf_file
from coordinator.settlement_views import ProofView
from coordinator.store.interface import Reader
from coordinator.store.settlement_values import Epoch
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.leaf_errors import NoLeaf
from onchain.leaves import Kind
from onchain.listing import RunThread
from onchain.settlement_tree import Proof, SettlementTree


class Proofs:
    """Gives proofs; without an active root it has none."""

    def __init__(
        self, reader: Reader, files: LeafFiles, ledger: bytes, run_thread: RunThread
    ) -> None:
        self._reader = reader
        self._files = files
        self._ledger = ledger
        self._run_thread = run_thread
        self._lock = trio.Lock()
        self._held = ExitStack()
        self._tree: SettlementTree | None = None
        self.epoch: Epoch | None = None

    async def adopt(self, epoch: Epoch | None) -> None:
        """Hold this epoch's tree from now on.

        Raises:
            Refusal: `leaves_differ`.
        """
        if epoch == self.epoch:
            return
        async with self._lock:
            self.close()
            if epoch is not None:
                await self._run_thread(partial(self._open, epoch))
                self.epoch = epoch

    def _open(self, epoch: Epoch) -> None:
        opened = leaf_file(self._reader, self._files, self._ledger, epoch)
        self._tree = SettlementTree(self._held.enter_context(opened))

    async def find(self, wallet: bytes) -> Proof | None:
        """The proof of a wallet's earnings; None where it has no leaf."""
        async with self._lock:
            tree = self._tree
            if tree is None:
                return None
            try:
                found: Proof = await self._run_thread(partial(tree.proof, Kind.EARNINGS, wallet))
            except NoLeaf:
                return None
            return found

    async def view(self, wallet: bytes) -> ProofView | None:
        """The same as HTTP shows it."""
        proof, epoch = await self.find(wallet), self.epoch
        if proof is None or epoch is None or proof.epoch != epoch.number:
            return None
        return ProofView(
            ledger=encode_address(self._ledger),
            wallet=encode_address(wallet),
            epoch=proof.epoch,
            root=epoch.root.hex(),
            leaf_count=epoch.leaf_count,
            index=proof.index,
            lifetime=format_hyper(proof.amount),
            proof=[each.hex() for each in proof.path],
        )

    def close(self) -> None:
        """Let go of the file."""
        self._held.close()
        self._held, self._tree, self.epoch = ExitStack(), None, None
