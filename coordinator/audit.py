"""The whole audit of a database: its rows, its books, its hash chain, its receipts.

In:   an open store, best one that nobody writes to.
Out:  sentences, one for each kind of fault with its first examples; none if all is well.
It reads everything: minutes for millions of jobs. Rules that are checked beyond the store's own:
  1. Each root is that of its receipts, and the coordinator's key signed it.
  2. Each receipt names this coordinator and its row's job, attempt and wallet; a wallet's
     `cumulative` never falls, and the last one is what the wallet's sum says.
  3. Each counter-signature is of the node's key.
Not covered: a file that somebody with the coordinator's key rewrote as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from coordinator.protocol.countersigning import Seen, verify_proof
from coordinator.protocol.errors import HypernodeError
from coordinator.protocol.receipts import SignedRoot, build_batch, unpack
from coordinator.protocol.signing import from_seed
from coordinator.store.interface import Reader, Store
from coordinator.store.values import Receipt as StoredReceipt, ReceiptRoot
from onchain.address import encode_address

#: Examples named of one kind of fault.
EXAMPLES_MAX: Final = 3


def audit(store: Store) -> list[str]:
    """What is wrong; empty if nothing is.

    Raises:
        StoreError: the file cannot be read.
    """
    found = list(store.check())
    reader = store.reader()
    try:
        return found + list(islice(_receipt_faults(reader), EXAMPLES_MAX))
    finally:
        reader.close()


def _receipt_faults(reader: Reader) -> Iterator[str]:
    seed = reader.secret("coordinator_key")
    key = from_seed(seed).address if seed else b""
    cumulative: dict[bytes, int] = {}
    for root in reader.receipt_roots():
        receipts = reader.receipts_in(root.batch)
        if not key:
            # A house without a key has signed nothing.
            yield f"receipt batch {root.batch} is signed, but the coordinator has no key"
            return
        yield from _root_faults(root, receipts, key)
        for row in receipts:
            yield from _faults_of(row, key, cumulative)
        yield from _signature_faults(reader, root, key)
    for wallet, total in cumulative.items():
        if reader.earnings_of(wallet, 0).total != total:
            yield f"the last receipt of {encode_address(wallet)} does not say what was ever paid"


def _root_faults(root: ReceiptRoot, rows: Sequence[StoredReceipt], key: bytes) -> Iterator[str]:
    if len(rows) != root.count or [row.index for row in rows] != [*range(root.count)]:
        yield f"receipt batch {root.batch} has {len(rows)} receipts, not {root.count}"
    elif build_batch(row.data for row in rows)[0] != root.root:
        yield f"the root of receipt batch {root.batch} is not that of its receipts"
    try:
        SignedRoot(key, root.batch, root.count, root.root, root.signature).verify()
    except HypernodeError:
        yield f"the coordinator's signature of receipt batch {root.batch} does not hold"


def _faults_of(row: StoredReceipt, key: bytes, cumulative: dict[bytes, int]) -> Iterator[str]:
    try:
        receipt = unpack(row.data)
    except HypernodeError as error:
        yield f"the receipt of job {row.job} cannot be read: {error}"
        return
    said = (receipt.job, receipt.fence, receipt.wallet, receipt.coordinator_key)
    if said != (row.job, row.fence, row.wallet, key):
        yield f"the receipt of job {row.job} is of another job, attempt, wallet or coordinator"
    if receipt.cumulative < cumulative.get(receipt.wallet, 0):
        yield f"the receipt of job {row.job} says less was ever paid than an earlier one"
    cumulative[receipt.wallet] = receipt.cumulative


def _signature_faults(reader: Reader, root: ReceiptRoot, key: bytes) -> Iterator[str]:
    seen = Seen(root.batch, root.count, root.root)
    for signature in reader.counter_signatures(root.batch):
        node = reader.node(signature.node)
        try:
            verify_proof(node.node_key if node else bytes(32), key, seen, signature.signature)
        except HypernodeError:
            yield f"node {signature.node}'s signature of receipt batch {root.batch} does not hold"
