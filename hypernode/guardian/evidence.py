"""What a guardian knows of earnings by itself: receipts that were sent to it, signed withdrawals.

In:   files in its own folder. `receipts/*.jsonl` holds what agents keep: a line is a batch of
      receipts, or a node's counter-signature of such batches (`receipts_signed`).
Out:  sums by wallet.
Rules:
  1. A receipt counts once, whoever sent it and however often.
  2. It counts if the coordinator's signature over its batch holds. It is two-sided if the node that
     is named in it has signed that batch too, else one-sided: the coordinator's word alone.
  3. A withdrawal counts if its wallet signed our own text of it.
  4. A line that cannot be read proves nothing and is counted.
Not here: how receipts come (agents send them: `keeping`; or an operator copies `receipts.jsonl`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from coordinator.limits import FRAME_BYTES_MAX
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.countersigning import Seen, check_seen
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.messages import ReceiptBatch, ReceiptsSigned
from coordinator.protocol.receipts import Receipt, from_wire
from coordinator.protocol.signing import SIGNATURE_BYTES

#: What a line with counter-signatures has at its beginning.
SIGNED_MARK: Final = b'"receipts_signed"'


@dataclass
class Evidence:
    """Sums, base units, by wallet; all that was ever earned, as far as it is known here."""

    two_sided: Counter[bytes] = field(default_factory=Counter)
    one_sided: Counter[bytes] = field(default_factory=Counter)
    withdrawn: Counter[bytes] = field(default_factory=Counter)
    #: The house's part in all receipts.
    fees: int = 0
    #: Lines that could not be read, or did not hold.
    unreadable: int = 0

    def proven(self, wallet: bytes) -> int:
        """What nobody disputes: two signatures, or the owner's own."""
        return self.two_sided[wallet] + self.withdrawn[wallet]


def read_evidence(folder: Path, coordinator_key: bytes) -> Evidence:
    """The receipts of a folder; reads every line.

    Args:
        folder: With files of receipts; it may be missing.
        coordinator_key: Whose receipts these are, 32 bytes.
    """
    evidence = Evidence()
    receipts: dict[int, tuple[int, Receipt]] = {}
    roots: dict[int, Seen] = {}
    signed: list[ReceiptsSigned] = []
    for line in _lines(folder):
        try:
            if SIGNED_MARK in line[:200]:
                signed.append(msgspec.json.decode(line, type=ReceiptsSigned))
                continue
            message = msgspec.json.decode(line, type=ReceiptBatch)
            root, held = from_wire(message, coordinator_key)
        except (msgspec.DecodeError, ProtocolError, Refusal, ValueError):
            evidence.unreadable += 1
            continue
        roots[root.batch] = Seen(root.batch, root.count, root.root)
        receipts.update({receipt.job: (root.batch, receipt) for receipt in held})
    nodes = {receipt.node_key for _, receipt in receipts.values()} - {bytes(32)}
    seen_by = set(_counter_signed(signed, roots, nodes, coordinator_key))
    for batch, receipt in receipts.values():
        is_two_sided = (batch, receipt.node_key) in seen_by
        side = evidence.two_sided if is_two_sided else evidence.one_sided
        side[receipt.wallet] += receipt.paid
        evidence.fees += receipt.fee
    return evidence


def _lines(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            while line := file.readline(2 * FRAME_BYTES_MAX):
                if line.strip():
                    yield line


def _counter_signed(
    messages: Iterable[ReceiptsSigned],
    roots: dict[int, Seen],
    nodes: set[bytes],
    coordinator_key: bytes,
) -> Iterator[tuple[int, bytes]]:
    """Batch and node key of each counter-signature that holds."""
    for message in messages:
        batches = [message.batch, *message.others]
        seen = [roots[each] for each in batches if each in roots]
        try:
            signature = decode_base64url(message.signature, size=SIGNATURE_BYTES)
        except ValueError:
            continue
        if len(seen) != len(batches):
            continue  # of batches that were not sent here
        for node in nodes:
            try:
                check_seen(node, coordinator_key, seen, signature)
            except Refusal:
                continue
            yield from ((each, node) for each in batches)
            break
