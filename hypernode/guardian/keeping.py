"""Receipts that agents send a guardian: checked one by one, each kept once, a file a node.

In:   lines of an agent's `receipts.jsonl`: batches of receipts, and what the node signed of them.
Out:  `receipts/node-<key>.jsonl` in the guardian's folder, which `evidence` reads as any other.
Rules:
  1. A receipt is kept if the coordinator's signature over its batch holds and it names this node;
     a counter-signature if it is this node's, of batches that are here. So only who earned can make
     a file grow, whoever sends, and by what it earned.
  2. Each receipt is kept once, and each batch is counter-signed once, whatever comes again in
     whatever words: what is written is written anew here.
  3. Lines are on the disk before they are answered. A line that holds half, after a kill, is
     passed over by the reader, and comes again.
  4. Of one batch there is one root: a second one is refused, and said aloud, since no honest
     coordinator signs two.
Not covered: receipts are never let go of; a folder that is full takes no more of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from coordinator.evidence_limits import (
    GUARDIAN_BAD_LINES_MAX,
    GUARDIAN_NODE_BYTES_MAX,
    GUARDIAN_NODES_MAX,
    GUARDIAN_STORE_BYTES_MAX,
)
from coordinator.log import get_log
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.countersigning import Seen, check_seen
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.messages import ReceiptBatch, ReceiptsSigned
from coordinator.protocol.receipts import from_wire
from coordinator.protocol.signing import SIGNATURE_BYTES
from hypernode.guardian.evidence import SIGNED_MARK
from onchain.address import encode_address

_PREFIX: Final = "node-"
_log = get_log("guardian.keeping")


class StoreFull(Exception):
    """This guardian keeps as many receipts as it may: of this node, or of all."""


class Taken(msgspec.Struct, frozen=True):
    """What became of a post."""

    #: Bytes that were read: fewer than came where too many lines did not hold.
    read: int
    #: Receipts of this node that are new here, and all that are here.
    new: int
    kept: int
    #: Lines that did not hold.
    refused: int


@dataclass
class _Node:
    """What is kept of one node."""

    path: Path
    size: int = 0
    #: Batch and index of each receipt.
    receipts: set[tuple[int, int]] = field(default_factory=set)
    roots: dict[int, Seen] = field(default_factory=dict)
    #: Batches that it counter-signed.
    signed: set[int] = field(default_factory=set)


class ReceiptStore:
    """One guardian's receipts by node. Calls block, one at a time."""

    def __init__(
        self,
        folder: Path,
        coordinator_key: bytes,
        *,
        node_bytes_max: int = GUARDIAN_NODE_BYTES_MAX,
        bytes_max: int = GUARDIAN_STORE_BYTES_MAX,
    ) -> None:
        """Keep receipts in a folder, which is there."""
        self._folder = folder
        self._coordinator_key = coordinator_key
        self._node_bytes_max = node_bytes_max
        self._bytes_max = bytes_max
        self._nodes: dict[bytes, _Node] = {}
        files = list(folder.glob(f"{_PREFIX}*.jsonl"))
        self._size = sum(path.stat().st_size for path in files)
        self._count = len(files)

    @property
    def size(self) -> int:
        """Bytes of all nodes' receipts."""
        return self._size

    def take(self, node: bytes, body: bytes) -> Taken:
        """Keep what holds of some lines.

        Args:
            node: The node's key, 32 bytes.
            body: Whole lines.

        Raises:
            StoreFull: nothing of it was kept.
            OSError: the disk takes nothing; nothing of it was kept.
        """
        known = self._nodes.get(node) or self._load(node)
        draft = _Node(known.path)
        lines: list[bytes] = []
        read = refused = 0
        for line in _lines(body):
            try:
                lines += self._checked(node, line, known, draft)
            except (msgspec.DecodeError, ProtocolError, Refusal, ValueError):
                refused += 1
            read += len(line)
            if refused >= GUARDIAN_BAD_LINES_MAX:
                break
        if lines:
            self._write(known, b"".join(lines))
        known.receipts |= draft.receipts
        known.roots |= draft.roots
        known.signed |= draft.signed
        if lines:
            self._nodes[node] = known
        return Taken(read, len(draft.receipts), len(known.receipts), refused)

    def _load(self, node: bytes) -> _Node:
        """What an earlier process kept of a node; its own lines were checked before."""
        known = _Node(self._folder / f"{_PREFIX}{encode_address(node)}.jsonl")
        if not known.path.exists():
            return known
        known.size = known.path.stat().st_size
        with known.path.open("rb") as file:
            for line in file:
                try:
                    _note(known, _parsed(line))
                except msgspec.DecodeError:
                    continue  # half a line: this process died while it wrote
        self._nodes[node] = known
        return known

    def _checked(self, node: bytes, line: bytes, known: _Node, draft: _Node) -> Iterator[bytes]:
        """What is new in a line, checked, as it is written."""
        if not line.strip():
            return
        message = _parsed(line)
        fresh: ReceiptBatch | ReceiptsSigned | None
        if isinstance(message, ReceiptBatch):
            fresh = self._fresh(node, message, known, draft)
        else:
            fresh = self._fresh_signature(node, message, known, draft)
        if fresh is not None:
            _note(draft, fresh)
            yield msgspec.json.encode(fresh) + b"\n"

    def _fresh(
        self, node: bytes, message: ReceiptBatch, known: _Node, draft: _Node
    ) -> ReceiptBatch | None:
        """The receipts of a batch that are not here yet."""
        batch = message.batch
        items = {
            each.index: each
            for each in message.receipts
            if not any((batch, each.index) in part.receipts for part in (known, draft))
        }
        if not items:
            return None
        fresh = replace(message, receipts=list(items.values()))
        signed, receipts = from_wire(fresh, self._coordinator_key)
        if any(receipt.node_key != node for receipt in receipts):
            raise ProtocolError("malformed", "a receipt of another node")
        seen = Seen(signed.batch, signed.count, signed.root)
        before = known.roots.get(seen.batch) or draft.roots.get(seen.batch)
        if before not in {None, seen}:
            _log.error("the coordinator signed two roots of one batch", batch=seen.batch)
            raise ProtocolError("malformed", "a second root of this batch")
        return fresh

    def _fresh_signature(
        self, node: bytes, message: ReceiptsSigned, known: _Node, draft: _Node
    ) -> ReceiptsSigned | None:
        """A counter-signature, if one of its batches has none yet."""
        batches = [message.batch, *message.others]
        if all(each in known.signed or each in draft.signed for each in batches):
            return None
        found = [known.roots.get(each) or draft.roots.get(each) for each in batches]
        seen = [each for each in found if each is not None]
        if len(seen) != len(batches):
            raise ProtocolError("malformed", "it signs a batch that is not here")
        signature = decode_base64url(message.signature, size=SIGNATURE_BYTES)
        check_seen(node, self._coordinator_key, seen, signature)
        return message

    def _write(self, known: _Node, lines: bytes) -> None:
        is_new = not known.path.exists()
        # A kill may have left half a line: the next one begins on its own.
        lines = lines if is_new else b"\n" + lines
        size = known.size + len(lines)
        if (
            size > self._node_bytes_max
            or self._size + len(lines) > self._bytes_max
            or (is_new and self._count >= GUARDIAN_NODES_MAX)
        ):
            raise StoreFull(StoreFull.__doc__)
        _append(known.path, lines)
        known.size = size
        self._size += len(lines)
        self._count += is_new


def _lines(body: bytes) -> Iterable[bytes]:
    return body.splitlines(keepends=True)


def _parsed(line: bytes) -> ReceiptBatch | ReceiptsSigned:
    if SIGNED_MARK in line[:200]:
        return msgspec.json.decode(line, type=ReceiptsSigned)
    return msgspec.json.decode(line, type=ReceiptBatch)


def _note(node: _Node, message: ReceiptBatch | ReceiptsSigned) -> None:
    if isinstance(message, ReceiptsSigned):
        node.signed.update([message.batch, *message.others])
        return
    node.roots[message.batch] = Seen(message.batch, message.count, bytes.fromhex(message.root))
    node.receipts.update((message.batch, each.index) for each in message.receipts)


def _append(path: Path, data: bytes) -> None:
    """Add to a file, durably; a failed append leaves it as it was."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
