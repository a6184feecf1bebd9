"""What this machine has earned today, and its wallet in all: from its receipts.

In:   receipts that held, as they are kept; at a start, the end of the receipts file.
Out:  amounts in base units.
Rules:
  1. A day is a day of UTC, by the time on the receipts, which is the coordinator's.
  2. A batch that comes again counts once.
  3. The wallet's total is the receipts' own `cumulative`: what this coordinator ever paid it, as of
     the newest receipt of this machine.
Not covered: what the wallet's other machines earned since that receipt (`hypernode earnings` asks
the coordinator).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.state import RECEIPTS_FILE
from coordinator.limits import MIB
from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.messages import ReceiptBatch
from coordinator.protocol.receipts import Receipt, unpack
from onchain.address import encode_address

_DAY_MS: Final = 24 * 3600 * 1000
#: Receipts that are remembered, so that they count once: more than are offered again at a resume.
_SEEN_MAX: Final = 20_000
#: Of the receipts file at most this much is read at a start: some 50,000 receipts.
_READ_BYTES_MAX: Final = 64 * MIB
_CHUNK_BYTES: Final = 1 * MIB


class Earnings:
    """The sums of one agent."""

    def __init__(self) -> None:
        self._day = 0
        self._today = 0
        #: All that the wallet was ever paid here, base units; 0 before the first receipt.
        self.total = 0
        #: Whose receipts these are; empty before the first one.
        self.wallet = b""
        self._seen: dict[tuple[int, int], None] = {}

    @property
    def owner(self) -> str:
        """Base58 of that wallet; empty before the first receipt."""
        return encode_address(self.wallet) if self.wallet else ""

    def add(self, batch: int, receipts: Iterable[tuple[int, Receipt]]) -> None:
        """Receipts of one batch, each with its index there."""
        for index, receipt in receipts:
            if (batch, index) in self._seen:
                continue
            self._seen[batch, index] = None
            day = receipt.time_ms // _DAY_MS
            if day > self._day:
                self._day, self._today = day, 0
            if day == self._day:
                self._today += receipt.paid
            self.total = max(self.total, receipt.cumulative)
            self.wallet = receipt.wallet
        while len(self._seen) > _SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def today(self, now_ms: int) -> int:
        """Paid to this machine since midnight (UTC), base units."""
        return self._today if now_ms // _DAY_MS == self._day else 0


def read_earnings(folder: Path, now_ms: int) -> Earnings:
    """What the receipts file of a state directory tells; it is read from its end, back to today."""
    earnings = Earnings()
    path = folder / RECEIPTS_FILE
    if not path.exists():
        return earnings
    batches: list[ReceiptBatch] = []
    for line in _lines_backwards(path):
        batch = _batch_of(line)
        if batch is None:
            continue
        batches.append(batch)
        if all(receipt.time_ms // _DAY_MS < now_ms // _DAY_MS for _, receipt in _held_in(batch)):
            break
    for batch in reversed(batches):
        earnings.add(batch.batch, _held_in(batch))
    return earnings


def _held_in(batch: ReceiptBatch) -> list[tuple[int, Receipt]]:
    return [(item.index, unpack(bytes.fromhex(item.receipt))) for item in batch.receipts]


def _batch_of(line: bytes) -> ReceiptBatch | None:
    """The batch of a line; None for half a line at a crash, and for what is no batch."""
    try:
        batch = msgspec.json.decode(line, type=ReceiptBatch)
        _held_in(batch)
    except (msgspec.DecodeError, ProtocolError, ValueError):
        return None
    return batch


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file, the last one first, of at most its last `_READ_BYTES_MAX`."""
    with path.open("rb") as file:
        end = at = file.seek(0, 2)
        rest = b""
        while at > 0 and end - at < _READ_BYTES_MAX:
            size = min(_CHUNK_BYTES, at)
            at -= size
            file.seek(at)
            first, *lines = (file.read(size) + rest).split(b"\n")
            yield from (line for line in reversed(lines) if line.strip())
            rest = first
        if at == 0 and rest.strip():
            yield rest
