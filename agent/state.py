"""What an agent remembers of its coordinator: the pinned key, the binding, the receipts.

In:   what a session proved.
Out:  the same after a restart.
Rules:
  1. Trust on first use: the first coordinator's key is pinned; another one is refused. (A token
     names the coordinator's key, so that even the first use is anchored where a wallet signed.)
  2. Once the node key is bound to a wallet, the token stays at home.
  3. A batch of receipts is on disk before its counter-signature leaves, and that signature with it:
     `receipts.jsonl`, a batch or a `receipts_signed` message a line. So the file alone proves both
     sides.
Not here: the node's key file (`main.py`), results (`outbox.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from agent.disk import Disk, Hop, in_thread
from coordinator.log import get_log
from coordinator.protocol.messages import ReceiptBatch, ReceiptsSigned, Wallet
from onchain.address import decode_address, encode_address
from onchain.errors import BadAddress

RECEIPTS_FILE: Final = "receipts.jsonl"
#: How a line with counter-signatures begins.
_SIGNED: Final = b'{"type":"receipts_signed"'
_FILE: Final = "coordinator.json"
_log = get_log("agent.state")


class _Memory(msgspec.Struct, frozen=True, rename="camel"):
    coordinator_key: Wallet
    is_bound: bool
    #: The wallet that the node key works for, base58; empty if no token ever said it.
    wallet: str = ""


class State:
    """What is known of one coordinator; made by `load`."""

    def __init__(self, disk: Disk, hop: Hop) -> None:
        self._disk = disk
        self._hop = hop
        #: The pinned key of the coordinator, 32 bytes, or None before the first session.
        self.pinned: bytes | None = None
        #: Whether the node key has registered with a token, or by a delegation.
        self.is_bound = False
        #: Base58 of the wallet, as the token names it; empty if it is not known.
        self.wallet = ""
        self._has_appended = False

    @classmethod
    async def load(cls, disk: Disk, hop: Hop = in_thread) -> State:
        """What an earlier process remembered; a damaged file is said, and forgotten."""
        state = cls(disk, hop)
        raw = await hop(partial(disk.read, _FILE))
        if raw is not None:
            try:
                memory = msgspec.json.decode(raw, type=_Memory)
                state.pinned = decode_address(memory.coordinator_key)
                state.is_bound = memory.is_bound
                state.wallet = memory.wallet
            except (msgspec.DecodeError, BadAddress) as error:
                _log.error("state_damaged", file=_FILE, error=str(error))
        return state

    async def remember(self, coordinator_key: bytes) -> None:
        """A session opened: pin the key, and note that the node key is bound."""
        await self._save(coordinator_key, is_bound=True)

    async def unbind(self) -> None:
        """The node key is a new one: it must register with a token; the pinned key stays."""
        if self.pinned is not None:
            await self._save(self.pinned, is_bound=False)

    async def _save(self, coordinator_key: bytes, *, is_bound: bool) -> None:
        if (coordinator_key, is_bound) == (self.pinned, self.is_bound):
            return
        memory = _Memory(encode_address(coordinator_key), is_bound, self.wallet)
        raw = msgspec.json.encode(memory)
        await self._hop(partial(self._disk.replace, _FILE, raw))
        self.pinned, self.is_bound = coordinator_key, is_bound

    async def keep_receipts(
        self, batches: Sequence[ReceiptBatch], signed: Sequence[ReceiptsSigned] = ()
    ) -> None:
        """Add batches to the receipts, and what this node signed of them, durably and in one write.

        A batch that comes again is kept again.
        """
        lines = b"".join(msgspec.json.encode(each) + b"\n" for each in (*batches, *signed))
        if not self._has_appended:
            # A kill may have left half a line: the next one begins on its own.
            lines = b"\n" + lines
        await self._hop(partial(self._disk.append, RECEIPTS_FILE, lines))
        self._has_appended = True


def read_receipts(path: Path) -> Iterator[ReceiptBatch]:
    """The batches in a receipts file, oldest first; half a line at a crash is skipped.

    The same batch may come twice. Signatures are not checked here (`receipts.from_wire` does), and
    lines with counter-signatures are passed over.
    """
    decoder = msgspec.json.Decoder(ReceiptBatch)
    with path.open("rb") as file:
        for line in file:
            if line.startswith(_SIGNED):
                continue
            try:
                batch = decoder.decode(line) if line.strip() else None
            except msgspec.DecodeError:
                _log.warning("receipts_line_skipped", file=str(path))
                continue
            if batch is not None:
                yield batch
