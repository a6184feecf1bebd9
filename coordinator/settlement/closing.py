"""An epoch's leaves as a file, and the tree over it: what is published, and what is served.

In:   the books (a reader of its own, in a thread), the folder of leaf files.
Out:  `Built`; an open leaf file that has passed its check.
Rules:
  1. The file is on the disk, whole and synced, before its root is noted; the root is noted before
     it is published. A crash in between builds the same bytes again.
  2. A file that is gone is written again from the books, and must have the hash that was noted.
Not here: when an epoch is closed (`settler`), what is a leaf (`coordinator.epochs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from coordinator.leaf_files import LeafFiles
from coordinator.protocol.errors import Refusal
from coordinator.store.interface import Reader
from coordinator.store.settlement_values import Epoch
from onchain.leaves import LeafFile, write_leaves
from onchain.settlement_tree import SettlementTree


class Built(msgspec.Struct, frozen=True):
    """What follows from an epoch's leaves."""

    root: bytes
    data_hash: bytes
    leaf_count: int
    total: int
    total_exitable: int


def build(reader: Reader, files: LeafFiles, ledger: bytes, number: int) -> Built:
    """Write an epoch's leaf file and build its tree; a thread's work.

    Args:
        reader: One that nobody else uses meanwhile.
        files: Where the file is kept.
        ledger: The ledger's address.
        number: Of a closed epoch.

    Raises:
        LeafFileError: the leaves fit no file; see `LeafFile.check`.
    """
    with files.new(number) as (opened, draft):
        write_leaves(
            opened,
            ledger=ledger,
            epoch=number,
            earnings=reader.earnings_leaves(number),
            exits=reader.exit_leaves(number),
        )
        file = LeafFile(opened)
        data_hash = file.check()
        built = Built(
            SettlementTree(file).root,
            data_hash,
            file.head.leaf_count,
            file.head.total,
            file.head.total_exitable,
        )
        files.keep(opened, draft, number, data_hash)
    return built


@contextmanager
def leaf_file(reader: Reader, files: LeafFiles, ledger: bytes, epoch: Epoch) -> Iterator[LeafFile]:
    """The file of an epoch whose tree was noted, checked against its hash; closed at the end.

    Raises:
        Refusal: `leaves_differ`: neither the file nor the books give what was noted.
    """
    if files.size(epoch.number, epoch.data_hash) is None:
        build(reader, files, ledger, epoch.number)
    path = files.path(epoch.number, epoch.data_hash)
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        raise Refusal(
            "leaves_differ", f"the leaves of epoch {epoch.number} are not what was noted"
        ) from None
    with opened:
        file = LeafFile(opened)
        if file.check() != epoch.data_hash:
            raise Refusal("leaves_differ", f"the file {path.name} is not what was noted")
        yield file
